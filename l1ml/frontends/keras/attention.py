# SPDX-License-Identifier: Apache-2.0
"""MultiHeadAttention, written with products of tensors and a softmax."""

from __future__ import annotations

import math

import numpy as np

from l1ml.frontends.common import UnsupportedError
from l1ml.frontends.keras.step import Step
from l1ml.graph.functions import Scale
from l1ml.graph.model import Einsum, Einsum2, Layer, Map, Softmax


def multi_head_attention(step: Step) -> tuple[Layer, ...]:
    """Query, value and, where given, key over (positions, features); one axis of attention, no mask."""
    if len(step.inputs) not in (2, 3) or any(len(s) != 2 for s in step.shapes):
        raise UnsupportedError("inputs other than (positions, features) for query, value and key")
    if step.options.integers("attention_axes") not in (None, [1]):
        raise UnsupportedError("attention_axes; one axis of positions is supported")
    sizes = step.options.integers("output_shape") if step.options.raw("output_shape") is not None else None
    if sizes is not None and len(sizes) != 1:
        raise UnsupportedError("an output_shape of several sizes; one is supported")
    heads, width = step.options.integer("num_heads"), step.options.integer("key_dim")
    value_width = (
        step.options.integer("value_dim", width) if step.options.raw("value_dim") is not None else width
    )
    sources = {"query": 0, "key": 2 if len(step.inputs) == 3 else 1, "value": 1}
    bias = step.options.flag("use_bias", True)
    wanted: list[tuple[str, tuple[int | None, ...]]] = []
    for part in ("query", "key", "value"):
        size = value_width if part == "value" else width
        wanted.append((f"{part}/kernel", (step.shapes[sources[part]][1], heads, size)))
        wanted += [(f"{part}/bias", (heads, size))] if bias else []
    out = sizes[0] if sizes else step.shapes[0][1]
    wanted.append(("attention_output/kernel", (heads, value_width, out)))
    wanted += [("attention_output/bias", (out,))] if bias else []
    raw = {key: array.astype(np.float64) for key, array in step.weights(*wanted).items()}
    name = step.name
    layers: list[Layer] = []
    for part, source in sources.items():
        layers.append(
            Einsum(
                f"{name}.{part}", (step.inputs[source],), raw[f"{part}/kernel"], raw.get(f"{part}/bias"), "ta,ahd->thd",
                exact=False,
            )
        )  # fmt: skip
    layers += [
        Map(f"{name}.scaled", (f"{name}.query",), (Scale(np.asarray(1 / math.sqrt(width), np.float32)),)),
        Einsum2(f"{name}.scores", (f"{name}.scaled", f"{name}.key"), "thd,shd->hts"),
        Softmax(f"{name}.softmax", (f"{name}.scores",), -1),
        Einsum2(f"{name}.mixed", (f"{name}.softmax", f"{name}.value"), "hts,shd->thd"),
        Einsum(
            name, (f"{name}.mixed",), raw["attention_output/kernel"], raw.get("attention_output/bias"), "thd,hdo->to",
            exact=False,
        ),
    ]  # fmt: skip
    return tuple(layers)
