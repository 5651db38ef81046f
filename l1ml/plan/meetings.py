# SPDX-License-Identifier: Apache-2.0
"""Tensors that meet while they travel in different ways: whole ones go beside every beat, or become beats themselves.

A sum over all particles that every particle reads, the keys of an attention that every query reads: the whole
tensor is repeated beside the beats, which wait for it in a memory.  A whole tensor with the positions of a stream is
sent position by position.  So one operand that is whole gathers no stream.
"""

from __future__ import annotations

from dataclasses import replace
from math import prod

import numpy as np

from l1ml.graph import primitives as p
from l1ml.plan.ahead import taken_together
from l1ml.plan.beat import CONSTANTS, ELEMENTWISE
from l1ml.plan.bodies import Bodies
from l1ml.plan.network import Body
from l1ml.plan.repeat import RepeatEngine
from l1ml.plan.streams import Raster, Stream
from l1ml.plan.upsample import UpsampleEngine
from l1ml.plan.values import Fixed, Local, Mixed, Value

SHARED = 64
"""Multipliers from which on a product of two whole tensors is shared by its rows or columns."""


class Meetings(Bodies):
    """What brings operands to one stream."""

    def _met(self, op: p.Primitive, xs: list[Value]) -> list[Value] | None:
        """Return operands that all travel with one stream; None where there is none, or they cannot.

        Args:
            op: element by element, or a concatenation.
            xs: its operands.
        """
        if not isinstance(op, (*ELEMENTWISE, p.Concat)):
            return None
        streamed = [x for x in xs if isinstance(x, Local) and not x.raster.whole]
        if not streamed:
            return None
        lead = max(streamed, key=lambda x: x.raster.positions)
        shapes = [_shape(x) for x in xs]
        full = op.shape_of(*shapes) if not isinstance(op, p.Concat) else shapes[xs.index(lead)]
        offset = len(full) - len(lead.shape)
        axes = tuple(a + offset for a in lead.axes)
        if isinstance(op, p.Concat) and op.axis in axes:
            return None
        if any(lead.shape[a] != full[a + offset] for a in lead.axes):
            return None  # the stream itself is repeated along its axes
        return [self._beside(x, lead.raster, full, axes) for x in xs]

    def _spread(self, op: p.Primitive, xs: list[Value]) -> list[Value] | None:
        """Return operands of which one repeats what it was made from, such as the ends of edges, as beats.

        So what comes behind is built for a few of the copies, not for all.

        Args:
            op: the same for every position.
            xs: its operands.
        """
        if not isinstance(op, (*ELEMENTWISE, p.Concat, *CONSTANTS)):
            return None
        shapes = [_shape(x) for x in xs]
        full = op.shape_of(*shapes)
        axes = tuple(sorted({a for x in xs for a in _copied(x, len(full))}))
        found = self._shared(tuple(full[a] for a in axes)) if axes else None
        if found is None:
            return None
        raster, count = found
        axes = axes[:count]
        if isinstance(op, p.Concat):
            if op.axis in axes:
                return None
            full = tuple(1 if a == op.axis else n for a, n in enumerate(full))
        return [self._beside(x, raster, full, axes) for x in xs]

    def _beside(self, x: Value, raster: Raster, full: tuple[int, ...], axes: tuple[int, ...]) -> Value:
        """Return an operand on the stream of another one.

        Args:
            x: the operand.
            raster: of the stream.
            full: shape of the result.
            axes: those of ``full`` that are streamed.
        """
        if isinstance(x, Fixed):
            return x
        own = _shape(x)
        missing = len(full) - len(own)
        places = [a - missing for a in axes]
        same = isinstance(x, Local) and x.raster == raster and list(x.axes) == places
        if same:
            return x
        if isinstance(x, Mixed):
            sent = self._upsampled(x)
            if sent is not None and list(sent.axes) == places and _same_beats(sent.raster, raster):
                return replace(sent, raster=raster)
        whole = self._whole(x)
        sizes = [own[a] if a >= 0 else 1 for a in places]
        if all(n == 1 for n in sizes) and raster.positions > 1:
            kept = tuple(n for a, n in enumerate(own) if a not in places)
            tensor = self._taken(whole, np.arange(prod(kept), dtype=np.int64).reshape(kept))
            inner = Local(whole.raster, kept, (), whole.body, tensor)
            return self._repeated(inner, raster, _streamed(own, full, axes), axes)
        # Broadcast along the streamed axes only, then send position by position.
        wanted = tuple(
            full[a] if a in axes else 1 if a < missing else own[a - missing] for a in range(len(full))
        )
        flat = np.arange(prod(own), dtype=np.int64).reshape((1,) * missing + own)
        taken = np.broadcast_to(flat, wanted)
        one = self._same_at_all(whole, taken, axes)
        if one is not None:
            return self._repeated(one, raster, wanted, axes)
        order = (*axes, *(a for a in range(len(wanted)) if a not in axes))
        tensor = self._taken(whole, np.ascontiguousarray(taken.transpose(order)))
        given = Local(whole.raster, tuple(wanted[a] for a in order), (), whole.body, tensor)
        return self._as_beats(given, raster, axes, wanted)

    def _same_at_all(self, x: Local, taken: np.ndarray, axes: tuple[int, ...]) -> Local | None:
        """Return one position of a whole tensor if its steps made all of them by copying one, else None."""
        found, tensor, first = taken, x.tensor, len(x.body.inputs)
        while tensor >= first:
            step = x.body.steps[tensor - first]
            if not isinstance(step.op, p.Move):
                return None
            (tensor,) = step.sources
            found = step.op.indices(x.body.type_of(tensor).shape).ravel()[found]
            if bool((found < 0).any()):
                return None
            one = found
            for axis in axes:
                one = np.take(one, [0], axis=axis)
            if np.array_equal(np.broadcast_to(one, found.shape), found):
                kept = tuple(n for a, n in enumerate(one.shape) if a not in axes)
                made = self._added(x.body, p.Take(one.reshape(1, *kept)), (tensor,))
                return Local(x.raster, kept, (), x.body, made)
        return None

    def _upsampled(self, x: Mixed) -> Local | None:
        """Send rows and beats of a stream several times; None where the tensor is anything else.

        One position per beat stays one if that lasts no longer than the interval; else there are as many more as a
        row gets longer.
        """
        base, raster = x.base, x.base.raster
        times, axes = x.origin.upsampled(raster.rows, raster.columns), x.origin.moving()
        inner = None if times is None else x.origin.of_one_position(axes)
        if times is None or inner is None or raster.whole:
            return None
        rows, columns = times
        source = self._flowing(base)
        stream = self.streams[source]
        needed = self.choices.split(self.number, raster.positions * rows * columns) or 1
        wider = columns if max(raster.lanes, needed) > 1 else 1
        if needed > raster.lanes * wider:
            return None
        made = Raster(raster.rows * rows, raster.columns * columns, raster.lanes * wider)
        if (source, made) not in self.repeats:
            engine = UpsampleEngine(
                raster.rows, raster.beats_per_row, max(1, stream.bits), rows, 1 if wider > 1 else columns
            )
            self.repeats[source, made] = self._engine(
                engine, source, Stream(made, stream.type, stream.groups)
            )
        body = self._body(self.repeats[source, made])
        lane = np.arange(made.lanes, dtype=np.int64).reshape(-1, *(1,) * inner.ndim) // wider
        tensor = self._added(body, p.Take(lane * stream.elements + inner), (0,))
        return Local(made, x.origin.position.shape, axes, body, tensor)

    def _repeated(self, x: Local, raster: Raster, shape: tuple[int, ...], axes: tuple[int, ...]) -> Local:
        """Send a whole tensor beside every beat of a stream.

        Args:
            x: one position.
            raster: of the stream.
            shape: of the tensor that has it at every position.
            axes: its streamed ones.
        """
        source = self._flowing(x)
        stream = self.streams[source]
        key = (source, raster)
        if key not in self.repeats:
            engine = RepeatEngine(raster.beats, max(1, stream.bits))
            self.repeats[key] = self._engine(engine, source, Stream(raster, stream.type, 1))
        body = self._body(self.repeats[key])
        inner = tuple(n for a, n in enumerate(shape) if a not in axes)
        copies = np.broadcast_to(
            np.arange(prod(inner), dtype=np.int64).reshape(1, *inner), (raster.lanes, *inner)
        )
        tensor = self._added(body, p.Take(copies), (0,))
        return Local(raster, shape, axes, body, tensor)

    def _joined(self, xs: list[Local]) -> tuple[Body, list[int]]:
        """Return a body that has all the tensors."""
        if len({id(x.body) for x in xs}) == 1:
            return xs[0].body, [x.tensor for x in xs]
        numbers = [self._flowing(x) for x in xs]
        sources = tuple(dict.fromkeys(numbers))
        body = self._body(*sources)
        tensors = []
        for x, number in zip(xs, numbers, strict=True):
            at, groups = sources.index(number), x.raster.lanes
            inner = x.inner
            tensors.append(at if len(inner) == 1 else self._added(body, p.Reshape((groups, *inner)), (at,)))
        return body, tensors

    def _contracted(self, op: p.Contract, x: Value, y: Value) -> Local | None:
        """Return a product of two tensors of which one travels as rows of ``x`` or columns of ``y``."""
        *lead, n, n_sum = _shape(x)
        m = _shape(y)[-1]
        row, column = len(lead), len(lead) + 1
        full = (*lead, n, m)
        if prod(full) * n_sum >= SHARED and not any(isinstance(z, Local) and z.axes for z in (x, y)):
            found = self._shared((max(n, m),))
            if found is not None and n >= m:
                x = self._beside(x, found[0], _shape(x), (row,))
            elif found is not None:
                y = self._beside(y, found[0], _shape(y), (column,))
        if isinstance(x, Fixed) or isinstance(y, Fixed):
            return None
        rows = isinstance(x, Local) and x.axes == (row,)
        columns = isinstance(y, Local) and y.axes == (column,)
        if rows and columns:  # stream what is not taken together next
            rows = not taken_together(self.program, self.number + len(self.program.inputs), row)
        if rows and isinstance(x, Local):
            other = self._whole(y)
            raster, axes = x.raster, (row,)
            pair = [x, self._repeated(other, raster, (n, *other.shape), (0,))]
        elif columns and isinstance(y, Local):
            other = self._whole(x)
            raster, axes = y.raster, (column,)
            pair = [self._repeated(other, raster, (m, *other.shape), (0,)), y]
        else:
            return None
        body, (a, b) = self._joined(pair)
        lanes = raster.lanes
        if axes == (row,):
            a = self._added(body, p.Reshape((lanes, *lead, 1, n_sum)), (a,))
        else:
            b = self._added(body, p.Reshape((lanes, *lead, n_sum, 1)), (b,))
        made = self._added(body, op, (a, b))
        kept = tuple(size for axis, size in enumerate(full) if axis not in axes)
        return Local(raster, full, axes, body, self._added(body, p.Reshape((lanes, *kept)), (made,)))


def _copied(x: Value, rank: int) -> tuple[int, ...]:
    """Return the axes of the positions of a tensor that has elements more than once, by the move that made it.

    Args:
        x: the tensor; of any other one the answer is empty.
        rank: of the result, whose axes are meant.
    """
    if isinstance(x, Fixed):
        return ()
    if isinstance(x, Mixed):
        where = x.origin.position
        if where.size <= prod(x.base.shape):
            return ()
        moving = [a for a in range(where.ndim) if bool((np.take(where, [0], axis=a) != where).any())]
        return tuple(a + rank - where.ndim for a in moving)
    if not x.raster.whole or x.tensor < len(x.body.inputs):
        return ()
    step = x.body.steps[x.tensor - len(x.body.inputs)]
    if not isinstance(step.op, p.Take) or step.op.taken.size <= x.body.type_of(step.sources[0]).size:
        return ()
    return tuple(range(rank - len(x.shape), rank - 1))


def _same_beats(a: Raster, b: Raster) -> bool:
    return a == b or (a.lanes == b.lanes == 1 and a.positions == b.positions)


def _shape(x: Value) -> tuple[int, ...]:
    if isinstance(x, Fixed):
        return x.type.shape
    return x.shape if isinstance(x, Local) else x.origin.position.shape


def _streamed(own: tuple[int, ...], full: tuple[int, ...], axes: tuple[int, ...]) -> tuple[int, ...]:
    """Return a shape with as many axes as ``full``, of its size where streamed, else its own."""
    missing = len(full) - len(own)
    return tuple(full[a] if a in axes else 1 if a < missing else own[a - missing] for a in range(len(full)))
