# SPDX-License-Identifier: Apache-2.0
"""Proxy models of HGQ, the first one: every value of every layer is what HGQ 0.2.6 gave, or the model is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hgq_vectors import VECTORS, check_logic, differences, edited, program, read_changed, recorded

from l1ml.errors import ModelError
from l1ml.frontends import hgq1, read_model
from l1ml.graph.model import Weighted

FOLDER = VECTORS / "hgq1"
MODELS = sorted(path for path in FOLDER.iterdir() if path.suffix != ".npz")
SATURATING = FOLDER / "saturating.keras"
HIDDEN = {"functions": {"tanh"}}
"""A real-valued function is seen behind its quantizer."""


def by_name(change: Callable[[dict[str, Any]], None]) -> Callable[[Any], Any]:
    """Return a change of a configuration from one of its layers by name."""

    def whole(config: Any) -> Any:
        change({layer["name"]: layer for layer in config["config"]["layers"]})
        return config

    return whole


@pytest.mark.parametrize("model", MODELS, ids=lambda path: path.name)
def test_every_value_of_every_layer_is_that_of_hgq(model: Path) -> None:
    answers = model.with_suffix(".npz")
    assert program(model).approximations == ()
    found = differences(model, answers)
    assert not {key: count for key, count in found.items() if count}
    assert set(recorded(answers)[1]) - set(found) == HIDDEN.get(model.stem, set())


@pytest.mark.parametrize("model", MODELS, ids=lambda path: path.name)
def test_the_logic_gives_the_same_codes(model: Path) -> None:
    check_logic(model, model.with_suffix(".npz"))


def test_weights_count_as_quantized() -> None:
    network = read_model(FOLDER / "dense.h5")
    layers = [layer for layer in network.layers if isinstance(layer, Weighted)]
    assert len(layers) == 4
    for layer in layers:
        assert layer.exact
        assert [key for key, _ in layer.quantizers] == (
            ["kernel"] if layer.name == "d2" else ["kernel", "bias"]
        )


def test_weights_that_are_no_fixed_point_numbers_need_a_type(tmp_path: Path) -> None:
    copy = tmp_path / "dense.h5"
    shutil.copy(FOLDER / "dense.h5", copy)
    with h5py.File(copy, "r+") as file:
        kernel = file["model_weights/d2/kernel:0"]
        kernel[...] = kernel[...] * np.float32(1 / 3)
    with pytest.raises(ModelError, match=r"1 layer has constants without a quantizer: d2 "):
        program(copy)


@pytest.mark.parametrize(
    ("key", "old", "new"), [("RND", "TRN", "RND"), ("SAT", "SAT", "SAT_SYM"), ("SAT", "SAT", "WRAP")]
)
def test_another_meaning_would_be_seen(key: str, old: str, new: str, tmp_path: Path) -> None:
    def change(layers: dict[str, Any]) -> None:
        config = layers["d3_quantizer"]["config"]
        assert config[key] == old
        config[key] = new

    assert differences(edited(SATURATING, tmp_path, by_name(change)), FOLDER / "saturating.npz")[
        "d3_quantizer"
    ]


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("RND", "NEAREST", r"RND NEAREST; .*RND_CONV.* are supported"),
        ("SAT", "CLIP", r"SAT CLIP; .*SAT_ZERO, WRAP_SM are supported"),
        ("shape", [1, 3, 3], r"keep_negative.*shape \(1, 3\); expected 1x3x3"),
        ("shape", "all", r"shape"),
    ],
)
def test_what_is_not_known_is_refused(key: str, value: Any, message: str) -> None:
    def change(layers: dict[str, Any]) -> None:
        layers["d3_quantizer"]["config"][key] = value

    with pytest.raises(ModelError, match=message) as caught:
        read_changed(SATURATING, by_name(change))
    assert "d3_quantizer" in str(caught.value)


@pytest.mark.parametrize("kind", hgq1.TRAINED)
def test_the_model_before_its_proxy_is_refused(kind: str) -> None:
    def change(layers: dict[str, Any]) -> None:
        layers["inq"] |= {"class_name": kind, "registered_name": f"HGQ>{kind}", "module": "HGQ.layers.base"}

    with pytest.raises(ModelError, match=rf"inq \({kind} of HGQ: .*save HGQ\.proxy\.to_proxy_model"):
        read_changed(SATURATING, by_name(change))


@pytest.mark.parametrize("widths", [[1, 3], [2, 1, 1], [0, 0, 0], [1, 12, 12], None])
def test_tables_of_other_sizes_are_refused(widths: Any, tmp_path: Path) -> None:
    copy = tmp_path / "tables.h5"
    shutil.copy(FOLDER / "tables.h5", copy)
    with h5py.File(copy, "r+") as file:
        config = json.loads(file.attrs["model_config"])
        next(layer for layer in config["config"]["layers"] if layer["config"]["name"] == "unary_lut")[
            "config"
        ]["kif_in"] = widths
        file.attrs["model_config"] = json.dumps(config)
    with pytest.raises(ModelError, match=r"kif_in"):
        read_model(copy)
