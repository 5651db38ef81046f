# SPDX-License-Identifier: Apache-2.0
"""Builds ``emulate.cpp`` for this machine.

The library does not depend on the network, so it is compiled once per machine and tool version and kept
in the user's cache folder (``L1ML_CACHE``, else ``~/.cache/l1ml``).  Without a C++ compiler the array
emulator is used; the results are the same.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

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
