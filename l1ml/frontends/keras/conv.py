# SPDX-License-Identifier: Apache-2.0
"""Convolutions and pooling."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from l1ml.frontends import qkeras
from l1ml.frontends.common import UnsupportedError
from l1ml.frontends.keras.core import constants
from l1ml.frontends.keras.step import Step, activated, mapped
from l1ml.graph.functions import Scale
from l1ml.graph.model import Conv, GlobalPool, Layer, Pool, Weighted

Pairs = tuple[tuple[int, int], ...]


def sizes(step: Step, key: str, rank: int, default: int = 1) -> tuple[int, ...]:
    """Return an option with one positive number per spatial axis."""
    found = step.options.integers(key) or [default]
    found = found * rank if len(found) == 1 else found
    if len(found) != rank or min(found) < 1:
        raise step.options.wrong(key, f"{rank} positive numbers")
    return tuple(found)


def channels_last(step: Step) -> None:
    """Refuse data with the channels first."""
    if step.options.raw("data_format") == "channels_first":
        raise UnsupportedError("data_format channels_first; save the model with channels_last")


def padding(
    step: Step, kernel: tuple[int, ...], strides: tuple[int, ...], dilation: tuple[int, ...]
) -> Pairs:
    """Return what ``valid``, ``same`` and ``causal`` put before and after every axis."""
    kind = step.options.raw("padding", "valid")
    if kind == "valid":
        return ((0, 0),) * len(kernel)
    reach = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
    if kind == "causal" and len(kernel) == 1:
        return ((reach[0], 0),)
    if kind != "same":
        raise UnsupportedError(
            f"padding {str(kind)[:40]!r}; valid, same and, in one dimension, causal are supported"
        )
    pairs = []
    for n, s, r in zip(step.shape[:-1], strides, reach, strict=True):
        total = max(0, (-(-n // s) - 1) * s + r + 1 - n)
        pairs.append((total // 2, total - total // 2))
    return tuple(pairs)


def _spatial(step: Step, rank: int) -> None:
    channels_last(step)
    if len(step.shape) != rank + 1:
        raise step.error(f"expects {rank} spatial axes and channels, its input has the shape {step.shape}")


def conv(rank: int) -> Callable[[Step], tuple[Layer, ...]]:
    """Return the reader of Conv1D or Conv2D and their QKeras forms."""

    def read(step: Step) -> tuple[Layer, ...]:
        _spatial(step, rank)
        kernel, strides = sizes(step, "kernel_size", rank), sizes(step, "strides", rank)
        dilation, groups = sizes(step, "dilation_rate", rank), step.options.integer("groups", 1)
        filters = step.options.integer("filters")
        if groups < 1 or step.channels % groups or filters % groups:
            raise step.options.wrong("groups", "a divisor of the channels")
        bias = [("bias", (filters,))] if step.options.flag("use_bias", True) else []
        raw = step.weights(("kernel", (*kernel, step.channels // groups, filters)), *bias)
        pairs = padding(step, kernel, strides, dilation)
        layer = Conv(step.name, (step.input,), raw["kernel"], None, strides, pairs, dilation, groups)
        return activated(step, constants(step, layer, raw))

    return read


def depthwise(rank: int) -> Callable[[Step], tuple[Layer, ...]]:
    """Return the reader of DepthwiseConv1D or 2D and QDepthwiseConv2D."""

    def read(step: Step) -> tuple[Layer, ...]:
        _spatial(step, rank)
        kernel, strides = sizes(step, "kernel_size", rank), sizes(step, "strides", rank)
        dilation, multiplier = sizes(step, "dilation_rate", rank), step.options.integer("depth_multiplier", 1)
        c = step.channels
        wanted: list[tuple[str, tuple[int | None, ...]]] = [("depthwise_kernel", (*kernel, c, multiplier))]
        if step.options.flag("use_bias", True):
            wanted.append(("bias", (c * multiplier,)))
        return activated(step, _depthwise(step, step.name, step.weights(*wanted), kernel, strides, dilation))

    return read


def _depthwise(
    step: Step, name: str, raw: dict[str, np.ndarray], kernel: tuple[int, ...], strides: tuple[int, ...],
    dilation: tuple[int, ...],
) -> Weighted:  # fmt: skip
    """Return the convolution; the quantizer sees the kernel as it is stored, (..., channels, multiplier)."""
    pairs = padding(step, kernel, strides, dilation)
    plain = Conv(name, (step.input,), raw["depthwise_kernel"], None, strides, pairs, dilation, step.channels)
    made = constants(step, plain, raw)
    n = step.channels * raw["depthwise_kernel"].shape[-1]
    flat = flattened(qkeras.Weights(made.kernel, made.scale, ""), n)
    return replace(made, kernel=flat.values, scale=flat.scale)


def flattened(made: qkeras.Weights, n: int) -> qkeras.Weights:
    """Turn a quantized (..., channels, multiplier) into the (..., 1, n) of a grouped convolution."""
    values, scale = made.values, made.scale
    if scale is not None and np.ndim(scale):
        scale = np.broadcast_to(scale, (*(1,) * (values.ndim - 2), *values.shape[-2:])).reshape(n)
    return replace(made, values=values.reshape(*values.shape[:-2], 1, n), scale=scale)


def separable(rank: int) -> Callable[[Step], tuple[Layer, ...]]:
    """Return the reader of SeparableConv1D or 2D and their QKeras forms: two convolutions."""

    def read(step: Step) -> tuple[Layer, ...]:
        _spatial(step, rank)
        kernel, strides = sizes(step, "kernel_size", rank), sizes(step, "strides", rank)
        dilation, multiplier = sizes(step, "dilation_rate", rank), step.options.integer("depth_multiplier", 1)
        filters, c = step.options.integer("filters"), step.channels
        wanted: list[tuple[str, tuple[int | None, ...]]] = [
            ("depthwise_kernel", (*kernel, c, multiplier)),
            ("pointwise_kernel", (*(1,) * rank, c * multiplier, filters)),
        ]
        if step.options.flag("use_bias", True):
            wanted.append(("bias", (filters,)))
        raw = step.weights(*wanted)
        first_name = f"{step.name}.depthwise"
        depth = {"depthwise_kernel": raw["depthwise_kernel"]}
        first = _depthwise(step, first_name, depth, kernel, strides, dilation)
        ones, none = (1,) * rank, ((0, 0),) * rank
        second = Conv(step.name, (first_name,), raw["pointwise_kernel"], None, ones, none, ones)
        rest = {
            "pointwise_kernel": raw["pointwise_kernel"],
            **({"bias": raw["bias"]} if "bias" in raw else {}),
        }
        return (first, *activated(step, constants(step, second, rest)))

    return read


def pool(kind: str, rank: int) -> Callable[[Step], tuple[Layer, ...]]:
    """Return the reader of MaxPooling or AveragePooling."""

    def read(step: Step) -> tuple[Layer, ...]:
        _spatial(step, rank)
        size = sizes(step, "pool_size", rank, 2)
        strides = size if step.options.raw("strides") is None else sizes(step, "strides", rank)
        pairs = padding(step, size, strides, (1,) * rank)
        if not step.quantized:
            return (Pool(step.name, (step.input,), kind, size, strides, pairs),)
        quantizer = step.quantizer("average_quantizer")
        if quantizer is None:
            return activated(step, Pool(step.name, (step.input,), kind, size, strides, pairs))
        if any(any(pair) for pair in pairs):
            raise UnsupportedError(
                "padding same with an average_quantizer: QKeras divides the border otherwise"
            )
        return _quantized_mean(
            step, Pool(f"{step.name}.sum", (step.input,), "sum", size, strides, pairs), size
        )

    return read


def _quantized_mean(step: Step, total: Layer, size: tuple[int, ...]) -> tuple[Layer, ...]:
    """Multiply a sum by the quantized 1 / area, as QAveragePooling2D does."""
    raw = np.asarray(1.0 / np.prod(size), dtype=np.float32).reshape(1)
    made = step.quantize_weights("average", raw, kernel=False, option="average_quantizer")
    assert made is not None
    factor = made.values * (1.0 if made.scale is None else made.scale)
    mean = mapped(step.name, (total.name,), (Scale(np.asarray(float(factor.reshape(-1)[0]), np.float32)),))
    return (total, *activated(step, mean))


def global_pool(kind: str) -> Callable[[Step], tuple[Layer, ...]]:
    """Return the reader of GlobalMaxPooling or GlobalAveragePooling."""

    def read(step: Step) -> tuple[Layer, ...]:
        channels_last(step)
        keep = step.options.flag("keepdims", False)
        if not step.quantized or step.quantizer("average_quantizer") is None:
            return activated(step, GlobalPool(step.name, (step.input,), kind, keep))
        return _quantized_mean(
            step, GlobalPool(f"{step.name}.sum", (step.input,), "sum", keep), step.shape[:-1]
        )

    return read
