# SPDX-License-Identifier: Apache-2.0
"""Stimuli that need no physics: uniform over all codes, and the corners where arithmetic breaks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from l1ml.errors import DataError
from l1ml.types.arrays import IntArray, RealArray
from l1ml.types.intrange import IntType


def uniform(kinds: Sequence[IntType], events: int, *, seed: int) -> IntArray:
    """Return codes drawn evenly from the whole range of every element.

    Args:
        kinds: range of every element.
        events: how many.
        seed: the same seed gives the same events.

    Returns:
        int64, (events, elements).
    """
    lo, hi = _bounds(kinds)
    return np.random.default_rng(seed).integers(
        lo, hi, size=(events, len(kinds)), endpoint=True, dtype=np.int64
    )


def corners(kinds: Sequence[IntType]) -> IntArray:
    """Return the events at the edges of the input space, each once.

    All elements zero, lowest, highest, one LSB up and down, alternating extremes and bit patterns; then,
    element by element with the others at zero: its extremes and every single bit.

    Args:
        kinds: range of every element.

    Returns:
        int64, (events, elements), without repetitions, the order fixed.
    """
    lo, hi = _bounds(kinds)
    even = np.arange(len(kinds)) % 2 == 0
    bits = max(max(kind.width for kind in kinds), 1)
    stripes = sum(1 << bit for bit in range(0, bits, 2))
    whole = [0 * lo, lo, hi, 0 * lo + 1, 0 * lo - 1, np.where(even, lo, hi), np.where(even, hi, lo)]
    whole += [0 * lo + stripes, 0 * lo - stripes]
    single = []
    for number, kind in enumerate(kinds):
        powers = [1 << bit for bit in range(kind.width)]
        column = [kind.lo, kind.hi, *powers, *(-power for power in powers)]
        block = np.zeros((len(column), len(kinds)), dtype=np.int64)
        block[:, number] = column
        single.append(block)
    table = np.clip(np.concatenate([np.array(whole), *single]), lo, hi)
    _, order = np.unique(table, axis=0, return_index=True)
    return np.asarray(table[np.sort(order)], dtype=np.int64)


def values(codes: ArrayLike, kinds: Sequence[IntType]) -> RealArray:
    """Return the real values of codes, (events, elements)."""
    frac = np.array([kind.frac for kind in kinds])
    return np.asarray(np.ldexp(np.asarray(codes, dtype=np.float64), -frac))


def _bounds(kinds: Sequence[IntType]) -> tuple[IntArray, IntArray]:
    if not kinds:
        raise DataError("no elements to generate events for")
    return np.array([k.lo for k in kinds], dtype=np.int64), np.array([k.hi for k in kinds], dtype=np.int64)
