# SPDX-License-Identifier: Apache-2.0
"""Products with constant matrices: the solver's graphs laid out as wires, the range of each wire proven.

Every wire is an integer combination of the inputs; its range follows from that, tighter than interval
arithmetic of two operands.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from l1ml.dataflow.build import Builder, Element
from l1ml.lowering.constmult import AdderGraph, solve
from l1ml.types.arrays import IntArray
from l1ml.types.intrange import IntType

MAX_WEIGHTS = 4096
"""Nonzero weights of one search; its time grows with their square, so larger matrices are cut."""
MAX_PATTERNS = 16
"""Sets of missing inputs, as at the padded borders of a convolution, that get a search of their own."""
LONG_BITS = 22
"""Longest constant the solver reads exactly (float32, with a margin)."""


@dataclass(frozen=True)
class _Solved:
    """A graph with the linear forms of its terms as arrays: ranges of all terms in one go."""

    graph: AdderGraph
    coefficients: IntArray
    exponents: tuple[int, ...]

    def ranges(self, kinds: Sequence[IntType], common: int) -> list[tuple[int, int]]:
        """Return the range of every term in LSBs of ``2**-common * 2**exponent``."""
        lo = np.array([k.lo << (common - k.frac) for k in kinds], dtype=np.int64)
        hi = np.array([k.hi << (common - k.frac) for k in kinds], dtype=np.int64)
        low, high = self.coefficients * lo, self.coefficients * hi
        lows, highs = np.minimum(low, high).sum(axis=1), np.maximum(low, high).sum(axis=1)
        return list(zip(lows.tolist(), highs.tolist(), strict=True))


def emit(build: Builder, inputs: Sequence[Element], matrix: IntArray, frac: int, layer: int) -> list[Element]:
    """Add the wires of ``x @ (matrix * 2**-frac)`` to a Dataflow.

    Args:
        build: where the steps go.
        inputs: elements of x, any binary points.
        matrix: (n_in, n_out) integers.
        frac: fraction bits of the matrix.
        layer: index of the layer.

    Returns:
        One element per column.
    """
    return emit_rows(build, [inputs], matrix, frac, layer)[0]


def emit_rows(
    build: Builder, rows: Sequence[Sequence[Element]], matrix: IntArray, frac: int, layer: int
) -> list[list[Element]]:
    """Add the wires of ``x @ (matrix * 2**-frac)`` for many ``x``, searching as few graphs as possible.

    Rows that miss the same inputs share one graph, made for the widest of their ranges.

    Args:
        build: where the steps go.
        rows: elements of every x.
        matrix: (n_in, n_out) integers.
        frac: fraction bits of the matrix.
        layer: index of the layer.

    Returns:
        One element per column, for every row.
    """
    used = [bool(n) for n in np.any(matrix, axis=1)]
    plain = [_without_signs(build, row, matrix, frac, layer) for row in rows]
    groups: dict[tuple[int, ...], list[int]] = {}
    for number, (row, _) in enumerate(plain):
        live = tuple(n for n, e in enumerate(row) if used[n] and not build.is_zero(e.wire))
        groups.setdefault(live, []).append(number)
    if len(groups) > MAX_PATTERNS:  # one graph for all: what is zero drops out wire by wire
        groups = {tuple(n for n, on in enumerate(used) if on): list(range(len(rows)))}
    out: list[list[Element]] = [[] for _ in rows]
    for live, members in groups.items():
        if not live:
            for number in members:
                out[number] = [build.constant(0, 0, layer) for _ in range(matrix.shape[1])]
            continue
        chosen = [[plain[number][0][n] for n in live] for number in members]
        made = _emit_live(build, chosen, np.ascontiguousarray(matrix[list(live)]), frac, layer)
        for number, row in zip(members, made, strict=True):
            out[number] = row
    return [
        row if constants is None else [build.sum(e, c, layer) for e, c in zip(row, constants, strict=True)]
        for row, (_, constants) in zip(out, plain, strict=True)
    ]


def _without_signs(
    build: Builder, row: Sequence[Element], matrix: IntArray, frac: int, layer: int
) -> tuple[list[Element], list[Element] | None]:
    """Take constants out, and read values like -1 and +1 as one bit each: sums of bits are cheaper.

    Returns:
        The elements, and one constant per column that is to be added, if there are any.
    """
    out = list(row)
    found: list[tuple[int, int, int]] = []
    for number, element in enumerate(row):
        kind = build.kind(element)
        part, offset = build.split(element)
        if kind.lo == kind.hi:
            part, offset = build.constant(0, 0, layer), kind.lo
        elif build.type_of(part.wire).width != 1:
            continue
        if offset and np.any(matrix[number]):
            out[number] = part
            found.append((number, offset, element.frac))
    if not found:
        return out, None
    common = max(grid for _, _, grid in found)
    total = sum(matrix[n] * (offset << (common - grid)) for n, offset, grid in found)
    return out, [build.constant(int(value), common + frac, layer) for value in np.asarray(total)]


def _emit_live(
    build: Builder, rows: Sequence[Sequence[Element]], matrix: IntArray, frac: int, layer: int
) -> list[list[Element]]:
    """Like `emit_rows`, for rows of which every input counts; long constants and large matrices are cut."""
    if int(np.abs(matrix).max(initial=0)) >= 1 << LONG_BITS:
        half = 1 << (LONG_BITS - 1)
        low = ((matrix + half) & (2 * half - 1)) - half
        parts = [(low, frac), ((matrix - low) >> LONG_BITS, frac - LONG_BITS)]
        halves = [emit_rows(build, rows, m, f, layer) for m, f in parts]
        ranges = [_ranges(build, row, matrix, frac) for row in rows]
        return _added(build, halves, layer, ranges)
    n_in, n_out = matrix.shape
    if int(np.count_nonzero(matrix)) > MAX_WEIGHTS and max(n_in, n_out) > 1:
        if n_in >= n_out:
            cut = n_in // 2
            halves = [
                emit_rows(build, [row[:cut] for row in rows], matrix[:cut], frac, layer),
                emit_rows(build, [row[cut:] for row in rows], matrix[cut:], frac, layer),
            ]
            return _added(build, halves, layer)
        cut = n_out // 2
        left, right = (emit_rows(build, rows, m, frac, layer) for m in (matrix[:, :cut], matrix[:, cut:]))
        return [a + b for a, b in zip(left, right, strict=True)]
    kinds = [[build.kind(element) for element in row] for row in rows]
    solved = _solved(
        matrix.tobytes(), matrix.shape, tuple(_widest(column) for column in zip(*kinds, strict=True))
    )
    return [_place(build, row, own, solved, frac, layer) for row, own in zip(rows, kinds, strict=True)]


def _added(
    build: Builder,
    parts: Sequence[list[list[Element]]],
    layer: int,
    ranges: Sequence[Sequence[tuple[int, int, int] | None]] | None = None,
) -> list[list[Element]]:
    """Return the sums of two results, row by row; ``ranges`` are what is proven of them."""
    one, other = parts
    proven = ranges if ranges is not None else [[None] * len(row) for row in one]
    return [
        [build.sum(a, b, layer, tight=tight) for a, b, tight in zip(x, y, known, strict=True)]
        for x, y, known in zip(one, other, proven, strict=True)
    ]


def _ranges(
    build: Builder, row: Sequence[Element], matrix: IntArray, frac: int
) -> list[tuple[int, int, int]]:
    """Return ``(lo, hi, frac)`` of every column of ``x @ matrix``."""
    kinds = [build.kind(element) for element in row]
    common = max(kind.frac for kind in kinds)
    lo, hi = (np.array([[n << (common - k.frac)] for n, k in zip(ends, kinds, strict=True)], dtype=np.int64)
              for ends in ([k.lo for k in kinds], [k.hi for k in kinds]))  # fmt: skip
    low = np.minimum(matrix * lo, matrix * hi).sum(axis=0).tolist()
    high = np.maximum(matrix * lo, matrix * hi).sum(axis=0).tolist()
    return [(a, b, common + frac) for a, b in zip(low, high, strict=True)]


def _widest(kinds: Sequence[IntType]) -> IntType:
    """Return the range that holds all given ones, on the finest grid."""
    if all(kind == kinds[0] for kind in kinds):
        return kinds[0]
    frac = max(kind.frac for kind in kinds)
    lows, highs = ([n << (frac - k.frac) for n, k in zip(ends, kinds, strict=True)]
                   for ends in ([k.lo for k in kinds], [k.hi for k in kinds]))  # fmt: skip
    return IntType(min(lows), max(highs), frac)


@lru_cache(maxsize=512)
def _solved(matrix: bytes, shape: tuple[int, int], kinds: tuple[IntType, ...]) -> _Solved:
    """Return the graph of a matrix; one search or reading of the cache per process."""
    graph = solve(np.frombuffer(matrix, dtype=np.int64).reshape(shape), kinds)
    forms = graph.forms()[graph.n_inputs :]
    coefficients = np.array([c for c, _ in forms], dtype=np.int64).reshape(len(forms), graph.n_inputs)
    return _Solved(graph, coefficients, tuple(exponent for _, exponent in forms))


def _place(
    build: Builder, row: Sequence[Element], kinds: Sequence[IntType], solved: _Solved, frac: int, layer: int
) -> list[Element]:
    """Add the wires of a graph for one row of inputs."""
    graph = solved.graph
    common = max(k.frac for k in kinds)
    nodes = [Element(e.wire, e.frac + frac, e.negated) for e in row]
    ranges = solved.ranges(kinds, common)
    for term, (low, high), exponent in zip(graph.terms, ranges, solved.exponents, strict=True):
        second = nodes[term.second]
        moved = Element(second.wire, second.frac - term.shift, second.negated)
        tight = (low, high, common - exponent + frac)
        nodes.append(build.sum(nodes[term.first], moved, layer, negate_b=term.negate_second, tight=tight))
    out = []
    for output in graph.outputs:
        if output is None:
            out.append(build.constant(0, 0, layer))
            continue
        node, shift, negate = output
        element = replace(nodes[node], frac=nodes[node].frac - shift)
        out.append(build.negative(element) if negate else element)
    return out
