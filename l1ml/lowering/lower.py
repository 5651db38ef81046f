# SPDX-License-Identifier: Apache-2.0
"""The second reading of the typed program: primitives become wires."""

from __future__ import annotations

from dataclasses import replace
from functools import singledispatch

import numpy as np

from l1ml.dataflow.build import Builder, Element, Mark
from l1ml.dataflow.op import Floor, Wrap
from l1ml.dataflow.program import Dataflow
from l1ml.errors import ModelError
from l1ml.graph import primitives
from l1ml.graph.program import TensorProgram
from l1ml.graph.tensor import TensorType
from l1ml.lowering import constmult
from l1ml.types.fixed import Overflow, Rounding


def lower(program: TensorProgram) -> Dataflow:
    """Return the wires of a whole network, fully parallel: one event per clock.

    Input wires are the elements of all inputs in order, C order within one.
    """
    kinds = [port.type.at(k) for port in program.inputs for k in range(port.type.size)]
    build = Builder(tuple(kinds))
    tensors: list[list[Element]] = []
    first = 0
    for port in program.inputs:
        tensors.append([Element(first + k, port.type.at(k).frac) for k in range(port.type.size)])
        first += port.type.size
    readers = [
        sum(s.source == t for s in program.steps) for t in range(len(program.inputs) + len(program.steps))
    ]
    observed = {tensor for _, tensor in program.outputs}
    skip: set[int] = set()
    pending: dict[int, list[int]] = {}  # constants that the next layer adds
    for tensor, step in program.numbered():
        if tensor in skip:
            continue
        layer = build.layer(step.layer)
        following = program.steps[tensor + 1 - len(program.inputs)] if tensor + 1 < len(readers) else None
        joined = None
        if (
            isinstance(step.op, primitives.AddConst)
            and following is not None
            and isinstance(following.op, primitives.Requantize)
            and following.source == tensor
            and readers[tensor] == 1
            and tensor not in observed
        ):
            after = build.layer(following.layer)
            source = tensors[step.source]
            joined = _add_and_requantize(
                step.op, following.op, build, source, program.type_of(step.source), after
            )
            pending[tensor] = _on_grid_of(program.type_of(tensor), step.op)
        if joined is None:
            pending.pop(tensor, None)
        else:
            tensors += [tensors[step.source], joined]  # the sum itself is never made
            skip.add(tensor + 1)
            continue
        tensors.append(_lower(step.op, build, tensors[step.source], program.type_of(step.source), layer))
    outputs = [e for _, t in program.outputs for e in tensors[t]]
    types = [program.type_of(t).at(k) for _, t in program.outputs for k in range(program.type_of(t).size)]
    marks = [
        Mark(
            build.layer(name),
            tensors[t],
            [program.type_of(t).at(k) for k in range(program.type_of(t).size)],
            pending.get(t),
        )
        for name, t in program.marks
    ]
    return build.finish(outputs, types, marks)


def _on_grid_of(kind: TensorType, op: primitives.AddConst) -> list[int]:
    """Return the constants of a sum in LSBs of its result."""
    constants = np.broadcast_to(op.constant, kind.shape) << (kind.frac - op.frac)
    return [int(n) for n in constants.ravel()]


def _add_and_requantize(
    bias: primitives.AddConst,
    quantize: primitives.Requantize,
    build: Builder,
    x: list[Element],
    kind: TensorType,
    layer: int,
) -> list[Element] | None:
    """Move a bias that lies on the quantizer's grid behind the rounding: one carry chain does both.

    ``round(x + n) == round(x) + n`` for integers n; round-half-even needs n even, or `Requantize` to know
    the parity: only even ones are moved.
    """
    into = quantize.into
    if into.overflow not in (Overflow.SAT, Overflow.SAT_SYM) or len(kind.shape) != 1:
        return None
    down = bias.frac - into.type.frac
    constant = np.broadcast_to(bias.constant, kind.shape)
    offset = constant >> down if down >= 0 else constant << -down
    if down > 0 and not np.array_equal(offset << down, constant):
        return None
    if into.rounding is Rounding.RND_CONV and bool((offset & 1).any()):
        return None
    if into.rounding in (Rounding.TRN_ZERO, Rounding.RND_ZERO, Rounding.RND_INF) and bool(offset.any()):
        return None  # these look at the sign of the sum
    frac, lo, hi = into.type.frac, into.lo, into.type.hi
    rounded = [build.round(e, frac, into.rounding, layer, int(n)) for e, n in zip(x, offset, strict=True)]
    return [build.clip(_on_grid(build, e, frac, layer), lo, hi, layer) for e in rounded]


def _on_grid(build: Builder, element: Element, frac: int, layer: int) -> Element:
    """Return the element with exactly ``frac`` fraction bits (a sum may have kept a coarser grid)."""
    element = build.positive(element, layer)
    if element.frac == frac:
        return element
    return Element(build.add(Floor(element.frac - frac), (element.wire,), layer, frac), frac)


@singledispatch
def _lower(
    op: primitives.Primitive, build: Builder, x: list[Element], kind: TensorType, layer: int
) -> list[Element]:
    raise AssertionError(f"{type(op).__name__} has no lowering")


@_lower.register
def _matmul(
    op: primitives.ConstMatmul, build: Builder, x: list[Element], kind: TensorType, layer: int
) -> list[Element]:
    n_in = op.matrix.shape[0]
    out: list[Element] = []
    for first in range(0, len(x), n_in):
        out += constmult.emit(build, x[first : first + n_in], op.matrix, op.frac, layer)
    return out


@_lower.register
def _add_const(
    op: primitives.AddConst, build: Builder, x: list[Element], kind: TensorType, layer: int
) -> list[Element]:
    constants = np.broadcast_to(op.constant, kind.shape).ravel()
    return [
        build.sum(e, build.constant(int(n), op.frac, layer), layer) if n else e
        for e, n in zip(x, constants, strict=True)
    ]


@_lower.register
def _quantize(
    op: primitives.Requantize, build: Builder, x: list[Element], kind: TensorType, layer: int
) -> list[Element]:
    into, frac = op.into, op.into.type.frac
    out = []
    for element in x:
        rounded = _on_grid(build, build.round(element, frac, into.rounding, layer), frac, layer)
        raw = build.kind(rounded)
        if into.overflow in (Overflow.SAT, Overflow.SAT_SYM) or (
            into.type.lo <= raw.lo and raw.hi <= into.type.hi
        ):
            out.append(build.clip(rounded, into.lo, into.type.hi, layer))
        elif into.overflow is Overflow.WRAP:
            wire = build.add(Wrap(into.type.width, into.type.signed), (rounded.wire,), layer, frac)
            out.append(Element(wire, frac))
        else:
            raise ModelError(
                f"a tensor overflows {into}: SAT_ZERO is not built in hardware",
                fix="use SAT, SAT_SYM or WRAP, or a wider type",
            )
    return out


@_lower.register
def _relu(
    op: primitives.Relu, build: Builder, x: list[Element], kind: TensorType, layer: int
) -> list[Element]:
    return [build.clip(element, 0, max(build.kind(element).hi, 0), layer) for element in x]


@_lower.register
def _rescale(
    op: primitives.Rescale, build: Builder, x: list[Element], kind: TensorType, layer: int
) -> list[Element]:
    out = []
    grid = kind.max_frac
    channels = len(op.multiplier)
    for number, element in enumerate(x):
        c = number % channels
        # In integers of the common grid: the product keeps that grid's LSB as unit.
        unit = replace(element, frac=element.frac - grid)
        (product,) = constmult.emit(build, [unit], np.array([[op.multiplier[c]]], dtype=np.int64), 0, layer)
        total = build.sum(product, build.constant(int(op.offset[c]), 0, layer), layer)
        floor = build.round(total, -int(op.shift[c]), Rounding.TRN, layer)
        clipped = build.clip(floor, op.lo, op.hi, layer)
        out.append(Element(clipped.wire, op.frac))
    return out


@_lower.register
def _steps(
    op: primitives.Steps, build: Builder, x: list[Element], kind: TensorType, layer: int
) -> list[Element]:
    out = []
    for number, element in enumerate(x):
        c = number % len(op.base)
        scale = kind.max_frac - element.frac
        bits = [build.at_least(element, -(-int(t) >> scale), layer) for t in op.thresholds[c]]
        while len(bits) > 1:  # a balanced tree: the shortest path
            pairs = [build.sum(a, b, layer) for a, b in zip(bits[::2], bits[1::2], strict=False)]
            bits = pairs + bits[len(pairs) * 2 :]
        (jump,) = constmult.emit(build, [bits[0]], np.array([[op.step[c]]], dtype=np.int64), 0, layer)
        total = build.sum(jump, build.constant(int(op.base[c]), 0, layer), layer)
        out.append(replace(total, frac=total.frac + op.frac))
    return out


@_lower.register
def _reshape(
    op: primitives.Reshape, build: Builder, x: list[Element], kind: TensorType, layer: int
) -> list[Element]:
    return x
