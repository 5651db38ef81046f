# SPDX-License-Identifier: Apache-2.0
"""Pooling over windows and over all positions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from l1ml.graph.functions import Divide
from l1ml.graph.layers.base import Layer
from l1ml.graph.net import Net, T, Windows
from l1ml.types.arrays import IntArray


@dataclass(frozen=True, eq=False)
class Pool(Layer):
    """``max``, ``min``, ``sum`` or ``mean`` over windows of (s1, ..., sn, c).

    Args:
        kind: what is done with the elements of a window, per channel.
        size: of the window.
        strides: between windows.
        padding: elements (before, after) per axis that count as absent.
        count_padding: a mean divides by the size of the window even where padding is in it.
        dilation: distance between the elements of a window; empty for 1.
    """

    kind: str
    size: tuple[int, ...]
    strides: tuple[int, ...]
    padding: tuple[tuple[int, int], ...]
    count_padding: bool = False
    dilation: tuple[int, ...] = ()

    @property
    def windows(self) -> Windows:
        """Where the window looks."""
        dilation = self.dilation or (1,) * len(self.size)
        edge = self.kind in ("max", "min") and any(any(pair) for pair in self.padding)
        return Windows(self.size, self.strides, dilation, self.padding, edge)

    def emit(self, net: Net[T], *xs: T) -> T:
        """Gather the windows, put the channel before their elements, reduce."""
        (x,) = xs
        shape = net.shape(x)
        if len(shape) != len(self.size) + 1:
            raise self.wrong(
                f"expects {len(self.size)} spatial axes and channels, its input has shape {shape}"
            )
        windows = self.windows
        positions = windows.positions(shape[:-1])
        if 0 in positions:
            raise self.wrong(f"has a window {self.size} that is larger than its input {shape[:-1]}")
        if windows.edge and max(windows.dilation) > 1:
            raise self.wrong("has padding and dilation at once, which is not supported")
        if any(max(p) >= k for p, k in zip(self.padding, self.size, strict=True)):
            raise self.wrong(f"has padding {self.padding} that fills whole windows {self.size}")
        taps, channels = int(np.prod(self.size, dtype=np.int64)), shape[-1]
        y = net.reshape(net.window(x, windows), (*positions, taps, channels))
        last = len(positions)
        y = net.permute(y, (*range(last), last + 1, last))
        if self.kind in ("max", "min"):
            return net.reduce(self.kind, y)
        y = net.reduce("sum", y)
        return y if self.kind == "sum" else net.map(y, Divide(self._counts(shape[:-1])))

    def _counts(self, sizes: tuple[int, ...]) -> np.ndarray:
        """Return by what the sum of each position is divided, float32, (o1, ..., on, 1) or 0-d."""
        taps = np.float32(np.prod(self.size))
        if self.count_padding or not any(any(pair) for pair in self.padding):
            return np.asarray(taps, dtype=np.float32)
        counts = np.ones((), dtype=np.float32)
        w = self.windows
        for axis, n in enumerate(sizes):
            k, s, d, p = w.kernel[axis], w.strides[axis], w.dilation[axis], w.padding[axis]
            starts: IntArray = np.arange(w.positions(sizes)[axis]) * s - p[0]
            places = starts[:, None] + np.arange(k) * d
            inside = ((places >= 0) & (places < n)).sum(axis=1).astype(np.float32)
            counts = counts[..., None] * inside
        return np.asarray(counts[..., None])


@dataclass(frozen=True, eq=False)
class GlobalPool(Layer):
    """``max``, ``min``, ``sum`` or ``mean`` over all positions, per channel.

    Args:
        kind: what is done.
        keepdims: keep the spatial axes with size 1.
    """

    kind: str
    keepdims: bool = False

    def emit(self, net: Net[T], *xs: T) -> T:
        """Move the channels before the positions, reduce."""
        (x,) = xs
        *spatial, channels = net.shape(x)
        places = int(np.prod(spatial, dtype=np.int64))
        y = net.permute(net.reshape(x, (places, channels)), (1, 0))
        y = net.reduce("sum" if self.kind == "mean" else self.kind, y)
        if self.kind == "mean":
            y = net.map(y, Divide(np.asarray(places, dtype=np.float32)))
        return net.reshape(y, (*(1,) * len(spatial), channels)) if self.keepdims else y
