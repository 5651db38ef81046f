# SPDX-License-Identifier: Apache-2.0
"""Every layer of Keras and QKeras in several settings, against what the frameworks themselves give for it.

The models are files that Keras 2.15 with QKeras 0.9 and Keras 3 with qkeras-v3 wrote, and their answers are beside
them (`tests/vectors/make_keras_models.py`).  Quantized ones are equal code for code; float ones to a float32's
worth of rounding.
"""

from __future__ import annotations

import tarfile
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from l1ml.frontends import read_model
from l1ml.graph import build, real
from l1ml.graph.emulate import Emulator
from l1ml.graph.model import Model

VECTORS = Path(__file__).resolve().parents[1] / "vectors" / "keras"
GENERATIONS = ("keras2", "keras3")
CODES = "fixed<8,3>"
"""The grid of the recorded inputs of quantized models: 1/32 in [-4, 4)."""


@cache
def members(generation: str) -> tuple[str, ...]:
    with tarfile.open(VECTORS / f"{generation}.tar.xz") as archive:
        return tuple(sorted(archive.getnames()))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("keras")
    for generation in GENERATIONS:
        with tarfile.open(VECTORS / f"{generation}.tar.xz") as archive:
            archive.extractall(made / generation, filter="data")
    return made


def cases(*, quantized: bool) -> list[tuple[str, str]]:
    return [
        (generation, name)
        for generation in GENERATIONS
        for name in members(generation)
        if name.endswith((".h5", ".keras")) and not name.endswith(".weights.h5")
        if name.startswith("q_") == quantized
    ]


def recorded(
    folder: Path, generation: str, name: str, kind: str
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Return inputs and outputs, each in the order of the model."""
    with np.load(folder / generation / f"{name.split('.')[0]}.npz", allow_pickle=False) as file:
        keys = sorted(key for key in file.files if key.startswith(kind))
        return [file[k] for k in keys if "input" in k], [file[k] for k in keys if "output" in k]


def assert_real(model: Model, inputs: list[np.ndarray], outputs: list[np.ndarray]) -> None:
    found = real.run(model, inputs)
    assert len(model.outputs) == len(outputs)
    for name, wanted in zip(model.outputs, outputs, strict=True):
        scale = max(1.0, float(np.abs(wanted).max()))
        np.testing.assert_allclose(found[name], wanted, rtol=0, atol=1e-5 * scale, err_msg=name)
        assert np.abs(wanted).max() > 0


@pytest.mark.parametrize(("generation", "name"), cases(quantized=False))
def test_float_models_give_what_keras_gives(folder: Path, generation: str, name: str) -> None:
    kind = "grid" if name.endswith(".h5") else "float"
    assert_real(read_model(folder / generation / name), *recorded(folder, generation, name, kind))


@pytest.mark.parametrize(("generation", "name"), cases(quantized=True))
def test_quantized_models_are_equal_code_for_code(folder: Path, generation: str, name: str) -> None:
    model = read_model(folder / generation / name)
    inputs, outputs = recorded(folder, generation, name, "quantized")
    program = build.to_program(build.input_quantizers(model, CODES), passes=())
    found = Emulator(program).codes(inputs)
    assert len(found) == len(outputs)
    compared = 0
    for (output, tensor), codes, wanted in zip(program.outputs, found, outputs, strict=True):
        exact = np.ldexp(wanted.astype(np.float64), program.type_of(tensor).frac)
        assert np.abs(exact - np.rint(exact)).max() < 0.01, (
            f"{output}: the framework's values are off the grid"
        )
        np.testing.assert_array_equal(codes, np.rint(exact).astype(np.int64), err_msg=output)
        assert np.ptp(codes) > 0, output
        compared += codes.size
    assert compared > 400
