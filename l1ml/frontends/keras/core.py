# SPDX-License-Identifier: Apache-2.0
"""Dense, EinsumDense, Embedding, activations, normalization, and layers that do nothing at inference."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from l1ml.errors import ModelError
from l1ml.frontends import qkeras
from l1ml.frontends.canonical import Identity
from l1ml.frontends.common import UnsupportedError
from l1ml.frontends.keras.step import Step, activated, applied, mapped
from l1ml.frontends.normalization import batch_norm
from l1ml.graph.functions import Rectify, Scale
from l1ml.graph.model import Affine, Dense, Einsum, Embedding, Layer, LayerNorm, Softmax, Weighted
from l1ml.graph.named import Named


def constants(step: Step, layer: Weighted, raw: dict[str, np.ndarray]) -> Weighted:
    """Put kernel and bias into a layer, quantized where the file says so."""
    texts: list[tuple[str, str]] = []
    exact, scale = True, None
    values: dict[str, np.ndarray] = {key: array.astype(np.float64) for key, array in raw.items()}
    for key in raw:
        part = key.removesuffix("_kernel")  # depthwise_kernel, pointwise_kernel
        quantized = step.quantize_weights(part, raw[key], kernel=key != "bias")
        if quantized is None:
            exact = exact and key == "bias" and not raw[key].any()
            continue
        values[key] = quantized.values
        if quantized.scale is not None:
            if key == "bias":
                values[key] = quantized.values * quantized.scale
            else:
                scale = quantized.scale
        texts.append(("bias" if key == "bias" else "kernel", quantized.text))
    kernel = next(values[key] for key in values if key != "bias")
    return replace(
        layer, kernel=kernel, bias=values.get("bias"), exact=exact, quantizers=tuple(texts), scale=scale
    )


def dense(step: Step) -> tuple[Layer, ...]:
    """Dense and QDense."""
    units = step.options.integer("units")
    if units < 1:
        raise step.options.wrong("units", "a positive number")
    bias = [("bias", (units,))] if step.options.flag("use_bias", True) else []
    raw = step.weights(("kernel", (step.channels, units)), *bias)
    layer = constants(step, Dense(step.name, (step.input,), raw["kernel"], None), raw)
    return activated(step, layer)


def einsum_dense(step: Step) -> tuple[Layer, ...]:
    """EinsumDense: the batch letter is left out of the equation."""
    equation = step.options.raw("equation")
    if not isinstance(equation, str) or len(equation) > 60:
        raise step.options.wrong("equation", "a short text")
    plain = without_batch(equation, len(step.shape))
    left, right = plain.split("->")
    kernel_axes = left.split(",")[1]
    axes = step.options.raw("bias_axes")
    raw = step.weights(
        ("kernel", (None,) * len(kernel_axes)), *([("bias", (None,) * len(axes))] if axes else [])
    )
    bias = raw.pop("bias", None)
    layer = constants(step, Einsum(step.name, (step.input,), raw["kernel"], None, plain), raw)
    if bias is not None:
        shape = [bias.shape[axes.index(c)] if c in axes else 1 for c in right]
        order = [axes.index(c) for c in right if c in axes]
        layer = replace(layer, bias=bias.transpose(order).reshape(shape).astype(np.float64))
    return activated(step, layer)


def without_batch(equation: str, rank: int) -> str:
    """Return an einsum equation without its batch letter.

    Raises:
        UnsupportedError: the batch is not the first axis of data and result.

    Example:
        >>> without_batch("...x,xy->...y", 2), without_batch("abc,cd->abd", 2)
        ('nx,xy->ny', 'bc,cd->bd')
    """
    equation = equation.replace(" ", "")
    if "..." in equation:
        named = equation.replace("...", "").partition(",")[0]
        free = [c for c in "nmlkjihgf" if c not in equation][: rank + 1 - len(named)]
        equation = equation.replace("...", "".join(["z", *free[: max(0, rank - len(named))]]))
    left, arrow, right = equation.partition("->")
    data, comma, kernel = left.partition(",")
    if not arrow or not comma or not data or not right or data[0] != right[0] or data[0] in kernel:
        raise UnsupportedError(f"equation {equation!r}")
    return f"{data[1:]},{kernel}->{right[1:]}"


def embedding(step: Step) -> tuple[Layer, ...]:
    """Embedding: a row of the table per integer."""
    if step.options.flag("mask_zero", False):
        raise UnsupportedError("mask_zero")
    rows, width = step.options.integer("input_dim"), step.options.integer("output_dim")
    raw = step.weights(("embeddings", (rows, width)))
    return (Embedding(step.name, (step.input,), raw["embeddings"].astype(np.float64), exact=False),)


def activation(step: Step) -> tuple[Layer, ...]:
    """Activation and QActivation."""
    return applied(step, step.input, step.quantizer("activation"))


def relu(step: Step) -> tuple[Layer, ...]:
    """ReLU with all its options."""
    from l1ml.graph.functions import Relu as PlainRelu
    from l1ml.graph.model import Relu

    functions = qkeras.relu(step.options)
    if len(functions) == 1 and isinstance(functions[0], PlainRelu):
        return (Relu(step.name, (step.input,)),)
    return (mapped(step.name, (step.input,), functions, "ReLU"),)


def leaky_relu(step: Step) -> tuple[Layer, ...]:
    """LeakyReLU; Keras 2 calls its slope alpha."""
    slope = step.options.number("negative_slope", step.options.number("alpha", 0.3)) or 0.0
    return (mapped(step.name, (step.input,), (Rectify(np.asarray(slope, np.float32)),), "LeakyReLU"),)


def prelu(step: Step) -> tuple[Layer, ...]:
    """PReLU: a trained slope per element; shared axes have size 1."""
    raw = step.weights(("alpha", (None,) * len(step.shape)))
    try:
        slopes = np.broadcast_to(raw["alpha"], step.shape)
    except ValueError:
        raise step.error(f"has slopes of shape {raw['alpha'].shape} for data of shape {step.shape}") from None
    return (mapped(step.name, (step.input,), (Rectify(slopes),), "PReLU"),)


def thresholded_relu(step: Step) -> tuple[Layer, ...]:
    """ThresholdedReLU: 0 up to theta, identity above."""
    theta = step.options.number("theta", 1.0) or 0.0
    return (
        mapped(
            step.name, (step.input,), (Rectify(np.zeros((), np.float32), None, theta),), "ThresholdedReLU"
        ),
    )


def elu(step: Step) -> tuple[Layer, ...]:
    """ELU."""
    return (
        mapped(step.name, (step.input,), (Named("elu", (step.options.number("alpha", 1.0) or 0.0,)),), "ELU"),
    )


def softmax(step: Step) -> tuple[Layer, ...]:
    """Softmax over one axis."""
    axes = step.options.integers("axis") or [-1]
    if len(axes) != 1 or axes[0] == 0:
        raise UnsupportedError(f"axis={axes}; one axis other than the batch is supported")
    axis = axes[0] - 1 if axes[0] > 0 else axes[0]
    return (Softmax(step.name, (step.input,), axis),)


def nothing(step: Step) -> tuple[Layer, ...]:
    """Do nothing at inference: Dropout and the like."""
    return (Identity(step.name, step.inputs[:1]),)


def batch_normalization(step: Step) -> tuple[Layer, ...]:
    """BatchNormalization over one axis."""
    axes = step.options.integers("axis") or [-1]
    rank = len(step.shape)
    axis = (axes[0] - 1 if axes[0] > 0 else rank + axes[0]) if len(axes) == 1 else -1
    if not 0 <= axis < rank:
        raise UnsupportedError(f"axis={axes}; one axis of the data is supported")
    for key in ("renorm", "virtual_batch_size", "adjustment"):
        if step.options.raw(key):
            raise UnsupportedError(f"option {key}")
    epsilon = step.options.number("epsilon", 1e-3)
    if epsilon is None or epsilon < 0:
        raise step.options.wrong("epsilon", "a number of at least 0")
    channels = step.shape[axis]
    names = ["gamma"] if step.options.flag("scale", True) else []
    names += ["beta"] if step.options.flag("center", True) else []
    raw = step.weights(*((name, (channels,)) for name in (*names, "moving_mean", "moving_variance")))
    try:
        scale, offset = batch_norm(
            raw["moving_mean"], raw["moving_variance"], raw.get("gamma"), raw.get("beta"), epsilon
        )
    except ValueError as error:
        raise ModelError(f"{step.owner}: {error}", where=(step.file.source,)) from None
    shape = (channels, *(1,) * (rank - 1 - axis))
    return (Affine(step.name, (step.input,), scale.reshape(shape), offset.reshape(shape)),)


def layer_normalization(step: Step) -> tuple[Layer, ...]:
    """LayerNormalization over trailing axes."""
    axes = sorted((a - 1 if a > 0 else len(step.shape) + a) for a in step.options.integers("axis") or [-1])
    if axes != list(range(len(step.shape) - len(axes), len(step.shape))):
        raise UnsupportedError("axes other than the last ones")
    if step.options.raw("rms_scaling"):
        raise UnsupportedError("rms_scaling")
    shape = step.shape[axes[0] :]
    names = ["gamma"] if step.options.flag("scale", True) else []
    names += ["beta"] if step.options.flag("center", True) else []
    raw = step.weights(*((name, shape) for name in names)) if names else {}
    gamma, beta = (raw[k].astype(np.float64) if k in raw else None for k in ("gamma", "beta"))
    epsilon = step.options.number("epsilon", 1e-3) or 0.0
    return (LayerNorm(step.name, (step.input,), len(axes), gamma, beta, epsilon),)


def rescaling(step: Step) -> tuple[Layer, ...]:
    """Rescaling: a scale and an offset."""
    scale, offset = step.options.number("scale", 1.0), step.options.number("offset", 0.0)
    arrays = (np.asarray(n or 0.0, dtype=np.float32) for n in (scale, offset))
    return (Affine(step.name, (step.input,), *arrays),)


def q_batch_normalization(step: Step) -> tuple[Layer, ...]:
    """QBatchNormalization: epsilon is added after the variance is quantized; the inverse is not quantized."""
    if step.quantizer("inverse_quantizer") is not None:
        raise UnsupportedError("an inverse_quantizer")
    epsilon = step.options.number("epsilon", 1e-3) or 0.0
    names = ["gamma"] if step.options.flag("scale", True) else []
    names += ["beta"] if step.options.flag("center", True) else []
    raw = step.weights(*((name, (step.channels,)) for name in (*names, "moving_mean", "moving_variance")))
    values: dict[str, np.ndarray] = {}
    for key, short in (
        ("gamma", "gamma"),
        ("beta", "beta"),
        ("moving_mean", "mean"),
        ("moving_variance", "variance"),
    ):
        if key in raw:
            made = step.quantize_weights(
                short, raw[key], kernel=short in ("gamma", "variance"), option=f"{short}_quantizer"
            )
            real = raw[key] if made is None else made.values * (1.0 if made.scale is None else made.scale)
            values[key] = np.asarray(real, dtype=np.float32)
    try:
        scale, offset = batch_norm(
            values["moving_mean"], values["moving_variance"], values.get("gamma"), values.get("beta"), epsilon
        )
    except ValueError as error:
        raise ModelError(f"{step.owner}: {error}", where=(step.file.source,)) from None
    return (*activated(step, Affine(step.name, (step.input,), scale, offset)),)


def scale_only(step: Step, factor: float) -> tuple[Layer, ...]:
    """Multiply by a number."""
    return (mapped(step.name, (step.input,), (Scale(np.asarray(factor, np.float32)),)),)
