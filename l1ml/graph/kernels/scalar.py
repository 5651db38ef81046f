# SPDX-License-Identifier: Apache-2.0
"""Kernels of scalar programs: wires at the same depth that do the same become units of one kernel."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from l1ml.graph import primitives
from l1ml.graph.kernels import kernel
from l1ml.graph.kernels.kernel import Over, Post, Round
from l1ml.graph.kernels.plan import Place, exact, highest, rows_of
from l1ml.graph.primitives.base import magnitude
from l1ml.graph.scalar import READS, Kind, Step
from l1ml.graph.tensor import TensorType
from l1ml.types.arrays import IntArray, RealArray
from l1ml.types.intrange import IntType

_BITS = {Kind.AND: kernel.Kind.AND, Kind.OR: kernel.Kind.OR, Kind.XOR: kernel.Kind.XOR}


@rows_of.register
def _scalar(op: primitives.Scalar, at: Place, x: IntArray) -> IntArray:
    followed = op.follow(at.types[0])
    wires = Wires(
        at, x.ravel(), _tensor(followed.types), [op.table(k) for k in range(len(op.sizes))], op.fracs
    )
    for level in _levels(followed.steps, x.size):
        for kind in Kind:
            if numbers := [n for n in level if followed.steps[n].kind is kind]:
                wires.run(kind, numbers, [followed.steps[n] for n in numbers])
    wire, shift, negative = op.outputs.T
    taken = np.append(wires.ids, 0)[wire]  # -1 is the zero behind them
    factor = np.where(negative != 0, -1.0, 1.0) * np.ldexp(1.0, shift)
    taken, factor = taken.reshape(op.shape), np.where(wire < 0, 1.0, factor).reshape(op.shape)
    if bool((factor == 1).all()):
        return taken
    return at.convert(taken, Post.of(op.shape, Round.NONE, Over.NONE, factor=factor))


def _tensor(kinds: Sequence[IntType]) -> TensorType:
    ends = np.array([(k.lo, k.hi, k.frac) for k in kinds], dtype=np.int64).reshape(-1, 3)
    return TensorType(*ends.T.copy())


def _levels(steps: Sequence[Step], inputs: int) -> list[list[int]]:
    """Return the numbers of the steps by how many others stand before them."""
    depth = [0] * inputs
    levels: list[list[int]] = []
    for number, step in enumerate(steps):
        read = (step.a, step.b, step.c)[: READS.get(step.kind, 1)]
        depth.append(1 + max((depth[wire] for wire in read), default=0))
        levels.extend([] for _ in range(depth[-1] - len(levels)))
        levels[depth[-1] - 1].append(number)
    return levels


@dataclass(frozen=True, eq=False)
class Group:
    """The type of what steps of one kind make, and a column of every field that they have."""

    type: TensorType
    a: IntArray
    b: IntArray
    c: IntArray
    shift_a: IntArray
    shift_b: IntArray
    drop: IntArray
    p: IntArray
    q: IntArray


class Wires:
    """The wires of a program as rows.

    Args:
        at: takes the kernels.
        inputs: rows of the input wires.
        types: of all wires.
        tables: entries of all tables.
        fracs: their fraction bits.
    """

    def __init__(
        self, at: Place, inputs: IntArray, types: TensorType, tables: Sequence[IntArray], fracs: Sequence[int]
    ) -> None:
        self._at, self._types, self._tables, self._fracs = at, types, tables, fracs
        self._inputs = inputs.size
        self.ids = np.zeros(types.size, dtype=np.int64)
        self.ids[: inputs.size] = inputs

    def run(self, kind: Kind, numbers: Sequence[int], steps: Sequence[Step]) -> None:
        """Make the wires of some steps of one kind.

        Args:
            kind: of all of them.
            numbers: of the steps in the program.
            steps: the steps.
        """
        wires = np.asarray(numbers) + self._inputs
        fields = np.array([step[1:] for step in steps], dtype=np.int64).T
        group = Group(_part(self._types, wires), *fields)
        self._at.plan.seen(group.type)
        self.ids[wires] = _MAKE[kind](self, group)

    # ---- what the kinds have in common

    def _scale(self, wire: IntArray, shift: IntArray) -> RealArray:
        """Return what makes ``code * 2**shift`` of the value of a wire."""
        return np.asarray(np.ldexp(1.0, self._types.frac[wire] + shift))

    def _copied(
        self, ids: IntArray, kind: TensorType, rounding: Round, over: Over, **given: object
    ) -> IntArray:
        place = Place(self._at.plan, (), kind)
        return place.convert(ids, Post.of(kind.shape, rounding, over, **given))  # type: ignore[arg-type]

    def _fold(
        self, kind: kernel.Kind, group: Group, *ids: IntArray, peak: float = 0.0, **given: object
    ) -> IntArray:
        return Place(self._at.plan, (), group.type).fold(kind, np.stack(ids, axis=-1), peak, **given)

    def _words(
        self, ids: IntArray, scale: RealArray, width: IntArray, unit: RealArray, peak: float
    ) -> IntArray:
        """Return ``unit`` times words of ``width`` bits, signed where that is negative, 0: as many as there are.

        Args:
            ids: rows.
            scale: of their values; what is then below 1 is left out.
            width: bits.
            unit: what 1 stands for.
            peak: bound on the codes.
        """
        span = np.where(width == 0, 0.0, np.ldexp(1.0, np.abs(width)))
        lo = np.where(width < 0, -span / 2, 0.0)
        peak += 2 * highest(span) + 1
        rows = self._at.plan.fresh(ids.shape)
        over = Over.WRAP if bool(width.any()) else Over.NONE
        post = Post.of((ids.size, 1), Round.TRN, over, peak, **{
            name: np.broadcast_to(values, ids.shape)[:, None]
            for name, values in (("factor", scale), ("lo", lo), ("span", span), ("unit", unit))
        })  # fmt: skip
        self._at.plan.add(kernel.Kernel(kernel.Kind.COPY, ids[:, None], rows[:, None], post=post))
        return rows

    def _scaled(self, wire: IntArray, factor: RealArray) -> IntArray:
        """Return the rows of wires times powers of two."""
        ids = self.ids[wire]
        move = (factor != 1) & (ids != 0)
        if bool(move.any()):
            rows = self._at.plan.fresh((int(move.sum()),))
            post = Post.of((len(rows), 1), Round.NONE, Over.NONE, factor=factor[move][:, None])
            self._at.plan.add(kernel.Kernel(kernel.Kind.COPY, ids[move][:, None], rows[:, None], post=post))
            ids[move] = rows
        return ids

    def _peak(self, wire: IntArray, shift: IntArray | int = 0) -> RealArray:
        return np.asarray(np.ldexp(magnitude(_part(self._types, wire)), shift))

    # ---- the kinds

    def _constant(self, g: Group) -> IntArray:
        return self._at.plan.made(g.type)[0]

    def _add(self, g: Group) -> IntArray:
        return self._sum(g, 1.0)

    def _subtract(self, g: Group) -> IntArray:
        return self._sum(g, -1.0)

    def _sum(self, g: Group, sign: float) -> IntArray:
        unit = np.ldexp(1.0, -g.type.frac - g.drop)
        params = np.stack(
            [self._scale(g.a, g.shift_a) * unit, sign * self._scale(g.b, g.shift_b) * unit], axis=1
        )
        peak = highest(self._peak(g.a, g.shift_a) + self._peak(g.b, g.shift_b))
        post = None
        if bool((g.drop > 0).any()):
            scale = np.ldexp(1.0, g.type.frac)
            post = Post.of(
                (g.type.size, 1), Round.TRN, Over.NONE, peak, factor=scale[:, None], unit=1 / scale[:, None]
            )
        ids = (self.ids[g.a], self.ids[g.b])
        return self._fold(kernel.Kind.SCALED, g, *ids, peak=peak, params=params, post=post)

    def _negate(self, g: Group) -> IntArray:
        return self._copied(self.ids[g.a], g.type, Round.NONE, Over.NONE, factor=-1.0)

    def _convert(self, g: Group) -> IntArray:
        unit = np.ldexp(1.0, -g.type.frac)
        ids = self._words(self.ids[g.a], self._scale(g.a, -g.drop), g.p, unit, highest(self._peak(g.a)))
        fixed = g.type.lo == g.type.hi
        return np.where(fixed, self._at.plan.made(g.type)[0], ids)

    def _relu(self, g: Group) -> IntArray:
        lo, hi = (np.ldexp(exact(n), -g.type.frac) for n in (g.type.lo, g.type.hi))
        return self._copied(self.ids[g.a], g.type, Round.NONE, Over.CLIP, lo=lo, hi=hi)

    def _mux(self, g: Group) -> IntArray:
        unit = np.ldexp(1.0, -g.type.frac)
        a = self._scaled(g.a, self._scale(g.a, g.shift_a) * unit)
        b = self._scaled(g.b, self._scale(g.b, g.shift_b) * unit)
        bit = np.clip(g.p, 0, 63)
        key = self._words(
            self.ids[g.c],
            self._scale(g.c, -bit),
            np.ones_like(bit),
            np.ones(bit.shape),
            highest(self._peak(g.c)),
        )
        one = self._at.plan.constant(np.ones(bit.shape))
        key = np.where(g.p < 0, one, np.where(g.p > 63, 0, key))
        return self._fold(kernel.Kind.SELECT, g, key, a, b)

    def _multiply(self, g: Group) -> IntArray:
        peak = highest(np.maximum(self._peak(g.a), 1.0) * np.maximum(self._peak(g.b), 1.0))
        return self._fold(kernel.Kind.PROD, g, self.ids[g.a], self.ids[g.b], peak=peak)

    def _lookup(self, g: Group) -> IntArray:
        width = np.array([max(0, len(table) - 1).bit_length() for table in self._tables], dtype=np.int64)
        parts = [
            np.ldexp(exact(np.append(table, np.zeros((1 << w) - len(table), dtype=np.int64))), -frac)
            for table, w, frac in zip(self._tables, width.tolist(), self._fracs, strict=True)
        ]
        starts = np.cumsum(1 << width) - (1 << width)
        peak = highest(self._peak(g.a, g.shift_a))
        codes = self._words(
            self.ids[g.a], self._scale(g.a, g.shift_a - g.drop), 0 * g.p, np.ones(g.p.shape), peak
        )
        # The index counts from q, modulo the size; an entry has the number (code - q) mod size.
        span = np.ldexp(1.0, width[g.p])
        self._at.plan.need(highest(span))
        index = self._at.plan.fresh(codes.shape)
        post = Post.of(
            (codes.size, 1), Round.NONE, Over.WRAP, peak + 2 * highest(np.abs(exact(g.q))) + 2 * highest(span),
            offset=-exact(g.q)[:, None], span=span[:, None],
        )  # fmt: skip
        self._at.plan.add(kernel.Kernel(kernel.Kind.COPY, codes[:, None], index[:, None], post=post))
        params = np.stack([np.ones(span.shape), starts[g.p].astype(np.float64)], axis=1)
        table = np.concatenate(parts)
        return self._fold(kernel.Kind.LOOKUP, g, index, peak=float(len(table)), params=params, table=table)

    def _not(self, g: Group) -> IntArray:
        peak = highest(self._peak(g.a, g.shift_a))
        codes = self._words(
            self.ids[g.a], self._scale(g.a, g.shift_a - g.drop), 0 * g.p, np.ones(g.p.shape), peak
        )
        span = np.ldexp(1.0, np.abs(g.p))
        return self._copied(
            codes, g.type, Round.NONE, Over.WRAP, peak=peak + 2 * highest(span) + 1, factor=-1.0, offset=-1.0,
            lo=np.where(g.p < 0, -span / 2, 0.0), span=span, unit=np.ldexp(1.0, -g.type.frac),
        )  # fmt: skip

    def _any(self, g: Group) -> IntArray:
        one = self._at.plan.constant(np.ones(g.a.shape))
        return self._fold(kernel.Kind.SELECT, g, self.ids[g.a], one, np.zeros_like(one))

    def _all(self, g: Group) -> IntArray:
        peak = highest(self._peak(g.a, g.shift_a))
        words = self._words(
            self.ids[g.a], self._scale(g.a, g.shift_a - g.drop), g.p, np.ones(g.p.shape), peak
        )
        self._at.plan.need(highest(np.ldexp(1.0, g.p)))
        mask = self._at.plan.constant(np.ldexp(1.0, g.p) - 1)
        return self._fold(kernel.Kind.COMPARE, g, words, mask)

    def _bitwise(self, kind: Kind, g: Group) -> IntArray:
        unit = np.ldexp(1.0, -g.type.frac)
        params = np.stack([self._scale(g.a, g.shift_a), self._scale(g.b, g.shift_b), unit], axis=1)
        peak = highest(2 * np.maximum(self._peak(g.a, g.shift_a), self._peak(g.b, g.shift_b)) + 1)
        return self._fold(_BITS[kind], g, self.ids[g.a], self.ids[g.b], peak=peak, params=params)

    def _and(self, g: Group) -> IntArray:
        return self._bitwise(Kind.AND, g)

    def _or(self, g: Group) -> IntArray:
        return self._bitwise(Kind.OR, g)

    def _xor(self, g: Group) -> IntArray:
        return self._bitwise(Kind.XOR, g)


def _part(kind: TensorType, at: IntArray) -> TensorType:
    return TensorType(kind.lo[at], kind.hi[at], kind.frac[at])


_MAKE: dict[Kind, Callable[[Wires, Group], IntArray]] = {
    Kind.CONSTANT: Wires._constant, Kind.ADD: Wires._add, Kind.SUBTRACT: Wires._subtract,
    Kind.NEGATE: Wires._negate, Kind.CONVERT: Wires._convert, Kind.RELU: Wires._relu, Kind.MUX: Wires._mux,
    Kind.MULTIPLY: Wires._multiply, Kind.LOOKUP: Wires._lookup, Kind.NOT: Wires._not, Kind.ANY: Wires._any,
    Kind.ALL: Wires._all, Kind.AND: Wires._and, Kind.OR: Wires._or, Kind.XOR: Wires._xor,
}  # fmt: skip
