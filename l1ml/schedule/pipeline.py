# SPDX-License-Identifier: Apache-2.0
"""Cuts a Dataflow into clocked stages: the clock gives the stages, or the stages give the clock."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from l1ml.dataflow.op import Constant
from l1ml.dataflow.program import Dataflow
from l1ml.errors import TimingError
from l1ml.schedule.delay import Family
from l1ml.schedule.delays import op_ns
from l1ml.schedule.retime import save_registers
from l1ml.schedule.shorten import can_shorten, shorten

MAX_STAGES = 512


@dataclass(frozen=True)
class Pipeline:
    """A Dataflow with a stage for every wire.

    Inputs arrive in stage 0, from registers outside; what a later stage needs is registered at the end of
    every stage in between; outputs are registered at the end of the last stage.  So the latency in clocks
    is the number of stages.

    Args:
        flow: the program.
        stage: stage in which each wire is made.
        arrival_ns: time after the stage's clock edge at which each wire is stable.
        stages: number of stages.
        clock_mhz: the clock the stages are meant for.
        family: the delay model.
    """

    flow: Dataflow
    stage: tuple[int, ...]
    arrival_ns: tuple[float, ...]
    stages: int
    clock_mhz: float
    family: Family

    @cached_property
    def last_read(self) -> tuple[int, ...]:
        """For every wire the last stage that reads it; outputs are read by the stage after the last."""
        last = list(self.stage)
        for wire, step in self.flow.defined():
            for source in step.ins:
                last[source] = max(last[source], self.stage[wire])
        for port in self.flow.outputs:
            last[port.wire] = self.stages
        constants = {wire for wire, step in self.flow.defined() if isinstance(step.op, Constant)}
        return tuple(self.stage[w] if w in constants else n for w, n in enumerate(last))

    @cached_property
    def register_bits(self) -> tuple[int, ...]:
        """Data register bits at the end of every stage."""
        change = [0] * (self.stages + 1)
        for wire, (made, last) in enumerate(zip(self.stage, self.last_read, strict=True)):
            if made < last:
                width = self.flow.type_of(wire).width
                change[made] += width
                change[last] -= width
        return tuple(itertools.accumulate(change[: self.stages]))

    @cached_property
    def worst(self) -> tuple[tuple[float, int | None], ...]:
        """For every stage the longest path in ns and the wire that ends it."""
        out: list[tuple[float, int | None]] = [(0.0, None)] * self.stages
        for wire, (stage, time) in enumerate(zip(self.stage, self.arrival_ns, strict=True)):
            if time > out[stage][0]:
                out[stage] = (time, wire)
        return tuple(out)

    @property
    def best_clock_mhz(self) -> float:
        """The fastest clock the worst stage allows by the delay model."""
        return self.family.clock_mhz(max(time for time, _ in self.worst))

    def verify(self) -> None:
        """Check that stages never decrease along an edge and every path fits the clock."""
        usable = self.family.usable_ns(self.clock_mhz)
        assert len(self.stage) == len(self.flow.inputs) + len(self.flow.steps)
        for wire, step in self.flow.defined():
            assert 0 <= self.stage[wire] < self.stages
            assert all(self.stage[i] <= self.stage[wire] for i in step.ins), (
                f"wire {wire} is made before its operands"
            )
        assert max(time for time, _ in self.worst) <= usable + 1e-9, "a path is longer than the clock"


def pipeline(
    flow: Dataflow, family: Family, clock_mhz: float, stages: int | None = None, late_ns: float = 0.0
) -> Pipeline:
    """Assign stages: the fewest that meet the clock, or exactly ``stages``.

    A product or a table that alone is longer than a stage is taken apart first: the pipeline's program may have
    more steps than the one given.  Among cuts with the same number of stages the one with the fewest register
    bits is taken.

    Args:
        flow: the program.
        family: delay model, sized for the design.
        clock_mhz: the clock that must be met.
        stages: number of stages wanted; more than needed gives slack, fewer is refused.
        late_ns: when the inputs are stable after the clock edge; 0 where they come from registers.

    Raises:
        TimingError: an operation alone is longer than a clock, or ``stages`` are too few.
    """
    usable = family.usable_ns(clock_mhz)
    flow, delays = _fitting(flow, family, usable)
    longest = max(delays, default=0.0)
    if longest > usable:
        step = flow.steps[delays.index(longest) - len(flow.inputs)]
        raise TimingError(
            f"{type(step.op).__name__} of layer {flow.layers[step.layer]} takes {longest:.2f} ns, "
            f"a stage at {clock_mhz} MHz has {usable:.2f} ns",
            where=("clock_mhz",),
            fix=f"use a clock of at most {family.clock_mhz(longest):.0f} MHz",
        )
    if late_ns > usable:
        raise TimingError(
            f"the inputs are stable {late_ns:.2f} ns after the clock edge, "
            f"a stage at {clock_mhz} MHz has {usable:.2f} ns",
            where=("clock_mhz",),
            fix=f"use a clock of at most {family.clock_mhz(late_ns):.0f} MHz",
        )
    fewest = _assign(flow, delays, usable, late_ns)[2]
    wanted = fewest if stages is None else stages
    if wanted < fewest:
        best = best_clock(flow, family, wanted)
        raise TimingError(
            f"{wanted} stages at {clock_mhz} MHz: {fewest} are needed",
            where=("stages",),
            fix=f"set stages: {fewest}, or a clock of at most {best:.1f} MHz",
        )
    low = _tightest(flow, delays, wanted, usable, late_ns)
    cuts = []
    for part in range(5):  # from the most even cut to the laziest: which keeps fewest registers differs
        limit = low + (usable - low) * part / 4
        stage, arrival, count = _assign(flow, delays, limit, late_ns)
        if count <= wanted:
            stage, arrival = save_registers(flow, stage, arrival, delays, limit, wanted)
            cuts.append(Pipeline(flow, stage, arrival, wanted, clock_mhz, family))
    made = min(cuts, key=lambda cut: (sum(cut.register_bits), max(t for t, _ in cut.worst)))
    made.verify()
    return made


def _fitting(flow: Dataflow, family: Family, usable: float) -> tuple[Dataflow, list[float]]:
    """Return the program, products and tables that are too long for a stage taken apart, and its delays."""
    while True:
        delays = _delays(flow, family)
        long = [w for w, s in flow.defined() if delays[w] > usable and can_shorten(flow, s)]
        if not long:
            return flow, delays
        flow = shorten(flow, long)


def best_clock(flow: Dataflow, family: Family, stages: int) -> float:
    """Return the fastest clock in MHz that ``stages`` stages allow."""
    delays = _delays(flow, family)
    return family.clock_mhz(_tightest(flow, delays, stages, sum(delays)))


def _delays(flow: Dataflow, family: Family) -> list[float]:
    readers = [0] * (len(flow.inputs) + len(flow.steps))
    for step in flow.steps:
        for source in step.ins:
            readers[source] += 1
    out = [0.0] * len(flow.inputs)
    for _, step in flow.defined():
        kinds = [flow.type_of(i) for i in step.ins]
        own = op_ns(step.op, kinds, step.type, family)
        out.append(own + max((family.fanout_ns(readers[i]) for i in step.ins), default=0.0) if own else 0.0)
    return out


def _assign(
    flow: Dataflow, delays: Sequence[float], limit: float, late: float = 0.0
) -> tuple[tuple[int, ...], tuple[float, ...], int]:
    """Place every wire as early as possible with stages no longer than ``limit`` ns."""
    stage = [0] * len(flow.inputs)
    arrival = [late] * len(flow.inputs)
    for wire, step in flow.defined():
        at = max((stage[i] for i in step.ins), default=0)
        start = max((arrival[i] for i in step.ins if stage[i] == at), default=0.0)
        if start + delays[wire] > limit + 1e-12:
            at, start = at + 1, 0.0
        stage.append(at)
        arrival.append(start + delays[wire])
    count = max((stage[port.wire] for port in flow.outputs), default=0) + 1
    return tuple(stage), tuple(arrival), count


def _tightest(flow: Dataflow, delays: Sequence[float], stages: int, top: float, late: float = 0.0) -> float:
    """Return the shortest stage length in ns that gives at most ``stages`` stages."""
    low = max(late, max(delays, default=0.0))
    high = max(top, low)
    if stages < 1 or _assign(flow, delays, high, late)[2] > stages:
        raise TimingError(
            f"{stages} stages are not possible", where=("stages",), fix="use at least one stage"
        )
    for _ in range(24):
        middle = (low + high) / 2
        if _assign(flow, delays, middle, late)[2] <= stages:
            high = middle
        else:
            low = middle
    return high
