# SPDX-License-Identifier: Apache-2.0
"""Models of HGQ beside what HGQ gave for them: every layer, every event."""

from __future__ import annotations

import copy
import json
import zipfile
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from l1ml.frontends import containers, keras, read_model
from l1ml.graph import build
from l1ml.graph.emulate import Emulator
from l1ml.graph.model import Model
from l1ml.graph.program import TensorProgram
from l1ml.lowering.lower import lower

VECTORS = Path(__file__).resolve().parents[1] / "vectors"
LSB = 2.0**-6
INPUT = "fixed<9,3,RND,SAT>"


def recorded(answers: Path) -> tuple[list[np.ndarray], dict[str, np.ndarray]]:
    """Return the inputs, and the answers of all layers."""
    with np.load(answers, allow_pickle=False) as file:
        count = sum(key.startswith("input_") for key in file.files)
        layers = {key[6:]: file[key].astype(np.float64) for key in file.files if key.startswith("layer/")}
        return [file[f"input_{k}"].astype(np.float64) for k in range(count)], layers


@cache
def program(model: Path) -> TensorProgram:
    network = read_model(model)
    return build.to_program(build.input_quantizers(network, {i.name: INPUT for i in network.inputs}))


def differences(model: Path, answers: Path) -> dict[str, int]:
    """Count the values that differ, by layer; layers without integers are left out."""
    inputs, wanted = recorded(answers)
    trace = Emulator(program(model)).trace(inputs)
    return {
        key: int((trace[key].reshape(values.shape) != values).sum())
        for key, values in wanted.items()
        if key in trace
    }


def check_logic(model: Path, answers: Path) -> None:
    """Compare the emulator with the logic operations on the same events."""
    made, (inputs, _) = program(model), recorded(answers)
    flow = lower(made)
    columns = [column for x in inputs for column in x.reshape(len(x), -1).T]
    wires = flow.emulate([np.rint(column / LSB).astype(np.int64) for column in columns])
    wanted = [codes.reshape(len(codes), -1) for codes in Emulator(made).codes(inputs)]
    np.testing.assert_array_equal(flow.read(wires, flow.outputs), np.concatenate(wanted, axis=1))


def edited(model: Path, folder: Path, change: Callable[[Any], Any]) -> Path:
    """Return a copy of a .keras model with another configuration."""
    other = folder / model.name
    with zipfile.ZipFile(model) as old, zipfile.ZipFile(other, "w") as new:
        for member in old.namelist():
            data = old.read(member)
            if member == "config.json":
                data = json.dumps(change(json.loads(data))).encode()
            new.writestr(member, data)
    return other


@cache
def _file(model: Path) -> containers.KerasFile:
    return containers.read(model.read_bytes(), model.name, None)


def read_changed(model: Path, change: Callable[[Any], Any]) -> Model:
    """Read a .keras model with another configuration, without unpacking its weights again."""
    file = _file(model)
    return keras.read_keras(replace(file, config=change(copy.deepcopy(file.config))))
