# SPDX-License-Identifier: Apache-2.0
"""One SystemVerilog expression per operation, with every width explicit.

Operands are extended by hand (``{{3{a[7]}}, a}``): then no tool has to guess about signs, the expression
is as wide as its result, and all tools agree.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import singledispatch

from l1ml.dataflow.op import (
    AtLeast,
    Bitwise,
    Clip,
    Compare,
    Constant,
    Floor,
    Increment,
    Lookup,
    Multiply,
    Negate,
    NonZero,
    Not,
    Op,
    RoundUp,
    Select,
    ShiftAdd,
    Wrap,
)
from l1ml.dataflow.tables import Column, columns
from l1ml.rtl.operands import Operand, literal
from l1ml.rtl.roms import rom_name
from l1ml.types.fixed import Rounding

MODULAR: tuple[type[Op], ...] = (
    ShiftAdd,
    Negate,
    Increment,
    Floor,
    Wrap,
    Multiply,
    Select,
    Lookup,
    Bitwise,
    Not,
)
"""Operations whose low result bits depend on no high operand bits, or that make their bits one by one."""


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
    """Return ``width`` bits of ``b`` with zeros appended below."""
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
    return _shifted(ins[0], -op.drop, width)


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


@expression.register
def _multiply(op: Multiply, ins: Sequence[Operand], width: int) -> str:
    a, b = sorted(ins, key=lambda operand: -operand.kind.width)
    if b.kind.width > 2:
        factors = [a.bits(0, width), b.bits(0, width)]
        if a.kind.signed or b.kind.signed:  # so that tools see the sign extension as such
            factors = [f"$signed({factor})" for factor in factors]
        return f"{factors[0]} * {factors[1]}"
    row = _masked(b.bit(0), a.bits(0, width), width)
    sign = "-" if b.kind.signed else "+"
    if b.kind.width < 2:
        return f"{literal(0, width)} - ({row})" if b.kind.signed else row
    if width < 2:
        return row
    upper = _masked(b.bit(1), a.bits(0, width - 1), width - 1)
    return f"({row}) {sign} {{{upper}, 1'd0}}"


def _masked(bit: str, bits: str, width: int) -> str:
    return f"{bit} & {bits}" if width == 1 else f"{{{width}{{{bit}}}}} & {bits}"


@meaning.register
def _multiply_text(op: Multiply, names: Sequence[str]) -> str:
    return f"{names[0]} * {names[1]}"


@expression.register
def _compare(op: Compare, ins: Sequence[Operand], width: int) -> str:
    a, b = ins
    ends = [(a, max(-op.shift, 0)), (b, max(op.shift, 0))]
    signed = a.kind.signed or b.kind.signed
    whole = max(x.kind.width + up + (signed and not x.kind.signed) for x, up in ends)
    texts = [_shifted(x, up, whole) for x, up in ends]
    return " >= ".join(f"$signed({text})" if signed else text for text in texts)


@meaning.register
def _compare_text(op: Compare, names: Sequence[str]) -> str:
    a, b = names
    return f"{_times(a, -op.shift)} >= {_times(b, op.shift)}"


def _times(name: str, shift: int) -> str:
    return f"{1 << shift}*{name}" if shift > 0 else name


@expression.register
def _select(op: Select, ins: Sequence[Operand], width: int) -> str:
    c, a, b = ins
    return f"{c.bit(0)} ? {_shifted(a, op.zeros_a, width)} : {_shifted(b, op.zeros_b, width)}"


@meaning.register
def _select_text(op: Select, names: Sequence[str]) -> str:
    c, a, b = names
    return f"{c} ? {_times(a, op.zeros_a)} : {_times(b, op.zeros_b)}"


@expression.register
def _lookup(op: Lookup, ins: Sequence[Operand], width: int) -> str:
    (a,) = ins
    bits = [_column(column, a) for column in columns(op, a.kind, width)]
    return bits[0] if width == 1 else f"{{{', '.join(reversed(bits))}}}"


def _column(column: Column, a: Operand) -> str:
    if not column.inputs:
        return f"1'b{column.truth}"
    if len(column.inputs) == 1:
        return f"{'~' if column.truth == 1 else ''}{a.bit(column.inputs[0])}"
    runs: list[list[int]] = []
    for index in column.inputs:
        if runs and runs[-1][-1] == index - 1:
            runs[-1].append(index)
        else:
            runs.append([index])
    if len(runs) == 1:
        return f"{rom_name(column)}[{a.index(runs[0][0], len(runs[0]))}]"
    parts = [a.bits(run[0], len(run)) for run in reversed(runs)]
    return f"{rom_name(column)}[{{{', '.join(parts)}}}]"


@meaning.register
def _lookup_text(op: Lookup, names: Sequence[str]) -> str:
    entries = ", ".join(map(str, op.table)) if len(op.table) <= 32 else f"{len(op.table)} entries"
    return f"table of {names[0]} from {op.first}: {entries}"


@expression.register
def _bitwise(op: Bitwise, ins: Sequence[Operand], width: int) -> str:
    parts = sorted(zip(op.shifts, range(len(ins)), strict=True))
    if op.joins([a.kind for a in ins]):
        texts, top = [], 0
        for shift, number in parts:
            a = ins[number]
            size = min(a.kind.width, width - shift)
            if size > 0:
                texts += [literal(0, shift - top)] * (shift > top) + [a.bits(0, size)]
                top = shift + size
        texts += [literal(0, width - top)] * (width > top)
        return texts[0] if len(texts) == 1 else f"{{{', '.join(reversed(texts))}}}"
    sign = {"and": " & ", "or": " | ", "xor": " ^ "}[op.kind]
    inverted = op.kind == "xor" and width == 1 and any(a.constant is not None and a.constant & 1 for a in ins)
    kept = [n for s, n in parts if not (inverted and ins[n].constant is not None)]
    text = sign.join(_shifted(ins[n], op.shifts[n], width) for n in kept)
    if inverted:
        return f"~{text}" if len(kept) == 1 else f"~({text})"
    return text


@meaning.register
def _bitwise_text(op: Bitwise, names: Sequence[str]) -> str:
    terms = [_times(name, shift) for name, shift in zip(names, op.shifts, strict=True)]
    if len(terms) > 8:
        return f"{op.kind} of {len(terms)} terms"
    return f" {op.kind} ".join(terms)


@expression.register
def _not(op: Not, ins: Sequence[Operand], width: int) -> str:
    return f"~{_bracketed(ins[0].bits(0, width))}"


def _bracketed(text: str) -> str:
    return text if text.startswith("{") or " " not in text else f"({text})"


@meaning.register
def _not_text(op: Not, names: Sequence[str]) -> str:
    return f"not {names[0]}"


@expression.register
def _nonzero(op: NonZero, ins: Sequence[Operand], width: int) -> str:
    return _any(ins[0], ins[0].kind.width)


@meaning.register
def _nonzero_text(op: NonZero, names: Sequence[str]) -> str:
    return f"{names[0]} != 0"
