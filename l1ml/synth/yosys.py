# SPDX-License-Identifier: Apache-2.0
"""Open synthesis for UltraScale+ with Yosys (`pyosys`): LUT, LUT sites, FF, DSP, BRAM, logic depth.

Yosys knows no placement and packs LUTs its own way, so the figures rank designs well and predict Vivado's
only roughly; the logic depth is a count of cells, not a time.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from l1ml.errors import DataError, ToolError, install_hint
from l1ml.synth import yosys_child
from l1ml.synth.result import SynthesisResult

RESULT_FILE = yosys_child.RESULT
LOG_FILE = yosys_child.LOG
_HDL = (".sv", ".v", ".svh", ".vh")
_PACKAGE = re.compile(r"^\s*package\s+(?:automatic\s+|static\s+)?(\w+)", re.MULTILINE)


def packages_first(sources: Sequence[Path]) -> list[Path]:
    """Return the sources with every file behind the packages it reads; otherwise in the given order.

    Raises:
        ToolError: a source cannot be read, or packages read each other in a circle.
    """
    texts = {path: _read(path) for path in sources}
    owner = {name: path for path in sources for name in _PACKAGE.findall(texts[path])}
    uses = {
        path: {owner[name] for name in re.findall(r"(\w+)\s*::", texts[path]) if name in owner} - {path}
        for path in sources
    }
    holders = set(owner.values())
    ordered: list[Path] = []
    left = [path for path in sources if path in holders]
    while left:
        ready = [path for path in left if uses[path] <= set(ordered)]
        if not ready:
            raise ToolError("packages read each other in a circle", where=tuple(str(path) for path in left))
        ordered += ready
        left = [path for path in left if path not in ready]
    return ordered + [path for path in sources if path not in holders]


def synthesize(
    sources: Sequence[Path],
    top: str,
    build_dir: Path,
    *,
    part_family: str = "xcup",
    timeout_s: float = 3600.0,
    memory_bytes: int = 8 << 30,
) -> SynthesisResult:
    """Synthesize a module with Yosys in a process of its own; an unchanged job is read from the cache.

    Args:
        sources: HDL files in any order, and memory files (``.mem``) that they read by name.
        top: module to synthesize.
        build_dir: cache folder; each job gets ``<digest>/result.json`` and ``<digest>/yosys.log``.
        part_family: family name of ``synth_xilinx``: xcup, xcu, xc7.
        timeout_s: wall time after which the process is ended.
        memory_bytes: address space that Yosys and abc may use each.

    Returns:
        Cells of the flattened module.

    Raises:
        ToolError: pyosys is missing, a source is unreadable, Yosys failed, or a limit was exceeded.
    """
    if not re.fullmatch(r"[A-Za-z_]\w*", top) or not re.fullmatch(r"[a-z0-9]+", part_family):
        raise ToolError(
            f"module {top!r} or family {part_family!r} is no plain name", fix="use letters, digits and _"
        )
    files = packages_first([path for path in sources if path.suffix in _HDL])
    memories = sorted(path for path in sources if path.suffix not in _HDL)
    digest = _digest([*files, *memories], top, part_family)
    folder = build_dir / digest[:16]
    cached = _cached(folder, digest)
    if cached is not None:
        return cached
    if importlib.util.find_spec("pyosys") is None:
        raise ToolError("synthesis needs Yosys (pyosys)", fix=install_hint("synth"))
    build_dir.mkdir(parents=True, exist_ok=True)
    start = time.monotonic()
    with tempfile.TemporaryDirectory(dir=build_dir, prefix=".run-") as scratch:
        work = Path(scratch)
        names = [_copy(path, work, number) for number, path in enumerate(files)]
        for path in memories:
            shutil.copyfile(path, work / path.name)
        job = {"sources": names, "top": top, "family": part_family, "memory_bytes": memory_bytes}
        failure = _run(job, work, timeout_s)
        folder.mkdir(exist_ok=True)
        (folder / LOG_FILE).write_text(_log(work), encoding="utf-8")
        if failure is not None:
            raise ToolError(
                f"Yosys could not synthesize {top}: {failure}",
                where=(str(folder / LOG_FILE),),
                fix="read the log; a design too large for the limits can be estimated without Yosys",
            )
        facts = json.loads((work / RESULT_FILE).read_text(encoding="utf-8"))
    tool = f"pyosys {importlib.metadata.version('pyosys')}"
    facts |= {"top": top, "digest": digest, "tool": tool, "seconds": round(time.monotonic() - start, 1)}
    result = SynthesisResult.from_dict(facts)
    temporary = folder / f".{os.getpid()}.json"
    temporary.write_text(json.dumps(result.to_dict(), indent=1) + "\n", encoding="utf-8")
    temporary.replace(folder / RESULT_FILE)
    return result


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ToolError(f"cannot read HDL source: {error}", where=(str(path),)) from error


def _copy(path: Path, work: Path, number: int) -> str:
    """Copy a source under a name that needs no quoting; headers keep theirs, since others include them."""
    name = (
        path.name
        if path.suffix in (".svh", ".vh")
        else f"{number:03d}_{re.sub(r'[^A-Za-z0-9_]', '_', path.stem)}.sv"
    )
    shutil.copyfile(path, work / name)
    return name


def _digest(files: Sequence[Path], top: str, family: str) -> str:
    """Return the SHA-256 of everything the result depends on; the files' folders do not matter."""
    recipe = yosys_child.recipe(["SOURCES"], top, family)
    state = hashlib.sha256(json.dumps([_pyosys_version(), recipe]).encode())
    for path in files:
        data = path.read_bytes()
        state.update(f"{path.name}:{len(data)}:".encode() + data)
    return state.hexdigest()


def _pyosys_version() -> str:
    """Return the installed pyosys version, or an empty text."""
    try:
        return importlib.metadata.version("pyosys")
    except importlib.metadata.PackageNotFoundError:
        return ""


def _cached(folder: Path, digest: str) -> SynthesisResult | None:
    """Return the stored result of this very job; a damaged file counts as none."""
    try:
        facts = json.loads((folder / RESULT_FILE).read_text(encoding="utf-8"))
        result = SynthesisResult.from_dict(facts)
    except (OSError, ValueError, AttributeError, DataError):
        return None
    return result if result.digest == digest else None


def _log(work: Path) -> str:
    """Return what Yosys wrote, the pass that was cut off included."""
    parts = [work / LOG_FILE, work / yosys_child.PASS_LOG]
    return "\n".join(part.read_text(encoding="utf-8", errors="replace") for part in parts if part.exists())


def _run(job: dict[str, object], work: Path, timeout_s: float) -> str | None:
    """Run the child to its end; return what went wrong, or None."""
    script = str(Path(yosys_child.__file__).resolve())
    process = subprocess.Popen(
        [sys.executable, script],
        cwd=work,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        start_new_session=True,  # abc is a child of the child: the whole group must end
    )
    late = False
    with process:
        try:
            _, errors = process.communicate(json.dumps(job), timeout=timeout_s)
        except subprocess.TimeoutExpired:
            late = True
        finally:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
    if late:
        return f"no result after {timeout_s:.0f} s"
    if process.returncode == 0 and (work / RESULT_FILE).exists():
        return None
    found = re.findall(r"^(?:.*: )?ERROR: (.*)$", _log(work) + errors, re.MULTILINE)
    if found:
        return str(found[-1])
    last = errors.strip().splitlines()[-1:] or ["no message"]
    return f"exit status {process.returncode}: {last[0]}"
