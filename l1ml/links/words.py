# SPDX-License-Identifier: Apache-2.0
"""Events to words and words to events: `encode` and `decode`.

The ports of one direction travel as one uint64 array, a row per clock.  Every port takes as many
64-bit columns as it needs, lowest first, in HDL order; clock and reset are left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from l1ml.errors import DataError, RangeError
from l1ml.links.layout import CHUNK_BITS, Field, LinkLayout
from l1ml.links.spec import Role
from l1ml.types.arrays import BoolArray, IntArray, WordArray
from l1ml.types.timing import BX_PER_ORBIT

EVENTS_PER_BLOCK = 2048
"""Events encoded at a time: what is touched repeatedly stays in the cache."""
LEAD_CYCLES = 2
"""Idle clocks before the first word: a link is idle when the block leaves reset."""


@dataclass(frozen=True)
class PortTraffic:
    """What the input ports carry, clock by clock.

    Args:
        rows: uint64, (clocks, `LinkLayout.in_chunks`).
        first_word_cycle: row of the first word of every event, (events,).
        bx: bunch crossing of every event, 0..3563, (events,).
        starts_orbit: events whose first word carries start_of_orbit, (events,).
    """

    rows: WordArray
    first_word_cycle: IntArray
    bx: IntArray
    starts_orbit: BoolArray


@dataclass(frozen=True)
class Decoded:
    """What came out of the output ports.

    Args:
        codes: integer code of every element, (events, elements).
        first_word_cycle: row of the first word of every packet, (events,).
        last_word_cycle: row of the last word of every packet, of the latest link, (events,): as many valid words as
            a packet has, wherever they are.  -1 where they do not come before the next packet.
        ok: the packet is whole, in step on all links and correctly marked, (events,).
        starts_orbit: packets marked with start_of_orbit, (events,).
        stray_words: valid words outside any packet, over all links.
        errors: sticky error bits and the row at which each was first seen.
        error_links: input links whose sticky error bit is set, where the link has such a port.
    """

    codes: IntArray
    first_word_cycle: IntArray
    last_word_cycle: IntArray
    ok: BoolArray
    starts_orbit: BoolArray
    stray_words: int
    errors: dict[str, int]
    error_links: tuple[int, ...]


def orbit_starts(bx: ArrayLike, tmux: int) -> BoolArray:
    """Tell which events come first in their orbit.

    Args:
        bx: bunch crossing of every event, 0..3563, (events,).
        tmux: bunch crossings from one event of the board to the next.
    """
    return np.asarray(np.asarray(bx) < tmux, dtype=np.bool_)


def encode(
    layout: LinkLayout,
    codes: ArrayLike,
    *,
    first_bx: int = 0,
    bx: ArrayLike | None = None,
    gaps: ArrayLike | None = None,
    tail_cycles: int = 0,
) -> PortTraffic:
    """Put events on the link, one every ``layout.link_cycles`` clocks.

    Args:
        layout: the link.
        codes: integer codes, (events, elements).
        first_bx: bunch crossing of the first event; each next one comes ``tmux`` later.
        bx: bunch crossing of every event instead, 0..3563, (events,).  It decides start_of_orbit only; the
            events still follow each other.
        gaps: additional idle clocks before each event, (events,).
        tail_cycles: idle clocks after the last event, for the pipeline to empty.

    Returns:
        Rows for the simulator, which begin with ``LEAD_CYCLES`` idle clocks.

    Raises:
        RangeError: a code does not fit its field; names event and field.
        DataError: wrong shape, or bunch crossings outside the orbit.
    """
    table = _checked_codes(layout, codes)
    events = len(table)
    crossing = _crossings(layout, events, first_bx, bx)
    starts_orbit = orbit_starts(crossing, layout.tmux)
    idle = np.zeros(events, dtype=np.int64) if gaps is None else _vector(gaps, events, "gaps", 0, 1 << 20)
    first = LEAD_CYCLES + np.arange(events, dtype=np.int64) * layout.link_cycles + np.cumsum(idle)
    cycles = (int(first[-1]) + layout.link_cycles if events else LEAD_CYCLES) + tail_cycles
    rows = np.empty((cycles, layout.in_chunks), dtype=np.uint64)
    if events and not idle[1:].any():
        begin = int(first[0])
        end = begin + events * layout.link_cycles
        _repeat(rows[:begin], _idle_row(layout)[None])
        _repeat(rows[end:], _idle_row(layout)[None])
        _fill(layout, rows[begin:end].reshape(events, layout.link_cycles, -1), table, starts_orbit)
    else:
        _repeat(rows, _idle_row(layout)[None])
        within = np.arange(layout.link_cycles)
        for low in range(0, events, EVENTS_PER_BLOCK):
            part = slice(low, low + EVENTS_PER_BLOCK)
            slots = np.empty((len(table[part]), layout.link_cycles, layout.in_chunks), dtype=np.uint64)
            _fill(layout, slots, table[part], starts_orbit[part])
            rows[first[part, None] + within] = slots
    return PortTraffic(rows, first, crossing, starts_orbit)


def decode(layout: LinkLayout, rows: ArrayLike) -> Decoded:
    """Find the output packets and take the events out of them.

    No latency is assumed: a packet begins where link 0 says so.

    Args:
        layout: the link.
        rows: uint64, (clocks, columns); columns after `LinkLayout.out_chunks` are ignored.

    Raises:
        DataError: too few columns.
    """
    table = np.asarray(rows)
    if table.ndim != 2 or table.dtype != np.uint64 or table.shape[1] < layout.out_chunks:
        raise DataError(
            f"expected uint64 rows (clocks, {layout.out_chunks}), got {table.dtype} {table.shape}",
            where=("link output",),
        )
    valid = [_flag(layout, table, Role.VALID, link) for link in range(layout.n_links_out)]
    starts = [_starts(layout, table, valid[link], link) for link in range(layout.n_links_out)]
    first = np.flatnonzero(starts[0]).astype(np.int64)
    inside = first + layout.words_out <= len(table)
    ok = inside.copy()
    taken = 0
    # A packet cut off by the end of the rows reads other words instead, and is not ok.
    begins = np.minimum(first, max(0, len(table) - layout.words_out))
    if len(table) < layout.words_out:
        begins, first, ok = begins[:0], first[:0], ok[:0]
    for link in range(layout.n_links_out):
        last = _flag(layout, table, Role.LAST, link)
        has_last = layout.column("out", Role.LAST, link) is not None
        for word in range(layout.words_out):
            row = begins + word
            ok &= valid[link][row] & (starts[link][row] == (word == 0))
            if has_last:
                ok &= last[row] == (word == layout.words_out - 1)
    for link in range(layout.n_links_out):
        taken += int(np.count_nonzero(valid[link]))
    stray = taken - int(np.count_nonzero(ok)) * layout.words_out * layout.n_links_out
    codes = np.empty((len(first), len(layout.out_fields)), dtype=np.int64)
    for number, field in enumerate(layout.out_fields):
        codes[:, number] = _take(layout, table, field, begins)
    soo = _flag(layout, table, Role.START_OF_ORBIT, 0)
    return Decoded(
        codes, first, _last_words(layout, valid, first), ok, soo[begins], stray, _errors(layout, table),
        _error_links(layout, table),
    )  # fmt: skip


def _last_words(layout: LinkLayout, valid: Sequence[BoolArray], first: IntArray) -> IntArray:
    """Return the row of every packet's last word, of the link on which it comes latest; -1 where one has none."""
    out = np.full(len(first), -1, dtype=np.int64)
    complete = np.ones(len(first), dtype=np.bool_)
    ends = np.append(first[1:], np.iinfo(np.int64).max)  # before the next packet
    for flags in valid:
        words = np.flatnonzero(flags)
        at = np.searchsorted(words, first) + layout.words_out - 1
        rows = np.append(words, np.iinfo(np.int64).max)[np.minimum(at, len(words))]
        complete &= rows < ends
        out = np.maximum(out, rows)
    return np.where(complete, out, -1)


def _checked_codes(layout: LinkLayout, codes: ArrayLike) -> IntArray:
    table = np.asarray(codes)
    if table.ndim != 2 or table.shape[1] != len(layout.in_fields):
        raise DataError(
            f"expected codes (events, {len(layout.in_fields)}), got {table.shape}", where=("link input",)
        )
    if not np.issubdtype(table.dtype, np.integer):
        raise DataError(
            f"expected integer codes, got {table.dtype}",
            where=("link input",),
            fix="divide by the LSB and round",
        )
    table = np.asarray(table, dtype=np.int64)
    if not len(table):
        return table
    least, most = table.min(axis=0), table.max(axis=0)
    for number, field in enumerate(layout.in_fields):
        lo = -(1 << (field.width - 1)) if field.signed else 0
        hi = (1 << (field.width - field.signed)) - 1
        if lo <= least[number] and most[number] <= hi:
            continue
        column = table[:, number]
        event = int(np.flatnonzero((column < lo) | (column > hi))[0])
        raise RangeError(
            f"code {int(column[event])} of event {event} does not fit its {field.width} bits ({lo}..{hi})",
            where=("link input", str(field)),
        )
    return table


def _crossings(layout: LinkLayout, events: int, first_bx: int, bx: ArrayLike | None) -> IntArray:
    if bx is None:
        return np.asarray((first_bx + np.arange(events, dtype=np.int64) * layout.tmux) % BX_PER_ORBIT)
    return _vector(bx, events, "bx", 0, BX_PER_ORBIT - 1)


def _vector(values: ArrayLike, events: int, name: str, least: int, most: int) -> IntArray:
    vector = np.asarray(values)
    if vector.shape != (events,) or not np.issubdtype(vector.dtype, np.integer):
        raise DataError(f"{name}: expected whole numbers ({events},), got {vector.dtype} {vector.shape}")
    if events and not (least <= vector.min() and vector.max() <= most):
        raise DataError(f"{name}: {vector.min()}..{vector.max()}; allowed are {least} to {most}")
    return vector.astype(np.int64)


def _idle_row(layout: LinkLayout) -> WordArray:
    row = np.zeros(layout.in_chunks, dtype=np.uint64)
    for port in layout.data_ports("in"):
        if port.role in (Role.STROBE, Role.READY):
            row[layout.column("in", port.role, port.link)] = 1
    return row


def _frame_rows(layout: LinkLayout) -> WordArray:
    """Return the rows of an event without data: (link cycles, columns)."""
    rows = np.empty((layout.link_cycles, layout.in_chunks), dtype=np.uint64)
    rows[:] = _idle_row(layout)
    for port in layout.data_ports("in"):
        column = layout.column("in", port.role, port.link)
        if port.role is Role.VALID:
            rows[: layout.frame_words, column] = 1
        elif port.role is Role.START:
            rows[0, column] = 1
        elif port.role is Role.LAST:
            rows[layout.frame_words - 1, column] = 1
    return rows


def _repeat(rows: WordArray, pattern: WordArray) -> None:
    """Fill ``rows`` with copies of ``pattern`` in large pieces; row by row would cost a loop per row."""
    done = min(len(pattern), len(rows))
    rows[:done] = pattern[:done]
    while 0 < done < len(rows):
        step = min(done, len(rows) - done)
        rows[done : done + step] = rows[:step]
        done += step


def _fill(layout: LinkLayout, slots: WordArray, codes: IntArray, starts_orbit: BoolArray) -> None:
    """Write events into ``slots`` (events, link cycles, columns)."""
    parts: dict[tuple[int, int], list[tuple[Field, int]]] = {}
    for field in layout.in_fields:
        base = layout.column("in", Role.DATA, field.link)
        assert base is not None, "InterfaceSpec.verify asks for a data port"
        for chunk in range(field.lsb // CHUNK_BITS, field.msb // CHUNK_BITS + 1):
            parts.setdefault((field.word, base + chunk), []).append((field, field.lsb - chunk * CHUNK_BITS))
    orbit = [layout.column("in", Role.START_OF_ORBIT, link) for link in range(layout.n_links_in)]
    frame = _frame_rows(layout)
    for low in range(0, len(codes), EVENTS_PER_BLOCK):
        block = slots[low : low + EVENTS_PER_BLOCK]
        _repeat(block, frame[None])
        columns = np.ascontiguousarray(codes[low : low + EVENTS_PER_BLOCK].T).view(np.uint64)
        for (word, column), members in parts.items():
            value = np.zeros(len(block), dtype=np.uint64)
            for field, shift in members:
                code = columns[field.element] & np.uint64((1 << field.width) - 1)
                value |= code << np.uint64(shift) if shift >= 0 else code >> np.uint64(-shift)
            block[:, word, column] = value
        for at in orbit:
            if at is not None:
                block[:, 0, at] = starts_orbit[low : low + EVENTS_PER_BLOCK]


def _flag(layout: LinkLayout, table: WordArray, role: Role, link: int) -> BoolArray:
    column = layout.column("out", role, link)
    if column is None:
        return np.zeros(len(table), dtype=np.bool_)
    return np.asarray(table[:, column] != 0)


def _starts(layout: LinkLayout, table: WordArray, valid: BoolArray, link: int) -> BoolArray:
    """Return where packets begin: by start, else behind last, else at every valid word."""
    if layout.column("out", Role.START, link) is not None:
        return valid & _flag(layout, table, Role.START, link)
    if layout.column("out", Role.LAST, link) is None:
        return valid
    words = np.flatnonzero(valid)
    after_last = np.ones(len(words), dtype=np.bool_)
    after_last[1:] = _flag(layout, table, Role.LAST, link)[words[:-1]]
    starts = np.zeros(len(table), dtype=np.bool_)
    starts[words[after_last]] = True
    return starts


def _take(layout: LinkLayout, table: WordArray, field: Field, begins: IntArray) -> IntArray:
    base = layout.column("out", Role.DATA, field.link)
    assert base is not None, "InterfaceSpec.verify asks for a data port"
    row = begins + field.word
    value = np.zeros(len(begins), dtype=np.uint64)
    width = min(field.width, CHUNK_BITS)
    for chunk in range(field.lsb // CHUNK_BITS, (field.lsb + width - 1) // CHUNK_BITS + 1):
        shift = field.lsb - chunk * CHUNK_BITS
        part = table[row, base + chunk]
        value |= part << np.uint64(-shift) if shift < 0 else part >> np.uint64(shift)
    if width < CHUNK_BITS:
        value &= np.uint64((1 << width) - 1)
        codes = value.view(np.int64)
        return codes - ((codes >> (width - 1)) << width) if field.signed else codes
    return value.view(np.int64)


def _errors(layout: LinkLayout, table: WordArray) -> dict[str, int]:
    column = layout.column("out", Role.ERROR)
    if column is None or not len(table):
        return {}
    bits = table[:, column]
    found = layout.error_names(int(np.bitwise_or.reduce(bits)))
    position = {error.name: error.bit for error in layout.errors}
    return {name: int(np.flatnonzero(bits >> np.uint64(position[name]) & np.uint64(1))[0]) for name in found}


def _error_links(layout: LinkLayout, table: WordArray) -> tuple[int, ...]:
    column = layout.column("out", Role.ERROR_LINK)
    if column is None or not len(table):
        return ()
    chunks = -(-layout.n_links_in // CHUNK_BITS)
    seen = [int(np.bitwise_or.reduce(table[:, column + chunk])) for chunk in range(chunks)]
    links = range(layout.n_links_in)
    return tuple(link for link in links if seen[link // CHUNK_BITS] >> (link % CHUNK_BITS) & 1)
