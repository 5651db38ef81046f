# SPDX-License-Identifier: Apache-2.0
"""The operations on wires: range and integers in one class each.

How an operation prints, what it costs and how long it takes are read off the class by the printer
(`l1ml.rtl.expressions`), the estimate (`l1ml.synth.estimate`) and the delay model (`l1ml.schedule.delays`).
Wires carry integers; the binary point is only remembered, it never changes a value.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from l1ml.types.arrays import IntArray
from l1ml.types.fixed import Rounding, shift_codes
from l1ml.types.intrange import IntType


@dataclass(frozen=True)
class Op(ABC):
    """One operation; subclasses register themselves in ``OPS``."""

    OPS: ClassVar[dict[str, type[Op]]] = {}

    def __init_subclass__(cls) -> None:
        Op.OPS[cls.__name__] = cls

    @abstractmethod
    def infer(self, *ins: IntType) -> IntType:
        """Return the range of the result for operands of the given ranges."""

    @abstractmethod
    def emulate(self, *ins: IntArray) -> IntArray:
        """Return the results for arrays of operands."""


@dataclass(frozen=True)
class Constant(Op):
    """The integer ``value`` with ``frac`` fraction bits; no operands."""

    value: int
    frac: int = 0

    def infer(self, *ins: IntType) -> IntType:
        return IntType(self.value, self.value, self.frac)

    def emulate(self, *ins: IntArray) -> IntArray:
        return np.array(self.value, dtype=np.int64)


@dataclass(frozen=True)
class ShiftAdd(Op):
    """``±a ± b * 2**shift``, exact; at most one operand is negated.

    ``shift`` counts in LSBs; the result keeps the binary point of ``a``.
    """

    shift: int = 0
    negate_a: bool = False
    negate_b: bool = False

    def __post_init__(self) -> None:
        assert self.shift >= 0, "the builder swaps the operands of a negative shift"
        assert not (self.negate_a and self.negate_b), "negate the sum instead"

    def infer(self, *ins: IntType) -> IntType:
        a, b = ins
        a_lo, a_hi = (-a.hi, -a.lo) if self.negate_a else (a.lo, a.hi)
        b_lo, b_hi = b.lo << self.shift, b.hi << self.shift
        if self.negate_b:
            b_lo, b_hi = -b_hi, -b_lo
        return IntType(a_lo + b_lo, a_hi + b_hi, a.frac)

    def emulate(self, *ins: IntArray) -> IntArray:
        a, b = ins
        shifted = b << self.shift
        return np.asarray((-a if self.negate_a else a) + (-shifted if self.negate_b else shifted))


@dataclass(frozen=True)
class Negate(Op):
    """``-a``."""

    def infer(self, *ins: IntType) -> IntType:
        (a,) = ins
        return IntType(-a.hi, -a.lo, a.frac)

    def emulate(self, *ins: IntArray) -> IntArray:
        return np.asarray(-ins[0])


@dataclass(frozen=True)
class Requantize(Op):
    """``clip(round(±a * 2**-drop) + offset, lo, hi)``: the end of a layer in one carry chain.

    Args:
        drop: bits below the new LSB; negative appends zeros.
        rounding: treatment of the dropped bits.
        offset: integer added after rounding, in new LSBs (a bias that lies on the new grid).
        lo: smallest result.
        hi: largest result.
        frac: fraction bits of the result.
    """

    drop: int
    rounding: Rounding
    offset: int
    lo: int
    hi: int
    frac: int

    def unclipped(self, a: IntType) -> IntType:
        """Return the range before clipping."""
        ends = [int(shift_codes(np.array(n, dtype=np.int64), self.drop, self.rounding)) for n in (a.lo, a.hi)]
        return IntType(ends[0] + self.offset, ends[1] + self.offset, self.frac)

    def infer(self, *ins: IntType) -> IntType:
        raw = self.unclipped(ins[0])
        return IntType(min(max(raw.lo, self.lo), self.hi), min(max(raw.hi, self.lo), self.hi), self.frac)

    def emulate(self, *ins: IntArray) -> IntArray:
        rounded = shift_codes(np.asarray(ins[0], dtype=np.int64), self.drop, self.rounding)
        return np.clip(rounded + self.offset, self.lo, self.hi)


@dataclass(frozen=True)
class Wrap(Op):
    """The low ``width`` bits of ``floor(a * 2**-drop)``, read as signed or unsigned: overflow by wrap-around."""

    drop: int
    width: int
    signed: bool
    frac: int

    def infer(self, *ins: IntType) -> IntType:
        (a,) = ins
        lo = -(1 << (self.width - 1)) if self.signed else 0
        hi = lo + (1 << self.width) - 1
        low, high = (n >> self.drop if self.drop >= 0 else n << -self.drop for n in (a.lo, a.hi))
        if lo <= low and high <= hi:
            return IntType(low, high, self.frac)
        return IntType(lo, hi, self.frac)

    def emulate(self, *ins: IntArray) -> IntArray:
        shifted = ins[0] >> self.drop if self.drop >= 0 else ins[0] << -self.drop
        lo = -(1 << (self.width - 1)) if self.signed else 0
        return np.asarray((shifted - lo) % (1 << self.width) + lo)


@dataclass(frozen=True)
class AtLeast(Op):
    """``1`` where ``a >= threshold``, else ``0``."""

    threshold: int

    def infer(self, *ins: IntType) -> IntType:
        (a,) = ins
        return IntType(int(a.lo >= self.threshold), int(a.hi >= self.threshold), 0)

    def emulate(self, *ins: IntArray) -> IntArray:
        return np.asarray(ins[0] >= self.threshold, dtype=np.int64)
