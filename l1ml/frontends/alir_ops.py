# SPDX-License-Identifier: Apache-2.0
"""The operations of alkaid's programs, each as rows of a scalar program.

Rules are those of its two interpreters, in Python and in C++.  Where they differ (the top bit of words that
leave their stated range, *all* on words with fraction bits) the C++ one is followed, which is also what
alkaid's RTL does; operations that contradict their stated type are refused.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from l1ml.graph.scalar import LIMIT, Kind
from l1ml.types.intrange import MAX_WIDTH

MAX_TERMS = 64
"""Terms of one sum."""

NO_CAP = LIMIT
"""As the finest binary point of a sum: nothing is left out."""


class WrongError(Exception):
    """What is wrong with one operation."""


@dataclass(frozen=True)
class Range:
    """The interval that a file states for a value, and the fixed-point type that alkaid derives from it.

    Args:
        lo: smallest value.
        hi: largest value.
        step: distance of two values, a power of two.
    """

    lo: float
    hi: float
    step: float

    @classmethod
    def read(cls, found: Any) -> Range:
        """Check three numbers.

        Raises:
            WrongError: they are no range.
        """
        if not isinstance(found, list) or len(found) != 3 or not all(is_number(n) for n in found):
            raise WrongError(f"its range {str(found)[:80]} is not [min, max, step]")
        lo, hi, step = (float(n) for n in found)
        if not lo <= hi or step <= 0 or math.frexp(step)[0] != 0.5:
            raise WrongError(f"its range {found} is not min <= max with a step that is a power of two")
        for end in (lo, hi):
            if not abs(end / step) < 2.0**MAX_WIDTH:
                raise WrongError(f"its range {found} needs more than {MAX_WIDTH} bits")
        return cls(lo, hi, step)

    @property
    def point(self) -> int:
        """Fraction bits of the step."""
        return 1 - math.frexp(self.step)[1]

    @property
    def frac(self) -> int:
        """Fraction bits; 0 for the constant zero."""
        return 0 if self.lo == self.hi == 0.0 else self.point

    @property
    def fixed(self) -> bool:
        """Tell whether there is one value only."""
        return self.lo == self.hi

    @property
    def signed(self) -> bool:
        """Tell whether there is a sign bit."""
        return self.lo < 0

    @property
    def width(self) -> int:
        """Bits, sign bit included."""
        return max(self.last, ~self.first).bit_length() + self.signed

    @property
    def first(self) -> int:
        """Smallest code."""
        return round(self.lo / self.step)

    @property
    def last(self) -> int:
        """Largest code."""
        return round(self.hi / self.step)

    @property
    def word(self) -> int:
        """Width as rows state it: negative for signed words."""
        return -self.width if self.signed else self.width

    @property
    def top_bit(self) -> int:
        """Weight of the most significant bit, as a power of two."""
        return self.width - 1 - self.frac


def is_number(value: Any) -> bool:
    """Tell whether a value of JSON is a number of bounded size."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 2.0**200


def is_int(value: Any, lowest: int = -(1 << 63), highest: int = (1 << 63) - 1) -> bool:
    """Tell whether a value of JSON is a whole number within bounds."""
    return isinstance(value, int) and not isinstance(value, bool) and lowest <= value <= highest


@dataclass(frozen=True)
class Operation:
    """One operation of the file: addresses, code, payload and stated range."""

    reads: list[int]
    code: int
    data: list[int]
    range: Range

    @classmethod
    def read(cls, number: int, record: Any) -> Operation:
        """Check operation ``number`` of a file.

        Raises:
            WrongError: it is no operation, or reads one that comes later.
        """
        if not isinstance(record, list) or len(record) != 6:
            raise WrongError("it is not [addresses, opcode, data, range, latency, cost]")
        reads, code, data, stated = record[:4]
        if not is_int(code) or code not in _TRANSLATE:
            raise WrongError(f"unknown opcode; known are {', '.join(map(str, _TRANSLATE))}")
        if not isinstance(reads, list) or not isinstance(data, list):
            raise WrongError("its addresses or data are not lists")
        if not all(is_int(n) for n in (*reads, *data)):
            raise WrongError("its addresses or data are not whole numbers of 64 bits")
        wanted = _PARTS.get(code, (min(max(len(reads), 1), MAX_TERMS), 2 * len(reads)))
        if (len(reads), len(data)) != wanted:
            raise WrongError(f"it has {len(reads)} addresses and {len(data)} data; expected are {wanted}")
        late = [n for n in reads if not 0 <= n < number]
        if late:
            raise WrongError(f"it reads operation {late[0]}; only earlier ones can be read")
        return cls(reads, code, data, Range.read(stated))


@dataclass
class Rows:
    """A file's operations and the rows they have become.

    Args:
        n_in: number of inputs.
        input_shifts: left shift of every input.
        tables: entries of every table.
        table_fracs: fraction bits of every table.
        operations: those taken over.
        wire_of: the wire of every operation.
        rows: the rows.
    """

    n_in: int
    input_shifts: Sequence[int]
    tables: Sequence[Sequence[int]]
    table_fracs: Sequence[int]
    operations: list[Operation] = field(default_factory=list)
    wire_of: list[int] = field(default_factory=list)
    rows: list[list[int]] = field(default_factory=list)

    def take(self, op: Operation) -> None:
        """Translate the next operation.

        Raises:
            WrongError: it contradicts itself.
        """
        self.wire_of.append(_TRANSLATE[op.code](self, op))
        self.operations.append(op)

    def row(self, kind: Kind, a: int = 0, b: int = 0, c: int = 0, p: int = 0, q: int = 0, r: int = 0) -> int:
        """Append a row; return its wire."""
        self.rows.append([int(kind), a, b, c, p, q, r])
        return self.n_in + len(self.rows) - 1

    def wires(self, op: Operation) -> list[int]:
        """Return the wires an operation reads."""
        return [self.wire_of[n] for n in op.reads]

    def constant(self, value: int, frac: int) -> int:
        """Append a constant, its trailing zeros in the binary point."""
        if value == 0:
            return self.row(Kind.CONSTANT)
        zeros = (value & -value).bit_length() - 1
        if abs(value >> zeros) >= 1 << MAX_WIDTH - 1:
            raise WrongError(f"its constant {value} needs more than {MAX_WIDTH} bits")
        return self.row(Kind.CONSTANT, p=value >> zeros, q=_shift(frac - zeros))

    def convert(self, wire: int, kind: Range, shift: int = 0) -> int:
        """Append a truncation and wrap-around into the stated type."""
        return self.row(Kind.CONVERT, wire, p=_shift(shift), q=_shift(kind.frac), r=kind.word)


def wrapped(code: int, word: int) -> int:
    """Return the low bits of a code as a word, signed where its width is negative."""
    low = -(1 << -word - 1) if word < 0 else 0
    return (code - low & (1 << abs(word)) - 1) + low


def _shift(value: int) -> int:
    if abs(value) > LIMIT:
        raise WrongError(f"its shift {value} is beyond {LIMIT}")
    return value


def _cap(kind: Range) -> int:
    """Return the binary point below which a sum's bits are left out."""
    return NO_CAP if kind.fixed else min(kind.frac, NO_CAP)


def _copy(rows: Rows, op: Operation) -> int:
    (which,) = op.data
    if not 0 <= which < rows.n_in:
        raise WrongError(f"it reads input {which} of {rows.n_in}")
    return rows.convert(which, op.range, rows.input_shifts[which])


def _negate(rows: Rows, op: Operation) -> int:
    return rows.row(Kind.NEGATE, *rows.wires(op))


def _sum(rows: Rows, op: Operation) -> int:
    kind = Kind.SUBTRACT if op.code else Kind.ADD
    return rows.row(kind, *rows.wires(op), p=_shift(op.data[0]), q=_cap(op.range))  # type: ignore[misc]


def _many(rows: Rows, op: Operation) -> int:
    total = rows.row(Kind.CONSTANT)
    signs, shifts = op.data[::2], op.data[1::2]
    for number, (wire, sign, shift) in enumerate(zip(rows.wires(op), signs, shifts, strict=True), 1):
        if sign not in (0, 1):
            raise WrongError(f"its sign {sign} is neither 0 nor 1")
        cap = _cap(op.range) if number == len(op.reads) else NO_CAP
        total = rows.row(Kind.ADD if sign else Kind.SUBTRACT, total, wire, p=_shift(shift), q=cap)
    return total


def _relu(rows: Rows, op: Operation) -> int:
    return rows.convert(rows.row(Kind.RELU, *rows.wires(op)), op.range)


def _quantize(rows: Rows, op: Operation) -> int:
    return rows.convert(*rows.wires(op), op.range, op.data[0])  # type: ignore[arg-type, call-arg]


def _add_constant(rows: Rows, op: Operation) -> int:
    value, frac = op.data
    return rows.row(Kind.ADD, *rows.wires(op), rows.constant(value, _shift(frac)), q=_cap(op.range))  # type: ignore[call-arg, misc]


def _define(rows: Rows, op: Operation) -> int:
    return rows.constant(op.data[0], op.range.point)


def _mux(rows: Rows, op: Operation) -> int:
    key = rows.operations[op.reads[2]].range
    chosen = rows.row(Kind.MUX, *rows.wires(op), p=_shift(key.top_bit), q=_shift(op.data[0]))  # type: ignore[misc]
    return rows.convert(chosen, op.range)


def _multiply(rows: Rows, op: Operation) -> int:
    x, y = (rows.operations[n].range for n in op.reads)
    if op.range.frac != x.frac + y.frac and not (x.fixed or y.fixed or op.range.fixed):
        raise WrongError(f"its step 2**-{op.range.frac} is not the product of its operands' steps")
    return rows.row(Kind.MULTIPLY, *rows.wires(op))


def _lookup(rows: Rows, op: Operation) -> int:
    (table,) = op.data
    if not 0 <= table < len(rows.tables):
        raise WrongError(f"it reads table {table} of {len(rows.tables)}")
    x = rows.operations[op.reads[0]].range
    if op.range.frac != rows.table_fracs[table] and not op.range.fixed:
        raise WrongError(f"its step 2**-{op.range.frac} is not its table's, 2**-{rows.table_fracs[table]}")
    return rows.row(Kind.LOOKUP, *rows.wires(op), p=table, q=x.first, r=_shift(x.frac))  # type: ignore[misc]


def _bits_of_one(rows: Rows, op: Operation) -> int:
    (a,), x, made = rows.wires(op), rows.operations[op.reads[0]].range, op.range
    word, frac = (x.word, x.frac) if x.width else (1, 0)  # the constant zero counts as one bit
    if op.data[0] == 0:
        if made.word != word:
            raise WrongError(f"it inverts a word of {abs(word)} bits into one of {made.width} bits")
        return rows.row(Kind.NOT, a, p=word, q=_shift(frac), r=_shift(made.frac))
    if op.data[0] not in (1, 2):
        raise WrongError(f"unknown operation {op.data[0]} on bits; known are 0 (not), 1 (any), 2 (all)")
    if made.frac != 0 and made.hi:
        raise WrongError("its result is a bit, its step is not 1")
    if op.data[0] == 1:
        return rows.row(Kind.ANY, a)
    return rows.row(Kind.ALL, a, p=abs(word), q=_shift(frac))


def _bits_of_two(rows: Rows, op: Operation) -> int:
    shift, which = op.data
    if which not in (0, 1, 2):
        raise WrongError(f"unknown operation {which} on bits; known are 0 (and), 1 (or), 2 (xor)")
    return rows.row((Kind.AND, Kind.OR, Kind.XOR)[which], *rows.wires(op), p=_shift(shift))  # type: ignore[misc]


_TRANSLATE: dict[int, Callable[[Rows, Operation], int]] = {
    -2: _negate, -1: _copy, 0: _sum, 1: _sum, 2: _relu, 3: _quantize, 4: _add_constant, 5: _define, 6: _mux,
    7: _multiply, 8: _lookup, 9: _bits_of_one, 10: _bits_of_two, 11: _many,
}  # fmt: skip
_PARTS = {
    -2: (1, 0), -1: (0, 1), 0: (2, 1), 1: (2, 1), 2: (1, 0), 3: (1, 1), 4: (1, 2), 5: (0, 1), 6: (3, 1),
    7: (2, 0), 8: (1, 1), 9: (1, 1), 10: (2, 2),
}  # fmt: skip
"""Numbers of addresses and of data per opcode."""
