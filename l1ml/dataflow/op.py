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
class Floor(Op):
    """``floor(a * 2**-drop)``: the low bits are left out; a negative ``drop`` appends zeros.  Wiring only."""

    drop: int

    def infer(self, *ins: IntType) -> IntType:
        (a,) = ins
        lo, hi = ((n >> self.drop if self.drop >= 0 else n << -self.drop) for n in (a.lo, a.hi))
        return IntType(lo, hi, a.frac - self.drop)

    def emulate(self, *ins: IntArray) -> IntArray:
        return np.asarray(ins[0] >> self.drop if self.drop >= 0 else ins[0] << -self.drop)


@dataclass(frozen=True)
class RoundUp(Op):
    """``1`` where rounding ``a * 2**-drop`` gives one more than its floor, else ``0``."""

    drop: int
    rounding: Rounding

    def __post_init__(self) -> None:
        assert self.drop > 0, "nothing is rounded"
        assert self.rounding is not Rounding.TRN, "truncation is a floor"

    def infer(self, *ins: IntType) -> IntType:
        return IntType(0, 1, 0)

    def emulate(self, *ins: IntArray) -> IntArray:
        a = np.asarray(ins[0], dtype=np.int64)
        return shift_codes(a, self.drop, self.rounding) - (a >> self.drop)


@dataclass(frozen=True)
class Increment(Op):
    """``offset ± (a + bit)``: rounding bit, bias and sign of a sum in one adder."""

    offset: int
    negate: bool = False

    def infer(self, *ins: IntType) -> IntType:
        a, bit = ins
        lo, hi = a.lo + bit.lo, a.hi + bit.hi
        if self.negate:
            lo, hi = -hi, -lo
        return IntType(lo + self.offset, hi + self.offset, a.frac)

    def emulate(self, *ins: IntArray) -> IntArray:
        total = ins[0] + ins[1]
        return np.asarray(self.offset + (-total if self.negate else total))


@dataclass(frozen=True)
class Clip(Op):
    """``min(max(a, lo), hi)``."""

    lo: int
    hi: int

    def infer(self, *ins: IntType) -> IntType:
        (a,) = ins
        return IntType(min(max(a.lo, self.lo), self.hi), min(max(a.hi, self.lo), self.hi), a.frac)

    def emulate(self, *ins: IntArray) -> IntArray:
        return np.clip(ins[0], self.lo, self.hi)


@dataclass(frozen=True)
class Wrap(Op):
    """The low ``width`` bits of ``a``, read as signed or unsigned: overflow by wrap-around.  Wiring only."""

    width: int
    signed: bool

    def infer(self, *ins: IntType) -> IntType:
        (a,) = ins
        lo = -(1 << (self.width - 1)) if self.signed else 0
        hi = lo + (1 << self.width) - 1
        return IntType(a.lo, a.hi, a.frac) if lo <= a.lo and a.hi <= hi else IntType(lo, hi, a.frac)

    def emulate(self, *ins: IntArray) -> IntArray:
        lo = -(1 << (self.width - 1)) if self.signed else 0
        return np.asarray((ins[0] - lo) % (1 << self.width) + lo)


@dataclass(frozen=True)
class AtLeast(Op):
    """``1`` where ``a >= threshold``, else ``0``."""

    threshold: int

    def infer(self, *ins: IntType) -> IntType:
        (a,) = ins
        return IntType(int(a.lo >= self.threshold), int(a.hi >= self.threshold), 0)

    def emulate(self, *ins: IntArray) -> IntArray:
        return np.asarray(ins[0] >= self.threshold, dtype=np.int64)
