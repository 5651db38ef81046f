# SPDX-License-Identifier: Apache-2.0
"""Streams and the bodies between them, while they grow; and the way from whole events to beats and back."""

from __future__ import annotations

from math import prod

import numpy as np

from l1ml.errors import ModelError
from l1ml.graph import primitives as p
from l1ml.graph.program import TensorProgram
from l1ml.graph.tensor import TensorType
from l1ml.plan.ahead import products_ahead
from l1ml.plan.moves import Origin
from l1ml.plan.network import Body, EngineNode, MapNode, Node
from l1ml.plan.regroup import CollectEngine, SplitEngine
from l1ml.plan.streams import WHOLE, Raster, Stream, same_in_all_lanes
from l1ml.plan.values import Choices, Local, Mixed, Value
from l1ml.types.arrays import IntArray


class Bodies:
    """Streams, bodies and engines so far.

    Args:
        program: the typed network.
        raster: how its input arrives.
        choices: what is folded and split.
    """

    def __init__(self, program: TensorProgram, raster: Raster, choices: Choices) -> None:
        self.program, self.choices = program, choices
        self.streams: list[Stream] = []
        self.nodes: list[Node | Body] = []
        self.bodies: dict[tuple[int, ...], Body] = {}
        self.made: dict[tuple[int, int], int] = {}  # (body, tensor) -> stream
        self.wholes: dict[int, Local] = {}
        self.taken: set[int] = set()  # steps that the engine of an earlier one does
        self.reloads = False  # whether weights can be replaced
        self.splits: dict[tuple[int, Raster], int] = {}  # (source, beats) -> stream
        self.repeats: dict[tuple[int, Raster], int] = {}
        self.takes: dict[tuple[int, int, tuple[int, ...], bytes], int] = {}
        self.ahead = products_ahead(program)
        self.serials: set[int] = set()  # products whose operand comes element by element
        self.number = 0
        self.layer = "input"
        self.values: dict[int, Value] = dict(enumerate(self._inputs(raster)))

    def _inputs(self, raster: Raster) -> list[Value]:
        ports = self.program.inputs
        if raster.whole:
            flat = [port.type.reshaped((port.type.size,)) for port in ports]
            kind = TensorType(*(np.concatenate([getattr(t, n) for t in flat]) for n in ("lo", "hi", "frac")))
            body = self._body(self._stream(Stream(WHOLE, kind)))
            first, values = 0, []
            for port in ports:
                taken = np.arange(port.type.size, dtype=np.int64).reshape(1, *port.shape) + first
                first += port.type.size
                whole = body.inputs[0].size == port.type.size and len(port.shape) == 1
                tensor = 0 if whole else body.add(p.Take(taken), (0,), port.name)
                values.append(Local(WHOLE, port.shape, (), body, tensor))
            return list(values)
        (port,) = ports
        axes = tuple(range(2 if raster.rows > 1 else 1))
        sizes = (raster.rows, raster.columns) if raster.rows > 1 else (raster.columns,)
        if port.shape[: len(axes)] != sizes or len(port.shape) <= len(axes):
            raise ModelError(f"{raster} do not fit an input of shape {port.shape}")
        inner = port.shape[len(axes) :]
        one = port.type.at(0)
        number = self._stream(
            Stream(raster, TensorType(*(np.full(prod(inner), n) for n in (one.lo, one.hi, one.frac))))
        )
        return [self._on_stream(number, port.shape, axes)]

    def _on_stream(self, number: int, shape: tuple[int, ...], axes: tuple[int, ...]) -> Local:
        """Return the tensor that a stream of plain positions carries."""
        body = self._body(number)
        local = Local(self.streams[number].raster, shape, axes, body, 0)
        lanes, inner = local.raster.lanes, local.inner
        if len(inner) == 1:
            return local
        tensor = self._added(body, p.Reshape((lanes, *inner)), (0,))
        return Local(local.raster, shape, axes, body, tensor)

    def _stream(self, stream: Stream) -> int:
        self.streams.append(stream)
        return len(self.streams) - 1

    def _body(self, *sources: int) -> Body:
        if sources not in self.bodies:
            body = Body(sources, tuple(self.streams[s].beat_type() for s in sources))
            self.bodies[sources] = body
            self.nodes.append(body)
        return self.bodies[sources]

    def _added(self, body: Body, op: p.Primitive, sources: tuple[int, ...]) -> int:
        return body.add(op, sources, self.layer)

    def _flowing(self, x: Local) -> int:
        """Return the stream of a tensor; it becomes an output of its body."""
        body = x.body
        kind = body.type_of(x.tensor)
        flat = kind.reshaped((kind.shape[0], prod(kind.shape[1:])))
        for number, source in enumerate(body.sources):
            same = x.tensor == number or self._only_reshaped(body, x.tensor) == number
            if same and self.streams[source].groups == x.raster.lanes:
                return source
        key = (id(body), x.tensor)
        if key not in self.made:
            self.made[key] = self._stream(Stream(x.raster, same_in_all_lanes(flat)))
            body.outputs.append(x.tensor)
        return self.made[key]

    @staticmethod
    def _only_reshaped(body: Body, tensor: int) -> int:
        while tensor >= len(body.inputs):
            step = body.steps[tensor - len(body.inputs)]
            if not isinstance(step.op, p.Reshape):
                return -1
            (tensor,) = step.sources
        return tensor

    def _finished(self, ends: list[int]) -> tuple[Node, ...]:
        """Return the nodes that the outputs need; every such body becomes a Map.

        What was tried and given up is left out.

        Args:
            ends: streams of the outputs.
        """
        self._forget(set(ends))
        out: list[Node] = []
        for node in self.nodes:
            if not isinstance(node, Body):
                out.append(node)
            elif node.outputs:
                streams = tuple(self.made[id(node), t] for t in node.outputs)
                program = node.program()
                layers = tuple(dict.fromkeys(step.layer for step in program.steps))
                out.append(MapNode(layers, program, node.sources, streams))
        return _in_order(out)

    def _forget(self, needed: set[int]) -> None:
        """Drop engines, and outputs of bodies, whose streams nobody needs."""
        left, grown = list(self.nodes), True
        kept: list[Node | Body] = []
        while grown:
            grown = False
            for node in list(left):
                made = (
                    {self.made[id(node), t] for t in node.outputs}
                    if isinstance(node, Body)
                    else set(node.outputs)
                )
                if made & needed:
                    needed.update(node.sources if isinstance(node, Body) else node.inputs)
                    left.remove(node)
                    kept.append(node)
                    grown = True
        self.nodes = [n for n in self.nodes if any(n is k for k in kept)]
        for node in self.nodes:
            if isinstance(node, Body):
                node.outputs = [t for t in node.outputs if self.made[id(node), t] in needed]

    def _engine(self, engine: object, source: int, stream: Stream, **more: object) -> int:
        number = self._stream(stream)
        self.nodes.append(EngineNode(self.layer, engine, (source,), (number,), **more))  # type: ignore[arg-type]
        return number

    def _taken(self, x: Local, inner: IntArray) -> int:
        key = (id(x.body), x.tensor, inner.shape, inner.tobytes())
        if key not in self.takes:
            self.takes[key] = self._added(
                x.body, _take_of(x.body.type_of(x.tensor).shape, inner), (x.tensor,)
            )
        return self.takes[key]

    # Between whole events and beats.

    def _split(self, x: Local) -> Local:
        """Send the positions of a whole tensor one after the other, as many per beat as the plan says."""
        found = self._shared(x.shape[:-1])
        if found is None:
            return x
        raster, axes = found
        return self._as_beats(x, raster, tuple(range(axes)), x.shape)

    def _shared(self, sizes: tuple[int, ...]) -> tuple[Raster, int] | None:
        """Return how positions share beats, and how many of their axes are streamed; None where they do not.

        Rows are not cut: a beat holds a part of a row that divides it, or whole rows.
        """
        lanes = self.choices.split(self.number, prod(sizes))
        if lanes is None or lanes >= prod(sizes):
            return None
        while len(sizes) > 1:
            row = sizes[-1]
            fit = next((k for k in range(lanes, row + 1) if row % k == 0), None)
            if fit is not None:
                return Raster(prod(sizes[:-1]), row, fit), len(sizes)
            lanes, sizes = -(-lanes // row), sizes[:-1]
        return (Raster(1, sizes[0], lanes), 1) if lanes < sizes[0] else None

    def _as_beats(self, x: Local, raster: Raster, axes: tuple[int, ...], shape: tuple[int, ...]) -> Local:
        """Send a whole tensor as beats.

        Args:
            x: whole; its positions are its leading axes.
            raster: how they share beats.
            axes: those of ``shape`` that are streamed.
            shape: of the tensor as it is meant; its other axes follow the streamed ones in ``x``.
        """
        source = self._flowing(x)
        stream = self.streams[source]
        if (source, raster) not in self.splits:
            inner = stream.elements // raster.positions
            made = Stream(raster, same_in_all_lanes(stream.type.reshaped((raster.positions, inner))))
            engine = SplitEngine(raster.rows, raster.columns, raster.lanes, max(1, made.position_bits))
            self.splits[source, raster] = self._engine(engine, source, made)
        return self._on_stream(self.splits[source, raster], shape, axes)

    def _before_moves(self, x: Local) -> tuple[Local, IntArray | None]:
        """Return the tensor of which another one on beats holds copies, and which element each of its elements is.

        Only where that is smaller: so no copy is gathered.
        """
        tensor, picked = _moves_of(x.body, x.tensor)
        kind = x.body.type_of(tensor)
        size, lanes = prod(kind.shape[1:]), x.raster.lanes
        if picked is None or kind.shape[0] != lanes or size >= prod(x.inner):
            return x, None
        own = picked.reshape(lanes, -1) - np.where(
            picked.reshape(lanes, -1) < 0, 0, np.arange(lanes)[:, None] * size
        )
        if not np.array_equal(np.broadcast_to(own[0], own.shape), own) or int(own.max(initial=0)) >= size:
            return x, None
        inner = kind.shape[1:]
        return Local(x.raster, (x.raster.positions, *inner), (0,), x.body, tensor), own[0]

    def _whole(self, x: Local | Mixed) -> Local:
        """Gather all positions of an event."""
        base = x.base if isinstance(x, Mixed) else x
        if base.raster.whole:
            if isinstance(x, Local):
                return x
            gathered, inner, picked = base, prod(base.inner), None
        else:
            base, picked = self._before_moves(base)
            inner = prod(base.inner)
            source = self._flowing(base)
            if source not in self.wholes:
                stream, raster = self.streams[source], base.raster
                engine = CollectEngine(
                    raster.rows, raster.columns, raster.lanes, max(1, stream.position_bits)
                )
                kind = TensorType(
                    *(
                        np.tile(a, raster.positions)
                        for a in (stream.type.lo, stream.type.hi, stream.type.frac)
                    )
                )
                number = self._engine(engine, source, Stream(WHOLE, kind))
                self.wholes[source] = Local(WHOLE, (kind.size,), (), self._body(number), 0)
            gathered = self.wholes[source]
        origin = x.origin if isinstance(x, Mixed) else Origin.of(x.shape, x.axes)
        at = origin.inner if picked is None else picked[origin.inner]
        taken = np.where((origin.position < 0) | (at < 0), -1, origin.position * inner + at)
        return Local(WHOLE, taken.shape, (), gathered.body, self._taken(gathered, taken))


def _take_of(shape: tuple[int, ...], inner: IntArray) -> p.Move:
    """Return the move that gives every position of a beat of ``shape`` the elements ``inner`` of its own."""
    groups, size = shape[0], prod(shape[1:])
    if np.array_equal(inner.ravel(), np.arange(size)):
        return p.Reshape((groups, *inner.shape))
    lanes = np.arange(groups, dtype=np.int64).reshape(groups, *(1,) * inner.ndim) * size
    return p.Take(np.where(inner < 0, -1, inner + lanes))


def _moves_of(body: Body, tensor: int) -> tuple[int, IntArray | None]:
    """Return the tensor that moves made another from, and which element every element is; None for all in order."""
    first, picked = len(body.inputs), None
    while tensor >= first:
        step = body.steps[tensor - first]
        if not isinstance(step.op, p.Move):
            break
        indices = step.op.indices(body.type_of(step.sources[0]).shape)
        picked = indices if picked is None else np.where(picked < 0, -1, indices.ravel()[picked])
        (tensor,) = step.sources
    return tensor, picked


def _in_order(nodes: list[Node]) -> tuple[Node, ...]:
    """Sort nodes so that every stream is made before it is read; as they came where possible."""
    ready, out, left = {0}, [], list(nodes)
    while left:
        node = next(n for n in left if ready.issuperset(n.inputs))
        left.remove(node)
        out.append(node)
        ready.update(node.outputs)
    return tuple(out)
