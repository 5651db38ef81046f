# SPDX-License-Identifier: Apache-2.0
"""The cheapest primitives that reproduce step functions exactly.

Nothing is approximated: a form is accepted only if it gives the wanted code for every input code.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from l1ml.errors import ModelError
from l1ml.graph import primitives
from l1ml.graph.primitives import Primitive
from l1ml.graph.tensor import TensorType
from l1ml.graph.unary import Table, Tables
from l1ml.types.arrays import IntArray
from l1ml.types.fixed import Overflow, Rounding

MAX_MULTIPLIER_BITS = 18
MAX_SHIFT = 40
FEW_STEPS = 3
"""So many comparators cost less than a multiplication."""

MAX_STEPS = 255
MAX_ENTRIES = 1 << 16
_NONE = np.iinfo(np.int64)


def realize(name: str, tables: Tables, x: TensorType) -> list[Primitive]:
    """Return primitives that give every code of the tables.

    Args:
        name: the layer, for messages.
        tables: the step functions of all elements.
        x: type of the tensor they are applied to.

    Raises:
        ModelError: the tables are too large for any form.
    """
    chosen = _choose(name, tables)
    chain = chosen(tables, x)
    alone = replace(tables, which=np.arange(len(tables.tables)), each=_first(tables.each, tables.which))
    kind = TensorType(
        np.array([table.lo for table in tables.tables], dtype=np.int64),
        np.array([table.hi for table in tables.tables], dtype=np.int64),
        _first(x.frac, tables.which),
    )
    _check(name, alone, chosen(alone, kind), kind)  # every distinct element once
    return chain


def _first(values: IntArray, which: IntArray) -> IntArray:
    """Return the value of the first element of every group."""
    return np.asarray(values.ravel()[np.unique(which.ravel(), return_index=True)[1]])


Form = Callable[[Tables, TensorType], list[Primitive]]


def _choose(name: str, tables: Tables) -> Form:
    most = max(table.steps for table in tables.tables)
    if 0 < most <= FEW_STEPS:
        return lambda these, x: [_steps(these), *_own_grids(these)]
    found = [_integer_form(t, slope) for t, slope in zip(tables.tables, tables.slopes, strict=True)]
    lines = [form for form in found if form is not None]
    if len(lines) == len(found):
        return lambda these, x: [_rescale(these, lines), *_own_grids(these)]
    entries = max(_live(table)[1] - _live(table)[0] + 1 for table in tables.tables)
    # A comparator of w bits costs about w / 3 LUTs and its share of the sum; a table of 2**w entries 2**w / 64 per bit.
    width = max((table.hi - table.lo).bit_length() for table in tables.tables)
    bits = max((int(np.abs(t.codes).max()).bit_length() + 1) for t in tables.tables)
    if most <= MAX_STEPS and (entries > MAX_ENTRIES or most * (width / 3 + 1) <= entries / 64 * bits):
        return lambda these, x: [_steps(these), *_own_grids(these)]
    if entries <= MAX_ENTRIES:
        return lambda these, x: [*_lookup(these, x), *_own_grids(these)]
    raise ModelError(
        f"{name!r} needs {most} thresholds or a table of {entries} entries per element; at most {MAX_STEPS} "
        f"thresholds or {MAX_ENTRIES} entries are built",
        fix=f"quantize its input to {MAX_ENTRIES.bit_length() - 1} bits or fewer, or its output to 8 bits or fewer",
    )


def _spread(values: list[int] | IntArray, which: IntArray) -> IntArray:
    """Return per-table values per element, with as few axes as tell them apart."""
    array = np.asarray(values, dtype=np.int64)
    if bool((array == array[:1]).all()):
        return np.asarray(array[0])
    full = array[which]
    lead = which.ndim
    while lead > 1 and bool((which == which[:1]).all()):  # the same at every position: channels are enough
        which, full, lead = which[0], full[0], lead - 1
    return np.asarray(full)


def _rescale(tables: Tables, forms: list[tuple[int, int, int]]) -> Primitive:
    multiplier, offset, shift = (_spread([form[k] for form in forms], tables.which) for k in range(3))
    lo = _spread([int(t.codes.min()) for t in tables.tables], tables.which)
    hi = _spread([int(t.codes.max()) for t in tables.tables], tables.which)
    return primitives.Rescale(multiplier, offset, shift, lo, hi, tables.frac)


def _integer_form(table: Table, slope: float) -> tuple[int, int, int] | None:
    """Find the smallest ``(multiplier, offset, shift)`` that gives every code of the table.

    For each multiplier width the offset that works is the intersection of one interval per run of inputs,
    so nothing is guessed: either the interval is empty or any number in it is right everywhere.
    """
    codes, low, high = table.codes, table.starts, table.ends
    if not table.steps:
        return 0, int(codes[0]), 0
    if slope == 0.0 or not math.isfinite(slope) or not 1e-12 < abs(slope) < 1e12:
        return None
    floor, top = codes.min(), codes.max()
    for shift in range(MAX_MULTIPLIER_BITS + 1 + max(0, -math.floor(math.log2(abs(slope))))):
        ideal = slope * 2.0**shift
        for multiplier in sorted({math.floor(ideal), math.ceil(ideal)} - {0}):
            peak = abs(multiplier) * max(abs(table.lo), abs(table.hi)) + (
                int(np.abs(codes).max()) + 1 << shift
            )
            if abs(multiplier).bit_length() > MAX_MULTIPLIER_BITS or shift > MAX_SHIFT or peak >= 1 << 60:
                return None
            first, last = (low, high) if multiplier > 0 else (high, low)  # where the line is lowest, highest
            # What is clipped anyway may be as small or as large as it likes.
            least = ((codes << shift) - multiplier * first)[codes != floor].max(initial=_NONE.min)
            most = ((codes + 1 << shift) - 1 - multiplier * last)[codes != top].min(initial=_NONE.max)
            if _NONE.min < least <= most < _NONE.max:
                return multiplier, _roundest(int(least), int(most)), shift
    return None


def _roundest(low: int, high: int) -> int:
    """Return the number in ``low..high`` with the most trailing zeros: the cheapest to add."""
    if low <= 0 <= high:
        return 0
    for bit in range(62, -1, -1):
        candidate = -(-low >> bit) << bit
        if low <= candidate <= high:
            return candidate
    return low


def _steps(tables: Tables) -> Primitive:
    most = max(1, *(table.steps for table in tables.tables))
    count = len(tables.tables)
    thresholds = np.empty((count, most), dtype=np.int64)
    jumps = np.zeros((count, most), dtype=np.int64)
    for k, table in enumerate(tables.tables):
        thresholds[k] = table.hi + 1  # never reached
        thresholds[k, : table.steps] = table.starts[1:]
        jumps[k, : table.steps] = np.diff(table.codes)
    base = np.array([int(table.codes[0]) for table in tables.tables], dtype=np.int64)
    if count == 1:
        return primitives.Steps(thresholds[0], base[0:1][0], jumps[0], tables.frac)
    which = tables.which
    while which.ndim > 1 and bool((which == which[:1]).all()):
        which = which[0]
    return primitives.Steps(thresholds[which], base[which], jumps[which], tables.frac)


def _live(table: Table) -> tuple[int, int]:
    """Return the part of the inputs that matters: outside of it the result does not change."""
    if not table.steps:
        return table.lo, table.lo
    return int(table.starts[1]) - 1, int(table.starts[-1])


def _lookup(tables: Tables, x: TensorType) -> list[Primitive]:
    """Return a table over the inputs where something changes; saturated ends are clipped away first."""
    live = [_live(table) for table in tables.tables]
    entries = max(hi - lo + 1 for lo, hi in live)
    rows = []
    for table, (lo, hi) in zip(tables.tables, live, strict=True):
        row = table.dense()[lo - table.lo : hi - table.lo + 1]
        rows.append(np.append(row, np.full(entries - len(row), row[-1])))
    first, last = (_spread([ends[k] for ends in live], tables.which) for k in range(2))
    which = _spread(list(range(len(rows))), tables.which)
    clip = primitives.Requantize(first, last, x.frac, Rounding.TRN, Overflow.SAT)
    return [clip, primitives.Lookup(first, np.array(rows, dtype=np.int64), which, tables.frac)]


def _own_grids(tables: Tables) -> list[Primitive]:
    """Give every element its own binary point, where they differ: low zero bits are dropped, nothing is lost."""
    if int(tables.each.min(initial=tables.frac)) == tables.frac:
        return []
    drop = tables.frac - tables.each
    lo = np.array([int(t.codes.min()) for t in tables.tables], dtype=np.int64)[tables.which] >> drop
    hi = np.array([int(t.codes.max()) for t in tables.tables], dtype=np.int64)[tables.which] >> drop
    return [primitives.Requantize(lo, hi, tables.each, Rounding.TRN, Overflow.SAT)]


def _check(name: str, tables: Tables, chain: list[Primitive], x: TensorType) -> None:
    """Evaluate the primitives where the step functions change, and compare.

    That is a proof: both are step functions with these steps only, since a straight line between two inputs
    with the same code keeps that code.
    """
    probes = [np.unique(np.concatenate([table.starts, table.ends])) for table in tables.tables]
    drop = tables.frac - tables.each
    for first in range(0, max(map(len, probes)), 1024):
        codes = np.broadcast_to(x.lo, (1024, x.size)).copy()
        for element, probe in enumerate(probes):
            part = probe[first : first + 1024]
            codes[: len(part), element] = part
        made, kind = codes, x
        for op in chain:
            made, kind = op.emulate([made], [kind]), op.infer(kind)
        for element, table in enumerate(tables.tables):
            part = probes[element][first : first + 1024]
            runs = np.searchsorted(table.starts, part, side="right") - 1
            assert np.array_equal(made[: len(part), element], table.codes[runs] >> drop[element]), (
                f"{name}: element {element} is not exact"
            )
