# SPDX-License-Identifier: Apache-2.0
"""Finds the first engine of a streamed block at which RTL and plan part: which beat, in which clock, with which code.

The events around a divergence run once more on the bare core, built so that the buses between its engines can be read.
Every beat on them is held against the plan's: its clock, and its codes by the engines' Python twins.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from l1ml.cosim.build import Wire
from l1ml.cosim.harness import Harness, build
from l1ml.cosim.pack import Slot, pack, unpack
from l1ml.links.layout import LinkLayout
from l1ml.plan.streams import Raster, Stream
from l1ml.plan.timing import Timed
from l1ml.rtl.engines import StreamedCore
from l1ml.rtl.taps import Tap, engine_name, meaningful, taps
from l1ml.schedule.pipeline import Pipeline
from l1ml.types.arrays import IntArray, WordArray
from l1ml.validate.core import rtl_sources


class Block(Protocol):
    """A planned block; `l1ml.streamed.Streamed` is one."""

    @property
    def timed(self) -> Timed: ...  # noqa: D102

    @property
    def layout(self) -> LinkLayout: ...  # noqa: D102

    @property
    def raster(self) -> Raster: ...  # noqa: D102

    @property
    def pipes(self) -> Mapping[int, Pipeline]: ...  # noqa: D102


@dataclass(frozen=True)
class Fault:
    """The first beat that is not the plan's.

    Args:
        layer: whose engine it is; several, joined by commas, where one engine holds them.
        engine: number of the engine; one past the last for the outputs.
        kind: ``map``, ``window``, ...; with ``waits`` the delay in front of it.
        waits: the beat is wrong where it has waited for another stream, before the engine reads it.
        stream: number of the stream.
        event: number in the sample.
        beat: number in the event.
        clock: from the first beat of its event on.
        place: (position in the beat, element), None where the beat itself is missing or should not be there.
        expected: its code, None for no beat.
        found: the code in its place, None for no beat.
    """

    layer: str
    engine: int
    kind: str
    waits: bool
    stream: int
    event: int
    beat: int
    clock: int
    place: tuple[int, int] | None
    expected: int | None
    found: int | None

    def __str__(self) -> str:
        where = f"delay in front of engine {self.engine}" if self.waits else f"engine {self.engine}"
        when = f"event {self.event}, beat {self.beat}, clock {self.clock}"
        if self.place is None:
            what = "there is none" if self.found is None else "there is one that should not be"
            return f"{where} ({self.kind}), {when}: {what}"
        position, element = self.place
        codes = f"expected {self.expected}, found {self.found}"
        return f"{where} ({self.kind}), {when}, position {position} element {element}: {codes}"

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for ``verdict.json``."""
        return {
            "engine": self.engine,
            "kind": self.kind,
            "waits": self.waits,
            "stream": self.stream,
            "event": self.event,
            "beat": self.beat,
            "clock": self.clock,
            "position": None if self.place is None else self.place[0],
            "element": None if self.place is None else self.place[1],
            "expected": self.expected,
            "found": self.found,
            "text": str(self),
        }


def locate_streamed(
    manifest: Mapping[str, Any], root: Path, build_dir: Path, block: Block, codes: IntArray, first_event: int
) -> Fault | None:
    """Run events on the bare core at the link's interval and return the first fault.

    Args:
        manifest: of the project.
        root: project folder.
        build_dir: folder of the build cache.
        block: the plan of the project.
        codes: input codes of the events around a divergence, (events, elements).
        first_event: number of the first of them in the sample.

    Returns:
        None where every beat is the plan's: then the core is right.

    Raises:
        ToolError: the simulator is missing or failed.
    """
    timed, layout = block.timed, block.layout
    core = StreamedCore(
        str(manifest["core_module"]), str(manifest["digest"]["network"]), layout.clock_mhz, layout.link_cycles
    )
    found = list(taps(core, timed, block.pipes))
    harness = _build(manifest, root, build_dir, layout, found)
    beats = _beats(block.raster, codes)
    begins = np.arange(len(codes), dtype=np.int64) * layout.link_cycles
    rows = harness.run(_traffic(block, harness, beats, begins))
    expected = timed.network.emulate_streams(beats)
    for tap in found:
        fault = _clock_fault(tap, rows, harness, begins)
        if fault is None and tap.data:
            fault = _code_fault(tap, rows, harness, begins, expected[tap.stream], timed)
        if fault is not None:
            event, beat, clock, place, code, wrong = fault
            kind, layers = engine_name(timed, block.pipes, tap.node)
            layer = ", ".join(layers) or "outputs"
            return Fault(
                layer,
                tap.node,
                kind,
                tap.waits,
                tap.stream,
                first_event + event,
                beat,
                clock,
                place,
                code,
                wrong,
            )
    return None


_Found = tuple[int, int, int, tuple[int, int] | None, int | None, int | None]
"""Event, beat, clock, place, expected and found code."""


def _build(
    manifest: Mapping[str, Any], root: Path, build_dir: Path, layout: LinkLayout, found: Sequence[Tap]
) -> Harness:
    names = {tap.data: tap.width for tap in found if tap.data}
    names |= {tap.valid: 1 for tap in found if tap.valid}
    start = [Wire("start_i", 1)] if layout.beat_count else []
    return build(
        [path for path in rtl_sources(manifest, root) if path.stem != manifest["top_module"]],
        str(manifest["core_module"]),
        [Wire("valid_i", 1), *start, Wire("data_i", layout.beat_width)],
        [Wire("valid_o", 1)],
        build_dir,
        probes=[Wire(name, width) for name, width in names.items()],
        fast="-O0",
    )


def _beats(raster: Raster, codes: IntArray) -> IntArray:
    """Return the beats of events, (events, beats, lanes, elements); lanes past the end of a row repeat a position."""
    flat = codes.reshape(len(codes), raster.positions, -1)
    return flat[:, np.maximum.accumulate(raster.slots(), axis=1)]


def _traffic(block: Block, harness: Harness, beats: IntArray, begins: IntArray) -> WordArray:
    """Return the rows that carry events, the first beat of each at its clock; idle clocks carry random data."""
    layout, timed = block.layout, block.timed
    events, count = beats.shape[:2]
    longest = max(int(times.max()) for times in timed.times)
    clocks = int(begins[-1]) + max(longest, timed.latency) + 4
    rows = np.random.default_rng(1).integers(0, 1 << 63, (clocks, harness.in_chunks), dtype=np.uint64)
    at = begins[:, None] + timed.times[0]
    data = 2 if layout.beat_count else 1
    rows[:, :data] = 0
    rows[at, 0] = 1
    if layout.beat_count:
        rows[begins, 1] = 1
    fields = layout.in_fields[: layout.beat_fields] if layout.beat_count else layout.in_fields
    slots = [Slot(field.element_lsb, field.element_width, field.signed) for field in fields]
    words = pack(beats.reshape(events * count, -1), slots, layout.beat_width)
    rows[at.reshape(-1), data:] = words
    return rows


def _clock_fault(tap: Tap, rows: WordArray, harness: Harness, begins: IntArray) -> _Found | None:
    """Return the first clock with a beat too many or too few."""
    if not tap.valid:
        return None
    seen = rows[:, harness.column(tap.valid)][:, 0] != 0
    due = np.zeros(len(rows), dtype=np.bool_)
    at = begins[:, None] + tap.clocks
    due[at] = True
    if np.array_equal(seen, due):
        return None
    clock = int(np.argmax(seen != due))
    if due[clock]:
        event, beat = (int(k) for k in np.argwhere(at == clock)[0])
        return event, beat, int(tap.clocks[beat]), None, 1, None
    order = np.argsort(np.where(at >= clock, at, at.max() + 1), axis=None)  # the next one that is due
    event, beat = (int(k) for k in np.unravel_index(order[0], at.shape))
    return event, beat, clock - int(begins[event]), None, None, 1


def _code_fault(
    tap: Tap, rows: WordArray, harness: Harness, begins: IntArray, expected: IntArray, timed: Timed
) -> _Found | None:
    """Return the first code that differs, by event and beat."""
    stream = timed.network.streams[tap.stream]
    slots, kept = _slots(stream)
    at = begins[:, None] + tap.clocks
    words = rows[at.reshape(-1), harness.column(tap.data)]
    events, beats = at.shape
    have = unpack(words, slots).reshape(events, beats, stream.groups, len(kept))
    want = expected[..., kept]
    differ = (have != want) & meaningful(timed, tap.stream)[None, :, :, None]
    if not differ.any():
        return None
    event, beat, group, column = (int(k) for k in np.argwhere(differ)[0])
    place = (event, beat, group, column)
    return event, beat, int(tap.clocks[beat]), (group, kept[column]), int(want[place]), int(have[place])


def _slots(stream: Stream) -> tuple[list[Slot], list[int]]:
    """Return where the elements of a beat lie, and which of a position have bits."""
    kept = [k for k, width in enumerate(stream.widths) if width]
    out, low = [], 0
    for _ in range(stream.groups):
        for k in kept:
            kind = stream.type.at(k)
            out.append(Slot(low, kind.width, kind.signed))
            low += kind.width
    return out, kept
