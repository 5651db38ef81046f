# SPDX-License-Identifier: Apache-2.0
"""How far float32 arithmetic may be from the exact result of every tensor.

Frameworks compute in float32: a sum of products is rounded, in an order of the framework's own.  The bound starts
anew at every quantizer; it is 0 where all sums have 24 bits or fewer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

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
    scaled = _pass(program, exact_bits=-1, scaled=None)
    return _pass(program, exact_bits=EXACT_BITS, scaled=scaled)


@dataclass(frozen=True, eq=False)
class Step:
    """What a rule sees.

    Args:
        op: the primitive.
        errors: bounds of what it reads.
        types: types of what it reads.
        out: type of what it makes.
        exact_bits: sums of so many bits are exact; -1: none is, as if a real factor were in all constants.
        scaled: bounds under exact_bits -1 of what it reads; the same as ``errors`` while these are found.
    """

    op: Any
    errors: Sequence[RealArray]
    types: Sequence[TensorType]
    out: TensorType
    exact_bits: int
    scaled: Sequence[RealArray]

    def rounded(self, error: RealArray, terms: int, magnitude: RealArray) -> RealArray:
        """Add the rounding of a sum of ``terms`` numbers, unless float32 holds every partial sum exactly."""
        common = int(self.out.frac.max(initial=0))
        exact = np.ldexp(magnitude, common) <= 2.0**self.exact_bits if self.exact_bits >= 0 else False
        return np.where(exact & (error == 0), 0.0, error + (terms + 2) * UNIT * magnitude)


def _pass(program: TensorProgram, exact_bits: int, scaled: list[RealArray] | None) -> list[RealArray]:
    made = [np.zeros(port.type.shape) for port in program.inputs]
    for step in program.steps:
        types = [program.type_of(source) for source in step.sources]
        errors = [made[source] for source in step.sources]
        other = errors if scaled is None else [scaled[source] for source in step.sources]
        rule = _RULES.get(type(step.op))
        seen = Step(step.op, errors, types, step.type, exact_bits, other)
        made.append(np.broadcast_to(np.zeros(()) if rule is None else rule(seen), step.type.shape))
    return made


def _matmul(s: Step) -> RealArray:
    matrix = np.ldexp(np.abs(s.op.matrix).astype(np.float64), -s.op.frac)
    return s.rounded(s.errors[0] @ matrix, len(matrix), peak(s.types[0]) @ matrix)


def _sum(s: Step) -> RealArray:
    rank = len(s.out.shape)
    error = sum((_ranked(e, rank) for e in s.errors), np.zeros(()))
    total = sum((_ranked(peak(t), rank) for t in s.types), np.zeros(()))
    return s.rounded(np.asarray(error), len(s.errors), np.asarray(total))


def _add_const(s: Step) -> RealArray:
    constant = np.abs(np.ldexp(s.op.constant.astype(np.float64), -s.op.frac))
    return s.rounded(s.errors[0], 1, peak(s.types[0]) + constant)


def _mul_const(s: Step) -> RealArray:
    factor = np.abs(np.ldexp(s.op.multiplier.astype(np.float64), -s.op.frac))
    return s.rounded(s.errors[0] * factor, 1, peak(s.types[0]) * factor)


def _combine(s: Step) -> RealArray:
    if s.op.kind in ("add", "sub"):
        return _sum(s)
    rank = len(s.out.shape)
    total, magnitude = _ranked(s.errors[0], rank), _ranked(peak(s.types[0]), rank)
    for error, kind in zip(s.errors[1:], s.types[1:], strict=True):
        other, size = _ranked(error, rank), _ranked(peak(kind), rank)
        if s.op.kind == "mul":
            total = s.rounded(total * (size + other) + other * magnitude, 1, magnitude * size)
            magnitude = magnitude * size
        else:
            total = np.maximum(total, other)
    return total


def _contract(s: Step) -> RealArray:
    (a, b), (x, y) = s.errors, (peak(t) for t in s.types)
    return s.rounded(a @ (y + b) + x @ b, x.shape[-1], x @ y)


def _reduce(s: Step) -> RealArray:
    if s.op.kind == "sum":
        return s.rounded(s.errors[0].sum(axis=-1), s.types[0].shape[-1], peak(s.types[0]).sum(axis=-1))
    return np.asarray(s.errors[0].max(axis=-1))


def _same(s: Step) -> RealArray:
    return s.errors[0]


def _moved(s: Step) -> RealArray:
    indices = s.op.indices(s.types[0].shape)
    return np.where(indices < 0, 0.0, s.errors[0].reshape(-1)[np.maximum(indices, 0)])


def _concat(s: Step) -> RealArray:
    return np.concatenate(list(s.errors), axis=s.op.axis)


def _select(s: Step) -> RealArray:
    return np.maximum(s.errors[1], s.errors[2])


def _requantize(s: Step) -> RealArray:
    """Return the bound in front of a conversion that changes no value; the framework may have none there."""
    kind = s.types[0]
    kept = (
        bool((s.op.frac == kind.frac).all())
        and bool((s.op.lo <= kind.lo).all())
        and bool((kind.hi <= s.op.hi).all())
    )
    return s.errors[0] if kept else np.zeros(())


def _lookup(s: Step) -> RealArray:
    """Return how far the entry of a neighbour is, for the part of a code by which float32 would be off.

    A table of ``code * scale`` stands for a sum of real numbers, which the framework has rounded one by one; where
    the entries are codes of a coarser type, the bound is far below one of them.
    """
    if s.op.table.shape[1] < 2:
        return np.zeros(())
    slope = np.abs(np.diff(s.op.table, axis=1)).max(axis=1).astype(np.float64)[s.op.which]
    off = np.ldexp(s.scaled[0], s.types[0].frac)
    return np.asarray(np.ldexp(slope * off, -s.op.frac))


def _ranked(values: RealArray, rank: int) -> RealArray:
    return values.reshape((1,) * (rank - values.ndim) + values.shape)


_RULES: dict[type, Callable[[Step], RealArray]] = {
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
    p.Requantize: _requantize,
    p.Lookup: _lookup,
}
"""What is not here gives codes of its own: the error ends there."""
