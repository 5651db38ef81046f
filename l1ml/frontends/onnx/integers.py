# SPDX-License-Identifier: Apache-2.0
"""Products between DequantizeLinear and QuantizeLinear, in whole numbers.

ONNX Runtime replaces such a layer, with the pairs around it, by one on whole numbers (QLinearConv, QGemm,
QLinearMatMul) unless it is told not to: the sum is exact, and one float32 product with
``x_scale * w_scale / y_scale`` leads back to few bits.  Hardware does the same, so scales that are no power
of two come out exactly.  `Data.scale` marks dequantized tensors, `Reading.sums` knows the whole numbers
behind products.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from l1ml.frontends.onnx.layout import compact
from l1ml.frontends.onnx.operator import Operator, Reading, Sum
from l1ml.frontends.onnx.tensors import Constant, Data, Waiting
from l1ml.frontends.onnx.weights import Weights
from l1ml.graph import functions
from l1ml.graph.functions import Function
from l1ml.graph.model import Map

NEAR = 1e-6
"""The scale of a bias is the product of two float32, rounded; it may be off by so much of itself."""

Make = Callable[[str, Data, Weights, Constant | None], Data]


@dataclass(frozen=True, eq=False)
class _Parts:
    x: Data
    weights: Weights
    bias: Constant | None
    factor: np.ndarray
    offset: np.ndarray | None


def product(op: Operator, x: Data, weights: Weights, bias: Constant | None, make: Make) -> Data:
    """Add a product with its bias: on whole numbers behind a DequantizeLinear, else as it is.

    Args:
        op: the node.
        x: its input, as `Operator.raw` gives it.
        weights: its constant, the outputs on the last axis.
        bias: per output, or None.
        make: adds the layer under a name.
    """
    parts = _parts(x, weights, bias)
    if parts is None:
        return make(op.name, op.reading.settled(x), weights, bias)
    y = make(f"{op.name}.sum", parts.x, parts.weights, parts.bias)
    chain: list[Function] = [functions.Scale(parts.factor)]
    if parts.offset is not None:
        chain.append(functions.Offset(parts.offset))
    real = op.layer(Map(op.name, (y.layer,), tuple(chain), f"{op.node.kind} * scale"), y)
    if parts.offset is None:
        op.reading.sums[real.layer] = Sum(y.layer, parts.factor)
    return real


def _parts(x: Data, weights: Weights, bias: Constant | None) -> _Parts | None:
    if x.scale is None or not weights.exact or (weights.scale is None and x.scale == 1):
        return None
    own = weights.per_output(range(weights.kernel.ndim - 1))
    factor = np.asarray(np.float32(x.scale) * np.float32(1 if own is None else own), dtype=np.float32)
    x, weights = replace(x, scale=None), replace(weights, scale=None)
    if bias is None:
        return _Parts(x, weights, None, compact(factor), None)
    codes = _bias_codes(bias, factor, weights.kernel.shape[-1])
    if codes is not None:
        return _Parts(x, weights, Constant(codes, "float32", bias.quantizer), compact(factor), None)
    return _Parts(x, weights, None, compact(factor), compact(bias.values.astype(np.float32).reshape(-1)))


def _bias_codes(bias: Constant, factor: np.ndarray, outputs: int) -> np.ndarray | None:
    """Return a bias in units of the sum, None where it has another scale."""
    codes = bias.values.astype(np.float64) if bias.codes is None else bias.codes
    scale = np.ones(codes.shape) if bias.scale is None else bias.scale
    codes, scale, factor = (np.broadcast_to(a.reshape(-1), (outputs,)) for a in (codes, scale, factor))
    ratio = scale / factor.astype(np.float64)
    if bias.quantizer is None or not bool((ratio > 0).all()):
        return None
    unit = 2.0 ** np.rint(np.log2(ratio))  # weights or data may have a power of two in their values
    return codes * unit if bool((np.abs(ratio / unit - 1) < NEAR).all()) else None


def bounded(reading: Reading, x: Data, y: Data, lo: float, hi: float) -> Data:
    """Let a ReLU or Clip behind a product bound what is known about it."""
    known = reading.sums.get(x.layer)
    if known is not None:
        reading.sums[y.layer] = replace(known, lo=max(known.lo, lo), hi=min(known.hi, hi))
    return y


def requantized(reading: Reading, waiting: Waiting) -> Waiting:
    """Let a QuantizeLinear behind a product read the sum itself."""
    known = reading.sums.get(waiting.x.layer)
    if known is None or waiting.scale.ndim or waiting.zero.ndim or known.lo > known.hi:
        return waiting
    scale, zero = np.float32(waiting.scale), float(waiting.zero)
    # Rounding keeps the order, so a bound on the value is a bound on the code.
    low, high = (float(np.rint(np.float32(bound) / scale)) + zero for bound in (known.lo, known.hi))
    return replace(
        waiting,
        x=replace(waiting.x, layer=known.layer),
        factor=np.asarray(known.factor / scale, dtype=np.float32),
        lo=int(min(max(waiting.lo, low), waiting.hi)),
        hi=int(max(min(waiting.hi, high), waiting.lo)),
    )
