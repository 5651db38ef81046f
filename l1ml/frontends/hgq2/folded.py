# SPDX-License-Identifier: Apache-2.0
"""HGQ2's batch normalizations: statistics folded into constants in float32, then quantized.

The framework folds anew in every inference, and its implementations differ by some last places there.  A constant
that lies nearer to a rounding boundary of its quantizer than that is refused: it has no one value.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from l1ml.frontends.common import UnsupportedError
from l1ml.frontends.hgq2 import linear
from l1ml.frontends.hgq2.parts import Parts
from l1ml.frontends.keras.core import without_batch
from l1ml.graph.model import Dense
from l1ml.graph.shapes import permute
from l1ml.types.arrays import RealArray

KERAS_EPSILON = 1e-7
ULP = 2.0**-24

Array = np.ndarray


def scaler(gamma: Array, variance: Array, epsilon: float) -> Array:
    """Return ``gamma / sqrt(variance + epsilon)``, known to two last places."""
    with np.errstate(all="ignore"):
        return np.asarray(gamma / np.sqrt(variance + np.float32(epsilon)), dtype=np.float32)


def constant(parts: Parts, place: str, conf: Any, raw: Array, slack: RealArray, key: str) -> RealArray:
    """Quantize folded constants.

    Args:
        parts: the layer.
        place: where the quantizer is.
        conf: its configuration.
        raw: the constants, float32.
        slack: how much an implementation of the framework may be off.
        key: ``kernel`` or ``bias``.

    Raises:
        UnsupportedError: one could come out either way.
    """
    made = parts.constant(place, conf, raw, key)
    wide = raw.astype(np.float64)
    low, high = (
        parts.constant(place, conf, (wide + side * slack).astype(np.float32)) for side in (-1.0, 1.0)
    )
    doubtful = np.argwhere((low != made) | (high != made))
    if len(doubtful):
        index = tuple(int(n) for n in doubtful[0])
        raise UnsupportedError(
            f"{len(doubtful)} values of its folded {key} (the first at {index}) are nearer to a rounding boundary of "
            f"{place} than float32 implementations agree; change its statistics by a millionth and save it again"
        )
    return made


def _near(values: Array, places: float = 4.0) -> RealArray:
    return np.abs(values.astype(np.float64)) * (places * ULP)


def batch_norm_dense(parts: Parts, inputs: tuple[str, ...]) -> str:
    """QBatchNormDense: normalizes what comes in; HGQ2 takes the mean through the kernel without the scale."""
    (source,) = inputs
    options, n = parts.options, parts.shape(inputs[0])[-1]
    scaled = options.flag("scale", True)
    gamma = [("bn_gamma", (n,))] if scaled else []
    raw = parts.weights(
        "", ("kernel", (n, None)), ("bias", (None,)), *gamma, ("moving_mean", (n,)), ("moving_variance", (n,))
    )
    kernel, mean = raw["kernel"], raw["moving_mean"]
    factor = scaler(
        raw.get("bn_gamma", np.float32(1)), raw["moving_variance"], options.number("epsilon", 1e-3) or 0.0
    )
    fused = (factor[:, None] * kernel).astype(np.float32)
    total = (raw["bias"] - (mean @ kernel).astype(np.float32)).astype(np.float32)
    reach = np.abs(mean.astype(np.float64)) @ np.abs(kernel.astype(np.float64))
    slack = reach * (4 + math.sqrt(n)) * ULP * (reach > 0) + _near(total, 1.0) * (reach > 0)
    layer = Dense(
        parts.name("linear"), (source,), constant(parts, "kq", options.raw("kq_conf"), fused, _near(fused), "kernel"),
        constant(parts, "bq", options.raw("bq_conf"), total, slack, "bias"), quantizers=tuple(parts.texts),
    )  # fmt: skip
    return parts.activate(parts.add(layer))


def einsum_dense_batchnorm(parts: Parts, inputs: tuple[str, ...]) -> str:
    """QEinsumDenseBatchnorm: its epsilon is that of Keras, whatever its configuration says."""
    options, shape = parts.options, parts.shape(inputs[0])
    equation = linear.equation_of(parts)
    plain = without_batch(equation, len(shape))
    kernel_axes, result = plain.split(",")[1].split("->")
    bias_axes = str(options.raw("bias_axes") or "")
    normalized = str(options.raw("normalize_axes") or bias_axes)
    axes = [c for c in kernel_axes if c in normalized]
    if not bias_axes or axes != [c for c in result if c in normalized]:
        raise UnsupportedError(f"bias_axes {bias_axes[:20]!r} with normalize_axes {normalized[:20]!r}")
    gamma = [("gamma", (None,) * len(axes))] if options.flag("scale", True) else []
    raw = parts.weights(
        "", ("kernel", (None,) * len(kernel_axes)), ("bias", (None,) * linear.bias_rank(result, bias_axes)), *gamma,
        ("moving_mean", (None,) * len(axes)), ("moving_variance", (None,) * len(axes)),
    )  # fmt: skip
    kernel, mean = raw["kernel"], raw["moving_mean"]
    factor = scaler(raw.get("gamma", np.float32(1)), raw["moving_variance"], KERAS_EPSILON)
    sizes = dict(zip(kernel_axes, kernel.shape, strict=True))
    if any(a.shape != tuple(sizes[c] for c in axes) for a in (factor, mean)):
        raise parts.step.error(f"stores statistics of the shape {mean.shape} for a kernel of {kernel.shape}")
    fused = (kernel * factor.reshape([sizes[c] if c in axes else 1 for c in kernel_axes])).astype(np.float32)
    tail = result[len(result) - raw["bias"].ndim :]
    offset = (-mean * factor).astype(np.float32).reshape([sizes[c] if c in axes else 1 for c in tail])
    total = (raw["bias"] + offset).astype(np.float32)
    slack = np.broadcast_to(_near(offset), total.shape) + _near(total, 1.0) * (offset != 0)
    return linear.einsum(
        parts, inputs[0], equation, constant(parts, "kq", options.raw("kq_conf"), fused, _near(fused), "kernel"),
        constant(parts, "bq", options.raw("bq_conf"), total, slack, "bias"),
    )  # fmt: skip


def batch_normalization(parts: Parts, inputs: tuple[str, ...]) -> str:
    """QBatchNormalization: a quantized scale and offset per channel; without a center HGQ2 takes 1, not 0."""
    (source,) = inputs
    options, shape = parts.options, parts.shape(inputs[0])
    axes = options.integers("axis") or [-1]
    axis = axes[0] - 1 if axes[0] > 0 else len(shape) + axes[0]
    if len(axes) != 1 or axes[0] == 0 or not 0 <= axis < len(shape):
        raise UnsupportedError(f"axis={axes}; one axis of the data is supported")
    n = shape[axis]
    names = [key for key, flag in (("gamma", "scale"), ("beta", "center")) if options.flag(flag, True)]
    raw = parts.weights("", *((name, (n,)) for name in (*names, "moving_mean", "moving_variance")))
    gamma, beta = raw.get("gamma", np.float32(1)), raw.get("beta", np.float32(1))
    scale = scaler(gamma, raw["moving_variance"], options.number("epsilon", 1e-3) or 0.0)
    moved = (raw["moving_mean"] * scale).astype(np.float32)
    offset = (beta - moved).astype(np.float32)
    slack = _near(moved) + _near(offset, 1.0) * (moved != 0)
    factor = constant(
        parts, "kq", options.raw("kq_conf"), np.broadcast_to(scale, (n,)).copy(), _near(scale), "kernel"
    )
    shift = constant(parts, "bq", options.raw("bq_conf"), np.broadcast_to(offset, (n,)).copy(), slack, "bias")
    order = [*(a for a in range(len(shape)) if a != axis), axis]
    if axis != len(shape) - 1:
        source = parts.add(permute(parts.name("moved"), source, shape, order))
    # A diagonal matrix: every channel times its own constant, exact in integers, and zeros cost nothing.
    source = parts.add(
        Dense(parts.name("linear"), (source,), np.diag(factor), shift, quantizers=tuple(parts.texts))
    )
    if axis == len(shape) - 1:
        return source
    back = [order.index(a) for a in range(len(shape))]
    return parts.add(permute(parts.name("back"), source, parts.shape(source), back))
