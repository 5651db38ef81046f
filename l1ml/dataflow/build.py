# SPDX-License-Identifier: Apache-2.0
"""Builds a Dataflow wire by wire: folds constants, shares equal steps, keeps ranges tight."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import repeat

import numpy as np

from l1ml.dataflow.op import Clip, Constant, Floor, Increment, Negate, Op, RoundUp, ShiftAdd, Wrap
from l1ml.dataflow.program import Dataflow, Port, Step, live_wires, remove_dead_steps
from l1ml.types.fixed import Rounding, shift_codes
from l1ml.types.intrange import IntType

_MIRRORED = {
    Rounding.RND_CONV: Rounding.RND_CONV,
    Rounding.RND_INF: Rounding.RND_INF,
    Rounding.RND_ZERO: Rounding.RND_ZERO,
    Rounding.RND: Rounding.RND_MIN_INF,
    Rounding.RND_MIN_INF: Rounding.RND,
}
"""``round(-x) == -mirrored(x)``: a negated sum needs no negation before it is rounded."""


@dataclass(frozen=True, slots=True)
class Element:
    """One element of a tensor: the integer on ``wire`` stands for ``n * 2**-frac``, or for its negative.

    Binary point and sign are kept here and not on the wire, so that ``x``, ``4 * x`` and ``-x`` are one
    wire: the next adder takes care of them.
    """

    wire: int
    frac: int
    negated: bool = False


@dataclass(frozen=True)
class Mark:
    """A layer whose values can be observed: elements, their types, and what is still to be added."""

    layer: int
    elements: list[Element]
    types: list[IntType]
    offsets: list[int] | None = None


@dataclass
class Builder:
    """Collects steps.  Equal steps on equal wires are made once (common subexpressions).

    Methods take and give `Element`; they take care of the binary points.
    """

    inputs: tuple[IntType, ...]
    layers: list[str] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    _seen: dict[tuple[Op, tuple[int, ...]], int] = field(default_factory=dict)
    _narrowed: bool = False
    _depths: list[int] = field(default_factory=list)
    _parts: dict[int, tuple[Element, int]] = field(default_factory=dict)

    def type_of(self, wire: int) -> IntType:
        """Return the range of a wire."""
        first = len(self.inputs)
        return self.inputs[wire] if wire < first else self.steps[wire - first].type

    def step_of(self, wire: int) -> Step | None:
        """Return the step that makes a wire, None for an input."""
        first = len(self.inputs)
        return None if wire < first else self.steps[wire - first]

    def depth(self, wire: int) -> int:
        """Return the levels of logic in front of a wire: which of several arrives last."""
        first = len(self.inputs)
        return 0 if wire < first else self._depths[wire - first]

    def layer(self, name: str) -> int:
        """Return the index of a layer, entering it when it is new."""
        if name not in self.layers:
            self.layers.append(name)
        return self.layers.index(name)

    def kind(self, element: Element) -> IntType:
        """Return the range of an element with its own binary point."""
        lo, hi = self._ends(element)
        return IntType(lo, hi, element.frac)

    def constant(self, value: int, frac: int, layer: int) -> Element:
        """Return a constant; trailing zeros become part of the binary point."""
        if value == 0:
            frac = 0
        else:
            zeros = (value & -value).bit_length() - 1
            value, frac = value >> zeros, frac - zeros
        return Element(self.add(Constant(value, frac), (), layer, frac), frac)

    def add(
        self, op: Op, ins: tuple[int, ...], layer: int, frac: int, tight: tuple[int, int] | None = None
    ) -> int:
        """Return the wire of a step, new or shared.

        Args:
            op: the operation.
            ins: wires it reads.
            layer: index of the layer.
            frac: binary point of the result.
            tight: proven range, if more is known than the operands tell.
        """
        full = op.infer(*(self.type_of(i) for i in ins))
        lo, hi = (full.lo, full.hi) if tight is None else (max(full.lo, tight[0]), min(full.hi, tight[1]))
        if lo == hi and not isinstance(op, Constant):
            op, ins = Constant(lo, frac), ()
        key = (op, ins)
        if key not in self._seen:
            self.steps.append(Step(op, ins, IntType(lo, hi, frac), layer))
            level = not isinstance(op, Floor | Wrap | Constant)
            self._depths.append(max((self.depth(i) for i in ins), default=0) + level)
            self._seen[key] = len(self.inputs) + len(self.steps) - 1
            return self._seen[key]
        wire = self._seen[key]
        if lo < hi:
            self._narrow(wire, lo, hi)
        return wire

    def _narrow(self, wire: int, lo: int, hi: int) -> None:
        """Note a range that was proven after the wire was made; `finish` carries it to what follows."""
        first, known = len(self.inputs), self.type_of(wire)
        lo, hi = max(lo, known.lo), min(hi, known.hi)
        if wire >= first and (lo, hi) != (known.lo, known.hi):
            self.steps[wire - first] = replace(self.steps[wire - first], type=IntType(lo, hi, known.frac))
            self._narrowed = True

    def within(self, a: Element, kind: IntType, layer: int) -> Element:
        """Return the element, or a constant, on the grid and in the range that its primitive has proven."""
        known = self.kind(a)
        if known.lo == known.hi:
            return a
        if kind.lo == kind.hi:
            return self.constant(kind.lo, kind.frac, layer)
        if a.frac > kind.frac:  # these bits are always 0
            wire = self.add(Floor(a.frac - kind.frac), (a.wire,), layer, kind.frac)
            a = Element(wire, kind.frac, a.negated)
            known = self.kind(a)
        up = kind.frac - a.frac
        lo, hi = -(-kind.lo >> up), kind.hi >> up
        if lo <= known.lo and known.hi <= hi:
            return a
        if max(lo, known.lo) == min(hi, known.hi):
            return self.constant(max(lo, known.lo), a.frac, layer)
        self._narrow(a.wire, *((-hi, -lo) if a.negated else (lo, hi)))
        return a

    def is_zero(self, wire: int) -> bool:
        """Tell whether a wire is the constant zero."""
        kind = self.type_of(wire)
        return kind.lo == kind.hi == 0

    def sum(
        self, a: Element, b: Element, layer: int, *, negate_a: bool = False, negate_b: bool = False,
        tight: tuple[int, int, int] | None = None,
    ) -> Element:  # fmt: skip
        """Return ``±a ± b``; binary points are aligned.

        Args:
            a: first operand.
            b: second operand.
            layer: index of the layer.
            negate_a: take ``-a``.
            negate_b: take ``-b``.
            tight: proven ``(lo, hi, frac)`` of the result.
        """
        negate_a, negate_b = negate_a ^ a.negated, negate_b ^ b.negated
        a, b = Element(a.wire, a.frac), Element(b.wire, b.frac)
        if negate_a and negate_b:
            inner = None if tight is None else (-tight[1], -tight[0], tight[2])
            return self.negative(self.sum(a, b, layer, tight=inner))
        if self.is_zero(b.wire):
            return self.negative(a) if negate_a else a
        if self.is_zero(a.wire):
            return self.negative(b) if negate_b else b
        shift = a.frac - b.frac
        if shift < 0 or (shift == 0 and negate_a):
            a, b, negate_a, negate_b, shift = b, a, negate_b, negate_a, -shift
        bounds = None
        if tight is not None:
            up = a.frac - tight[2]
            bounds = (tight[0] << up, tight[1] << up) if up >= 0 else (-(-tight[0] >> -up), tight[1] >> -up)
        wire = self.add(ShiftAdd(shift, negate_a, negate_b), (a.wire, b.wire), layer, a.frac, bounds)
        return Element(wire, a.frac)

    def split(self, a: Element) -> tuple[Element, int]:
        """Return (variable part, constant in LSBs of ``a``) of the sum of a variable and a constant.

        What follows may do without the sum: a comparison moves its threshold, a matrix adds it once.
        """
        sign = -1 if a.negated else 1
        if a.wire in self._parts:
            part, value = self._parts[a.wire]
            return Element(part.wire, a.frac + part.frac, a.negated != part.negated), sign * value
        step = self.step_of(a.wire)
        if step is None or not isinstance(step.op, ShiftAdd):
            return a, 0
        op, (x, y) = step.op, step.ins
        kx, ky = self.type_of(x), self.type_of(y)
        if kx.lo == kx.hi:
            value = -kx.lo if op.negate_a else kx.lo
            return Element(y, a.frac - op.shift, a.negated != op.negate_b), sign * value
        if ky.lo == ky.hi:
            value = (-ky.lo if op.negate_b else ky.lo) << op.shift
            return Element(x, a.frac, a.negated != op.negate_a), sign * value
        return a, 0

    def remember(self, wire: int, part: Element, value: int) -> None:
        """Note that a wire is ``part + value`` for `split`, both in its own LSBs, however it is made."""
        self._parts[wire] = (part, value)

    def negative(self, a: Element) -> Element:
        """Return ``-a``; no hardware is made yet."""
        return a if self.is_zero(a.wire) else replace(a, negated=not a.negated)

    def positive(self, a: Element, layer: int) -> Element:
        """Return ``a`` as a wire of its own sign."""
        return Element(self.add(Negate(), (a.wire,), layer, a.frac), a.frac) if a.negated else a

    def round(self, a: Element, frac: int, rounding: Rounding, layer: int, offset: int = 0) -> Element:
        """Return ``a`` rounded to ``frac`` fraction bits, plus ``offset`` new LSBs.

        Args:
            a: the element.
            frac: fraction bits of the result.
            rounding: treatment of the bits below.
            layer: index of the layer.
            offset: integer added after rounding; shares the adder of the rounding bit.
        """
        drop = a.frac - frac
        if drop > 0 and a.negated and rounding not in _MIRRORED:
            a = self.positive(a, layer)
        whole = Element(a.wire, frac, a.negated)
        if drop:
            whole = replace(whole, wire=self.add(Floor(drop), (a.wire,), layer, frac))
        if drop > 0 and rounding is not Rounding.TRN:
            mirrored = _MIRRORED[rounding] if a.negated else rounding
            up = self.add(RoundUp(drop, mirrored), (a.wire,), layer, 0)
            ends = [int(shift_codes(np.array(n), drop, rounding)) + offset for n in self._ends(a)]
            wire = self.add(Increment(offset, a.negated), (whole.wire, up), layer, frac, (ends[0], ends[1]))
            return Element(wire, frac)
        return self.sum(whole, self.constant(offset, frac, layer), layer) if offset else whole

    def _ends(self, a: Element) -> tuple[int, int]:
        kind = self.type_of(a.wire)
        return (-kind.hi, -kind.lo) if a.negated else (kind.lo, kind.hi)

    def clip(self, a: Element, lo: int, hi: int, layer: int) -> Element:
        """Return ``a`` clipped to ``lo..hi`` in its own LSBs, or ``a`` itself where that changes nothing."""
        a = self.positive(a, layer)
        low, high = self._ends(a)
        return (
            a
            if lo <= low and high <= hi
            else Element(self.add(Clip(lo, hi), (a.wire,), layer, a.frac), a.frac)
        )

    def finish(self, outputs: list[Element], output_types: list[IntType], marks: list[Mark]) -> Dataflow:
        """Return the verified program without dead steps."""
        signed = [self.positive(e, self.layer(self.layers[-1])) for e in outputs]
        self.tightened()
        flow = Dataflow(
            inputs=self.inputs,
            steps=tuple(self.steps),
            outputs=tuple(self._port(e, t) for e, t in zip(signed, output_types, strict=True)),
            layers=tuple(self.layers),
        )
        live = live_wires(flow)
        flow = replace(flow, marks=tuple((m.layer, tuple(self._observed(m, live))) for m in marks))
        flow = remove_dead_steps(flow)
        flow.verify()
        return flow

    def tightened(self) -> list[Step]:
        """Return the steps; ranges that were proven after a wire was made are carried to what follows."""
        for at, step in enumerate(self.steps if self._narrowed else ()):
            full = step.op.infer(*(self.type_of(i) for i in step.ins))
            lo, hi = max(full.lo, step.type.lo), min(full.hi, step.type.hi)
            if (lo, hi) != (step.type.lo, step.type.hi):
                step = replace(step, type=IntType(lo, hi, step.type.frac))
                if lo == hi:
                    step = replace(step, op=Constant(lo, step.type.frac), ins=())
                self.steps[at] = step
        self._narrowed = False
        return self.steps

    def _observed(self, mark: Mark, live: set[int]) -> Iterator[Port]:
        """Yield where the elements of a layer can be seen; a sum that nothing needs, by its variable part."""
        for element, kind, offset in zip(mark.elements, mark.types, mark.offsets or repeat(0), strict=False):
            part, value = self.split(element)
            if element.wire not in live and part.wire in live:
                total = offset + (value << (kind.frac - element.frac))
                yield self._port(part, kind, total)
            else:
                yield self._port(element, kind, offset)

    def _port(self, element: Element, kind: IntType, offset: int = 0) -> Port:
        zeros = 0 if self.is_zero(element.wire) else kind.frac - element.frac
        assert zeros >= 0, "an output grid is coarser than its wire"
        return Port(element.wire, zeros, kind, element.negated, offset)
