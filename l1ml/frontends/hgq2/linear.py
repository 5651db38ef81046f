# SPDX-License-Identifier: Apache-2.0
"""HGQ2's layers with a trained kernel: dense, einsum and convolutions."""

from __future__ import annotations

from dataclasses import replace

from l1ml.frontends.common import UnsupportedError, spreads
from l1ml.frontends.hgq2.parts import Body, Parts
from l1ml.frontends.keras import conv as plain
from l1ml.frontends.keras.core import without_batch
from l1ml.graph import shapes
from l1ml.graph.model import Conv, Dense, Einsum
from l1ml.types.arrays import RealArray

MAX_EQUATION = 60


def dense(parts: Parts, inputs: tuple[str, ...]) -> str:
    """QDense."""
    (source,) = inputs
    options = parts.options
    biased = [("bias", (None,))] if options.flag("use_bias", True) else []
    raw = parts.weights("", ("kernel", (parts.shape(source)[-1], None)), *biased)
    if biased and raw["bias"].shape != raw["kernel"].shape[1:]:
        raise parts.step.error(f"stores a bias of {raw['bias'].shape} for a kernel of {raw['kernel'].shape}")
    kernel = parts.constant("kq", options.raw("kq_conf"), raw["kernel"], "kernel")
    bias = parts.constant("bq", options.raw("bq_conf"), raw["bias"], "bias") if biased else None
    layer = Dense(parts.name("linear"), (source,), kernel, bias, quantizers=tuple(parts.texts))
    return parts.activate(parts.add(layer))


def equation_of(parts: Parts) -> str:
    """Return the equation of an einsum."""
    equation = parts.options.raw("equation")
    if not isinstance(equation, str) or len(equation) > MAX_EQUATION:
        raise parts.options.wrong("equation", "a short text")
    return equation.replace(" ", "")


def bias_rank(result: str, bias_axes: str) -> int:
    """Return how many axes a bias is stored with: from the first of its own to the last of the result.

    Example:
        >>> bias_rank("bcd", "d"), bias_rank("bcd", "bd")
        (1, 3)
    """
    places = [result.find(c) for c in bias_axes]
    if not places or min(places) < 0:
        raise UnsupportedError(f"bias_axes {bias_axes[:20]!r} of a result {result!r}")
    return len(result) - min(places)


def einsum_dense(parts: Parts, inputs: tuple[str, ...]) -> str:
    """QEinsumDense."""
    (source,) = inputs
    equation = equation_of(parts)
    kernel_axes, result = without_batch(equation, len(parts.shape(source))).split(",")[1].split("->")
    axes = parts.options.raw("bias_axes")
    biased = [("bias", (None,) * bias_rank(result, str(axes)))] if axes else []
    raw = parts.weights("", ("kernel", (None,) * len(kernel_axes)), *biased)
    kernel = parts.constant("kq", parts.options.raw("kq_conf"), raw["kernel"], "kernel")
    bias = parts.constant("bq", parts.options.raw("bq_conf"), raw["bias"], "bias") if biased else None
    return einsum(parts, source, equation, kernel, bias)


def einsum(parts: Parts, source: str, equation: str, kernel: RealArray, bias: RealArray | None) -> str:
    """Append an einsum with constants, and the activation of the layer."""
    layer = Einsum(
        parts.name("linear"), (source,), kernel, None, without_batch(equation, len(parts.shape(source))),
        quantizers=tuple(parts.texts),
    )  # fmt: skip
    made = shapes.infer(layer, parts.shape(source))
    if bias is not None:
        bias = bias.reshape((1,) * (len(made) - bias.ndim) + bias.shape)
        if not spreads(bias.shape, made):
            raise parts.step.error(f"stores a bias of the shape {bias.shape} for a result of {made}")
        layer = replace(layer, bias=bias)
    return parts.activate(parts.add(layer))


def conv(rank: int) -> Body:
    """Return the body of QConv1D, 2D or 3D."""

    def body(parts: Parts, inputs: tuple[str, ...]) -> str:
        (source,) = inputs
        step, options, shape = parts.step, parts.options, parts.shape(inputs[0])
        plain.channels_last(step)
        if len(shape) != rank + 1:
            raise step.error(f"expects {rank} spatial axes and channels, its input has the shape {shape}")
        size = plain.sizes(step, "kernel_size", rank)
        strides, dilation = plain.sizes(step, "strides", rank), plain.sizes(step, "dilation_rate", rank)
        filters, groups = options.integer("filters"), options.integer("groups", 1)
        if groups < 1 or shape[-1] % groups or filters < 1 or filters % groups:
            raise options.wrong("groups", "a divisor of the channels")
        biased = [("bias", (filters,))] if options.flag("use_bias", True) else []
        raw = parts.weights("", ("kernel", (*size, shape[-1] // groups, filters)), *biased)
        kernel = parts.constant("kq", options.raw("kq_conf"), raw["kernel"], "kernel")
        bias = parts.constant("bq", options.raw("bq_conf"), raw["bias"], "bias") if biased else None
        pairs = plain.padding(step, size, strides, dilation)
        layer = Conv(
            parts.name("linear"), (source,), kernel, bias, strides, pairs, dilation, groups,
            quantizers=tuple(parts.texts),
        )  # fmt: skip
        return parts.activate(parts.add(layer))

    return body


def causal(body: Body) -> Body:
    """Refuse what HGQ2 does otherwise for a causal convolution: it quantizes the zeros that it pads with."""

    def checked(parts: Parts, inputs: tuple[str, ...]) -> str:
        if parts.options.raw("padding") == "causal" and inputs != parts.step.inputs:
            made = parts.quantizer("iq", parts.options.raw("iq_conf"))
            if made.after:
                raise UnsupportedError("causal padding with an affine input quantizer: its padding is not 0")
        return body(parts, inputs)

    return checked
