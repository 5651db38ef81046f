# SPDX-License-Identifier: Apache-2.0
"""The contract of a block, proved with cocotb on its ports: latency, gaps, orbit, resets, broken frames."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from l1ml.cosim.bench import BenchResult, run_bench
from l1ml.types.arrays import IntArray
from l1ml.validate.core import rtl_sources
from l1ml.validate.subject import facts_of
from l1ml.validate.verdict import Check, Verdict

EVENTS = 64
"""Events of the sample that the bench sends, besides the all-zero one."""


def zero_codes(manifest: Mapping[str, Any]) -> IntArray:
    """Return the event whose inputs are all zero, or as near to it as their ranges allow; (1, elements)."""
    ranges = [(int(e["lo"]), int(e["hi"])) for port in manifest["inputs"] for e in port["elements"]]
    return np.array([[min(max(0, lo), hi) for lo, hi in ranges]], dtype=np.int64)


def run_contract(
    manifest: Mapping[str, Any],
    root: Path,
    inputs: IntArray,
    outputs: IntArray,
    *,
    build_dir: Path,
    seeds: Sequence[int] = (1, 2),
) -> Verdict:
    """Run the contract bench on the top module.

    Args:
        manifest: of the project.
        root: project folder.
        inputs: input codes, (events, elements); event 0 must be `zero_codes`.
        outputs: the emulator's output codes for them.
        build_dir: folder of the build cache.
        seeds: of uninitialised state; every test must pass under each.

    Returns:
        A verdict of kind ``contract``, one check per test.

    Raises:
        ToolError: a tool is missing or failed.
    """
    keep = slice(0, EVENTS + 1)
    results = run_bench(
        manifest, rtl_sources(manifest, root), inputs[keep], outputs[keep], build_dir, seeds=seeds
    )
    names = dict.fromkeys(result.name for result in results if not result.skipped)
    checks = tuple(_check(name, [r for r in results if r.name == name], len(seeds)) for name in names)
    return Verdict(kind="contract", checks=checks, **facts_of(manifest))


def _check(name: str, results: Sequence[BenchResult], seeds: int) -> Check:
    bad = [result for result in results if not result.passed]
    passed = not bad and len(results) == seeds
    detail = f"passed with {len(results)} seeds of uninitialised state"
    if bad:
        detail = f"seed {bad[0].seed}: {bad[0].message}"
    elif not passed:
        detail = f"ran with {len(results)} of {seeds} seeds"
    return Check(name, passed, detail, "contract")
