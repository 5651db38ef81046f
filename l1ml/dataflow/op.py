# SPDX-License-Identifier: Apache-2.0
"""The operations on wires: range and integers in one class each.

How an operation prints, what it costs and how long it takes are read off the class by the printer
(`l1ml.rtl.expressions`), the estimate (`l1ml.synth.estimate`) and the delay model (`l1ml.schedule.delays`).
Wires carry integers; the binary point is only remembered, it never changes a value.
"""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from l1ml.types.arrays import IntArray
from l1ml.types.fixed import Rounding, shift_codes
from l1ml.types.intrange import IntType

ROW_BITS = 2
"""Bits of the narrow operand of a product that is one row of a multiplier in LUTs."""
DSP_BITS = (27, 18)
"""Operands of a DSP block (DSP48E2), both signed."""


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


@dataclass(frozen=True)
class Multiply(Op):
    """``a * b`` of two variables; the fraction bits add up.

    With an operand of one or two bits it is one row of a multiplier in LUTs (a mask, or a sum of two);
    with two wider ones it is meant for DSP blocks.
    """

    def blocks(self, *ins: IntType) -> int:
        """Return the DSP blocks it takes: one for every 27 x 18 bits, sign included; none for a row."""
        wide, narrow = sorted((a.width + (not a.signed) for a in ins), reverse=True)
        if min(a.width for a in ins) <= ROW_BITS:
            return 0
        return -(-(wide - 1) // (DSP_BITS[0] - 1)) * -(-(narrow - 1) // (DSP_BITS[1] - 1))

    def infer(self, *ins: IntType) -> IntType:
        a, b = ins
        ends = [m * n for m in (a.lo, a.hi) for n in (b.lo, b.hi)]
        return IntType(min(ends), max(ends), a.frac + b.frac)

    def emulate(self, *ins: IntArray) -> IntArray:
        return np.asarray(ins[0] * ins[1])


@dataclass(frozen=True)
class Compare(Op):
    """``1`` where ``a >= b * 2**shift``, else ``0``; a negative ``shift`` moves ``a`` up instead."""

    shift: int = 0

    def infer(self, *ins: IntType) -> IntType:
        a, b = ins
        up, down = max(self.shift, 0), max(-self.shift, 0)
        return IntType(int(a.lo << down >= b.hi << up), int(a.hi << down >= b.lo << up), 0)

    def emulate(self, *ins: IntArray) -> IntArray:
        a, b = ins
        if self.shift >= 0:
            return np.asarray(a >> self.shift >= b, dtype=np.int64)
        return np.asarray(a >= -(-b >> -self.shift), dtype=np.int64)  # nothing moves up: int64 is enough


@dataclass(frozen=True)
class Select(Op):
    """``c ? a * 2**zeros_a : b * 2**zeros_b`` for operands ``c, a, b``; ``c`` is one bit."""

    zeros_a: int = 0
    zeros_b: int = 0

    def __post_init__(self) -> None:
        assert min(self.zeros_a, self.zeros_b) >= 0, "zeros are appended, never dropped"

    def infer(self, *ins: IntType) -> IntType:
        c, a, b = ins
        assert c.lo >= 0, "the condition is one bit"
        assert c.hi <= 1, "the condition is one bit"
        lo = min(a.lo << self.zeros_a, b.lo << self.zeros_b)
        hi = max(a.hi << self.zeros_a, b.hi << self.zeros_b)
        return IntType(lo, hi, a.frac + self.zeros_a)

    def emulate(self, *ins: IntArray) -> IntArray:
        c, a, b = ins
        return np.where(c != 0, a << self.zeros_a, b << self.zeros_b)


@dataclass(frozen=True)
class Lookup(Op):
    """``table[a - first]``: any function of one wire; the result has ``frac`` fraction bits."""

    first: int
    table: tuple[int, ...]
    frac: int = 0

    def infer(self, *ins: IntType) -> IntType:
        (a,) = ins
        low, high = a.lo - self.first, a.hi - self.first
        assert 0 <= low <= high < len(self.table), f"codes {a} lie outside the table"
        part = self.table[low : high + 1]
        return IntType(min(part), max(part), self.frac)

    def emulate(self, *ins: IntArray) -> IntArray:
        return np.asarray(np.array(self.table, dtype=np.int64)[ins[0] - self.first])


@dataclass(frozen=True)
class Bitwise(Op):
    """The bits of ``operand k * 2**shifts[k]`` combined by ``and``, ``or`` or ``xor``; two or more operands.

    Integers are two's complement without end, so unequal widths need no rule.  An ``or`` of operands
    whose bits do not overlap is a concatenation: wiring only.
    """

    kind: str
    shifts: tuple[int, ...] = (0, 0)

    def __post_init__(self) -> None:
        assert self.kind in ("and", "or", "xor"), f"no bitwise operation {self.kind!r}"
        assert len(self.shifts) > 1, "two operands at least"
        assert min(self.shifts) >= 0, "the builder moves every operand up"

    def joins(self, ins: Sequence[IntType]) -> bool:
        """Tell whether it only puts the bits of its operands side by side."""
        spans = sorted((s, s + a.width) for s, a in zip(self.shifts, ins, strict=True))
        overlap = any(high > low for (_, high), (low, _) in itertools.pairwise(spans))
        return self.kind == "or" and not overlap and not any(a.signed for a in ins)

    def infer(self, *ins: IntType) -> IntType:
        ends = [(x.lo << s, x.hi << s) for x, s in zip(ins, self.shifts, strict=True)]
        bits = max(max(hi, ~lo).bit_length() for lo, hi in ends)
        lows, highs = [lo for lo, _ in ends], [hi for _, hi in ends]
        lo, hi = (0 if min(lows) >= 0 else -(1 << bits)), (1 << bits) - 1
        if self.kind == "and":  # not above any operand that is never negative
            bounds = [high for low, high in ends if low >= 0]
            lo, hi = (0, min(bounds)) if bounds else (lo, min(highs) if max(highs) < 0 else hi)
        elif self.kind == "or":
            if min(lows) >= 0:
                lo, hi = max(lows), min(hi, sum(highs))
            elif min(highs) < 0:
                hi = -1
        return IntType(lo, hi, ins[0].frac + self.shifts[0])

    def emulate(self, *ins: IntArray) -> IntArray:
        function = {"and": np.bitwise_and, "or": np.bitwise_or, "xor": np.bitwise_xor}[self.kind]
        total = ins[0] << self.shifts[0]
        for x, shift in zip(ins[1:], self.shifts[1:], strict=True):
            total = function(total, x << shift)
        return np.asarray(total)


@dataclass(frozen=True)
class Not(Op):
    """``-1 - a``: every bit inverted, above the top one too; `Wrap` behind it keeps as many as are wanted."""

    def infer(self, *ins: IntType) -> IntType:
        (a,) = ins
        return IntType(~a.hi, ~a.lo, a.frac)

    def emulate(self, *ins: IntArray) -> IntArray:
        return np.asarray(~ins[0])


@dataclass(frozen=True)
class NonZero(Op):
    """``1`` where any bit of ``a`` is set, else ``0``."""

    def infer(self, *ins: IntType) -> IntType:
        (a,) = ins
        return IntType(int(a.lo > 0 or a.hi < 0), int(a.lo != 0 or a.hi != 0), 0)

    def emulate(self, *ins: IntArray) -> IntArray:
        return np.asarray(ins[0] != 0, dtype=np.int64)
