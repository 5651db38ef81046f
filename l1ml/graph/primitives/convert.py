# SPDX-License-Identifier: Apache-2.0
"""Conversions between fixed-point types, and bounds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from l1ml.errors import RangeError
from l1ml.graph.primitives.base import Primitive, bounded, magnitude, shifted, spread
from l1ml.graph.tensor import TensorType
from l1ml.types.arrays import IntArray
from l1ml.types.fixed import Overflow, Quantizer, Rounding, shift_codes
from l1ml.types.intrange import MAX_WIDTH


@dataclass(frozen=True, eq=False)
class Requantize(Primitive):
    """Round to ``frac`` fraction bits, then bring into ``lo..hi`` by the overflow mode; types per element.

    Args:
        lo: smallest code, broadcastable to the shape; equal to ``hi`` for a constant.
        hi: largest code.
        frac: fraction bits.
        rounding: treatment of the bits below.
        overflow: WRAP is modulo ``hi - lo + 1``, a power of two; SAT and SAT_SYM clip; SAT_ZERO gives 0.
    """

    lo: IntArray
    hi: IntArray
    frac: IntArray
    rounding: Rounding
    overflow: Overflow

    def __post_init__(self) -> None:
        super().__post_init__()
        if bool((self.lo > self.hi).any()):
            raise RangeError("a type without any code: its smallest code is above its largest")
        if float(np.max(self.hi.astype(np.float64) - self.lo, initial=0.0)) >= 2.0**MAX_WIDTH:
            raise RangeError(f"a type of more than {MAX_WIDTH} bits")
        span = self.hi - self.lo + 1
        if self.overflow is Overflow.WRAP and bool((span & (span - 1)).any()):
            raise RangeError("only a range of 2**n codes can wrap around")

    @classmethod
    def of(cls, into: Quantizer) -> Requantize:
        """Return the conversion of every element into one type."""
        low, high, frac = (np.array(n, dtype=np.int64) for n in (into.lo, into.type.hi, into.type.frac))
        return cls(low, high, frac, into.rounding, into.overflow)

    def infer(self, *types: TensorType) -> TensorType:
        (x,) = types
        self.shape_of(x.shape)
        lo, hi = self._rounded(x.lo, x), self._rounded(x.hi, x)
        up = np.clip(self.frac - x.frac, 0, MAX_WIDTH)
        if self.overflow is Overflow.WRAP:
            low, high = self._wrapped(x, lo, hi, up)
        elif self.overflow is Overflow.SAT_ZERO:
            low, high = self._zeroed(lo, hi, up)
        else:
            low, high = np.clip(lo, self.lo, self.hi), np.clip(hi, self.lo, self.hi)
        return TensorType(low, high, spread(self.frac, x.shape).copy())

    def _wrapped(self, x: TensorType, lo: IntArray, hi: IntArray, up: IntArray) -> tuple[IntArray, IntArray]:
        """Return the range: monotone between two borders; across one, every multiple of the step can come out."""
        span = self.hi - self.lo + 1
        exact = np.ldexp(magnitude(x), np.maximum(self.frac - x.frac, 0)) < 2.0 ** (MAX_WIDTH - 1)
        same = exact & ((lo - self.lo) // span == (hi - self.lo) // span)
        step = np.minimum(np.int64(1) << up, span)
        low, high = -(-self.lo // step) * step, self.hi // step * step
        return np.where(same, self._over(lo), low), np.where(same, self._over(hi), high)

    def _zeroed(self, lo: IntArray, hi: IntArray, up: IntArray) -> tuple[IntArray, IntArray]:
        """Return the range: what lies inside, and 0 once something lies outside."""
        step = np.int64(1) << up
        low = np.maximum(lo, -(-self.lo // step) * step)
        high = np.minimum(hi, self.hi // step * step)
        none, outside = low > high, (lo < self.lo) | (hi > self.hi)
        low = np.where(none, 0, np.where(outside, np.minimum(low, 0), low))
        return low, np.where(none, 0, np.where(outside, np.maximum(high, 0), high))

    def _rounded(self, codes: IntArray, x: TensorType) -> IntArray:
        drop = np.broadcast_to(x.frac - self.frac, x.shape)
        if int(drop.min(initial=0)) < 0:
            if self.overflow is not Overflow.WRAP:
                # Zeros appended to a code beyond this limit could leave int64; it overflows the type in any case.
                limit = np.int64(1) << np.clip(MAX_WIDTH + drop, 0, MAX_WIDTH)
                codes = np.where(drop < 0, np.clip(codes, -limit, limit), codes)
                drop = np.maximum(drop, -MAX_WIDTH)
            drop = np.maximum(drop, -64)  # WRAP: what int64 loses is a multiple of 2**64
        first = int(drop.flat[0]) if drop.size else 0
        if bool((drop == first).all()):
            return shift_codes(codes, first, self.rounding)
        out = np.empty(codes.shape, dtype=np.int64)
        for value in np.unique(drop):
            out[..., drop == value] = shift_codes(codes[..., drop == value], int(value), self.rounding)
        return out

    def _over(self, codes: IntArray) -> IntArray:
        if self.overflow is Overflow.WRAP:
            with np.errstate(over="ignore"):
                return np.asarray((codes - self.lo) % (self.hi - self.lo + 1) + self.lo)
        if self.overflow is Overflow.SAT_ZERO:
            return np.where((codes < self.lo) | (codes > self.hi), 0, codes)
        return np.asarray(np.clip(codes, self.lo, self.hi))

    def emulate(self, codes: Sequence[IntArray], types: Sequence[TensorType]) -> IntArray:
        return self._over(self._rounded(codes[0], types[0]))


@dataclass(frozen=True, eq=False)
class Relu(Primitive):
    """``max(x, 0)``, any shape, same grid."""

    def infer(self, *types: TensorType) -> TensorType:
        (x,) = types
        return TensorType(np.maximum(x.lo, 0), np.maximum(x.hi, 0), x.frac)

    def emulate(self, codes: Sequence[IntArray], types: Sequence[TensorType]) -> IntArray:
        return np.maximum(codes[0], 0)


@dataclass(frozen=True, eq=False)
class Clip(Primitive):
    """``min(max(x, lo), hi)``, bounds in LSBs of ``2**-frac``.

    The result has the finer grid of both.

    Args:
        lo: lower bound.
        hi: upper bound, not below ``lo``.
        frac: fraction bits of the bounds.
    """

    lo: int
    hi: int
    frac: int

    def __post_init__(self) -> None:
        super().__post_init__()
        if not -(1 << MAX_WIDTH) < self.lo <= self.hi < 1 << MAX_WIDTH:
            raise RangeError(f"bounds {self.lo}..{self.hi} do not make a range of at most {MAX_WIDTH} bits")

    def _bounds(self, x: TensorType) -> tuple[IntArray, IntArray, IntArray]:
        """Return (lo, hi, frac) per element: the finer of both grids."""
        common = np.maximum(x.frac, self.frac)
        bounded(np.ldexp(magnitude(x), common - x.frac), "a bound")
        peak = np.full(x.shape, float(max(abs(self.lo), abs(self.hi))))
        bounded(np.ldexp(peak, common - self.frac), "a bound")
        lo, hi = (np.asarray(np.int64(n) << (common - self.frac)) for n in (self.lo, self.hi))
        return lo, hi, common

    def infer(self, *types: TensorType) -> TensorType:
        (x,) = types
        lo, hi, common = self._bounds(x)
        low, high = shifted(x.lo, common - x.frac), shifted(x.hi, common - x.frac)
        return TensorType(np.clip(low, lo, hi), np.clip(high, lo, hi), common)

    def emulate(self, codes: Sequence[IntArray], types: Sequence[TensorType]) -> IntArray:
        lo, hi, common = self._bounds(types[0])
        return np.asarray(np.clip(codes[0] << (common - types[0].frac), lo, hi))
