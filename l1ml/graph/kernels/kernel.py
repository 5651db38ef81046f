# SPDX-License-Identifier: Apache-2.0
"""Kernels: from rows to rows.

A row holds the value of one tensor element for many events, in floating point; the planner proves that the
format holds every number on the way exactly.  Rows have numbers; row 0 is always zero.  A kernel consists of
*units*: each reads ``sources[u]`` and makes ``out[u]``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from l1ml.types.arrays import IntArray, RealArray


class Kind(IntEnum):
    """What a unit computes; the numbers are those of ``emulate.cpp``.

    ======= ===========================================================================
    COPY    the row it reads
    AFFINE  ``x @ weights``: reads k rows, makes m
    SUM     of all rows read; so do PROD, MAX, MIN
    SUB     first minus second
    DOT     (n, k) rows and then (m, k) rows make the (n, m) sums of products
    COMPARE 1 where the first is not less than the second, else 0
    SELECT  the second where the first is not 0, else the third
    ARGMAX  index of the first maximum
    STEPS   ``base + sum of jumps at thresholds reached``; ``params`` (units, 1 + 2 n)
    LOOKUP  ``table[x * scale + offset]``; ``params`` (units, 2)
    SCALED  ``x * s + y * t``; ``params`` (units, 2)
    AND     ``unit`` times that of ``x * s`` and ``y * t`` as integers; so do OR, XOR; ``params`` (units, 3)
    ======= ===========================================================================
    """

    COPY = 0
    AFFINE = 1
    SUM = 2
    SUB = 3
    PROD = 4
    MAX = 5
    MIN = 6
    DOT = 7
    COMPARE = 8
    SELECT = 9
    ARGMAX = 10
    STEPS = 11
    LOOKUP = 12
    SCALED = 13
    AND = 14
    OR = 15
    XOR = 16


class Round(IntEnum):
    """Rounding of a result; NONE where there is nothing to round."""

    NONE = 0
    RND_CONV = 1
    TRN = 2
    TRN_ZERO = 3
    RND = 4
    RND_ZERO = 5
    RND_INF = 6
    RND_MIN_INF = 7


class Over(IntEnum):
    """Overflow of a result; NONE where it always fits."""

    NONE = 0
    CLIP = 1
    WRAP = 2
    ZERO = 3


FLOAT_LIMIT = 2.0**24
"""float32 holds all integers below."""

FIELDS = ("factor", "offset", "lo", "hi", "unit", "span")


def fits_float(values: RealArray) -> bool:
    """Tell whether float32 holds numbers exactly."""
    with np.errstate(over="ignore"):
        return np.array_equal(values.astype(np.float32), values)


@dataclass(frozen=True, eq=False)
class Post:
    """``unit * overflow(round(factor * x + offset))``: what happens to a result before it is stored.

    All but the modes are given per result, in the shape of the kernel's ``out``.

    Args:
        rounding: the mode.
        overflow: the mode.
        peak: no number on the way is larger, in its own smallest steps.
        factor: what the result is multiplied by.
        offset: what is then added.
        lo: smallest value kept; WRAP counts from here.
        hi: largest value kept.
        unit: what the code that comes out stands for, a power of two.
        span: WRAP is modulo this power of two; 0 where the result always fits.
    """

    rounding: Round
    overflow: Over
    peak: float
    factor: RealArray
    offset: RealArray
    lo: RealArray
    hi: RealArray
    unit: RealArray
    span: RealArray

    @classmethod
    def of(
        cls, shape: tuple[int, ...], rounding: Round, overflow: Over, peak: float = 0.0, **given: Any
    ) -> Post:
        """Return it with constants that broadcast to ``shape``; those not given do nothing."""
        none = {"factor": 1.0, "offset": 0.0, "lo": 0.0, "hi": 0.0, "unit": 1.0, "span": 0.0}
        full = (np.broadcast_to(np.asarray(given.get(name, none[name]), float), shape) for name in FIELDS)
        return cls(rounding, overflow, peak, *full)

    @property
    def plain(self) -> bool:
        """Tell whether it is an affine function."""
        return self.rounding is Round.NONE and self.overflow is Over.NONE

    @property
    def wide(self) -> bool:
        """Tell whether it needs float64 where the rows are float32."""
        return self.peak >= FLOAT_LIMIT or not all(fits_float(array) for array in self.arrays())

    def arrays(self) -> Iterator[RealArray]:
        """Yield the constants in the order of ``FIELDS``."""
        return (getattr(self, name) for name in FIELDS)

    def at(self, index: Any, shape: tuple[int, ...] | None = None) -> Post:
        """Return the same for some results, in another shape if one is given."""
        parts = (array[index] for array in self.arrays())
        shaped = (part if shape is None else part.reshape(shape) for part in parts)
        return Post(self.rounding, self.overflow, self.peak, *shaped)


@dataclass(eq=False)
class Kernel:
    """One kind of unit, many times.

    Args:
        kind: what a unit does.
        sources: (units, reads) rows.
        out: (units, makes) rows; -1 for a result that nobody needs.
        peak: no number before ``post`` is larger, in its own smallest steps.
        weights: AFFINE: (reads, makes).
        params: STEPS, LOOKUP, AND, OR, XOR: constants per unit.
        table: LOOKUP: all entries.
        split: DOT: number of second factors, m.
        post: what follows at once.
    """

    kind: Kind
    sources: IntArray
    out: IntArray
    peak: float = 0.0
    weights: RealArray | None = None
    params: RealArray | None = None
    table: RealArray | None = None
    split: int = 0
    post: Post | None = None

    def constants(self) -> list[RealArray]:
        """Return the constants that stand before ``post``."""
        return [array for array in (self.weights, self.params, self.table) if array is not None]

    def keep(self, units: NDArray[np.bool_]) -> None:
        """Drop all other units.

        Args:
            units: one truth value per unit.
        """
        if bool(units.all()):
            return
        self.sources, self.out = self.sources[units], self.out[units]
        self.params = None if self.params is None else self.params[units]
        self.post = None if self.post is None else self.post.at(units)
