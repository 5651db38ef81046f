# SPDX-License-Identifier: Apache-2.0
"""How far float32 arithmetic may be from the exact result of every tensor.

Frameworks compute in float32: a sum of products is rounded, in an order of the framework's own.  The bound starts
anew at every quantizer; it is 0 where all sums have 24 bits or fewer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from l1ml.graph import primitives as p
from l1ml.graph.program import TensorProgram
from l1ml.graph.tensor import TensorType
from l1ml.types.arrays import RealArray

UNIT = 2.0**-24
"""Largest relative rounding error of one float32 operation."""

EXACT_BITS = 24


def peak(kind: TensorType) -> RealArray:
    """Return the largest magnitude of every element, in real units."""
    return np.ldexp(np.maximum(np.abs(kind.lo), np.abs(kind.hi)).astype(np.float64), -kind.frac)


def bounds(program: TensorProgram) -> list[RealArray]:
    """Return for every tensor the largest difference to float32 arithmetic, (*shape), in real units."""
    made = [np.zeros(port.type.shape) for port in program.inputs]
    for step in program.steps:
        types = [program.type_of(source) for source in step.sources]
        errors = [made[source] for source in step.sources]
        rule = _RULES.get(type(step.op))
        error = np.zeros(step.type.shape) if rule is None else rule(step.op, errors, types, step.type)
        made.append(np.broadcast_to(error, step.type.shape))
    return made


Errors = Sequence[RealArray]
Types = Sequence[TensorType]


def _rounded(error: RealArray, terms: int, magnitude: RealArray, out: TensorType) -> RealArray:
    """Add the rounding of a sum of ``terms`` numbers, unless float32 holds every partial sum exactly."""
    common = int(out.frac.max(initial=0))
    exact = np.ldexp(magnitude, common) <= 2.0**EXACT_BITS
    return np.where(exact & (error == 0), 0.0, error + (terms + 2) * UNIT * magnitude)


def _matmul(op: p.ConstMatmul, errors: Errors, types: Types, out: TensorType) -> RealArray:
    matrix = np.ldexp(np.abs(op.matrix).astype(np.float64), -op.frac)
    return _rounded(errors[0] @ matrix, len(matrix), peak(types[0]) @ matrix, out)


def _sum(op: p.Primitive, errors: Errors, types: Types, out: TensorType) -> RealArray:
    rank = len(out.shape)
    error = sum((_ranked(e, rank) for e in errors), np.zeros(()))
    return _rounded(
        np.asarray(error), len(errors), np.asarray(sum(_ranked(peak(t), rank) for t in types)), out
    )


def _add_const(op: p.AddConst, errors: Errors, types: Types, out: TensorType) -> RealArray:
    constant = np.abs(np.ldexp(op.constant.astype(np.float64), -op.frac))
    return _rounded(errors[0], 1, peak(types[0]) + constant, out)


def _mul_const(op: p.MulConst, errors: Errors, types: Types, out: TensorType) -> RealArray:
    factor = np.abs(np.ldexp(op.multiplier.astype(np.float64), -op.frac))
    return _rounded(errors[0] * factor, 1, peak(types[0]) * factor, out)


def _combine(op: p.Combine, errors: Errors, types: Types, out: TensorType) -> RealArray:
    if op.kind in ("add", "sub"):
        return _sum(op, errors, types, out)
    rank = len(out.shape)
    total, magnitude = _ranked(errors[0], rank), _ranked(peak(types[0]), rank)
    for error, kind in zip(errors[1:], types[1:], strict=True):
        other, size = _ranked(error, rank), _ranked(peak(kind), rank)
        if op.kind == "mul":
            total = _rounded(total * (size + other) + other * magnitude, 1, magnitude * size, out)
            magnitude = magnitude * size
        else:
            total = np.maximum(total, other)
    return total


def _contract(op: p.Contract, errors: Errors, types: Types, out: TensorType) -> RealArray:
    (a, b), (x, y) = errors, (peak(t) for t in types)
    return _rounded(a @ (y + b) + x @ b, x.shape[-1], x @ y, out)


def _reduce(op: p.Reduce, errors: Errors, types: Types, out: TensorType) -> RealArray:
    if op.kind == "sum":
        return _rounded(errors[0].sum(axis=-1), types[0].shape[-1], peak(types[0]).sum(axis=-1), out)
    return np.asarray(errors[0].max(axis=-1))


def _same(op: p.Primitive, errors: Errors, types: Types, out: TensorType) -> RealArray:
    return errors[0]


def _moved(op: p.Move, errors: Errors, types: Types, out: TensorType) -> RealArray:
    indices = op.indices(types[0].shape)
    return np.where(indices < 0, 0.0, errors[0].reshape(-1)[np.maximum(indices, 0)])


def _concat(op: p.Concat, errors: Errors, types: Types, out: TensorType) -> RealArray:
    return np.concatenate(list(errors), axis=op.axis)


def _select(op: p.Select, errors: Errors, types: Types, out: TensorType) -> RealArray:
    return np.maximum(errors[1], errors[2])


def _ranked(values: RealArray, rank: int) -> RealArray:
    return values.reshape((1,) * (rank - values.ndim) + values.shape)


_RULES: dict[type, Callable[..., RealArray]] = {
    p.ConstMatmul: _matmul,
    p.AddConst: _add_const,
    p.MulConst: _mul_const,
    p.Combine: _combine,
    p.Contract: _contract,
    p.Reduce: _reduce,
    p.Relu: _same,
    p.Clip: _same,
    p.Take: _moved,
    p.Reshape: _moved,
    p.Window: _moved,
    p.Concat: _concat,
    p.Select: _select,
}
"""What is not here gives codes of its own: the error ends there."""
