# SPDX-License-Identifier: Apache-2.0
"""Functions of one tensor, element by element, as a tree of NumPy operations.

A tree is either made of operations with an exact integer form, or it is evaluated in float64, as NumPy does
it, for every code that can reach an element: then it becomes a table.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from l1ml.errors import ModelError
from l1ml.graph.reals import on_grid
from l1ml.graph.tensor import TensorType
from l1ml.types.arrays import IntArray, RealArray

EXACT_BITS = 24
"""A constant of more significant bits is real-valued: nobody means 0.1 as a multiple of 2**-55."""

MAX_CODES = 1 << 20
"""Largest number of input codes that a table is made for."""

Operation = Callable[..., Any]


@dataclass(frozen=True, eq=False)
class Node:
    """``function(*args)``; the leaf has no function and stands for the tensor.

    Args:
        kind: name of the operation.
        function: how NumPy computes it.
        args: nodes, or constants of the tensor's shape.
        exact: the node and all below have an exact integer form.
    """

    kind: str
    function: Operation | None = None
    args: tuple[Node | RealArray, ...] = ()
    exact: bool = True

    @property
    def depth(self) -> int:
        """Operations one above the other."""
        return 0 if self.is_leaf else 1 + max((a.depth for a in self.args if isinstance(a, Node)), default=0)

    @property
    def is_leaf(self) -> bool:
        """Tell whether this is the tensor itself."""
        return self.function is None

    def moved(self, move: Callable[[RealArray], RealArray]) -> Node:
        """Return the same function for a tensor whose elements are rearranged by ``move``."""
        if self.is_leaf:
            return self
        args = tuple(a.moved(move) if isinstance(a, Node) else move(a) for a in self.args)
        return Node(self.kind, self.function, args, self.exact)

    def constants(self) -> list[RealArray]:
        """Return all constants, in order."""
        out: list[RealArray] = []
        for arg in self.args:
            out += arg.constants() if isinstance(arg, Node) else [arg]
        return out

    def evaluate(self, x: RealArray, constants: list[float]) -> RealArray:
        """Return the values for many values ``x`` of one element.

        Args:
            x: (n,) values.
            constants: those of the element, in the order of `constants`.
        """
        left = iter(constants)
        with np.errstate(all="ignore"):
            y = self._evaluate(x, left)
        return np.broadcast_to(np.asarray(y, dtype=np.float64), x.shape)

    def _evaluate(self, x: RealArray, left: Any) -> Any:
        if self.function is None:
            return x
        args = [arg._evaluate(x, left) if isinstance(arg, Node) else next(left) for arg in self.args]
        return self.function(*args)


LEAF = Node("leaf")


def is_short(values: RealArray) -> bool:
    """Tell whether constants are on a common grid, each with few significant bits."""
    finite = np.asarray(values, dtype=np.float64)
    if not np.isfinite(finite).all() or not on_grid(finite):
        return False
    mantissa = np.frexp(finite[finite != 0])[0] * 2.0**EXACT_BITS
    return bool((mantissa == np.rint(mantissa)).all())


def is_power_of_two(values: RealArray) -> bool:
    """Tell whether all constants are powers of two, of either sign."""
    return bool((np.abs(np.frexp(np.asarray(values, dtype=np.float64))[0]) == 0.5).all())


@dataclass(frozen=True, eq=False)
class Values:
    """A tree evaluated for every code of every element.

    Args:
        real: results of each group of equal elements, float64.
        first: input code of the first entry of each group.
        which: group of every element, in the shape of the tensor.
    """

    real: list[RealArray]
    first: list[int]
    which: IntArray


def tabulate(node: Node, x: TensorType) -> Values:
    """Evaluate a tree for all codes of a tensor.

    Raises:
        ModelError: an element has too many codes.
    """
    columns = [x.lo.ravel(), x.hi.ravel(), x.frac.ravel()]
    constants = [np.broadcast_to(c, x.shape).ravel() for c in node.constants()]
    keys = np.zeros(x.size, dtype=np.int64)
    for column in (*columns, *constants):
        _, inverse = np.unique(column, return_inverse=True)
        _, keys = np.unique(keys * (int(inverse.max(initial=0)) + 1) + inverse.ravel(), return_inverse=True)
        keys = keys.ravel()
    real, first = [], []
    for element in np.unique(keys, return_index=True)[1]:
        lo, hi, frac = (int(column[element]) for column in columns)
        if hi - lo >= MAX_CODES:
            raise ModelError(
                f"a real-valued function of a word of {(hi - lo).bit_length()} bits is a table of "
                f"{hi - lo + 1} entries; at most {MAX_CODES} are made",
                fix="quantize its argument first: l1ml.quantize(x, 'fixed<...>')",
            )
        codes = np.ldexp(np.arange(lo, hi + 1).astype(np.float64), -frac)
        real.append(node.evaluate(codes, [float(c[element]) for c in constants]))
        first.append(lo)
    return Values(real, first, np.asarray(keys, dtype=np.int64).reshape(x.shape))
