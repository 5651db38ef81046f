# SPDX-License-Identifier: Apache-2.0
"""Layers that only move elements.  In hardware they are wires."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from l1ml.graph.layers.base import Layer
from l1ml.graph.net import Net, T
from l1ml.types.arrays import IntArray


@dataclass(frozen=True, eq=False)
class Reshape(Layer):
    """New shape without the batch axis, C order; one size may be -1."""

    shape: tuple[int, ...]

    def emit(self, net: Net[T], *xs: T) -> T:
        """Rename the elements."""
        (x,) = xs
        size = int(np.prod(net.shape(x), dtype=np.int64))
        known = int(np.prod([n for n in self.shape if n != -1], dtype=np.int64))
        shape = tuple(size // max(known, 1) if n == -1 else n for n in self.shape)
        if self.shape.count(-1) > 1 or int(np.prod(shape, dtype=np.int64)) != size:
            raise self.wrong(f"cannot turn {size} elements into {self.shape}")
        return net.reshape(x, shape)


@dataclass(frozen=True, eq=False)
class Take(Layer):
    """Elements by flat index in the shape of ``indices``; -1 gives 0.

    Permute, crop, slice, gather, flip, upsample, repeat and zero padding are all of this form; the functions
    below build them.

    Args:
        indices: flat indices into one event of the input.
        what: the operation in the model file, for people.
    """

    indices: IntArray
    what: str = "Take"

    def emit(self, net: Net[T], *xs: T) -> T:
        """Pick."""
        (x,) = xs
        size = int(np.prod(net.shape(x), dtype=np.int64))
        if self.indices.size and not -1 <= int(self.indices.min()) <= int(self.indices.max()) < size:
            raise self.wrong(f"reads element {int(self.indices.max())} of {size}")
        return net.take(x, self.indices)


def _elements(shape: Sequence[int]) -> IntArray:
    return np.arange(int(np.prod(shape, dtype=np.int64)), dtype=np.int64).reshape(tuple(shape))


def permute(name: str, source: str, shape: Sequence[int], axes: Sequence[int]) -> Take:
    """Return the layer that orders axes anew; ``axes`` count without the batch axis, from 0."""
    return Take(name, (source,), _elements(shape).transpose(tuple(axes)), "Permute")


def gather(name: str, source: str, shape: Sequence[int], axis: int, indices: IntArray) -> Take:
    """Return the layer that picks positions of one axis."""
    return Take(name, (source,), np.take(_elements(shape), indices, axis=axis), "Gather")


def slice_(
    name: str, source: str, shape: Sequence[int], starts: Sequence[int | None], stops: Sequence[int | None],
    steps: Sequence[int | None],
) -> Take:  # fmt: skip
    """Return the layer that cuts every axis as Python slices do."""
    cut = tuple(slice(*ends) for ends in zip(starts, stops, steps, strict=True))
    return Take(name, (source,), _elements(shape)[cut], "Slice")


def pad(name: str, source: str, shape: Sequence[int], pairs: Sequence[tuple[int, int]]) -> Take:
    """Return the layer that puts zeros before and after every axis."""
    return Take(name, (source,), np.pad(_elements(shape), tuple(pairs), constant_values=-1), "ZeroPadding")


def upsample(name: str, source: str, shape: Sequence[int], factors: Sequence[int]) -> Take:
    """Return the layer that repeats every position of every axis (nearest neighbour)."""
    elements = _elements(shape)
    for axis, factor in enumerate(factors):
        elements = np.repeat(elements, factor, axis=axis)
    return Take(name, (source,), elements, "UpSampling")


def flip(name: str, source: str, shape: Sequence[int], axes: Sequence[int]) -> Take:
    """Return the layer that reverses axes."""
    return Take(name, (source,), np.flip(_elements(shape), tuple(axes)), "Flip")


def repeat(name: str, source: str, shape: Sequence[int], n: int) -> Take:
    """Return the layer that puts ``n`` copies of its input along a new first axis."""
    elements = _elements(shape)
    return Take(name, (source,), np.broadcast_to(elements, (n, *elements.shape)), "Repeat")
