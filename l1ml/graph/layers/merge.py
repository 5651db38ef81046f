# SPDX-License-Identifier: Apache-2.0
"""Layers that join tensors: sums, products, extrema, concatenation, products of two tensors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from l1ml.graph.functions import Divide
from l1ml.graph.layers.base import Layer
from l1ml.graph.layers.linear import split_equation
from l1ml.graph.net import Net, T

KINDS = ("add", "sub", "mul", "mean", "max", "min")


@dataclass(frozen=True, eq=False)
class Merge(Layer):
    """``add``, ``sub``, ``mul``, ``mean``, ``max`` or ``min`` of its inputs, with broadcasting."""

    kind: str

    def emit(self, net: Net[T], *xs: T) -> T:
        """Combine element by element."""
        if self.kind not in KINDS:
            raise self.wrong(f"has the kind {self.kind!r}; allowed are {', '.join(KINDS)}")
        if len(xs) == 1 and self.kind != "sub":
            return xs[0]
        try:
            np.broadcast_shapes(*(net.shape(x) for x in xs))
        except ValueError:
            shapes = " and ".join(str(net.shape(x)) for x in xs)
            raise self.wrong(f"joins tensors of shapes {shapes}, which do not broadcast") from None
        if self.kind != "mean":
            return net.combine(self.kind, *xs)
        return net.map(net.combine("add", *xs), Divide(np.asarray(len(xs), dtype=np.float32)))


@dataclass(frozen=True, eq=False)
class Concat(Layer):
    """Its inputs joined along an axis, which counts without the batch axis and may be negative."""

    axis: int = -1

    def emit(self, net: Net[T], *xs: T) -> T:
        """Join."""
        shapes = [net.shape(x) for x in xs]
        axis = self.axis if self.axis >= 0 else len(shapes[0]) + self.axis
        rest = {(*s[:axis], *s[axis + 1 :]) for s in shapes}
        if not 0 <= axis < len(shapes[0]) or len(rest) > 1 or len({len(s) for s in shapes}) > 1:
            raise self.wrong(f"cannot join shapes {' and '.join(map(str, shapes))} along axis {self.axis}")
        return net.concat(axis, *xs) if len(xs) > 1 else xs[0]


@dataclass(frozen=True, eq=False)
class MatMul(Layer):
    """``x @ y`` of two tensors of the event; one leading axis may be 1 and is repeated.

    Args:
        transpose_x: the last two axes of ``x`` are swapped first.
        transpose_y: the same for ``y``.
    """

    transpose_x: bool = False
    transpose_y: bool = False

    def emit(self, net: Net[T], *xs: T) -> T:
        """Bring both into matrix form, multiply."""
        x, y = (
            self._turned(net, t, turn)
            for t, turn in zip(xs, (self.transpose_x, self.transpose_y), strict=True)
        )
        a, b = net.shape(x), net.shape(y)
        vector_x, vector_y = len(a) == 1, len(b) == 1
        x = net.reshape(x, (1, *a)) if vector_x else x
        y = net.reshape(y, (*b, 1)) if vector_y else y
        a, b = net.shape(x), net.shape(y)
        if a[-1] != b[-2]:
            raise self.wrong(f"multiplies shapes {a} and {b}: {a[-1]} columns, {b[-2]} rows")
        lead = np.broadcast_shapes(a[:-2], b[:-2])
        z = net.contract(net.broadcast(x, (*lead, *a[-2:])), net.broadcast(y, (*lead, *b[-2:])))
        made = net.shape(z)
        if vector_x or vector_y:
            made = (*lead, *(() if vector_x else a[-2:-1]), *(() if vector_y else b[-1:]))
            z = net.reshape(z, made)
        return z

    @staticmethod
    def _turned(net: Net[T], x: T, turn: bool) -> T:
        axes = list(range(len(net.shape(x))))
        if turn and len(axes) > 1:
            axes[-1], axes[-2] = axes[-2], axes[-1]
        return net.permute(x, tuple(axes))


@dataclass(frozen=True, eq=False)
class Einsum2(Layer):
    """``einsum(equation, x, y)`` of two tensors of the event; the equation has no batch letter."""

    equation: str

    def emit(self, net: Net[T], *xs: T) -> T:
        """Order the axes as (shared, free, summed) and (shared, summed, free), multiply, order again."""
        x, y = xs
        a, b, result = split_equation(self, self.equation, 2)
        if len(a) != len(net.shape(x)) or len(b) != len(net.shape(y)):
            raise self.wrong(f"{self.equation!r} does not fit shapes {net.shape(x)} and {net.shape(y)}")
        size = dict(zip(a, net.shape(x), strict=True))
        for letter, n in zip(b, net.shape(y), strict=True):
            if size.setdefault(letter, n) != n:
                raise self.wrong(f"{self.equation!r}: axis {letter!r} has {size[letter]} and {n} elements")
        x, a = self._summed_alone(net, x, a, b + result)
        y, b = self._summed_alone(net, y, b, a + result)
        shared = [c for c in a if c in b and c in result]
        summed = [c for c in a if c in b and c not in result]
        free_x = [c for c in a if c not in b]
        free_y = [c for c in b if c not in a]
        if set(result) != {*shared, *free_x, *free_y}:
            raise self.wrong(f"{self.equation!r}: the result has axes that no operand has")

        def count(axes: list[str]) -> int:
            return int(np.prod([size[c] for c in axes], dtype=np.int64))

        x = net.permute(x, tuple(a.index(c) for c in (*shared, *free_x, *summed)))
        y = net.permute(y, tuple(b.index(c) for c in (*shared, *summed, *free_y)))
        x = net.reshape(x, (count(shared), count(free_x), count(summed)))
        y = net.reshape(y, (count(shared), count(summed), count(free_y)))
        made = [*shared, *free_x, *free_y]
        z = net.reshape(net.contract(x, y), tuple(size[c] for c in made))
        return net.permute(z, tuple(made.index(c) for c in result))

    @staticmethod
    def _summed_alone(net: Net[T], x: T, own: str, others: str) -> tuple[T, str]:
        """Sum over the axes that only one operand has and the result has not."""
        for letter in [c for c in own if c not in others]:
            axes = [k for k in range(len(own)) if own[k] != letter]
            x = net.reduce("sum", net.permute(x, (*axes, own.index(letter))))
            own = own.replace(letter, "")
        return x, own


@dataclass(frozen=True, eq=False)
class Dot(Layer):
    """Keras' Dot: a contraction over one axis of each input.

    Args:
        axes: the axis of each input, counted without the batch axis.
    """

    axes: tuple[int, int]

    def emit(self, net: Net[T], *xs: T) -> T:
        """Write it as an Einsum2."""
        a, b = (len(net.shape(x)) for x in xs)
        first, second = self.axes[0] % a, self.axes[1] % b
        letters = "abcdefghijklmnop"
        left, right = letters[:a], letters[a : a + b]
        right = right.replace(right[second], left[first])
        result = left.replace(left[first], "") + right.replace(left[first], "")
        z = Einsum2(self.name, self.inputs, f"{left},{right}->{result}").emit(net, *xs)
        return net.reshape(z, (1,)) if not net.shape(z) else z
