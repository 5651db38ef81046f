# SPDX-License-Identifier: Apache-2.0
"""The second reading of the typed program: primitives become wires."""

from __future__ import annotations

from l1ml.dataflow.build import Builder, Element, Mark
from l1ml.dataflow.program import Dataflow
from l1ml.graph import primitives
from l1ml.graph.program import TensorProgram, TensorStep
from l1ml.lowering import elementwise, several
from l1ml.lowering.rules import Elements, Place, array, lower_op, spread
from l1ml.types.fixed import Overflow, Rounding

RULES = (elementwise, several)
"""Modules that enter rules into `lower_op` when they are imported."""


def lower(program: TensorProgram) -> Dataflow:
    """Return the wires of a whole network, fully parallel: one event per clock.

    Input wires are the elements of all inputs in order, C order within one.
    """
    return _Lowering(program).flow()


class _Lowering:
    def __init__(self, program: TensorProgram) -> None:
        self.program = program
        self.build = Builder(tuple(p.type.at(k) for p in program.inputs for k in range(p.type.size)))
        self.tensors: list[Elements] = []
        first = 0
        for port in program.inputs:
            elements = (Element(first + k, port.type.at(k).frac) for k in range(port.type.size))
            self.tensors.append(array(elements, port.type.shape))
            first += port.type.size
        self.readers = [0] * (len(program.inputs) + len(program.steps))
        for step in program.steps:
            for source in step.sources:
                self.readers[source] += 1
        for _, tensor in program.outputs:
            self.readers[tensor] += 1
        self.pending: dict[int, list[int]] = {}  # constants that the next layer adds
        self.moved: dict[int, list[bool]] = {}  # which of them

    def flow(self) -> Dataflow:
        program = self.program
        for tensor, step in program.numbered():
            layer = self.build.layer(step.layer)
            if isinstance(step.op, primitives.AddConst):
                following = self._quantizer_behind(tensor)
                if following is not None:
                    self.tensors.append(self._bias(tensor, step, following, layer))
                    continue
            if isinstance(step.op, primitives.Requantize) and step.sources[0] in self.moved:
                made = self._biased(step.sources[0], step, layer)
            else:
                made = self._made(step, layer)
            self.tensors.append(made)
        outputs = [e for _, t in program.outputs for e in self.tensors[t].flat]
        types = [program.type_of(t).at(k) for _, t in program.outputs for k in range(program.type_of(t).size)]
        marks = [
            Mark(
                self.build.layer(name),
                list(self.tensors[t].flat),
                [program.type_of(t).at(k) for k in range(program.type_of(t).size)],
                self.pending.get(t),
            )
            for name, t in program.marks
        ]
        return self.build.finish(outputs, types, marks)

    def _made(self, step: TensorStep, layer: int) -> Elements:
        """Lower a primitive; its own proof of the ranges counts, too."""
        xs = [self.tensors[s] for s in step.sources]
        return self._within(lower_op(step.op, self._place(step, layer), *xs), step, layer)

    def _within(self, made: Elements, step: TensorStep, layer: int) -> Elements:
        kinds = (step.type.at(k) for k in range(step.type.size))
        return array(
            (self.build.within(e, kind, layer) for e, kind in zip(made.flat, kinds, strict=True)), made.shape
        )

    def _place(self, step: TensorStep, layer: int) -> Place:
        types = tuple(self.program.type_of(s) for s in step.sources)
        return Place(self.build, layer, types, step.type)

    def _quantizer_behind(self, tensor: int) -> primitives.Requantize | None:
        """Return the quantizer that alone reads a sum, right behind it."""
        steps, at = self.program.steps, tensor + 1 - len(self.program.inputs)
        if self.readers[tensor] != 1 or at >= len(steps) or steps[at].sources != (tensor,):
            return None
        op = steps[at].op
        return op if isinstance(op, primitives.Requantize) else None

    def _bias(self, tensor: int, step: TensorStep, quantize: primitives.Requantize, layer: int) -> Elements:
        """Return the sums, without the constants that the quantizer behind adds: one carry chain does both.

        ``round(x + n) == round(x) + n`` for integers n; round-half-even needs n even, or `Requantize` to know
        the parity: only even ones are moved.  Of the elements of one grid all are moved, or none.
        """
        assert isinstance(step.op, primitives.AddConst)
        x = self.tensors[step.sources[0]]
        constants, grids = spread(step.op.constant, x.shape), spread(quantize.frac, x.shape)
        movable = [
            _on_grid(n, step.op.frac - grid, quantize) for n, grid in zip(constants, grids, strict=True)
        ]
        whole = dict.fromkeys(grids, True)
        for grid, free in zip(grids, movable, strict=True):
            whole[grid] &= free
        moved = [whole[grid] for grid in grids]
        if not any(moved):
            return self._made(step, layer)
        place = self._place(step, layer)
        frac = step.type.frac.ravel().tolist()
        self.moved[tensor] = moved
        self.pending[tensor] = [
            n << (own - step.op.frac) if free else 0
            for n, own, free in zip(constants, frac, moved, strict=True)
        ]
        out = (
            element if free else elementwise.add_constant(place, element, n, step.op.frac)
            for element, n, free in zip(x.flat, constants, moved, strict=True)
        )
        return array(out, x.shape)

    def _biased(self, tensor: int, step: TensorStep, layer: int) -> Elements:
        """Return the quantized sums whose constants were left to the rounding."""
        op, x = step.op, self.tensors[tensor]
        assert isinstance(op, primitives.Requantize)
        sums = self.program.steps[tensor - len(self.program.inputs)].op
        assert isinstance(sums, primitives.AddConst)
        constants = spread(sums.constant, x.shape)
        bounds = [spread(values, x.shape) for values in (op.lo, op.hi, op.frac)]
        place, build = self._place(step, layer), self.build
        offsets = [
            _moved(n, sums.frac - grid) if free else 0
            for n, grid, free in zip(constants, bounds[2], self.moved[tensor], strict=True)
        ]
        rounded = [
            elementwise.round_to(build, e, grid, op.rounding, layer, n)
            for e, grid, n in zip(x.flat, bounds[2], offsets, strict=True)
        ]
        out = (
            elementwise.overflow(op.overflow, place, elementwise.on_grid(build, e, grid, layer), lo, hi)
            for e, lo, hi, grid in zip(rounded, *bounds, strict=True)
        )
        return self._within(array(out, x.shape), step, layer)


def _on_grid(constant: int, drop: int, quantize: primitives.Requantize) -> bool:
    """Tell whether a constant, ``drop`` bits finer than the quantizer's grid, may be added after rounding."""
    if quantize.overflow not in (Overflow.SAT, Overflow.SAT_SYM):
        return False
    if drop > 0 and constant & ((1 << drop) - 1):
        return False
    offset = _moved(constant, drop)
    if quantize.rounding is Rounding.RND_CONV:
        return not offset & 1
    # These look at the sign of the sum.
    signs = (Rounding.TRN_ZERO, Rounding.RND_ZERO, Rounding.RND_INF)
    return not offset or quantize.rounding not in signs


def _moved(constant: int, drop: int) -> int:
    return constant >> drop if drop > 0 else constant << -drop
