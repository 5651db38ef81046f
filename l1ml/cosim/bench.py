# SPDX-License-Identifier: Apache-2.0
"""Runs a cocotb bench of ``validation/tb`` on generated RTL and collects what every test says."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import logging
import re
import shutil
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from l1ml import assets
from l1ml.cosim import simulators
from l1ml.cosim.build import new_folder
from l1ml.errors import ToolError, install_hint
from l1ml.types.arrays import IntArray

BENCH = "contract_bench"
_BUILD_ARGS = (
    "--x-assign",
    "unique",
    "--x-initial",
    "unique",
    "-Wno-fatal",
    "-Wno-lint",
    "-Wno-style",
    "--no-timing",
)


@dataclass(frozen=True)
class BenchResult:
    """What one cocotb test said.

    Args:
        name: of the test.
        passed: the answer.
        message: why it failed, or why it was skipped; else empty.
        skipped: it does not apply to this link.
        seed: of uninitialised state.
    """

    name: str
    passed: bool
    message: str = ""
    skipped: bool = False
    seed: int = 0


def run_bench(
    manifest: Mapping[str, Any],
    sources: Sequence[Path],
    inputs: IntArray,
    outputs: IntArray,
    build_dir: Path,
    *,
    seeds: Sequence[int] = (1, 2),
    bench: str = BENCH,
) -> list[BenchResult]:
    """Run a bench on the top module, once per seed of uninitialised state.

    Verilator knows two states only: it has no X.  Instead every uninitialised variable starts at random,
    so state that reset forgot shows as a wrong value under one seed or the other.

    Args:
        manifest: of the project.
        sources: SystemVerilog files, packages first.
        inputs: input codes of the events to send, (events, elements); event 0 is the all-zero one.
        outputs: the emulator's output codes for them.
        build_dir: folder of the build cache.
        seeds: one run each.
        bench: module in ``validation/tb``.

    Returns:
        One result per test and seed.

    Raises:
        ToolError: a tool is missing, or the simulation broke off before the tests ended.
    """
    program = _build(str(manifest["top_module"]), sources, build_dir)
    results: list[BenchResult] = []
    with new_folder(build_dir / "run", keep=False) as work:
        (work / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
        np.savez(work / "stimulus.npz", inputs=inputs, outputs=outputs)
        for seed in seeds:
            results += _run(str(manifest["top_module"]), program, work, seed, bench)
    return results


def _environment() -> dict[str, str]:
    env = simulators.environment()
    # The runner would judge results itself if it saw pytest, and open viewers if asked to.
    drop = re.compile(r"PYTEST_CURRENT_TEST|WAVES|GUI|COCOTB_.*|GPI_.*")
    kept = {key: value for key, value in env.items() if not drop.fullmatch(key)}
    # Python sets the pace of a bench, so the compiler need not optimize: it builds in half the time.
    kept["MAKEFLAGS"] += " OPT_FAST=-O0 OPT_SLOW=-O0 OPT_GLOBAL=-O0"
    return kept


def _runner() -> Any:
    try:
        from cocotb_tools.runner import get_runner
    except ImportError as error:
        raise ToolError(f"cocotb is not installed ({error})", fix=install_hint("sim")) from None
    runner = get_runner("verilator")
    runner.log.setLevel(logging.WARNING)
    return runner


def _build(top: str, sources: Sequence[Path], build_dir: Path) -> Path:
    """Return the folder of the compiled simulation, from the cache or freshly built."""
    runner = _runner()
    simulator = simulators.require_verilator()
    simulators.require_tools("make", "perl")
    simulators.require_compiler()
    state = hashlib.sha256(
        "\0".join((top, simulator.version, importlib.metadata.version("cocotb"), *_BUILD_ARGS)).encode()
    )
    for source in sources:
        state.update(source.name.encode() + b"\0" + source.read_bytes())
    target = build_dir / f"cocotb-{state.hexdigest()[:32]}"
    if (target / top).is_file():
        return target
    with new_folder(target) as work:
        log = work / "build.log"
        with simulators.applied(_environment()):
            try:
                runner.build(
                    sources=[source.resolve() for source in sources],
                    hdl_toplevel=top,
                    build_dir=work,
                    build_args=list(_BUILD_ARGS),
                    log_file=log,
                )
            except (RuntimeError, ValueError, SystemExit) as error:
                raise _failed("building the cocotb simulation", log, error) from None
        for path in work.iterdir():  # only the program is needed
            if path.name not in (top, log.name):
                path.unlink() if path.is_file() else shutil.rmtree(path)
    return target


def _run(top: str, program: Path, work: Path, seed: int, bench: str) -> list[BenchResult]:
    folder = work / f"seed{seed}"
    folder.mkdir()
    results, log = folder / "results.xml", folder / "run.log"
    tb = assets.path("validation", "tb")
    package = Path(assets.__file__).resolve().parent.parent
    runner = _runner()
    with simulators.applied(_environment()), _search_path(tb, package):
        try:
            runner.test(
                test_module=bench,
                hdl_toplevel=top,
                hdl_toplevel_lang="verilog",
                build_dir=program,
                test_dir=folder,
                seed=seed,
                plusargs=["+verilator+rand+reset+2", f"+verilator+seed+{seed}"],
                extra_env={
                    "L1ML_MANIFEST": str(work.resolve() / "manifest.json"),
                    "L1ML_STIMULUS": str(work.resolve() / "stimulus.npz"),
                    "COCOTB_ANSI_OUTPUT": "0",
                    "PYTHONDONTWRITEBYTECODE": "1",
                },
                results_xml=str(results.resolve()),
                log_file=log,
            )
        except (RuntimeError, ValueError, SystemExit) as error:
            if not results.is_file():
                raise _failed("running the cocotb bench", log, error) from None
    if not results.is_file():
        raise _failed("running the cocotb bench", log, None)
    found = _read_results(results, seed)
    if not found:
        raise _failed("the cocotb bench ran no test", log, None)
    return found


@contextmanager
def _search_path(*folders: Path) -> Iterator[None]:
    """Put folders first on ``sys.path``: cocotb's runner hands it to the simulator as PYTHONPATH."""
    before = list(sys.path)
    sys.path[:0] = [str(folder) for folder in folders]
    try:
        yield
    finally:
        sys.path[:] = before


def _failed(what: str, log: Path, error: BaseException | None) -> ToolError:
    text = log.read_text(errors="replace") if log.is_file() else ""
    reason = f": {error}" if error is not None and not text else ""
    return ToolError(
        f"{what} failed{reason}\n{simulators.tail(text)}".rstrip(),
        where=(log.name,),
        fix=simulators.reason(text),
    )


def _read_results(file: Path, seed: int) -> list[BenchResult]:
    results = []
    for case in ElementTree.parse(file).getroot().iter("testcase"):
        bad = next((case.find(tag) for tag in ("failure", "error") if case.find(tag) is not None), None)
        skip = case.find("skipped")
        message = ""
        if bad is not None:
            text = bad.get("message") or bad.get("error_msg") or bad.text or "failed"
            message = text.strip().splitlines()[0]
        elif skip is not None:
            message = "does not apply to this link"
        results.append(BenchResult(str(case.get("name")), bad is None, message, skip is not None, seed))
    return results
