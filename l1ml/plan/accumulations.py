# SPDX-License-Identifier: Apache-2.0
"""Steps that get an engine of their own: folded products, sums over positions, recurrent cells."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod

import numpy as np

from l1ml.errors import ConfigError
from l1ml.graph import primitives as p
from l1ml.graph.program import TensorStep
from l1ml.plan.beat import on_beats
from l1ml.plan.folding import cuts, fold_of, reduce_of
from l1ml.plan.making import Making
from l1ml.plan.meetings import Meetings
from l1ml.plan.moves import Origin
from l1ml.plan.network import ScanNode
from l1ml.plan.recurrence import Recurrence
from l1ml.plan.streams import WHOLE, Raster, Stream
from l1ml.plan.values import Fixed, Local, Mixed, Value
from l1ml.types.arrays import IntArray


@dataclass(frozen=True)
class Shaped:
    """How a result lies on a stream: its raster, its shape, and which axes are streamed."""

    raster: Raster
    shape: tuple[int, ...]
    axes: tuple[int, ...]


class Accumulations(Meetings):
    """What needs an engine, on top of streams and bodies."""

    def _moved(self, op: p.Move, x: Local | Mixed) -> Value:
        """Return a tensor whose elements moved."""
        raise NotImplementedError

    def _special(self, step: TensorStep, xs: list[Value]) -> Value | None:
        if self.number in self.taken and isinstance(xs[0], Local):
            return xs[0]
        if isinstance(step.op, p.ConstMatmul):
            return self._product(step.op, xs[0])
        if isinstance(step.op, p.Reduce) and isinstance(xs[0], Local):
            return self._reduced(step.op, xs[0])
        if isinstance(step.op, p.Contract):
            return self._multiplied(step.op, xs[0], xs[1])
        return None

    def _in_turn(self, xs: list[Value]) -> list[Value]:
        """Return the operands of a step, as beats where a product ahead reads its elements one after the other."""
        product, x = self.ahead.get(self.number), xs[0]
        if (
            product is None
            or not isinstance(x, Local)
            or not x.raster.whole
            or len(x.shape) != 1
            or self.reloads
        ):
            return xs
        (elements,) = x.shape
        lanes = self.choices.serial(product, elements) if elements > 1 else None
        if lanes is None:
            return xs
        self.serials.add(product)
        return [self._as_beats(x, Raster(1, elements, lanes), (0,), x.shape)]

    def _multiplied(self, op: p.Contract, x: Value, y: Value) -> Local | None:
        if not (isinstance(x, Local) and isinstance(y, Local)):
            return self._contracted(op, x, y)
        rank = len(x.shape)
        if x.raster.whole or x.raster != y.raster or (x.axes, y.axes) != ((rank - 1,), (rank - 2,)):
            return self._contracted(op, x, y)
        # Both travel along the axis that is summed over: add up what every position gives.
        body, (a, b) = self._joined([x, y])
        lanes, *lead, n = body.type_of(a).shape
        m = body.type_of(b).shape[-1]
        a = self._added(body, p.Reshape((lanes, *lead, n, 1)), (a,))
        b = self._added(body, p.Reshape((lanes, *lead, 1, m)), (b,))
        made = self._added(body, op, (a, b))
        shape = (*lead, n, m, x.shape[-1])
        return self._reduced(p.Reduce("sum"), Local(x.raster, shape, (rank,), body, made))

    def _scanned(self, loop: Recurrence) -> Local | None:
        """Return the result of a recurrent layer whose steps share one cell, None where they do not."""
        x = self.values[loop.source]
        if not isinstance(x, Local) or not self.choices.scan(self.number, loop.steps):
            return None
        if x.raster.whole:
            x = self._as_beats(x, Raster(1, loop.steps, 1), (0,), x.shape)
        if x.raster != Raster(1, loop.steps, 1) or x.axes != (0,) or len(x.inner) != 1:
            return None
        source = self._flowing(x)
        stream, cell_x = self.streams[source], loop.cell.inputs[-1].type
        # The cell is made for the rows of the typed tensor; on the stream their types may be wider.
        same = all(np.array_equal(getattr(stream.type, n), getattr(cell_x, n)) for n in ("lo", "hi", "frac"))
        if not same:
            return None
        made = Raster(1, loop.steps, 1) if loop.sequences else WHOLE
        number = self._stream(Stream(made, loop.y_type))
        self.nodes.append(ScanNode(self.layer, loop, (source,), (number,), max(1, stream.position_bits)))
        shape = self.program.type_of(loop.result).shape
        return self._on_stream(number, shape, (0,) if loop.sequences else ())

    def _product(self, op: p.ConstMatmul, x: Value) -> Value | None:
        if isinstance(x, Fixed):
            return None
        if self.number in self.serials and isinstance(x, Local) and not x.raster.whole:
            return self._summed_up(op, Mixed(x, Origin.of(x.shape, x.axes)))
        one = _one_weight(op)
        if one is not None and (isinstance(x, Mixed) or x.raster.whole or len(x.shape) - 1 in x.axes):
            picked = self._picking(op, one, x)
            if picked is not None:
                return picked
        if isinstance(x, Mixed):
            summed = self._summed_up(op, x)
            if summed is not None or x.origin.position.ndim == 1:
                return summed
            x = self._whole(x)
        if len(x.shape) - 1 in x.axes:
            blocks = None if one is None else self._in_blocks(op, one, x)
            if blocks is not None:
                return blocks
            x = self._whole(x)
        if x.raster.whole and len(x.shape) > 1 and prod(x.shape[:-1]) > 1:
            x = self._split(x)
        if x.raster.lanes != 1 or len(x.inner) != 1 or len(x.shape) - 1 in x.axes:
            return self._mapped_as(op, x)
        per_clock = self.choices.fold(self.number, (op.matrix.shape[0], op.matrix.shape[1]), 1)
        if per_clock is None:
            return self._mapped_as(op, x)
        shape = (*x.shape[:-1], op.matrix.shape[1])
        return self._folded(op, self._flowing(x), op.matrix[None], per_clock, Shaped(x.raster, shape, x.axes))

    def _folded(
        self, op: p.ConstMatmul, source: int, weights: IntArray, per_clock: int, result: Shaped
    ) -> Local:
        """Append a Fold; return its results.  One with too large a ROM becomes several, for some outputs each."""
        making = self.choices.making(self.number)
        parts = cuts(weights, per_clock) if making.reload is None else [slice(None)]
        made = []
        for part in parts:
            one = replace(op, matrix=op.matrix[:, part])
            number = self._fold(one, source, weights[..., part], per_clock, making, result.raster)
            shape = (*result.shape[:-1], one.matrix.shape[1])
            made.append(self._on_stream(number, shape, result.axes))
        if len(made) == 1:
            return made[0]
        body, tensors = self._joined(made)
        last = len(body.type_of(tensors[0]).shape) - 1
        return Local(
            result.raster, result.shape, result.axes, body, self._added(body, p.Concat(last), tuple(tensors))
        )

    def _fold(
        self,
        op: p.ConstMatmul,
        source: int,
        weights: IntArray,
        per_clock: int,
        making: Making,
        raster: Raster,
    ) -> int:
        bias = None if making.reload is None else self._bias()
        self.reloads = self.reloads or making.reload is not None
        try:
            node = fold_of(op, self.streams[source], weights, per_clock, making, bias)
        except ConfigError as error:
            raise ConfigError(error.what, where=(self.layer, *error.where), fix=error.fix) from None
        return self._engine(
            node.engine, source, Stream(raster, node.type), ups=node.ups, input_bits=node.input_bits,
            result_bits=node.result_bits, drops=node.drops,
        )  # fmt: skip

    def _bias(self) -> p.AddConst | None:
        """Return the bias behind the product at hand, which then is part of it; None where there is none."""
        product = self.number + len(self.program.inputs)
        readers = [(n, step) for n, step in enumerate(self.program.steps) if product in step.sources]
        if len(readers) != 1 or product in [tensor for _, tensor in self.program.outputs]:
            return None
        number, step = readers[0]
        if not isinstance(step.op, p.AddConst) or step.layer != self.layer:
            return None
        rows = np.broadcast_to(step.op.constant, step.type.shape).reshape(-1, step.type.shape[-1])
        if bool((rows != rows[0]).any()):
            return None
        self.taken.add(number)
        return p.AddConst(rows[0], step.op.frac)

    def _mapped_as(self, op: p.ConstMatmul, x: Local) -> Local | None:
        body_op = on_beats(op, x.shape, x.axes)
        if body_op is None:
            return None
        tensor = self._added(x.body, body_op, (x.tensor,))
        return Local(x.raster, (*x.shape[:-1], op.matrix.shape[1]), x.axes, x.body, tensor)

    def _summed_up(self, op: p.ConstMatmul, x: Mixed) -> Local | None:
        """Fold a product over all positions of a stream: other weights for every beat."""
        base, origin = x.base, x.origin
        if origin.position.ndim != 1 or bool((origin.position < 0).any()) or base.raster.whole:
            return None
        lanes, beats, inner = base.raster.lanes, base.raster.beats, prod(base.inner)
        per_clock = self.choices.fold(self.number, (lanes * inner, op.matrix.shape[1]), beats)
        if per_clock is None:
            return None
        weights = np.zeros((beats, lanes, inner, op.matrix.shape[1]), dtype=np.int64)
        slots = base.raster.slots()
        beat, lane = (np.zeros(base.raster.positions, dtype=np.int64) for _ in range(2))
        for b, line in enumerate(slots):
            for k, position in enumerate(line):
                if position >= 0:
                    beat[position], lane[position] = b, k
        at = origin.position
        np.add.at(weights, (beat[at], lane[at], origin.inner), op.matrix)
        slices = weights.reshape(beats, lanes * inner, -1)
        result = Shaped(WHOLE, (op.matrix.shape[1],), ())
        return self._folded(op, self._flowing(base), slices, per_clock, result)

    def _reduced(self, op: p.Reduce, x: Local) -> Local | None:
        last = len(x.shape) - 1
        if x.raster.whole or last not in x.axes:
            return None
        size, raster = x.shape[last], x.raster
        if size % raster.columns == 0:
            each = Raster(size // raster.columns, raster.columns, raster.lanes)
        elif raster.columns % size == 0 and size % raster.lanes == 0:
            each = Raster(1, size, raster.lanes)
        else:
            return None
        groups = raster.positions // size
        source = self._flowing(x)
        node = reduce_of(op, self.streams[source], each, groups)
        number = self._engine(
            node.engine, source, Stream(Raster(1, groups, 1), node.type), ups=node.ups, input_bits=node.input_bits,
            result_bits=node.result_bits, drops=node.drops,
        )  # fmt: skip
        return self._on_stream(number, x.shape[:-1], x.axes[:-1] if groups > 1 else ())

    def _in_blocks(self, op: p.ConstMatmul, weight: int, x: Local) -> Local | None:
        """Return sums over equal blocks of positions, such as of the edges of every node; None for other products."""
        n_in, n_out = op.matrix.shape
        size = n_in // n_out
        if n_in % n_out or not np.array_equal(
            op.matrix != 0, np.kron(np.eye(n_out), np.ones((size, 1))) != 0
        ):
            return None
        rows = self._moved(p.Reshape((*x.shape[:-1], n_out, size)), x)
        summed = self._reduced(p.Reduce("sum"), rows) if isinstance(rows, Local) else None
        return None if summed is None else self._times(summed, weight, op.frac)

    def _picking(self, op: p.ConstMatmul, weight: int, x: Local | Mixed) -> Value | None:
        """Return a product that only picks elements of the last axis; None for other products."""
        used = op.matrix != 0
        if bool((used.sum(axis=0) > 1).any()):
            return None
        picked = np.where(used.any(axis=0), used.argmax(axis=0), -1)
        base = self._times(x if isinstance(x, Local) else x.base, weight, op.frac)
        shape = x.shape if isinstance(x, Local) else x.origin.position.shape
        first = np.arange(prod(shape[:-1]), dtype=np.int64).reshape(*shape[:-1], 1) * shape[-1]
        taken = p.Take(np.where(picked < 0, -1, first + picked))
        return self._moved(taken, base if isinstance(x, Local) else Mixed(base, x.origin))

    def _times(self, x: Local, weight: int, frac: int) -> Local:
        """Return all elements times one constant."""
        if weight == 1 << frac:
            return x
        factor = np.array(weight, dtype=np.int64)
        return replace(x, tensor=self._added(x.body, p.MulConst(factor, frac), (x.tensor,)))


def _one_weight(op: p.ConstMatmul) -> int | None:
    """Return what all entries of a matrix are that are not zero, None where they differ."""
    found = np.unique(op.matrix[op.matrix != 0])
    return int(found[0]) if len(found) == 1 else None
