# SPDX-License-Identifier: Apache-2.0
"""HGQ2's layers without constants: merges, products of tensors, sums, pooling."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from l1ml.frontends.common import UnsupportedError
from l1ml.frontends.hgq2 import linear
from l1ml.frontends.hgq2.parts import Body, Parts
from l1ml.frontends.keras import shape as plain_shape
from l1ml.frontends.keras.step import Step
from l1ml.graph.functions import Scale
from l1ml.graph.model import Einsum2, Layer, Reduce


def plain(read: Callable[[Step], tuple[Layer, ...]]) -> Body:
    """Return the body of a layer that does what the Keras layer of the same name does."""

    def body(parts: Parts, inputs: tuple[str, ...]) -> str:
        step = parts.step
        kind = step.kind.removeprefix("Q")
        own = tuple(parts.shape(name) for name in inputs)
        for layer in read(replace(step, name=parts.name("result"), kind=kind, inputs=inputs, shapes=own)):
            result = parts.add(layer)
        return result

    return body


def average_pow2(parts: Parts, inputs: tuple[str, ...]) -> str:
    """QAveragePow2: the sum times the nearest power of two."""
    total = plain(plain_shape.merge("add"))(parts, inputs)
    return _scaled(parts, total, 2.0 ** round(math.log2(1.0 / len(inputs))))


def _scaled(parts: Parts, source: str, factor: float) -> str:
    if factor == 1.0:
        return source
    return parts.map("scaled", source, Scale(np.asarray(factor, dtype=np.float32)), text="scale")


def own_axes(parts: Parts, axes: list[int], rank: int) -> tuple[int, ...]:
    """Return axes without the event axis, from 0.

    Raises:
        UnsupportedError: the event axis is among them.
    """
    own = tuple(a - 1 if a > 0 else rank + a for a in axes)
    if not own or any(a == 0 for a in axes) or not all(0 <= a < rank for a in own):
        raise UnsupportedError(f"axes {axes}; axes of the data other than the events are supported")
    return own


def summed(mean: bool) -> Body:
    """Return the body of QSum or QMeanPow2."""

    def body(parts: Parts, inputs: tuple[str, ...]) -> str:
        (source,) = inputs
        shape = parts.shape(source)
        own = own_axes(parts, parts.options.integers("axes") or [-1], len(shape))
        factor = float(parts.options.number("scale", 1.0) or 1.0)
        if mean:
            factor = 2.0 ** round(math.log2(1.0 / math.prod(shape[a] for a in own)))
        keep = parts.options.flag("keepdims", False)
        total = parts.add(Reduce(parts.name("sum"), inputs, "sum", own, keep))
        return _scaled(parts, total, factor)

    return body


def einsum(parts: Parts, inputs: tuple[str, ...]) -> str:
    """QEinsum of two or more tensors, two at a time from the left."""
    equation = linear.equation_of(parts)
    left, _, right = equation.partition("->")
    operands = left.split(",")
    batch = right[:1]
    if len(operands) != len(inputs) or not batch.isalpha() or any(o[:1] != batch for o in operands):
        raise UnsupportedError(f"equation {equation!r}; every operand needs the event axis first")
    operands, right = [o[1:] for o in operands], right[1:]
    if any(batch in o for o in (*operands, right)):
        raise UnsupportedError(f"equation {equation!r}: the event axis twice")
    if len(operands) == 1:
        raise UnsupportedError(f"equation {equation!r} of one tensor")
    name, axes = inputs[0], operands[0]
    for number, (source, own) in enumerate(zip(inputs[1:], operands[1:], strict=True), start=1):
        last = number == len(operands) - 1
        later = right + "".join(operands[number + 1 :])
        kept = right if last else "".join(dict.fromkeys(c for c in axes + own if c in later))
        part = "einsum" if last else f"einsum.{number}"
        name = parts.add(Einsum2(parts.name(part), (name, source), f"{axes},{own}->{kept}"))
        axes = kept
    return name
