# SPDX-License-Identifier: Apache-2.0
"""HGQ2's dense, convolutional, merging, pooling and summing layers."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from l1ml.frontends import qkeras
from l1ml.frontends.canonical import Identity
from l1ml.frontends.common import UnsupportedError
from l1ml.frontends.hgq2.quantizers import Parts
from l1ml.frontends.keras import conv as plain_conv
from l1ml.frontends.keras import shape as plain_shape
from l1ml.frontends.keras.core import without_batch
from l1ml.frontends.keras.step import Reader, Step
from l1ml.frontends.spelling import call
from l1ml.graph.functions import Scale
from l1ml.graph.model import Conv, Dense, Einsum, Einsum2, Layer, Map, QuantizeEach, Reduce, Relu

KERAS_EPSILON = np.float32(1e-7)

Body = Callable[[Step, Parts, tuple[str, ...]], list[Layer]]


def around(body: Body) -> Reader:
    """Return a reader that puts the input and output quantizers of the layer around ``body``."""

    def read(step: Step) -> tuple[Layer, ...]:
        parts = Parts(step)
        layers: list[Layer] = []
        inputs = step.inputs
        if step.options.flag("enable_iq", True):
            layers += quantized_inputs(step, parts)
            inputs = tuple(layer.name for layer in layers)
        made = body(step, parts, inputs)
        layers += made
        return tuple(finished(step, parts, layers))

    return read


def quantized_inputs(step: Step, parts: Parts) -> list[Layer]:
    """Return one quantizer per input."""
    single = step.options.raw("iq_conf")
    if single is not None:
        grid = parts.quantizer("iq", single).grid(batch=True)
        return [QuantizeEach(f"{step.name}.iq", (step.input,), grid, "hgq iq")]
    confs = step.options.raw("iq_confs")
    confs = confs if isinstance(confs, list) else [confs] * len(step.inputs)
    if len(confs) != len(step.inputs):
        raise step.error(f"has {len(confs)} input quantizers for {len(step.inputs)} inputs")
    layers: list[Layer] = []
    for number, (source, conf) in enumerate(zip(step.inputs, confs, strict=True)):
        place = f"iq/quantizers/quantizer{f'_{number}' if number else ''}"
        grid = parts.quantizer(place, conf).grid(batch=True)
        layers.append(QuantizeEach(f"{step.name}.iq{number}", (source,), grid, "hgq iq"))
    return layers


def finished(step: Step, parts: Parts, layers: list[Layer]) -> list[Layer]:
    """Put the output quantizer behind, where there is one, and give the last layer the step's name."""
    if step.options.flag("enable_oq", False):
        grid = parts.quantizer("oq", step.options.raw("oq_conf")).grid(batch=True)
        source = layers[-1].name if layers else step.input
        layers.append(QuantizeEach(f"{step.name}.oq", (source,), grid, "hgq oq"))
    if not layers:
        return [Identity(step.name, step.inputs)]
    return [*layers[:-1], replace(layers[-1], name=step.name)]


def activated(step: Step, linear: Layer) -> list[Layer]:
    """Put the activation of a layer behind it."""
    chosen = call(step.options.raw("activation"))
    if chosen is None or chosen.name == "linear":
        return [linear]
    if chosen.name == "relu" and not chosen.options:
        return [linear, Relu(f"{step.name}.relu", (linear.name,))]
    functions = qkeras.activation(chosen, source=step.file.source, keras=3)
    return [linear, Map(f"{step.name}.activation", (linear.name,), functions, chosen.name)]


def _kernel(step: Step, parts: Parts, key: str, raw: np.ndarray, place: str = "") -> np.ndarray:
    head = f"{place}/" if place else ""
    return parts.quantizer(f"{head}{key}", step.options.raw(f"{key}_conf")).values(raw)


_TEXT = (("kernel", "hgq kq"), ("bias", "hgq bq"))


def dense(step: Step, parts: Parts, inputs: tuple[str, ...]) -> list[Layer]:
    """QDense."""
    biased = step.options.flag("use_bias", True)
    raw = parts.trained("", 1 + biased, "kernel and bias" if biased else "a kernel")
    bias = _kernel(step, parts, "bq", raw[1]) if biased else None
    return activated(
        step, Dense(f"{step.name}.linear", inputs, _kernel(step, parts, "kq", raw[0]), bias, quantizers=_TEXT)
    )


def batch_norm_dense(step: Step, parts: Parts, inputs: tuple[str, ...]) -> list[Layer]:
    """QBatchNormDense: normalizes what comes in; HGQ takes the mean through the kernel without the scale."""
    scaled = step.options.flag("scale", True)
    raw = parts.trained("", 4 + scaled, "kernel, bias, gamma, mean and variance")
    kernel, bias = raw[0], raw[1]
    gamma = raw[2] if scaled else np.float32(1)
    mean, variance = raw[-2], raw[-1]
    scaler = (gamma / np.sqrt(variance + np.float32(step.options.number("epsilon", 1e-3) or 0.0))).astype(
        np.float32
    )
    fused = (scaler[:, None] * kernel).astype(np.float32)
    offset = (bias - (mean @ kernel).astype(np.float32)).astype(np.float32)
    layer = Dense(
        f"{step.name}.linear", inputs, _kernel(step, parts, "kq", fused), _kernel(step, parts, "bq", offset),
        quantizers=_TEXT,
    )  # fmt: skip
    return activated(step, layer)


def einsum_dense(step: Step, parts: Parts, inputs: tuple[str, ...]) -> list[Layer]:
    """QEinsumDense."""
    axes = step.options.raw("bias_axes")
    raw = parts.trained("", 2 if axes else 1, "kernel and bias")
    kernel = _kernel(step, parts, "kq", raw[0])
    bias = _kernel(step, parts, "bq", raw[1]) if axes else None
    return activated(
        step, einsum(step, inputs, str(step.options.raw("equation")), kernel, bias, f"{step.name}.linear")
    )


def einsum(
    step: Step, inputs: tuple[str, ...], equation: str, kernel: np.ndarray, bias: np.ndarray | None, name: str
) -> Einsum:
    """Return an Einsum; Keras keeps a bias in the shape of the result's axes after the first that it has."""
    plain = without_batch(equation, len(step.shapes[0]))
    if bias is not None:
        rank = len(plain.partition("->")[2])
        bias = bias.reshape((1,) * (rank - bias.ndim) + bias.shape)
    return Einsum(name, inputs, kernel, bias, plain, quantizers=_TEXT)


def einsum_dense_batchnorm(step: Step, parts: Parts, inputs: tuple[str, ...]) -> list[Layer]:
    """QEinsumDenseBatchnorm: folded, then quantized; its epsilon is Keras' own."""
    equation = str(step.options.raw("equation"))
    normalized = step.options.raw("normalize_axes") or step.options.raw("bias_axes")
    scaled = step.options.flag("scale", True)
    raw = parts.trained("", 4 + scaled, "kernel, bias, gamma, mean and variance")
    kernel, bias, mean, variance = raw[0], raw[1], raw[-2], raw[-1]
    gamma = raw[2] if scaled else np.float32(1)
    scaler = (gamma / np.sqrt(variance + KERAS_EPSILON)).astype(np.float32)
    kernel_axes = equation.replace(" ", "").split(",")[1].split("->")[0]
    axes = [c for c in kernel_axes if c in str(normalized)]
    if len(axes) != scaler.ndim:
        raise UnsupportedError(f"normalize_axes {normalized!r} with statistics of shape {scaler.shape}")
    shape = [scaler.shape[axes.index(c)] if c in axes else 1 for c in kernel_axes]
    fused = (kernel * scaler.reshape(shape)).astype(np.float32)
    offset = (-mean * scaler).astype(np.float32)
    if bias.size != offset.size:
        raise UnsupportedError("bias_axes other than normalize_axes")
    total = (bias + offset.reshape(bias.shape)).astype(np.float32)
    layer = einsum(
        step, inputs, equation, _kernel(step, parts, "kq", fused), _kernel(step, parts, "bq", total),
        f"{step.name}.linear",
    )  # fmt: skip
    return activated(step, layer)


def conv(rank: int) -> Body:
    """Return the body of QConv1D, 2D or 3D."""

    def body(step: Step, parts: Parts, inputs: tuple[str, ...]) -> list[Layer]:
        plain_conv.channels_last(step)
        biased = step.options.flag("use_bias", True)
        raw = parts.trained("", 1 + biased, "kernel and bias")
        strides, dilation = (
            plain_conv.sizes(step, "strides", rank),
            plain_conv.sizes(step, "dilation_rate", rank),
        )
        pairs = plain_conv.padding(step, raw[0].shape[:-2], strides, dilation)
        layer = Conv(
            f"{step.name}.linear", inputs, _kernel(step, parts, "kq", raw[0]),
            _kernel(step, parts, "bq", raw[1]) if biased else None, strides, pairs, dilation,
            step.options.integer("groups", 1), quantizers=_TEXT,
        )  # fmt: skip
        return activated(step, layer)

    return body


def batch_normalization(step: Step, parts: Parts, inputs: tuple[str, ...]) -> list[Layer]:
    """QBatchNormalization: a quantized scale and offset; without a center HGQ takes 1, not 0."""
    if (step.options.integers("axis") or [-1]) not in ([-1], [len(step.shape)]):
        raise UnsupportedError("an axis other than the last")
    scaled, centred = step.options.flag("scale", True), step.options.flag("center", True)
    raw = parts.trained("", 2 + scaled + centred, "gamma, beta, mean and variance")
    mean, variance = raw[-2], raw[-1]
    gamma = raw[0] if scaled else np.float32(1)
    beta = raw[int(scaled)] if centred else np.float32(1)
    scale = (gamma / np.sqrt(variance + np.float32(step.options.number("epsilon", 1e-3) or 0.0))).astype(
        np.float32
    )
    offset = (beta - mean * scale).astype(np.float32)
    factor, constant = _kernel(step, parts, "kq", scale), _kernel(step, parts, "bq", offset)
    # A product per channel, written as a depthwise convolution of size 1, exact in integers.
    channels = step.shape[-1]
    kernel = np.diag(factor.reshape(-1))
    return [Dense(f"{step.name}.linear", inputs, kernel, constant.reshape(channels), quantizers=_TEXT)]


def plain(reader: Callable[[Step], tuple[Layer, ...]]) -> Body:
    """Return the body of a layer that does what the Keras layer of the same name does."""

    def body(step: Step, parts: Parts, inputs: tuple[str, ...]) -> list[Layer]:
        kind = step.kind.removeprefix("Q")
        return list(reader(replace(step, name=f"{step.name}.result", kind=kind, inputs=inputs)))

    return body


def average_pow2(step: Step, parts: Parts, inputs: tuple[str, ...]) -> list[Layer]:
    """QAveragePow2: the sum times the nearest power of two."""
    total = plain_shape.merge("add")(replace(step, name=f"{step.name}.sum", inputs=inputs))
    return [*total, _scaled(step, total[-1].name, 2.0 ** round(math.log2(1 / len(inputs))))]


def _scaled(step: Step, source: str, factor: float) -> Layer:
    return Map(f"{step.name}.scaled", (source,), (Scale(np.asarray(factor, dtype=np.float32)),), "scale")


def summed(mean: bool) -> Body:
    """Return the body of QSum or QMeanPow2."""

    def body(step: Step, parts: Parts, inputs: tuple[str, ...]) -> list[Layer]:
        axes = step.options.integers("axes") or [-1]
        own = tuple(a - 1 if a > 0 else len(step.shape) + a for a in axes)
        if min(own) < 0:
            raise UnsupportedError("a sum over the events")
        factor = float(step.options.number("scale", 1.0) or 1.0)
        if mean:
            factor = 2.0 ** round(math.log2(1.0 / math.prod(step.shape[a] for a in own)))
        total = Reduce(f"{step.name}.sum", inputs, "sum", own, step.options.flag("keepdims", False))
        return [total] if factor == 1.0 else [total, _scaled(step, total.name, factor)]

    return body


def einsum_of_two(step: Step, parts: Parts, inputs: tuple[str, ...]) -> list[Layer]:
    """QEinsum of two tensors."""
    equation = str(step.options.raw("equation")).replace(" ", "")
    left, _, right = equation.partition("->")
    operands = left.split(",")
    batch = right[:1]
    if len(operands) != 2 or len(inputs) != 2 or not batch.isalpha() or any(o[:1] != batch for o in operands):
        raise UnsupportedError(f"equation {equation[:60]!r}; two operands with the batch first are supported")
    return [Einsum2(f"{step.name}.einsum", inputs, f"{operands[0][1:]},{operands[1][1:]}->{right[1:]}")]


def nothing(step: Step, parts: Parts, inputs: tuple[str, ...]) -> list[Layer]:
    """Only quantize."""
    return [] if inputs != step.inputs else [Identity(f"{step.name}.same", inputs)]


def quantizer(step: Step) -> tuple[Layer, ...]:
    """Quantizer as a layer of its own."""
    conf = step.options.raw("config")
    grid = Parts(step).quantizer("", conf).grid(batch=True)
    return (QuantizeEach(step.name, (step.input,), grid, "hgq quantizer"),)
