# SPDX-License-Identifier: Apache-2.0
"""Products with constant matrices and of two tensors: MatMul, Gemm, Conv, Einsum."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from l1ml.frontends.common import UnsupportedError, power_of_two
from l1ml.frontends.onnx import integers, layout
from l1ml.frontends.onnx.operator import Operator, Result
from l1ml.frontends.onnx.tensors import Constant, Data
from l1ml.frontends.onnx.weights import Weights, float32, with_bias
from l1ml.frontends.onnx.windows import Geometry, geometry
from l1ml.graph import model
from l1ml.graph.functions import Scale
from l1ml.types.arrays import RealArray


def matmul(op: Operator) -> Result:
    """Read MatMul: one side constant, or two tensors of the event."""
    if op.is_constant(1):
        return _product(op, op.raw(0), Weights.of(op.constant(1)), None)
    if op.is_constant(0):
        return _from_left(op, op.constant(0), op.data(1))
    x, y = (layout.plain(op.reading, op.data(k)) for k in (0, 1))
    return of_two(op, op.name, x, y)


def _product(op: Operator, x: Data, weights: Weights, bias: Constant | None) -> Data:
    if weights.kernel.ndim != 2:
        return product(op, op.name, op.reading.settled(x), weights, bias)
    return integers.product(op, x, weights, bias, lambda *given: product(op, *given))


def of_two(op: Operator, name: str, x: Data, y: Data) -> Data:
    """Multiply two tensors of the event."""
    if op.reading.batch == 1 and (x.batch, x.folded) != (y.batch, y.folded):
        x, y = (layout.without_batch(op.reading, t) for t in (x, y))
    if x.folded or y.folded or x.batch != y.batch or min(x.rank, y.rank) < 2:
        raise UnsupportedError("multiplies tensors that have their batch axis at different places")
    if x.batch is not None and (x.rank != y.rank or x.batch >= x.rank - 2):
        raise UnsupportedError("mixes the events of a batch")
    x, y = layout.plain(op.reading, x), layout.plain(op.reading, y)
    if x.shape[-1] != y.shape[-2]:
        raise UnsupportedError(f"multiplies shapes {x.shape} and {y.shape}")
    shape = (*np.broadcast_shapes(x.shape[:-2], y.shape[:-2]), x.shape[-2], y.shape[-1])
    layout.check_size(shape)
    layer = op.reading.add(model.MatMul(name, (x.layer, y.layer)))
    return Data.plain(layer, shape, batch=x.batch)


def product(op: Operator, name: str, x: Data, weights: Weights, bias: Constant | None = None) -> Data:
    """Multiply the last axis by a matrix, (n_in, n_out), or by one matrix per position."""
    kernel = weights.kernel
    if kernel.ndim == 1:
        column = replace(
            weights,
            kernel=kernel[:, None],
            scale=None if weights.scale is None else weights.scale[:, None],
        )
        y = product(op, f"{name}.column", x, column)
        rest = y.shape[:-1]
        return layout.reshaped(op.reading, y, rest, y.batch, y.folded, name)
    last = x.axis(-1)
    if last is None or x.shape[last] != kernel.shape[-2]:
        raise UnsupportedError(f"a matrix of shape {kernel.shape} for data of shape {x.shape}")
    if kernel.ndim > 2 and math.prod(kernel.shape[:-2]) > 1:
        return _many(op, name, x, weights)
    if kernel.ndim > x.rank:
        raise UnsupportedError(f"a matrix of shape {kernel.shape} for data of shape {x.shape}")
    matrix = replace(
        weights,
        kernel=kernel.reshape(kernel.shape[-2:]),
        scale=None if weights.scale is None else weights.scale.reshape(kernel.shape[-2:]),
    )
    x = layout.arranged(op.reading, x, layout.last(x, last), "transposed")
    shape = (*x.shape[:-1], kernel.shape[-1])
    layout.check_size(shape)
    dense = model.Dense(
        name, (x.layer,), matrix.kernel, None, exact=matrix.exact, quantizers=matrix.quantizers(),
        scale=matrix.per_output([0]),
    )  # fmt: skip
    layer: model.Dense | model.Conv = dense if bias is None else with_bias(dense, bias)
    return op.layer(layer, x, shape=shape)


def _many(op: Operator, name: str, x: Data, weights: Weights) -> Data:
    """Multiply by one matrix per position of the leading axes."""
    x = layout.plain(op.reading, x)
    lead = weights.kernel.ndim - 2
    if x.folded or x.batch != 0 or weights.kernel.ndim > x.rank or (
        weights.kernel.ndim == x.rank and weights.kernel.shape[0] != 1
    ):  # fmt: skip
        raise UnsupportedError(f"a matrix of shape {weights.kernel.shape} for data of shape {x.shape}")
    if weights.kernel.ndim == x.rank:
        weights = replace(
            weights, kernel=weights.kernel[0], scale=None if weights.scale is None else weights.scale[0]
        )
        lead -= 1
    shared = x.shape[len(x.shape) - 2 - lead : len(x.shape) - 2]
    if weights.kernel.shape[:-2] != shared:
        raise UnsupportedError(f"a matrix of shape {weights.kernel.shape} for data of shape {x.shape}")
    letters = "abcdefghijklmnop"[: len(x.shape)]
    group = letters[len(x.shape) - 2 - lead : len(x.shape) - 2]
    equation = f"{letters},{group}{letters[-1]}z->{letters[:-1]}z"
    scale = weights.per_output([lead])
    return _einsum(op, name, x, weights, equation, _placed(scale, f"{group}z", f"{letters[:-1]}z"))


def _placed(scale: RealArray | None, axes: str, result: str) -> RealArray | None:
    """Return a scale with the given axes in the order of the result, size 1 for the others."""
    if scale is None:
        return None
    scale = scale.transpose([axes.index(c) for c in result if c in axes])
    sizes = iter(scale.shape)
    return scale.reshape([next(sizes) if c in axes else 1 for c in result])


def _einsum(
    op: Operator, name: str, x: Data, weights: Weights, equation: str, scale: RealArray | None
) -> Data:
    layer = model.Einsum(
        name, (x.layer,), weights.kernel, None, exact=weights.exact, quantizers=weights.quantizers(),
        scale=scale, equation=equation,
    )  # fmt: skip
    left, result = equation.split("->")
    data, constant = left.split(",")
    size = dict(zip(data, x.shape, strict=True)) | dict(zip(constant, weights.kernel.shape, strict=True))
    shape = tuple(size[c] for c in result)
    layout.check_size(shape)
    return Data.plain(op.reading.add(layer), shape, batch=x.batch)


def _from_left(op: Operator, constant: Constant, x: Data) -> Data:
    """Multiply the last but one axis by a matrix (n_out, n_in) that stands before it."""
    weights = Weights.of(constant)
    x = layout.plain(op.reading, x)
    axis = x.axis(-2) if x.rank > 1 else None
    if weights.kernel.ndim != 2 or axis is None or x.axis(-1) is None or x.folded:
        raise UnsupportedError(
            f"input 0 is a constant of shape {constant.values.shape}, input 1 has shape {x.shape}"
        )
    if weights.kernel.shape[1] != x.shape[axis]:
        raise UnsupportedError(f"a matrix of shape {weights.kernel.shape} for data of shape {x.shape}")
    letters = "abcdefghijklmnop"[: len(x.shape)]
    old = letters[axis]
    equation = f"{letters},z{old}->{letters.replace(old, 'z')}"
    scale = _placed(weights.per_output([1]), "z", letters.replace(old, "z"))
    return _einsum(op, op.name, x, weights, equation, scale)


def gemm(op: Operator) -> Result:
    """Read Gemm: ``alpha * A @ B + beta * C``."""
    op.options.ignore("broadcast")
    x = op.raw(0)
    if x.rank != 2:
        raise UnsupportedError(f"data of shape {x.shape}; one axis beside the batch is supported")
    if op.options.flag("transA", False):
        x = layout.turned(x, (1, 0))
    alpha, beta = op.options.real("alpha", 1.0), op.options.real("beta", 1.0)
    weights = Weights.of(op.constant(1), alpha)
    if weights.kernel.ndim != 2:
        raise UnsupportedError(f"a constant of shape {weights.kernel.shape}; a matrix is supported")
    if op.options.flag("transB", False):
        weights = weights.turned((1, 0))
    if x.axis(1) is None:
        raise UnsupportedError("transA mixes events of a batch")
    if not op.has(2) or beta == 0:
        return _product(op, x, weights, None)
    if op.is_constant(2):
        bias = _times(op.constant(2), beta)
        codes, scale = (None if a is None else _row(op, a, x) for a in (bias.codes, bias.scale))
        row = replace(bias, values=_row(op, bias.values, x), codes=codes, scale=scale)
        return _product(op, x, weights, row)
    y = product(op, f"{op.name}.product", op.reading.settled(x), weights)
    c = op.data(2) if beta == 1 else op.layer(_scaled(op, op.data(2), beta), op.data(2))
    y, c = layout.together(op.reading, y, c)
    return op.layer(model.Merge(op.name, (y.layer, c.layer), "add"), y)


def _scaled(op: Operator, x: Data, factor: float) -> model.Map:
    return model.Map(f"{op.name}.beta", (x.layer,), (Scale(np.float32(factor)),), f"* {factor:g}")


def _times(constant: Constant, factor: float) -> Constant:
    if factor == 1:
        return constant
    values = constant.values.astype(np.float64) * factor
    if power_of_two(abs(factor)):
        return replace(constant, values=values, codes=None, scale=None)
    return Constant(float32(values))


def _row(op: Operator, values: np.ndarray, x: Data) -> np.ndarray:
    """Return a bias that is the same for every event as (n_out,) or scalar."""
    if values.ndim > 2:
        raise UnsupportedError(f"a bias of shape {values.shape}")
    return layout.compact(
        layout.event_part(op.reading, replace(x, shape=x.shape[x.folded :], folded=0), values)
    )


def conv(op: Operator) -> Result:
    """Read Conv, channels first as ONNX has them."""
    x, weights = op.raw(0), Weights.of(op.constant(1))
    bias = op.constant(2) if op.has(2) else None
    rank = weights.kernel.ndim
    turned = weights.turned((*range(2, rank), 1, 0)) if rank > 2 else weights
    return _convolution(op, x, turned, bias, first=True)


def conv_channels_last(op: Operator) -> Result:
    """Read QONNX's Conv: (n, s1, ..., sk, c), kernel (c_out, k1, ..., kk, c_in)."""
    weights = Weights.of(op.constant(1))
    rank = weights.kernel.ndim
    turned = weights.turned((*range(1, rank), 0)) if rank > 2 else weights
    bias = op.constant(2) if op.has(2) else None
    return _convolution(op, op.raw(0), turned, bias, first=False)


def _convolution(op: Operator, x: Data, weights: Weights, bias: Constant | None, *, first: bool) -> Data:
    return integers.product(op, x, weights, bias, lambda *given: convolution(op, *given, first=first))


def convolution(
    op: Operator, name: str, x: Data, weights: Weights, bias: Constant | None, *, first: bool
) -> Data:
    """Add a convolution; the kernel is (k1, ..., kn, c_in / groups, c_out)."""
    x = layout.batch_first(op.reading, x)
    kernel = weights.kernel
    spatial = kernel.ndim - 2
    if spatial < 1 or len(x.shape) != spatial + 1 or 0 in kernel.shape:
        raise UnsupportedError(f"a kernel of shape {kernel.shape} for data of shape {x.shape}")
    order = layout.channels_last(x) if first else tuple(range(len(x.shape)))
    x = layout.arranged(op.reading, x, order, "channels_last")
    groups = op.options.integer("group", 1)
    if groups < 1 or x.inside[-1] != kernel.shape[-2] * groups or kernel.shape[-1] % groups:
        raise UnsupportedError(
            f"{x.inside[-1]} channels and {groups} groups, a kernel for {kernel.shape[-2]} channels each "
            f"and {kernel.shape[-1]} outputs"
        )
    place: Geometry = geometry(op, x.inside[:-1], kernel.shape[:-2])
    layer = model.Conv(
        name, (x.layer,), kernel, None, exact=weights.exact, quantizers=weights.quantizers(),
        scale=weights.per_output(range(kernel.ndim - 1)), strides=place.strides, padding=place.padding,
        dilation=place.dilation, groups=groups,
    )  # fmt: skip
    made = layer if bias is None else with_bias(layer, bias)
    channels = kernel.shape[-1]
    shape = (channels, *place.positions) if first else (*place.positions, channels)
    layout.check_size(shape)
    return op.layer(made, x, shape=shape)
