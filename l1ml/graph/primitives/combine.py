# SPDX-License-Identifier: Apache-2.0
"""Operations on several tensors of the event, and reductions over the last axis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from math import prod
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from l1ml.errors import ModelError, RangeError
from l1ml.graph.primitives.base import (
    Primitive,
    Shape,
    bounded,
    live_frac,
    magnitude,
    product,
    shifted,
    to_grid,
)
from l1ml.graph.tensor import TensorType
from l1ml.types.arrays import IntArray

_FUNCTIONS: dict[str, Any] = {
    "add": np.add, "sub": np.subtract, "max": np.maximum, "min": np.minimum, "mul": np.multiply
}  # fmt: skip
_REDUCTIONS: dict[str, Any] = {"sum": np.sum, "max": np.max, "min": np.min}


def _ranked(types: Sequence[TensorType]) -> list[TensorType]:
    """Return the types with the same number of axes, as NumPy broadcasts them."""
    rank = max(len(x.shape) for x in types)
    return [x.reshaped((1,) * (rank - len(x.shape)) + x.shape) for x in types]


def _ranked_codes(codes: Sequence[IntArray], types: Sequence[TensorType]) -> list[IntArray]:
    """Return the codes with the same number of axes; the new ones stand behind that of the events."""
    rank = max(len(x.shape) for x in types)
    return [
        c.reshape(c.shape[: c.ndim - len(x.shape)] + (1,) * (rank - len(x.shape)) + x.shape)
        for c, x in zip(codes, types, strict=True)
    ]


def _finest(types: Sequence[TensorType]) -> IntArray:
    """Return the finest grid per element of the result."""
    return np.asarray(reduce(np.maximum, [x.frac for x in types]))


def _on_finest(codes: Sequence[IntArray], types: Sequence[TensorType]) -> list[IntArray]:
    """Return the codes of all operands on the finest grid per element."""
    frac = _finest(types)
    return [shifted(c, frac - x.frac) for c, x in zip(codes, types, strict=True)]


def _broadcast(what: str, shapes: Sequence[Shape]) -> Shape:
    try:
        return np.broadcast_shapes(*shapes)
    except ValueError:
        raise ModelError(
            f"{what}: tensors {', '.join(map(str, shapes))} do not broadcast to one shape"
        ) from None


def _full(array: ArrayLike, shape: Shape) -> IntArray:
    return np.array(np.broadcast_to(array, shape), dtype=np.int64)


@dataclass(frozen=True, eq=False)
class Combine(Primitive):
    """Elementwise ``add``, ``sub``, ``mul``, ``max`` or ``min`` of tensors that broadcast as NumPy's do.

    The grid of a result element is the finest of its operands; a product adds their fraction bits.

    Args:
        kind: the operation; ``sub`` takes two operands, the others two or more.
    """

    kind: str

    def __post_init__(self) -> None:
        if self.kind not in _FUNCTIONS:
            raise ModelError(f"unknown combination {self.kind!r}")

    def shape_of(self, *shapes: Shape) -> Shape:
        if len(shapes) < 1 or (self.kind == "sub" and len(shapes) != 2):
            raise ModelError(f"{self.kind!r} of {len(shapes)} tensors")
        return _broadcast(self.kind, shapes)

    def infer(self, *types: TensorType) -> TensorType:
        shape = self.shape_of(*(x.shape for x in types))
        xs = _ranked(types)
        if self.kind == "mul":
            return self._product(xs, shape)
        frac = np.broadcast_to(_finest(xs), shape)
        ends = [to_grid(x, frac, "a sum") for x in xs]
        if self.kind in ("add", "sub"):
            peaks = [np.maximum(np.abs(lo), np.abs(hi)).astype(np.float64) for lo, hi in ends]
            bounded(np.asarray(reduce(np.add, peaks)), "a sum")
        if self.kind == "sub":
            (a_lo, a_hi), (b_lo, b_hi) = ends
            return TensorType(a_lo - b_hi, a_hi - b_lo, frac.copy())
        lo, hi = (np.asarray(reduce(_FUNCTIONS[self.kind], [pair[k] for pair in ends])) for k in range(2))
        return TensorType(_full(lo, shape), _full(hi, shape), frac.copy())

    @staticmethod
    def _product(xs: Sequence[TensorType], shape: Shape) -> TensorType:
        bounded(np.asarray(reduce(np.multiply, [magnitude(x) for x in xs])), "a product")
        lo, hi = xs[0].lo, xs[0].hi
        for x in xs[1:]:
            ends = [lo * x.lo, lo * x.hi, hi * x.lo, hi * x.hi]
            lo, hi = (np.asarray(reduce(function, ends)) for function in (np.minimum, np.maximum))
        frac = np.asarray(reduce(np.add, [x.frac for x in xs]))
        return TensorType(_full(lo, shape), _full(hi, shape), _full(frac, shape))

    def emulate(self, codes: Sequence[IntArray], types: Sequence[TensorType]) -> IntArray:
        xs, values = _ranked(types), _ranked_codes(codes, types)
        if self.kind != "mul":
            values = _on_finest(values, xs)
        return np.asarray(reduce(_FUNCTIONS[self.kind], values))


@dataclass(frozen=True, eq=False)
class Contract(Primitive):
    """``x @ y`` for (..., n, k) and (..., k, m) with equal leading axes: (..., n, m).

    Every result element has the finest grid that one of its products needs.
    """

    def shape_of(self, *shapes: Shape) -> Shape:
        x, y = shapes
        if min(len(x), len(y)) < 2 or x[:-2] != y[:-2] or x[-1] != y[-2]:
            raise ModelError(f"tensors {x} and {y} cannot be multiplied as matrices")
        return (*x[:-1], y[-1])

    def work(self, *shapes: Shape) -> int:
        return int(np.prod(self.shape_of(*shapes), dtype=np.float64)) * shapes[0][-1]

    @staticmethod
    def _grids(x: TensorType, y: TensorType) -> tuple[list[IntArray], IntArray]:
        """Return the left shifts of both operands, and how many zeros the sums then have too many."""
        a, b = live_frac(x), live_frac(y)
        tops = [int(f.max(initial=int(f.min(initial=0)))) for f in (a, b)]
        none = np.iinfo(np.int64).min // 4
        live = [np.where((t.lo == 0) & (t.hi == 0), none, f) for t, f in ((x, a), (y, b))]
        finest = np.full((*x.shape[:-1], y.shape[-1]), 2 * none, dtype=np.int64)
        for k in range(x.shape[-1]):
            finest = np.maximum(finest, live[0][..., :, k, None] + live[1][..., None, k, :])
        spare = np.where(finest > none // 2, sum(tops) - finest, 0)
        return [tops[0] - a, tops[1] - b], spare

    def infer(self, *types: TensorType) -> TensorType:
        self.shape_of(*(x.shape for x in types))
        ups, spare = self._grids(*types)
        x = types[0]
        peaks = [np.ldexp(magnitude(t), up) for t, up in zip(types, ups, strict=True)]
        for peak in peaks:
            bounded(peak, "a factor of a product")
        bounded(peaks[0] @ peaks[1], "a sum of products")
        (x_lo, x_hi), (y_lo, y_hi) = (
            (shifted(t.lo, u), shifted(t.hi, u)) for t, u in zip(types, ups, strict=True)
        )
        lo = hi = np.zeros(spare.shape, dtype=np.int64)
        for k in range(
            x.shape[-1]
        ):  # one term after the other: all at once would be as large as the products
            p, q = (
                (x_lo[..., :, k, None], x_hi[..., :, k, None]),
                (y_lo[..., None, k, :], y_hi[..., None, k, :]),
            )
            ends = [u * v for u in p for v in q]
            lo, hi = lo + reduce(np.minimum, ends), hi + reduce(np.maximum, ends)
        # Of elements that are not always 0: those may have any binary point.
        total = (
            sum(int((live_frac(t) + up).max()) for t, up in zip(types, ups, strict=True))
            if lo.size and x.size
            else 0
        )
        return TensorType(lo >> spare, hi >> spare, total - spare)

    def emulate(self, codes: Sequence[IntArray], types: Sequence[TensorType]) -> IntArray:
        ups, spare = self._grids(*types)
        a, b = (shifted(c, up) for c, up in zip(codes, ups, strict=True))
        peaks = [np.ldexp(magnitude(t), up) for t, up in zip(types, ups, strict=True)]
        return np.asarray(product(a, b, float((peaks[0] @ peaks[1]).max(initial=0.0))) >> spare)


@dataclass(frozen=True, eq=False)
class Reduce(Primitive):
    """``sum``, ``max`` or ``min`` over the last axis, which disappears; the grid is the finest along it.

    Args:
        kind: the operation.
    """

    kind: str

    def __post_init__(self) -> None:
        if self.kind not in _REDUCTIONS:
            raise ModelError(f"unknown reduction {self.kind!r}")

    def shape_of(self, *shapes: Shape) -> Shape:
        (shape,) = shapes
        if not shape or (shape[-1] == 0 and self.kind != "sum"):
            raise ModelError(f"{self.kind} over the last axis of a tensor {shape}")
        return shape[:-1]

    def work(self, *shapes: Shape) -> int:
        return prod(shapes[0])

    def infer(self, *types: TensorType) -> TensorType:
        (x,) = types
        self.shape_of(x.shape)
        own, frac = self._grids(x)
        bounded(np.ldexp(magnitude(x), frac[..., None] - own), "a reduction")
        lo, hi = (shifted(n, frac[..., None] - own) for n in (x.lo, x.hi))
        if self.kind == "sum":
            bounded(np.maximum(np.abs(lo), np.abs(hi)).astype(np.float64).sum(axis=-1), "a sum")
        function = _REDUCTIONS[self.kind]
        return TensorType(np.asarray(function(lo, axis=-1)), np.asarray(function(hi, axis=-1)), frac)

    @staticmethod
    def _grids(x: TensorType) -> tuple[IntArray, IntArray]:
        own = live_frac(x)
        return own, np.asarray(own.max(axis=-1, initial=int(own.min(initial=0))))

    def emulate(self, codes: Sequence[IntArray], types: Sequence[TensorType]) -> IntArray:
        own, frac = self._grids(types[0])
        return np.asarray(_REDUCTIONS[self.kind](shifted(codes[0], frac[..., None] - own), axis=-1))


@dataclass(frozen=True, eq=False)
class Compare(Primitive):
    """1 where ``a >= b``, else 0, in values (grids may differ); the operands broadcast."""

    def shape_of(self, *shapes: Shape) -> Shape:
        _, _ = shapes
        return _broadcast("a comparison", shapes)

    def infer(self, *types: TensorType) -> TensorType:
        shape = self.shape_of(*(x.shape for x in types))
        xs = _ranked(types)
        frac = np.broadcast_to(_finest(xs), shape)
        (a_lo, a_hi), (b_lo, b_hi) = (to_grid(x, frac, "a comparison") for x in xs)
        always, possible = (_full(ends, shape) for ends in (a_lo >= b_hi, a_hi >= b_lo))
        return TensorType(always, possible, np.zeros(shape, dtype=np.int64))

    def emulate(self, codes: Sequence[IntArray], types: Sequence[TensorType]) -> IntArray:
        a, b = _on_finest(_ranked_codes(codes, types), _ranked(types))
        return (a >= b).astype(np.int64)


@dataclass(frozen=True, eq=False)
class Select(Primitive):
    """``a`` where the condition (first operand, 0 or 1) is 1, else ``b``; all three broadcast."""

    def shape_of(self, *shapes: Shape) -> Shape:
        _, _, _ = shapes
        return _broadcast("a selection", shapes)

    def infer(self, *types: TensorType) -> TensorType:
        shape = self.shape_of(*(x.shape for x in types))
        condition, *xs = _ranked(types)
        if bool((condition.lo < 0).any() | (condition.hi > 1).any()):
            raise RangeError("a condition must be 0 or 1", fix="compare it with a constant first")
        frac = np.broadcast_to(_finest(xs), shape)
        (a_lo, a_hi), (b_lo, b_hi) = (to_grid(x, frac, "a selection") for x in xs)
        never, always = condition.hi == 0, condition.lo == 1
        lo = np.where(never, b_lo, np.where(always, a_lo, np.minimum(a_lo, b_lo)))
        hi = np.where(never, b_hi, np.where(always, a_hi, np.maximum(a_hi, b_hi)))
        return TensorType(_full(lo, shape), _full(hi, shape), frac.copy())

    def emulate(self, codes: Sequence[IntArray], types: Sequence[TensorType]) -> IntArray:
        condition, *values = _ranked_codes(codes, types)
        a, b = _on_finest(values, _ranked(types)[1:])
        return np.where(condition != 0, a, b)


@dataclass(frozen=True, eq=False)
class ArgMax(Primitive):
    """Index of the first maximum along the last axis, which disappears; frac 0."""

    def shape_of(self, *shapes: Shape) -> Shape:
        (shape,) = shapes
        if not shape or shape[-1] == 0:
            raise ModelError(f"no maximum along the last axis of a tensor {shape}")
        return shape[:-1]

    def work(self, *shapes: Shape) -> int:
        return prod(shapes[0])

    def infer(self, *types: TensorType) -> TensorType:
        (x,) = types
        self.shape_of(x.shape)
        lo, hi = to_grid(x, x.frac.max(axis=-1)[..., None], "a comparison")
        # Element k can be the first maximum if its top beats what all before and after it reach at least.
        none = np.full((*x.shape[:-1], 1), np.iinfo(np.int64).min, dtype=np.int64)
        before = np.maximum.accumulate(np.append(none, lo[..., :-1], axis=-1), axis=-1)
        after = np.maximum.accumulate(np.append(none, lo[..., :0:-1], axis=-1), axis=-1)[..., ::-1]
        possible = (hi > before) & (hi >= after)
        last = x.shape[-1] - 1 - possible[..., ::-1].argmax(axis=-1)
        return TensorType(
            np.asarray(possible.argmax(axis=-1)), np.asarray(last), np.zeros(x.shape[:-1], dtype=np.int64)
        )

    def emulate(self, codes: Sequence[IntArray], types: Sequence[TensorType]) -> IntArray:
        frac = types[0].frac
        return np.asarray(shifted(codes[0], frac.max(axis=-1)[..., None] - frac).argmax(axis=-1))


@dataclass(frozen=True, eq=False)
class Constant(Primitive):
    """The same codes in every event; no operands.

    Args:
        codes: integers, in the shape of the tensor.
        frac: fraction bits, broadcastable to the shape.
    """

    codes: IntArray
    frac: IntArray

    def shape_of(self, *shapes: Shape) -> Shape:
        if shapes:
            raise ModelError(f"a constant of {len(shapes)} tensors")
        try:
            np.broadcast_to(self.frac, self.codes.shape)
        except ValueError as error:
            raise ModelError(f"a constant's codes and grids do not fit: {error}") from None
        return self.codes.shape

    def infer(self, *types: TensorType) -> TensorType:
        self.shape_of(*(x.shape for x in types))
        return TensorType(self.codes.copy(), self.codes.copy(), _full(self.frac, self.codes.shape))

    def emulate(self, codes: Sequence[IntArray], types: Sequence[TensorType]) -> IntArray:
        return self.codes
