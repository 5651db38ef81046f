# SPDX-License-Identifier: Apache-2.0
"""How long the paths inside engines are, with the delays by which Maps are pipelined.

A path goes from register to register: nets and logic, without what the registers themselves take
(`l1ml.schedule.delay.Family.register_overhead_ns`).  The control of an engine is counted in LUT levels as it is
written in its SystemVerilog; `tests/rtl/test_paths.py` sets the sums beside netlists of Yosys.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import singledispatch

from l1ml.plan.align import AlignEngine
from l1ml.plan.attach import AttachEngine
from l1ml.plan.fold import FoldEngine
from l1ml.plan.fold_paths import cut, data_ns
from l1ml.plan.pace import PaceEngine
from l1ml.plan.reduce import ReduceEngine
from l1ml.plan.regroup import CollectEngine, SplitEngine
from l1ml.plan.repeat import RepeatEngine
from l1ml.plan.scan import ScanEngine
from l1ml.plan.upsample import UpsampleEngine
from l1ml.plan.window import WindowEngine
from l1ml.schedule.delay import Family

ENABLED = 8
"""Registers of a slice with one enable: a net reaches them through one pin."""


@dataclass(frozen=True)
class Path:
    """The longest path of one kind in an engine.

    Args:
        name: what it does, for people.
        ns: nets and logic.
    """

    name: str
    ns: float


@singledispatch
def paths(engine: object, family: Family) -> tuple[Path, ...]:
    """Return the paths of an engine that can be the longest; none where there are only registers.

    Args:
        engine: any engine of this package.
        family: delay model, sized for the design.
    """
    return ()


def worst(engine: object, family: Family) -> Path | None:
    """Return the longest path of an engine, the first of equal ones; None where there are only registers."""
    return max(paths(engine, family), key=lambda path: path.ns, default=None)


@paths.register
def _fold(engine: FoldEngine, family: Family) -> tuple[Path, ...]:
    # A beat is taken by valid, start and two flags: one level; then the choice between it and what shifts.
    kept = len(engine.kept) * engine.input_bits
    take = family.mux_ns
    load = take + family.mux_ns + family.fanout_ns(kept if engine.slices > 1 else -(-kept // ENABLED))
    place = _bits(max(engine.words, engine.beats))
    count = max(take + 2 * family.mux_ns, family.add_ns(place) + family.reduce_ns(place)) + family.mux_ns
    found = [Path("beat to inputs", load), Path("counters", count)]
    if engine.words > 1 or engine.reloadable:
        address = _bits(engine.words) + engine.reloadable
        columns = engine.word_bits // engine.per_clock * engine.ends  # of a place in the cascades
        if engine.rom == "block":
            word = family.mux_ns * (1 + engine.reloadable) + family.net_ns + family.fanout_ns(columns)
        else:
            word = family.lut_ns_for(address) + family.fanout_ns(columns)
            word += 2 * family.mux_ns if engine.reloadable else 0.0  # bank and place of the first word
        found.append(Path("address to word", word))
    return (*found, *(Path(name, ns) for name, ns in data_ns(engine, family)))


@paths.register
def _window(engine: WindowEngine, family: Family) -> tuple[Path, ...]:
    # An advance is found from flags in two levels; then it enables everything that is held.
    beat = engine.lanes * engine.pixel_bits
    held = engine.kernel[0] * (engine.lead + 1 + -(-max(engine.padding[1][0], 0) // engine.lanes))
    enables = family.fanout_ns(-(-(held + engine.kernel[0] - 1) * beat // ENABLED))
    advance = 2 * family.mux_ns + enables
    move = advance + family.net_ns
    # The place behind it is known before it comes; then it is chosen, or that of the first window.
    place = _bits(max(engine.rows, engine.beats_per_row, 2) + 1)
    count = max(advance, family.mux_ns + family.add_ns(place)) + 2 * family.mux_ns
    found = [Path("advance to rows", move), Path("place of the window", count)]
    depth = engine.dilation[0] * engine.beats_per_row
    if engine.kernel[0] > 1 and depth > 1:
        next_ns = family.compare_ns(_bits(depth)) + family.mux_ns
        words = family.fanout_ns((engine.kernel[0] - 1) * beat) + family.lut_ns_for(_bits(depth))
        found.append(Path("place to waiting rows", next_ns + words))
    if any(pad > 0 for pair in engine.padding for pad in pair):
        found.append(Path("place to zeros", advance + 2 * family.mux_ns + family.net_ns))
    return tuple(found)


def late_ns(engine: object, family: Family) -> float:
    """Return what the beats of an engine still pass behind its last register.

    That are the zeros around an image, and the choice between the state that comes back and the first one.

    Args:
        engine: any engine of this package.
        family: delay model, sized for the design.
    """
    if isinstance(engine, WindowEngine) and any(pad > 0 for pair in engine.padding for pad in pair):
        rows, columns = engine.kernel[0], engine.region_columns
        return family.mux_ns + family.fanout_ns(max(rows, columns) * engine.pixel_bits)
    if isinstance(engine, ScanEngine) and engine.slot == engine.cell_latency:
        return family.mux_ns + family.fanout_ns(sum(engine.state_widths))
    return 0.0


@paths.register
def _reduce(engine: ReduceEngine, family: Family) -> tuple[Path, ...]:
    take = family.reduce_ns(_bits(engine.beats)) + family.mux_ns
    bits = engine.channels * engine.result_bits
    last = engine.columns % engine.lanes
    edge = 0.0
    if last:  # lanes past the end of a row do not count
        edge = family.mux_ns + family.reduce_ns(_bits(engine.beats_per_row))
        edge += family.mux_ns + family.fanout_ns(bits * (engine.lanes - last))
    choice = family.add_ns(engine.result_bits)
    if engine.kind != "sum":
        choice = family.compare_ns(engine.result_bits) + family.net_ns + family.fanout_ns(engine.result_bits)
    level = family.add_ns(engine.result_bits) if engine.kind == "sum" else choice + family.lut_ns
    count = family.add_ns(_bits(engine.beats)) + 2 * family.mux_ns
    found = [Path("beat to sums", take + family.net_ns + family.fanout_ns(bits)), Path("counters", count)]
    held, levels = edge, (engine.lanes - 1).bit_length()
    for at in range(1, levels + 1):
        held += level
        if cut(at, engine.tree_stages, levels):
            found.append(Path("lanes to sum", held))
            held = 0.0
    return (*found, Path("sum to result", held + choice))


@paths.register
def _scan(engine: ScanEngine, family: Family) -> tuple[Path, ...]:
    # A token or a waiting event gives buffer and step; then the memory, or the ring.
    steps, state = _bits(engine.steps), sum(engine.state_widths)
    missing = family.compare_ns(steps) + family.mux_ns
    read = 2 * family.mux_ns + family.lut_ns_for(_bits(engine.buffers) + steps)
    read += family.fanout_ns(engine.x_bits)
    ring = missing + 2 * family.mux_ns + family.add_ns(_bits(engine.buffers) + 1)
    found = [Path("step to beat", read), Path("ring of events", ring)]
    if engine.slot != engine.cell_latency:  # or else see `late_ns`
        found.append(Path("state", family.mux_ns + family.fanout_ns(state)))
    return tuple(found)


@paths.register
def _pace(engine: PaceEngine, family: Family) -> tuple[Path, ...]:
    leave = family.reduce_ns(_bits(engine.depth + 1) + _bits(engine.spacing))
    found = [Path("counters", leave + 2 * family.mux_ns + family.net_ns)]
    read = family.lut_ns_for(_bits(engine.depth)) + family.fanout_ns(engine.width)
    enable = leave + family.net_ns + family.fanout_ns(-(-engine.width // ENABLED))
    return *found, Path("memory to beat", max(read, enable))


@paths.register
def _align(engine: AlignEngine, family: Family) -> tuple[Path, ...]:
    read = family.mux_ns + family.lut_ns_for(_bits(engine.depth)) + family.fanout_ns(engine.width)
    return (Path("memory to beat", read),)


@paths.register
def _collect(engine: CollectEngine, family: Family) -> tuple[Path, ...]:
    take = family.reduce_ns(_bits(engine.positions)) + family.mux_ns
    bits = engine.positions * engine.position_bits
    count = family.add_ns(_bits(engine.positions)) + 2 * family.mux_ns
    load = take + family.net_ns + family.fanout_ns(-(-bits // ENABLED))
    return Path("beat to event", load), Path("counter", count)


@paths.register
def _split(engine: SplitEngine, family: Family) -> tuple[Path, ...]:
    bits = engine.positions * engine.position_bits
    return (Path("event to beats", 2 * family.mux_ns + family.net_ns + family.fanout_ns(bits)),)


@paths.register
def _repeat(engine: RepeatEngine, family: Family) -> tuple[Path, ...]:
    load = family.mux_ns + family.net_ns + family.fanout_ns(-(-engine.width // ENABLED))
    return Path("counter", family.mux_ns + family.add_ns(_bits(engine.beats))), Path("beat", load)


@paths.register
def _attach(engine: AttachEngine, family: Family) -> tuple[Path, ...]:
    place = _bits(engine.beats)
    count = family.reduce_ns(place) + family.add_ns(place) + family.mux_ns
    if engine.rom == "block":
        word = family.mux_ns + family.net_ns + family.fanout_ns(engine.word_bits)
    else:
        word = family.lut_ns_for(place) + family.fanout_ns(engine.word_bits)
    return Path("counter", count), Path("place to word", word)


@paths.register
def _upsample(engine: UpsampleEngine, family: Family) -> tuple[Path, ...]:
    place = _bits(engine.beats + 1)
    ready = family.add_ns(place) + family.compare_ns(place) + family.mux_ns
    read = family.add_ns(place) + family.lut_ns_for(place) + family.fanout_ns(engine.width)
    return Path("place", ready + 2 * family.mux_ns), Path("memory to beat", read)


def _bits(values: int) -> int:
    """Return the bits of a counter of that many values."""
    return max(1, (values - 1).bit_length())
