# SPDX-License-Identifier: Apache-2.0
"""QuantizeLinear and DequantizeLinear: whole numbers between them, real numbers around them.

A QuantizeLinear waits for what follows: a DequantizeLinear with the same scale makes both one quantizer, a
Clip between them (bit widths below 8) narrows it.  The layers hold ``code - zero point``, which pads with
the right number and needs no correction in sums.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from l1ml.frontends.common import UnsupportedError, power_of_two
from l1ml.frontends.onnx import integers, quantize
from l1ml.frontends.onnx.file import ELEMENTS
from l1ml.frontends.onnx.functions import rounded
from l1ml.frontends.onnx.layout import fitted
from l1ml.frontends.onnx.operator import Operator, Result
from l1ml.frontends.onnx.tensors import Constant, Waiting, bounds, is_whole
from l1ml.graph.functions import Offset
from l1ml.graph.model import Map


def quantize_linear(op: Operator) -> Result:
    """Read QuantizeLinear: ``clip(round_half_even(x / scale) + zero point)``."""
    kind = _kind(op)
    constant = op.is_constant(0)
    rank = op.constant(0).values.ndim if constant else op.data(0).rank
    scale, zero = _parameters(op, rank)
    lo, hi = bounds(kind)
    if constant:
        values = op.constant(0).values.astype(np.float32)
        codes = rounded((values / scale.astype(np.float32)).astype(np.float64), "ROUND") + zero
        return Constant(np.clip(codes, lo, hi).astype(np.int64), kind)
    x = op.data(0)
    x, scale = fitted(op.reading, x, scale)
    same, zero = fitted(op.reading, x, zero)
    if same.shape != x.shape:
        raise UnsupportedError("a zero point that does not fit the data")
    if scale.ndim == 0 and zero.ndim:
        scale = np.broadcast_to(scale, zero.shape)
    return integers.requantized(op.reading, Waiting(op.name, x, scale, zero, lo, hi, kind))


def _kind(op: Operator) -> str:
    given = op.options.integer("output_dtype", 0)
    op.options.only("precision", 0, 1)
    op.options.ignore("saturate")  # about float8 only
    kind = op.constant(2).kind if op.has(2) else ELEMENTS.get(given or 2, f"type {given}")
    if not is_whole(kind) or kind in ("bool", "int64", "uint64"):
        raise UnsupportedError(f"to {kind}; whole numbers of 2 to 32 bits are supported")
    return kind


def _parameters(op: Operator, rank: int) -> tuple[np.ndarray, np.ndarray]:
    """Return scale and zero point with as many axes as the tensor, or as scalars."""
    scale = op.reals(1)
    zero = op.reals(2) if op.has(2) else np.zeros(())
    if zero.size not in (1, scale.size):
        raise UnsupportedError(f"{scale.size} scales and {zero.size} zero points")
    axis, block = op.options.integer("axis", 1), op.options.integer("block_size", 0)
    if not bool((scale > 0).all()):
        raise UnsupportedError("a scale that is not positive")
    return tuple(_along(op, a, rank, axis, block) for a in (scale, zero))  # type: ignore[return-value]


def _along(op: Operator, values: np.ndarray, rank: int, axis: int, block: int) -> np.ndarray:
    if values.size == 1:
        return values.reshape(())
    if not -rank <= axis < rank:
        raise UnsupportedError(f"works along axis {axis} of a tensor with {rank} axes")
    if block:
        if not op.is_constant(0) or values.ndim != rank:
            raise UnsupportedError("a scale per block on data; one scale, or one per channel, is supported")
        size = op.constant(0).values.shape[axis]
        return np.repeat(values, block, axis=axis).take(np.arange(size), axis=axis)
    if values.ndim != 1:
        raise UnsupportedError(
            f"a scale of shape {values.shape}; one scale, or one per channel, is supported"
        )
    sizes = [1] * rank
    sizes[axis] = values.size
    return values.reshape(sizes)


def dequantize_linear(op: Operator) -> Result:
    """Read DequantizeLinear: ``(x - zero point) * scale``."""
    op.options.only("output_dtype", 0, 1)
    tensor = op.tensor(0)
    if isinstance(tensor, Constant):
        x = op.constant(0)
        if not x.whole:
            raise UnsupportedError(f"reads {x.kind}; whole numbers are expected")
        scale, zero = _parameters(op, x.values.ndim)
        return quantize.scaled(x.values.astype(np.float64) - zero, scale, f"DequantizeLinear({x.kind})")
    rank = tensor.x.rank if isinstance(tensor, Waiting) else tensor.rank
    scale, zero = _parameters(op, rank)
    if isinstance(tensor, Waiting):
        _, own_scale = fitted(op.reading, tensor.x, scale)
        _, own_zero = fitted(op.reading, tensor.x, zero)
        if np.array_equal(
            np.broadcast_to(own_scale, np.shape(tensor.scale)), tensor.scale
        ) and np.array_equal(np.broadcast_to(own_zero, np.shape(tensor.zero)), tensor.zero):
            binary = all(power_of_two(float(s)) for s in np.unique(tensor.scale))
            if binary and tensor.factor is None:
                return replace(quantize.undone(op.reading, tensor, op.name), scale=1.0)
    x_data = op.raw(0)
    if not x_data.whole:
        raise UnsupportedError(f"reads {x_data.kind}; whole numbers are expected")
    x_data, zero = fitted(op.reading, x_data, zero)
    x_data, factor = fitted(op.reading, x_data, scale)
    rest = (x_data.zero - zero).astype(np.float32)
    x_data = replace(x_data, zero=0)
    if rest.any():
        step = Map(f"{op.name}.centred", (x_data.layer,), (Offset(rest),), "- zero point")
        x_data = op.layer(step, x_data, kind="int32")
    if factor.ndim == 0 and not power_of_two(float(factor)):
        return replace(x_data, kind="float32", scale=float(factor))
    made = op.map(x_data, quantize.scale_by(factor), f"DequantizeLinear({tensor.kind})")
    return replace(made, scale=1.0) if factor.ndim == 0 else made


def narrowed(waiting: Waiting, lo: float, hi: float) -> Waiting:
    """Return a QuantizeLinear whose codes are clipped."""
    least, most = max(waiting.lo, int(np.ceil(lo))), min(waiting.hi, int(np.floor(hi)))
    if least > most:
        raise UnsupportedError(f"clips to {lo:g}..{hi:g}, which holds no code")
    return replace(waiting, lo=least, hi=most)
