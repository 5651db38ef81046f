# SPDX-License-Identifier: Apache-2.0
"""Moves operations to later stages where that saves register bits; no path and no stage count grows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from l1ml.dataflow.op import Constant
from l1ml.dataflow.program import Dataflow

MAX_ROUNDS = 8


def save_registers(
    flow: Dataflow,
    stage: Sequence[int],
    arrival: Sequence[float],
    delays: Sequence[float],
    limit: float,
    stages: int,
) -> tuple[tuple[int, ...], tuple[float, ...]]:
    """Return stages and arrival times with fewer register bits.

    An operation computed early waits in registers until it is read.  Computed later, its operands wait
    instead, which is cheaper when they are narrower or wait anyway.

    Args:
        flow: the program.
        stage: stage of every wire, as early as possible.
        arrival: time in ns at which every wire is stable in its stage.
        delays: delay of every wire's operation in ns.
        limit: longest path in ns.
        stages: number of stages.
    """
    state = _State(flow, list(stage), list(arrival), delays, limit, stages)
    for _ in range(MAX_ROUNDS):
        if not sum([state.improve(wire) for wire in reversed(range(len(flow.inputs), len(state.stage)))]):
            break
    return tuple(state.stage), tuple(state.arrival)


class _State:
    def __init__(
        self,
        flow: Dataflow,
        stage: list[int],
        arrival: list[float],
        delays: Sequence[float],
        limit: float,
        stages: int,
    ) -> None:
        self.flow, self.stage, self.arrival = flow, stage, arrival
        self.delays, self.limit, self.stages = delays, limit, stages
        self.readers: list[list[int]] = [[] for _ in stage]
        self.reads: list[Counter[int]] = [Counter() for _ in stage]  # how many readers in which stage
        self.constant = [False] * len(stage)
        for wire, step in flow.defined():
            self.constant[wire] = isinstance(step.op, Constant)
            for source in set(step.ins):
                self.readers[source].append(wire)
                self.reads[source][stage[wire]] += 1
        self.is_output = [False] * len(stage)
        for port in flow.outputs:
            self.is_output[port.wire] = True

    def last_read(self, wire: int, without: int = -1) -> int:
        """Return the last stage that reads a wire, one of its readers left out; an output is read after the last."""
        if self.is_output[wire]:
            return self.stages
        left_out = self.stage[without] if without >= 0 else None
        stages = (s for s, count in self.reads[wire].items() if count > (s == left_out))
        return max(stages, default=self.stage[wire])

    def improve(self, wire: int) -> bool:
        """Move one operation to the later stage that saves most bits; tell whether it moved."""
        first = len(self.flow.inputs)
        if self.constant[wire] or not self.readers[wire]:
            return False
        latest = min(self.stage[r] for r in self.readers[wire])
        sources = [i for i in dict.fromkeys(self.flow.steps[wire - first].ins) if not self.constant[i]]
        best, best_time, best_gain = -1, 0.0, 0
        for target in range(self.stage[wire] + 1, latest + 1):
            time = self._arrival(wire, sources, target)
            if time is None:
                continue
            gain = self.flow.type_of(wire).width * (target - self.stage[wire])
            for source in sources:
                others = max(self.last_read(source, without=wire), self.stage[wire])
                gain -= self.flow.type_of(source).width * max(0, target - others)
            if gain > best_gain:
                best, best_time, best_gain = target, time, gain
        if best < 0:
            return False
        for source in set(self.flow.steps[wire - first].ins):
            self.reads[source][self.stage[wire]] -= 1
            self.reads[source][best] += 1
        self.stage[wire], self.arrival[wire] = best, best_time
        return True

    def _arrival(self, wire: int, sources: list[int], target: int) -> float | None:
        """Return when the wire would be stable in another stage; None if a path became too long."""
        start = max((self.arrival[i] for i in sources if self.stage[i] == target), default=0.0)
        time = start + self.delays[wire]
        if time > self.limit + 1e-12:
            return None
        late = [r for r in self.readers[wire] if self.stage[r] == target]
        if any(time > self.arrival[r] - self.delays[r] + 1e-12 for r in late):
            return None  # a reader in the same stage would have to wait
        return time
