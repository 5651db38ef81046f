# SPDX-License-Identifier: Apache-2.0
"""Constant matrices as shift-add graphs: the one adapter to alkaid's solver.

The solver is used as a search only.  Its answer is checked here by exact linear-form propagation: every
node is known as an integer combination of the inputs, and the outputs must be the columns of the matrix.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from l1ml.errors import ToolError
from l1ml.types.arrays import IntArray
from l1ml.types.intrange import IntType

CACHE_FORMAT = "l1ml-cmvm/2"
SEARCHES = (("mc", "auto"), ("wmc", "auto"))
MAX_RESTARTS = 6
SEED = 20260


@dataclass(frozen=True, slots=True)
class Term:
    """``sum = ±first * 2**first_shift ± second * 2**second_shift`` on earlier nodes of a graph."""

    first: int
    second: int
    negate_second: bool
    shift: int


@dataclass(frozen=True)
class AdderGraph:
    """Nodes 0..n_inputs-1 are the inputs; node ``n_inputs + k`` is ``terms[k]``.

    Args:
        n_inputs: number of inputs.
        terms: additions in order: ``first ± second * 2**shift``, ``shift`` may be negative.
        outputs: per output ``(node, shift, negate)`` or None for a column of zeros.
        cost: the solver's own cost, about one LUT each.
    """

    n_inputs: int
    terms: tuple[Term, ...]
    outputs: tuple[tuple[int, int, bool] | None, ...]
    cost: float

    def to_json(self) -> str:
        """Return the text kept in the cache."""
        terms = [[t.first, t.second, int(t.negate_second), t.shift] for t in self.terms]
        outputs = [None if o is None else [o[0], o[1], int(o[2])] for o in self.outputs]
        return json.dumps([self.n_inputs, terms, outputs, self.cost], separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> AdderGraph:
        """Read `to_json`'s text; the content is not trusted, `check` follows."""
        n_inputs, terms, outputs, cost = json.loads(text)
        return cls(
            int(n_inputs),
            tuple(Term(int(a), int(b), bool(neg), int(shift)) for a, b, neg, shift in terms),
            tuple(None if o is None else (int(o[0]), int(o[1]), bool(o[2])) for o in outputs),
            float(cost),
        )

    def forms(self) -> list[tuple[IntArray, int]]:
        """Return every node as ``(coefficients, exponent)``: node = coefficients . inputs * 2**exponent."""
        out: list[tuple[IntArray, int]] = [(row, 0) for row in np.eye(self.n_inputs, dtype=np.int64)]
        for t in self.terms:
            (a, ea), (b, eb) = out[t.first], out[t.second]
            eb += t.shift
            low = min(ea, eb)
            b_scaled = b << (eb - low)
            out.append(((a << (ea - low)) + (-b_scaled if t.negate_second else b_scaled), low))
        return out

    def wrong_column(self, matrix: IntArray) -> int | None:
        """Prove that the graph computes ``x @ matrix``: return None, or a column that it does not."""
        forms = self.forms()
        if (self.n_inputs, len(self.outputs)) != matrix.shape:
            return 0
        for column, output in enumerate(self.outputs):
            made = np.zeros(self.n_inputs, dtype=object)
            if output is not None:
                node, shift, negate = output
                coefficients, exponent = forms[node]
                total = exponent + shift
                made = coefficients.astype(object) * (-1 if negate else 1)
                made = made * 2**total if total >= 0 else made // 2**-total
            if any(int(m) != int(w) for m, w in zip(made, matrix[:, column], strict=True)):
                return column
        return None


def solve(matrix: IntArray, kinds: Sequence[IntType]) -> AdderGraph:
    """Return the cheapest adder graph found for ``x @ matrix``; searched once, then read from the cache.

    The search is alkaid's, restarted with permuted rows and columns (its greedy choices depend on their
    order) under fixed seeds, so the answer is the same on every machine.

    Args:
        matrix: (n_in, n_out) integers, no row of zeros.
        kinds: range and binary point of every input.
    """
    key = _key(matrix, kinds)
    cached = _cache_file(key)
    known = _read_cache(cached)
    if known is not None and known.wrong_column(matrix) is None:
        return known
    graph = min(_candidates(matrix, kinds), key=lambda g: (g.cost, len(g.terms)))
    wrong = graph.wrong_column(matrix)
    if wrong is not None:
        raise ToolError(
            f"the adder graph of column {wrong} does not equal its constants",
            where=("alkaid",),
            fix=f"install the version this tool is tested with (found {_solver_version()}), and report this",
        )
    _write_cache(cached, graph)
    return graph


def _candidates(matrix: IntArray, kinds: Sequence[IntType]) -> Iterator[AdderGraph]:
    rng = np.random.default_rng(SEED)
    # The time of a search goes with the square of the weights, the gain of another one falls.
    restarts = min(MAX_RESTARTS, 4000 // max(1, int(np.count_nonzero(matrix))))
    orders = [(np.arange(matrix.shape[0]), np.arange(matrix.shape[1]))]
    orders += [(rng.permutation(matrix.shape[0]), rng.permutation(matrix.shape[1])) for _ in range(restarts)]
    for rows, columns in orders:
        for method in SEARCHES:
            yield _search(matrix, kinds, rows, columns, method)


def _search(
    matrix: IntArray, kinds: Sequence[IntType], rows: IntArray, columns: IntArray, method: tuple[str, str]
) -> AdderGraph:
    from alkaid.cmvm import cmvm_solve

    intervals = [
        (kinds[r].lo * 2.0 ** -kinds[r].frac, kinds[r].hi * 2.0 ** -kinds[r].frac, 2.0 ** -kinds[r].frac)
        for r in rows
    ]
    kernel = np.ascontiguousarray(
        matrix[np.ix_(rows, columns)], dtype=np.float32
    )  # the solver reads C order only
    first, second = cmvm_solve(kernel, method[0], method[1], -1, -2, intervals, None, True)
    terms: list[Term] = []
    ends: list[tuple[int, int, bool] | None] = [(int(r), 0, False) for r in rows]
    for half in (first, second):
        ends = _read_half(half, ends, len(kinds), terms)
    outputs: list[tuple[int, int, bool] | None] = [None] * len(columns)
    for position, column in enumerate(columns):
        outputs[column] = ends[position]
    return AdderGraph(len(kinds), tuple(terms), tuple(outputs), float(first.cost + second.cost))


def _read_half(
    half: Any, ends: list[tuple[int, int, bool] | None], n_inputs: int, terms: list[Term]
) -> list[tuple[int, int, bool] | None]:
    """Append one of the solver's two chained graphs to ``terms``; return its outputs."""
    nodes: list[tuple[int, int, bool] | None] = []  # (node, shift, negate) of every step of the solver
    for op in half.ops:
        if op.opcode == -1:
            source = ends[op.data[0]]
            shift = half.inp_shifts[op.data[0]]
            nodes.append(None if source is None else (source[0], source[1] + shift, source[2]))
        elif op.opcode in (0, 1):
            nodes.append(
                _combine(nodes[op.addr[0]], nodes[op.addr[1]], op.data[0], op.opcode == 1, n_inputs, terms)
            )
        else:
            raise ToolError(
                f"alkaid's solver used operation {op.opcode}, which is not a sum", fix="install alkaid 0.8.2"
            )
    out: list[tuple[int, int, bool] | None] = []
    for index, shift, negate in zip(half.out_idxs, half.out_shifts, half.out_negs, strict=True):
        node = nodes[index] if index >= 0 else None
        out.append(None if node is None else (node[0], node[1] + shift, node[2] ^ bool(negate)))
    return out


def _combine(
    a: tuple[int, int, bool] | None,
    b: tuple[int, int, bool] | None,
    shift: int,
    subtract: bool,
    n_inputs: int,
    terms: list[Term],
) -> tuple[int, int, bool] | None:
    """Enter ``a ± b * 2**shift``; shifts and signs of the operands move to the result."""
    if b is None:
        return a
    b = (b[0], b[1] + shift, b[2] ^ subtract)
    if a is None:
        return b
    if a[2] and not b[2]:
        a, b = b, a  # the positive operand first: then the result needs no negation
    terms.append(Term(a[0], b[0], a[2] != b[2], b[1] - a[1]))
    return n_inputs + len(terms) - 1, a[1], a[2]


def _key(matrix: IntArray, kinds: Sequence[IntType]) -> str:
    facts = [
        CACHE_FORMAT,
        SEARCHES,
        MAX_RESTARTS,
        SEED,
        _solver_version(),
        [[k.lo, k.hi, k.frac] for k in kinds],
        matrix.tolist(),
    ]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


@lru_cache(maxsize=1)
def _solver_version() -> str:
    return metadata.version("alkaid")


def _cache_file(key: str) -> Path:
    folder = os.environ.get("L1ML_CACHE")
    return (Path(folder) if folder else Path.home() / ".cache" / "l1ml") / "cmvm" / f"{key}.json"


def _read_cache(file: Path) -> AdderGraph | None:
    try:
        return AdderGraph.from_json(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError, IndexError):
        return None  # absent or damaged: searched again


def _write_cache(file: Path, graph: AdderGraph) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=file.parent, delete=False, encoding="utf-8") as fresh:
            fresh.write(graph.to_json())
        Path(fresh.name).replace(file)
    except OSError:
        return  # a read-only home folder costs time, not correctness
