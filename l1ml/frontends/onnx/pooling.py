# SPDX-License-Identifier: Apache-2.0
"""Pooling: MaxPool, AveragePool, and over all positions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from l1ml.frontends.common import UnsupportedError
from l1ml.frontends.onnx import layout
from l1ml.frontends.onnx.operator import Operator, Result
from l1ml.frontends.onnx.tensors import Data
from l1ml.frontends.onnx.windows import Geometry, geometry
from l1ml.graph import model
from l1ml.graph.functions import Divide


def max_pool(op: Operator) -> Result:
    """Read MaxPool, channels first."""
    return _max_pool(op, first=True)


def max_pool_channels_last(op: Operator) -> Result:
    """Read QONNX's MaxPool: (n, s1, ..., sk, c)."""
    return _max_pool(op, first=False)


def _spatial(op: Operator, x: Data, *, first: bool) -> tuple[Data, int]:
    """Return the input with channels last inside, and its number of spatial axes."""
    x = layout.batch_first(op.reading, x)
    if len(x.shape) < 2:
        raise UnsupportedError(f"data of shape {x.shape}; channels and positions are expected")
    order = layout.channels_last(x) if first else tuple(range(len(x.shape)))
    return layout.arranged(op.reading, x, order, "channels_last"), len(x.shape) - 1


def _place(op: Operator, x: Data, n: int) -> Geometry:
    kernel = op.options.integers("kernel_shape") or []
    if len(kernel) != n or min(kernel) < 1:
        raise UnsupportedError(f"kernel_shape {kernel[:8]} for data of shape {x.shape}")
    return geometry(op, x.inside[:-1], kernel, ceil=op.options.flag("ceil_mode", False))


def _shape(x: Data, positions: tuple[int, ...], *, first: bool) -> tuple[int, ...]:
    channels = x.inside[-1]
    return (channels, *positions) if first else (*positions, channels)


def _max_pool(op: Operator, *, first: bool) -> Result:
    op.options.ignore("storage_order")  # about the indices only
    x, n = _spatial(op, op.raw(), first=first)
    place = _place(op, x, n)
    padding = tuple((b, a + more) for (b, a), more in zip(place.padding, place.beyond, strict=True))
    layer = model.Pool(
        op.name, (x.layer,), "max", place.size, place.strides, padding, dilation=place.dilation
    )
    # A maximum does not mind a zero point or a scale.
    return op.layer(
        layer, x, shape=_shape(x, place.positions, first=first), kind=x.kind, zero=x.zero, scale=x.scale
    )


def average_pool(op: Operator) -> Result:
    """Read AveragePool; what it divides by depends on what counts as an element."""
    x, n = _spatial(op, op.data(), first=True)
    return averaged(op, op.name, x, n, first=True)


def averaged(op: Operator, name: str, x: Data, n: int, *, first: bool) -> Data:
    """Add a mean over windows."""
    place = _place(op, x, n)
    counted = op.options.flag("count_include_pad", False)
    padding = tuple((b, a + more) for (b, a), more in zip(place.padding, place.beyond, strict=True))
    like = replace(x, shape=_shape(x, place.positions, first=first))
    if not any(any(pair) for pair in padding):
        layer = model.Pool(
            name, (x.layer,), "mean", place.size, place.strides, padding, dilation=place.dilation
        )
        return op.layer(layer, like)
    total = model.Pool(
        f"{name}.sum", (x.layer,), "sum", place.size, place.strides, padding, dilation=place.dilation
    )
    y = op.layer(total, like)
    counts = _counts(place, x.inside[:-1], counted=counted)
    step = model.Map(name, (y.layer,), (Divide(layout.compact(counts[..., None])),), "/ count")
    return op.layer(step, y)


def _counts(place: Geometry, sizes: tuple[int, ...], *, counted: bool) -> np.ndarray:
    """Return the number of elements of each window: of the data, or with its padding."""
    counts = np.ones((), dtype=np.float32)
    for axis, size in enumerate(sizes):
        before, after = place.padding[axis]
        starts = np.arange(place.positions[axis]) * place.strides[axis] - before
        places = starts[:, None] + np.arange(place.size[axis]) * place.dilation[axis]
        low, high = (-before, size + after) if counted else (0, size)
        inside = ((places >= low) & (places < high)).sum(axis=1).astype(np.float32)
        counts = counts[..., None] * inside
    return counts


def global_pool(kind: str) -> Callable[[Operator], Result]:
    """Return the reader of GlobalMaxPool or GlobalAveragePool."""

    def read(op: Operator) -> Result:
        x, n = _spatial(op, op.raw() if kind == "max" else op.data(), first=True)
        return over_all(op, op.name, x, n, kind, first=True)

    return read


def over_all(op: Operator, name: str, x: Data, n: int, kind: str, *, first: bool) -> Data:
    """Add a maximum or mean over all positions; the axes stay with size 1."""
    layer = model.GlobalPool(name, (x.layer,), kind, keepdims=True)
    like = replace(x, shape=_shape(x, (1,) * n, first=first))
    return op.layer(layer, like, kind=x.kind, zero=x.zero, scale=x.scale)
