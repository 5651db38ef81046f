# SPDX-License-Identifier: Apache-2.0
"""Operations that only move elements: wires in hardware, index arithmetic in the emulator."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from l1ml.errors import ModelError
from l1ml.graph.primitives.base import Primitive, Shape
from l1ml.graph.tensor import TensorType
from l1ml.types.arrays import IntArray

MAX_AXIS = 1 << 30


class Move(Primitive):
    """A primitive whose result holds elements of its one operand, and zeros."""

    @abstractmethod
    def indices(self, shape: Shape) -> IntArray:
        """Return flat indices into an operand of ``shape``, in the shape of the result; -1 is a zero."""

    def infer(self, *types: TensorType) -> TensorType:
        (x,) = types
        self.shape_of(x.shape)
        indices = self.indices(x.shape)
        zero, at = indices < 0, np.maximum(indices, 0)
        if not x.size:
            return TensorType(*(np.zeros(indices.shape, dtype=np.int64) for _ in range(3)))
        return TensorType(*(np.where(zero, 0, array.ravel()[at]) for array in (x.lo, x.hi, x.frac)))

    def emulate(self, codes: Sequence[IntArray], types: Sequence[TensorType]) -> IntArray:
        (given,), (x,) = codes, types
        indices = self.indices(x.shape)
        lead = given.shape[: given.ndim - len(x.shape)]
        if not x.size:
            return np.zeros((*lead, *indices.shape), dtype=np.int64)
        taken = given.reshape(*lead, x.size)[..., np.maximum(indices, 0)]
        return np.where(indices < 0, 0, taken) if bool((indices < 0).any()) else taken


@dataclass(frozen=True, eq=False)
class Take(Move):
    """Elements by flat index: permutations, slices, gathers, zero padding.

    Args:
        taken: flat indices into the operand (C order), in the shape of the result; -1 gives 0.
    """

    taken: IntArray

    def shape_of(self, *shapes: Shape) -> Shape:
        (shape,) = shapes
        low, high = int(self.taken.min(initial=-1)), int(self.taken.max(initial=-1))
        if not -1 <= low <= high < prod(shape):
            raise ModelError(f"elements {low}..{high} of a tensor with {prod(shape)} are taken")
        return self.taken.shape

    def indices(self, shape: Shape) -> IntArray:
        return self.taken


@dataclass(frozen=True, eq=False)
class Reshape(Move):
    """The same elements in another shape, C order.

    Args:
        shape: of the result, without the events.
    """

    shape: tuple[int, ...]

    def shape_of(self, *shapes: Shape) -> Shape:
        (shape,) = shapes
        if min(self.shape, default=0) < 0 or prod(self.shape) != prod(shape):
            raise ModelError(f"a tensor {shape} cannot take the shape {self.shape}")
        return self.shape

    def indices(self, shape: Shape) -> IntArray:
        return np.arange(prod(shape), dtype=np.int64).reshape(self.shape)

    def infer(self, *types: TensorType) -> TensorType:
        (x,) = types
        self.shape_of(x.shape)
        return x.reshaped(self.shape)

    def emulate(self, codes: Sequence[IntArray], types: Sequence[TensorType]) -> IntArray:
        return codes[0].reshape(codes[0].shape[: codes[0].ndim - len(types[0].shape)] + self.shape)


@dataclass(frozen=True, eq=False)
class Window(Move):
    """The neighbourhoods of (s1, ..., sn, c): (o1, ..., on, k1 * ... * kn * c), taps in C order, then channels.

    Args:
        kernel: size of a window per axis.
        strides: step between windows.
        dilation: distance between the elements of a window.
        padding: elements (before, after) each axis.
        edge: 1 pads with the element at the border, 0 with zeros.
    """

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilation: tuple[int, ...]
    padding: tuple[tuple[int, int], ...]
    edge: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        parts = (self.kernel, self.strides, self.dilation, self.padding)
        positive = [n for part in (self.kernel, self.strides, self.dilation) for n in part]
        pads = [n for pair in self.padding for n in pair]
        fits = len({len(part) for part in parts}) == 1 and all(len(pair) == 2 for pair in self.padding)
        if (
            not fits
            or min(positive, default=1) < 1
            or min(pads, default=0) < 0
            or max(positive + pads, default=0) > MAX_AXIS
        ):
            raise ModelError(f"a window {parts} makes no sense")

    def positions(self, shape: Shape) -> tuple[int, ...]:
        """Return the number of windows per axis for an operand of ``shape``."""
        axes = zip(shape[:-1], self.kernel, self.strides, self.dilation, self.padding, strict=True)
        return tuple(max(0, (n + sum(p) - d * (k - 1) - 1) // s + 1) for n, k, s, d, p in axes)

    def shape_of(self, *shapes: Shape) -> Shape:
        (shape,) = shapes
        if len(shape) != len(self.kernel) + 1:
            raise ModelError(f"a window of {len(self.kernel)} axes in a tensor {shape}")
        return (*self.positions(shape), prod(self.kernel) * shape[-1])

    def indices(self, shape: Shape) -> IntArray:
        if not prod(shape):  # nothing but padding
            return np.full(self.shape_of(shape), -1, dtype=np.int64)
        *sizes, _ = shape
        n, counts = len(sizes), self.positions(shape)
        inside = np.ones((1,) * (2 * n), dtype=bool)
        places = []
        for axis, size in enumerate(sizes):
            k, s, d = self.kernel[axis], self.strides[axis], self.dilation[axis]
            at = (np.arange(counts[axis]) * s - self.padding[axis][0])[:, None] + np.arange(k) * d
            at = at.reshape([counts[axis] if a == axis else k if a == n + axis else 1 for a in range(2 * n)])
            inside = inside & (at >= 0) & (at < size)
            places.append(np.clip(at, 0, size - 1))
        elements = np.arange(prod(shape), dtype=np.int64).reshape(shape)
        found = elements[tuple(np.broadcast_arrays(*places))]
        if not self.edge:
            found = np.where(inside[..., None], found, -1)
        return np.asarray(found.reshape(*counts, prod(self.kernel) * shape[-1]))


@dataclass(frozen=True, eq=False)
class Concat(Primitive):
    """Several tensors joined along an axis, counted from 0 without the events; the other axes are equal."""

    axis: int

    def shape_of(self, *shapes: Shape) -> Shape:
        first = shapes[0]
        rest = {(*s[: self.axis], *s[self.axis + 1 :], len(s)) for s in shapes}
        if not 0 <= self.axis < len(first) or len(rest) != 1:
            raise ModelError(f"tensors {shapes} cannot be joined along axis {self.axis}")
        return (*first[: self.axis], sum(s[self.axis] for s in shapes), *first[self.axis + 1 :])

    def infer(self, *types: TensorType) -> TensorType:
        self.shape_of(*(x.shape for x in types))
        names = ("lo", "hi", "frac")
        return TensorType(
            *(np.concatenate([getattr(x, name) for x in types], axis=self.axis) for name in names)
        )

    def emulate(self, codes: Sequence[IntArray], types: Sequence[TensorType]) -> IntArray:
        lead = max(c.ndim - len(x.shape) for c, x in zip(codes, types, strict=True))
        return np.concatenate(list(codes), axis=self.axis + lead)
