# SPDX-License-Identifier: Apache-2.0
"""Products and sums as engines see them: every operand on one grid, every result exact."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from l1ml.errors import ConfigError
from l1ml.graph import primitives as p
from l1ml.graph.tensor import TensorType
from l1ml.plan.fold import ROM_BITS, FoldEngine
from l1ml.plan.making import Making, Reload
from l1ml.plan.network import Engine
from l1ml.plan.reduce import ReduceEngine
from l1ml.plan.streams import Raster, Stream
from l1ml.plan.tables import width
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
    op: p.ConstMatmul,
    stream: Stream,
    weights: IntArray,
    per_clock: int,
    making: Making,
    bias: p.AddConst | None = None,
) -> Accumulating:
    """Return a product with constants, a few inputs per clock.

    Args:
        op: the product on a whole tensor.
        stream: its operand; all elements of a beat are inputs.
        weights: (phases, inputs per beat, n_out).
        per_clock: inputs taken per clock.
        making: what multiplies, where the weights lie, and whether they can be replaced.
        bias: added behind it, (n_out,); only where weights can be replaced.

    Raises:
        ConfigError: it cannot be made like that.
    """
    beat = stream.beat_type()
    kind = beat.reshaped((beat.size,))
    common = kind.max_frac
    ups = common - kind.frac
    lo, hi = kind.lo << ups, kind.hi << ups
    signed = bool((lo < 0).any())
    input_bits = max(1, width(int(lo.min()), int(hi.max()), signed=signed))
    phases, inputs, outputs = weights.shape
    results = stream.raster.beats // phases
    if making.reload is not None:
        codes, grid, added, more = _on_grids(op, weights, common, making.reload, bias)
        ups, input_bits = ups + more, input_bits + more
        weight_bits, acc_bits = _room(codes, input_bits, signed, making.reload, added)
        plain = FoldEngine(
            weights=codes, input_bits=input_bits, input_signed=signed, weight_bits=weight_bits, acc_bits=acc_bits,
            per_clock=min(per_clock, inputs), results=results, bias=added, reloadable=True,
        )  # fmt: skip
        half = np.full(outputs, 1 << acc_bits - 1, dtype=np.int64)
        made = TensorType(-half, half - 1, np.full(outputs, grid))
        return Accumulating(making.made(plain), made, ups, input_bits, acc_bits, np.zeros_like(half))
    flat = weights.reshape(phases * inputs, outputs)
    every = TensorType(np.tile(lo, phases), np.tile(hi, phases), np.full(phases * inputs, common))
    exact = p.ConstMatmul(flat, op.frac)
    made = exact.infer(every)
    drops = (common + op.frac) - made.frac
    weight_bits = max(2, width(int(flat.min()), int(flat.max()), signed=True))
    result_bits = max(FoldEngine.least_acc_bits(weights, input_bits, signed), 2)
    per_clock = min(per_clock, max(1, int(weights.any(axis=(0, 2)).sum())))  # others are dropped
    plain = FoldEngine(
        weights=weights, input_bits=input_bits, input_signed=signed, weight_bits=weight_bits, acc_bits=result_bits,
        per_clock=per_clock, results=results,
    )  # fmt: skip
    return Accumulating(making.made(plain), made, ups, input_bits, result_bits, drops)


def cuts(weights: IntArray, per_clock: int) -> list[slice]:
    """Return the outputs in as many parts as it takes for the ROM of each to be small enough for one Fold.

    Args:
        weights: (phases, inputs per beat, n_out).
        per_clock: inputs taken per clock.
    """
    phases, _, outputs = weights.shape
    kept = max(1, int(weights.any(axis=(0, 2)).sum()))
    slices = -(-kept // min(per_clock, kept))
    bits = max(2, width(int(weights.min()), int(weights.max()), signed=True))
    each = phases * slices * min(per_clock, kept) * bits
    size = max(1, min(outputs, ROM_BITS // each))
    parts = -(-outputs // size)
    size = -(-outputs // parts)
    return [slice(first, min(first + size, outputs)) for first in range(0, outputs, size)]


def _on_grids(
    op: p.ConstMatmul, weights: IntArray, common: int, reload: Reload, bias: p.AddConst | None
) -> tuple[IntArray, int, IntArray, int]:
    """Return weights and bias on the grids of a Fold, the grid of its results, and zeros below its inputs."""
    weight_frac = op.frac if reload.weight_frac is None else reload.weight_frac
    codes = _regridded(weights, op.frac, weight_frac, "weights")
    least = common + weight_frac
    finest = least if bias is None else max(least, bias.frac)
    grid = finest if reload.acc_frac is None else reload.acc_frac
    added = np.zeros(weights.shape[2], dtype=np.int64)
    if bias is not None:
        added = _regridded(bias.constant, bias.frac, grid, "bias")
    return codes, grid, added, grid - least


def _regridded(codes: IntArray, frac: int, wanted: int, what: str) -> IntArray:
    if wanted >= frac:
        return np.asarray(codes << (wanted - frac), dtype=np.int64)
    if bool((codes & ((1 << (frac - wanted)) - 1)).any()):
        raise ConfigError(
            f"{what} need {frac} fraction bits, the block has room for {wanted}",
            fix=f"quantize the {what} to {wanted} fraction bits, or convert again",
        )
    return np.asarray(codes >> (frac - wanted), dtype=np.int64)


def _room(codes: IntArray, input_bits: int, signed: bool, reload: Reload, bias: IntArray) -> tuple[int, int]:
    """Return the bits of weights and results.

    Any weights of these bits fit, with a bias of up to twice this one, or as large as the largest product.
    """
    needed = max(2, width(int(codes.min()), int(codes.max()), signed=True))
    weight_bits = needed if reload.weight_bits is None else reload.weight_bits
    if needed > weight_bits:
        raise ConfigError(
            f"weights from {codes.min()} to {codes.max()} (codes) need {needed} bits, the block has {weight_bits}",
            fix="narrow the weights, or convert again with `reloadable: fixed<W,I>` as wide as they are",
        )
    if reload.acc_bits is not None:
        return weight_bits, reload.acc_bits
    spare = 1 << max(width(int(bias.min()), int(bias.max()), signed=True), weight_bits - 1 + input_bits)
    ends = [np.full(codes.shape, end) for end in (-(1 << weight_bits - 1), (1 << weight_bits - 1) - 1)]
    biases = [np.full_like(bias, -spare), np.full_like(bias, spare)]
    least = [FoldEngine.least_acc_bits(w, input_bits, signed, b) for w in ends for b in biases]
    return weight_bits, max(least)


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
