# SPDX-License-Identifier: Apache-2.0
"""Conversions whose target type differs from element to element."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from l1ml.errors import RangeError
from l1ml.types.arrays import IntArray, RealArray
from l1ml.types.fixed import Overflow, Quantizer, Rounding, in_lsb, round_codes
from l1ml.types.intrange import MAX_WIDTH


@dataclass(frozen=True, eq=False)
class Grid:
    """Codes ``lo..hi`` that stand for ``n * 2**-frac``, and how a value gets there: round, then overflow.

    Args:
        lo: smallest code; int64, broadcastable to the shape of the tensor (0-d: the same for all).
        hi: largest code, same shape.
        frac: fraction bits, same shape.
        rounding: treatment of the part below one LSB.
        overflow: treatment of values outside: WRAP is modulo ``hi - lo + 1``, a power of two; SAT and
            SAT_SYM clip to ``lo..hi``; SAT_ZERO gives 0.
    """

    lo: IntArray
    hi: IntArray
    frac: IntArray
    rounding: Rounding = Rounding.RND_CONV
    overflow: Overflow = Overflow.SAT

    def __post_init__(self) -> None:
        for name in ("lo", "hi", "frac"):
            array = np.array(getattr(self, name), dtype=np.int64)
            array.setflags(write=False)
            object.__setattr__(self, name, array)
        if bool((self.lo > self.hi).any()):
            raise RangeError("a type without any code: its smallest code is above its largest")
        span = self.hi - self.lo + 1
        if self.overflow is Overflow.WRAP and bool((span & (span - 1)).any()):
            raise RangeError("only a range of 2**n codes can wrap around")

    @classmethod
    def of(cls, quantizer: Quantizer) -> Grid:
        """Return the same conversion for every element."""
        kind = quantizer.type
        low, high, frac = (np.array(n, dtype=np.int64) for n in (quantizer.lo, kind.hi, kind.frac))
        return cls(low, high, frac, quantizer.rounding, quantizer.overflow)

    @classmethod
    def kif(
        cls,
        k: ArrayLike,
        i: ArrayLike,
        f: ArrayLike,
        rounding: Rounding = Rounding.RND,
        overflow: Overflow = Overflow.WRAP,
    ) -> Grid:
        """Return types by sign bit, integer bits without sign and fraction bits; no bits means 0.

        Args:
            k: 1 for signed, else 0.
            i: integer bits, sign not counted; may be negative.
            f: fraction bits; may be negative.
            rounding: treatment of the part below one LSB.
            overflow: treatment of values outside.
        """
        k, i, f = np.broadcast_arrays(*(np.asarray(n, dtype=np.int64) for n in (k, i, f)))
        width = k + i + f
        if int(width.max(initial=0)) > MAX_WIDTH or int(np.abs(f).max(initial=0)) > 2 * MAX_WIDTH:
            raise RangeError(f"a type of {int(width.max())} bits; at most {MAX_WIDTH} are supported")
        empty = width <= 0
        top = np.int64(1) << np.where(empty, 0, np.maximum(i + f, 0))
        symmetric = overflow is Overflow.SAT_SYM
        lo = np.where(empty | (k == 0), 0, -top + symmetric)
        return cls(lo, np.where(empty, 0, top - 1), np.where(empty, 0, f), rounding, overflow)

    @property
    def lsb(self) -> RealArray:
        """Weight of one code."""
        return np.asarray(np.ldexp(1.0, -self.frac))

    def codes(self, values: ArrayLike) -> IntArray:
        """Convert finite real values, (..., *shape), into codes."""
        real = np.asarray(values, dtype=np.float64)
        if not np.isfinite(real).all():
            raise RangeError("a value is not a finite number")
        rounded = round_codes(in_lsb(real, self.frac), self.rounding)  # type: ignore[arg-type]
        span = (self.hi - self.lo + 1).astype(np.float64)
        if self.overflow is Overflow.WRAP:
            rounded = np.fmod(rounded, span)  # exact for every float64
        bound = 2.0**MAX_WIDTH
        codes = np.clip(rounded, -bound, bound).astype(np.int64)
        if self.overflow is Overflow.WRAP:
            return np.asarray((codes - self.lo) % (self.hi - self.lo + 1) + self.lo)
        if self.overflow is Overflow.SAT_ZERO:
            return np.where((codes < self.lo) | (codes > self.hi), 0, codes)
        return np.asarray(np.clip(codes, self.lo, self.hi))

    def values(self, values: ArrayLike) -> RealArray:
        """Convert finite real values into the values of their codes, float64."""
        return np.asarray(np.ldexp(self.codes(values).astype(np.float64), -self.frac))

    def moved(self, move: Callable[[IntArray], IntArray]) -> Grid:
        """Return the types of a tensor whose elements are rearranged by ``move``."""
        return replace(self, lo=move(self.lo), hi=move(self.hi), frac=move(self.frac))
