# SPDX-License-Identifier: Apache-2.0
"""What a layer may say: the operations on tensors in which every layer is written, once.

`l1ml.graph.typed` reads them as exact integers, `l1ml.graph.real` as float32 arrays.  Shapes are those of
one event, channels last; the event axis is never mentioned.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

import numpy as np

from l1ml.graph.functions import Function
from l1ml.types.arrays import IntArray, RealArray
from l1ml.types.grid import Grid

if TYPE_CHECKING:
    from l1ml.graph.primitives import Scalar

T = TypeVar("T")


@dataclass(frozen=True)
class Windows:
    """Where a kernel looks: sizes per spatial axis.

    Args:
        kernel: size of the window.
        strides: step between windows.
        dilation: distance between the elements of a window.
        padding: elements before and after each axis.
        edge: pad with the element at the border instead of zeros (for a maximum).
    """

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilation: tuple[int, ...]
    padding: tuple[tuple[int, int], ...]
    edge: bool = False

    def positions(self, sizes: tuple[int, ...]) -> tuple[int, ...]:
        """Return the number of windows per axis for an input of ``sizes``."""
        axes = zip(sizes, self.kernel, self.strides, self.dilation, self.padding, strict=True)
        return tuple(max(0, (n + sum(p) - d * (k - 1) - 1) // s + 1) for n, k, s, d, p in axes)


class Net(ABC, Generic[T]):
    """Operations on tensors; ``T`` is a handle of one.

    Args:
        layer: name of the layer that is being written, for messages and marks.
    """

    layer: str = ""

    @abstractmethod
    def shape(self, x: T) -> tuple[int, ...]:
        """Return the shape of one event."""

    @abstractmethod
    def matmul(self, x: T, kernel: RealArray, scale: RealArray | None = None) -> T:
        """Return ``(x @ kernel) * scale`` on the last axis.

        Args:
            x: (..., n_in).
            kernel: (n_in, n_out) constants on a binary grid.
            scale: (n_out,) or () real factors, None for 1.
        """

    @abstractmethod
    def add(self, x: T, constant: RealArray) -> T:
        """Return ``x + constant``, broadcast to the trailing axes."""

    @abstractmethod
    def combine(self, kind: str, *xs: T) -> T:
        """Return the elementwise ``add``, ``sub``, ``mul``, ``max`` or ``min``, with broadcasting."""

    @abstractmethod
    def contract(self, x: T, y: T) -> T:
        """Return ``x @ y`` for (..., n, k) and (..., k, m), the leading axes being equal."""

    @abstractmethod
    def reduce(self, kind: str, x: T) -> T:
        """Return ``sum``, ``max`` or ``min`` over the last axis."""

    @abstractmethod
    def map(self, x: T, *functions: Function) -> T:
        """Apply functions element by element."""

    @abstractmethod
    def quantize(self, x: T, grid: Grid, *, declared: bool = False) -> T:
        """Convert into fixed-point types.

        Args:
            x: the tensor.
            grid: the types.
            declared: the user chose the type for a float model, so no framework has the last word
                about values that lie within its float32 errors of a rounding boundary.
        """

    @abstractmethod
    def window(self, x: T, windows: Windows) -> T:
        """Return (o1, ..., on, k1 * ... * kn * c) for ``x`` of (s1, ..., sn, c)."""

    @abstractmethod
    def take(self, x: T, indices: IntArray) -> T:
        """Return elements by flat index, in the shape of ``indices``; -1 gives 0."""

    @abstractmethod
    def reshape(self, x: T, shape: tuple[int, ...]) -> T:
        """Return the same elements in another shape, C order."""

    @abstractmethod
    def concat(self, axis: int, *xs: T) -> T:
        """Join tensors along an axis."""

    @abstractmethod
    def select(self, condition: T, a: T, b: T) -> T:
        """Return ``a`` where the condition is 1, ``b`` where it is 0."""

    @abstractmethod
    def compare(self, a: T, b: T) -> T:
        """Return 1 where ``a >= b``, else 0."""

    @abstractmethod
    def argmax(self, x: T) -> T:
        """Return the index of the first maximum along the last axis."""

    @abstractmethod
    def lookup(self, x: T, table: RealArray) -> T:
        """Return the row ``table[x]`` (n, d) for integer ``x``: a new last axis of size d."""

    @abstractmethod
    def scalar(self, x: T, program: Scalar) -> T:
        """Return the results of a scalar program over all elements of ``x``."""

    @abstractmethod
    def constant(self, values: RealArray) -> T:
        """Return a constant tensor."""

    def need_types(self, what: str) -> None:
        """Say that what follows has no exact form without types chosen by the user: refused by the exact reading."""
        del what

    def permute(self, x: T, axes: tuple[int, ...]) -> T:
        """Return ``x`` with its axes in another order."""
        shape = self.shape(x)
        if tuple(axes) == tuple(range(len(shape))):
            return x
        return self.take(x, np.arange(int(np.prod(shape, dtype=np.int64))).reshape(shape).transpose(axes))

    def broadcast(self, x: T, shape: tuple[int, ...]) -> T:
        """Return ``x`` repeated to a larger shape."""
        own = self.shape(x)
        if own == tuple(shape):
            return x
        return self.take(x, np.broadcast_to(np.arange(int(np.prod(own, dtype=np.int64))).reshape(own), shape))
