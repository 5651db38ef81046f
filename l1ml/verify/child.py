# SPDX-License-Identifier: Apache-2.0
"""Starts a runner in the interpreter of a framework and reads back what every layer gave."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from l1ml.errors import ConfigError, ToolError, install_hint, nearest
from l1ml.frontends import files
from l1ml.types.arrays import RealArray

RUNNERS = {
    "keras": "keras_runner.py",
    "qkeras": "keras_runner.py",
    "hgq2": "keras_runner.py",
    "onnx": "onnx_runner.py",
}
EXTRAS = {"keras": "keras", "qkeras": "qkeras", "hgq2": "hgq2", "onnx": "onnx-runtime"}
ZIP = b"PK\x03\x04"
TIMEOUT_S = 1800
BATCH = 256


@dataclass(frozen=True, eq=False)
class Answer:
    """What a framework gave.

    Args:
        layers: float arrays (events, ...) by name of the layer.
        outputs: those of the model's outputs, in order.
        versions: of the framework and what it stands on.
    """

    layers: Mapping[str, np.ndarray]
    outputs: tuple[np.ndarray, ...]
    versions: Mapping[str, str]


def framework_of(model: Path, framework: str | None = None) -> str:
    """Return the framework that runs a model file: the one given, else the one its content names.

    Raises:
        ConfigError: there is no such framework, or none that can be run here.
        ModelError: the file cannot be read.
    """
    if framework is not None:
        if framework not in RUNNERS:
            raise ConfigError(
                f"unknown framework {framework!r}", where=("framework",), fix=nearest(framework, RUNNERS)
            )
        return framework
    data = files.read_bytes(model)
    if not files.is_keras(data):
        return "onnx"
    if data[:4] == ZIP:
        data = _zipped_config(model)
    if b'"HGQ>' in data:
        raise ConfigError(
            "a proxy model of HGQ 1 cannot be run for verification",
            where=(str(model),),
            fix="put its own answers into the event file as golden, and use l1ml replay",
        )
    if b"hgq>" in data or b'"hgq' in data:
        return "hgq2"
    words = (b"qkeras", b'"QDense', b'"QConv', b'"QActivation')
    return "qkeras" if any(word in data for word in words) else "keras"


def _zipped_config(model: Path) -> bytes:
    import zipfile

    try:
        with zipfile.ZipFile(model) as file, file.open("config.json") as member:
            return member.read(1 << 24)
    except (OSError, KeyError, ValueError, RuntimeError, zipfile.BadZipFile):
        return b""


def extra_of(framework: str, model: Path) -> str:
    """Return the extra of l1ml that installs a framework; QKeras has one for each generation of Keras."""
    with model.open("rb") as file:
        third = file.read(4) == ZIP
    return "qkeras-v3" if framework == "qkeras" and third else EXTRAS[framework]


def run(
    framework: str,
    model: Path,
    weights: Path | None,
    inputs: Sequence[RealArray],
    *,
    python: str | os.PathLike[str] | None = None,
    timeout_s: float = TIMEOUT_S,
) -> Answer:
    """Run a model in its framework, in a process of its own.

    The model file has been read by l1ml before: what it would not convert (code in Lambda layers) gets no further.

    Args:
        framework: one of `RUNNERS`.
        model: the file.
        weights: the file of the weights, where the model is architecture only.
        inputs: one array (events, ...) per input, in the model's order.
        python: interpreter with the framework; None for this one.
        timeout_s: after so many seconds the process is ended.

    Raises:
        ToolError: the framework is missing there, or cannot run the model.
    """
    interpreter = os.fspath(python) if python is not None else sys.executable
    script = Path(__file__).with_name("runners") / RUNNERS[framework]
    with tempfile.TemporaryDirectory(prefix="l1ml-verify-") as work:
        folder = Path(work)
        np.savez(folder / "inputs.npz", *(np.asarray(x, dtype=np.float32) for x in inputs))
        job = {
            "framework": framework,
            "model": str(model.resolve()),
            "weights": None if weights is None else str(weights.resolve()),
            "inputs": str(folder / "inputs.npz"),
            "results": str(folder / "results.npz"),
            "answer": str(folder / "answer.json"),
            "batch": BATCH,
        }
        (folder / "job.json").write_text(json.dumps(job), encoding="utf-8")
        log = _start([interpreter, "-I", str(script), str(folder / "job.json")], folder, timeout_s)
        return _read(folder, framework, interpreter, log, extra_of(framework, model))


def _start(command: list[str], folder: Path, timeout_s: float) -> str:
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
            errors="replace",
        )
    except OSError as error:
        raise ToolError(
            f"cannot start {command[0]}: {error.strerror}",
            where=("python",),
            fix="name the interpreter: --python PATH",
        ) from None
    except subprocess.TimeoutExpired:
        raise ToolError(
            f"the framework took more than {timeout_s:g} s", fix="take fewer events: --max-events"
        ) from None
    return f"exit code {done.returncode}\n{done.stdout[-500:]}{done.stderr[-2000:]}".strip()


def _read(folder: Path, framework: str, interpreter: str, log: str, extra: str) -> Answer:
    try:
        answer: dict[str, Any] = json.loads((folder / "answer.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise ToolError(f"{framework} ended without an answer: {log}", where=(interpreter,)) from None
    if "missing" in answer:
        raise ToolError(
            f"{framework} is not installed there: {str(answer['missing']).splitlines()[0][:300]}",
            where=(interpreter,),
            fix=f"{install_hint(extra)} into an environment, and name it: --python VENV/bin/python",
        )
    if "error" in answer:
        raise ToolError(
            f"{framework} cannot run the model: {str(answer['error'])[:1000]}", where=(interpreter,)
        )
    with np.load(folder / "results.npz", allow_pickle=False) as file:
        found = {str(name): file[f"arr_{k}"] for k, name in enumerate(answer["names"])}
    outputs = tuple(found.pop(f"output {k}") for k in range(int(answer["outputs"])) if f"output {k}" in found)
    return Answer(found, outputs, dict(answer["versions"]))
