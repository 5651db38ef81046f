# SPDX-License-Identifier: Apache-2.0
"""Products and sums as engines see them: every operand on one grid, every result exact."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from l1ml.graph import primitives as p
from l1ml.graph.tensor import TensorType
from l1ml.plan.fold import FoldEngine
from l1ml.plan.making import Making
from l1ml.plan.network import Engine
from l1ml.plan.reduce import ReduceEngine
from l1ml.plan.streams import Stream
from l1ml.types.arrays import IntArray


@dataclass(frozen=True, eq=False)
class Accumulating:
    """An engine that adds up, and how its operands and results are wired; see `l1ml.plan.network.EngineNode`."""

    engine: Engine
    type: TensorType
    ups: IntArray
    input_bits: int
    result_bits: int
    drops: IntArray


def fold_of(
    op: p.ConstMatmul, stream: Stream, weights: IntArray, per_clock: int, making: Making
) -> Accumulating:
    """Return a product with constants, a few inputs per clock.

    Args:
        op: the product on a whole tensor.
        stream: its operand; all elements of a beat are inputs.
        weights: (phases, inputs per beat, n_out).
        per_clock: inputs taken per clock.
        making: what multiplies, and where the weights lie.

    Raises:
        ConfigError: it cannot be made like that.
    """
    beat = stream.beat_type()
    kind = beat.reshaped((beat.size,))
    common = kind.max_frac
    ups = common - kind.frac
    lo, hi = kind.lo << ups, kind.hi << ups
    phases, inputs, outputs = weights.shape
    flat = weights.reshape(phases * inputs, outputs)
    every = TensorType(np.tile(lo, phases), np.tile(hi, phases), np.full(phases * inputs, common))
    exact = p.ConstMatmul(flat, op.frac)
    made = exact.infer(every)
    drops = (common + op.frac) - made.frac
    signed = bool((lo < 0).any())
    input_bits = max(1, _width(int(lo.min()), int(hi.max()), signed=signed))
    weight_bits = max(2, _width(int(flat.min()), int(flat.max()), signed=True))
    result_bits = max(FoldEngine.least_acc_bits(weights, input_bits, signed), 2)
    per_clock = min(per_clock, max(1, int(weights.any(axis=(0, 2)).sum())))  # others are dropped
    plain = FoldEngine(
        weights=weights, input_bits=input_bits, input_signed=signed, weight_bits=weight_bits, acc_bits=result_bits,
        per_clock=per_clock, results=stream.raster.beats // phases,
    )  # fmt: skip
    return Accumulating(making.made(plain), made, ups, input_bits, result_bits, drops)


def reduce_of(op: p.Reduce, stream: Stream) -> Accumulating:
    """Return a sum, maximum or minimum over all positions of a stream."""
    kind, raster = stream.type, stream.raster
    shape = (raster.positions, stream.elements)
    every = TensorType(*(np.broadcast_to(a, shape).T.copy() for a in (kind.lo, kind.hi, kind.frac)))
    made = op.infer(every)
    signed = bool((kind.lo < 0).any())
    bits = max(1, max(kind.at(k).width + (signed and not kind.at(k).signed) for k in range(kind.size)))
    result = ReduceEngine.least_result_bits(op.kind, raster.positions, bits, signed)
    engine = ReduceEngine(
        rows=raster.rows, columns=raster.columns, lanes=raster.lanes, channels=stream.elements,
        element_bits=bits, signed=signed, kind=op.kind, result_bits=result,
    )  # fmt: skip
    none = np.zeros(stream.elements, dtype=np.int64)
    return Accumulating(engine, made, none, bits, result, none)


def _width(lo: int, hi: int, *, signed: bool) -> int:
    return max(hi.bit_length(), (~lo).bit_length() if lo < 0 else 0) + signed
