# SPDX-License-Identifier: Apache-2.0
"""Kernels without what nobody reads, and joined where one alone feeds the next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from l1ml.graph.kernels.kernel import Kernel, Kind, Over, Post, Round
from l1ml.types.arrays import IntArray, RealArray
from l1ml.types.fixed import Rounding, round_codes


def without_unread(kernels: Sequence[Kernel], ends: IntArray, n_rows: int) -> list[Kernel]:
    """Drop results that are neither read by a later kernel nor among ``ends``."""
    read = np.zeros(n_rows, dtype=bool)
    read[ends] = True
    kept: list[Kernel] = []
    for kernel in reversed(kernels):
        kernel.out = np.where((kernel.out >= 0) & read[kernel.out], kernel.out, -1)
        kernel.keep(np.asarray((kernel.out >= 0).any(axis=1)))
        if len(kernel.out):
            read[kernel.sources.ravel()] = True
            kept.append(kernel)
    return kept[::-1]


def fused(kernels: Sequence[Kernel], ends: IntArray, n_rows: int) -> list[Kernel]:
    """Join units of COPY kernels with the kernel that feeds them, where nobody else reads what is between them."""
    reads = np.bincount(ends, minlength=n_rows)
    maker = np.full(n_rows, -1, dtype=np.int64)
    makes = np.zeros(len(kernels), dtype=np.int64)
    for number, kernel in enumerate(kernels):
        live = kernel.out[kernel.out >= 0]
        maker[live], makes[number] = number, len(live)
        rows, counts = np.unique(kernel.sources, return_counts=True)
        reads[rows] += counts
    out = list(kernels)
    for second in kernels:
        if second.kind is not Kind.COPY:
            continue
        rows = second.sources[:, 0]
        feeders, rest = maker[rows], np.ones(len(rows), dtype=bool)
        for feeder in np.unique(feeders[feeders >= 0]).tolist():
            mine = feeders == feeder
            if int(mine.sum()) != makes[feeder] or bool((reads[rows[mine]] != 1).any()):
                continue
            part = replace(second)
            part.keep(mine)
            if (joined := _joined(out[feeder], part)) is not None:
                out[feeder], rest = joined, rest & ~mine
                maker[joined.out[joined.out >= 0]] = feeder
        second.keep(rest)
    return [kernel for kernel in out if len(kernel.out)]


def _joined(first: Kernel, second: Kernel) -> Kernel | None:
    """Return ``second`` after ``first`` as one kernel, or None; every live result of the first is read once."""
    assert second.post is not None
    live = first.out >= 0
    order = np.argsort(second.sources[:, 0])
    place = order[np.searchsorted(second.sources[order, 0], first.out[live])]
    given = second.post
    spread = [np.array(array) for array in Post.of(first.out.shape, given.rounding, given.overflow).arrays()]
    for full, array in zip(spread, given.arrays(), strict=True):
        full[live] = array[place, 0]
    post = _after(first.post, Post(given.rounding, given.overflow, given.peak, *spread))
    if post is None:
        return None
    out = first.out.copy()
    out[live] = second.out[place, 0]
    return replace(first, out=out, post=post)


def _after(first: Post | None, second: Post) -> Post | None:
    """Return both as one, or None.

    The second may only shift bits, so that no product on the way gets longer than the planner has proven.
    Rounding keeps the order, so bounds in front of it may as well come behind it, rounded themselves.
    """
    if first is None:
        return second
    scale = second.factor * first.unit
    if not _shifts(scale):
        return None
    before = scale * first.offset
    offset = before + second.offset
    if bool((offset - before != second.offset).any() | (offset - second.offset != before).any()):
        return None  # the sum of both is too long
    peak = max(first.peak, second.peak)
    moved = replace(second, factor=scale * first.factor, offset=offset, peak=peak)
    if first.plain:
        return moved
    bounded = first.rounding is Round.NONE and first.overflow is Over.CLIP and second.overflow is Over.CLIP
    if not bounded or bool(second.offset.any()):
        return None
    ends = (_rounded(end * scale, second.rounding) for end in (first.lo, first.hi))
    lo, hi = (np.clip(end, second.lo, second.hi) for end in ends)
    return replace(moved, lo=lo, hi=hi)


def _shifts(values: RealArray) -> bool:
    return bool((np.frexp(values)[0] == 0.5).all())


def _rounded(values: RealArray, rounding: Round) -> RealArray:
    return values if rounding is Round.NONE else round_codes(values, Rounding[rounding.name])
