# SPDX-License-Identifier: Apache-2.0
"""QKeras 0.9 on TensorFlow 2.15 and HGQ2 themselves beside the emulator; ``make frameworks`` runs this.

The frameworks live in environments of their own, which ``L1ML_QKERAS`` and ``L1ML_HGQ2`` name (their interpreters).
Models are made there by the scripts of the project, with weights and types that tie; events are ties, thresholds
and ends of ranges of the model's own quantizers.  Nothing here is skipped: without a framework the run fails.
"""

from __future__ import annotations

import json
import os
import subprocess
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest

import l1ml
from l1ml import cli, verification
from l1ml.verify.run import Verification

ROOT = Path(__file__).parents[2]
VECTORS, JETS = ROOT / "tests" / "vectors", ROOT / "datasets" / "jets"
QKERAS = ("dense", "conv", "recurrent", "quantizers")
HGQ2 = ("quantizers", "dense", "conv2d", "softmax", "attention")
STIMULI = 300
SHOWN = 0.4
"""Least part of all boundaries that the events of a model have to reach."""


def interpreter(variable: str) -> Path:
    """Return the interpreter of a framework."""
    value = os.environ.get(variable)
    assert value, f"set {variable} to the interpreter of the framework, or run: make frameworks"
    return (ROOT / value).absolute()  # not resolved: a link into an environment is what makes it one


def made_by(python: Path, script: Path, folder: Path, names: tuple[str, ...]) -> Path:
    done = subprocess.run(
        [python, "-I", script, folder, *names], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture(scope="session")
def qkeras() -> Path:
    return interpreter("L1ML_QKERAS")


@pytest.fixture(scope="session")
def hgq2() -> Path:
    return interpreter("L1ML_HGQ2")


@pytest.fixture(scope="session")
def qkeras_models(qkeras: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    script = Path(__file__).with_name("make_qkeras_models.py")
    return made_by(qkeras, script, tmp_path_factory.mktemp("qkeras"), QKERAS)


@pytest.fixture(scope="session")
def hgq2_models(hgq2: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_by(hgq2, VECTORS / "make_hgq2_models.py", tmp_path_factory.mktemp("hgq2"), HGQ2)


def verified(model: Path, python: Path, input_type: str, framework: str) -> Verification:
    """Verify a model on generated events; it must pass, and the events must be worth it."""
    found = verification.run(
        verification.network(None, str(model), None, input_type), stimuli=STIMULI, python=python
    )
    print(found)
    assert found.passed, str(found)
    assert found.framework == framework
    assert found.comparison.events == STIMULI
    assert found.comparison.set_aside == 0
    assert found.coverage is not None
    totals = found.coverage.totals()
    assert sum(hit for hit, _ in totals.values()) >= SHOWN * sum(of for _, of in totals.values()), totals
    return found


@pytest.mark.parametrize("name", QKERAS)
def test_qkeras(name: str, qkeras: Path, qkeras_models: Path) -> None:
    found = verified(qkeras_models / f"{name}.h5", qkeras, "fixed<12,4>", "qkeras")
    assert found.versions["qkeras"] == "0.9.0"
    assert found.versions["tensorflow"].startswith("2.15.")


def test_the_jet_tagger_on_its_events_from_the_command_line(qkeras: Path, tmp_path: Path) -> None:
    report = tmp_path / "verify.json"
    options = ["--model", str(JETS / "jet_q6.h5"), "--input-type", "fixed<14,4>", "--python", str(qkeras)]
    assert cli.main(["verify", *options, "--events", str(JETS / "jets_10k.h5"), "--json", str(report)]) == 0
    result = json.loads(report.read_text(encoding="utf-8"))
    assert result["passed"]
    assert result["events"] == 10_000
    assert {layer["name"] for layer in result["layers"]} >= {"fc1", "relu1", "fc2", "relu2", "output"}


@pytest.mark.parametrize("name", HGQ2)
def test_hgq2(name: str, hgq2: Path, hgq2_models: Path) -> None:
    found = verified(hgq2_models / f"{name}.keras", hgq2, "fixed<10,4>", "hgq2")
    assert found.versions["hgq2"] == "0.2.0"


def project_of(model: Path, input_type: str, folder: Path) -> l1ml.Project:
    return l1ml.convert(model, output_dir=folder / "prj", input_type=input_type, hardware="none")


def test_one_changed_weight_is_found_and_named(qkeras: Path, qkeras_models: Path, tmp_path: Path) -> None:
    model = tmp_path / "model.h5"
    model.write_bytes((qkeras_models / "dense.h5").read_bytes())
    project = project_of(model, "fixed<12,4>", tmp_path)
    assert project.verify(stimuli=100, python=qkeras).passed
    with h5py.File(model, "r+") as file:
        kernel = file["model_weights/fc2/fc2/kernel:0"]
        kernel[7, 3] = np.float32(0.25 if kernel[7, 3] < 0 else -0.25)
    first = project.verify(stimuli=100, python=qkeras).comparison.first
    assert first is not None
    assert (first.layer, first.index) == ("fc2", (3,))


def test_one_changed_quantizer_bit_is_found_and_named(
    qkeras: Path, qkeras_models: Path, tmp_path: Path
) -> None:
    model = tmp_path / "model.h5"
    model.write_bytes((qkeras_models / "dense.h5").read_bytes())
    project = project_of(model, "fixed<12,4>", tmp_path)
    with h5py.File(model, "r+") as file:
        config = json.loads(file.attrs["model_config"])
        (layer,) = (part for part in config["config"]["layers"] if part["config"]["name"] == "relu1")
        layer["config"]["activation"]["config"]["bits"] += 1
        file.attrs["model_config"] = json.dumps(config)
    first = project.verify(stimuli=100, python=qkeras).comparison.first
    assert first is not None
    assert first.layer == "relu1"
    assert abs(first.found - first.expected) == first.lsb / 2


def test_one_changed_type_of_hgq2_is_found_and_named(hgq2: Path, hgq2_models: Path, tmp_path: Path) -> None:
    model = tmp_path / "model.keras"
    model.write_bytes((hgq2_models / "dense.keras").read_bytes())
    project = project_of(model, "fixed<10,4>", tmp_path)
    with zipfile.ZipFile(model) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    weights = tmp_path / "weights.h5"
    weights.write_bytes(members["model.weights.h5"])
    with h5py.File(weights, "r+") as file:
        widths = file["layers/q_dense/iq/quantizer/vars/2"]
        widths[...] = widths[...] - 1
    members["model.weights.h5"] = weights.read_bytes()
    with zipfile.ZipFile(model, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    first = project.verify(stimuli=100, python=hgq2).comparison.first
    assert first is not None
    assert first.layer == "d1.iq"
