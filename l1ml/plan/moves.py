# SPDX-License-Identifier: Apache-2.0
"""Which position of a stream every element of a tensor comes from, and what a move makes of that."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np

from l1ml.types.arrays import IntArray

Shape = tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Origin:
    """Where the elements of a tensor lie.

    Args:
        position: of every element, in the shape of the tensor; -1 for a zero.
        inner: number of the element within its position, same shape.
    """

    position: IntArray
    inner: IntArray

    @classmethod
    def of(cls, shape: Shape, axes: tuple[int, ...]) -> Origin:
        """Return the origin of a tensor of which ``axes`` are streamed in raster order."""
        rest = tuple(a for a in range(len(shape)) if a not in axes)
        return cls(_numbered(shape, axes), _numbered(shape, rest))

    def moved(self, indices: IntArray) -> Origin:
        """Return the origin after elements were taken by flat index; -1 is a zero."""
        at = np.maximum(indices, 0)
        zero = indices < 0
        position, inner = (a.ravel()[at] for a in (self.position, self.inner))
        return Origin(np.where(zero, -1, position), np.where(zero, -1, inner))

    def streamed_axes(self, positions: int) -> tuple[int, ...] | None:
        """Return the axes along which the position runs in raster order; None where it does anything else."""
        where = self.position
        if where.size == 0 or bool((where < 0).any()):
            return None
        axes = self.moving()
        if prod(where.shape[a] for a in axes) != positions:
            return None
        return axes if np.array_equal(_numbered(where.shape, axes), where) else None

    def of_one_position(self, axes: tuple[int, ...]) -> IntArray | None:
        """Return ``inner`` of one position, without ``axes``; None where positions differ."""
        one = self.inner
        for axis in axes:
            first = np.take(one, [0], axis=axis)
            if not np.array_equal(np.broadcast_to(first, one.shape), one):
                return None
            one = first
        return one.reshape([n for a, n in enumerate(one.shape) if a not in axes])

    def moving(self) -> tuple[int, ...]:
        """Return the axes along which the position changes."""
        where = self.position
        return tuple(
            a for a in range(where.ndim)
            if where.shape[a] > 1 and bool((np.take(where, [0], axis=a) != where).any())
        )  # fmt: skip

    def cut(self, columns: int) -> tuple[IntArray, IntArray] | None:
        """Return the rows and columns of the stream that the tensor holds, in raster order; None for anything else.

        Args:
            columns: of a row of the stream.
        """
        where = self.position
        if where.size == 0 or bool((where < 0).any()):
            return None
        axes = self.moving()
        one = where[tuple(slice(None) if a in axes else slice(0, 1) for a in range(where.ndim))]
        if not np.array_equal(np.broadcast_to(one, where.shape), where):
            return None
        rows, places = np.unique(one // columns), np.unique(one % columns)
        grid = rows[:, None] * columns + places
        return (rows, places) if np.array_equal(grid.ravel(), one.ravel()) else None

    def upsampled(self, rows: int, columns: int) -> tuple[int, int] | None:
        """Return how often rows and columns of the stream are repeated, each at its place; None for anything else.

        Args:
            rows: of the stream.
            columns: of a row.
        """
        axes = self.moving()
        sizes = [self.position.shape[a] for a in axes]
        if len(axes) != (2 if rows > 1 else 1) or columns == 1:
            return None
        times = [n // m for n, m in zip(sizes, (rows, columns)[-len(axes) :], strict=True)]
        if min(times) < 1 or max(times) == 1:
            return None
        grid = np.arange(rows * columns, dtype=np.int64).reshape([rows, columns][-len(axes) :])
        for axis, n in enumerate(times):
            grid = np.repeat(grid, n, axis=axis)
        if list(grid.shape) != sizes:
            return None
        lined = grid.reshape([self.position.shape[a] if a in axes else 1 for a in range(self.position.ndim)])
        same = np.array_equal(np.broadcast_to(lined, self.position.shape), self.position)
        return ((1, times[0]) if rows == 1 else (times[0], times[1])) if same else None

    def padding(self, sizes: tuple[int, ...], channels: int) -> tuple[tuple[int, int], ...] | None:
        """Return the zeros (before, after) every streamed axis if the tensor is the padded stream, else None.

        Args:
            sizes: of the streamed axes, which lead.
            channels: elements of a position.
        """
        shape = self.position.shape
        if len(shape) != len(sizes) + 1 or shape[-1] != channels:
            return None
        first = [np.flatnonzero(line) for line in self._inside(len(sizes))]
        if any(len(line) != size for line, size in zip(first, sizes, strict=True)):
            return None
        pads = tuple((int(line[0]), n - 1 - int(line[-1])) for line, n in zip(first, shape[:-1], strict=True))
        plain = np.pad(
            _numbered((*sizes, channels), tuple(range(len(sizes)))), (*pads, (0, 0)), constant_values=-1
        )
        inner = np.pad(_numbered((*sizes, channels), (len(sizes),)), (*pads, (0, 0)), constant_values=-1)
        same = np.array_equal(plain, self.position) and np.array_equal(inner, self.inner)
        return pads if same else None

    def _inside(self, count: int) -> list[IntArray]:
        inside = self.position >= 0
        return [
            np.asarray(inside.any(axis=tuple(a for a in range(inside.ndim) if a != axis)))
            for axis in range(count)
        ]


def _numbered(shape: Shape, axes: tuple[int, ...]) -> IntArray:
    """Return the raster number along ``axes``, broadcast to ``shape``."""
    number = np.arange(prod(shape[a] for a in axes), dtype=np.int64)
    lined = number.reshape([n if a in axes else 1 for a, n in enumerate(shape)])
    return np.broadcast_to(lined, shape)
