# SPDX-License-Identifier: Apache-2.0
"""Primitives on several elements: combinations, reductions, choices, and those that only move elements."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np

from l1ml.dataflow import logic
from l1ml.dataflow.build import Element
from l1ml.graph import primitives
from l1ml.lowering.multiply import inner_product, multiply
from l1ml.lowering.rules import Elements, Place, array, lower_op
from l1ml.lowering.scalar import lower_scalar
from l1ml.lowering.sums import add_all, tree


@lower_op.register
def _combine(op: primitives.Combine, at: Place, *xs: Elements) -> Elements:
    columns = np.broadcast_arrays(*xs)
    return array(
        (_joined(op.kind, at, terms) for terms in zip(*(c.flat for c in columns), strict=True)), at.type.shape
    )


@lower_op.register
def _reduce(op: primitives.Reduce, at: Place, x: Elements) -> Elements:
    kind = {"sum": "add"}.get(op.kind, op.kind)
    return array((_joined(kind, at, list(row)) for row in x.reshape(-1, x.shape[-1])), at.type.shape)


def _joined(kind: str, at: Place, terms: Sequence[Element]) -> Element:
    build, layer = at.build, at.layer
    if kind == "sub":
        return build.sum(terms[0], add_all(build, terms[1:], layer), layer, negate_b=True)
    if kind == "add":
        return add_all(build, terms, layer)
    if kind == "mul":
        return tree(build, terms, partial(_product, at))
    return tree(build, terms, partial(logic.extreme, build, layer=layer, largest=kind == "max"))


def _product(at: Place, a: Element, b: Element) -> Element:
    return multiply(at.build, a, b, at.layer)


@lower_op.register
def _contract(op: primitives.Contract, at: Place, x: Elements, y: Elements) -> Elements:
    rows, columns = x.reshape(-1, *x.shape[-2:]), y.reshape(-1, *y.shape[-2:])
    out = (
        inner_product(at.build, list(row), list(column), at.layer)
        for one, other in zip(rows, columns, strict=True)
        for row in one
        for column in other.T
    )
    return array(out, at.type.shape)


@lower_op.register
def _compare(op: primitives.Compare, at: Place, x: Elements, y: Elements) -> Elements:
    pairs = zip(*(a.flat for a in np.broadcast_arrays(x, y)), strict=True)
    return array((logic.compare(at.build, a, b, at.layer) for a, b in pairs), at.type.shape)


@lower_op.register
def _select(op: primitives.Select, at: Place, condition: Elements, a: Elements, b: Elements) -> Elements:
    triples = zip(*(x.flat for x in np.broadcast_arrays(condition, a, b)), strict=True)
    return array((logic.select(at.build, c, p, q, at.layer) for c, p, q in triples), at.type.shape)


@lower_op.register
def _argmax(op: primitives.ArgMax, at: Place, x: Elements) -> Elements:
    return array((_first_maximum(at, list(row)) for row in x.reshape(-1, x.shape[-1])), at.type.shape)


def _first_maximum(at: Place, values: list[Element]) -> Element:
    """Compare neighbours; every winner takes its index along."""
    build, layer = at.build, at.layer
    left = [(value, build.constant(k, 0, layer)) for k, value in enumerate(values)]
    while len(left) > 1:
        pairs = [(*left[k], *left[k + 1]) for k in range(0, len(left) - 1, 2)]
        rest = left[2 * len(pairs) :]
        left = []
        for a, a_index, b, b_index in pairs:
            first = logic.compare(build, a, b, layer)
            index = logic.select(build, first, a_index, b_index, layer)
            left.append((_larger(at, first, a, b), index))
        left += rest
    return left[0][1]


def _larger(at: Place, first: Element, a: Element, b: Element) -> Element:
    ka, kb = at.build.kind(a), at.build.kind(b)
    frac = max(ka.frac, kb.frac)
    lo, hi = (max(m << (frac - ka.frac), n << (frac - kb.frac)) for m, n in ((ka.lo, kb.lo), (ka.hi, kb.hi)))
    return logic.select(at.build, first, a, b, at.layer, (lo, hi, frac))


@lower_op.register
def _constant(op: primitives.Constant, at: Place) -> Elements:
    pairs = zip(at.type.lo.ravel().tolist(), at.type.frac.ravel().tolist(), strict=True)
    return array((at.build.constant(code, frac, at.layer) for code, frac in pairs), at.type.shape)


@lower_op.register
def _scalar(op: primitives.Scalar, at: Place, x: Elements) -> Elements:
    return array(lower_scalar(op, at.build, list(x.flat), at.types[0], at.layer), at.type.shape)


@lower_op.register
def _reshape(op: primitives.Reshape, at: Place, x: Elements) -> Elements:
    return x.reshape(op.shape)


@lower_op.register
def _move(op: primitives.Move, at: Place, x: Elements) -> Elements:
    indices = op.indices(x.shape)
    zero = at.build.constant(0, 0, at.layer) if bool((indices < 0).any()) else None
    out = x.ravel()[np.maximum(indices, 0)]
    if zero is not None:
        out[indices < 0] = zero
    return np.asarray(out)


@lower_op.register
def _concat(op: primitives.Concat, at: Place, *xs: Elements) -> Elements:
    return np.concatenate(xs, axis=op.axis)
