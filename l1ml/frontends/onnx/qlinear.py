# SPDX-License-Identifier: Apache-2.0
"""Operators on whole numbers: QLinear*, QGemm, ConvInteger, MatMulInteger.

Sums are whole numbers and exact; the way back to few bits is one float32 product and a rounding, as ONNX
Runtime computes it: ``round_half_even(float32(sum) * (x_scale * w_scale / y_scale))``, then the zero point.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from l1ml.frontends.common import UnsupportedError
from l1ml.frontends.onnx import layout, pooling, quantize
from l1ml.frontends.onnx.functions import Codes as RoundedCodes
from l1ml.frontends.onnx.linear import convolution, of_two, product
from l1ml.frontends.onnx.operator import Operator, Result
from l1ml.frontends.onnx.tensors import Data, bounds, is_whole
from l1ml.frontends.onnx.weights import Weights
from l1ml.graph import model
from l1ml.graph.functions import Divide, Function, Offset, Rectify, Scale, ToGrid
from l1ml.graph.named import Named
from l1ml.types.fixed import Overflow, Rounding
from l1ml.types.grid import Grid

Real = np.float32


@dataclass(frozen=True, eq=False)
class Codes:
    """A tensor of the event without its zero point, and the weight of one code."""

    x: Data
    scale: np.float32


def _input(op: Operator, index: int, scale: int, zero: int) -> Codes:
    """Return an input whose scale and zero point are other inputs."""
    return Codes(_centred(op, op.raw(index), _zero(op, zero)), Real(op.number(scale)))


def _zero(op: Operator, index: int) -> int:
    if not op.has(index):
        return 0
    values = op.constant(index).values
    if values.size != 1:
        raise UnsupportedError("a zero point per channel on data; one is supported")
    return int(values.ravel()[0])


def _centred(op: Operator, x: Data, zero: int) -> Data:
    """Return ``x - zero`` as whole numbers."""
    if not x.whole:
        raise UnsupportedError(f"reads {x.kind}; whole numbers are expected")
    rest = x.zero - zero
    if rest:
        layer = model.Map(f"{x.layer}.centred", (x.layer,), (Offset(Real(rest)),), f"{rest:+d}")
        x = replace(x, layer=op.reading.add(layer))
    return replace(x, zero=0, kind="int32")


def _weights(op: Operator, index: int, zero: int, axis: int) -> Weights:
    """Return whole-number weights without their zero point, one per output or one in all."""
    constant = op.constant(index)
    if not constant.whole:
        raise UnsupportedError(f"weights of {constant.kind}; whole numbers are expected")
    values = constant.values.astype(np.float64)
    if op.has(zero):
        values = values - _spread(op.reals(zero), values.ndim, axis)
    return Weights(values, None, True, constant.kind)


def _spread(values: np.ndarray, rank: int, axis: int) -> np.ndarray:
    """Return one value per position of an axis, or one in all, broadcastable."""
    if values.size == 1:
        return values.reshape(())
    sizes = [1] * rank
    sizes[axis] = values.size
    return values.reshape(sizes)


def _back(op: Operator, x: Data, factor: np.ndarray, scale: int, zero: int, name: str) -> Data:
    """Multiply, round, clip: the way back to few bits; ``factor`` is divided by the scale of the result."""
    kind = op.constant(zero).kind if op.has(zero) else "uint8"
    if not is_whole(kind):
        raise UnsupportedError(f"a result of {kind}; whole numbers are expected")
    chain: list[Function] = [Scale((factor / Real(op.number(scale))).astype(np.float32))]
    return _rounded(op, x, chain, kind, _zero(op, zero), name)


def _rounded(op: Operator, x: Data, chain: list[Function], kind: str, zero: int, name: str) -> Data:
    lo, hi = bounds(kind)
    low, high, frac = (np.asarray(n, dtype=np.int64) for n in (lo - zero, hi - zero, 0))
    chain = [*chain, ToGrid(Grid(low, high, frac, Rounding.RND_CONV, Overflow.SAT))]
    layer = model.Map(name, (x.layer,), tuple(chain), f"{op.node.kind}({kind})")
    return op.layer(layer, x, kind=kind, zero=zero)


def qlinear_conv(op: Operator) -> Result:
    """Read QLinearConv: x, scale, zero, w, scale, zero, y scale, zero, bias."""
    x = _input(op, 0, 1, 2)
    weights = _weights(op, 3, 5, 0)
    rank = weights.kernel.ndim
    turned = weights.turned((*range(2, rank), 1, 0)) if rank > 2 else weights
    bias = op.constant(8) if op.has(8) else None
    y = convolution(op, f"{op.name}.sum", x.x, turned, bias, first=True)
    factor = (x.scale * op.reals(4).astype(np.float32)).astype(np.float32)
    if factor.size > 1:  # one per channel, which the layer has last
        return _back(op, y, factor.reshape(-1), 6, 7, op.name)
    return _back(op, y, factor.reshape(()), 6, 7, op.name)


def conv_integer(op: Operator) -> Result:
    """Read ConvInteger: the result is the sum."""
    x = _centred(op, op.raw(0), _zero(op, 2))
    weights = _weights(op, 1, 3, 0)
    rank = weights.kernel.ndim
    turned = weights.turned((*range(2, rank), 1, 0)) if rank > 2 else weights
    return replace(convolution(op, op.name, x, turned, None, first=True), kind="int32")


def qlinear_matmul(op: Operator) -> Result:
    """Read QLinearMatMul: a, scale, zero, b, scale, zero, y scale, zero."""
    a = _input(op, 0, 1, 2)
    factor = (a.scale * op.reals(4).astype(np.float32)).astype(np.float32)
    if op.is_constant(3):
        y = product(op, f"{op.name}.sum", a.x, _weights(op, 3, 5, -1))
        factor = factor.reshape(-1) if factor.size > 1 else factor.reshape(())
    else:
        b = _input(op, 3, 4, 5)
        y, factor = of_two(op, f"{op.name}.sum", a.x, b.x), factor.reshape(())
    if factor.ndim and y.order[-1] != len(y.shape) - 1:
        y = layout.plain(op.reading, y)
    return _back(op, y, factor, 6, 7, op.name)


def matmul_integer(op: Operator) -> Result:
    """Read MatMulInteger: the result is the sum."""
    a = _centred(op, op.raw(0), _zero(op, 2))
    if op.is_constant(1):
        return replace(product(op, op.name, a, _weights(op, 1, 3, -1)), kind="int32")
    b = _centred(op, op.raw(1), _zero(op, 3))
    return replace(of_two(op, op.name, a, b), kind="int32")


def q_gemm(op: Operator) -> Result:
    """Read ONNX Runtime's QGemm; without a scale of the result it gives real numbers."""
    if op.options.flag("transA", False):
        raise UnsupportedError("transA mixes events of a batch")
    turned = op.options.flag("transB", False)
    a = _input(op, 0, 1, 2)
    weights = _weights(op, 3, 5, 0 if turned else -1)
    weights = weights.turned((1, 0)) if turned else weights
    alpha = Real(op.options.real("alpha", 1.0))
    bias = op.constant(6) if op.has(6) else None
    y = product(op, f"{op.name}.sum", a.x, weights, bias)
    factor = (alpha * a.scale * op.reals(4).astype(np.float32)).astype(np.float32)
    factor = factor.reshape(-1) if factor.size > 1 else factor.reshape(())
    if op.has(7):
        return _back(op, y, factor, 7, 8, op.name)
    return op.map(y, [Scale(factor)], "QGemm")


def qlinear_binary(kind: str) -> Callable[[Operator], Result]:
    """Return the reader of QLinearAdd or QLinearMul: a, scale, zero, b, scale, zero, y scale, zero."""

    def read(op: Operator) -> Result:
        if op.is_constant(0) or op.is_constant(3):
            return _with_constant(op, kind)
        a, b = _input(op, 0, 1, 2), _input(op, 3, 4, 5)
        x, y = layout.together(op.reading, a.x, b.x)
        shape = np.broadcast_shapes(x.shape, y.shape)
        layout.check_size(shape)
        like = replace(x, shape=shape)
        out = Real(op.number(6))
        if kind == "mul":
            total = op.layer(model.Merge(f"{op.name}.product", (x.layer, y.layer), "mul"), like)
            return _early(op, total, [Scale(np.asarray(a.scale * b.scale / out))])
        parts = [
            op.layer(model.Map(f"{op.name}.{key}", (part.layer,), quantize.scale_by(ratio), "* scale"), part)
            for key, part, ratio in (("a", x, np.asarray(a.scale / out)), ("b", y, np.asarray(b.scale / out)))
        ]
        total = op.layer(model.Merge(f"{op.name}.sum", (parts[0].layer, parts[1].layer), "add"), like)
        return _early(op, total, [])

    return read


def _with_constant(op: Operator, kind: str) -> Data:
    """Read QLinearAdd or QLinearMul of a tensor and a constant, on either side."""
    at, other = (3, 0) if op.is_constant(0) else (0, 3)
    x = _input(op, at, at + 1, at + 2)
    codes = op.reals(other) - _zero(op, other + 2)
    scale, out = Real(op.number(other + 1)), Real(op.number(6))
    y, codes = layout.fitted(op.reading, x.x, codes)
    if kind == "add":
        offset = (codes.astype(np.float32) * (scale / out)).astype(np.float32)
        return _early(op, y, [*quantize.scale_by(np.asarray(x.scale / out)), Offset(offset)])
    factor = np.asarray(x.scale * scale / out)
    return _early(op, y, [Scale(codes.astype(np.float32)), *quantize.scale_by(factor)])


def _early(op: Operator, x: Data, chain: list[Function]) -> Data:
    """Round as QLinearAdd and QLinearMul do: behind the addition of the zero point."""
    kind = op.constant(7).kind if op.has(7) else "uint8"
    zero, (lo, hi) = _zero(op, 7), bounds(kind)
    chain = [*chain, *([Offset(np.asarray(Real(zero)))] if zero else [])]
    low, high, shift = (np.asarray(float(n)) for n in (lo, hi, zero))
    layer = model.Map(
        op.name, (x.layer,), (*chain, RoundedCodes(low, high, shift)), f"{op.node.kind}({kind})"
    )
    return op.layer(layer, x, kind=kind, zero=zero)


def _real_back(op: Operator, x: Data, scale: int, zero: int, *functions: Function) -> Data:
    """Divide real numbers by the scale of the result, round, clip."""
    kind = op.constant(zero).kind if op.has(zero) else "uint8"
    chain = [*functions, Divide(np.asarray(Real(op.number(scale))))]
    return _rounded(op, x, chain, kind, _zero(op, zero), op.name)


def qlinear_function(function: str) -> Callable[[Operator], Result]:
    """Return the reader of QLinearSigmoid or QLinearLeakyRelu: x, scale, zero, y scale, zero."""

    def read(op: Operator) -> Result:
        x = _input(op, 0, 1, 2)
        inner: Function = Named("sigmoid")
        if function == "leaky":
            inner = Rectify(Real(op.options.real("alpha", 0.01)))
        return _real_back(op, x.x, 3, 4, Scale(np.asarray(x.scale)), inner)

    return read


def _image(op: Operator, *, first: bool) -> tuple[Data, np.float32]:
    """Return the input with channels last inside, and its scale."""
    x = _input(op, 0, 1, 2)
    y = layout.batch_first(op.reading, x.x)
    order = layout.channels_last(y) if first else tuple(range(len(y.shape)))
    return layout.arranged(op.reading, y, order, "channels_last"), x.scale


def qlinear_pool(op: Operator) -> Result:
    """Read QLinearAveragePool: it averages real numbers."""
    first = not op.options.flag("channels_last", False)
    y, scale = _image(op, first=first)
    step = model.Map(f"{op.name}.real", (y.layer,), quantize.scale_by(np.asarray(scale)), "* scale")
    real = op.layer(step, y)
    mean = pooling.averaged(op, f"{op.name}.mean", real, len(y.shape) - 1, first=first)
    return _real_back(op, mean, 3, 4)


def qlinear_global_pool(op: Operator) -> Result:
    """Read QLinearGlobalAveragePool: it sums whole numbers, then multiplies once."""
    first = not op.options.flag("channels_last", False)
    y, scale = _image(op, first=first)
    count = Real(math.prod(y.inside[:-1]))
    total = pooling.over_all(op, f"{op.name}.sum", y, len(y.shape) - 1, "sum", first=first)
    kind = op.constant(4).kind if op.has(4) else "uint8"
    factor = np.asarray(scale / (Real(op.number(3)) * count))
    return _rounded(op, total, [Scale(factor)], kind, _zero(op, 4), op.name)


def qlinear_concat(op: Operator) -> Result:
    """Read QLinearConcat: y scale, zero, then x, scale, zero of every part."""
    kind = op.constant(1).kind
    out, zero = op.number(0), _zero(op, 1)
    parts = []
    for index in range(2, op.count, 3):
        x = _input(op, index, index + 1, index + 2)
        same = float(x.scale) == float(Real(out))
        chain: list[Function] = [] if same else [Scale(np.asarray(x.scale)), Divide(np.asarray(Real(out)))]
        parts.append(_rounded(op, x.x, chain, kind, zero, f"{op.name}.part"))
    parts = layout.together(op.reading, *parts)
    axis = parts[0].axis(op.options.integer("axis"))
    if axis is None:
        raise UnsupportedError("joins events of a batch")
    total = sum(x.shape[axis] for x in parts)
    shape = (*parts[0].shape[:axis], total, *parts[0].shape[axis + 1 :])
    layer = model.Concat(op.name, tuple(x.layer for x in parts), parts[0].order[axis])
    return op.layer(layer, replace(parts[0], shape=shape), kind=kind, zero=zero)
