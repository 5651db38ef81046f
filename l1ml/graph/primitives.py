# SPDX-License-Identifier: Apache-2.0
"""The primitives every layer is made of: exact range, exact integers, once.

``infer`` gives the type of the result, ``emulate`` its integer codes for a batch of events.  These are
the only definitions of what a network computes: the fast emulator (`l1ml.graph.emulate`) and the
lowering to wires (`l1ml.lowering`) are both read off them and tested against them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from l1ml.errors import RangeError
from l1ml.graph.tensor import TensorType, check_width
from l1ml.types.arrays import IntArray
from l1ml.types.fixed import Overflow, Quantizer, overflow_codes, shift_codes


@dataclass(frozen=True, eq=False)
class Primitive(ABC):
    """One operation on tensors of integer codes; every subclass registers itself in ``PRIMITIVES``."""

    PRIMITIVES: ClassVar[dict[str, type[Primitive]]] = {}

    def __init_subclass__(cls) -> None:
        Primitive.PRIMITIVES[cls.__name__] = cls

    @abstractmethod
    def infer(self, x: TensorType) -> TensorType:
        """Return the exact type of the result."""

    @abstractmethod
    def emulate(self, codes: IntArray, x: TensorType) -> IntArray:
        """Return the codes of the result for ``codes`` (events, *x.shape)."""


@dataclass(frozen=True, eq=False)
class ConstMatmul(Primitive):
    """``x @ (matrix * 2**-frac)`` on the last axis, exact.

    Args:
        matrix: (n_in, n_out) integers.
        frac: fraction bits of the matrix.
    """

    matrix: IntArray
    frac: int

    def infer(self, x: TensorType) -> TensorType:
        common = x.max_frac
        lo, hi = x.aligned(common)
        positive, negative = np.maximum(self.matrix, 0), np.minimum(self.matrix, 0)
        bound = np.maximum(np.abs(lo), np.abs(hi)).astype(np.float64) @ np.abs(self.matrix).astype(np.float64)
        if float(bound.max(initial=0.0)) >= 2.0**61:
            raise RangeError("a dot product needs more than 62 bits", fix="quantize its inputs to fewer bits")
        low, high = lo @ positive + hi @ negative, hi @ positive + lo @ negative
        return TensorType(low, high, np.full(low.shape, common + self.frac, dtype=np.int64))

    def emulate(self, codes: IntArray, x: TensorType) -> IntArray:
        return np.asarray((codes << (x.max_frac - x.frac)) @ self.matrix)


@dataclass(frozen=True, eq=False)
class AddConst(Primitive):
    """``x + constant * 2**-frac``, exact; ``constant`` is an integer per element of the last axis."""

    constant: IntArray
    frac: int

    def _common(self, x: TensorType) -> IntArray:
        return np.maximum(x.frac, self.frac)

    def infer(self, x: TensorType) -> TensorType:
        common = self._common(x)
        shift, const = common - x.frac, self.constant << (common - self.frac)
        lo, hi = (x.lo << shift) + const, (x.hi << shift) + const
        check_width(lo, hi, "a sum")
        return TensorType(lo, hi, common)

    def emulate(self, codes: IntArray, x: TensorType) -> IntArray:
        common = self._common(x)
        return np.asarray((codes << (common - x.frac)) + (self.constant << (common - self.frac)))


@dataclass(frozen=True, eq=False)
class Requantize(Primitive):
    """Convert every element into one fixed-point type: round, then overflow."""

    into: Quantizer

    def infer(self, x: TensorType) -> TensorType:
        lo, hi = self.emulate(x.lo, x), self.emulate(x.hi, x)
        before = [shift_codes(n, 0, self.into.rounding) for n in (x.lo, x.hi)]  # int64 copies
        kind = self.into.type
        if self.into.overflow in (Overflow.WRAP, Overflow.SAT_ZERO):
            # Not monotone once something lies outside the type: then every code can come out.
            low, high = (self._rounded(n, x) for n in before)
            outside = (low < kind.lo) | (high > kind.hi)
            zero_lo, zero_hi = np.maximum(low, kind.lo), np.minimum(high, kind.hi)
            full = self.into.overflow is Overflow.WRAP
            lo = np.where(outside, kind.lo if full else np.minimum(np.minimum(zero_lo, zero_hi), 0), lo)
            hi = np.where(outside, kind.hi if full else np.maximum(np.maximum(zero_lo, zero_hi), 0), hi)
            lo, hi = np.clip(lo, kind.lo, kind.hi), np.clip(hi, kind.lo, kind.hi)
        return TensorType(lo, hi, np.full(x.shape, kind.frac, dtype=np.int64))

    def _rounded(self, codes: IntArray, x: TensorType) -> IntArray:
        drop = x.frac - self.into.type.frac
        if int(drop.min(initial=0)) == int(drop.max(initial=0)):
            return shift_codes(codes, int(drop.flat[0]) if drop.size else 0, self.into.rounding)
        out = np.empty_like(codes)
        for value in np.unique(drop):
            out[..., drop == value] = shift_codes(codes[..., drop == value], int(value), self.into.rounding)
        return out

    def emulate(self, codes: IntArray, x: TensorType) -> IntArray:
        return overflow_codes(self._rounded(codes, x), self.into.type, self.into.overflow)


@dataclass(frozen=True, eq=False)
class Relu(Primitive):
    """``max(x, 0)``."""

    def infer(self, x: TensorType) -> TensorType:
        return TensorType(np.maximum(x.lo, 0), np.maximum(x.hi, 0), x.frac)

    def emulate(self, codes: IntArray, x: TensorType) -> IntArray:
        return np.maximum(codes, 0)


@dataclass(frozen=True, eq=False)
class Rescale(Primitive):
    """``clip((x * multiplier + offset) >> shift, lo, hi)`` per channel of the last axis.

    The exact integer form of a real affine function followed by a quantizer.

    Args:
        multiplier: (channels,) integers.
        offset: (channels,) integers, in LSBs of the product.
        shift: (channels,) bits dropped, at least 0.
        lo: smallest result.
        hi: largest result.
        frac: fraction bits of the result.
    """

    multiplier: IntArray
    offset: IntArray
    shift: IntArray
    lo: int
    hi: int
    frac: int

    def _affine(self, codes: IntArray, x: TensorType) -> IntArray:
        return np.asarray((codes << (x.max_frac - x.frac)) * self.multiplier + self.offset)

    def infer(self, x: TensorType) -> TensorType:
        low, high = x.aligned(x.max_frac)
        peak = np.maximum(np.abs(low), np.abs(high)).astype(np.float64) * np.abs(self.multiplier) + np.abs(
            self.offset
        )
        if float(peak.max(initial=0.0)) >= 2.0**61:
            raise RangeError("a scaled sum needs more than 62 bits", fix="quantize its inputs to fewer bits")
        ends = np.stack([self.emulate(x.lo, x), self.emulate(x.hi, x)])
        return TensorType(ends.min(axis=0), ends.max(axis=0), np.full(x.shape, self.frac, dtype=np.int64))

    def emulate(self, codes: IntArray, x: TensorType) -> IntArray:
        return np.asarray(np.clip(self._affine(codes, x) >> self.shift, self.lo, self.hi))


@dataclass(frozen=True, eq=False)
class Steps(Primitive):
    """``base + step * #{t : x >= t}``: a monotone step function per channel of the last axis.

    Args:
        thresholds: (channels, n) integers in LSBs of the finest input element, ascending; a threshold
            that is never reached stands above the input range.
        base: result below all thresholds.
        step: +1 or -1 per channel, or larger where codes are skipped evenly.
        frac: fraction bits of the result.
    """

    thresholds: IntArray
    base: IntArray
    step: IntArray
    frac: int

    def infer(self, x: TensorType) -> TensorType:
        ends = np.stack([self.emulate(x.lo, x), self.emulate(x.hi, x)])
        return TensorType(ends.min(axis=0), ends.max(axis=0), np.full(x.shape, self.frac, dtype=np.int64))

    def emulate(self, codes: IntArray, x: TensorType) -> IntArray:
        aligned = codes << (x.max_frac - x.frac)
        count = np.zeros(aligned.shape, dtype=np.int64)
        for k in range(self.thresholds.shape[1]):
            count += aligned >= self.thresholds[:, k]
        return np.asarray(self.base + self.step * count)


@dataclass(frozen=True, eq=False)
class Reshape(Primitive):
    """The same elements in another shape, C order."""

    shape: tuple[int, ...]

    def infer(self, x: TensorType) -> TensorType:
        return x.reshaped(self.shape)

    def emulate(self, codes: IntArray, x: TensorType) -> IntArray:
        return codes.reshape(codes.shape[: codes.ndim - len(x.shape)] + self.shape)
