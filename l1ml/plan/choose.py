# SPDX-License-Identifier: Apache-2.0
"""The plan: which engines, and how much each is shared, so that an event fits its clocks and its latency.

Every product of a layer with its inputs can be built at once (shifts and adds) or folded: a few inputs per clock.
From the fastest plan on, the step that saves most of the part per clock of latency is taken as long as the budget
lasts; then all steps are looked at again.  The same input gives the same plan.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from l1ml.errors import ConfigError, TimingError
from l1ml.graph.primitives import Contract
from l1ml.graph.program import TensorProgram
from l1ml.plan import cost
from l1ml.plan.cost import Resources
from l1ml.plan.making import CHAIN, Making
from l1ml.plan.network import EngineNode, MapNode, Node
from l1ml.plan.pinned import PARALLEL, Product, check_pins
from l1ml.plan.price import Price
from l1ml.plan.registers import check_clock, registered
from l1ml.plan.streamer import lay_out
from l1ml.plan.streams import Raster
from l1ml.plan.timing import Measure, Timed, time_network
from l1ml.plan.values import Choices
from l1ml.schedule.delay import Family, family_of
from l1ml.types.arrays import IntArray

SLICES = (1, 2, 3, 4, 6, 8, 9, 12, 16, 18, 24, 32, 36, 48, 64, 72, 96, 128, 144, 192, 256, 384, 512)
"""Clocks that a folded product may take."""


@dataclass(frozen=True)
class Goal:
    """What a plan must keep.

    Args:
        interval: clocks between two events.
        latency: clocks of the core from the first beat to the output, None for no limit.
        price: what resources are worth.
        period_ns: of the clock.
        pins: slices per layer that the user asks for; `PARALLEL` for all at once.
        makings: how a layer's product is made, where the user says so.
        luts: of the design, for the length of its nets.
        chain: most products in a cascade of DSP blocks.
    """

    interval: int
    latency: int | None
    price: Price
    period_ns: float
    pins: Mapping[str, int] = field(default_factory=dict)
    makings: Mapping[str, Making] = field(default_factory=dict)
    luts: int = 0
    chain: int = CHAIN

    def making(self, layer: str) -> Making:
        """Return how the products of a layer are made."""
        return replace(self.makings.get(layer, Making()), price=self.price, chain=self.chain)

    @property
    def family(self) -> Family:
        """Delays of the part, with nets as long as the design has them."""
        return family_of(self.price.part, self.luts)


@dataclass(frozen=True, eq=False)
class Plan:
    """A network of engines in time, and what it takes.

    Args:
        timed: engines and times.
        slices: per step of the program that is a product: clocks it takes, `PARALLEL` for one without a fold.
        split: per step before which a whole tensor is split: positions per beat; per product that reads its operand
            element by element: elements per beat.
        parts: resources of every node, then of all waits together.
        goal: what it keeps, and how its products are made.
    """

    timed: Timed
    slices: Mapping[int, int]
    split: Mapping[int, int]
    parts: tuple[Resources, ...]
    goal: Goal

    @property
    def total(self) -> Resources:
        """All resources together."""
        return sum(self.parts, Resources())


class _Chosen:
    """Choices with a record of what was asked."""

    def __init__(
        self, program: TensorProgram, goal: Goal, slices: Mapping[int, int], split: Mapping[int, int]
    ) -> None:
        self.program, self.slices, self.given_split = program, slices, split
        self.interval, self.pins, self.goal = goal.interval, goal.pins, goal
        self.products: dict[int, Product] = {}
        self.splits: dict[int, int] = {}
        self.serials: dict[int, int] = {}
        self.loops: set[str] = set()

    def fold(self, step: int, shape: tuple[int, int], phases: int) -> int | None:
        layer = self.program.steps[step].layer
        if phases > 1 and step in self.serials:  # its slices are beats
            self.products[step] = Product(step, layer, self.serials[step], shape[1], 1, 1)
            return shape[0]
        least = self.making(step).least if phases == 1 else 1
        self.products[step] = Product(step, layer, shape[0], shape[1], phases, least)
        slices = self.slices.get(step, least)
        if slices == PARALLEL:
            return None
        return max(1, -(-shape[0] // slices))

    def making(self, step: int) -> Making:
        return self.goal.making(self.program.steps[step].layer)

    def scan(self, step: int, steps: int) -> bool:
        self.loops.add(self.program.steps[step].layer)
        return steps <= self.interval and self.pins.get(self.program.steps[step].layer) != PARALLEL

    def split(self, step: int, positions: int) -> int | None:
        self.splits[step] = positions
        return self.given_split.get(step)

    def serial(self, step: int, elements: int) -> int | None:
        if self.making(step).reload is not None:
            return None
        self.serials[step] = elements
        return self.given_split.get(step)


def choices(
    program: TensorProgram, goal: Goal, slices: Mapping[int, int], split: Mapping[int, int]
) -> Choices:
    """Return the choices of a plan that was found, to lay it out once more."""
    return _Chosen(program, goal, slices, split)


class Planner:
    """Finds plans for one network.

    Args:
        program: the typed network.
        raster: how its input arrives.
        arrivals: clocks of the input beats.
        goal: what a plan must keep.
        measure: pipelines a body.
        resources: what a pipelined body takes.

    ``needed`` is the interval of the fastest plan, where that is longer than the goal's.
    """

    def __init__(
        self,
        program: TensorProgram,
        raster: Raster,
        arrivals: IntArray,
        goal: Goal,
        measure: Measure,
        resources: Callable[[object], Resources],
    ) -> None:
        self.program, self.raster, self.arrivals, self.goal = program, raster, arrivals, goal
        self.measure, self.resources = measure, resources
        self.tried: dict[tuple[tuple[tuple[int, int], ...], ...], Plan | None] = {}
        self.products: dict[int, Product] = {}
        self.serials: dict[int, int] = {}
        self.why: TimingError | ConfigError | None = None
        self.needed: int | None = None

    def plan(self) -> Plan:
        """Return the cheapest plan found within interval and latency.

        Raises:
            TimingError: none keeps them; says which layer is in the way, and what would do.
        """
        best = self._start()
        while True:
            better = self._step(best)
            if better is None:
                return best
            best = better

    def again(self, plan: Plan) -> Plan | None:
        """Return a plan of another planner as this one times it, None where that does not keep the goal."""
        made, limit = self._made(plan.slices, plan.split), self.goal.latency
        return None if made is None or (limit is not None and made.timed.latency > limit) else made

    def front(self) -> list[Plan]:
        """Return the plans on the way from the fastest to the cheapest, none of them dominated.

        Raises:
            TimingError: no plan keeps the interval.
        """
        found = [self._start()]
        while (better := self._step(found[-1])) is not None:
            found.append(better)
        kept: list[Plan] = []
        for plan in sorted(found, key=lambda p: (p.timed.latency, self.goal.price.of(p.total))):
            if not kept or self.goal.price.of(plan.total) < self.goal.price.of(kept[-1].total):
                kept.append(plan)
        return kept

    def _start(self) -> Plan:
        """Return the fastest plan; products of two tensors are not shared if that takes too long."""
        steps, every = self.program.steps, self._splits()
        fewer = {step: lanes for step, lanes in every.items() if not isinstance(steps[step].op, Contract)}
        try:
            return self._fastest(every)
        except TimingError:
            if len(fewer) == len(every):
                raise
        return self._fastest(fewer)

    def _splits(self) -> dict[int, int]:
        """Split whole tensors so far that their positions just fit the interval."""
        split: dict[int, int] = {}
        if self.goal.interval == 1:
            return split
        for _ in range(256):  # a split changes what comes behind it
            chosen = _Chosen(self.program, self.goal, {}, split)
            lay_out(self.program, self.raster, chosen)
            new = {
                step: -(-positions // self.goal.interval)
                for step, positions in chosen.splits.items()
                if step not in split
            }
            if not new:
                return split
            first = min(new)
            split[first] = new[first]
        return split

    def _fastest(self, split: Mapping[int, int]) -> Plan:
        chosen = _Chosen(self.program, self.goal, {}, split)
        lay_out(self.program, self.raster, chosen)
        self.products, self.serials = chosen.products, chosen.serials
        check_pins(self.goal.pins, self.goal.makings, chosen.products.values(), chosen.loops)
        slices = {step: self._pinned(p, p.least) for step, p in chosen.products.items()}
        made = self._made(slices, split)
        if made is None:
            assert self.why is not None
            raise self.why
        limit = self.goal.latency
        if limit is not None and made.timed.latency > limit:
            if self.goal.chain > 1:
                self.goal, self.tried = replace(self.goal, chain=1), {}
                return self._fastest(split)
            shared = sorted(layer for layer, slices in self.goal.pins.items() if slices > 1)
            lower = f"lower the reuse_factor of {', '.join(shared)}, " if shared else ""
            raise TimingError(
                f"the fastest plan takes {made.timed.latency} clocks from the first beat, the budget leaves {limit}; "
                f"{self._slowest(made)}",
                where=("latency_budget_ns",),
                fix=f"raise the budget by {(made.timed.latency - limit) * self.goal.period_ns:.0f} ns, "
                f"{lower}or take more positions per beat (plan: {{lanes: ...}})",
            )
        return made

    def _slowest(self, plan: Plan) -> str:
        times, nodes = plan.timed.times, plan.timed.network.nodes
        spans = [(int(times[n.outputs[0]][0]) - int(times[n.inputs[0]][0]), n) for n in nodes]
        clocks, node = max(spans, key=lambda pair: pair[0])
        name = _named(node)
        return f"{clocks} of them pass in {name}"

    def _pinned(self, product: Product, otherwise: int) -> int:
        return self.goal.pins.get(product.layer, otherwise)

    def _step(self, plan: Plan) -> Plan | None:
        """Return the plan with one product shared more that saves most per clock, None where nothing is saved."""
        best: tuple[float, int, Plan] | None = None
        weight = self.goal.price.of(plan.total)
        for number, (slices, split) in enumerate(self._neighbours(plan)):
            made = self._made(slices, split)
            if made is None or (self.goal.latency is not None and made.timed.latency > self.goal.latency):
                continue
            saved = weight - self.goal.price.of(made.total)
            if saved <= 1e-9:
                continue
            later = max(made.timed.latency - plan.timed.latency, 0)
            rate = saved / (later + 0.25)
            if best is None or (rate, -number) > (best[0], best[1]):
                best = rate, -number, made
        return None if best is None else best[2]

    def _neighbours(self, plan: Plan) -> Iterator[tuple[dict[int, int], dict[int, int]]]:
        """Yield slices and splits of plans in which one product takes more clocks, or another way to its operand."""
        for step, product in sorted(self.products.items()):
            now, pinned = plan.slices[step], product.layer in self.goal.pins
            others = {other: lanes for other, lanes in plan.split.items() if other != step}
            serial = step in self.serials
            for slices in (now,) if pinned else sorted({now, *SLICES}):
                if slices < now or slices > product.n_in:
                    continue
                given = {**plan.slices, step: slices}
                if slices > max(now, int(product.least == PARALLEL)) and not (serial and step in plan.split):
                    yield given, dict(plan.split)
                lanes = -(-product.n_in // max(slices, 1))
                exact = product.n_in % lanes == 0 and not (pinned and product.n_in // lanes != slices)
                if serial and slices > 1 and exact and plan.split.get(step) != lanes:
                    yield given, {**others, step: lanes}

    def _made(self, slices: Mapping[int, int], split: Mapping[int, int]) -> Plan | None:
        key = tuple(sorted(slices.items())), tuple(sorted(split.items()))
        if key not in self.tried:
            try:
                self.tried[key] = self._build(slices, split)
            except (TimingError, ConfigError) as error:
                self.why = self.why or error
                self.tried[key] = None
        return self.tried[key]

    def _build(self, slices: Mapping[int, int], split: Mapping[int, int]) -> Plan:
        chosen = _Chosen(self.program, self.goal, slices, split)
        family, clock = self.goal.family, 1e3 / self.goal.period_ns
        network = registered(lay_out(self.program, self.raster, chosen), family, clock)
        timed = time_network(network, self.arrivals, self.measure, self.goal.interval)
        if timed.interval > self.goal.interval:
            node = network.nodes[timed.slowest()]
            name = _named(node)
            self.needed = timed.interval if self.needed is None else self.needed
            raise TimingError(
                f"layer {name!r} needs {timed.interval} clocks per event, there are {self.goal.interval}",
                where=("tmux",),
                fix=f"leave {timed.interval} clocks (tmux, clock_mhz), or take more positions per beat (plan: lanes)",
            )
        check_clock(timed, family, clock)
        parts = [
            cost.of_engine(node.engine)
            if isinstance(node, EngineNode)
            else self.resources(timed.maps[k]) + cost.of_engine(timed.scans.get(k))
            for k, node in enumerate(network.nodes)
        ]
        parts.append(_of_waits(timed))
        used = {step: slices.get(step, PARALLEL) for step in chosen.products}
        return Plan(timed, used, dict(split), tuple(parts), self.goal)


def _named(node: Node) -> str:
    return ", ".join(node.layers) if isinstance(node, MapNode) else node.layer


def _of_waits(timed: Timed) -> Resources:
    total = Resources()
    pairs = [*zip(timed.network.nodes, timed.waits, strict=True)]
    for inputs, waits in [*((n.inputs, w) for n, w in pairs), (timed.network.outputs, timed.ends)]:
        for stream, wait in zip(inputs, waits, strict=True):
            if wait.buffer is not None or wait.pace is not None:
                total += cost.of_engine(wait.buffer) + cost.of_engine(wait.pace)
            elif wait.clocks:
                total += cost.of_delay(timed.network.streams[stream].bits, wait.clocks)
    return total


def rasters(shape: tuple[int, ...], most: int) -> list[Raster]:
    """Return the ways in which an input can arrive as beats, the fewest lanes first.

    Args:
        shape: of one event; the last axis holds the elements of a position.
        most: largest number of positions per beat.
    """
    if len(shape) < 2 or int(np.prod(shape[:-1])) < 2 or len(shape) > 3:
        return []
    rows, columns = (1, shape[0]) if len(shape) == 2 else shape[:2]
    return [Raster(rows, columns, lanes) for lanes in range(1, min(columns, most) + 1)]
