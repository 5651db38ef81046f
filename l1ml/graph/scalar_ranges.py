# SPDX-License-Identifier: Apache-2.0
"""What every wire of a scalar program can hold.

Every wire is followed as a linear form of few *free* wires, which tells more than its two operands
(``8 * x - x`` is at most ``7 * x``), and decisions that are a maximum, a minimum or a magnitude are seen as
such.  A range that a file claims is never believed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from l1ml.errors import RangeError
from l1ml.graph.scalar import Kind, Step
from l1ml.types.arrays import IntArray
from l1ml.types.intrange import MAX_WIDTH, IntType

MAX_TERMS = 256
"""A linear form of more terms is cut off: the wire counts as free."""

ALL_TERMS = 1 << 21
"""Terms of all forms together: long programs get shorter forms."""


@dataclass(frozen=True)
class Form:
    """``code = bias + sum(factor * code of free wire)`` in LSBs of a wire."""

    terms: dict[int, int]
    bias: int

    def scaled(self, factor: int) -> Form:
        """Return the form times an integer."""
        if factor == 1:
            return self
        return Form({w: n * factor for w, n in self.terms.items()} if factor else {}, self.bias * factor)

    def plus(self, other: Form) -> Form:
        """Return the sum of two forms."""
        terms = dict(self.terms)
        for wire, factor in other.terms.items():
            total = terms.get(wire, 0) + factor
            if total:
                terms[wire] = total
            else:
                del terms[wire]
        return Form(terms, self.bias + other.bias)

    def halved(self, drop: int) -> Form | None:
        """Return the form divided by ``2**drop`` where that leaves no rest."""
        mask = (1 << drop) - 1
        if self.bias & mask or any(n & mask for n in self.terms.values()):
            return None
        return Form({w: n >> drop for w, n in self.terms.items()}, self.bias >> drop)

    def along(self, other: Form) -> int:
        """Return the sign of ``t`` where ``self == t * other`` everywhere, else 0."""
        if not other.terms or self.terms.keys() != other.terms.keys():
            return 0
        wire = next(iter(other.terms))
        up, down = self.terms[wire], other.terms[wire]
        same = all(n * down == other.terms[w] * up for w, n in self.terms.items())
        if not same or self.bias * down != other.bias * up:
            return 0
        return 1 if (up > 0) == (down > 0) else -1


class Ranges:
    """Follows a program wire by wire.

    Args:
        inputs: types of the input wires.
        tables: entries of every table.
        fracs: fraction bits of every table.

    After `run`, ``types`` holds the exact binary point and a proven range of every wire, and ``steps`` the
    rows in plain integers.
    """

    def __init__(self, inputs: Sequence[IntType], tables: Sequence[IntArray], fracs: Sequence[int]) -> None:
        self.tables, self.fracs = tables, fracs
        self.types: list[IntType] = []
        self.forms: list[Form] = []
        self.steps: list[Step] = []
        self._most = MAX_TERMS
        for kind in inputs:
            self._free(kind.lo, kind.hi, kind.frac)

    def run(self, rows: IntArray) -> Ranges:
        """Follow checked rows.

        Raises:
            RangeError: a wire needs more than 62 bits; names the row.
        """
        first = len(self.types)
        self._most = max(8, min(MAX_TERMS, ALL_TERMS // max(1, len(rows))))
        for number, row in enumerate(rows.tolist()):
            kind, *rest = row
            try:
                _FOLLOW[Kind(kind)](self, *rest)
            except RangeError as error:
                error.where = (*error.where, f"row {number} ({Kind(kind).name})")
                raise
            assert len(self.types) == first + number + 1 == len(self.forms)
            assert len(self.steps) == number + 1
        self.forms.clear()  # they have done their work, and are large
        return self

    # ---- making wires

    def _free(self, lo: int, hi: int, frac: int) -> None:
        """Add a wire of which only the range is known."""
        kind = IntType(lo, hi, frac)
        self.forms.append(Form({}, lo) if lo == hi else Form({len(self.types): 1}, 0))
        self.types.append(kind)

    def _linear(self, form: Form, frac: int, lo: int | None = None, hi: int | None = None) -> None:
        """Add a wire with a linear form, of which a range may be known as well."""
        low, high = self._ends(form)
        low, high = low if lo is None else max(low, lo), high if hi is None else min(high, hi)
        if len(form.terms) > self._most or low == high:
            self._free(low, high, frac)
        else:
            self.forms.append(form)
            self.types.append(IntType(low, high, frac))

    def _ends(self, form: Form) -> tuple[int, int]:
        low = high = form.bias
        for wire, factor in form.terms.items():
            kind = self.types[wire]
            low += factor * (kind.lo if factor > 0 else kind.hi)
            high += factor * (kind.hi if factor > 0 else kind.lo)
        return low, high

    def _step(self, kind: Kind, a: int = 0, b: int = 0, c: int = 0, shift_a: int = 0, shift_b: int = 0,
              drop: int = 0, p: int = 0, q: int = 0) -> None:  # fmt: skip
        self.steps.append(Step(kind, a, b, c, shift_a, shift_b, drop, p, q))

    def _aligned(self, a: int, b: int, shift: int) -> tuple[int, int, int]:
        """Return the left shifts of ``a`` and ``b * 2**shift`` to a common binary point, and that point."""
        frac_a, frac_b = self.types[a].frac, self.types[b].frac - shift
        if self._is_zero(a):
            frac_a = frac_b
        elif self._is_zero(b):
            frac_b = frac_a
        frac = max(frac_a, frac_b)
        if frac - min(frac_a, frac_b) > MAX_WIDTH:
            raise RangeError(f"two operands lie {frac - min(frac_a, frac_b)} bits apart")
        return frac - frac_a, frac - frac_b, frac

    def _is_zero(self, wire: int) -> bool:
        return self.types[wire].lo == self.types[wire].hi == 0

    # ---- the kinds

    def _constant(self, a: int, b: int, c: int, p: int, q: int, r: int) -> None:
        self._step(Kind.CONSTANT, p=p)
        self._free(p, p, q if p else 0)

    def _add(self, a: int, b: int, c: int, p: int, q: int, r: int) -> None:
        self._sum(Kind.ADD, a, b, p, q)

    def _subtract(self, a: int, b: int, c: int, p: int, q: int, r: int) -> None:
        self._sum(Kind.SUBTRACT, a, b, p, q)

    def _sum(self, kind: Kind, a: int, b: int, shift: int, most: int) -> None:
        up_a, up_b, frac = self._aligned(a, b, shift)
        sign = 1 if kind is Kind.ADD else -1
        form = self.forms[a].scaled(1 << up_a).plus(self.forms[b].scaled(sign << up_b))
        x, y = self.types[a], self.types[b]
        ends = sorted((sign * y.lo << up_b, sign * y.hi << up_b))
        lo, hi = (x.lo << up_a) + ends[0], (x.hi << up_a) + ends[1]
        for wire, up in ((a, up_a), (b, up_b)):
            IntType(self.types[wire].lo << up, self.types[wire].hi << up)  # fits on the way, too
        drop = max(0, frac - most)
        self._step(kind, a, b, shift_a=up_a, shift_b=up_b, drop=drop)
        self._dropped(form, frac, drop, lo, hi)

    def _dropped(self, form: Form, frac: int, drop: int, lo: int, hi: int) -> None:
        """Add a wire ``form`` within ``lo..hi``, its ``drop`` low bits left out."""
        low, high = self._ends(form)
        lo, hi = max(lo, low), min(hi, high)
        IntType(lo, hi)
        whole = form.halved(drop) if drop < MAX_WIDTH else None
        lo, hi = lo >> drop, hi >> drop
        if whole is None:
            self._free(lo, hi, frac - drop)
        else:
            self._linear(whole, frac - drop, lo, hi)

    def _negate(self, a: int, b: int, c: int, p: int, q: int, r: int) -> None:
        x = self.types[a]
        self._step(Kind.NEGATE, a)
        self._linear(self.forms[a].scaled(-1), x.frac, -x.hi, -x.lo)

    def _convert(self, a: int, b: int, c: int, p: int, q: int, r: int) -> None:
        x = self.types[a]
        source = x.frac - p
        frac = min(source, q)
        drop, width = source - frac, abs(r) - (q - frac)
        if width <= 0 or r == 0:
            self._step(Kind.CONSTANT)
            self._free(0, 0, 0)
            return
        low = -(1 << width - 1) if r < 0 else 0
        high = low + (1 << width) - 1
        lo, hi = x.lo >> drop, x.hi >> drop
        if low <= lo and hi <= high:
            self._step(Kind.CONVERT, a, drop=min(drop, 63))
            self._dropped(self.forms[a], source, drop, x.lo, x.hi)
        else:
            self._step(Kind.CONVERT, a, drop=min(drop, 63), p=-width if r < 0 else width)
            self._free(low, high, frac)

    def _relu(self, a: int, b: int, c: int, p: int, q: int, r: int) -> None:
        x = self.types[a]
        self._step(Kind.RELU, a)
        if x.lo >= 0:
            self._linear(self.forms[a], x.frac, x.lo, x.hi)
        else:
            self._free(0, max(x.hi, 0), x.frac)

    def _mux(self, a: int, b: int, c: int, p: int, q: int, r: int) -> None:
        up_a, up_b, frac = self._aligned(a, b, q)
        x, y, key = self.types[a], self.types[b], self.types[c]
        bit = p + key.frac  # of the condition's code; below its LSB all bits are 0
        chosen = self._known(key, bit)
        lo_a, hi_a, lo_b, hi_b = x.lo << up_a, x.hi << up_a, y.lo << up_b, y.hi << up_b
        if chosen is not None:
            self._step(Kind.MUX, a, b, c, up_a, up_b, p=-1 if chosen else 64)
            if chosen:
                self._linear(self.forms[a].scaled(1 << up_a), frac, lo_a, hi_a)
            else:
                self._linear(self.forms[b].scaled(1 << up_b), frac, lo_b, hi_b)
            return
        self._step(Kind.MUX, a, b, c, up_a, up_b, p=min(bit, 63))
        lo, hi = min(lo_a, lo_b), max(hi_a, hi_b)
        one, other = self.forms[a].scaled(1 << up_a), self.forms[b].scaled(1 << up_b)
        if bit >= 0 and -(1 << bit) <= key.lo and key.hi < 1 << bit:  # the bit is the sign
            toward = self.forms[c].along(other.plus(one.scaled(-1)))
            middle = self._ends(one.plus(other))
            if toward > 0:  # c < 0 means b < a: the maximum
                lo = max(lo_a, lo_b, -(-middle[0] // 2))
            elif toward < 0:
                hi = min(hi_a, hi_b, middle[1] // 2)
        self._free(lo, hi, frac)

    @staticmethod
    def _known(kind: IntType, bit: int) -> bool | None:
        """Return a bit of a word that is the same for all its values, else None."""
        if bit < 0:
            return False
        low, high = kind.lo >> bit, kind.hi >> bit
        return bool(low & 1) if low == high else None

    def _multiply(self, a: int, b: int, c: int, p: int, q: int, r: int) -> None:
        x, y = self.types[a], self.types[b]
        corners = [m * n for m in (x.lo, x.hi) for n in (y.lo, y.hi)]
        lo, hi = min(corners), max(corners)
        if a == b:
            lo = max(0, min(x.lo * x.lo, x.hi * x.hi)) if x.lo > 0 or x.hi < 0 else 0
        self._step(Kind.MULTIPLY, a, b)
        if x.lo == x.hi or y.lo == y.hi:
            form = self.forms[b].scaled(x.lo) if x.lo == x.hi else self.forms[a].scaled(y.lo)
            self._linear(form, x.frac + y.frac, lo, hi)
        else:
            self._free(lo, hi, x.frac + y.frac)

    def _lookup(self, a: int, b: int, c: int, p: int, q: int, r: int) -> None:
        x, table = self.types[a], self.tables[p]
        up, drop = max(0, r - x.frac), max(0, x.frac - r)
        if up > MAX_WIDTH:
            raise RangeError(f"a table's index lies {up} bits above its LSB")
        lo, hi = x.lo << up >> drop, x.hi << up >> drop
        IntType(x.lo << up, x.hi << up)
        size = 1 << max(0, len(table) - 1).bit_length()
        if lo >= q and hi - q < len(table):
            live = table[lo - q : hi - q + 1]
            live = live[:: 1 << up]
        else:
            live = np.append(table, 0) if size > len(table) else table
        self._step(Kind.LOOKUP, a, shift_a=up, drop=drop, p=p, q=q)
        self._free(int(live.min()), int(live.max()), self.fracs[p])

    def _not(self, a: int, b: int, c: int, p: int, q: int, r: int) -> None:
        x = self.types[a]
        up, drop = max(0, q - x.frac), max(0, x.frac - q)
        if up > MAX_WIDTH:
            raise RangeError(f"a word's bits lie {up} bits above its LSB")
        lo, hi = x.lo << up >> drop, x.hi << up >> drop
        low = -(1 << -p - 1) if p < 0 else 0
        high = low + (1 << abs(p)) - 1
        self._step(Kind.NOT, a, shift_a=up, drop=drop, p=p)
        whole = self.forms[a].scaled(1 << up).halved(drop)
        if low <= lo and hi <= high and whole is not None:
            total = -1 if p < 0 else high
            self._linear(Form({}, total).plus(whole.scaled(-1)), r, total - hi, total - lo)
        else:
            self._free(low, high, r)

    def _any(self, a: int, b: int, c: int, p: int, q: int, r: int) -> None:
        x = self.types[a]
        self._step(Kind.ANY, a)
        self._free(int(x.lo > 0 or x.hi < 0), int(not self._is_zero(a)), 0)

    def _all(self, a: int, b: int, c: int, p: int, q: int, r: int) -> None:
        x = self.types[a]
        up, drop = max(0, q - x.frac), max(0, x.frac - q)
        if up > MAX_WIDTH:
            raise RangeError(f"a word's bits lie {up} bits above its LSB")
        self._step(Kind.ALL, a, shift_a=up, drop=drop, p=abs(p))
        possible = up == 0  # else the low bits are 0
        self._free(0, int(possible), 0)

    def _and(self, a: int, b: int, c: int, p: int, q: int, r: int) -> None:
        self._bits(Kind.AND, a, b, p)

    def _or(self, a: int, b: int, c: int, p: int, q: int, r: int) -> None:
        self._bits(Kind.OR, a, b, p)

    def _xor(self, a: int, b: int, c: int, p: int, q: int, r: int) -> None:
        self._bits(Kind.XOR, a, b, p)

    def _bits(self, kind: Kind, a: int, b: int, shift: int) -> None:
        up_a, up_b, frac = self._aligned(a, b, shift)
        x = IntType(self.types[a].lo << up_a, self.types[a].hi << up_a)
        y = IntType(self.types[b].lo << up_b, self.types[b].hi << up_b)
        self._step(kind, a, b, shift_a=up_a, shift_b=up_b)
        self._free(*bitwise_range(kind, x, y), frac)


def bitwise_range(kind: Kind, x: IntType, y: IntType) -> tuple[int, int]:
    """Return the range of a bitwise operation on two words."""
    top = (1 << max(max(t.hi, ~t.lo).bit_length() for t in (x, y))) - 1
    if x.lo == x.hi and y.lo == y.hi:
        value = {Kind.AND: x.lo & y.lo, Kind.OR: x.lo | y.lo, Kind.XOR: x.lo ^ y.lo}[kind]
        return value, value
    if kind is Kind.AND:
        plain = [t.hi for t in (x, y) if t.lo >= 0]
        return (0, min(plain)) if plain else (-top - 1, min(x.hi, y.hi) if x.hi < 0 and y.hi < 0 else top)
    if kind is Kind.OR:
        below = [t.lo for t in (x, y) if t.hi < 0]
        if below:
            return max(below), -1
        return (max(x.lo, y.lo), top) if x.lo >= 0 and y.lo >= 0 else (min(x.lo, y.lo), top)
    same = (x.lo >= 0 and y.lo >= 0) or (x.hi < 0 and y.hi < 0)
    unlike = (x.lo >= 0 and y.hi < 0) or (x.hi < 0 and y.lo >= 0)
    return 0 if same else -top - 1, -1 if unlike else top


_FOLLOW: dict[Kind, Callable[..., None]] = {
    Kind.CONSTANT: Ranges._constant, Kind.ADD: Ranges._add, Kind.SUBTRACT: Ranges._subtract,
    Kind.NEGATE: Ranges._negate, Kind.CONVERT: Ranges._convert, Kind.RELU: Ranges._relu,
    Kind.MUX: Ranges._mux, Kind.MULTIPLY: Ranges._multiply, Kind.LOOKUP: Ranges._lookup,
    Kind.NOT: Ranges._not, Kind.ANY: Ranges._any, Kind.ALL: Ranges._all, Kind.AND: Ranges._and,
    Kind.OR: Ranges._or, Kind.XOR: Ranges._xor,
}  # fmt: skip
