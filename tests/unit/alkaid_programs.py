# SPDX-License-Identifier: Apache-2.0
"""Programs traced by alkaid itself, one per group of its operations."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from alkaid.trace import FVArray, trace
from alkaid.trace.fixed_variable import HWConfig
from alkaid.trace.ops import quantize, relu
from alkaid.trace.passes import fuse_ternary_adders
from alkaid.types import CombLogic

HARDWARE = HWConfig(1, -1, -1)
N_IN = 6

Body = Callable[[FVArray, np.random.Generator], Any]


def _matrix(rng: np.random.Generator, rows: int, columns: int, scale: float = 8.0) -> np.ndarray:
    return rng.integers(-8, 8, (rows, columns)) / scale


def _quantized(rounding: str, overflow: str) -> Body:
    def body(x: FVArray, rng: np.random.Generator) -> Any:
        k, i, f = np.array([1, 0, 1, 0, 1]), np.array([1, 2, 3, 0, 4]), np.array([2, 1, 0, 3, -1])
        return quantize(x @ _matrix(rng, x.size, 5), k, i, f, overflow, rounding)

    return body


def _network(x: FVArray, rng: np.random.Generator) -> Any:
    hidden = relu(x @ _matrix(rng, x.size, 8), i=np.full(8, 2), f=np.full(8, 3))
    return relu(hidden @ _matrix(rng, 8, 5), i=np.full(5, 4), f=np.full(5, 3), round_mode="RND")


def _bits(x: FVArray, rng: np.random.Generator) -> Any:
    a = np.asarray(x)
    pairs = [a[0] & a[1], a[0] | a[2], a[3] ^ a[4], (a[1] & a[2]) | (a[5] << 2)]
    return [*pairs, ~a[5], ~(a[0] & 3), a[1].unary_bit_op("any"), a[2].unary_bit_op("all")]


def _tables(x: FVArray, rng: np.random.Generator) -> Any:
    wave = np.sin(x * 3).quantize(np.full(N_IN, 1), np.full(N_IN, 0), np.full(N_IN, 5))
    fall = np.exp(-x).quantize(np.full(N_IN, 0), np.full(N_IN, 3), np.full(N_IN, 4))
    return [*np.asarray(wave), *np.asarray(fall @ _matrix(rng, N_IN, 3))]


def _decisions(x: FVArray, rng: np.random.Generator) -> Any:
    picked = np.asarray(np.where(x[:3] > x[3:6], x[:3], x[3:6] * 2))
    signs = [x[0] > x[1], x[0] >= x[1], x[2] < x[3], x[2] <= 0.5, x[4] == x[5], x[4] != x[5], x[1] > 0]
    return [*picked, *signs, np.sign(x[:1])[0]]


BODIES: dict[str, Body] = {
    "matrix": lambda x, rng: x @ _matrix(rng, x.size, 5),
    "network": _network,
    "products": lambda x, rng: [x[0] * x[1], x[2] * x[3] + x[4], x[1] ** 2, (x[0] - x[1]) * x[5]],
    "extremes": lambda x, rng: [
        np.max(x), np.min(x), np.abs(x[0]), np.maximum(x[0], x[1]) - np.minimum(x[2], x[3]),
    ],
    "sort": lambda x, rng: np.sort(x),
    "positions": lambda x, rng: [np.argmax(x), np.argmin(x)],
    "decisions": _decisions,
    "bits": _bits,
    "tables": _tables,
    "clip": lambda x, rng: np.clip(x @ _matrix(rng, x.size, 3), -2.5, 7),
    "constants": lambda x, rng: [x[0] + 0.375, x[1] * 5.5 - 3, x[2] * 0.75, x[0] - x[0], x[3], -x[4]],
    **{
        f"{rounding}_{overflow}".lower(): _quantized(rounding, overflow)
        for rounding in ("TRN", "RND", "RND_CONV")
        for overflow in ("WRAP", "SAT", "SAT_SYM")
    },
}  # fmt: skip


def _everything(x: FVArray, rng: np.random.Generator) -> Any:
    return np.concatenate([np.ravel(np.array(body(x, rng), dtype=object)) for body in list(BODIES.values())])


def program(name: str, seed: int = 0, *, ternary: bool = False) -> CombLogic:
    """Trace a body on inputs of random types."""
    rng = np.random.default_rng([seed, *name.encode()])
    k, i, f = rng.integers(0, 2, N_IN), rng.integers(2, 5, N_IN), rng.integers(0, 4, N_IN)
    x = FVArray.from_kif(k, i, f, hwconf=HARDWARE)
    body = _everything if name == "everything" else BODIES[name]
    made = trace(x, np.ravel(body(x, rng)), keep_dead_inputs=True)
    return fuse_ternary_adders(made) if ternary else made


def saved(made: CombLogic, folder: Path, name: str = "program.json.gz") -> Path:
    """Let alkaid write a program."""
    made.save(folder / name)
    return folder / name


def text(
    operations: list[list[Any]], *, n_in: int = 1, outputs: list[tuple[int, int, bool]] | None = None,
    input_shifts: list[int] | None = None, tables: list[Any] | None = None,
) -> bytes:  # fmt: skip
    """Write a program by hand; operations are [addresses, opcode, data, range]."""
    ends = outputs if outputs is not None else [(len(operations) - 1, 0, False)]
    parts = [
        [n_in, len(ends)], input_shifts or [0] * n_in, *map(list, zip(*ends, strict=True)),
        [[*op, 0.0, 0.0] for op in operations], 1, -1,
    ]  # fmt: skip
    if tables is not None:
        parts.append(tables)
    return json.dumps({"model": parts, "meta": "ALIRModel", "spec_version": 4}).encode()
