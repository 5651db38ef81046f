# SPDX-License-Identifier: Apache-2.0
"""The shapes of layers: a third reading of their meaning, in which a tensor is only its shape."""

from __future__ import annotations

import numpy as np

from l1ml.graph.functions import Function
from l1ml.graph.layers.base import Input, Layer
from l1ml.graph.layers.shape import flip, gather, pad, permute, repeat, slice_, upsample
from l1ml.graph.net import Net, Windows
from l1ml.graph.primitives import Scalar
from l1ml.types.arrays import IntArray, RealArray
from l1ml.types.grid import Grid

__all__ = ["Shape", "flip", "gather", "infer", "pad", "permute", "repeat", "slice_", "upsample"]

Shape = tuple[int, ...]


def infer(layer: Layer, *inputs: Shape) -> Shape:
    """Return the shape of a layer's result.

    Raises:
        ModelError: the inputs do not fit the layer.

    Example:
        >>> from l1ml.graph.model import Reshape
        >>> infer(Reshape("r", ("x",), (-1, 8)), (4, 6))
        (3, 8)
    """
    if isinstance(layer, Input):
        return layer.shape
    net = _ShapeNet()
    net.layer = layer.name
    return layer.emit(net, *inputs)


class _ShapeNet(Net[Shape]):
    def shape(self, x: Shape) -> Shape:
        return x

    def matmul(self, x: Shape, kernel: RealArray, scale: RealArray | None = None) -> Shape:
        return (*x[:-1], kernel.shape[1])

    def add(self, x: Shape, constant: RealArray) -> Shape:
        return np.broadcast_shapes(x, np.shape(constant))

    def combine(self, kind: str, *xs: Shape) -> Shape:
        return np.broadcast_shapes(*xs)

    def contract(self, x: Shape, y: Shape) -> Shape:
        return (*x[:-1], y[-1])

    def reduce(self, kind: str, x: Shape) -> Shape:
        return x[:-1]

    def map(self, x: Shape, *functions: Function) -> Shape:
        return x

    def quantize(self, x: Shape, grid: Grid, *, declared: bool = False) -> Shape:
        return x

    def window(self, x: Shape, windows: Windows) -> Shape:
        taps = int(np.prod(windows.kernel, dtype=np.int64))
        return (*windows.positions(x[:-1]), taps * x[-1])

    def take(self, x: Shape, indices: IntArray) -> Shape:
        return indices.shape

    def reshape(self, x: Shape, shape: Shape) -> Shape:
        return tuple(int(n) for n in shape)

    def concat(self, axis: int, *xs: Shape) -> Shape:
        axis %= len(xs[0])
        return (*xs[0][:axis], sum(x[axis] for x in xs), *xs[0][axis + 1 :])

    def select(self, condition: Shape, a: Shape, b: Shape) -> Shape:
        return a

    def compare(self, a: Shape, b: Shape) -> Shape:
        return a

    def argmax(self, x: Shape) -> Shape:
        return x[:-1]

    def lookup(self, x: Shape, table: RealArray) -> Shape:
        return (*x, table.shape[1])

    def scalar(self, x: Shape, program: Scalar) -> Shape:
        return program.shape

    def constant(self, values: RealArray) -> Shape:
        return np.shape(values)
