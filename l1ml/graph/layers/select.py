# SPDX-License-Identifier: Apache-2.0
"""Decisions: comparison, selection, the largest elements."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from l1ml.graph.functions import Offset, Scale
from l1ml.graph.layers.base import Layer
from l1ml.graph.net import Net, T

KINDS = (">=", ">", "<=", "<", "==", "!=")


@dataclass(frozen=True, eq=False)
class Compare(Layer):
    """1 where ``a kind b`` holds, else 0; with broadcasting."""

    kind: str

    def emit(self, net: Net[T], *xs: T) -> T:
        """Write everything with ``>=`` and its complement."""
        a, b = xs
        shape = np.broadcast_shapes(net.shape(a), net.shape(b))
        a, b = net.broadcast(a, shape), net.broadcast(b, shape)
        if self.kind not in KINDS:
            raise self.wrong(f"has the kind {self.kind!r}; allowed are {' '.join(KINDS)}")
        if self.kind in (">=", "<"):
            bit = net.compare(a, b)
        elif self.kind in ("<=", ">"):
            bit = net.compare(b, a)
        else:
            bit = net.combine("mul", net.compare(a, b), net.compare(b, a))
        return _inverted(net, bit) if self.kind in ("<", ">", "!=") else bit


def _inverted(net: Net[T], bit: T) -> T:
    return net.map(bit, Scale(np.asarray(-1, np.float32)), Offset(np.asarray(1, np.float32)))


@dataclass(frozen=True, eq=False)
class Where(Layer):
    """``a`` where the condition (first input, 0 or 1) holds, else ``b``; with broadcasting."""

    def emit(self, net: Net[T], *xs: T) -> T:
        """Select."""
        shape = np.broadcast_shapes(*(net.shape(x) for x in xs))
        condition, a, b = (net.broadcast(x, shape) for x in xs)
        return net.select(condition, a, b)


@dataclass(frozen=True, eq=False)
class ArgMax(Layer):
    """Index of the first maximum along an axis, counted without the batch axis."""

    axis: int = -1
    keepdims: bool = False
    smallest: bool = False

    def emit(self, net: Net[T], *xs: T) -> T:
        """Move the axis to the end, compare in a tree."""
        (x,) = xs
        shape = net.shape(x)
        axis = self.axis % len(shape)
        y = net.permute(x, (*(a for a in range(len(shape)) if a != axis), axis))
        if self.smallest:
            y = net.map(y, Scale(np.asarray(-1, np.float32)))
        y = net.argmax(y)
        return net.reshape(y, (*shape[:axis], 1, *shape[axis + 1 :])) if self.keepdims else y


@dataclass(frozen=True, eq=False)
class TopK(Layer):
    """The ``k`` largest elements of the last axis, or their indices, largest first; ties: lower index first.

    Args:
        k: how many.
        indices: give the indices instead of the values.
    """

    k: int
    indices: bool = False

    def emit(self, net: Net[T], *xs: T) -> T:
        """Rank every element by comparing it with all others, then pick by rank."""
        (x,) = xs
        *lead, n = net.shape(x)
        if not 1 <= self.k <= n:
            raise self.wrong(f"asks for {self.k} of {n} elements")
        places = np.arange(int(np.prod(lead, dtype=np.int64)) * n).reshape(*lead, n)
        rank = None
        for step in range(1, n):  # element j beats element i if larger, or equal and earlier
            other = np.roll(places, -step, axis=-1)
            j = (np.arange(n) + step) % n
            loses = net.compare(net.take(x, other), x)
            strictly = _inverted(net, net.compare(x, net.take(x, other)))
            beaten = net.select(
                net.constant(np.broadcast_to((j < np.arange(n)).astype(float), (*lead, n))), loses, strictly
            )
            rank = beaten if rank is None else net.combine("add", rank, beaten)
        values = (
            x if not self.indices else net.constant(np.broadcast_to(np.arange(n, dtype=float), (*lead, n)))
        )
        if rank is None:
            return values
        zero = net.constant(np.zeros((*lead, n)))
        picked = []
        for k in range(self.k):
            level = net.constant(np.full((*lead, n), float(k)))
            here = net.combine("mul", net.compare(rank, level), net.compare(level, rank))
            chosen = net.reduce("sum", net.select(here, values, zero))
            picked.append(net.reshape(chosen, (*lead, 1)))
        return net.concat(-1, *picked) if len(picked) > 1 else picked[0]


@dataclass(frozen=True, eq=False)
class Constant(Layer):
    """A constant tensor, of real values on a binary grid; no inputs."""

    values: np.ndarray

    def emit(self, net: Net[T], *xs: T) -> T:
        """Return it."""
        return net.constant(np.asarray(self.values, dtype=np.float64))
