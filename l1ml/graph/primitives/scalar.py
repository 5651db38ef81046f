# SPDX-License-Identifier: Apache-2.0
"""A whole scalar program as one primitive."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from l1ml.errors import ModelError
from l1ml.graph.primitives.base import Primitive, Shape
from l1ml.graph.scalar import COLUMNS, LIMIT, READS, Kind, Step, check, entries
from l1ml.graph.scalar_ranges import Ranges
from l1ml.graph.tensor import TensorType
from l1ml.types.arrays import IntArray, RealArray
from l1ml.types.intrange import IntType

EVENTS_PER_BLOCK = 4096
"""Wires of so many events stay in the caches."""


@dataclass(frozen=True, eq=False)
class Scalar(Primitive):
    """Rows of `l1ml.graph.scalar.Kind`, one per wire.  Wires 0, 1, ... are the elements of the input.

    Args:
        rows: (n, 7): kind, a, b, c, p, q, r.
        outputs: (m, 3): wire, or -1 for 0; left shift of the value; 1 for its negative.
        tables: entries of all tables, one after the other.
        sizes: number of entries of every table.
        fracs: fraction bits of every table.
        shape: shape of the result, of m elements.
    """

    rows: IntArray
    outputs: IntArray
    tables: IntArray
    sizes: tuple[int, ...]
    fracs: tuple[int, ...]
    shape: tuple[int, ...]

    def __post_init__(self) -> None:
        for name, width in (("rows", COLUMNS), ("outputs", 3)):  # an empty list has lost its second axis
            array = np.asarray(getattr(self, name), dtype=np.int64)
            object.__setattr__(self, name, array.reshape(-1, width) if array.size == 0 else array)
        fits = (
            self.rows.shape[1:] == (COLUMNS,)
            and self.outputs.shape[1:] == (3,)
            and len(self.sizes) == len(self.fracs)
            and all(size > 0 for size in self.sizes)
            and sum(self.sizes) == self.tables.size
            and all(abs(frac) <= LIMIT for frac in self.fracs)
            and min(self.shape, default=1) >= 0
            and int(np.prod(self.shape, dtype=np.int64)) == len(self.outputs)
            and int(np.abs(self.outputs[:, 1]).max(initial=0)) <= LIMIT
        )
        if not fits:
            raise ModelError("a scalar program whose parts do not fit each other")

    def shape_of(self, *shapes: Shape) -> Shape:
        (_,) = shapes
        return self.shape

    def work(self, *shapes: Shape) -> int:
        return len(self.rows)

    def table(self, number: int) -> IntArray:
        """Return the entries of a table."""
        return self._split[number]

    @cached_property
    def _split(self) -> list[IntArray]:
        return np.split(self.tables, np.cumsum(self.sizes)[:-1]) if self.sizes else []

    @cached_property
    def _followed(self) -> dict[bytes, Ranges]:
        return {}

    def follow(self, x: TensorType) -> Ranges:
        """Return type and meaning of every wire, for inputs of type ``x``.

        Raises:
            ModelError: a row reads a later wire or holds senseless constants.
            RangeError: a wire needs more than 62 bits.
        """
        key = b"".join(np.ascontiguousarray(a).tobytes() for a in (x.lo, x.hi, x.frac))
        if key not in self._followed:
            check(self.rows, x.size, self.sizes)
            wires = x.size + len(self.rows)
            if (
                len(self.outputs)
                and not -1 <= int(self.outputs[:, 0].min()) <= int(self.outputs[:, 0].max()) < wires
            ):
                raise ModelError(f"a scalar program of {wires} wires gives out one that does not exist")
            ranges = Ranges([x.at(k) for k in range(x.size)], self._split, self.fracs)
            self._followed[key] = ranges.run(self.rows)
        return self._followed[key]

    def infer(self, *types: TensorType) -> TensorType:
        (x,) = types
        wires = self.follow(x).types
        ends = []
        for wire, shift, negative in self.outputs.tolist():
            if wire < 0:
                ends.append((0, 0, 0))
                continue
            kind = wires[wire]
            lo, hi = (-kind.hi, -kind.lo) if negative else (kind.lo, kind.hi)
            ends.append((lo, hi, kind.frac - shift))
        lo, hi, frac = np.array(ends, dtype=np.int64).reshape(-1, 3).T.copy()
        return TensorType(lo, hi, frac).reshaped(self.shape)

    def emulate(self, codes: Sequence[IntArray], types: Sequence[TensorType]) -> IntArray:
        (given,), (x,) = codes, types
        steps = self.follow(x).steps
        lead = given.shape[: given.ndim - len(x.shape)]
        flat = given.reshape(-1, x.size)
        out = np.empty((len(flat), len(self.outputs)), dtype=np.int64)
        last = self._forgotten
        for first in range(0, len(flat), EVENTS_PER_BLOCK):
            block = np.ascontiguousarray(flat[first : first + EVENTS_PER_BLOCK].T)
            wires = _run(steps, list(block), self._split, last)
            for column, (wire, _, negative) in enumerate(self.outputs.tolist()):
                part = out[first : first + EVENTS_PER_BLOCK, column]
                part[...] = 0 if wire < 0 else -wires[wire] if negative else wires[wire]
        return out.reshape(*lead, *self.shape)

    def values(self, x: RealArray) -> RealArray:
        """Return real results for real inputs, (events, ...): inputs are truncated to ``2**-24`` first.

        For models that are evaluated without types; every program converts its inputs itself.
        """
        bound = 2.0**48
        codes = np.floor(np.clip(np.ldexp(np.nan_to_num(x.astype(np.float64)), 24), -bound, bound)).astype(
            np.int64
        )
        kind = TensorType.of(x.shape[1:], IntType(-int(bound), int(bound), 24))
        return np.asarray(np.ldexp(self.emulate([codes], [kind]).astype(np.float64), -self.infer(kind).frac))

    @cached_property
    def _forgotten(self) -> list[list[int]]:
        """For every row the wires that no later row and no output reads."""
        kept = set(self.outputs[:, 0].tolist())
        done: list[list[int]] = []
        for kind, *reads in reversed(self.rows[:, :4].tolist()):
            free = set(reads[: READS.get(Kind(kind), 1)]) - kept
            kept |= free
            done.append(sorted(free))
        return done[::-1]


def _run(
    steps: list[Step], wires: list[IntArray], tables: list[IntArray], last: list[list[int]]
) -> list[IntArray]:
    """Evaluate the steps for a block of events; a wire is forgotten after its last reader."""
    nothing = np.zeros(0, dtype=np.int64)
    zeros = np.zeros(len(wires[0]) if wires else 0, dtype=np.int64)
    for step, done in zip(steps, last, strict=True):
        wires.append(_evaluate(step, wires, tables, zeros))
        for wire in done:
            wires[wire] = nothing
    return wires


def _evaluate(step: Step, wires: list[IntArray], tables: list[IntArray], zeros: IntArray) -> IntArray:
    kind, p = step.kind, step.p
    if kind is Kind.CONSTANT:
        return zeros + p
    a = wires[step.a]
    a = a << step.shift_a if step.shift_a else a
    b = wires[step.b] << step.shift_b if step.shift_b else wires[step.b]
    match kind:
        case Kind.ADD:
            y = a + b
        case Kind.SUBTRACT:
            y = a - b
        case Kind.NEGATE:
            y = -a
        case Kind.RELU:
            y = np.maximum(a, 0)
        case Kind.MUX if p < 0:
            y = a
        case Kind.MUX if p > 63:
            y = b
        case Kind.MUX:
            y = np.where(wires[step.c] >> p & 1, a, b)
        case Kind.MULTIPLY:
            y = a * b
        case Kind.ANY:
            y = (a != 0).astype(np.int64)
        case Kind.AND:
            y = a & b
        case Kind.OR:
            y = a | b
        case Kind.XOR:
            y = a ^ b
        case _:
            y = a
    y = y >> step.drop if step.drop else y
    match kind:
        case Kind.CONVERT if p:
            return _wrapped(y, p)
        case Kind.NOT:
            return _wrapped(~y, p)
        case Kind.ALL:
            mask = (1 << p) - 1
            return np.asarray(y & mask == mask, dtype=np.int64)
        case Kind.LOOKUP:
            return np.asarray(entries(tables[p], y - step.q))
    return np.asarray(y)


def _wrapped(codes: IntArray, width: int) -> IntArray:
    """Return the low bits as a word of ``width`` bits, signed where the width is negative."""
    low = -(1 << -width - 1) if width < 0 else 0
    return np.asarray((codes - low & (1 << abs(width)) - 1) + low)
