# SPDX-License-Identifier: Apache-2.0
"""HGQ2's functions by table: QUnaryFunctionLUT, QActivation, QSoftmax, and attention built with it."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np

from l1ml.frontends import qkeras
from l1ml.frontends.common import Options, UnsupportedError
from l1ml.frontends.hgq2 import layers as hgq
from l1ml.frontends.hgq2.quantizers import Parts
from l1ml.frontends.keras.step import Step
from l1ml.frontends.spelling import call
from l1ml.graph.functions import Offset, Scale
from l1ml.graph.model import Einsum, Einsum2, Layer, Map, Merge, QuantizeEach, Reduce
from l1ml.graph.named import Named


def unary(step: Step, parts: Parts, inputs: tuple[str, ...]) -> list[Layer]:
    """QUnaryFunctionLUT and QActivation: a function between the input's and the output's quantizer."""
    chosen = call(step.options.raw("activation"))
    if chosen is None or chosen.name == "linear":
        return hgq.nothing(step, parts, inputs)
    functions = list(qkeras.activation(chosen, source=step.file.source, keras=3))
    if step.kind == "QAffinedUnaryFunctionLUT":
        scale, bias = (float(a.reshape(-1)[0]) for a in parts.trained("", 2, "scale and bias"))
        functions = [Scale(np.asarray(scale, np.float32)), Offset(np.asarray(bias, np.float32)), *functions]
    return [Map(f"{step.name}.function", inputs, tuple(functions), chosen.name)]


def _typed(parts: Parts, name: str, source: str, place: str, conf: Any) -> QuantizeEach:
    return QuantizeEach(name, (source,), parts.quantizer(place, conf).grid(batch=True), f"hgq {place}")


def softmax_layers(
    parts: Parts, options: Options, name: str, source: str, place: str, axes: tuple[int, ...], scaler: float
) -> list[Layer]:
    """Return a softmax with HGQ2's two tables; its result is not quantized.

    Args:
        parts: stored arrays.
        options: configuration with the four quantizers of the tables.
        name: before the names of the layers.
        source: the layer it reads.
        place: where its variables are, ending in ``/`` or empty.
        axes: summed axes, without the batch axis.
        scaler: factor of the exponent.
    """
    layers: list[Layer] = []
    sign = 1.0
    if options.flag("stable", True):
        top = Reduce(f"{name}.max", (source,), "max", axes, keepdims=True)
        below = Merge(f"{name}.below", (top.name, source), "sub")
        layers += [top, below]
        layers.append(
            _typed(parts, f"{name}.exp_iq", below.name, f"{place}exp_table/iq", options.raw("exp_iq_conf"))
        )
        source, sign = layers[-1].name, -1.0
    exponent = (Scale(np.asarray(sign * scaler, dtype=np.float32)), Named("exp"))
    layers.append(Map(f"{name}.exp", (source,), exponent, "exp"))
    layers.append(
        _typed(parts, f"{name}.exp_oq", layers[-1].name, f"{place}exp_table/oq", options.raw("exp_oq_conf"))
    )
    exp = layers[-1].name
    total = Reduce(f"{name}.sum", (exp,), "sum", axes, keepdims=True)
    layers += [
        total,
        _typed(parts, f"{name}.inv_iq", total.name, f"{place}inv_table/iq", options.raw("inv_iq_conf")),
    ]
    inverse = (Offset(np.asarray(hgq.KERAS_EPSILON)), Named("reciprocal"))
    layers.append(Map(f"{name}.inv", (layers[-1].name,), inverse, "reciprocal"))
    layers.append(
        _typed(parts, f"{name}.inv_oq", layers[-1].name, f"{place}inv_table/oq", options.raw("inv_oq_conf"))
    )
    return [*layers, Merge(f"{name}.result", (exp, layers[-1].name), "mul")]


def softmax(step: Step, parts: Parts, inputs: tuple[str, ...]) -> list[Layer]:
    """QSoftmax."""
    axes = step.options.integers("axes") or step.options.integers("axis") or [-1]
    own = tuple(a - 1 if a > 0 else len(step.shape) + a for a in axes)
    scaler = float(step.options.number("input_scaler", 1.0) or 1.0)
    return softmax_layers(parts, step.options, step.name, inputs[0], "", own, scaler)


def attention(step: Step) -> tuple[Layer, ...]:
    """QMultiHeadAttention over (positions, features): projections, scores, softmax, mixture, projection."""
    options, parts = step.options, Parts(step)
    if options.raw("fuse") not in (None, "none") or options.raw("output_shape") is not None:
        raise UnsupportedError("fused projections, or an output_shape")
    if any(len(s) != 2 for s in step.shapes) or not 1 <= len(step.inputs) <= 3:
        raise UnsupportedError("inputs other than (positions, features) for query, value and key")
    sources = dict.fromkeys(("query", "value", "key"), step.inputs[0])
    sources.update(zip(("query", "value", "key"), step.inputs, strict=False))
    if len(step.inputs) == 2:
        sources["key"] = step.inputs[1]
    name = step.name
    layers: list[Layer] = []
    for part in ("query", "key", "value"):
        layers += _projection(
            step, parts, f"{part}_dense", sources[part], "ta,ahd->thd", f"{name}.{part}", output=True
        )
    scores = Einsum2(f"{name}.scores", (f"{name}.query", f"{name}.key"), "thd,shd->hts")
    layers.append(scores)
    # HGQ2 0.2 takes the scores as they are; files of earlier versions still hold a quantizer for them, unused.
    inner = {key.removeprefix("softmax_"): value for key, value in options.values.items()}
    inner["stable"] = options.raw("stable_softmax", True)
    width = options.integer("key_dim")
    table_options = Options(inner, step.owner, step.file.source)
    made = softmax_layers(
        parts,
        table_options,
        f"{name}.softmax",
        layers[-1].name,
        "_softmax/",
        (2,),
        1.0 / math.sqrt(float(width)),
    )
    layers += made
    source = made[-1].name
    if parts.arrays("_softmax/oq/quantizer"):
        layers.append(
            _typed(parts, f"{name}.softmax_oq", source, "_softmax/oq", options.raw("softmax_oq_conf"))
        )
        source = layers[-1].name
    mixed = Einsum2(f"{name}.mixed", (source, f"{name}.value"), "hts,shd->thd")
    layers.append(mixed)
    layers += _projection(
        step, parts, "output_dense", mixed.name, "thd,hdo->to", f"{name}.output", output=True
    )
    return tuple(hgq.finished(step, parts, layers))


def _projection(
    step: Step, parts: Parts, place: str, source: str, equation: str, name: str, *, output: bool
) -> list[Layer]:
    """Return a QEinsumDense inside of an attention layer; the last of its layers has ``name``."""
    options = step.options
    layers: list[Layer] = []
    if parts.arrays(f"{place}/iq/quantizer"):
        layers.append(_typed(parts, f"{name}.iq", source, f"{place}/iq", options.raw("qkvo_iq_conf")))
        source = layers[-1].name
    biased = bool(parts.arrays(f"{place}/bq/quantizer"))
    raw = parts.trained(place, 1 + biased, "kernel and bias")
    kernel = parts.quantizer(f"{place}/kq", options.raw("qkvo_kq_conf")).values(raw[0])
    bias = parts.quantizer(f"{place}/bq", options.raw("qkvo_bq_conf")).values(raw[1]) if biased else None
    linear = Einsum(f"{name}.linear", (source,), kernel, bias, equation, quantizers=(("kernel", "hgq kq"),))
    layers.append(linear)
    if output and parts.arrays(f"{place}/oq/quantizer"):
        layers.append(_typed(parts, f"{name}.oq", linear.name, f"{place}/oq", options.raw("qkvo_oq_conf")))
    return [*layers[:-1], replace(layers[-1], name=name)]
