# SPDX-License-Identifier: Apache-2.0
"""Where a kernel or a pooling window looks: strides, padding, dilation, and how ONNX spells them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from l1ml.frontends.common import UnsupportedError
from l1ml.frontends.onnx.operator import Operator

Pairs = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Geometry:
    """Sizes per spatial axis.

    Args:
        size: of the window.
        strides: between windows.
        dilation: distance between the elements of a window.
        padding: elements before and after, as the file gives them.
        positions: number of windows.
        beyond: elements after the padding that the last window of a rounded-up pooling reaches into.
    """

    size: tuple[int, ...]
    strides: tuple[int, ...]
    dilation: tuple[int, ...]
    padding: Pairs
    positions: tuple[int, ...]
    beyond: tuple[int, ...]


def geometry(op: Operator, sizes: Sequence[int], kernel: Sequence[int], *, ceil: bool = False) -> Geometry:
    """Read strides, pads, dilations and auto_pad.

    Args:
        op: the node.
        sizes: of the data, per spatial axis.
        kernel: size of the window.
        ceil: the number of windows is rounded up.
    """
    n = len(sizes)
    given = op.options.integers("kernel_shape")
    if given is not None and tuple(given) != tuple(kernel):
        raise UnsupportedError(f"kernel_shape {given} and a kernel of {tuple(kernel)}")
    strides, dilation = (_positive(op, key, n) for key in ("strides", "dilations"))
    auto = op.options.text("auto_pad", "NOTSET", "NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER")
    pads = op.options.integers("pads") or [0] * 2 * n
    if len(pads) != 2 * n or min(pads) < 0 or max(pads) > 1 << 16:
        raise UnsupportedError(f"pads {pads[:12]}; {2 * n} whole numbers from 0 on are supported")
    reach = [d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True)]
    if auto.startswith("SAME"):
        if any(pads):
            raise UnsupportedError(f"auto_pad {auto} and pads at once")
        total = [
            max(0, (-(-size // s) - 1) * s + r - size)
            for size, s, r in zip(sizes, strides, reach, strict=True)
        ]
        small = [t // 2 for t in total]
        large = [t - t // 2 for t in total]
        before, after = (small, large) if auto == "SAME_UPPER" else (large, small)
    else:
        before, after = (pads[:n], pads[n:]) if auto == "NOTSET" else ([0] * n, [0] * n)
    positions, beyond = [], []
    for size, r, s, b, a in zip(sizes, reach, strides, before, after, strict=True):
        room = size + b + a - r
        count = (-(-room // s) if ceil else room // s) + 1
        if ceil and (count - 1) * s >= size + b:
            count -= 1  # the last window would lie in the padding as a whole
        if room < 0 or count < 1:
            raise UnsupportedError(f"a window of {tuple(kernel)} that is larger than its data {tuple(sizes)}")
        positions.append(count)
        beyond.append(max(0, (count - 1) * s + r - size - b - a))
    padding = tuple(zip(before, after, strict=True))
    return Geometry(tuple(kernel), strides, dilation, padding, tuple(positions), tuple(beyond))


def _positive(op: Operator, key: str, n: int) -> tuple[int, ...]:
    values = op.options.integers(key) or [1] * n
    if len(values) != n or min(values) < 1 or max(values) > 1 << 16:
        raise UnsupportedError(f"{key} {values[:12]}; {n} whole numbers from 1 on are supported")
    return tuple(values)
