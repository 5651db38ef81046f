# SPDX-License-Identifier: Apache-2.0
"""The way from a typed network to streamed hardware: plan, engines, link, manifest.

program --plan--> engines in time --lower, schedule--> Maps --rtl--> SystemVerilog + link wrapper + manifest
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from l1ml.config import ProjectConfig
from l1ml.errors import ConfigError, InterfaceError, TimingError
from l1ml.graph.program import TensorProgram
from l1ml.links import spec
from l1ml.links.layout import LinkLayout
from l1ml.links.resolve import Element, resolve
from l1ml.pins import makings, pins
from l1ml.plan.choose import Goal, Plan, Planner, rasters
from l1ml.plan.price import Price
from l1ml.plan.streams import WHOLE, Raster
from l1ml.schedule.delay import Family
from l1ml.schedule.pipeline import Pipeline
from l1ml.types.timing import Clock, Latency
from l1ml.workshop import WIRES, Workshop

MAX_LANES = 64
MAX_WORD_BITS = 4096
"""Of AXI4-Stream."""


@dataclass(frozen=True, eq=False)
class Streamed:
    """A planned block.

    Args:
        plan: engines, times and resources.
        layout: the link around it.
        raster: how its input arrives.
        latency: of the whole block.
        pipes: the pipelined Maps, by number of their node.
        passed: the ways with fewer positions per beat that do not fit, and why, for people.
    """

    plan: Plan
    layout: LinkLayout
    raster: Raster
    latency: Latency
    pipes: Mapping[int, Pipeline]
    passed: tuple[str, ...] = ()

    @property
    def family(self) -> Family:
        """Delay model with the nets of a design as large as this one, or a little larger."""
        return self.plan.goal.family


def plan(
    program: TensorProgram, config: ProjectConfig, ins: Sequence[Element], outs: Sequence[Element]
) -> Streamed:
    """Return the cheapest block that keeps interval and latency budget.

    The input arrives as beats with the fewest positions that allow a plan, or as a whole event where it has none.

    Args:
        program: the typed network.
        config: clock, TMUX, latency budget, link, and what the user pins.
        ins: elements of the input, for the link.
        outs: elements of the output.

    Raises:
        TimingError: nothing fits; says what is in the way.
        InterfaceError: the event does not fit the link.
    """
    workshop = Workshop(config)
    errors: list[tuple[Raster, TimingError | InterfaceError | ConfigError]] = []
    for raster in _rasters(program, config):
        try:
            block = _planned(program, config, raster, ins, outs, workshop)
            return replace(block, passed=tuple(f"{r}: {e.what.splitlines()[0]:.300}" for r, e in errors))
        except (TimingError, InterfaceError, ConfigError) as error:  # what is pinned may suit another raster
            errors.append((raster, error))
    first = errors[0][1]
    if len(errors) == 1 or all(isinstance(e, ConfigError) for r, e in errors if not r.whole):
        raise first
    reasons = [f"{raster}: {error.what}" for raster, error in errors]
    shown = reasons if len(reasons) <= 6 else [*reasons[:3], "...", *reasons[-3:]]
    raise TimingError(
        "no way to stream this network fits:\n" + "\n".join(f"  - {text}" for text in shown),
        where=("latency_budget_ns", "tmux"),
        fix=errors[-1][1].fix,
    )


def _rasters(program: TensorProgram, config: ProjectConfig) -> list[Raster]:
    wanted = config.plan.get("lanes")
    shapes = [port.shape for port in program.inputs]
    found = rasters(shapes[0], MAX_LANES) if len(shapes) == 1 else []
    powers = [r for r in found if r.lanes & (r.lanes - 1) == 0 or r.lanes == r.columns]
    if wanted is not None:
        given = [r for r in found if r.lanes == wanted]
        if not given:
            most = max((r.lanes for r in found), default=0)
            fit = f"1 to {most}" if most else "none: the input is one position"
            raise TimingError(
                f"{wanted} positions per beat do not fit the input",
                where=("plan", "lanes"),
                fix=f"possible are {fit}",
            )
        return given
    return [*powers, WHOLE]


def _planned(
    program: TensorProgram,
    config: ProjectConfig,
    raster: Raster,
    ins: Sequence[Element],
    outs: Sequence[Element],
    workshop: Workshop,
) -> Streamed:
    layout = _link(config, raster, ins, outs)
    made: Plan | None = None
    luts = 0  # every engine as if it were alone, then with the nets of all of them together
    fixed = config.tmux is not None or "interval" in config.plan
    while made is None or made.total.lut > luts:
        luts = 0 if made is None else with_margin(made.total.lut)
        planner = _planner(program, config, raster, layout, workshop, luts)
        try:
            made = (made and planner.again(made)) or planner.plan()
        except TimingError:
            if fixed or planner.needed is None or planner.needed <= layout.link_cycles:
                raise
            layout, made = _slower(config, raster, ins, outs, planner.needed), None
    latency = layout.latency(made.timed.latency)
    pipes = {k: pipe for k, pipe in made.timed.maps.items() if pipe is not WIRES}
    return Streamed(made, layout, raster, latency, pipes)  # type: ignore[arg-type]


def with_margin(luts: int) -> int:
    """Return the LUTs for which nets are planned in a design of so many; a plan takes a few more by their registers."""
    return luts + luts // 20 + 10


def _planner(
    program: TensorProgram,
    config: ProjectConfig,
    raster: Raster,
    layout: LinkLayout,
    workshop: Workshop,
    luts: int,
) -> Planner:
    arrivals = np.arange(raster.beats, dtype=np.int64) * max(1, layout.beat_words)
    budget = config.latency_budget_ns
    around = layout.collect_cycles + layout.emit_cycles
    limit = None if budget is None else int(budget * config.clock_mhz / 1e3 + 1e-9) - around
    if limit is not None and limit < 1:
        raise TimingError(
            f"collecting the first beat and sending the result take {around} clocks = "
            f"{around * 1e3 / config.clock_mhz:.1f} ns, and the budget is {budget:g} ns",
            where=("latency_budget_ns",),
            fix="raise the budget, or take wider words or more links",
        )
    wanted = goal(config, layout.link_cycles, limit, luts)
    workshop.luts = luts
    return Planner(program, raster, arrivals, wanted, workshop.measure, workshop.resources)


def goal(config: ProjectConfig, interval: int, latency: int | None, luts: int) -> Goal:
    """Return what a plan must keep, for clocks between two events, clocks of latency, and nets of so many LUTs."""
    price = Price(config.part, config.plan.get("spare", ""))
    return Goal(interval, latency, price, 1e3 / config.clock_mhz, pins(config), makings(config), luts)


def _slower(
    config: ProjectConfig, raster: Raster, ins: Sequence[Element], outs: Sequence[Element], interval: int
) -> LinkLayout:
    """Return the link with events no closer than the engines allow, where the user leaves TMUX open."""
    layout = _link(config, raster, ins, outs)
    if spec.load(config.interface).frame is spec.FrameRule.LINK:
        return _link(replace(config, tmux=-(-interval // layout.words_per_bx)), raster, ins, outs)
    return replace(layout, tmux=Clock(config.clock_mhz).crossings_of(interval), link_cycles=interval)


def _link(
    config: ProjectConfig, raster: Raster, ins: Sequence[Element], outs: Sequence[Element]
) -> LinkLayout:
    beats: list[int] = []
    options = dict(config.links)
    if raster.beats > 1:
        inner = len(ins) // raster.positions
        beats = [int((line >= 0).sum()) * inner for line in raster.slots()]
        if config.interface == "axis":
            for name, elements in (("word_bits", ins[: beats[0]]), ("out_word_bits", outs)):
                bits = sum(element.width for element in elements)
                options.setdefault(name, min(MAX_WORD_BITS, -(-bits // 8) * 8))
    layout = resolve(
        config.interface,
        ins,
        outs,
        clock=Clock(config.clock_mhz),
        tmux=config.tmux,
        options=options,
        beats=beats,
    )
    frame, wanted = spec.load(config.interface).frame, config.plan.get("interval")
    if wanted is not None:
        return _with_interval(layout, wanted, frame, config)
    if config.tmux is None or frame is not spec.FrameRule.FIELDS:
        return layout
    return replace(layout, link_cycles=Clock(config.clock_mhz).cycles_in(config.tmux))  # no closer than said


def _with_interval(
    layout: LinkLayout, wanted: int, frame: spec.FrameRule, config: ProjectConfig
) -> LinkLayout:
    """Return the link with the user's own interval.

    Raises:
        TimingError: the link brings events more often, or its frames last longer.
    """
    clock = Clock(config.clock_mhz)
    if config.tmux is None and frame is spec.FrameRule.FIELDS:
        layout = replace(layout, tmux=clock.crossings_of(wanted))
    least = layout.link_cycles
    if frame is spec.FrameRule.LINK and wanted != least:
        raise TimingError(
            f"an interval of {wanted} clocks, but the link at TMUX {layout.tmux} brings an event every {least}",
            where=("plan", "interval"),
            fix=f"leave it out, or set it to {least}",
        )
    if wanted < least:
        raise TimingError(
            f"an interval of {wanted} clocks, but a frame lasts {least}",
            where=("plan", "interval"),
            fix=f"give at least {least}, wider words, or more positions per beat",
        )
    if config.tmux is not None and wanted > clock.cycles_in(config.tmux) and frame is spec.FrameRule.FIELDS:
        raise TimingError(
            f"an interval of {wanted} clocks, but at TMUX {config.tmux} an event comes every "
            f"{clock.cycles_in(config.tmux)} ({config.clock_mhz:g} MHz)",
            where=("plan", "interval"),
            fix=f"give at most {clock.cycles_in(config.tmux)}, or tmux: {clock.crossings_of(wanted)}",
        )
    return replace(layout, link_cycles=wanted)


def front(
    program: TensorProgram, config: ProjectConfig, layout: LinkLayout, raster: Raster, luts: int
) -> list[dict[str, float]]:
    """Return what the block costs at other latencies, on the same link at the same interval, fastest first.

    Args:
        program: the typed network.
        config: the options of the project, with the clock of its link.
        layout: its link.
        raster: how its input arrives.
        luts: that its nets are planned for; those of all points are.
    """
    config = replace(with_interface(config), latency_budget_ns=None)
    workshop = Workshop(config)
    planner = _planner(program, config, raster, layout, workshop, luts)
    around = layout.collect_cycles + layout.emit_cycles
    return [
        {
            "cycles": p.timed.latency + around,
            "latency_ns": (p.timed.latency + around) * 1e3 / config.clock_mhz,
            **p.total.to_dict(),
        }
        for p in planner.front()
    ]


def with_interface(config: ProjectConfig) -> ProjectConfig:
    """Return the options with the link of a streamed block where none is asked for: a TMUX is that of trigger links."""
    auto = "axis" if config.tmux is None else "emp"
    return replace(config, interface=auto) if config.interface == "auto" else config
