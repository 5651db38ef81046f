# SPDX-License-Identifier: Apache-2.0
"""Normalization whose statistics come from the event itself."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from l1ml.graph.functions import Divide, Offset, Scale
from l1ml.graph.layers.base import Layer
from l1ml.graph.named import Named
from l1ml.graph.net import Net, T
from l1ml.types.arrays import RealArray
from l1ml.types.fixed import Quantizer
from l1ml.types.grid import Grid


@dataclass(frozen=True, eq=False)
class LayerNorm(Layer):
    """``(x - mean) / sqrt(variance + epsilon) * gamma + beta`` over trailing axes.

    Args:
        axes: number of trailing axes.
        gamma: factors, broadcastable to these axes, or None.
        beta: offsets, or None.
        epsilon: added to the variance.
        tables: types of the hardware form: centred value, variance, inverse root.
        exact: True when gamma and beta are on a binary grid.
    """

    axes: int
    gamma: RealArray | None
    beta: RealArray | None
    epsilon: float
    tables: tuple[Quantizer, Quantizer, Quantizer] | None = None
    exact: bool = False

    def emit(self, net: Net[T], *xs: T) -> T:
        """Centre, square, sum, look up the inverse root, multiply."""
        (x,) = xs
        if self.tables is None:
            net.need_types("a layer normalization")
        shape = net.shape(x)
        lead, n = (
            shape[: len(shape) - self.axes],
            int(np.prod(shape[len(shape) - self.axes :], dtype=np.int64)),
        )
        flat, count = (*lead, n), Divide(np.asarray(n, dtype=np.float32))
        y = net.reshape(x, flat)
        mean = self._typed(net, net.map(net.reduce("sum", y), count), 0)
        centred = self._typed(net, net.combine("sub", y, self._wide(net, mean, flat)), 0)
        variance = self._typed(
            net, net.map(net.reduce("sum", net.combine("mul", centred, centred)), count), 1
        )
        root = net.map(variance, Offset(np.asarray(self.epsilon, dtype=np.float32)), Named("rsqrt"))
        root = self._wide(net, self._typed(net, root, 2), flat)
        z = net.reshape(net.combine("mul", centred, root), shape)
        if self.gamma is not None:
            z = net.map(z, Scale(self.gamma.astype(np.float32)))
        return z if self.beta is None else net.map(z, Offset(self.beta.astype(np.float32)))

    @staticmethod
    def _wide(net: Net[T], x: T, shape: tuple[int, ...]) -> T:
        return net.broadcast(net.reshape(x, (*shape[:-1], 1)), shape)

    def _typed(self, net: Net[T], x: T, which: int) -> T:
        return x if self.tables is None else net.quantize(x, Grid.of(self.tables[which]), declared=True)
