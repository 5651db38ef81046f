# SPDX-License-Identifier: Apache-2.0
"""Step functions as a rounded line, where one gives the same codes.

A normalization with a quantizer behind it becomes many thresholds, nearly equally far apart: comparing with
each of them takes longer than the layer in front.  A float64 line that keeps its distance from every
threshold, by more than its own rounding errors, reaches every level at the same code.
"""

from __future__ import annotations

import numpy as np

from l1ml.types.arrays import IntArray, RealArray

MAX_THRESHOLDS = 1 << 20
"""Thresholds of all functions that a line is sought for."""

HALVINGS = 120
ERROR = 2.0**-50
"""Bound on the error of a float64 product and a sum, per magnitude of what is added."""


def lines(limits: IntArray, first: IntArray, last: IntArray) -> tuple[RealArray, RealArray] | None:
    """Return (slopes, constants): ``clip(floor(slope * x + constant), 0, n)`` thresholds are reached at code x.

    Args:
        limits: (functions, n) thresholds, ascending, within ``first..last + 1``.
        first: smallest code per function.
        last: largest code per function.

    Returns:
        None where a function has no such line.
    """
    size = limits.shape[1]
    if limits.size > MAX_THRESHOLDS:
        return None
    level, at = np.arange(1.0, size + 1), limits.astype(np.float64)
    reached, open_before = limits <= last[:, None], limits > first[:, None]

    def ends(slope: RealArray) -> tuple[RealArray, RealArray]:
        """Return the bounds on the constant, for a slope that is not negative."""
        low = np.where(reached, level - slope[:, None] * at, -np.inf).max(axis=1)
        high = np.where(open_before, level - slope[:, None] * (at - 1), np.inf).min(axis=1)
        low = np.where(np.isfinite(low), low, np.where(np.isfinite(high), high - 2, 0.0))
        return low, np.where(np.isfinite(high), high, low + 2)

    # The room between both bounds is concave in the slope: the best one lies between two others.
    left, right = np.zeros(len(limits)), np.full(len(limits), size + 1.0)
    for _ in range(HALVINGS):
        step = (right - left) / 3
        rooms = []
        for slope in (left + step, right - step):
            low, high = ends(slope)
            rooms.append(high - low)
        left, right = (
            np.where(rooms[0] < rooms[1], left + step, left),
            np.where(rooms[0] < rooms[1], right, right - step),
        )
    slope = (left + right) / 2
    low, high = ends(slope)
    constant = (low + high) / 2
    farthest = np.maximum(np.abs(first.astype(np.float64)), np.abs(last.astype(np.float64))) + 1
    error = ERROR * (slope * farthest + np.abs(constant) + size)
    return (slope, constant) if bool(((high - low) / 2 > error).all()) else None
