# SPDX-License-Identifier: Apache-2.0
"""The buses inside a streamed core where a simulator can compare beats with those of the plan."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from l1ml.plan.network import EngineNode, MapNode, ScanNode
from l1ml.plan.timing import Measured, Timed, Wait, join
from l1ml.plan.window import WindowEngine
from l1ml.rtl.engines import StreamedCore, buses
from l1ml.types.arrays import BoolArray, IntArray


@dataclass(frozen=True, eq=False)
class Tap:
    """A bus and what it carries.

    Args:
        node: number of the engine that makes or reads it; one past the last for the outputs of the core.
        waits: ``delay``, ``align`` or ``pace``, where the beats have just waited in front of the engine; empty where
            they leave it.
        stream: number of the stream.
        data: name of the vector; empty where the stream has no bits.
        width: its bits.
        valid: name of what is high with every beat and at no other time; empty where another tap has it.
        start: name of what is high with the first beat of an event, beside ``valid``.
        clocks: of every beat of a lone event, from its first beat on, (beats,).
    """

    node: int
    waits: str
    stream: int
    data: str
    width: int
    valid: str
    start: str
    clocks: IntArray


def taps(core: StreamedCore, timed: Timed, pipes: Mapping[int, Measured]) -> Iterator[Tap]:
    """Yield the buses of a core in the order of its engines: first what an engine reads, then what it makes."""
    names, network = buses(core, timed, pipes), timed.network
    for number, node in enumerate(network.nodes):
        yield from _waits(number, f"n{number}", node.inputs, timed.waits[number], timed)
        for stream in node.outputs:
            valid, start, data = names[stream]
            own = valid if valid.startswith(f"n{number}_") and stream == node.outputs[0] else ""
            bits = network.streams[stream].bits
            marks = (own, start) if own else ("", "")
            yield Tap(number, "", stream, data if bits else "", bits, *marks, timed.times[stream])
    yield from _waits(len(network.nodes), "out", network.outputs, timed.ends, timed)


def _waits(
    number: int, stem: str, streams: Sequence[int], waits: Sequence[Wait], timed: Timed
) -> Iterator[Tap]:
    kinds = [timed.network.streams[s] for s in streams]
    clocks, _ = join([timed.times[s] for s in streams], [max(1, kind.bits) for kind in kinds])
    for k, (stream, kind, wait) in enumerate(zip(streams, kinds, waits, strict=True)):
        how = "align" if wait.buffer is not None else "pace" if wait.pace is not None else "delay"
        if how == "delay" and not wait.clocks:
            continue
        at = clocks if wait.pace is None else wait.pace.times(clocks)
        data = f"{stem}_in{k}_data" if kind.bits else ""
        marks = ("", "") if how == "align" else (f"{stem}_in{k}_valid", f"{stem}_in{k}_start")
        yield Tap(number, how, stream, data, kind.bits, *marks, at)


def engine_name(timed: Timed, pipes: Mapping[int, Measured], number: int) -> tuple[str, tuple[str, ...]]:
    """Return the kind of an engine and the layers that it holds."""
    if number == len(timed.network.nodes):
        return "output", ()
    node = timed.network.nodes[number]
    if isinstance(node, MapNode):
        return "map" if number in pipes else "wires", node.layers
    if isinstance(node, ScanNode):
        return "scan", (node.layer,)
    assert isinstance(node, EngineNode)
    return node.engine.MODULE.removeprefix("l1ml_"), (node.layer,)


def meaningful(timed: Timed, stream: int) -> BoolArray:
    """Tell which positions of the beats of a stream mean something, (beats, groups).

    Lanes past the end of a row do not, nor does what only their neighbourhood has.
    """
    kind = timed.network.streams[stream]
    lanes = np.asarray(kind.raster.slots() >= 0)
    if kind.groups == kind.raster.lanes:
        return lanes
    maker = timed.network.maker(stream)
    node = None if maker is None else timed.network.nodes[maker]
    if isinstance(node, EngineNode) and isinstance(node.engine, WindowEngine):
        rows, columns = node.engine.kernel
        first = np.arange(kind.raster.lanes)[:, None] * node.engine.strides[1]
        read = first + np.arange(columns) * node.engine.dilation[1]  # column of the region, by lane
        table = np.zeros((len(lanes), rows, kind.groups // rows), dtype=np.bool_)
        for lane, places in enumerate(read):
            table[:, :, places] |= lanes[:, lane, None, None]
        return table.reshape(len(lanes), kind.groups)
    complete = np.asarray(lanes.all(axis=1))
    return np.broadcast_to(complete[:, None], (len(lanes), kind.groups))
