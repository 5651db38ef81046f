# SPDX-License-Identifier: Apache-2.0
"""Builds ``emulate.cpp`` for this machine and runs kernel plans with it.

The library does not depend on the network, so it is compiled once per machine and tool version and kept
in the user's cache folder (``L1ML_CACHE``, else ``~/.cache/l1ml``).  Without a C++ compiler the array
emulator is used; the results are the same.
"""

from __future__ import annotations

import ctypes
import hashlib
import math
import os
import platform
import shutil
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from l1ml.graph import kernels
from l1ml.graph.program import TensorProgram
from l1ml.types.arrays import RealArray
from l1ml.types.fixed import Rounding

SOURCE = Path(__file__).with_name("emulate.cpp")
FLAGS = (
    "-O3",
    "-march=native",
    "-ffp-contract=fast",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-std=c++17",
    "-shared",
    "-fPIC",
)
EVENTS_PER_TASK = 1 << 14
_MODES = {Rounding.RND_CONV: 0, Rounding.TRN: 1, Rounding.TRN_ZERO: 2, Rounding.RND: 3}


class _Op(ctypes.Structure):
    """Mirrors ``L1mlOp`` in emulate.cpp, field by field."""

    _fields_ = [
        *(
            (name, ctypes.c_int32)
            for name in ("kind", "rounding", "rows_in", "rows_out", "inner_in", "inner_out")
        ),
        *((name, ctypes.c_int32) for name in ("first_in", "first_out", "steps", "then_round")),
        *((name, ctypes.c_double) for name in ("scale", "lo", "hi")),
        *((name, ctypes.c_void_p) for name in ("start", "index", "weight", "bias", "factor")),
    ]


def _cache_dir() -> Path:
    return Path(os.environ.get("L1ML_CACHE") or Path.home() / ".cache" / "l1ml")


def _machine() -> str:
    """Return what -march=native depends on, so that a shared home folder serves several machines."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        flags = next((line for line in lines if line.startswith(("flags", "Features"))), "")
    except OSError:
        flags = platform.processor()
    return platform.machine() + flags


@cache
def load() -> ctypes.CDLL | None:
    """Return the compiled library, building it on first use; None where there is no C++ compiler."""
    compiler = shutil.which("g++") or shutil.which("c++") or shutil.which("clang++")
    if compiler is None:
        return None
    key = hashlib.sha256(SOURCE.read_bytes() + " ".join((compiler, *FLAGS, _machine())).encode()).hexdigest()[
        :20
    ]
    built = _cache_dir() / f"emulate-{key}.so"
    try:
        if not built.exists():
            built.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=built.parent) as work:
                fresh = Path(work) / built.name
                command = [compiler, *FLAGS, str(SOURCE), "-o", str(fresh)]
                subprocess.run(command, check=True, capture_output=True, timeout=120)
                fresh.replace(built)  # atomic: an interrupted build leaves nothing that looks whole
        library = ctypes.CDLL(str(built))
    except (OSError, subprocess.SubprocessError):
        return None
    library.l1ml_run.restype = ctypes.c_int64
    return library


class NativeEmulator:
    """Runs one kernel plan; see `l1ml.graph.emulate.Emulator` for the public face."""

    def __init__(
        self, library: ctypes.CDLL, program: TensorProgram, plan: kernels.KernelPlan, wanted: list[int]
    ) -> None:
        self._run, self._wide = library.l1ml_run, int(plan.bits > 24)
        self._keep: list[NDArray[np.generic]] = []
        self._wanted = wanted
        first_row: list[int] = []
        rows = 0
        sizes = [i.type.size for i in program.inputs]
        for size in sizes:
            first_row.append(rows)
            rows += size
        ops: list[_Op] = []
        tensor_of = {v: t for t, v in reversed(list(enumerate(plan.value_of))) if v is not None}
        needed = {plan.value_of[t] for t in wanted}
        readers = [sum(k.source == v for k in plan.kernels) for v in range(len(sizes) + len(plan.kernels))]
        for number, kernel in enumerate(plan.kernels):
            value = len(program.inputs) + number
            made = program.type_of(tensor_of[value])
            shape = plan.shapes_in[number]
            op = self._op(
                kernel,
                math.prod(shape),
                made.size,
                shape[-1] if shape else 1,
                made.shape[-1] if made.shape else 1,
            )
            op.first_in = first_row[kernel.source]
            previous = ops[-1] if ops else None
            if (
                isinstance(kernel, kernels.Round)
                and previous is not None
                and previous.kind == 0
                and not previous.then_round
                and kernel.source == value - 1
                and readers[value - 1] == 1
                and value - 1 not in needed
            ):  # round each row while it is in registers
                previous.then_round, previous.rounding = 1, op.rounding
                previous.scale, previous.lo, previous.hi = op.scale, op.lo, op.hi
                first_row.append(previous.first_out)
                continue
            op.first_out = rows
            first_row.append(rows)
            rows += made.size
            ops.append(op)
        self._rows = rows
        self._ops = (_Op * max(1, len(ops)))(*ops)
        self._n_ops = len(ops)
        codes = [program.inputs[k].type for k in range(len(sizes))]
        self._to_code = np.concatenate([np.ldexp(1.0, c.frac.ravel()) for c in codes])
        self._lo = np.concatenate([c.lo.ravel() for c in codes]).astype(np.float64)
        self._hi = np.concatenate([c.hi.ravel() for c in codes]).astype(np.float64)
        row, unit = [], []
        for tensor in wanted:
            kind, value_or_none = program.type_of(tensor), plan.value_of[tensor]
            assert value_or_none is not None
            row.append(first_row[value_or_none] + np.arange(kind.size))
            unit.append(np.full(kind.size, 2.0**-kind.max_frac))
        self._out_row = np.concatenate(row).astype(np.int32)
        self._to_value = np.concatenate(unit)

    def _pointer(self, array: NDArray[np.generic]) -> int:
        self._keep.append(array)
        return int(array.ctypes.data)

    def _op(self, kernel: kernels.Kernel, rows_in: int, rows_out: int, inner_in: int, inner_out: int) -> _Op:
        op = _Op(rows_in=rows_in, rows_out=rows_out, inner_in=inner_in, inner_out=inner_out)

        def real(values: RealArray | NDArray[np.int64]) -> int:
            return self._pointer(np.ascontiguousarray(values, dtype=np.float64))

        match kernel:
            case kernels.Affine(_, matrix, bias):
                op.kind = 0
                channel, index = np.nonzero(matrix.T)
                start = np.searchsorted(channel, np.arange(matrix.shape[1] + 1))
                op.start = self._pointer(start.astype(np.int32))
                op.index = self._pointer(index.astype(np.int32))
                op.weight, op.bias = real(matrix.T[channel, index]), real(bias)
            case kernels.Round(_, drop, rounding, lo, hi):
                op.kind, op.rounding = 1, _MODES[rounding]
                op.scale, op.lo, op.hi = 2.0**-drop, float(lo), float(hi)
            case kernels.Scale(_, multiplier, offset, shift, lo, hi):
                op.kind, op.lo, op.hi = 2, float(lo), float(hi)
                op.weight, op.bias, op.factor = (
                    real(multiplier),
                    real(offset),
                    real(2.0 ** -shift.astype(np.float64)),
                )
            case kernels.Count(_, thresholds, base, step):
                op.kind, op.steps = 3, thresholds.shape[1]
                op.weight, op.bias, op.factor = real(thresholds), real(base), real(step)
        return op

    def run(self, x: NDArray[np.floating], threads: int) -> tuple[RealArray, int]:
        """Return values (events, elements of all wanted tensors) and the first bad event or -1.

        Args:
            x: (events, elements of all inputs), float32 or float64, C order.
            threads: blocks of events run side by side.
        """
        events, n_in = x.shape
        n_out = len(self._out_row)
        out = np.empty((events, n_out), dtype=np.float64)
        tasks = range(0, events, max(EVENTS_PER_TASK, -(-events // max(1, 8 * threads))))
        step = tasks.step

        def task(first: int) -> int:
            count = min(step, events - first)
            bad = self._run(
                ctypes.c_int32(self._wide), ctypes.c_int32(int(x.dtype == np.float64)),
                self._ops, ctypes.c_int32(self._n_ops), ctypes.c_int32(self._rows),
                ctypes.c_void_p(x.ctypes.data + first * x.strides[0]), ctypes.c_int32(n_in),
                *(ctypes.c_void_p(a.ctypes.data) for a in (self._to_code, self._lo, self._hi)),
                ctypes.c_void_p(self._out_row.ctypes.data), ctypes.c_void_p(self._to_value.ctypes.data),
                ctypes.c_int32(n_out), ctypes.c_void_p(out.ctypes.data + first * out.strides[0]),
                ctypes.c_int64(count),
            )  # fmt: skip
            return first + int(bad) if bad >= 0 else -1

        if threads > 1 and len(tasks) > 1:
            with ThreadPoolExecutor(threads) as pool:
                bad = [b for b in pool.map(task, tasks) if b >= 0]
        else:
            bad = [b for b in map(task, tasks) if b >= 0]
        return out, min(bad, default=-1)
