# SPDX-License-Identifier: Apache-2.0
"""Layers of a float model written with sums, products and constants that have exact integer forms."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from l1ml.graph import real
from l1ml.graph.functions import Offset
from l1ml.graph.layers.base import Layer, Weighted
from l1ml.graph.model import Affine, GlobalPool, LayerNorm, Map, Merge, Pool, Quantize, Reduce, Reshape
from l1ml.graph.named import Named
from l1ml.graph.precision.pieces import Pieces, Step
from l1ml.types.arrays import RealArray
from l1ml.types.fixed import Quantizer


def affine_steps(layer: Affine) -> tuple[Step, ...]:
    """Return a normalization as linear pieces."""
    scale, offset = (np.asarray(a, dtype=np.float64) for a in (layer.scale, layer.offset))
    steps: list[Step] = [] if bool((scale == 1).all()) else [("mul", scale)]
    steps += [("add", offset)] if offset.any() else []
    return tuple(steps)


def per_channel(
    layer: Affine, shape: tuple[int, ...], source: tuple[int, ...]
) -> tuple[RealArray, RealArray] | None:
    """Return factor and offset of a normalization per channel of a tensor that it reads, None if they differ elsewhere.

    Args:
        layer: the normalization.
        shape: of its result.
        source: shape of the tensor, whose elements reach the normalization in their order.
    """
    found = []
    for values in (layer.scale, layer.offset):
        full = np.broadcast_to(np.asarray(values, dtype=np.float64), shape).reshape(-1, source[-1])
        if not bool((full == full[:1]).all()):
            return None
        found.append(full[0])
    return found[0], found[1]


def folded(layer: Weighted, scale: RealArray, offset: RealArray) -> Weighted:
    """Return a linear layer with a normalization behind it in its weights."""
    bias = np.zeros(scale.shape) if layer.bias is None else layer.bias
    return replace(layer, kernel=layer.kernel * scale, bias=bias * scale + offset)


def mean(
    layer: Layer, inputs: list[tuple[int, ...]], result: tuple[int, ...]
) -> tuple[Layer, tuple[Step, ...]]:
    """Return the sum under a mean, and its division as linear pieces."""
    name = f"{layer.name}.sum"
    factor: RealArray
    match layer:
        case Pool():
            total: Layer = replace(layer, name=name, kind="sum")
            ones = replace(layer, kind="sum").emit(
                real.RealNet(1), np.ones((1, *inputs[0]), dtype=np.float32)
            )[0]
            taps = float(np.prod(layer.size))
            factor = 1.0 / (np.asarray(taps) if layer.count_padding else ones.astype(np.float64))
            factor = factor.reshape(-1)[0] if bool((factor == factor.reshape(-1)[0]).all()) else factor
        case GlobalPool() | Reduce():
            total = replace(layer, name=name, kind="sum")
            factor = np.asarray(np.prod(result, dtype=np.float64) / np.prod(inputs[0], dtype=np.float64))
        case _:
            assert isinstance(layer, Merge)
            total = replace(layer, name=name, kind="add")
            factor = np.asarray(1.0 / len(inputs))
    return total, (("mul", np.asarray(factor)),)


def layer_norm(layer: LayerNorm, shape: tuple[int, ...], kind: Quantizer) -> list[Layer]:
    """Return a normalization over trailing axes as steps of their own.

    With n elements, ``n * x - sum(x)`` is n times the centred value, so that the mean itself is never rounded.

    Args:
        layer: the layer.
        shape: of its input.
        kind: the marker behind each step that gets a type (its name ends in the key of the type).
    """
    own, (source,) = layer.name, layer.inputs
    lead, rest = shape[: len(shape) - layer.axes], shape[len(shape) - layer.axes :]
    n = int(np.prod(rest, dtype=np.int64))
    last = (len(lead),)
    made: list[Layer] = [Reshape(f"{own}.flat", (source,), (*lead, n))]

    def typed(key: str, step: Layer) -> str:
        made.extend(
            [
                replace(step, name=f"{own}.{key}.exact"),
                Quantize(f"{own}.{key}", (f"{own}.{key}.exact",), kind, True),
            ]
        )
        return f"{own}.{key}"

    def plain(step: Layer) -> str:
        made.append(step)
        return step.name

    total = plain(Reduce(f"{own}.total", (f"{own}.flat",), "sum", last, keepdims=True))
    times = plain(Pieces(f"{own}.times", (f"{own}.flat",), (("mul", np.asarray(float(n))),)))
    shifted = plain(Merge(f"{own}.shifted", (times, total), "sub"))
    centred = typed("centred", Pieces("", (shifted,), (("mul", np.asarray(1.0 / n)),)))
    squares = plain(Merge(f"{own}.squares", (centred, centred), "mul"))
    power = plain(Reduce(f"{own}.power", (squares,), "sum", last, keepdims=True))
    variance = typed("variance", Pieces("", (power,), (("mul", np.asarray(1.0 / n)),)))
    root = typed(
        "table",
        Map("", (variance,), (Offset(np.asarray(layer.epsilon, dtype=np.float32)), Named("rsqrt")), "rsqrt"),
    )
    normalized = typed("normalized", Merge("", (centred, root), "mul"))
    steps: list[Step] = []
    for step, values in (("mul", layer.gamma), ("add", layer.beta)):
        if values is not None:
            steps.append((step, np.broadcast_to(np.asarray(values, np.float64), rest).reshape(n)))
    scaled = plain(Pieces(f"{own}.scaled", (normalized,), tuple(steps), "LayerNorm"))
    made.append(Reshape(own, (scaled,), shape))
    return made
