# SPDX-License-Identifier: Apache-2.0
"""Comparisons, choices, tables and single bits on a `Builder`, which take care of signs and binary points."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from l1ml.dataflow.build import Builder, Element
from l1ml.dataflow.op import AtLeast, Bitwise, Compare, Floor, Lookup, Multiply, Select, Wrap
from l1ml.dataflow.tables import LUT_INPUTS
from l1ml.types.intrange import IntType


def constant_of(build: Builder, a: Element) -> int | None:
    """Return the value of a constant in its own LSBs, None for a variable."""
    kind = build.kind(a)
    return kind.lo if kind.lo == kind.hi else None


def multiply(build: Builder, a: Element, b: Element, layer: int) -> Element:
    """Return ``a * b`` as one step; the wider operand comes first."""
    if build.is_zero(a.wire) or build.is_zero(b.wire):
        return build.constant(0, 0, layer)
    ka, kb = build.type_of(a.wire), build.type_of(b.wire)
    if (ka.width, a.wire) < (kb.width, b.wire):
        a, b, ka, kb = b, a, kb, ka
    frac = a.frac + b.frac
    tight = None
    if a.wire == b.wire:  # a square is never negative
        ends = (ka.lo**2, ka.hi**2)
        tight = (0 if ka.lo <= 0 <= ka.hi else min(ends), max(ends))
    wire = build.add(Multiply(), (a.wire, b.wire), layer, frac, tight)
    return Element(wire, frac, a.negated != b.negated)


def at_least(build: Builder, a: Element, threshold: int, layer: int) -> Element:
    """Return the bit ``a >= threshold``, the threshold in LSBs of ``a``."""
    part, offset = build.split(a)
    if part is not a:
        drop = a.frac - part.frac  # the part's LSB is 2**drop of a's
        a, threshold = part, -((offset - threshold) >> drop)
    if a.negated:  # -x >= t is not (x >= 1 - t)
        return invert(build, at_least(build, replace(a, negated=False), 1 - threshold, layer), layer)
    kind = build.type_of(a.wire)
    if not kind.lo < threshold <= kind.hi:
        return build.constant(int(kind.lo >= threshold), 0, layer)
    zeros = (threshold & -threshold).bit_length() - 1 if threshold else 0
    wire = build.add(Floor(zeros), (a.wire,), layer, 0) if zeros else a.wire
    return Element(build.add(AtLeast(threshold >> zeros), (wire,), layer, 0), 0)


def compare(build: Builder, a: Element, b: Element, layer: int) -> Element:
    """Return the bit ``a >= b``."""
    if a.negated and b.negated:
        return compare(build, replace(b, negated=False), replace(a, negated=False), layer)
    shift = a.frac - b.frac
    value = constant_of(build, b)
    if value is not None:
        return at_least(build, a, value << shift if shift >= 0 else -(-value >> -shift), layer)
    value = constant_of(build, a)
    if value is not None:  # c >= b is not (b >= c + 1)
        floor = value >> shift if shift >= 0 else value << -shift
        return invert(build, at_least(build, b, floor + 1, layer), layer)
    a, b = build.positive(a, layer), build.positive(b, layer)
    if a.wire == b.wire and shift == 0:
        return build.constant(1, 0, layer)
    x = a.wire
    if shift > 0:  # b has no bits below: a's do not count
        x, shift = build.add(Floor(shift), (x,), layer, b.frac), 0
    return Element(build.add(Compare(shift), (x, b.wire), layer, 0), 0)


def select(
    build: Builder,
    c: Element,
    a: Element,
    b: Element,
    layer: int,
    tight: tuple[int, int, int] | None = None,
) -> Element:
    """Return ``c ? a : b``.

    Args:
        build: where the steps go.
        c: a bit.
        a: result where it is 1.
        b: result where it is 0.
        layer: index of the layer.
        tight: proven ``(lo, hi, frac)`` of the result.
    """
    value = constant_of(build, c)
    if value is not None:
        return a if value else b
    if a == b or (build.is_zero(a.wire) and build.is_zero(b.wire)):
        return a
    if a.negated and b.negated:
        inner = None if tight is None else (-tight[1], -tight[0], tight[2])
        return build.negative(
            select(build, c, replace(a, negated=False), replace(b, negated=False), layer, inner)
        )
    a, b = build.positive(a, layer), build.positive(b, layer)
    if build.is_zero(a.wire):
        a = replace(a, frac=b.frac)
    if build.is_zero(b.wire):
        b = replace(b, frac=a.frac)
    ends = (constant_of(build, a), constant_of(build, b))
    if a.frac == b.frac and ends in ((1, 0), (0, 1)):
        return replace(c if ends[0] else invert(build, c, layer), frac=a.frac)
    frac = max(a.frac, b.frac)
    bounds = None if tight is None else _moved(tight, frac)
    op = Select(frac - a.frac, frac - b.frac)
    return Element(build.add(op, (c.wire, a.wire, b.wire), layer, frac, bounds), frac)


def _moved(tight: tuple[int, int, int], frac: int) -> tuple[int, int]:
    """Return a range in LSBs of ``2**-frac``; the numbers in it that are no whole LSBs are left out."""
    up = frac - tight[2]
    return (tight[0] << up, tight[1] << up) if up >= 0 else (-(-tight[0] >> -up), tight[1] >> -up)


def extreme(build: Builder, a: Element, b: Element, layer: int, *, largest: bool) -> Element:
    """Return ``max(a, b)``, or ``min(a, b)``."""
    if a.negated and b.negated:
        inner = extreme(
            build, replace(a, negated=False), replace(b, negated=False), layer, largest=not largest
        )
        return build.negative(inner)
    if build.is_zero(a.wire):
        a = replace(a, frac=b.frac)
    if build.is_zero(b.wire):
        b = replace(b, frac=a.frac)
    if a.frac < b.frac:
        a, b = b, a  # the finer one first: its low bits need no comparison
    a, b = build.positive(a, layer), build.positive(b, layer)
    ka, kb = build.kind(a), build.kind(b)
    up = a.frac - b.frac
    (lo, hi) = (kb.lo << up, kb.hi << up)
    pick = max if largest else min
    if lo == hi:
        return build.clip(a, pick(ka.lo, lo), pick(ka.hi, hi), layer)
    if ka.lo == ka.hi and up == 0:
        return build.clip(b, pick(ka.lo, lo), pick(ka.hi, hi), layer)
    if ka.lo >= hi or ka.hi <= lo:
        return a if (ka.lo >= hi) == largest else b
    c = compare(build, a, b, layer)
    tight = (pick(ka.lo, lo), pick(ka.hi, hi), a.frac)
    return select(build, c, *((a, b) if largest else (b, a)), layer, tight)


def invert(build: Builder, bit: Element, layer: int) -> Element:
    """Return ``1 - bit``."""
    return parity(build, [bit], layer, odd=True)


def parity(build: Builder, bits: Sequence[Element], layer: int, *, odd: bool = False) -> Element:
    """Return the exclusive or of bits, inverted if ``odd``."""
    wires: set[int] = set()
    for bit in bits:
        value = constant_of(build, bit)
        if value is None:
            wires ^= {bit.wire}
        else:
            odd ^= bool(value)
    ins = sorted(wires, key=lambda wire: (build.depth(wire), wire))
    while len(ins) > LUT_INPUTS:  # a tree of LUTs, which the scheduler may cut
        ins = [
            _parity(build, ins[first : first + LUT_INPUTS], layer) for first in range(0, len(ins), LUT_INPUTS)
        ]
    if odd:
        ins.append(build.constant(1, 0, layer).wire)
    return Element(_parity(build, ins, layer), 0) if ins else build.constant(0, 0, layer)


def _parity(build: Builder, ins: Sequence[int], layer: int) -> int:
    if len(ins) == 1:
        return ins[0]
    return build.add(Bitwise("xor", (0,) * len(ins)), tuple(ins), layer, 0)


def join(
    build: Builder, parts: Sequence[tuple[Element, int]], layer: int, tight: tuple[int, int] | None = None
) -> Element:
    """Return ``sum of part * 2**position``: unsigned parts that do not overlap, binary points left aside.

    Args:
        build: where the steps go.
        parts: (element, position of its lowest bit).
        layer: index of the layer.
        tight: proven range of the sum.
    """
    live = [(e.wire, at) for e, at in parts if not build.is_zero(e.wire)]
    if not live:
        return build.constant(0, 0, layer)
    low = min(at for _, at in live)
    if len(live) == 1:
        return Element(live[0][0], -low)
    op = Bitwise("or", tuple(at - low for _, at in live))
    ends = (0, sum(build.type_of(wire).hi << at for (wire, _), at in zip(live, op.shifts, strict=True)))
    if tight is not None:
        ends = (-(-tight[0] >> low), tight[1] >> low)
    return Element(build.add(op, tuple(w for w, _ in live), layer, -low, ends), -low)


def wrap(build: Builder, a: Element, lo: int, hi: int, layer: int) -> Element:
    """Return ``a`` modulo ``hi - lo + 1``, a power of two, in ``lo..hi``; all in LSBs of ``a``."""
    a = build.positive(a, layer)
    kind = build.type_of(a.wire)
    if lo <= kind.lo and kind.hi <= hi:
        return a
    width = (hi - lo + 1).bit_length() - 1
    assert hi - lo + 1 == 1 << width, f"{lo}..{hi} is no range of whole bits"
    if not width:
        return build.constant(lo, a.frac, layer)
    if lo in (0, -(1 << (width - 1))):
        return replace(a, wire=build.add(Wrap(width, lo < 0), (a.wire,), layer, a.frac))
    base = build.sum(a, build.constant(-lo, a.frac, layer), layer)
    inside = replace(base, wire=build.add(Wrap(width, False), (base.wire,), layer, base.frac))
    return build.sum(inside, build.constant(lo, a.frac, layer), layer)


def bit(build: Builder, a: Element, index: int, layer: int) -> Element:
    """Return bit ``index`` of the two's complement of ``a``, above the top the sign; wiring only."""
    a = build.positive(a, layer)
    below = build.add(Floor(index), (a.wire,), layer, 0) if index else a.wire
    return wrap(build, Element(below, 0), 0, 1, layer)


def lookup(build: Builder, a: Element, first: int, table: Sequence[int], frac: int, layer: int) -> Element:
    """Return ``table[a - first]`` with ``frac`` fraction bits, ``a`` in its own LSBs.

    The table is cut to the codes that arrive, input bits that change nothing are dropped, and zeros that
    all results end in become part of the binary point.
    """
    a = build.positive(a, layer)
    kind = build.type_of(a.wire)
    values = [int(n) for n in table[kind.lo - first : kind.hi - first + 1]]
    base = values[0]
    if all(n == base for n in values):
        return build.constant(base, frac, layer)
    low = _bits_below(values, kind)
    wire = a.wire
    if low:
        wire = build.add(Floor(low), (wire,), layer, a.frac - low)
        start = build.type_of(wire).lo
        values = [values[max(kind.lo, n << low) - kind.lo] for n in range(start, build.type_of(wire).hi + 1)]
        kind = build.type_of(wire)
    zeros = min((n & -n).bit_length() - 1 for n in values if n)
    values, frac = [n >> zeros for n in values], frac - zeros
    if values == list(range(kind.lo, kind.hi + 1)):
        return Element(wire, frac)
    if values == [-n for n in range(kind.lo, kind.hi + 1)]:
        return Element(wire, frac, negated=True)
    return Element(build.add(Lookup(kind.lo, tuple(values), frac), (wire,), layer, frac), frac)


def _bits_below(values: Sequence[int], kind: IntType) -> int:
    """Return how many low bits of the code change no value."""
    places = [kind.lo + n for n in range(1, len(values)) if values[n] != values[n - 1]]
    return still_bits(places, kind)


def still_bits(places: Sequence[int], kind: IntType) -> int:
    """Return how many low bits of a wire change nothing in a function that changes only at ``places``."""
    changes = 0
    for place in places:
        changes |= place
    return (changes & -changes).bit_length() - 1 if changes else max(kind.width - 1, 0)
