# SPDX-License-Identifier: Apache-2.0
"""Step functions of one variable: affine, by thresholds, or by table.

They see the codes of an element on its own grid, whatever that is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from l1ml.errors import ModelError, RangeError
from l1ml.graph.primitives.base import Primitive, Shape, bounded, broadcasts, magnitude, spread
from l1ml.graph.tensor import TensorType
from l1ml.types.arrays import IntArray
from l1ml.types.intrange import MAX_WIDTH


@dataclass(frozen=True, eq=False)
class Rescale(Primitive):
    """``clip((x * multiplier + offset) >> shift, lo, hi)``: a real affine function followed by a quantizer.

    Args:
        multiplier: integers, broadcastable to the shape, as all that follow.
        offset: in LSBs of the product.
        shift: bits dropped, at least 0.
        lo: smallest result.
        hi: largest result.
        frac: fraction bits of the result.
    """

    multiplier: IntArray
    offset: IntArray
    shift: IntArray
    lo: IntArray
    hi: IntArray
    frac: int

    def __post_init__(self) -> None:
        super().__post_init__()
        if bool((self.shift < 0).any() | (self.shift > MAX_WIDTH).any()):
            raise RangeError(f"a shift outside 0..{MAX_WIDTH}")
        if bool((self.lo > self.hi).any()):
            raise RangeError("a smallest result above the largest")

    def infer(self, *types: TensorType) -> TensorType:
        (x,) = types
        self.shape_of(x.shape)
        factor, offset = (np.abs(n.astype(np.float64)) for n in (self.multiplier, self.offset))
        bounded(magnitude(x) * factor + offset, "a scaled sum")
        ends = [self.emulate([n], [x]) for n in (x.lo, x.hi)]
        return TensorType(np.minimum(*ends), np.maximum(*ends), np.full(x.shape, self.frac, dtype=np.int64))

    def emulate(self, codes: Sequence[IntArray], types: Sequence[TensorType]) -> IntArray:
        line = (codes[0] * self.multiplier + self.offset) >> self.shift
        return np.asarray(np.clip(line, self.lo, self.hi))


@dataclass(frozen=True, eq=False)
class Steps(Primitive):
    """``base + sum over k of jumps[k] where x >= thresholds[k]``.

    Args:
        thresholds: (..., n), ascending; one that is never reached stands above the range of the input.
        base: (...), result below all thresholds; its axes broadcast to the shape.
        jumps: (..., n), positive or negative.
        frac: fraction bits of the result.
    """

    thresholds: IntArray
    base: IntArray
    jumps: IntArray
    frac: int

    def __post_init__(self) -> None:
        super().__post_init__()
        n = self.thresholds.shape[-1:]
        if not n or self.jumps.shape[-1:] not in (n, (1,)):
            raise ModelError(f"{self.thresholds.shape} thresholds and {self.jumps.shape} jumps do not fit")
        if bool((np.diff(self.thresholds, axis=-1) < 0).any()):
            raise ModelError("thresholds must ascend")
        total = np.abs(self.jumps.astype(np.float64)).sum(axis=-1) * (
            n[0] if self.jumps.shape[-1] == 1 else 1
        )
        bounded(np.asarray(np.abs(self.base.astype(np.float64)).max(initial=0.0) + total), "a step function")

    def shape_of(self, *shapes: Shape) -> Shape:
        (shape,) = shapes
        for given in (self.thresholds.shape[:-1], self.base.shape, self.jumps.shape[:-1]):
            if not broadcasts(given, shape):
                raise ModelError(f"Steps: constants of shape {given} for a tensor {shape}")
        return shape

    def work(self, *shapes: Shape) -> int:
        return prod(self.shape_of(*shapes)) * int(1 + self.thresholds.shape[-1])

    def infer(self, *types: TensorType) -> TensorType:
        (x,) = types
        self.shape_of(x.shape)
        limits, size = self.thresholds, self.thresholds.shape[-1]
        last = np.append(np.diff(limits, axis=-1) > 0, np.ones((*limits.shape[:-1], 1), dtype=bool), axis=-1)
        low = high = self.emulate([x.lo], [x])
        level = spread(self.base, x.shape)
        for k in range(size):
            level = level + self.jumps[..., min(k, self.jumps.shape[-1] - 1)]
            reached = (x.lo < limits[..., k]) & (limits[..., k] <= x.hi) & last[..., k]
            low = np.where(reached, np.minimum(low, level), low)
            high = np.where(reached, np.maximum(high, level), high)
        return TensorType(low, high, np.full(x.shape, self.frac, dtype=np.int64))

    def emulate(self, codes: Sequence[IntArray], types: Sequence[TensorType]) -> IntArray:
        total: IntArray = np.broadcast_to(self.base, codes[0].shape).copy()
        for k in range(self.thresholds.shape[-1]):
            jump = self.jumps[..., min(k, self.jumps.shape[-1] - 1)]
            total += np.where(codes[0] >= self.thresholds[..., k], jump, 0)
        return total


@dataclass(frozen=True, eq=False)
class Lookup(Primitive):
    """``table[which, x - first]``; the range of ``x`` must lie within the table.

    Args:
        first: input code of the first entry, broadcastable to the shape.
        table: (tables, entries) results.
        which: row of the table, broadcastable to the shape.
        frac: fraction bits of the result.
    """

    first: IntArray
    table: IntArray
    which: IntArray
    frac: int

    def shape_of(self, *shapes: Shape) -> Shape:
        (shape,) = shapes
        if not (broadcasts(self.first.shape, shape) and broadcasts(self.which.shape, shape)):
            raise ModelError(f"Lookup: constants of shape {self.first.shape}, {self.which.shape} for {shape}")
        rows = self.table.shape[0] if self.table.ndim == 2 else 0
        if not (self.which.min(initial=0) >= 0 and self.which.max(initial=0) < rows):
            raise ModelError(f"Lookup: no such row in a table of shape {self.table.shape}")
        return shape

    def infer(self, *types: TensorType) -> TensorType:
        (x,) = types
        self.shape_of(x.shape)
        first, which = spread(self.first, x.shape), spread(self.which, x.shape)
        begin, end = x.lo - first, x.hi - first
        if int(begin.min(initial=0)) < 0 or int(end.max(initial=0)) >= self.table.shape[1]:
            ends = f"{int(begin.min(initial=0))}..{int(end.max(initial=0))}"
            raise RangeError(f"a table of {self.table.shape[1]} entries is read at {ends}")
        lo, hi = (
            _over_ranges(function, self.table, which, begin, end) for function in (np.minimum, np.maximum)
        )
        return TensorType(lo, hi, np.full(x.shape, self.frac, dtype=np.int64))

    def emulate(self, codes: Sequence[IntArray], types: Sequence[TensorType]) -> IntArray:
        return np.asarray(self.table[self.which, codes[0] - self.first])


def _over_ranges(
    function: Callable[[IntArray, IntArray], IntArray],
    table: IntArray,
    which: IntArray,
    begin: IntArray,
    end: IntArray,
) -> IntArray:
    """Return the minimum or maximum of ``table[which, begin..end]``, from those of 2**level entries each."""
    levels = np.frexp((end - begin + 1).astype(np.float64))[1] - 1
    out = np.zeros(which.shape, dtype=np.int64)
    over = table
    for level in range(int(levels.max(initial=0)) + 1):
        size = 1 << level
        at = levels == level
        rows = which[at]
        out[at] = function(over[rows, begin[at]], over[rows, end[at] - size + 1])
        over = function(over[:, :-size], over[:, size:])
    return out
