# SPDX-License-Identifier: Apache-2.0
"""When every beat is where: latency, interval and alignment of an engine network, without simulation.

Every stream has its nominal times: the clock of each beat of a lone event, counted from the event's first input
beat.  What they say is asserted in every co-simulation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from l1ml.errors import TimingError
from l1ml.graph.program import TensorProgram
from l1ml.plan.align import AlignEngine
from l1ml.plan.fold import FoldEngine
from l1ml.plan.network import EngineNetwork, EngineNode, MapNode, ScanNode
from l1ml.plan.pace import PaceEngine
from l1ml.plan.scan import ScanEngine
from l1ml.types.arrays import IntArray


class Measured(Protocol):
    """What the plan knows of a pipelined body."""

    @property
    def stages(self) -> int:
        """Clocks from its input to its output."""


class Measure(Protocol):
    """Pipelines a body behind the engines whose outputs it reads with no register between."""

    def __call__(self, program: TensorProgram, ahead: Sequence[object] = (), /) -> Measured:
        """Return the pipelined body."""


@dataclass(frozen=True)
class Wait:
    """How a stream waits in front of a node: for another one it is joined with, or for the node itself.

    Args:
        clocks: the same delay for every beat; 0 for none.
        buffer: the memory in which it waits instead, where the delay is not the same for all.
        pace: what spaces its beats, where they come faster than the node takes them.
    """

    clocks: int = 0
    buffer: AlignEngine | None = None
    pace: PaceEngine | None = None


@dataclass(frozen=True, eq=False)
class Timed:
    """An engine network with all its times.

    Args:
        network: the engines.
        maps: what was measured of every Map and cell, by number of its node.
        scans: engines around cells, by number of their node.
        times: clock of every beat, per stream.
        waits: per node, one for each of its inputs.
        ends: how every output of the network waits for the last of them.
        busy: clocks per event that every node needs.
        latency: clocks from the first input beat to the output.
    """

    network: EngineNetwork
    maps: dict[int, Measured]
    scans: dict[int, ScanEngine]
    times: tuple[IntArray, ...]
    waits: tuple[tuple[Wait, ...], ...]
    ends: tuple[Wait, ...]
    busy: tuple[int, ...]
    latency: int

    @property
    def interval(self) -> int:
        """Least clocks between two events."""
        return max(self.busy, default=1)

    def slowest(self) -> int:
        """Return the number of the node that needs the most clocks per event."""
        return int(np.argmax(self.busy))


def time_network(network: EngineNetwork, arrivals: IntArray, measure: Measure, interval: int) -> Timed:
    """Return all times of an engine network.

    Args:
        network: the engines.
        arrivals: clock of every input beat of a lone event, the first at 0.
        measure: pipelines a body.
        interval: clocks between two events; recurrent cells are shared by those in flight.

    Raises:
        TimingError: beats come faster than an engine takes them.
    """
    times: dict[int, IntArray] = {0: np.asarray(arrivals, dtype=np.int64)}
    maps: dict[int, Measured] = {}
    scans: dict[int, ScanEngine] = {}
    waits, busy = [], []
    for number, node in enumerate(network.nodes):
        given = [times[s] for s in node.inputs]
        widths = [max(1, network.streams[s].bits) for s in node.inputs]
        last, how = join(given, widths)
        pace = _pace(node, widths[0], last) if isinstance(node, EngineNode) else None
        if pace is not None:
            how, unpaced, last = (Wait(pace=pace),), last, pace.times(last)
        waits.append(how)
        if isinstance(node, MapNode):
            maps[number] = measure(node.program, _ahead(network, node, how))
            made = last + maps[number].stages
            busy.append(1)
        elif isinstance(node, ScanNode):
            maps[number] = measure(node.recurrence.cell)
            scans[number] = node.engine(maps[number].stages, interval, last)
            if scans[number].slot == maps[number].stages:  # its own state comes back without a register
                maps[number] = measure(node.recurrence.cell, (scans[number],))
                scans[number] = node.engine(maps[number].stages, interval, last)
            made = scans[number].times(last)
            busy.append(scans[number].busy(last))
        else:
            try:
                made = node.engine.times(last)
                busy.append(max(node.engine.busy(last), 1 if pace is None else pace.busy(unpaced)))
            except TimingError as error:
                raise TimingError(error.what, where=(node.layer, *error.where), fix=error.fix) from None
        times.update(dict.fromkeys(node.outputs, made))
    ends_of = network.outputs
    last, ends = join([times[s] for s in ends_of], [max(1, network.streams[s].bits) for s in ends_of])
    none = np.zeros(0, dtype=np.int64)  # of streams that nobody reads in the end
    ordered = tuple(times.get(k, none) for k in range(len(network.streams)))
    return Timed(network, maps, scans, ordered, tuple(waits), ends, tuple(busy), int(last[0]))


def _ahead(network: EngineNetwork, node: MapNode, waits: Sequence[Wait]) -> list[object]:
    """Return the engines that a Map reads directly."""
    direct = [s for s, wait in zip(node.inputs, waits, strict=True) if wait == Wait()]
    makers = [network.nodes[k] for s in direct if (k := network.maker(s)) is not None]
    return [maker.engine for maker in makers if isinstance(maker, EngineNode)]


def _pace(node: EngineNode, width: int, arrivals: IntArray) -> PaceEngine | None:
    """Return what must space the beats of a node that takes several clocks for each, None where they are apart."""
    clocks = node.engine.slices if isinstance(node.engine, FoldEngine) else 1
    if len(arrivals) == 1 or int(np.diff(arrivals).min()) >= clocks:
        return None
    return PaceEngine.between(width, arrivals, clocks)


def join(given: Sequence[IntArray], widths: Sequence[int]) -> tuple[IntArray, tuple[Wait, ...]]:
    """Return when streams can be read beat by beat, and how each waits for that.

    One stream sets the pace: the others meet it, and none of its beats comes before theirs.  Where a buffer is needed
    its beats are read by that stream, and all leave one clock later.

    Args:
        given: clocks of the beats, per stream.
        widths: bits of a beat, per stream.
    """
    latest = given[0]
    for times in given[1:]:
        latest = np.maximum(latest, times)
    pace = min(given, key=lambda times: (int((latest - times).max()), -int(times[0])))
    last = pace + int((latest - pace).max())
    if all(_constant(last - times) for times in given):
        return last, tuple(Wait(int(last[0] - times[0])) for times in given)
    read = last + 1
    waits = [
        Wait(int(read[0] - times[0]) + 1)
        if _constant(read - times)
        else Wait(buffer=AlignEngine.between(width, times, read))
        for times, width in zip(given, widths, strict=True)
    ]
    return read + 1, tuple(waits)


def _constant(offsets: IntArray) -> bool:
    return bool((offsets == offsets[0]).all())
