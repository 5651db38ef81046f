# SPDX-License-Identifier: Apache-2.0
"""Any function of one wire: a table over its bits, or comparisons with the places where it changes.

The function is kept as runs of equal values.  As comparisons, result bit ``j`` is the parity of those places
``x >= t`` at which it flips: no adder is needed, and steps may be as uneven as they like.  A table may be
read by a clipped index, where the ends of the function are flat.  The form with the fewest LUTs is taken.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from l1ml.dataflow import logic
from l1ml.dataflow.build import Builder, Element
from l1ml.dataflow.op import Lookup, Wrap
from l1ml.dataflow.tables import LUT_INPUTS, MAX_INPUTS, USUAL_INPUTS, columns, compare_luts, tree_luts
from l1ml.errors import ModelError
from l1ml.types.intrange import IntType

MANY_RUNS = 2048
"""With more runs comparisons are never the cheaper form, unless the input is too wide for any table."""
SLOWER = 1.1
"""Comparisons take two levels and more; a table must cost that much more before they are taken."""


@dataclass(frozen=True)
class Runs:
    """A function of an integer: ``values[k]`` from ``starts[k]`` on, up to the next start.

    Args:
        starts: ascending; the first is the smallest argument.
        values: one per start; neighbours differ.
    """

    starts: tuple[int, ...]
    values: tuple[int, ...]

    @classmethod
    def of(cls, starts: Sequence[int], values: Sequence[int], lo: int, hi: int) -> Runs:
        """Cut a function to ``lo..hi`` and join equal neighbours; below its first start it is constant."""
        kept = [(lo, values[0])]
        for start, value in zip(starts, values, strict=True):
            if start > hi:
                break
            if start <= lo:
                kept = [(lo, value)]
                continue
            if kept[-1][0] == start:  # two steps at one place
                kept.pop()
            if kept[-1][1] != value:
                kept.append((start, value))
        return cls(tuple(s for s, _ in kept), tuple(v for _, v in kept))

    def divided(self, zeros: int) -> Runs:
        """Return the function of ``n`` that this one is of ``n * 2**zeros``."""
        merged: dict[int, int] = {}
        for start, value in zip(self.starts, self.values, strict=True):
            merged[-(-start >> zeros)] = value  # later ones win
        return Runs(tuple(merged), tuple(merged.values()))

    def mirrored(self, hi: int) -> Runs:
        """Return the function of ``-n``, for a domain that ends at ``hi``."""
        ends = [*(start - 1 for start in self.starts[1:]), hi]
        return Runs(tuple(-end for end in reversed(ends)), tuple(reversed(self.values)))

    def table(self, lo: int, hi: int) -> tuple[int, ...]:
        """Return the values at ``lo..hi``."""
        at = np.searchsorted(np.array(self.starts), np.arange(lo, hi + 1), side="right") - 1
        return tuple(np.array(self.values, dtype=np.int64)[np.maximum(at, 0)].tolist())


def emit(build: Builder, x: Element, runs: Runs, frac: int, layer: int) -> Element:
    """Return the function of ``x``, whose arguments are integers of the wire with the element's sign."""
    kind = build.type_of(x.wire)
    if x.negated:
        runs, x = runs.mirrored(max(-kind.lo, runs.starts[-1])), replace(x, negated=False)
    runs = Runs.of(runs.starts, runs.values, kind.lo, kind.hi)
    if len(runs.starts) == 1:
        return build.constant(runs.values[0], frac, layer)
    zeros = min((v & -v).bit_length() - 1 for v in runs.values if v)
    runs, frac = replace(runs, values=tuple(v >> zeros for v in runs.values)), frac - zeros
    if _is_identity(runs, kind):
        return Element(x.wire, frac)
    if len(runs.starts) == 2:  # one comparison, which a matrix can read as a bit
        return _steps(build, x.wire, runs, frac, layer)
    window = _window(runs, kind)
    costs: list[tuple[float, str]] = []
    if len(runs.starts) <= MANY_RUNS:
        costs.append((_compare_cost(runs, kind) * SLOWER, "steps"))
    widest = USUAL_INPUTS if costs else MAX_INPUTS
    if kind.width <= widest:
        costs.append((_table_cost(runs, kind), "table"))
    if window.width < min(kind.width, widest + 1):
        clip = window.width + 2 * tree_luts(kind.width - window.width + 1)
        costs.append((_table_cost(runs, window) + clip, "window"))
    if not costs:
        raise ModelError(
            f"a table over {kind.width} bits with {len(runs.starts)} different runs of results",
            fix=f"quantize its input to at most {MAX_INPUTS} bits",
        )
    form = min(costs)[1]
    if form == "steps":
        return _steps(build, x.wire, runs, frac, layer)
    if form == "window":
        x = build.clip(Element(x.wire, 0), window.lo, window.hi, layer)
    else:
        window = kind
    return logic.lookup(build, x, window.lo, runs.table(window.lo, window.hi), frac, layer)


def _is_identity(runs: Runs, kind: IntType) -> bool:
    return len(runs.starts) == kind.hi - kind.lo + 1 and runs.values == runs.starts


def _window(runs: Runs, kind: IntType) -> IntType:
    """Return the range of whole bits, outside of which the function is flat."""
    low, high = runs.starts[1] - 1, runs.starts[-1]
    size = max(high, ~low, 0).bit_length()
    lo = -(1 << size) if low < 0 else 0
    return IntType(max(lo, kind.lo), min((1 << size) - 1, kind.hi))


def _table_cost(runs: Runs, kind: IntType) -> int:
    if kind.width - logic.still_bits(runs.starts[1:], kind) <= LUT_INPUTS:
        return _bits(runs)
    made = columns(Lookup(kind.lo, runs.table(kind.lo, kind.hi)), kind, _bits(runs))
    return sum(column.luts for column in set(made))


def _bits(runs: Runs) -> int:
    return IntType(min(runs.values), max(runs.values)).width


def _compare_cost(runs: Runs, kind: IntType) -> int:
    comparisons = sum(compare_luts(kind.width, start) for start in runs.starts[1:])
    return comparisons + sum(tree_luts(len(places)) for places in set(_flips(runs).values()))


def _flips(runs: Runs) -> dict[int, tuple[int, ...]]:
    """Return for every result bit the arguments at which it flips."""
    flips: dict[int, list[int]] = {bit: [] for bit in range(_bits(runs))}
    for start, before, after in zip(runs.starts[1:], runs.values, runs.values[1:], strict=False):
        for bit, places in flips.items():
            if (before ^ after) >> bit & 1:
                places.append(start)
    return {bit: tuple(places) for bit, places in flips.items()}


def _steps(build: Builder, wire: int, runs: Runs, frac: int, layer: int) -> Element:
    x = Element(wire, 0)
    at = {start: logic.at_least(build, x, start, layer) for start in runs.starts[1:]}
    base = runs.values[0]
    parts = [
        (logic.parity(build, [at[start] for start in places], layer, odd=bool(base >> bit & 1)), bit)
        for bit, places in _flips(runs).items()
    ]
    lo, hi = min(runs.values), max(runs.values)
    made = logic.join(build, parts, layer, (lo, hi) if lo >= 0 else None)
    low = -made.frac
    if lo < 0:
        sign, ends = Wrap(_bits(runs) - low, signed=True), (-(-lo >> low), hi >> low)
        made = replace(made, wire=build.add(sign, (made.wire,), layer, frac - low, ends))
    made = replace(made, frac=frac - low)
    if len(runs.starts) == 2 and not low:
        _note_bit(build, made, at[runs.starts[1]], runs)
    return made


def _note_bit(build: Builder, made: Element, bit: Element, runs: Runs) -> None:
    """Let a matrix read a two-valued function as one bit and a constant."""
    low, high = runs.values
    jump = high - low
    if abs(jump) == 1 << (abs(jump).bit_length() - 1):
        shift = abs(jump).bit_length() - 1
        build.remember(made.wire, Element(bit.wire, -shift, negated=jump < 0), low)
