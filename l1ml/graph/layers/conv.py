# SPDX-License-Identifier: Apache-2.0
"""Convolutions in any number of dimensions, with stride, dilation and groups."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from l1ml.graph.layers.base import Weighted, check_axis
from l1ml.graph.net import Net, T, Windows


@dataclass(frozen=True, eq=False)
class Conv(Weighted):
    """A convolution (cross-correlation) over (s1, ..., sn, c_in).

    Args:
        kernel: (k1, ..., kn, c_in / groups, c_out); output channel ``g * c_out / groups + m`` belongs to
            group ``g``.  A depthwise convolution has ``groups == c_in``.
        bias: (c_out,) or None.
        strides: per spatial axis.
        padding: zeros (before, after) per spatial axis.
        dilation: per spatial axis.
        groups: number of channel groups.
    """

    strides: tuple[int, ...]
    padding: tuple[tuple[int, int], ...]
    dilation: tuple[int, ...]
    groups: int = 1

    @property
    def windows(self) -> Windows:
        """Where the kernel looks."""
        return Windows(self.kernel.shape[:-2], self.strides, self.dilation, self.padding)

    def emit(self, net: Net[T], *xs: T) -> T:
        """Gather every window, then multiply as a dense layer."""
        (x,) = xs
        shape = net.shape(x)
        *spatial, per_group, c_out = self.kernel.shape
        if len(shape) != len(spatial) + 1:
            raise self.wrong(f"expects {len(spatial)} spatial axes and channels, its input has shape {shape}")
        check_axis(self, shape, per_group * self.groups)
        if c_out % self.groups:
            raise self.wrong(f"has {c_out} outputs, which {self.groups} groups do not divide")
        positions = self.windows.positions(shape[:-1])
        if 0 in positions:
            raise self.wrong(f"has a kernel {tuple(spatial)} that is larger than its input {shape[:-1]}")
        taps = int(np.prod(spatial, dtype=np.int64))
        y = net.window(x, self.windows)
        if self.groups == 1:
            y = net.matmul(y, self.kernel.reshape(taps * per_group, c_out), self.scale)
        else:
            y = self._grouped(net, y, taps, positions)
        return y if self.bias is None else net.add(y, self.bias)

    def _grouped(self, net: Net[T], patches: T, taps: int, positions: tuple[int, ...]) -> T:
        *_, per_group, c_out = self.kernel.shape
        each, places = c_out // self.groups, int(np.prod(positions, dtype=np.int64))
        flat = np.arange(places * taps * per_group * self.groups).reshape(
            places, taps, self.groups, per_group
        )
        scale = None if self.scale is None else np.broadcast_to(self.scale, (c_out,))
        parts = []
        for g in range(self.groups):
            part = net.take(patches, flat[:, :, g, :].reshape(places, taps * per_group))
            own = slice(g * each, (g + 1) * each)
            kernel = self.kernel[..., own].reshape(taps * per_group, each)
            parts.append(net.matmul(part, kernel, None if scale is None else scale[own]))
        return net.reshape(net.concat(-1, *parts), (*positions, c_out))
