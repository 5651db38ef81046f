# SPDX-License-Identifier: Apache-2.0
"""From real-valued functions and a quantizer to exact hardware: one table per distinct element.

The framework's own float32 arithmetic is evaluated for every reachable input code.  The cheapest
integer form that gives *every* code is then taken: an affine form (`Rescale`), thresholds (`Steps`) or the
table itself (`Lookup`).  Where implementations of a function may differ from each other by so much that a
code is not certain, the conversion stops and says so.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from l1ml.errors import ModelError
from l1ml.graph.functions import Function, moved, parameters
from l1ml.graph.tensor import TensorType
from l1ml.types.arrays import IntArray

FLOAT32_BITS = 24
"""Significant bits of float32: a code wider than this is not exact in the framework itself."""

ENUMERATED = 1 << 14
"""Up to so many codes every one is evaluated; beyond, the steps of a monotone chain are bisected."""

MAX_CODES = 1 << 22


@dataclass(frozen=True, eq=False)
class Table:
    """A step function: ``codes[k]`` for inputs ``starts[k] .. starts[k + 1] - 1``, the last up to ``hi``.

    Args:
        starts: first input code of each run, ascending.
        codes: output code of each run; neighbours differ.
        hi: last input code.
    """

    starts: IntArray
    codes: IntArray
    hi: int

    @property
    def lo(self) -> int:
        """First input code."""
        return int(self.starts[0])

    @property
    def ends(self) -> IntArray:
        """Last input code of each run."""
        return np.append(self.starts[1:] - 1, self.hi)

    @property
    def steps(self) -> int:
        """Number of changes."""
        return len(self.codes) - 1

    def dense(self) -> IntArray:
        """Return the output code of every input code."""
        return np.repeat(self.codes, self.ends - self.starts + 1)


@dataclass(frozen=True, eq=False)
class Tables:
    """The step functions of a tensor.

    Args:
        tables: the distinct ones.
        which: index of the table of every element, in the shape of the tensor.
        frac: fraction bits of all output codes.
        each: fraction bits that each element needs, in the shape of the tensor.
        slopes: hint at the real slope of each table, output code per input code.
    """

    tables: tuple[Table, ...]
    which: IntArray
    frac: int
    each: IntArray
    slopes: tuple[float, ...]


def tabulate(name: str, chain: tuple[Function, ...], x: TensorType, *, declared: bool) -> Tables:
    """Evaluate a chain of functions that ends on a grid, for every reachable code of every element.

    Args:
        name: the layer, for messages.
        chain: functions in order; the last one has a ``frac``.
        x: type of the tensor it is applied to.
        declared: values that are uncertain in the last places of float32 are no reason to stop.

    Raises:
        ModelError: too many codes, a result off the grid, or an uncertain code.
    """
    last = chain[-1].frac
    assert last is not None, "the chain ends on a grid"
    each = np.broadcast_to(np.asarray(last, dtype=np.int64), x.shape)
    frac = int(each.max(initial=0))
    if not declared and x.max_width > FLOAT32_BITS + 1:
        raise ModelError(
            f"the input of {name!r} has {x.max_width} bits; float32 is exact up to {FLOAT32_BITS}, so the "
            "framework's own result is rounded before this layer",
            fix="quantize the tensor before this layer",
        )
    which, first = _distinct(chain, x)
    tables, slopes = [], []
    lo, hi = x.lo.ravel(), x.hi.ravel()
    order = np.argsort(which, kind="stable")
    bounds = np.searchsorted(which[order], np.arange(len(first) + 1))
    for group, element in enumerate(first):
        members = order[bounds[group] : bounds[group + 1]]
        own = tuple(_alone(f, x.shape, int(element)) for f in chain)
        one = _Evaluation(name, own, int(x.frac.flat[element]), frac, declared)
        tables.append(one.table(int(lo[members].min()), int(hi[members].max())))
        slopes.append(one.slope())
    return Tables(tuple(tables), which.reshape(x.shape), frac, each, tuple(slopes))


def _alone(function: Function, shape: tuple[int, ...], element: int) -> Function:
    """Return a function with the parameters of one element."""
    return moved(function, shape, lambda array: np.asarray(array.reshape(-1)[element]))


def _distinct(chain: tuple[Function, ...], x: TensorType) -> tuple[IntArray, IntArray]:
    """Group elements that have the same function and binary point; return groups and first members."""
    columns = [x.frac.ravel()]
    for function in chain:
        columns += [np.broadcast_to(a, x.shape).ravel() for a in parameters(function) if a.ndim]
    keys = np.zeros(x.size, dtype=np.int64)
    for column in columns:
        _, inverse = np.unique(column, return_inverse=True)
        _, keys = np.unique(keys * (int(inverse.max(initial=0)) + 1) + inverse, return_inverse=True)
    first = np.unique(keys, return_index=True)[1]
    return np.asarray(keys, dtype=np.int64), np.asarray(first, dtype=np.int64)


@dataclass(frozen=True, eq=False)
class _Evaluation:
    """The chain of one kind of element: from input codes to output codes."""

    name: str
    chain: tuple[Function, ...]
    frac_in: int
    frac_out: int
    declared: bool

    def _real(self, codes: IntArray) -> np.ndarray:
        return np.ldexp(codes.astype(np.float64), -self.frac_in).astype(np.float32)

    def _codes(self, y: np.ndarray) -> IntArray:
        scaled = np.ldexp(y.astype(np.float64), self.frac_out)
        if not np.isfinite(scaled).all() or np.abs(scaled).max(initial=0.0) >= 2.0**52:
            raise ModelError(
                f"{self.name!r} gives values that are infinite or undefined for some of its inputs",
                fix="give its input a type that excludes these values",
            )
        rounded = np.rint(scaled)
        assert np.array_equal(rounded, scaled), f"{self.name}: results off the grid"
        return rounded.astype(np.int64)

    def __call__(self, codes: IntArray) -> IntArray:
        y = self._real(codes)
        for function in self.chain:
            y = function(y)
        return self._codes(y)

    def certain(self, codes: IntArray) -> None:
        """Check that no implementation can give another code.

        Raises:
            ModelError: one can.
        """
        if self.declared:
            return
        low = high = self._real(codes)
        for function in self.chain:
            low, high = function.bounds(low, high)
        doubtful = int((self._codes(low) != self._codes(high)).sum())
        if doubtful:
            raise ModelError(
                f"{self.name!r}: for {doubtful} input codes the result lies so near to a rounding boundary that "
                "float32 implementations differ",
                fix="retrain with scales that are powers of two, or give the layer a type in the configuration",
            )

    def table(self, lo: int, hi: int) -> Table:
        """Return the step function over ``lo..hi``."""
        monotone = all(f.monotone for f in self.chain[:-1]) and self.chain[-1].monotone
        if hi - lo < ENUMERATED or (not monotone and hi - lo < MAX_CODES):
            inputs = np.arange(lo, hi + 1, dtype=np.int64)
            codes = self(inputs)
            self.certain(inputs)
            change = np.flatnonzero(np.diff(codes)) + 1
            return Table(lo + np.append(0, change), codes[np.append(0, change)], hi)
        if not monotone:
            raise ModelError(
                f"{self.name!r} needs a table of {hi - lo + 1} entries; at most {MAX_CODES} are searched",
                fix=f"quantize its input to {MAX_CODES.bit_length() - 1} bits or fewer",
            )
        starts, codes = self._bisect(lo, hi)
        edges = np.unique(np.concatenate([starts, starts - 1, [lo, hi]]))
        self.certain(edges[(edges >= lo) & (edges <= hi)])
        return Table(starts, codes, hi)

    def _bisect(self, lo: int, hi: int) -> tuple[IntArray, IntArray]:
        """Find where a monotone step function changes, all output codes at once."""
        ends = self(np.array([lo, hi], dtype=np.int64))
        down = int(ends[0]) > int(ends[1])
        sign = -1 if down else 1
        low, high = int(ends[0]) * sign, int(ends[1]) * sign
        if high - low > MAX_CODES:
            raise ModelError(f"{self.name!r} has {high - low} output codes; at most {MAX_CODES} are searched")
        wanted = np.arange(low + 1, high + 1, dtype=np.int64)
        below = np.full(wanted.shape, lo, dtype=np.int64)  # here the code is still smaller
        above = np.full(wanted.shape, hi, dtype=np.int64)  # here it is reached
        while bool((above - below > 1).any()):
            middle = (below + above) >> 1
            reached = sign * self(middle) >= wanted
            above, below = np.where(reached, middle, above), np.where(reached, below, middle)
        starts = np.unique(np.append(lo, above))
        return starts, self(starts)

    def slope(self) -> float:
        """Return output codes per input code where the chain is a straight line: a hint for the search."""
        product = 2.0 ** (self.frac_out - self.frac_in)
        for function in self.chain:
            for key in ("factor", "divisor", "slope"):
                value = getattr(function, key, None)
                if value is not None and np.ndim(value) == 0 and float(value):
                    product *= 1.0 / float(value) if key == "divisor" else float(value)
        return product
