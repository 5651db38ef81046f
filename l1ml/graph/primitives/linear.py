# SPDX-License-Identifier: Apache-2.0
"""Sums and products with constants, exact."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from l1ml.errors import ModelError
from l1ml.graph.primitives.base import (
    Primitive,
    Shape,
    bounded,
    live_frac,
    magnitude,
    product,
    shifted,
    spread,
    to_grid,
)
from l1ml.graph.tensor import TensorType
from l1ml.types.arrays import IntArray


@dataclass(frozen=True, eq=False)
class ConstMatmul(Primitive):
    """``x @ (matrix * 2**-frac)``: (..., n_in) to (..., n_out).

    Every result element has the finest grid that one of its own terms needs: products with 0, inputs that are
    always 0 and trailing zeros of a weight do not count.

    Args:
        matrix: (n_in, n_out) integers.
        frac: fraction bits of the matrix.
    """

    matrix: IntArray
    frac: int

    def shape_of(self, *shapes: Shape) -> Shape:
        (shape,) = shapes
        if self.matrix.ndim != 2 or not shape or shape[-1] != self.matrix.shape[0]:
            raise ModelError(f"a tensor {shape} cannot be multiplied by a matrix {self.matrix.shape}")
        return (*shape[:-1], self.matrix.shape[1])

    def work(self, *shapes: Shape) -> int:
        return prod(shapes[0]) * int(self.matrix.shape[-1])

    def _grids(self, x: TensorType) -> tuple[IntArray, IntArray, IntArray]:
        """Return the left shift of every input, the grid of every sum then, and the grid of the results."""
        own = live_frac(x)
        common = own.max(axis=-1, initial=int(own.min(initial=0)))[..., None]
        none = np.iinfo(np.int64).min // 2
        need = np.where((x.lo == 0) & (x.hi == 0), none, own).reshape(prod(x.shape[:-1]), x.shape[-1])
        rows, back = _distinct(need)
        weights = np.where(self.matrix == 0, none, -_trailing_zeros(self.matrix))
        finest: IntArray = np.full((len(rows), self.matrix.shape[1]), 2 * none, dtype=np.int64)
        for k in range(
            self.matrix.shape[0]
        ):  # one input at a time: all at once would be as large as the products
            finest = np.maximum(finest, rows[:, k, None] + weights[k])
        finest = finest[back].reshape(self.shape_of(x.shape))
        sums = np.broadcast_to(common + self.frac, finest.shape)
        return np.maximum(common - own, 0), sums, np.where(finest < none // 2, sums, finest + self.frac)

    def infer(self, *types: TensorType) -> TensorType:
        (x,) = types
        self.shape_of(x.shape)
        up, sums, frac = self._grids(x)
        bound = self._bound(x, up)
        bounded(np.asarray(bound), "a dot product")
        lo, hi = shifted(x.lo, up), shifted(x.hi, up)
        positive, negative = np.maximum(self.matrix, 0), np.minimum(self.matrix, 0)
        low = product(lo, positive, bound) + product(hi, negative, bound)
        high = product(hi, positive, bound) + product(lo, negative, bound)
        return TensorType(low >> (sums - frac), high >> (sums - frac), frac)

    def _bound(self, x: TensorType, up: IntArray) -> float:
        peaks = np.ldexp(magnitude(x), up) @ np.abs(self.matrix.astype(np.float64))
        return float(peaks.max(initial=0.0))

    def emulate(self, codes: Sequence[IntArray], types: Sequence[TensorType]) -> IntArray:
        (x,) = types
        up, sums, frac = self._grids(x)
        sums_now = product(shifted(codes[0], up), self.matrix, self._bound(x, up))
        return np.asarray(sums_now >> (sums - frac))


def _distinct(rows: IntArray) -> tuple[IntArray, IntArray]:
    """Return the distinct rows and which of them each row is.

    Sorting whole rows takes most of the time for an image; sorting one number per row does not.  Where two rows
    share their number by chance, all are sorted after all.
    """
    key = rows @ (np.arange(1, rows.shape[1] + 1, dtype=np.int64) ** 3 * 2_654_435_761 + 1)
    _, first, back = np.unique(key, return_index=True, return_inverse=True)
    found = rows[first]
    if np.array_equal(found[back.ravel()], rows):
        return found, back.ravel()
    found, back = np.unique(rows, axis=0, return_inverse=True)
    return found, back.ravel()


def _trailing_zeros(values: IntArray) -> IntArray:
    low = values & -values
    return np.where(values == 0, 0, np.log2(np.maximum(low, 1).astype(np.float64)).astype(np.int64))


@dataclass(frozen=True, eq=False)
class AddConst(Primitive):
    """``x + constant * 2**-frac``, on the finer of both grids.

    Args:
        constant: integers, broadcastable to the shape.
        frac: fraction bits of the constants.
    """

    constant: IntArray
    frac: int

    def infer(self, *types: TensorType) -> TensorType:
        (x,) = types
        self.shape_of(x.shape)
        common = np.maximum(x.frac, self.frac)
        lo, hi = to_grid(x, common, "a sum")
        term = np.ldexp(np.abs(self.constant.astype(np.float64)), common - self.frac)
        bounded(np.maximum(np.abs(lo), np.abs(hi)).astype(np.float64) + term, "a sum")
        constant = self.constant << (common - self.frac)
        return TensorType(lo + constant, hi + constant, common)

    def emulate(self, codes: Sequence[IntArray], types: Sequence[TensorType]) -> IntArray:
        frac = types[0].frac
        common = np.maximum(frac, self.frac)
        return np.asarray((codes[0] << (common - frac)) + (self.constant << (common - self.frac)))


@dataclass(frozen=True, eq=False)
class MulConst(Primitive):
    """``x * multiplier * 2**-frac``, element by element; a multiplier of 1 only moves the binary point.

    Args:
        multiplier: integers, broadcastable to the shape.
        frac: fraction bits of the multipliers; they are added to those of ``x``.
    """

    multiplier: IntArray
    frac: int

    def infer(self, *types: TensorType) -> TensorType:
        (x,) = types
        self.shape_of(x.shape)
        factor = spread(self.multiplier, x.shape)
        bounded(magnitude(x) * np.abs(factor.astype(np.float64)), "a product")
        a, b = x.lo * factor, x.hi * factor
        return TensorType(np.minimum(a, b), np.maximum(a, b), x.frac + self.frac)

    def emulate(self, codes: Sequence[IntArray], types: Sequence[TensorType]) -> IntArray:
        return np.asarray(codes[0] * self.multiplier)
