# SPDX-License-Identifier: Apache-2.0
"""The way from a typed network to streamed hardware: plan, engines, link, manifest.

program --plan--> engines in time --lower, schedule--> Maps --rtl--> SystemVerilog + link wrapper + manifest
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from l1ml.config import ProjectConfig
from l1ml.errors import ConfigError, InterfaceError, TimingError
from l1ml.graph.primitives.convert import Requantize
from l1ml.graph.program import TensorProgram, TensorStep
from l1ml.graph.tensor import TensorType
from l1ml.links import spec
from l1ml.links.layout import LinkLayout
from l1ml.links.resolve import Element, resolve
from l1ml.pins import makings, pins
from l1ml.plan.choose import Goal, Plan, Planner, rasters
from l1ml.plan.fold import FoldEngine
from l1ml.plan.network import EngineNode, MapNode
from l1ml.plan.streams import WHOLE, Raster
from l1ml.schedule.delay import Family, family_of
from l1ml.schedule.pipeline import Pipeline
from l1ml.types.fixed import Overflow, Rounding
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
        family: delay model with the nets of a design as large as this one, or a little larger.
    """

    plan: Plan
    layout: LinkLayout
    raster: Raster
    latency: Latency
    pipes: Mapping[int, Pipeline]
    family: Family


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
    reasons: list[str] = []
    for raster in _rasters(program, config):
        try:
            return _planned(program, config, raster, ins, outs, workshop)
        except (TimingError, InterfaceError) as error:
            reasons.append(f"{raster}: {error.what}")
            last = error
        except ConfigError as error:  # a product that can be folded once a whole event is split
            if raster.beats > 1 or raster.whole:
                raise
            reasons.append(f"{raster}: {error.what}")
            last = TimingError(error.what, where=error.where, fix=error.fix)
    if len(reasons) == 1:
        raise last
    shown = reasons if len(reasons) <= 6 else [*reasons[:3], "...", *reasons[-3:]]
    raise TimingError(
        "no way to stream this network fits:\n" + "\n".join(f"  - {text}" for text in shown),
        where=("latency_budget_ns", "tmux"),
        fix=last.fix,
    )


def _rasters(program: TensorProgram, config: ProjectConfig) -> list[Raster]:
    wanted = config.plan.get("lanes")
    shapes = [port.shape for port in program.inputs]
    found = rasters(shapes[0], MAX_LANES) if len(shapes) == 1 else []
    powers = [r for r in found if r.lanes & (r.lanes - 1) == 0 or r.lanes == r.columns]
    if wanted is not None:
        given = [r for r in found if r.lanes == wanted]
        if not given:
            fit = ", ".join(str(r.lanes) for r in powers) or "none: the input is one position"
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
    while made is None or made.total.lut > luts:
        luts = 0 if made is None else with_margin(made.total.lut)
        planner = _planner(program, config, raster, layout, workshop, luts)
        try:
            made = (made and planner.again(made)) or planner.plan()
        except TimingError:
            if config.tmux is not None or planner.needed is None or planner.needed <= layout.link_cycles:
                raise
            layout, made = _slower(config, raster, ins, outs, planner.needed), None
    latency = layout.latency(made.timed.latency)
    pipes = {k: pipe for k, pipe in made.timed.maps.items() if pipe is not WIRES}
    return Streamed(made, layout, raster, latency, pipes, family_of(config.part, luts))  # type: ignore[arg-type]


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
    wanted = goal(config, layout.link_cycles, limit, luts)
    workshop.luts = luts
    return Planner(program, raster, arrivals, wanted, workshop.measure, workshop.resources)


def goal(config: ProjectConfig, interval: int, latency: int | None, luts: int = 0) -> Goal:
    """Return what a plan must keep, for clocks between two events, clocks of latency, and nets of so many LUTs."""
    period = 1e3 / config.clock_mhz
    return Goal(interval, latency, config.part, period, pins(config), makings(config), luts)


def _slower(
    config: ProjectConfig, raster: Raster, ins: Sequence[Element], outs: Sequence[Element], interval: int
) -> LinkLayout:
    """Return the link with events no closer than the engines allow, where the user leaves TMUX open."""
    layout = _link(config, raster, ins, outs)
    tmux = -(-interval // layout.words_per_bx)
    if spec.load(config.interface).frame is spec.FrameRule.LINK:
        return _link(replace(config, tmux=tmux), raster, ins, outs)
    return replace(layout, tmux=tmux, link_cycles=interval)


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
        return _with_interval(layout, wanted, frame)
    if config.tmux is None or frame is not spec.FrameRule.FIELDS:
        return layout
    return replace(layout, link_cycles=layout.words_per_bx * config.tmux)  # no closer than the user says


def _with_interval(layout: LinkLayout, wanted: int, frame: spec.FrameRule) -> LinkLayout:
    """Return the link with the user's own interval.

    Raises:
        TimingError: the link brings events more often, or its frames last longer.
    """
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
    return replace(layout, link_cycles=wanted)


def front(
    program: TensorProgram, config: ProjectConfig, layout: LinkLayout, luts: int
) -> list[dict[str, float]]:
    """Return what the block costs at other latencies, on the same link at the same interval, fastest first.

    Args:
        program: the typed network.
        config: the options of the project.
        layout: its link.
        luts: of the block; all points have the nets of a design of that size.
    """
    config = replace(with_interface(config), latency_budget_ns=None)
    beats = max(1, layout.beat_count)
    raster = WHOLE
    if beats > 1:
        raster = next(r for r in rasters(program.inputs[0].shape, MAX_LANES) if r.beats == beats)
    workshop = Workshop(config)
    planner = _planner(program, config, raster, layout, workshop, with_margin(luts))
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
    """Return the options with the link that suits a streamed event where none is asked for."""
    return replace(config, interface="axis") if config.interface == "auto" else config


def output_types(block: Streamed, program: TensorProgram) -> list[TensorType | None] | None:
    """Return the types of the outputs that are not those of the network in hardware; None where all are.

    They differ where an output comes from weights that can be replaced.
    """
    network = block.plan.timed.network
    if not any(isinstance(n, EngineNode) and getattr(n.engine, "reloadable", False) for n in network.nodes):
        return None
    given = [program.type_of(tensor) for _, tensor in program.outputs]
    made = [network.streams[s].type.reshaped(t.shape) for s, t in zip(network.outputs, given, strict=True)]
    names = ("lo", "hi", "frac")
    same = [
        all(np.array_equal(getattr(a, n), getattr(b, n)) for n in names)
        for a, b in zip(given, made, strict=True)
    ]
    return None if all(same) else [None if s else kind for s, kind in zip(same, made, strict=True)]


def on_grids(program: TensorProgram, kinds: Sequence[TensorType | None]) -> TensorProgram:
    """Return a network whose outputs are on the grids of some types, which hold them; None leaves one as it is."""
    steps, outputs = list(program.steps), []
    for (name, tensor), kind in zip(program.outputs, kinds, strict=True):
        if kind is None:
            outputs.append((name, tensor))
            continue
        op = Requantize(kind.lo, kind.hi, kind.frac, Rounding.TRN, Overflow.SAT)
        steps.append(TensorStep(op, (tensor,), name, op.infer(program.type_of(tensor))))
        outputs.append((name, len(program.inputs) + len(steps) - 1))
    return replace(program, steps=tuple(steps), outputs=tuple(outputs))


def choices(block: Streamed, kinds: Sequence[TensorType | None] | None) -> dict[str, Any]:
    """Return what the plan chose as plain data, to lay it out once more.

    Args:
        block: the planned block.
        kinds: types of its outputs, as `output_types` gives them.
    """
    return {
        "raster": [block.raster.rows, block.raster.columns, block.raster.lanes],
        "slices": {str(step): n for step, n in block.plan.slices.items()},
        "split": {str(step): n for step, n in block.plan.split.items()},
        "outputs": None if kinds is None else [None if kind is None else _plain(kind) for kind in kinds],
    }


def _plain(kind: TensorType) -> dict[str, Any]:
    return {"shape": list(kind.shape), **{n: getattr(kind, n).ravel().tolist() for n in ("lo", "hi", "frac")}}


def describe(block: Streamed) -> list[dict[str, Any]]:
    """Return the plan as plain data, engine by engine, for ``manifest.json``."""
    timed = block.plan.timed
    out = []
    for number, node in enumerate(timed.network.nodes):
        times = timed.times[node.outputs[0]]
        made = node.engine if isinstance(node, EngineNode) else timed.scans.get(number)
        engine = "map" if made is None else made.MODULE.removeprefix("l1ml_")
        layers = list(node.layers) if isinstance(node, MapNode) else [node.layer]
        used = block.plan.parts[number]
        entry: dict[str, Any] = {
            "engine": engine if engine != "map" or number in block.pipes else "wires",
            "layers": layers,
            "out": [str(timed.network.streams[s]) for s in node.outputs],
            "first_cycle": int(times[0]),
            "last_cycle": int(times[-1]),
            "busy_cycles": timed.busy[number],
            "stages": block.pipes[number].stages if number in block.pipes else 0,
            "resources": used.to_dict(),
        }
        if made is not None:
            entry["parameters"] = made.parameters()
        paces = [wait.pace for wait in timed.waits[number] if wait.pace is not None]
        if paces:
            entry["pace"] = paces[0].parameters()
        if isinstance(made, FoldEngine):
            entry |= {"multiplier": made.multiplier, "weights": made.memory()}
        out.append(entry)
    return out
