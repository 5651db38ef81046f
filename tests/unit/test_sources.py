# SPDX-License-Identifier: Apache-2.0
"""Event files meet a project: what counts as the framework's answer, and where the emulator's own go."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import fixtures_models as files
import h5py
import numpy as np
import pytest

import l1ml
from l1ml import sources


@pytest.fixture
def prj(tmp_path: Path) -> l1ml.Project:
    """A project whose model ended in a softmax, which is left out."""
    of = files.sequential(files.qdense("fc1", 3), files.layer("Activation", "softmax", activation="softmax"))
    weights = files.weights_of(np.random.default_rng(1), fc1=(4, 3))
    return l1ml.convert(
        files.write_h5(tmp_path / "m.h5", of, weights), output_dir=tmp_path / "prj", input_type="fixed<8,3>"
    )


def _events(path: Path, **data: Any) -> Path:
    with h5py.File(path, "w") as file:
        file.attrs["l1ml_schema"] = "l1ml-events/1"
        for name, values in data.items():
            file[name.replace("__", "/")] = values
    return path


def _x(events: int = 50) -> np.ndarray:
    return np.random.default_rng(7).integers(-128, 128, (events, 4)) / 32


def test_the_emulators_answers_are_nobodys_golden(prj: l1ml.Project, tmp_path: Path) -> None:
    out = tmp_path / "scores.h5"
    prj.emulate(_events(tmp_path / "e.h5", x=_x()), out)
    with h5py.File(out) as file:
        np.testing.assert_array_equal(file["emulated/fc1"][:], prj.predict(_x()))
        assert "golden" not in file
    (again,) = sources.samples(prj, out)
    np.testing.assert_array_equal(again.inputs["x"], _x())
    assert not again.golden


def test_logits_are_golden_and_probabilities_are_refused(prj: l1ml.Project, tmp_path: Path) -> None:
    logits, probable = prj.predict(_x()), prj.predict(_x(), softmax=True)
    (sample,) = sources.samples(prj, _events(tmp_path / "a.h5", x=_x(), golden__logits=logits))
    np.testing.assert_array_equal(sample.golden["fc1"], logits)
    for name in ("golden__softmax", "golden__fc1", "golden__logits"):
        path = _events(tmp_path / "b.h5", x=_x(), **{name: probable.astype(np.float32)})
        with pytest.raises(l1ml.DataError, match="the softmax behind fc1 is left out") as caught:
            list(sources.samples(prj, path))
        assert name.replace("__", "/") in str(caught.value)


def test_logits_that_look_like_probabilities_are_logits(prj: l1ml.Project, tmp_path: Path) -> None:
    """One event whose codes add up to 1: on the grid of the output, as no probabilities are."""
    path = _events(tmp_path / "a.h5", x=_x(1), golden__logits=np.array([[0.5, 0.25, 0.25]]))
    (sample,) = sources.samples(prj, path)
    assert sample.golden["fc1"].tolist() == [[0.5, 0.25, 0.25]]
