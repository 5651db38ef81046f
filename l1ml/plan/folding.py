# SPDX-License-Identifier: Apache-2.0
"""Products and sums as engines see them: every operand on one grid, every result exact."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from l1ml.graph import primitives as p
from l1ml.graph.tensor import TensorType
from l1ml.plan.fold import FoldEngine
from l1ml.plan.network import Engine
from l1ml.plan.reduce import ReduceEngine
from l1ml.plan.streams import Raster, Stream
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
    op: p.ConstMatmul, stream: Stream, weights: IntArray, per_clock: int, period_ns: float
) -> Accumulating:
    """Return a product with constants, a few inputs per clock.

    Args:
        op: the product on a whole tensor.
        stream: its operand; all elements of a beat are inputs.
        weights: (phases, inputs per beat, n_out).
        per_clock: inputs taken per clock.
        period_ns: of the clock, for the registers inside.
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
    multiplier_stages, tree_stages = registers(period_ns, per_clock)
    engine = FoldEngine(
        weights=weights, input_bits=input_bits, input_signed=signed, weight_bits=weight_bits, acc_bits=result_bits,
        per_clock=per_clock, results=stream.raster.beats // phases,
        multiplier_stages=multiplier_stages, tree_stages=tree_stages,
    )  # fmt: skip
    return Accumulating(engine, made, ups, input_bits, result_bits, drops)


def reduce_of(op: p.Reduce, stream: Stream, raster: Raster, groups: int) -> Accumulating:
    """Return a sum, maximum or minimum over positions of a stream.

    Args:
        op: what is done.
        stream: the operand.
        raster: the positions of one result.
        groups: results, one after the other.
    """
    kind = stream.type
    shape = (raster.positions, stream.elements)
    every = TensorType(*(np.broadcast_to(a, shape).T.copy() for a in (kind.lo, kind.hi, kind.frac)))
    made = op.infer(every)
    signed = bool((kind.lo < 0).any())
    bits = max(1, max(kind.at(k).width + (signed and not kind.at(k).signed) for k in range(kind.size)))
    result = ReduceEngine.least_result_bits(op.kind, raster.positions, bits, signed)
    engine = ReduceEngine(
        rows=raster.rows, columns=raster.columns, lanes=raster.lanes, channels=stream.elements,
        element_bits=bits, signed=signed, kind=op.kind, result_bits=result, groups=groups,
    )  # fmt: skip
    none = np.zeros(stream.elements, dtype=np.int64)
    return Accumulating(engine, made, none, bits, result, none)


def registers(period_ns: float, per_clock: int) -> tuple[int, int]:
    """Return the registers at the multipliers and in the adder tree of a Fold that a clock needs.

    A multiplier of short words takes about 1.5 ns, a level of the tree and the accumulator 0.6 ns each with routing.
    """
    levels = (per_clock - 1).bit_length()
    if period_ns >= 2.1 + 0.6 * levels + 0.6:
        return 0, 0
    fit = max(1, int((period_ns - 0.9) / 0.6))
    tree = max(0, -(-levels // fit) - 1)
    return (1 if period_ns >= 2.6 else 2), min(levels, tree + (1 if levels else 0))


def _width(lo: int, hi: int, *, signed: bool) -> int:
    return max(hi.bit_length(), (~lo).bit_length() if lo < 0 else 0) + signed
