# SPDX-License-Identifier: Apache-2.0
"""Builds a model of the RTL as a shared library, once per content: Verilator, C++ compiler, cache.

The cache key is a digest of everything that decides the library: sources, ports, harness, flags and tool
versions.  A library is built in a temporary folder and renamed when complete, so an interrupted build leaves
nothing that looks whole.  Verilator's run-time library is the same for every design and is compiled once
per user (``~/.cache/l1ml``, or the folder in ``L1ML_CACHE_DIR``).
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from l1ml import assets
from l1ml.cosim import simulators
from l1ml.errors import ToolError

LIBRARY = "harness.so"
FAST = "-O1"
"""Optimization of the model's code.  Measured on a core of 2,000 operations: -O1, -O2, -Os and -O3 give the
same speed (267 to 271 k events per CPU second), and -O1 builds with the least work."""
SLOW = "-O0"
"""For code that runs once, in the constructor."""
RUNTIME = "-O2"
"""For Verilator's run-time library."""
_FLAGS = ("-std=c++20", "-fPIC", "-fvisibility=hidden", "-fno-gnu-unique", "-DVL_TIME_CONTEXT")
_TRANSLATE = ("--cc", "--prefix", "Vl1ml", "--no-timing", "-O3", "-Wno-fatal", "-Wno-lint", "-Wno-style")
_X_RANDOM = ("--x-assign", "unique", "--x-initial", "unique")
UNITY_BYTES = 200_000
"""Up to this much C++ is compiled as one unit."""
_RUNTIME = ("verilated", "verilated_threads")
_IDENTIFIER = re.compile(r"[A-Za-z][A-Za-z0-9_]*")


class PortLike(Protocol):
    """A port of the top module."""

    @property
    def name(self) -> str: ...  # noqa: D102

    @property
    def width(self) -> int: ...  # noqa: D102


@dataclass(frozen=True)
class Wire:
    """A port, or a signal inside the top module (``stage_2.fc1_12``), and its bits."""

    name: str
    width: int


@dataclass(frozen=True)
class ClockReset:
    """Names of clock and reset, and whether reset is active low (AXI)."""

    clock: str = "clk_i"
    reset: str = "rst_i"
    active_low: bool = False


@dataclass(frozen=True)
class Design:
    """What is simulated.

    Args:
        sources: SystemVerilog files, packages first.
        top: top module.
        inputs: its data inputs in the order of the chunks, clock and reset left out.
        outputs: its outputs in the order of the chunks.
        pins: clock and reset.
        probes: signals inside ``top`` that are sampled like outputs, after them.
        fast: optimization level of the compiler.
    """

    sources: tuple[Path, ...]
    top: str
    inputs: tuple[Wire, ...]
    outputs: tuple[Wire, ...]
    pins: ClockReset = ClockReset()
    probes: tuple[Wire, ...] = ()
    fast: str = FAST

    def port_table(self) -> str:
        """Return the C++ header that tells the harness about the ports."""
        reads = [(wire.name, wire.width) for wire in self.outputs]
        reads += [(f"rootp->{_inner(self.top, wire.name)}", wire.width) for wire in self.probes]
        return "\n".join(
            [
                f"#define L1ML_CLOCK {_port(self.pins.clock)}",
                f"#define L1ML_RESET {_port(self.pins.reset)}",
                f"#define L1ML_RESET_ACTIVE {int(not self.pins.active_low)}",
                _table("L1ML_INPUTS", [(_port(wire.name), wire.width) for wire in self.inputs]),
                _table("L1ML_OUTPUTS", reads),
                "",
            ]
        )


def _port(name: str) -> str:
    assert _IDENTIFIER.fullmatch(name) and "__" not in name, f"{name!r} is no port name of ours"
    return name


def _inner(top: str, name: str) -> str:
    """Return the name that Verilator gives a signal of the top module."""
    parts = [top, *name.split(".")]
    assert all(_IDENTIFIER.fullmatch(part) for part in parts), f"{name!r} is no signal name of ours"
    return "__DOT__".join(part.replace("__", "___05F") for part in parts)


def _table(macro: str, entries: Sequence[tuple[str, int]]) -> str:
    return " \\\n".join([f"#define {macro}(X)", *(f"  X({name}, {width})" for name, width in entries)])


def build_library(design: Design, build_dir: Path) -> Path:
    """Return the shared library for a design, from the cache or freshly built.

    Args:
        design: sources, top and ports.
        build_dir: folder of the cache; one folder per digest is made in it.

    Raises:
        ToolError: a tool is missing or failed, a source cannot be read, or the disk is full.
    """
    simulator = simulators.require_verilator()
    compiler = simulators.require_compiler()
    harness = assets.path("validation", "tb", "harness.cpp")
    key = _digest(design, harness, simulator, compiler)
    target = build_dir / key / LIBRARY
    if target.is_file():
        return target
    with new_folder(build_dir / key) as work:
        _compile(design, harness, simulator, compiler, work)
    return target


def _digest(design: Design, harness: Path, simulator: simulators.Verilator, compiler: tuple[str, ...]) -> str:
    state = hashlib.sha256()
    facts = (
        design.top,
        design.port_table(),
        simulator.version,
        _compiler_version(compiler),
        design.fast,
        SLOW,
    )
    for text in (*facts, *_FLAGS, *_TRANSLATE, *_X_RANDOM):
        state.update(text.encode() + b"\0")
    for source in (harness, *design.sources):
        try:
            content = source.read_bytes()
        except OSError as error:
            raise ToolError(
                f"cannot read the source file {source.name}: {error.strerror}",
                where=(source.parent.name,),
                fix="convert the model again",
            ) from None
        state.update(f"{source.name}\0{len(content)}\0".encode() + content)
    return state.hexdigest()[:32]


def _compiler_version(compiler: tuple[str, ...]) -> str:
    done = subprocess.run(
        [*compiler, "-dumpfullversion", "-dumpversion"], capture_output=True, text=True, check=False
    )
    return f"{Path(compiler[-1]).name} {done.stdout.strip()}"


@contextmanager
def new_folder(target: Path, *, keep: bool = True) -> Iterator[Path]:
    """Give a temporary folder beside ``target`` and rename it when the block ends well.

    Args:
        target: the folder to make; nothing is there until it is complete.
        keep: False removes the temporary folder instead.

    Raises:
        ToolError: the disk is full, or the folder cannot be written.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=f".{target.name[:8]}-", dir=target.parent))
    except OSError as error:
        raise ToolError(
            f"cannot make the build folder: {error.strerror}", where=(str(target.parent),)
        ) from None
    try:
        yield work
        try:
            if keep:
                work.rename(target)
        except OSError:
            if not target.is_dir():  # else another process was faster, with the same content
                raise
    except OSError as error:
        raise ToolError(
            f"building the simulation failed: {error.strerror}",
            where=(str(target.parent),),
            fix="free some disk space, or set another build folder",
        ) from None
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _compile(
    design: Design, harness: Path, simulator: simulators.Verilator, compiler: tuple[str, ...], work: Path
) -> None:
    env = simulators.environment(simulator)
    log = work / "build.log"
    runtime = _runtime(simulator, compiler)
    translate: list[str | Path] = [
        simulator.binary,
        *_TRANSLATE,
        *_X_RANDOM,
        "--Mdir",
        work / "obj",
        "--top-module",
        design.top,
    ]
    if design.probes:
        translate.append("--public-flat-rw")
    simulators.run([*translate, *design.sources], log=log, env=env, what="translating the RTL with Verilator")
    (work / "obj" / "l1ml_ports.h").write_text(design.port_table())
    sources = _units(harness, work / "obj")
    objects = _compile_all(sources, work / "obj", [work / "obj"], simulator, compiler, log, design.fast)
    link: list[str | Path] = [
        *compiler,
        "-shared",
        "-Wl,-Bsymbolic",
        "-o",
        work / LIBRARY,
        *objects,
        *runtime,
        "-pthread",
    ]
    simulators.run(link, log=log, env=env, what="linking the simulation")
    shutil.rmtree(work / "obj")


def _units(harness: Path, folder: Path) -> list[Path]:
    """Return what to compile: every file, largest first, or one that includes all of a small design.

    A small file costs less than the headers it includes.
    """
    sources = [harness, *sorted(folder.glob("*.cpp"), key=lambda path: -path.stat().st_size)]
    if sum(source.stat().st_size for source in sources) > UNITY_BYTES:
        return sources
    unit = folder / "l1ml_unit.cpp"
    unit.write_text("".join(f'#include "{source.resolve()}"\n' for source in sources))
    return [unit]


def _compile_all(
    sources: Sequence[Path],
    out: Path,
    include: Sequence[Path],
    simulator: simulators.Verilator,
    compiler: tuple[str, ...],
    log: Path,
    fast: str,
) -> list[Path]:
    folders = [f"-I{folder}" for folder in (*include, *simulator.include)]
    env = simulators.environment(simulator)

    def one(source: Path) -> Path:
        target = out / f"{source.stem}.o"
        level = SLOW if source.stem.endswith("__Slow") else fast
        command: list[str | Path] = [*compiler, *_FLAGS, level, "-w", *folders, "-c", source, "-o", target]
        simulators.run(command, log=log, env=env, what=f"compiling {source.name}")
        return target

    with ThreadPoolExecutor(max_workers=len(os.sched_getaffinity(0))) as pool:
        return list(pool.map(one, sources))


def cache_folder() -> Path:
    """Return the folder for what all projects of this user share."""
    chosen = os.environ.get("L1ML_CACHE_DIR")
    if chosen:
        return Path(chosen)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "l1ml"


def _runtime(simulator: simulators.Verilator, compiler: tuple[str, ...]) -> list[Path]:
    """Return the objects of Verilator's run-time library, compiled at the first use."""
    facts = "\0".join((simulator.version, _compiler_version(compiler), RUNTIME, *_FLAGS))
    folder = cache_folder() / f"verilator-{hashlib.sha256(facts.encode()).hexdigest()[:16]}"
    objects = [folder / f"{name}.o" for name in _RUNTIME]
    if not all(path.is_file() for path in objects):
        sources = [simulator.root / "include" / f"{name}.cpp" for name in _RUNTIME]
        with new_folder(folder) as work:
            _compile_all(sources, work, (), simulator, compiler, work / "build.log", RUNTIME)
    return objects
