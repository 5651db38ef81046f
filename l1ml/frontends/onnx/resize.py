# SPDX-License-Identifier: Apache-2.0
"""Resize and Upsample to the nearest element, in all the ways ONNX defines "nearest"."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from l1ml.frontends.common import UnsupportedError
from l1ml.frontends.onnx import layout
from l1ml.frontends.onnx.operator import Operator, Result
from l1ml.frontends.onnx.tensors import Data
from l1ml.types.arrays import IntArray

_ROUNDINGS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "round_prefer_floor": lambda x: np.ceil(x - np.float32(0.5)),
    "round_prefer_ceil": lambda x: np.floor(x + np.float32(0.5)),
    "floor": np.floor,
    "ceil": np.ceil,
}


def resize(op: Operator) -> Result:
    """Read Resize."""
    op.options.ignore("cubic_coeff_a", "exclude_outside", "extrapolation_value", "antialias")
    x = op.raw()
    if op.opset < 11:
        return _nearest(op, x, _scales(op, x, op.reals(1).tolist()), "asymmetric", "floor")
    op.options.only("keep_aspect_ratio_policy", "stretch")
    transform = op.options.text("coordinate_transformation_mode", "half_pixel", *_TRANSFORMS)
    rounding = op.options.text("nearest_mode", "round_prefer_floor", *_ROUNDINGS)
    axes = op.options.integers("axes")
    if op.has(3):
        sizes = _spread(x, [float(n) for n in _sizes(op, x)], axes, x.dims(op.reading.batches()[0]))
        given = [(int(n), n / old) for n, old in zip(sizes, x.dims(op.reading.batches()[0]), strict=True)]
        return _nearest(op, x, given, transform, rounding)
    scales = _spread(x, op.reals(2).tolist(), axes, [1] * x.rank)
    return _nearest(op, x, _scales(op, x, scales), transform, rounding)


def upsample(op: Operator) -> Result:
    """Read Upsample, which Resize has replaced."""
    x = op.raw()
    if op.has(1):
        scales = op.reals(1).tolist()
    elif "scales" in op.options.values:
        scales = [float(s) for s in op.options.raw("scales")]
    else:
        scales = [1.0, 1.0, op.options.real("height_scale", 1.0), op.options.real("width_scale", 1.0)]
    return _nearest(op, x, _scales(op, x, scales), "asymmetric", "floor")


def _sizes(op: Operator, x: Data) -> list[int]:
    sizes = op.sizes(3)[0]
    if len(sizes) > x.rank:
        raise UnsupportedError(f"to {len(sizes)} sizes for data with {x.rank} axes")
    return sizes


def _spread(x: Data, values: list[float], axes: list[int] | None, default: list[int]) -> list[float]:
    """Return one value per axis; ``axes`` says which axes the values are for."""
    places = list(range(x.rank)) if axes is None else [axis % x.rank for axis in axes]
    if len(places) != len(values):
        raise UnsupportedError(f"has {len(values)} sizes or scales for {len(places)} axes")
    full = [float(n) for n in default]
    for place, value in zip(places, values, strict=True):
        full[place] = value
    return full


def _scales(op: Operator, x: Data, scales: list[float]) -> list[tuple[int, float]]:
    dims = x.dims(op.reading.batches()[0])
    if len(scales) != len(dims) or not all(0 < s <= 1 << 20 for s in scales):
        raise UnsupportedError(f"has scales {scales[:8]} for data with {x.rank} axes")
    return [
        (int(np.floor(np.float32(n) * np.float32(s))) if s != 1 else n, s)
        for n, s in zip(dims, scales, strict=True)
    ]


def _nearest(op: Operator, x: Data, wanted: list[tuple[int, float]], transform: str, rounding: str) -> Result:
    mode = op.options.text("mode", "nearest")
    dims = x.dims(op.reading.batches()[0])
    if all(n == old for (n, _), old in zip(wanted, dims, strict=True)):
        return x
    if mode != "nearest":
        raise UnsupportedError(f"mode={mode[:20]}; supported is nearest")
    if x.batch is not None and wanted[x.batch][0] != dims[x.batch]:
        raise UnsupportedError("changes the number of events")
    layout.check_size([n for k, (n, _) in enumerate(wanted) if k != x.batch])
    rows = [
        np.zeros(1, dtype=np.int64) if k == x.batch else _places(n, old, scale, transform, rounding)
        for k, ((n, scale), old) in enumerate(zip(wanted, dims, strict=True))
    ]

    def move(indices: IntArray) -> IntArray:
        for axis, row in enumerate(rows):
            indices = indices.take(row, axis=axis)
        return indices

    return layout.moved(op.reading, op.name, x, move, "Resize")


_TRANSFORMS = (
    "half_pixel",
    "pytorch_half_pixel",
    "align_corners",
    "asymmetric",
    "tf_half_pixel_for_nn",
    "half_pixel_symmetric",
)


def _places(n: int, old: int, scale: float, transform: str, rounding: str) -> IntArray:
    """Return for each of ``n`` new positions the old one that is nearest, in float32 as ONNX Runtime."""
    if n == old and scale == 1:
        return np.arange(n)
    at, factor, half = np.arange(n, dtype=np.float32), np.float32(scale), np.float32(0.5)
    if transform == "asymmetric":
        real = at / factor
    elif transform == "align_corners":
        real = at * np.float32(old - 1) / np.float32(n - 1) if n > 1 else np.zeros(1, np.float32)
    elif transform == "tf_half_pixel_for_nn":
        real = (at + half) / factor
    elif transform == "half_pixel_symmetric":
        adjustment = np.float32(n) / (factor * np.float32(old))
        center = np.float32(old) / np.float32(2)
        real = center * (np.float32(1) - adjustment) + (at + half) / factor - half
    else:
        real = (at + half) / factor - half
        if transform == "pytorch_half_pixel" and n == 1:
            real = np.zeros(1, np.float32)
    return np.asarray(np.clip(_ROUNDINGS[rounding](real), 0, old - 1), dtype=np.int64)
