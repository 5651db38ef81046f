# SPDX-License-Identifier: Apache-2.0
"""Scalar programs as wires: row by row, ranges proven from the linear forms behind them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from l1ml.dataflow import logic
from l1ml.dataflow.build import Builder, Element
from l1ml.dataflow.op import Bitwise, Floor, NonZero, Not
from l1ml.errors import ModelError
from l1ml.graph.primitives import Scalar
from l1ml.graph.scalar import Kind, entries
from l1ml.graph.tensor import TensorType
from l1ml.lowering.multiply import multiply
from l1ml.types.fixed import Rounding
from l1ml.types.intrange import IntType

MAX_INDEX_BITS = 16


def lower_scalar(op: Scalar, build: Builder, x: list[Element], kind: TensorType, layer: int) -> list[Element]:
    """Return the results of a scalar program.

    Args:
        op: the program.
        build: where the steps go.
        x: elements of its input.
        kind: their types.
        layer: index of the layer.

    Raises:
        ModelError: a table has too many entries for look-up tables.
    """
    ranges = op.follow(kind)
    program = _Lowering(op, build, list(x), layer)
    for number, row in enumerate(op.rows.tolist()):
        wire = len(x) + number
        proven, drop = ranges.types[wire], ranges.steps[number].drop
        if proven.lo == proven.hi:
            program.made.append(build.constant(proven.lo, proven.frac, layer))
        else:
            made = program.row(Kind(row[0]), row[1:], proven, drop)
            program.made.append(build.within(made, proven, layer))
    out = []
    for wire, shift, negative in op.outputs.tolist():
        element = build.constant(0, 0, layer) if wire < 0 else program.made[wire]
        if not build.is_zero(element.wire):
            element = replace(element, frac=element.frac - shift)
        out.append(build.negative(element) if negative else element)
    return out


class _Lowering:
    """The elements of all wires so far."""

    def __init__(self, op: Scalar, build: Builder, x: list[Element], layer: int) -> None:
        self.op, self.build, self.made, self.layer = op, build, x, layer
        self.inputs = len(x)

    def row(self, kind: Kind, row: list[int], proven: IntType, drop: int) -> Element:
        """Return the element of a row whose range is not one value."""
        a, b, c, p, q, r = row
        build, layer = self.build, self.layer
        x = self.made[a]
        tight = (proven.lo, proven.hi, proven.frac)
        match kind:
            case Kind.ADD | Kind.SUBTRACT:
                y = self._moved(self.made[b], p)
                whole = (proven.lo << drop, (proven.hi << drop) + (1 << drop) - 1, proven.frac + drop)
                total = build.sum(x, y, layer, negate_b=kind is Kind.SUBTRACT, tight=whole)
                return self._floor(total, proven.frac)
            case Kind.NEGATE:
                return build.negative(x)
            case Kind.CONVERT:
                return self._convert(self._moved(x, p), q, r)
            case Kind.RELU:
                return build.clip(x, 0, max(build.kind(x).hi, 0), layer)
            case Kind.MUX:
                return self._mux(a, b, c, p, q, tight)
            case Kind.MULTIPLY:
                return multiply(build, x, self.made[b], layer)
            case Kind.LOOKUP:
                return self._lookup(x, p, q, r)
            case Kind.NOT:
                return self._inverted(x, p, q, r)
            case Kind.ANY:
                x = build.positive(x, layer)
                bit = build.type_of(x.wire)
                wire = x.wire if (bit.lo, bit.hi) == (0, 1) else build.add(NonZero(), (x.wire,), layer, 0)
                return Element(wire, 0)
            case Kind.ALL:
                mask = (1 << abs(p)) - 1
                word = logic.wrap(build, self._on_grid(x, q), 0, mask, layer)
                return logic.at_least(build, replace(word, frac=0), mask, layer)
            case Kind.AND | Kind.OR | Kind.XOR:
                return self._bits(kind, x, self._moved(self.made[b], p), tight)
        raise AssertionError(f"{kind.name} has no lowering")

    def _moved(self, x: Element, shift: int) -> Element:
        return x if self.build.is_zero(x.wire) else replace(x, frac=x.frac - shift)

    def _floor(self, x: Element, frac: int) -> Element:
        """Leave out the bits below ``2**-frac``, if there are any."""
        return self.build.round(x, frac, Rounding.TRN, self.layer) if x.frac > frac else x

    def _on_grid(self, x: Element, frac: int) -> Element:
        """Return the element with exactly ``frac`` fraction bits and its own sign."""
        x = self.build.positive(self._floor(x, frac), self.layer)
        if x.frac == frac:
            return x
        return Element(self.build.add(Floor(x.frac - frac), (x.wire,), self.layer, frac), frac)

    def _convert(self, x: Element, frac: int, word: int) -> Element:
        x = self._floor(x, frac)
        width = abs(word) - (frac - x.frac)
        low = -(1 << width - 1) if word < 0 else 0
        kind = self.build.kind(x)
        if low <= kind.lo and kind.hi < low + (1 << width):
            return x
        return logic.wrap(self.build, x, low, low + (1 << width) - 1, self.layer)

    def _mux(self, a: int, b: int, c: int, weight: int, shift: int, tight: tuple[int, int, int]) -> Element:
        build, layer = self.build, self.layer
        x, y, key = self.made[a], self._moved(self.made[b], shift), self.made[c]
        kind, index = build.kind(key), weight + key.frac
        known = index < 0 or kind.lo >> index == kind.hi >> index
        if known:
            return x if index >= 0 and kind.lo >> index & 1 else y
        if -(1 << index) <= kind.lo and kind.hi < 1 << index:  # the sign
            difference = c - self.inputs
            if difference >= 0 and shift == 0 and self.op.rows[difference, 4] == 0:
                which, first, second = self.op.rows[difference, :3].tolist()
                if which == Kind.SUBTRACT and sorted((first, second)) == sorted((a, b)):
                    return logic.extreme(build, x, y, layer, largest=first == b)
            return logic.select(build, logic.at_least(build, key, 0, layer), y, x, layer, tight)
        return logic.select(build, logic.bit(build, key, index, layer), x, y, layer, tight)

    def _lookup(self, x: Element, table: int, first: int, frac: int) -> Element:
        x = self.build.positive(x, self.layer)
        kind = self.build.kind(x)
        if kind.hi - kind.lo >= 1 << MAX_INDEX_BITS:
            raise ModelError(
                f"a table is read by a word of {kind.width} bits; at most {MAX_INDEX_BITS} are built",
                fix="quantize the input of the table",
            )
        up = frac - x.frac
        codes = np.arange(kind.lo, kind.hi + 1, dtype=np.int64)
        values = entries(self.op.table(table), (codes << up if up >= 0 else codes >> -up) - first)
        return logic.lookup(self.build, x, kind.lo, values.tolist(), self.op.fracs[table], self.layer)

    def _inverted(self, x: Element, word: int, frac: int, made: int) -> Element:
        build, layer = self.build, self.layer
        x = self._on_grid(x, frac)
        low = -(1 << -word - 1) if word < 0 else 0
        kind = build.type_of(x.wire)
        if (kind.lo, kind.hi, word) == (0, 1, 1):
            return replace(logic.invert(build, replace(x, frac=0), layer), frac=made)
        wire = build.add(Not(), (x.wire,), layer, made)
        return logic.wrap(build, Element(wire, made), low, low + (1 << abs(word)) - 1, layer)

    def _bits(self, kind: Kind, x: Element, y: Element, tight: tuple[int, int, int]) -> Element:
        build = self.build
        x, y = build.positive(x, self.layer), build.positive(y, self.layer)
        for one, other in ((x, y), (y, x)):
            if build.is_zero(other.wire):
                return one  # AND with 0 is a constant, made before
        frac = max(x.frac, y.frac)
        shifts = (frac - x.frac, frac - y.frac)
        drop = tight[2] - frac  # the elements may have stripped zeros that the proof counts
        bounds = (-(-tight[0] >> drop), tight[1] >> drop)
        wire = build.add(Bitwise(kind.name.lower(), shifts), (x.wire, y.wire), self.layer, frac, bounds)
        return Element(wire, frac)
