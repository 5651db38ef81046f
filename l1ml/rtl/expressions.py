# SPDX-License-Identifier: Apache-2.0
"""One SystemVerilog expression per operation, with every width explicit.

Operands are extended by hand (``{{3{a[7]}}, a}``): then no tool has to guess about signs, the expression
is as wide as its result, and all tools agree.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import singledispatch

from l1ml.dataflow.op import AtLeast, Clip, Constant, Floor, Increment, Negate, Op, RoundUp, ShiftAdd, Wrap
from l1ml.types.fixed import Rounding
from l1ml.types.intrange import IntType

MODULAR: tuple[type[Op], ...] = (ShiftAdd, Negate, Increment, Floor, Wrap)
"""Operations whose low result bits depend on no high operand bits."""


class Operand:
    """A wire as it is read in an expression; it remembers which of its bits were read.

    Args:
        name: the signal.
        kind: range of the wire.
        constant: its value, if it is a literal.
        declared: (lowest, one above highest) bit of the signal; all bits of ``kind`` by default.
    """

    def __init__(
        self, name: str, kind: IntType, constant: int | None = None, declared: tuple[int, int] | None = None
    ) -> None:
        self.name, self.kind, self.constant = name, kind, constant
        self.declared = declared if declared is not None else (0, kind.width)
        self.read = 0
        """Bit mask of what was read."""

    def _note(self, low: int, high: int) -> None:
        self.read |= (1 << high) - (1 << low)

    def bit(self, index: int) -> str:
        """Return one bit; above the top it is the sign, or zero."""
        if self.constant is not None:
            return f"1'b{self.constant >> index & 1}"
        if index < self.kind.width:
            self._note(index, index + 1)
            return self.name if self.declared == (0, 1) else f"{self.name}[{index}]"
        return self.bit(self.kind.width - 1) if self.kind.signed else "1'b0"

    def bits(self, low: int, width: int) -> str:
        """Return ``width`` bits from ``low`` up, extended by the sign or zeros."""
        if self.constant is not None:
            return literal(self.constant >> low, width)
        have = self.kind.width - low
        if have <= 0:
            return (
                f"{{{width}{{{self.bit(self.kind.width - 1)}}}}}" if self.kind.signed else literal(0, width)
            )
        if have >= width:
            return self._slice(low, width)
        missing = width - have
        if not self.kind.signed:
            return f"{{{literal(0, missing)}, {self._slice(low, have)}}}"
        top = self.bit(self.kind.width - 1)
        extension = top if missing == 1 else f"{{{missing}{{{top}}}}}"
        return f"{{{extension}, {self._slice(low, have)}}}"

    def whole(self) -> str:
        """Return the signal with its sign, for a comparison."""
        self._note(0, self.kind.width)
        return f"$signed({self.name})" if self.kind.signed else self.name

    def _slice(self, low: int, width: int) -> str:
        self._note(low, low + width)
        if self.declared == (low, low + width):
            return self.name
        return self.bit(low) if width == 1 else f"{self.name}[{low + width - 1}:{low}]"


def literal(value: int, width: int) -> str:
    """Return a sized literal; negative values as their two's complement.

    Example:
        >>> literal(-3, 6)
        "6'd61"
    """
    return f"{width}'d{value % (1 << width)}"


@singledispatch
def expression(op: Op, ins: Sequence[Operand], width: int) -> str:
    """Return the right-hand side of the ``assign`` of one step, ``width`` bits wide.

    For the operations of `MODULAR` ``width`` may be less than the result's: the low bits are the same.
    """
    raise AssertionError(f"{type(op).__name__} does not print")


@singledispatch
def meaning(op: Op, names: Sequence[str]) -> str:
    """Return the step as a formula for the comment behind it."""
    raise AssertionError(f"{type(op).__name__} has no formula")


@expression.register
def _constant(op: Constant, ins: Sequence[Operand], width: int) -> str:
    return literal(op.value, width)


@meaning.register
def _constant_text(op: Constant, names: Sequence[str]) -> str:
    return str(op.value)


@expression.register
def _add(op: ShiftAdd, ins: Sequence[Operand], width: int) -> str:
    a, b = ins
    shift = op.shift
    if op.negate_a:
        moved = _shifted(b, shift, width)
        return f"{moved} - {a.bits(0, width)}"
    if shift >= width:
        return a.bits(0, width)
    sign = "-" if op.negate_b else "+"
    overlap = a.constant is not None or a.kind.signed or a.kind.width > shift
    if not overlap and not op.negate_b:
        return f"{{{b.bits(0, width - shift)}, {a.bits(0, shift)}}}"
    high = f"{a.bits(shift, width - shift)} {sign} {b.bits(0, width - shift)}"
    return f"{{{high}, {a.bits(0, shift)}}}" if shift else high


def _shifted(b: Operand, shift: int, width: int) -> str:
    if shift == 0:
        return b.bits(0, width)
    if shift >= width:
        return literal(0, width)
    return f"{{{b.bits(0, width - shift)}, {literal(0, shift)}}}"


@meaning.register
def _add_text(op: ShiftAdd, names: Sequence[str]) -> str:
    a, b = names
    term = b if op.shift == 0 else f"{1 << op.shift}*{b}"
    if op.negate_a:
        return f"{term} - {a}"
    return f"{a} {'-' if op.negate_b else '+'} {term}"


@expression.register
def _negate(op: Negate, ins: Sequence[Operand], width: int) -> str:
    return f"{literal(0, width)} - {ins[0].bits(0, width)}"


@meaning.register
def _negate_text(op: Negate, names: Sequence[str]) -> str:
    return f"-{names[0]}"


@expression.register
def _floor(op: Floor, ins: Sequence[Operand], width: int) -> str:
    if op.drop >= 0:
        return ins[0].bits(op.drop, width)
    return f"{{{ins[0].bits(0, width + op.drop)}, {literal(0, -op.drop)}}}"


@meaning.register
def _floor_text(op: Floor, names: Sequence[str]) -> str:
    return f"floor({names[0]} / {1 << op.drop})" if op.drop >= 0 else f"{names[0]} * {1 << -op.drop}"


@expression.register
def _round_up(op: RoundUp, ins: Sequence[Operand], width: int) -> str:
    (a,) = ins
    # Each case reads only the bits it needs: what is read decides what is registered.
    match op.rounding:
        case Rounding.RND:
            return a.bit(op.drop - 1)
        case Rounding.RND_CONV:
            return f"{a.bit(op.drop - 1)} & ({_any(a, op.drop - 1)} | {a.bit(op.drop)})"
        case Rounding.RND_MIN_INF:
            return f"{a.bit(op.drop - 1)} & {_any(a, op.drop - 1)}"
        case Rounding.RND_INF:
            return f"{a.bit(op.drop - 1)} & ({_any(a, op.drop - 1)} | ~{_sign(a)})"
        case Rounding.RND_ZERO:
            return f"{a.bit(op.drop - 1)} & ({_any(a, op.drop - 1)} | {_sign(a)})"
        case _:  # TRN_ZERO
            return f"{_sign(a)} & {_any(a, op.drop)}"


def _any(a: Operand, width: int) -> str:
    """Return whether any of the low ``width`` bits is set."""
    return f"(|{a.bits(0, width)})" if width else "1'b0"


def _sign(a: Operand) -> str:
    return a.bit(a.kind.width - 1) if a.kind.signed else "1'b0"


@meaning.register
def _round_up_text(op: RoundUp, names: Sequence[str]) -> str:
    return f"1 if {names[0]} / {1 << op.drop} rounds up ({op.rounding.value})"


@expression.register
def _increment(op: Increment, ins: Sequence[Operand], width: int) -> str:
    a, bit = ins
    carry = bit.bits(0, 1)
    # One carry chain with carry-in: a bit below the LSB makes it, 1 + bit, or 0 - bit as a borrow.
    if op.negate:
        whole = f"({{{literal(op.offset, width)}, 1'b0}} - {{{a.bits(0, width)}, {carry}}})"
        return f"{width}'({whole} >> 1)"
    if op.offset == 0:
        return f"{a.bits(0, width)} + {bit.bits(0, width)}"
    whole = f"({{{a.bits(0, width)}, 1'b1}} + {{{literal(op.offset, width)}, {carry}}})"
    return f"{width}'({whole} >> 1)"


@meaning.register
def _increment_text(op: Increment, names: Sequence[str]) -> str:
    if op.negate:
        return f"{op.offset} - {names[0]} - {names[1]}"
    offset = f" {'+' if op.offset > 0 else '-'} {abs(op.offset)}" if op.offset else ""
    return f"{names[0]} + {names[1]}{offset}"


@expression.register
def _clip(op: Clip, ins: Sequence[Operand], width: int) -> str:
    (a,) = ins
    inside = a.bits(0, width)
    text = inside
    if a.kind.hi > op.hi:
        text = f"{_above(a, op.hi)} ? {literal(op.hi, width)} : {text}"
    if a.kind.lo < op.lo:
        text = f"{_below(a, op.lo)} ? {literal(op.lo, width)} : {text}"
    return text


def _above(a: Operand, limit: int) -> str:
    """Return the condition ``a > limit``."""
    top = a.kind.width - 1 if a.kind.signed else a.kind.width
    k = (limit + 1).bit_length() - 1
    if limit + 1 == 1 << k and k < top:  # a power of two: look at the bits above it
        high = f"(|{a.bits(k, top - k)})" if top - k > 1 else a.bit(k)
        return f"(~{a.bit(top)} & {high})" if a.kind.signed else high
    return f"({a.whole()} > {_signed_literal(limit, a)})"


def _below(a: Operand, limit: int) -> str:
    """Return the condition ``a < limit``; ``a`` is signed or ``limit`` above 0."""
    top = a.kind.width - 1
    if limit == 0 and a.kind.signed:
        return a.bit(top)
    k = (-limit).bit_length() - 1
    if limit < 0 and -limit == 1 << k and k < top:
        rest = f"(&{a.bits(k, top - k)})" if top - k > 1 else a.bit(k)
        return f"({a.bit(top)} & ~{rest})"
    return f"({a.whole()} < {_signed_literal(limit, a)})"


def _signed_literal(value: int, a: Operand) -> str:
    width = a.kind.width
    if not a.kind.signed:
        return literal(value, width)
    return f"-{width}'sd{-value}" if value < 0 else f"{width}'sd{value}"


@meaning.register
def _clip_text(op: Clip, names: Sequence[str]) -> str:
    return f"{names[0]} clipped to {op.lo}..{op.hi}"


@expression.register
def _wrap(op: Wrap, ins: Sequence[Operand], width: int) -> str:
    return ins[0].bits(0, width)


@meaning.register
def _wrap_text(op: Wrap, names: Sequence[str]) -> str:
    return f"{names[0]} modulo {1 << op.width}"


@expression.register
def _at_least(op: AtLeast, ins: Sequence[Operand], width: int) -> str:
    (a,) = ins
    if op.threshold == 0 and a.kind.signed:
        return f"~{a.bit(a.kind.width - 1)}"
    return f"{a.whole()} >= {_signed_literal(op.threshold, a)}"


@meaning.register
def _at_least_text(op: AtLeast, names: Sequence[str]) -> str:
    return f"{names[0]} >= {op.threshold}"
