# SPDX-License-Identifier: Apache-2.0
"""Layers that only preprocessing needs: exact constants, and tables that are already evaluated."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from l1ml.graph.exactly import significant_bits
from l1ml.graph.functions import Function, Scale
from l1ml.graph.layers.base import Layer
from l1ml.graph.net import Net, T
from l1ml.graph.typed import SHORT_BITS
from l1ml.preprocess.expression import is_power_of_two
from l1ml.types.arrays import IntArray, RealArray

MAX_DIAGONAL = 64


@dataclass(frozen=True, eq=False)
class Plus(Layer):
    """``x + constant``, exact; the constant has the shape of ``x``."""

    constant: RealArray

    def emit(self, net: Net[T], *xs: T) -> T:
        """Add."""
        if significant_bits(self.constant) <= SHORT_BITS:
            return net.add(xs[0], self.constant)
        # A network adds longer constants as a float framework does, in float32; here they stay exact.
        return net.combine("add", xs[0], net.constant(self.constant))


@dataclass(frozen=True, eq=False)
class Times(Layer):
    """``x * constant``, exact; the constant has the shape of ``x``."""

    constant: RealArray

    def emit(self, net: Net[T], *xs: T) -> T:
        """Multiply: shift, or additions of shifted values, or a product with a constant tensor."""
        (x,), constant = xs, np.asarray(self.constant, dtype=np.float64)
        shape = net.shape(x)
        if is_power_of_two(constant):
            return net.map(x, Scale(constant.astype(np.float32)))
        if bool((constant == constant.flat[0]).all()):
            y = net.matmul(net.reshape(x, (constant.size, 1)), constant.reshape(-1)[:1].reshape(1, 1))
            return net.reshape(y, shape)
        if shape[-1] <= MAX_DIAGONAL and bool((constant == constant.reshape(-1, shape[-1])[0]).all()):
            return net.matmul(x, np.diag(constant.reshape(-1, shape[-1])[0]))
        return net.combine("mul", x, net.constant(constant))


@dataclass(frozen=True, eq=False)
class Entries(Function):
    """Results by input code, computed beforehand in float64.

    Args:
        tables: distinct tables, values.
        first: value of the first entry of each table, in codes.
        point: fraction bits of the input, per element.
        which: table of every element.
        grid: fraction bits of the results.
    """

    tables: tuple[RealArray, ...]
    first: tuple[int, ...]
    point: IntArray
    which: IntArray
    grid: int

    @property
    def frac(self) -> int:
        """All results lie on one grid."""
        return self.grid

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Look up."""
        codes = np.rint(np.ldexp(x.astype(np.float64), self.point)).astype(np.int64)
        which = np.broadcast_to(self.which, codes.shape)
        out = np.empty(codes.shape, dtype=np.float32)
        for number, (table, first) in enumerate(zip(self.tables, self.first, strict=True)):
            here = which == number
            out[here] = table[np.clip(codes[here] - first, 0, len(table) - 1)]
        return out


@dataclass(frozen=True, eq=False)
class Tabulated(Layer):
    """A function of single elements as a table over all their codes.

    Args:
        entries: the table.
        text: the function, for people.
    """

    entries: Entries
    text: str = ""

    def emit(self, net: Net[T], *xs: T) -> T:
        """Look up."""
        return net.map(xs[0], self.entries)
