# SPDX-License-Identifier: Apache-2.0
"""Temporal induction with Yosys' SAT solver: a property holds in every clock, whatever stands on the inputs."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from l1ml import assets

_YOSYS = """
import sys
from pyosys import libyosys
design = libyosys.Design()
for command in sys.argv[1:]:
    libyosys.run_pass(command, design)
"""


def source_of(module: str, mutation: tuple[str, str] | None = None) -> str:
    """Return the text of an engine, with one change."""
    text = assets.path("firmware", "rtl", "sv", f"{module}.sv").read_text(encoding="utf-8")
    if mutation is not None:
        assert text.count(mutation[0]) == 1, mutation
        text = text.replace(*mutation)
    return text


def inside(text: str, properties: str) -> str:
    """Return the text of a module with properties at its end, where they see its registers."""
    assert text.count("\nendmodule") == 1
    return text.replace("\nendmodule", f"\n{properties}\nendmodule")


def behind(text: str, pieces: Iterable[tuple[str, str]]) -> str:
    """Return a text with something more behind each anchor: what properties need to see of memories."""
    for anchor, more in pieces:
        assert text.count(anchor) == 1, anchor
        text = text.replace(anchor, anchor + more)
    return text


def proven(folder: Path, texts: Mapping[str, str], top: str, *, clocks: int, bounded: bool = False) -> bool:
    """Say whether every ``assert`` in ``top`` and below holds in all clocks after one clock of reset.

    Args:
        folder: for the sources.
        texts: SystemVerilog by name of the file.
        top: top module with a port ``rst_i``.
        clocks: longest induction that is tried, or the clocks that are checked.
        bounded: only check that many clocks from reset, instead of a proof for all.

    Raises:
        AssertionError: Yosys stopped for another reason than an answer.
    """
    files = []
    for name, text in texts.items():
        files.append(folder / f"{name}.sv")
        files[-1].write_text(text)
    how = f"-seq 1 -tempinduct{'-baseonly' if bounded else ''} -maxsteps {clocks}"
    commands = [
        f"read_verilog -sv -formal {' '.join(map(str, files))}",
        f"hierarchy -top {top}",
        "proc", "flatten", "opt -full", "memory_map", "opt -full", "chformal -lower", "opt_clean",
        f"sat -verify -prove-asserts -set-assumes -set-at 1 rst_i 1 {how} {top}",
    ]  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", _YOSYS, *commands], capture_output=True, text=True, timeout=300, check=False
    )
    text = done.stdout + done.stderr
    if bounded:
        reached = f"Base case for induction length {clocks} proven" in text
        assert reached or "SAT temporal induction proof finished - model found" in text, text[-3000:]
        return reached
    assert ("Induction step proven: SUCCESS!" in text) == (done.returncode == 0), text[-3000:]
    assert done.returncode == 0 or "ERROR: Called with -verify and proof did fail!" in text, text[-3000:]
    return done.returncode == 0
