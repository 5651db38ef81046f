# SPDX-License-Identifier: Apache-2.0
"""Kernels of conversions, bounds and functions of one element."""

from __future__ import annotations

import numpy as np

from l1ml.graph import primitives
from l1ml.graph.kernels.kernel import FLOAT_LIMIT, Kind, Over, Post, Round
from l1ml.graph.kernels.line import lines
from l1ml.graph.kernels.plan import NoKernelError, Place, exact, highest, rows_of
from l1ml.graph.primitives.base import magnitude
from l1ml.types.arrays import IntArray, RealArray
from l1ml.types.fixed import Overflow

FEW_STEPS = 2
"""So many comparisons are faster than anything else."""

MAX_ENTRIES = 1 << 18
"""Entries of all tables of a kernel that are made from thresholds."""

MAX_INDEX = float(1 << 30)

FAR = 200
"""Beyond so many bits between two grids nothing of a code is left, or nothing fits."""


@rows_of.register
def _relu(op: primitives.Relu, at: Place, x: IntArray) -> IntArray:
    return _bounded(at, x)


@rows_of.register
def _clip(op: primitives.Clip, at: Place, x: IntArray) -> IntArray:
    return _bounded(at, x)


def _bounded(at: Place, x: IntArray) -> IntArray:
    """Bring every element into the range of the result, which its bounds or its own range have set."""
    (source,) = at.types
    ends = [np.ldexp(exact(n), -at.type.frac) for n in (at.type.lo, at.type.hi)]
    own = [np.ldexp(exact(n), -source.frac) for n in (source.lo, source.hi)]
    if all(np.array_equal(a, b) for a, b in zip(ends, own, strict=True)):
        return x
    return at.convert(x, Post.of(x.shape, Round.NONE, Over.CLIP, lo=ends[0], hi=ends[1]))


@rows_of.register
def _requantize(op: primitives.Requantize, at: Place, x: IntArray) -> IntArray:
    (source,), kind = at.types, at.type
    drop = np.broadcast_to(source.frac - op.frac, x.shape)
    near = np.clip(drop, -FAR, FAR)
    lo, hi = (np.broadcast_to(n, x.shape).astype(np.float64) for n in (op.lo, op.hi))
    outside = (source.lo < np.ldexp(lo, near)) | (source.hi > np.ldexp(hi, near))
    codes = np.ldexp(magnitude(source), -near)  # of the result, before rounding
    rounds = bool((drop > 0).any())
    if not rounds and not bool(outside.any()):
        return x  # every value exists in the new type
    rounding = Round[op.rounding.name] if rounds else Round.NONE
    # Half an LSB is added on the way: one bit more than the codes have.
    peak = highest(2 * magnitude(source) + 1) if rounds else 0.0
    given = {"factor": np.ldexp(1.0, kind.frac), "unit": np.ldexp(1.0, -kind.frac)}
    if op.overflow in (Overflow.SAT, Overflow.SAT_SYM):
        post = Post.of(x.shape, rounding, Over.CLIP, peak, lo=exact(kind.lo), hi=exact(kind.hi), **given)
    elif op.overflow is Overflow.WRAP:
        span = np.where(outside, hi - lo + 1, 0.0)
        reach = np.where(outside, codes + 1 + np.maximum(np.abs(lo), np.abs(hi)) + span, 0.0)
        # In steps of the codes that are wrapped: 1, as they are rounded.
        peak = max(peak, highest(reach))
        lo = np.where(outside, lo, 0.0)
        over = Over.WRAP if bool(outside.any()) else Over.NONE
        post = Post.of(x.shape, rounding, over, peak, lo=lo, span=span, **given)
    else:
        # A bound that is never reached may be too long for the format.
        lo, hi = (
            np.where(outside & (np.abs(n) <= codes + 1), n, np.sign(s) * np.inf)
            for n, s in ((lo, -1), (hi, 1))
        )
        peak = max(peak, *(highest(np.abs(n[np.isfinite(n)])) for n in (lo, hi)))
        post = Post.of(x.shape, rounding, Over.ZERO, peak, lo=lo, hi=hi, **given)
    return at.convert(x, post)


@rows_of.register
def _rescale(op: primitives.Rescale, at: Place, x: IntArray) -> IntArray:
    (source,), kind = at.types, at.type
    multiplier, offset = exact(op.multiplier), exact(op.offset)
    peak = highest(magnitude(source) * np.abs(multiplier) + np.abs(offset))
    post = Post.of(
        x.shape, Round.TRN, Over.CLIP, peak, factor=np.ldexp(multiplier, source.frac - op.shift),
        offset=np.ldexp(offset, -op.shift), lo=exact(kind.lo), hi=exact(kind.hi), unit=np.ldexp(1.0, -kind.frac),
    )  # fmt: skip
    return at.convert(x, post)


@rows_of.register
def _steps(op: primitives.Steps, at: Place, x: IntArray) -> IntArray:
    (source,), shape = at.types, x.shape
    size = op.thresholds.shape[-1]
    limits = np.broadcast_to(op.thresholds, (*shape, size)).reshape(-1, size)
    limits = np.clip(limits, source.lo.reshape(-1, 1), source.hi.reshape(-1, 1) + 1)
    jumps = np.broadcast_to(op.jumps, (*shape, size)).reshape(-1, size)
    base = np.broadcast_to(op.base, shape).reshape(-1, 1)
    if size > FEW_STEPS:
        ends = (source.lo.reshape(-1, 1), source.hi.reshape(-1, 1))
        columns = np.concatenate([base, limits, jumps, *ends], axis=1)
        distinct, which = np.unique(columns, axis=0, return_inverse=True)
        post = _as_lines(at, distinct, which.reshape(shape), size)
        if post is not None:
            return at.convert(x, post)
        made = _as_tables(distinct, size)
        if made is not None:
            offsets, table = made
            return _read(at, x, offsets[which.ravel()], np.ldexp(exact(table), -op.frac))
    values = np.ldexp(limits.astype(np.float64), -source.frac.reshape(-1, 1))
    levels = np.concatenate([base, jumps], axis=1)
    peak = highest(np.abs(levels.astype(np.float64)).sum(axis=1))
    levels = np.ldexp(exact(levels), -op.frac)
    params = np.concatenate([levels[:, :1], values, levels[:, 1:]], axis=1)
    return at.fold(Kind.STEPS, x[..., None], peak, params=params)


def _as_lines(at: Place, distinct: IntArray, which: IntArray, size: int) -> Post | None:
    """Return step functions with equal jumps as a rounded line, or None where one has none.

    Args:
        at: the types around them.
        distinct: as for `_as_tables`.
        which: function of every element.
        size: number of thresholds.
    """
    base, limits, jumps = np.split(distinct[:, :-2], [1, 1 + size], axis=1)
    low, unread = base[:, 0], limits > distinct[:, -1:]
    jump = np.maximum(1, np.where(unread, 0, jumps).max(axis=1))
    uneven = (jumps != jump[:, None]) & ~unread
    if bool(uneven.any() | (jump & (jump - 1)).any() | (low % jump).any()):
        return None
    found = lines(limits, distinct[:, -2], distinct[:, -1])
    if found is None:
        return None
    first = exact(low // jump)
    slope, constant = found[0], found[1] + first
    return Post.of(
        which.shape, Round.TRN, Over.CLIP, FLOAT_LIMIT, factor=np.ldexp(slope[which], at.types[0].frac),
        offset=constant[which], lo=first[which], hi=(first + size)[which],
        unit=np.ldexp(exact(jump)[which], -at.type.frac),
    )  # fmt: skip


def _as_tables(distinct: IntArray, size: int) -> tuple[IntArray, IntArray] | None:
    """Return (offset of code 0 per function, all entries), or None where they are too many.

    Args:
        distinct: (functions, 3 + 2 n): base, thresholds, jumps, smallest and largest code.
        size: number of thresholds, n.
    """
    first, entries = distinct[:, -2], distinct[:, -1] - distinct[:, -2] + 1
    if float(entries.astype(np.float64).sum()) > MAX_ENTRIES:
        return None
    parts = [np.zeros(0, dtype=np.int64)]
    for row in distinct:
        levels = row[0] + np.concatenate([[0], np.cumsum(row[1 + size : 1 + 2 * size])])
        parts.append(
            levels[np.searchsorted(row[1 : 1 + size], np.arange(row[-2], row[-1] + 1), side="right")]
        )
    starts = np.cumsum(entries) - entries
    return starts - first, np.concatenate(parts)


@rows_of.register
def _lookup(op: primitives.Lookup, at: Place, x: IntArray) -> IntArray:
    size = op.table.shape[1]
    offset = np.broadcast_to(op.which, x.shape) * size - np.broadcast_to(op.first, x.shape)
    return _read(at, x, offset.ravel(), np.ldexp(exact(op.table), -op.frac).ravel())


def _read(at: Place, x: IntArray, offset: IntArray, table: RealArray) -> IntArray:
    """Append a kernel that reads ``table[code + offset]``."""
    (source,) = at.types
    shift = exact(offset)
    peak = highest(np.abs(shift) + magnitude(source).ravel())
    if peak >= MAX_INDEX:
        raise NoKernelError("a table is read by numbers beyond 30 bits")
    params = np.stack([np.ldexp(1.0, source.frac).ravel(), shift], axis=1)
    return at.fold(Kind.LOOKUP, x[..., None], peak, params=params, table=table)
