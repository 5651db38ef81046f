# SPDX-License-Identifier: Apache-2.0
"""Finds recurrent cells in a typed network, where they stand unrolled over their time steps, and rolls them up again.

A layer is a recurrence if it is the same segment of steps again and again: each begins by taking the next row of one
tensor, and reads besides that only what the segment before it made, in the first one constants.  Then one cell with
a state does the same, if it is built for every value the state can have.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from functools import lru_cache
from itertools import pairwise

import numpy as np

from l1ml.errors import L1mlError
from l1ml.graph import primitives as p
from l1ml.graph.primitives import Primitive
from l1ml.graph.program import TensorProgram, TensorStep
from l1ml.graph.tensor import TensorType
from l1ml.plan.network import Body
from l1ml.plan.recurrence import Recurrence
from l1ml.types.arrays import IntArray

MAX_CODES = 1 << 20
"""Codes over which two tables are compared."""

_BY_RANGE = (p.Lookup, p.Steps, p.Rescale, p.Requantize)
"""Primitives that are made for what can come: a table, and the bounds in front of it."""

WIDENINGS = 8
"""How often the types of a state may grow until they hold what the cell gives."""


@lru_cache(maxsize=2)
def recurrences(program: TensorProgram) -> dict[int, Recurrence]:
    """Return the recurrent layers of a network, by the number of their first step.

    A plan lays the same network out many times; its recurrences are found once.
    """
    found = {}
    layers: dict[str, list[int]] = {}
    for number, step in enumerate(program.steps):
        layers.setdefault(step.layer, []).append(number)
    for numbers in layers.values():
        if numbers[-1] - numbers[0] + 1 == len(numbers):
            rolled = _Roll(program, numbers[0], numbers[-1]).rolled()
            if rolled is not None:
                found[rolled.first] = rolled
    return found


Link = tuple[str, int]
"""Where an operand comes from: ``here`` and ``before`` with the place in the segment, or ``row``."""


class _Roll:
    def __init__(self, program: TensorProgram, first: int, last: int) -> None:
        self.program, self.first, self.last = program, first, last
        self.inputs = len(program.inputs)

    def rolled(self) -> Recurrence | None:
        """Return the recurrence, None where the layer is none."""
        takes = self._rows()
        if takes is None:
            return None
        source, starts, backwards = takes
        length = starts[1] - starts[0]
        if any(b - a != length for a, b in pairwise(starts)):
            return None
        if starts[-1] + length - 1 > self.last:
            return None
        links = [self._links(start, length, source) for start in starts]
        if any(link is None for link in links[1:]) or any(link != links[1] for link in links[1:]):
            return None
        again = links[1]
        assert again is not None
        states = sorted({place for step in again for kind, place in step if kind == "before"})
        initial = self._initial(starts[0], length, again, states)
        if not states or initial is None:
            return None
        template = [self.program.steps[starts[-1] + k] for k in range(length)]
        for start in starts[:-1]:
            if not self._alike(start, template):
                return None
        ends = self._result(starts, length)
        if ends is None:
            return None
        y, result, sequences, last = ends
        cell = self._cell(starts, template, again, states, y, source, initial)
        if cell is None:
            return None
        return Recurrence(
            self.program.steps[self.first].layer, self.first, last, source, len(starts), backwards, cell,
            len(states), tuple(initial), sequences, result,
        )  # fmt: skip

    def _alike(self, start: int, template: Sequence[TensorStep]) -> bool:
        """Tell whether the last segment does the same as this one to everything that this one can read.

        Tables are made for what can come, and so are the bounds in front of them: in the first steps that is less.
        """
        k = 1
        while k < len(template):
            here, there = self.program.steps[start + k], template[k]
            bounds = (
                isinstance(here.op, p.Requantize) and k + 1 < len(template) and not _same(here.op, there.op)
            )
            chain = 2 if bounds else 1
            if not self._same_codes(start + k, template[k : k + chain]):
                return False
            k += chain
        return True

    def _same_codes(self, number: int, others: Sequence[TensorStep]) -> bool:
        """Compare one step, or bounds and the table behind them, over all codes that can come."""
        steps = self.program.steps[number : number + len(others)]
        if all(_same(a.op, b.op) for a, b in zip(steps, others, strict=True)):
            return True
        pairs = zip(steps, others, strict=True)
        if any(type(a.op) is not type(b.op) or not isinstance(a.op, _BY_RANGE) for a, b in pairs):
            return False
        if len(steps) == 2 and steps[1].sources != (number + self.inputs,):
            return False
        here, there = (self.program.type_of(s[0].sources[0]) for s in (steps, others))
        span = int((here.hi - here.lo).max(initial=0)) + 1
        inside = bool((here.lo >= there.lo).all() and (here.hi <= there.hi).all())
        if span > MAX_CODES or not inside or not np.array_equal(here.frac, there.frac):
            return False
        every = np.arange(span, dtype=np.int64).reshape(span, *(1,) * len(here.shape))
        codes = np.minimum(here.lo + every, here.hi)
        return np.array_equal(_through(steps, codes, here), _through(others, codes, there))

    def _rows(self) -> tuple[int, list[int], bool] | None:
        """Return the tensor whose rows are taken one after the other, the steps that do, and the order."""
        rows: dict[int, list[tuple[int, int]]] = {}
        for number in range(self.first, self.last + 1):
            step = self.program.steps[number]
            if not isinstance(step.op, p.Take) or step.sources[0] - self.inputs >= self.first:
                continue
            shape = self.program.type_of(step.sources[0]).shape
            taken = step.op.taken
            if len(shape) != 2 or taken.shape != shape[1:]:
                continue
            row, rest = divmod(int(taken.flat[0]) if taken.size else 0, max(1, shape[1]))
            if rest or not np.array_equal(taken, np.arange(shape[1]) + row * shape[1]):
                continue
            rows.setdefault(step.sources[0], []).append((row, number))
        if len(rows) != 1:
            return None
        ((source, found),) = rows.items()
        order = [row for row, _ in found]
        count = self.program.type_of(source).shape[0]
        if count < 2 or order not in (list(range(count)), list(range(count))[::-1]):
            return None
        return source, [number for _, number in found], order[0] != 0

    def _links(self, start: int, length: int, source: int) -> list[list[Link]] | None:
        """Return the operands of a segment's steps, None where one comes from elsewhere."""
        out: list[list[Link]] = []
        for number in range(start, start + length):
            links: list[Link] = []
            for operand in self.program.steps[number].sources:
                place = operand - self.inputs - start
                if number == start and operand == source:
                    links.append(("row", 0))
                elif 0 <= place < length:
                    links.append(("here", place))
                elif -length <= place < 0:
                    links.append(("before", place + length))
                else:
                    return None
            out.append(links)
        return out

    def _initial(
        self, start: int, length: int, again: Sequence[Sequence[Link]], states: Sequence[int]
    ) -> list[IntArray] | None:
        """Return the constants that stand for the states in the first segment."""
        found: dict[int, TensorStep] = {}
        for k, links in enumerate(again):
            operands = self.program.steps[start + k].sources
            if len(operands) != len(links):
                return None
            for operand, (kind, place) in zip(operands, links, strict=True):
                if kind == "here" and operand - self.inputs - start != place:
                    return None
                if kind == "before":
                    number = operand - self.inputs
                    step = self.program.steps[number] if number >= 0 else None
                    if (
                        step is None
                        or not isinstance(step.op, p.Constant)
                        or found.setdefault(place, step) is not step
                    ):
                        return None
        made = []
        for place in states:
            op = found[place].op
            assert isinstance(op, p.Constant)
            made.append(np.ldexp(op.codes.astype(np.float64), -np.broadcast_to(op.frac, op.codes.shape)))
        return made

    def _result(self, starts: Sequence[int], length: int) -> tuple[int, int, bool, int] | None:
        """Return the place of y in a segment, the tensor of the result, whether it has every step, and its step."""
        first, end = starts[0] + self.inputs, starts[-1] + length + self.inputs
        tail = list(range(starts[-1] + length, self.last + 1))
        inside = set(range(first, end))
        read = {
            operand
            for number, step in enumerate(self.program.steps)
            if number >= starts[-1] + length
            for operand in step.sources
            if operand in inside
        }
        read |= {t for _, t in self.program.outputs if t in inside}
        if tail and isinstance(self.program.steps[tail[-1]].op, p.Concat):
            return self._sequence(starts, length, tail, read)
        if tail or len(read) != 1:
            return None
        (tensor,) = read
        place = tensor - self.inputs - starts[-1]
        return (place, tensor, False, self.last) if place >= 0 else None

    def _sequence(
        self, starts: Sequence[int], length: int, tail: Sequence[int], read: set[int]
    ) -> tuple[int, int, bool, int] | None:
        *reshapes, concat = (self.program.steps[number] for number in tail)
        made = [number + self.inputs for number in tail[:-1]]
        plain = all(isinstance(step.op, p.Reshape) for step in reshapes)
        if not plain or list(concat.sources) != made or len(made) != len(starts):
            return None
        places = {step.sources[0] - self.inputs - start for step, start in zip(reshapes, starts, strict=True)}
        ys = {step.sources[0] for step in reshapes}
        if len(places) != 1 or read - ys:
            return None
        (place,) = places
        return (place, tail[-1] + self.inputs, True, tail[-1]) if 0 <= place < length else None

    def _cell(
        self,
        starts: Sequence[int],
        template: Sequence[TensorStep],
        again: Sequence[Sequence[Link]],
        states: Sequence[int],
        y: int,
        source: int,
        initial: list[IntArray],
    ) -> TensorProgram | None:
        """Return the network of a step, for every value that x and the states can have."""
        rows = self.program.type_of(source)
        x = _union([_row(rows, k) for k in range(rows.shape[0])])
        kinds: list[TensorType] = []
        for k, place in enumerate(states):
            made = [self.program.type_of(self.inputs + start + place) for start in starts]
            frac = made[-1].frac
            codes = np.ldexp(initial[k], frac)
            if any(not np.array_equal(m.frac, frac) for m in made) or not np.array_equal(
                codes, np.rint(codes)
            ):
                return None
            initial[k] = codes.astype(np.int64)
            kinds.append(_union([*made, TensorType(initial[k], initial[k], frac)]))
        for _ in range(WIDENINGS):
            body = Body((), (*kinds, x))
            places: dict[int, int] = {0: len(kinds)}
            try:
                for k, step in enumerate(template[1:], start=1):
                    operands = [
                        places[place] if kind == "here" else states.index(place) for kind, place in again[k]
                    ]
                    places[k] = body.add(step.op, operands, step.layer)
            except L1mlError:
                return None
            given = [body.type_of(places[place]) for place in states]
            if any(not np.array_equal(g.frac, k.frac) for g, k in zip(given, kinds, strict=True)):
                return None
            wider = [_union([g, k]) for g, k in zip(given, kinds, strict=True)]
            if all(_within(g, k) for g, k in zip(given, kinds, strict=True)):
                body.outputs = [*(places[place] for place in states), places[y]]
                return body.program()
            kinds = wider
        return None


def _through(steps: Sequence[TensorStep], codes: IntArray, kind: TensorType) -> IntArray:
    """Return codes after some steps that follow each other."""
    for step in steps:
        codes, kind = step.op.emulate([codes], [kind]), step.type
    return codes


def _row(kind: TensorType, row: int) -> TensorType:
    return TensorType(kind.lo[row], kind.hi[row], kind.frac[row])


def _union(kinds: Sequence[TensorType]) -> TensorType:
    frac = np.asarray(np.max([k.frac for k in kinds], axis=0))
    lo = np.min([k.lo << (frac - k.frac) for k in kinds], axis=0)
    hi = np.max([k.hi << (frac - k.frac) for k in kinds], axis=0)
    return TensorType(lo, hi, frac)


def _within(inner: TensorType, outer: TensorType) -> bool:
    return bool((inner.lo >= outer.lo).all() and (inner.hi <= outer.hi).all())


def _same(a: Primitive, b: Primitive) -> bool:
    """Tell whether two primitives do the same."""
    if type(a) is not type(b):
        return False
    pairs: Mapping[str, tuple[object, object]] = {
        field.name: (getattr(a, field.name), getattr(b, field.name)) for field in fields(a)
    }
    return all(
        np.array_equal(x, y) if isinstance(x, np.ndarray) and isinstance(y, np.ndarray) else x == y
        for x, y in pairs.values()
    )
