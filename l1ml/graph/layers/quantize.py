# SPDX-License-Identifier: Apache-2.0
"""Conversions between fixed-point types."""

from __future__ import annotations

from dataclasses import dataclass

from l1ml.graph import functions
from l1ml.graph.layers.base import Layer
from l1ml.graph.net import Net, T
from l1ml.types.fixed import Quantizer
from l1ml.types.grid import Grid


@dataclass(frozen=True, eq=False)
class Quantize(Layer):
    """Convert into one fixed-point type: QActivation, quantized_relu (an unsigned type), QONNX Quant.

    Args:
        quantizer: the type with its rounding and overflow.
        declared: the user gave this type to a float model.
    """

    quantizer: Quantizer
    declared: bool = False

    def emit(self, net: Net[T], *xs: T) -> T:
        """Round and saturate or wrap."""
        return net.quantize(xs[0], Grid.of(self.quantizer), declared=self.declared)


@dataclass(frozen=True, eq=False)
class QuantizeEach(Layer):
    """Convert every element into a type of its own (HGQ).

    Args:
        grid: the types, broadcastable to the shape of the tensor.
        text: the quantizer as reports show it.
    """

    grid: Grid
    text: str = ""

    def emit(self, net: Net[T], *xs: T) -> T:
        """Round and saturate or wrap."""
        return net.quantize(xs[0], self.grid)


@dataclass(frozen=True, eq=False)
class Sign(Layer):
    """``scale`` where x >= 0, else ``-scale``: quantized_bits(1), BipolarQuant."""

    scale: float = 1.0

    def emit(self, net: Net[T], *xs: T) -> T:
        """Compare with 0."""
        return net.map(xs[0], functions.Sign(self.scale))
