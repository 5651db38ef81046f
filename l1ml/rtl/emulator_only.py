# SPDX-License-Identifier: Apache-2.0
"""Projects without hardware: the network and its emulator, and why there is no RTL."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from l1ml.errors import ModelError
from l1ml.graph import primitives
from l1ml.graph.program import TensorProgram
from l1ml.graph.tensor import TensorType

SCHEMA = "l1ml-manifest/1"

MAX_PRODUCTS = 300_000
"""A fully parallel block of more products than this fits no FPGA (about 5 LUTs each for short weights)."""


def products(program: TensorProgram) -> int:
    """Return how many products one event takes; a constant 0 is none.

    Example:
        A Dense layer of 16 x 64 weights, half of them zero, over 8 particles takes 4096.
    """
    total = 0
    for step in program.steps:
        x = program.type_of(step.sources[0]) if step.sources else step.type
        if isinstance(step.op, primitives.ConstMatmul):
            total += int(np.count_nonzero(step.op.matrix)) * (x.size // max(1, x.shape[-1]))
        elif isinstance(step.op, primitives.Contract):
            total += step.type.size * x.shape[-1]
        elif isinstance(step.op, primitives.Scalar):
            total += len(step.op.rows)
        elif isinstance(step.op, primitives.Combine) and step.op.kind == "mul":
            total += step.type.size
    return total


def too_large(program: TensorProgram) -> str | None:
    """Say why a network cannot be built fully parallel, or None if it can."""
    count = products(program)
    if count <= MAX_PRODUCTS:
        return None
    return f"one event takes {count:,} multiplications; a fully parallel block has at most {MAX_PRODUCTS:,}"


def refuse(reason: str) -> ModelError:
    """Build the error for a step that needs RTL."""
    return ModelError(
        f"this project has no hardware: {reason}",
        where=("hardware",),
        fix="make the network smaller, or use the emulator (predict, trace, l1ml emulate)",
    )


def manifest(
    program: TensorProgram,
    *,
    name: str,
    version: str,
    target: Mapping[str, Any],
    tools: Mapping[str, str],
    softmax: frozenset[str],
    reason: str,
) -> dict[str, Any]:
    """Return the manifest of a project without hardware."""
    return {
        "schema": SCHEMA,
        "l1ml_version": version,
        "name": name,
        "hardware": {"kind": "none", "reason": reason},
        "digest": {"network": program.digest},
        "target": dict(target),
        "inputs": [
            {
                "name": p.name,
                "shape": list(p.shape),
                "type": str(p.quantizer.type),
                "quantizer": str(p.quantizer),
            }
            for p in program.inputs
        ],
        "outputs": [
            {
                "name": n,
                "shape": list(program.type_of(t).shape),
                "softmax": n in softmax,
                **_range(program.type_of(t)),
            }
            for n, t in program.outputs
        ],
        "layers": [{"name": n, "range": _range(program.type_of(t))} for n, t in program.marks],
        "products": products(program),
        "files": [],
        "approximations": [{"layer": layer, "what": what} for layer, what in program.approximations],
        "tools": dict(tools),
    }


def _range(kind: TensorType) -> dict[str, Any]:
    frac = kind.max_frac
    lo, hi = kind.aligned(frac)
    return {"lo": int(lo.min(initial=0)), "hi": int(hi.max(initial=0)), "frac": frac}
