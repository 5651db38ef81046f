# SPDX-License-Identifier: Apache-2.0
"""Runs kernel plans with the compiled library."""

from __future__ import annotations

import ctypes
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from l1ml.graph.kernels.kernel import Kernel, Kind
from l1ml.graph.kernels.order import arranged
from l1ml.graph.kernels.plan import KernelPlan
from l1ml.graph.program import TensorProgram
from l1ml.graph.tensor import TensorType
from l1ml.types.arrays import IntArray, RealArray

WORK_PER_TASK = 1 << 26
"""Products and results of a block of events that is worth a thread of its own."""

EVENTS_PER_TASK = 1 << 14
LANES = 64
ROWS_PER_STEP = 256
"""Of 64 events: what is made stays in the second cache until it is read."""
COSTS = {1: 1.0, 2: 1.5, 4: 2.1}
"""AFFINE: time per weight of so many columns made together, measured."""


class _Op(ctypes.Structure):
    """Mirrors ``L1mlOp`` in emulate.cpp, field by field."""

    _fields_ = [
        *((name, ctypes.c_int32) for name in ("kind", "reads", "makes", "tile", "tiles", "constants")),
        *((name, ctypes.c_int32) for name in ("rounding", "overflow", "post_wide", "unused")),
        *((name, ctypes.c_void_p) for name in ("in_", "out", "which", "params", "table", "start", "index")),
        *((name, ctypes.c_void_p) for name in ("column", "weight", "post", "post_which")),
    ]


class _Net(ctypes.Structure):
    """Mirrors ``L1mlNet`` in emulate.cpp, field by field."""

    _fields_ = [
        *((name, ctypes.c_void_p) for name in ("ops", "steps")),
        *((name, ctypes.c_int32) for name in ("n_ops", "n_steps", "n_rows", "n_constants", "n_in", "n_out")),
        *((name, ctypes.c_int32) for name in ("wide", "max_reads")),
        *((name, ctypes.c_void_p) for name in ("constant_row", "constant", "in_row", "to_code", "lo", "hi")),
        ("out_row", ctypes.c_void_p),
    ]


class NativeEmulator:
    """Runs one kernel plan; see `l1ml.graph.emulate.Emulator` for the public face.

    Args:
        library: the compiled library.
        program: the typed network, of which the inputs' types are taken.
        plan: its kernels.
    """

    def __init__(self, library: ctypes.CDLL, program: TensorProgram, plan: KernelPlan) -> None:
        self._run, self._plan = library.l1ml_run, arranged(plan, ROWS_PER_STEP)
        plan = self._plan
        self._real = np.float64 if plan.wide else np.float32
        self._keep: list[NDArray[np.generic]] = []
        ops = [self._op(kernel) for kernel in plan.kernels]
        self._ops = (_Op * max(1, len(ops)))(*ops)
        steps = np.array(plan.steps, dtype=np.int32).reshape(-1, 3)
        kinds = [port.type for port in program.inputs]
        ends = (np.concatenate([np.zeros(0), *(n.ravel() for n in part)]) for part in _ends(kinds))
        to_code, lo, hi = (self._pointer(part.astype(np.float64)) for part in ends)
        rows = np.fromiter(plan.constants, dtype=np.int32)
        self._net = _Net(
            ops=ctypes.addressof(self._ops), steps=self._pointer(steps), n_ops=len(ops), n_steps=len(steps),
            n_rows=plan.n_rows, n_constants=len(rows), n_in=len(plan.inputs), n_out=len(plan.outputs),
            wide=int(plan.wide), max_reads=max((k.sources.shape[1] for k in plan.kernels), default=0),
            constant_row=self._pointer(rows), in_row=self._rows(plan.inputs), out_row=self._rows(plan.outputs),
            constant=self._pointer(np.fromiter(plan.constants.values(), dtype=np.float64)),
            to_code=to_code, lo=lo, hi=hi,
        )  # fmt: skip
        self._work = sum(_work(kernel) for kernel in plan.kernels) + len(plan.inputs) + len(plan.outputs)

    def _pointer(self, array: NDArray[np.generic]) -> int:
        self._keep.append(np.ascontiguousarray(array))
        return int(self._keep[-1].ctypes.data)

    def _rows(self, rows: IntArray) -> int:
        return self._pointer(rows.astype(np.int32))

    def _sets(self, constants: RealArray, real: type) -> tuple[int, int]:
        """Store parameter sets, each once; return where they are, and which one every unit has."""
        distinct, which = np.unique(constants, axis=0, return_inverse=True)
        return self._pointer(distinct.astype(real)), self._rows(which.ravel())

    def _op(self, kernel: Kernel) -> _Op:
        (_, reads), (_, makes) = kernel.sources.shape, kernel.out.shape
        op = _Op(kind=kernel.kind, reads=reads, makes=makes, tiles=kernel.split)
        op.in_, op.out = self._rows(kernel.sources), self._rows(kernel.out)
        if kernel.params is not None:
            op.constants = kernel.params.shape[1]
            op.params, op.which = self._sets(kernel.params, self._real)
        if kernel.table is not None:
            op.table = self._pointer(kernel.table.astype(self._real))
        if kernel.weights is not None:
            self._affine(op, kernel.weights, np.flatnonzero((kernel.out >= 0).any(axis=0)))
        if kernel.post is not None:
            op.rounding, op.overflow = kernel.post.rounding, kernel.post.overflow
            columns = [array.ravel() for array in kernel.post.arrays()]
            span = columns[-1]
            inverse = np.divide(1.0, span, out=np.zeros(span.shape), where=span != 0)
            op.post_wide = int(self._plan.wide or kernel.post.wide)
            real = np.float64 if op.post_wide else np.float32
            op.post, op.post_which = self._sets(np.stack([*columns, inverse], axis=1), real)
        return op

    def _affine(self, op: _Op, weights: RealArray, columns: IntArray) -> None:
        """Store the weights in groups of columns that together have the least work."""
        groups = {tile: _groups(weights, columns, tile) for tile in COSTS}
        cost = {tile: COSTS[tile] * sum(len(used) for _, used in found) for tile, found in groups.items()}
        op.tile = min(cost, key=lambda tile: cost[tile])
        found = groups[op.tile]
        op.tiles = len(found)
        start = np.cumsum([0, *(len(used) for _, used in found)])
        column = np.full((len(found), op.tile), -1, dtype=np.int32)
        entries = [np.zeros((0, op.tile))]
        for number, (group, used) in enumerate(found):
            column[number, : len(group)] = group
            part = np.zeros((len(used), op.tile))
            part[:, : len(group)] = weights[np.ix_(used, group)]
            entries.append(part)
        op.start, op.column = self._rows(start), self._pointer(column)
        op.index = self._rows(np.concatenate([np.zeros(0, dtype=np.int64), *(used for _, used in found)]))
        op.weight = self._pointer(np.concatenate(entries).astype(self._real))

    def run(self, x: NDArray[np.floating], threads: int) -> tuple[RealArray, int]:
        """Return values (events, elements of all wanted tensors) and the first bad event or -1.

        Args:
            x: (events, elements of all inputs), float32 or float64, C order.
            threads: blocks of events run side by side.
        """
        if self._plan.wide:
            x = x.astype(np.float64, copy=False)
        events = len(x)
        out = np.empty((events, len(self._plan.outputs)), dtype=np.float64)
        least = max(LANES, min(EVENTS_PER_TASK, WORK_PER_TASK // max(1, self._work)))
        share = -(-events // max(1, 8 * threads))
        tasks = range(0, events, -(-max(least, share) // LANES) * LANES)

        def task(first: int) -> int:
            count = min(tasks.step, events - first)
            bad = self._run(
                ctypes.byref(self._net), ctypes.c_int32(int(x.dtype == np.float64)),
                ctypes.c_void_p(x.ctypes.data + first * x.strides[0]),
                ctypes.c_void_p(out.ctypes.data + first * out.strides[0]), ctypes.c_int64(count),
            )  # fmt: skip
            return first + int(bad) if bad >= 0 else -1

        if threads > 1 and len(tasks) > 1:
            with ThreadPoolExecutor(threads) as pool:
                bad = [b for b in pool.map(task, tasks) if b >= 0]
        else:
            bad = [b for b in map(task, tasks) if b >= 0]
        return out, min(bad, default=-1)


def _ends(kinds: list[TensorType]) -> list[list[RealArray]]:
    return [[np.ldexp(1.0, k.frac) for k in kinds], [k.lo for k in kinds], [k.hi for k in kinds]]


def _work(kernel: Kernel) -> int:
    """Return about how many products and results a kernel makes per event."""
    units, reads = kernel.sources.shape
    if kernel.weights is not None:
        return units * (int((kernel.weights != 0).sum()) + 4 * kernel.out.shape[1])
    if kernel.kind is Kind.DOT:
        n = kernel.out.shape[1] // kernel.split
        return kernel.out.size * (reads // (n + kernel.split) + 4)
    return units * (reads + 4)


def _groups(weights: RealArray, columns: IntArray, tile: int) -> list[tuple[IntArray, IntArray]]:
    """Return (columns, inputs that at least one of them reads) for groups of columns."""
    parts = [columns[first : first + tile] for first in range(0, len(columns), tile)]
    return [(part, np.flatnonzero((weights[:, part] != 0).any(axis=1))) for part in parts]
