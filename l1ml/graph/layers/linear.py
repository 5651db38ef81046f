# SPDX-License-Identifier: Apache-2.0
"""Products with constant matrices: Dense, EinsumDense, Embedding."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from l1ml.graph.layers.base import Layer, Weighted, check_axis
from l1ml.graph.net import Net, T
from l1ml.types.arrays import RealArray


@dataclass(frozen=True, eq=False)
class Dense(Weighted):
    """``x @ kernel + bias`` on the last axis; kernel (n_in, n_out), bias (n_out,)."""

    def emit(self, net: Net[T], *xs: T) -> T:
        """Multiply, then add the bias."""
        (x,) = xs
        check_axis(self, net.shape(x), self.kernel.shape[0])
        y = net.matmul(x, self.kernel, self.scale)
        return y if self.bias is None else net.add(y, self.bias)


@dataclass(frozen=True, eq=False)
class Einsum(Weighted):
    """``einsum(equation, x, kernel) + bias``: Keras' EinsumDense.

    Args:
        equation: subscripts without the batch axis, e.g. ``"abc,cd->abd"``.  A letter of the kernel may be
            shared with the data (a product per group), summed, or new; every letter of the data that is
            not in the result is summed, and must be in the kernel.
    """

    equation: str

    def emit(self, net: Net[T], *xs: T) -> T:
        """Order the axes so that one matrix per group is left."""
        (x,) = xs
        shape = net.shape(x)
        data, constant, result = split_equation(self, self.equation, 2)
        if len(data) != len(shape) or len(constant) != self.kernel.ndim:
            raise self.wrong(f"{self.equation!r} does not fit data {shape} and kernel {self.kernel.shape}")
        size = dict(zip(data, shape, strict=True))
        for letter, n in zip(constant, self.kernel.shape, strict=True):
            if size.setdefault(letter, n) != n:
                raise self.wrong(f"{self.equation!r}: axis {letter!r} has {size[letter]} and {n} elements")
        groups = [a for a in data if a in constant and a in result]
        summed = [a for a in data if a in constant and a not in result]
        free = [a for a in data if a not in constant]
        new = [a for a in constant if a not in data]
        lost = [a for a in free if a not in result]
        if lost or set(result) != {*groups, *free, *new}:
            raise self.wrong(f"{self.equation!r}: axes {lost} are summed without being in the kernel")
        n = {key: int(np.prod([size[a] for a in axes], dtype=np.int64)) for key, axes in
             (("groups", groups), ("free", free), ("summed", summed), ("new", new))}  # fmt: skip
        x = net.permute(x, tuple(data.index(a) for a in (*groups, *free, *summed)))
        x = net.reshape(x, (n["groups"], n["free"], n["summed"]))
        order = [constant.index(a) for a in (*groups, *summed, *new)]
        kernel = self.kernel.transpose(order).reshape(n["groups"], n["summed"], n["new"])
        scale = None
        if self.scale is not None:
            made = [size[a] for a in result]
            full = np.broadcast_to(self.scale, made).transpose(
                [result.index(a) for a in (*groups, *free, *new)]
            )
            scale = full.reshape(n["groups"], n["free"], n["new"])
        parts = []
        for group in range(n["groups"]):
            part = x
            if n["groups"] > 1:
                part = net.take(x, np.arange(n["free"] * n["summed"]).reshape(n["free"], n["summed"])
                                + group * n["free"] * n["summed"])  # fmt: skip
            else:
                part = net.reshape(x, (n["free"], n["summed"]))
            factor = None if scale is None else scale[group]
            parts.append(net.reshape(net.matmul(part, kernel[group], factor), (1, n["free"], n["new"])))
        y = parts[0] if len(parts) == 1 else net.concat(0, *parts)
        axes = [*groups, *free, *new]
        y = net.permute(net.reshape(y, tuple(size[a] for a in axes)), tuple(axes.index(a) for a in result))
        return y if self.bias is None else net.add(y, self.bias)


def split_equation(layer: Layer, equation: str, operands: int) -> list[str]:
    """Return the subscripts of the operands and of the result.

    Raises:
        ModelError: an ellipsis, a repeated letter within one operand, or no ``->``.
    """
    left, arrow, result = equation.replace(" ", "").partition("->")
    parts = [*left.split(","), result]
    fine = all(part.isalpha() or not part for part in parts) and all(len(set(p)) == len(p) for p in parts)
    if not arrow or len(parts) != operands + 1 or not fine:
        raise layer.wrong(
            f"has the equation {equation!r}; expected {operands} operands, '->', single letters"
        )
    return parts


@dataclass(frozen=True, eq=False)
class Embedding(Layer):
    """``table[x]`` for integers ``x``: a new last axis.

    Args:
        table: (n, d) constants.
        exact: True when they are on a binary grid.
    """

    table: RealArray
    exact: bool = True

    def emit(self, net: Net[T], *xs: T) -> T:
        """Look up."""
        return net.lookup(xs[0], self.table)
