# SPDX-License-Identifier: Apache-2.0
"""Finds the first engine of a streamed block at which RTL and plan part: which beat, in which clock, with which code.

The events around a divergence run once more on the bare core, built so that the buses between its engines can be read.
Every beat on them is held against the plan's: its clock, and its codes by the engines' Python twins.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from l1ml.cosim.build import Wire
from l1ml.cosim.harness import Harness, build, chunks
from l1ml.cosim.pack import Slot, pack, unpack
from l1ml.errors import DataError, L1mlError, ToolError
from l1ml.graph.program import loads
from l1ml.links.layout import LinkLayout
from l1ml.plan.kept import KeptPlan, plan_of
from l1ml.plan.streams import Raster, Stream
from l1ml.plan.timing import Timed
from l1ml.rtl.engines import StreamedCore
from l1ml.rtl.project import NETWORK
from l1ml.rtl.taps import Tap, engine_name, meaningful, taps
from l1ml.types.arrays import IntArray, WordArray
from l1ml.validate.core import rtl_sources, slots
from l1ml.validate.fault import Fault
from l1ml.validate.locate import OUTSIDE

UNPLANNED = "streamed core"
"""Named, with the reason, when the plan of the project cannot be read: then nothing says what its buses carry."""
PLAN = "plan of the engines"
"""Named when the core does what was planned, and the plan is not the network."""
OUTPUTS = "outputs"
"""Named when every engine is right, and what the core makes of their results is not."""


def locate_streamed(
    manifest: Mapping[str, Any],
    root: Path,
    build_dir: Path,
    codes: IntArray,
    expected: IntArray,
    first_event: int,
) -> tuple[str, Fault | None]:
    """Run events on the bare core at the link's interval and name the layer of the first wrong beat.

    Args:
        manifest: of the project.
        root: project folder.
        build_dir: folder of the build cache.
        codes: input codes of the events around a divergence, (events, elements).
        expected: the emulator's output codes for them, (events, elements).
        first_event: number of the first of them in the sample.

    Returns:
        The layer and its fault.  Without a fault: `OUTSIDE` when the core is right, `PLAN` when it does what was
        planned and that is wrong, `UNPLANNED` with the reason when the plan or the buses cannot be read: a replay
        that has found a difference ends with a verdict.
    """
    layout = LinkLayout.from_dict(manifest["link"])
    try:
        plan = _plan(manifest, root, layout)
    except (L1mlError, OSError) as error:
        return f"{UNPLANNED} ({error.what if isinstance(error, L1mlError) else error})", None
    core = StreamedCore(
        str(manifest["core_module"]), str(manifest["digest"]["network"]), layout.clock_mhz, layout.link_cycles
    )
    timed, found = plan.timed, list(taps(core, plan.timed, plan.pipes))
    try:
        harness = _build(manifest, root, build_dir, layout, found)
    except ToolError as error:
        return f"{UNPLANNED} (its buses cannot be read: {error.what.splitlines()[0]})", None
    beats = _beats(plan.raster, codes)
    begins = np.arange(len(codes), dtype=np.int64) * layout.link_cycles
    rows = harness.run(_traffic(timed, layout, harness, beats, begins))
    streams = timed.network.emulate_streams(beats)
    for tap in found:
        wrong = _clock_fault(tap, rows, harness, begins)
        if wrong is None and tap.data:
            wrong = _code_fault(tap, rows, harness, begins, streams[tap.stream], timed)
        if wrong is not None:
            kind, layers = engine_name(timed, plan.pipes, tap.node)
            layer = ", ".join(layers) or OUTPUTS
            return layer, _fault(layer, tap, kind, wrong, first_event)
    if not np.array_equal(_outputs(timed, streams), expected):
        return PLAN, None
    ends = _output_fault(timed, manifest, rows, harness, begins, expected, first_event)
    return (OUTSIDE if ends is None else OUTPUTS), ends


def _plan(manifest: Mapping[str, Any], root: Path, layout: LinkLayout) -> KeptPlan:
    """Return the plan of a project.

    Raises:
        DataError: its files do not belong to each other.
    """
    file = root / NETWORK
    program = loads(file.read_text(encoding="utf-8"), str(file))
    if program.digest != manifest["digest"]["network"]:
        raise DataError("network.json is not the network that this project's RTL was made from")
    return plan_of(manifest, program, max(1, layout.beat_words))


_Found = tuple[int, int, int, tuple[int, int] | None, int | None, int | None]
"""Event, beat, clock, place, expected and found code."""


def _build(
    manifest: Mapping[str, Any], root: Path, build_dir: Path, layout: LinkLayout, found: Sequence[Tap]
) -> Harness:
    names = {tap.data: tap.width for tap in found if tap.data}
    names |= {name: 1 for tap in found for name in (tap.valid, tap.start) if name}
    return build(
        [path for path in rtl_sources(manifest, root) if path.stem != manifest["top_module"]],
        str(manifest["core_module"]),
        list(_inputs(manifest, layout)),
        [Wire("valid_o", 1), Wire("data_o", layout.out_width)],
        build_dir,
        probes=[Wire(name, width) for name, width in names.items()],
        fast="-O0",
    )


def _inputs(manifest: Mapping[str, Any], layout: LinkLayout) -> Iterator[Wire]:
    """Yield the inputs of the core; what writes other weights comes last and stays 0."""
    yield Wire("valid_i", 1)
    if layout.beat_count:
        yield Wire("start_i", 1)
    yield Wire("data_i", layout.beat_width)
    for port in manifest["ports"]["core"]:
        if str(port["name"]).startswith("weights_") and port["direction"] == "in":
            yield Wire(str(port["name"]), int(port["width"]))


def _beats(raster: Raster, codes: IntArray) -> IntArray:
    """Return the beats of events, (events, beats, lanes, elements); lanes past the end of a row repeat a position."""
    flat = codes.reshape(len(codes), raster.positions, -1)
    return flat[:, raster.filled()]


def _traffic(
    timed: Timed, layout: LinkLayout, harness: Harness, beats: IntArray, begins: IntArray
) -> WordArray:
    """Return the rows that carry events, the first beat of each at its clock; idle clocks carry random data."""
    events, count = beats.shape[:2]
    longest = max(int(times.max()) for times in timed.times if len(times))  # some streams have no reader
    clocks = int(begins[-1]) + max(longest, timed.latency) + 4
    rows = np.random.default_rng(1).integers(0, 1 << 63, (clocks, harness.in_chunks), dtype=np.uint64)
    at = begins[:, None] + timed.times[0]
    first = 2 if layout.beat_count else 1
    data = slice(first, first + chunks(layout.beat_width))
    rows[:, :first] = 0
    rows[:, data.stop :] = 0
    rows[at, 0] = 1
    if layout.beat_count:
        rows[begins, 1] = 1
    fields = layout.in_fields[: layout.beat_fields] if layout.beat_count else layout.in_fields
    places = [Slot(field.element_lsb, field.element_width, field.signed) for field in fields]
    rows[at.reshape(-1), data] = pack(beats.reshape(events * count, -1), places, layout.beat_width)
    return rows


def _outputs(timed: Timed, streams: Mapping[int, IntArray]) -> IntArray:
    """Return the output codes of the plan, (events, elements), on the grids of the outputs."""
    network, out = timed.network, []
    for stream, kind in zip(network.outputs, network.types, strict=True):
        codes = streams[stream].reshape(len(streams[stream]), -1)
        finer = np.resize(network.streams[stream].type.frac.ravel(), codes.shape[1]) - kind.frac.ravel()
        out.append(codes << -np.minimum(finer, 0) >> np.maximum(finer, 0))
    return np.concatenate(out, axis=1)


def _output_fault(
    timed: Timed,
    manifest: Mapping[str, Any],
    rows: WordArray,
    harness: Harness,
    begins: IntArray,
    expected: IntArray,
    first_event: int,
) -> Fault | None:
    """Return the first event that leaves the core at another clock than planned, or with other codes."""
    network, layout = timed.network, slots(manifest["outputs"])
    end = Tap(
        len(network.nodes), "", network.outputs[0], "data_o", 0, "valid_o", "", np.array([timed.latency])
    )
    wrong = _clock_fault(end, rows, harness, begins)
    if wrong is None:
        have = unpack(rows[begins + timed.latency, harness.column("data_o")], layout)
        if np.array_equal(have, expected):
            return None
        event, element = (int(k) for k in np.argwhere(have != expected)[0])
        codes = int(expected[event, element]), int(have[event, element])
        wrong = event, 0, timed.latency, (0, element), *codes
    return _fault(OUTPUTS, end, "output", wrong, first_event)


def _fault(layer: str, tap: Tap, kind: str, wrong: _Found, first_event: int) -> Fault:
    event, beat, clock, place, code, instead = wrong
    event += first_event
    return Fault(layer, tap.node, kind, tap.waits, tap.stream, event, beat, clock, place, code, instead)


def _clock_fault(tap: Tap, rows: WordArray, harness: Harness, begins: IntArray) -> _Found | None:
    """Return the first clock with a beat too many or too few."""
    if not tap.valid:
        return None
    seen = rows[:, harness.column(tap.valid)][:, 0] != 0
    due = np.zeros(len(rows), dtype=np.bool_)
    at = begins[:, None] + tap.clocks
    due[at] = True
    if np.array_equal(seen, due):
        return _start_fault(tap, rows[at, harness.column(tap.start)][..., 0]) if tap.start else None
    clock = int(np.argmax(seen != due))
    if due[clock]:
        event, beat = (int(k) for k in np.argwhere(at == clock)[0])
        return event, beat, int(tap.clocks[beat]), None, 1, None
    order = np.argsort(np.where(at >= clock, at, at.max() + 1), axis=None)  # the next one that is due
    event, beat = (int(k) for k in np.unravel_index(order[0], at.shape))
    return event, beat, clock - int(begins[event]), None, None, 1


def _start_fault(tap: Tap, marks: WordArray) -> _Found | None:
    """Return the first beat, of (events, beats), that is marked as the first of its event and is not, or is."""
    wrong = (marks != 0) != (np.arange(marks.shape[1]) == 0)
    if not wrong.any():
        return None
    event, beat = (int(k) for k in np.argwhere(wrong)[0])
    return event, beat, int(tap.clocks[beat]), None, int(beat == 0), int(beat != 0)


def _code_fault(
    tap: Tap, rows: WordArray, harness: Harness, begins: IntArray, expected: IntArray, timed: Timed
) -> _Found | None:
    """Return the first code that differs, by event and beat."""
    stream = timed.network.streams[tap.stream]
    places, kept = _places(stream)
    at = begins[:, None] + tap.clocks
    words = rows[at.reshape(-1), harness.column(tap.data)]
    events, beats = at.shape
    have = unpack(words, places).reshape(events, beats, stream.groups, len(kept))
    want = expected[..., kept]
    differ = (have != want) & meaningful(timed, tap.stream)[None, :, :, None]
    if not differ.any():
        return None
    event, beat, group, column = (int(k) for k in np.argwhere(differ)[0])
    place = (event, beat, group, column)
    return event, beat, int(tap.clocks[beat]), (group, kept[column]), int(want[place]), int(have[place])


def _places(stream: Stream) -> tuple[list[Slot], list[int]]:
    """Return where the elements of a beat lie, and which of a position have bits."""
    kept = [k for k, width in enumerate(stream.widths) if width]
    out, low = [], 0
    for _ in range(stream.groups):
        for k in kept:
            kind = stream.type.at(k)
            out.append(Slot(low, kind.width, kind.signed))
            low += kind.width
    return out, kept
