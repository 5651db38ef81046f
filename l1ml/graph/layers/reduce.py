# SPDX-License-Identifier: Apache-2.0
"""Reductions over chosen axes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from l1ml.graph.functions import Divide
from l1ml.graph.layers.base import Layer
from l1ml.graph.net import Net, T


@dataclass(frozen=True, eq=False)
class Reduce(Layer):
    """``sum``, ``mean``, ``max`` or ``min`` over axes counted without the batch axis.

    Args:
        kind: what is done.
        axes: the axes, from 0; empty for all.
        keepdims: keep them with size 1.
    """

    kind: str
    axes: tuple[int, ...]
    keepdims: bool = False

    def emit(self, net: Net[T], *xs: T) -> T:
        """Move the axes to the end, reduce once."""
        (x,) = xs
        shape = net.shape(x)
        axes = sorted({a % len(shape) for a in self.axes}) or list(range(len(shape)))
        kept = [a for a in range(len(shape)) if a not in axes]
        count = int(np.prod([shape[a] for a in axes], dtype=np.int64))
        y = net.permute(x, (*kept, *axes))
        y = net.reshape(y, (*(shape[a] for a in kept), count))
        y = net.reduce("sum" if self.kind == "mean" else self.kind, y)
        if self.kind == "mean":
            y = net.map(y, Divide(np.asarray(count, dtype=np.float32)))
        if self.keepdims:
            return net.reshape(y, tuple(1 if a in axes else n for a, n in enumerate(shape)))
        return y
