# SPDX-License-Identifier: Apache-2.0
"""Functions of single elements, and softmax."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from l1ml.errors import ModelError
from l1ml.graph import functions
from l1ml.graph.functions import Function
from l1ml.graph.layers.base import Layer
from l1ml.graph.named import Named
from l1ml.graph.net import Net, T
from l1ml.types.fixed import Quantizer
from l1ml.types.grid import Grid


@dataclass(frozen=True, eq=False)
class Relu(Layer):
    """``max(x, 0)``."""

    def emit(self, net: Net[T], *xs: T) -> T:
        """Clip at 0."""
        return net.map(xs[0], functions.Relu())


@dataclass(frozen=True, eq=False)
class Map(Layer):
    """Functions applied element by element, one after the other.

    Args:
        functions: as the framework computes them.
        text: the activation as reports show it.
    """

    functions: tuple[Function, ...]
    text: str = ""

    def emit(self, net: Net[T], *xs: T) -> T:
        """Apply them."""
        return net.map(xs[0], *self.functions)


@dataclass(frozen=True, eq=False)
class Affine(Layer):
    """``float32(float32(x * scale) + offset)``, per channel of the last axis: BatchNormalization at inference.

    Args:
        scale: broadcastable to the shape of the input, float32 values as the framework computes them.
        offset: same.
    """

    scale: np.ndarray
    offset: np.ndarray

    def emit(self, net: Net[T], *xs: T) -> T:
        """Multiply, add."""
        (x,) = xs
        try:
            np.broadcast_to(self.scale, net.shape(x)), np.broadcast_to(self.offset, net.shape(x))
        except ValueError:
            raise ModelError(
                f"{self.name!r} has {np.size(self.scale)} channels, its input the shape {net.shape(x)}"
            ) from None
        scale, offset = (np.asarray(a, dtype=np.float32) for a in (self.scale, self.offset))
        steps: list[Function] = [] if bool((scale == 1).all()) else [functions.Scale(scale)]
        steps += [functions.Offset(offset)] if offset.any() else []
        return net.map(x, *steps)


@dataclass(frozen=True, eq=False)
class Softmax(Layer):
    """``exp(x - max) / sum(exp(x - max))`` over an axis.  As the last layer it is dropped: the block gives logits.

    Args:
        axis: counted without the batch axis, may be negative.
        tables: types of the hardware form: exponentials, sum, inverse.  Without them a softmax inside a
            network has no exact form.
    """

    axis: int = -1
    tables: tuple[Quantizer, Quantizer, Quantizer] | None = None

    def emit(self, net: Net[T], *xs: T) -> T:
        """Subtract the maximum, look up exponentials, sum, look up the inverse, multiply."""
        (x,) = xs
        if self.tables is None:
            net.need_types("a softmax")
        shape = net.shape(x)
        axis = self.axis % len(shape)
        axes = (*(a for a in range(len(shape)) if a != axis), axis)
        back = tuple(axes.index(a) for a in range(len(shape)))
        y = net.permute(x, axes)
        moved = net.shape(y)
        top = net.broadcast(net.reshape(net.reduce("max", y), (*moved[:-1], 1)), moved)
        e = self._typed(net, net.map(net.combine("sub", y, top), Named("exp")), 0)
        total = self._typed(net, net.reduce("sum", e), 1)
        inverse = self._typed(net, net.map(total, Named("reciprocal")), 2)
        inverse = net.broadcast(net.reshape(inverse, (*moved[:-1], 1)), moved)
        return net.permute(net.combine("mul", e, inverse), back)

    def _typed(self, net: Net[T], x: T, which: int) -> T:
        return x if self.tables is None else net.quantize(x, Grid.of(self.tables[which]), declared=True)
