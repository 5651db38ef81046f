# SPDX-License-Identifier: Apache-2.0
"""Kernels of sums, products and moves."""

from __future__ import annotations

from functools import reduce
from math import prod

import numpy as np

from l1ml.graph import primitives
from l1ml.graph.kernels.kernel import Kernel, Kind, Over, Post, Round
from l1ml.graph.kernels.plan import Place, exact, highest, rows_of, spread_ids, value_peaks
from l1ml.graph.primitives.base import magnitude
from l1ml.types.arrays import IntArray

_KINDS = {
    "add": Kind.SUM, "sum": Kind.SUM, "sub": Kind.SUB, "mul": Kind.PROD, "max": Kind.MAX, "min": Kind.MIN
}  # fmt: skip


@rows_of.register
def _move(op: primitives.Move, at: Place, x: IntArray) -> IntArray:
    indices = op.indices(x.shape)
    return np.where(indices < 0, 0, x.ravel()[np.maximum(indices, 0)]) if x.size else np.zeros_like(indices)


@rows_of.register
def _concat(op: primitives.Concat, at: Place, *xs: IntArray) -> IntArray:
    return np.concatenate(xs, axis=op.axis)


@rows_of.register
def _constant(op: primitives.Constant, at: Place) -> IntArray:
    return at.plan.made(at.type)[0]


@rows_of.register
def _matmul(op: primitives.ConstMatmul, at: Place, x: IntArray) -> IntArray:
    weights = np.ldexp(exact(op.matrix), -op.frac)
    sums = value_peaks(at.types[0]) @ np.abs(weights)
    rows, out = at.plan.made(at.type)
    peak = highest(np.ldexp(sums, at.type.frac))
    if x.size and out.size:
        sources, flat = (ids.reshape(-1, ids.shape[-1]) for ids in (x, out))
        at.plan.add(Kernel(Kind.AFFINE, sources, flat, peak, weights=weights))
    return rows


@rows_of.register
def _add_const(op: primitives.AddConst, at: Place, x: IntArray) -> IntArray:
    offset = np.ldexp(exact(op.constant), -op.frac)
    if not bool(offset.any()):
        return x
    peak = highest(np.ldexp(value_peaks(at.types[0]) + np.abs(offset), at.type.frac))
    return at.convert(x, Post.of(x.shape, Round.NONE, Over.NONE, peak, offset=offset))


@rows_of.register
def _mul_const(op: primitives.MulConst, at: Place, x: IntArray) -> IntArray:
    factor = exact(op.multiplier)
    peak = highest(magnitude(at.types[0]) * np.abs(factor))
    return at.convert(x, Post.of(x.shape, Round.NONE, Over.NONE, peak, factor=np.ldexp(factor, -op.frac)))


@rows_of.register
def _combine(op: primitives.Combine, at: Place, *xs: IntArray) -> IntArray:
    if len(xs) == 1:
        return xs[0]
    shape = at.type.shape
    kinds = [t.reshaped((1,) * (len(shape) - len(t.shape)) + t.shape) for t in at.types]
    peak = 0.0
    if op.kind in ("add", "sub"):
        peak = highest(np.ldexp(reduce(np.add, [value_peaks(t) for t in kinds]), at.type.frac))
    elif op.kind == "mul":
        # A factor below 1 LSB would hide how long the products before it are.
        peak = highest(reduce(np.multiply, [np.maximum(magnitude(t), 1.0) for t in kinds]))
    sources = np.stack([spread_ids(x, shape) for x in xs], axis=-1)
    return at.fold(_KINDS[op.kind], sources, peak)


@rows_of.register
def _reduce(op: primitives.Reduce, at: Place, x: IntArray) -> IntArray:
    if x.shape[-1] == 1:
        return x[..., 0]
    if not x.shape[-1]:
        return at.plan.made(at.type)[0]
    peak = 0.0
    if op.kind == "sum":
        peak = highest(np.ldexp(value_peaks(at.types[0]).sum(axis=-1), at.type.frac))
    return at.fold(_KINDS[op.kind], x, peak)


@rows_of.register
def _contract(op: primitives.Contract, at: Place, x: IntArray, y: IntArray) -> IntArray:
    rows, out = at.plan.made(at.type)
    (*lead, n, k), m = x.shape, y.shape[-1]
    if not out.size or not k:
        return rows
    peak = highest(np.ldexp(value_peaks(at.types[0]) @ value_peaks(at.types[1]), at.type.frac))
    groups = prod(lead)
    second = np.moveaxis(y, -1, -2).reshape(groups, m * k)
    sources = np.concatenate([x.reshape(groups, n * k), second], axis=1)
    at.plan.add(Kernel(Kind.DOT, sources, out.reshape(groups, n * m), peak, split=m))
    return rows
