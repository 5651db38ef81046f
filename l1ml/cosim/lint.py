# SPDX-License-Identifier: Apache-2.0
"""Lint of generated RTL: Verilator with every warning on, none waived from outside."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from l1ml.cosim import simulators


def lint(sources: Sequence[Path], top: str, log: Path) -> None:
    """Check a design; a warning is a failure.

    Args:
        sources: SystemVerilog files, packages first.
        top: top module.
        log: where the linter's output goes.

    Raises:
        ToolError: Verilator is missing, or it has something to say; the end of its output is shown.
    """
    simulator = simulators.require_verilator()
    log.parent.mkdir(parents=True, exist_ok=True)
    log.unlink(missing_ok=True)
    command: list[str | Path] = [simulator.binary, "--lint-only", "-Wall", "--top-module", top, *sources]
    simulators.run(command, log=log, env=simulators.environment(simulator), what=f"lint of {top}")
