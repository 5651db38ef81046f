# SPDX-License-Identifier: Apache-2.0
"""Steps that get an engine of their own: folded products, sums over positions, recurrent cells."""

from __future__ import annotations

from math import prod

import numpy as np

from l1ml.errors import ConfigError
from l1ml.graph import primitives as p
from l1ml.graph.program import TensorStep
from l1ml.plan.beat import on_beats
from l1ml.plan.bodies import Bodies
from l1ml.plan.folding import fold_of, reduce_of
from l1ml.plan.network import ScanNode
from l1ml.plan.recurrence import Recurrence
from l1ml.plan.streams import WHOLE, Raster, Stream
from l1ml.plan.values import Fixed, Local, Mixed, Value
from l1ml.types.arrays import IntArray


class Accumulations(Bodies):
    """What needs an engine, on top of streams and bodies."""

    def _special(self, step: TensorStep, xs: list[Value]) -> Local | None:
        if self.number in self.taken and isinstance(xs[0], Local):
            return xs[0]
        if isinstance(step.op, p.ConstMatmul):
            return self._product(step.op, xs[0])
        if isinstance(step.op, p.Reduce) and isinstance(xs[0], Local):
            return self._reduced(step.op, xs[0])
        return None

    def _scanned(self, loop: Recurrence) -> Local | None:
        """Return the result of a recurrent layer whose steps share one cell, None where they do not."""
        x = self.values[loop.source]
        if not isinstance(x, Local) or not self.choices.scan(self.number, loop.steps):
            return None
        if x.raster.whole:
            x = self._as_beats(x, Raster(1, loop.steps, 1), (0,))
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

    def _product(self, op: p.ConstMatmul, x: Value) -> Local | None:
        if isinstance(x, Fixed):
            return None
        if isinstance(x, Mixed):
            return self._summed_up(op, x)
        if x.raster.whole and len(x.shape) > 1 and prod(x.shape[:-1]) > 1:
            x = self._split(x)
        if x.raster.lanes != 1 or len(x.inner) != 1 or len(x.shape) - 1 in x.axes:
            return self._mapped_as(op, x)
        per_clock = self.choices.fold(self.number, (op.matrix.shape[0], op.matrix.shape[1]), 1)
        if per_clock is None:
            return self._mapped_as(op, x)
        number = self._folded(op, self._flowing(x), op.matrix[None], per_clock, x.raster)
        return self._on_stream(number, (*x.shape[:-1], op.matrix.shape[1]), x.axes)

    def _folded(
        self, op: p.ConstMatmul, source: int, weights: IntArray, per_clock: int, raster: Raster
    ) -> int:
        """Append a Fold; return the stream of its results."""
        making = self.choices.making(self.number)
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
        number = self._folded(op, self._flowing(base), slices, per_clock, WHOLE)
        return self._on_stream(number, (op.matrix.shape[1],), ())

    def _reduced(self, op: p.Reduce, x: Local) -> Local | None:
        last = len(x.shape) - 1
        if x.raster.whole or x.axes != (last,):
            return None
        source = self._flowing(x)
        node = reduce_of(op, self.streams[source])
        number = self._engine(
            node.engine, source, Stream(WHOLE, node.type), ups=node.ups, input_bits=node.input_bits,
            result_bits=node.result_bits, drops=node.drops,
        )  # fmt: skip
        return self._on_stream(number, x.shape[:-1], ())
