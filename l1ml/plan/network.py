# SPDX-License-Identifier: Apache-2.0
"""Engines connected by streams: what a plan consists of, before it is timed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, Protocol

import numpy as np

from l1ml.graph.primitives import Primitive
from l1ml.graph.program import TensorProgram, TensorStep
from l1ml.graph.tensor import TensorType
from l1ml.plan.recurrence import Recurrence
from l1ml.plan.scan import ScanEngine
from l1ml.plan.streams import Stream
from l1ml.types.arrays import IntArray


class Engine(Protocol):
    """What the engines of this package have in common."""

    MODULE: ClassVar[str]

    def parameters(self) -> dict[str, int]:
        """Return the parameters of the SystemVerilog module."""

    def times(self, arrivals: IntArray) -> IntArray:
        """Return the clock of every output beat of a lone event, given those of its input beats."""

    def busy(self, arrivals: IntArray) -> int:
        """Return the least clocks between two events."""

    def emulate(self, beats: IntArray) -> IntArray:
        """Return what comes out: (events, beats, groups, elements) in and out."""


@dataclass(frozen=True, eq=False)
class BeatInput:
    """An input of a body: the elements of a beat, each with its own range."""

    name: str
    type: TensorType

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of a beat."""
        return self.type.shape


@dataclass(eq=False)
class Body:
    """What a Map computes for every beat: a typed network of its own, while it grows.

    Args:
        sources: streams that it reads, all with the same raster.
        inputs: types of their beats.
    """

    sources: tuple[int, ...]
    inputs: tuple[TensorType, ...]
    steps: list[TensorStep] = field(default_factory=list)
    outputs: list[int] = field(default_factory=list)

    def type_of(self, tensor: int) -> TensorType:
        """Return the type of a tensor; the inputs come first."""
        first = len(self.inputs)
        return self.inputs[tensor] if tensor < first else self.steps[tensor - first].type

    def add(self, op: Primitive, sources: Sequence[int], layer: str) -> int:
        """Append a primitive; return its tensor."""
        kind = op.infer(*(self.type_of(s) for s in sources))
        self.steps.append(TensorStep(op, tuple(sources), layer, kind))
        return len(self.inputs) + len(self.steps) - 1

    def program(self) -> TensorProgram:
        """Return the network of a beat: what nobody reads is left out."""
        needed, first = set(self.outputs), len(self.inputs)
        for number in reversed(range(len(self.steps))):
            if first + number in needed:
                needed.update(self.steps[number].sources)
        place = {tensor: tensor for tensor in range(first)}
        steps: list[TensorStep] = []
        for number, step in enumerate(self.steps):
            if first + number in needed:
                place[first + number] = first + len(steps)
                steps.append(
                    TensorStep(step.op, tuple(place[s] for s in step.sources), step.layer, step.type)
                )
        ports = tuple(BeatInput(f"beat{k}", kind) for k, kind in enumerate(self.inputs))
        outputs = tuple((f"out{k}", place[t]) for k, t in enumerate(self.outputs))
        return TensorProgram(ports, tuple(steps), outputs, ())  # type: ignore[arg-type]


@dataclass(frozen=True, eq=False)
class MapNode:
    """A pipelined body, applied to every beat.

    Args:
        layers: whose steps it holds, in order.
        program: the network of a beat.
        inputs: streams, joined beat by beat.
        outputs: streams, all valid at the same time.
    """

    layers: tuple[str, ...]
    program: TensorProgram
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class EngineNode:
    """A stateful engine.

    Args:
        layer: whose it is.
        engine: its parameters, times and meaning.
        inputs: the stream it reads.
        outputs: the stream it makes.
        ups: zeros appended to every element of a position at its input, (elements,); None for engines that only
            store positions.
        input_bits: bits of every element at the input of such an engine, after that.
        result_bits: bits of every result on its output; 0 where positions come out as they went in.
        drops: zeros dropped from the low end of every result, (elements,).
    """

    layer: str
    engine: Engine
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    ups: IntArray | None = None
    input_bits: int = 0
    result_bits: int = 0
    drops: IntArray | None = None


@dataclass(frozen=True, eq=False)
class ScanNode:
    """A recurrent cell: a Map in a loop, whose engine is known once its depth is.

    Args:
        layer: whose it is.
        recurrence: cell, states and steps.
        inputs: the stream of the steps.
        outputs: the stream of the results.
        x_bits: bits of a beat.
    """

    layer: str
    recurrence: Recurrence
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    x_bits: int

    @property
    def state_widths(self) -> tuple[int, ...]:
        """Bits of every element of the states, as they lie on the cell's ports."""
        kinds = self.recurrence.state_types
        return tuple(max(1, kind.at(k).width) for kind in kinds for k in range(kind.size))

    @property
    def y_bits(self) -> int:
        """Bits of the cell's result."""
        kind = self.recurrence.y_type
        return sum(max(1, kind.at(k).width) for k in range(kind.size))

    def engine(self, cell_latency: int, interval: int, arrivals: IntArray) -> ScanEngine:
        """Return the engine around a cell of that depth.

        Raises:
            TimingError: the interval leaves fewer clocks than there are steps.
        """
        of = self.recurrence
        slot = ScanEngine.smallest_slot(cell_latency, of.steps, interval)
        initial = tuple(int(code) for codes in of.initial for code in codes)
        engine = ScanEngine(
            steps=of.steps, slot=slot, cell_latency=cell_latency, x_bits=self.x_bits, state_widths=self.state_widths,
            y_bits=self.y_bits, initial=initial, interval=interval, return_sequences=of.sequences,
            go_backwards=of.backwards,
        )  # fmt: skip
        return replace(engine, lead=engine.smallest_lead(arrivals))

    def emulate(self, x: IntArray) -> IntArray:
        """Return the results, (events, 1 or steps, 1, units), for beats (events, steps, 1, n)."""
        of = self.recurrence
        states = [np.broadcast_to(codes, (len(x), *codes.shape)) for codes in of.initial]
        wanted = [tensor for _, tensor in of.cell.outputs]
        out = []
        for step in range(of.steps)[:: -1 if of.backwards else 1]:
            *states, y = of.cell.emulate([*states, x[:, step, 0]], wanted)
            out.append(y)
        return np.stack(out if of.sequences else out[-1:], axis=1)[:, :, None]


Node = MapNode | EngineNode | ScanNode


@dataclass(frozen=True, eq=False)
class EngineNetwork:
    """Engines in order; stream 0 is the input of the block.

    Args:
        streams: all of them.
        nodes: every stream but the first is made by one node, from earlier ones.
        outputs: stream of every output of the network.
        types: of the outputs; a stream may have wider ones, since its positions share theirs.
    """

    streams: tuple[Stream, ...]
    nodes: tuple[Node, ...]
    outputs: tuple[int, ...]
    types: tuple[TensorType, ...]

    def maker(self, stream: int) -> int | None:
        """Return the number of the node that makes a stream, None for the input."""
        return next((k for k, node in enumerate(self.nodes) if stream in node.outputs), None)

    def emulate(self, beats: IntArray) -> list[IntArray]:
        """Return the codes of the outputs, on the grids of their streams.

        Args:
            beats: codes of stream 0, (events, beats, groups, elements).

        Returns:
            One array per output, same axes.
        """
        held = self.emulate_streams(beats)
        return [held[s] for s in self.outputs]

    def emulate_streams(self, beats: IntArray) -> dict[int, IntArray]:
        """Return the codes of every stream by its number, same axes as ``beats``; see `emulate`."""
        held: dict[int, IntArray] = {0: beats}
        for node in self.nodes:
            if isinstance(node, MapNode):
                made = self._mapped(node, [held[s] for s in node.inputs])
            elif isinstance(node, ScanNode):
                made = [node.emulate(held[node.inputs[0]])]
            else:
                made = [self._through(node, held[node.inputs[0]])]
            held.update(zip(node.outputs, made, strict=True))
        return held

    def _mapped(self, node: MapNode, xs: list[IntArray]) -> list[IntArray]:
        events, beats = xs[0].shape[:2]
        flat = [x.reshape(events * beats, *x.shape[2:]) for x in xs]
        tensors = [t for _, t in node.program.outputs]
        made = node.program.emulate(flat, tensors)
        out = []
        for number, tensor, codes in zip(node.outputs, tensors, made, strict=True):
            stream, kind = self.streams[number], node.program.type_of(tensor)
            shape = (stream.groups, stream.elements)
            up = stream.type.frac - kind.frac.reshape(shape)
            out.append((codes.reshape(-1, *shape) << up).reshape(events, beats, *shape))
        return out

    def _through(self, node: EngineNode, x: IntArray) -> IntArray:
        source, stream = self.streams[node.inputs[0]], self.streams[node.outputs[0]]
        if node.ups is not None:
            x = x << node.ups.reshape(-1, x.shape[-1])
        elif source.raster.whole and source.elements != stream.elements:
            # A whole event becomes positions: all of one type.
            x = x << (np.tile(stream.type.frac, stream.raster.positions) - source.type.frac)
        made = node.engine.emulate(x)
        made = made.reshape(len(made), stream.raster.beats, stream.groups, stream.elements)
        return made if node.drops is None else np.asarray(made >> node.drops)
