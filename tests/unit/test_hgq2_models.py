# SPDX-License-Identifier: Apache-2.0
"""HGQ2's layers one by one: every value of every event is what HGQ2 itself gave, down to the logic operations.

`make_hgq2_models.py` beside the files made models and answers; bit widths differ per element there.
"""

from __future__ import annotations

import json
import re
import zipfile
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from l1ml.frontends import hgq2, read_model
from l1ml.graph import build
from l1ml.graph.emulate import Emulator
from l1ml.graph.program import TensorProgram
from l1ml.lowering.lower import lower

VECTORS = Path(__file__).resolve().parents[1] / "vectors" / "hgq2"
MODELS = sorted(path.stem for path in VECTORS.glob("*.keras"))
OTHERS = {
    "TRN": "RND",
    "RND": "RND_CONV",
    "RND_CONV": "RND",
    "TRN_ZERO": "RND_ZERO",
    "RND_ZERO": "RND_MIN_INF",
    "RND_MIN_INF": "RND_INF",
    "RND_INF": "RND_ZERO",
}
"""For every rounding the one that is taken for it in a test."""
LSB = 2.0**-6
INPUT = "fixed<9,3,RND,SAT>"
HIDDEN = {
    "activations": {  # real-valued, or waiting for the quantizer behind it
        *(
            f"dense_{name}"
            for name in ("relu6", "leaky_relu", "hard_sigmoid", "hard_tanh", "sigmoid", "tanh", "elu")
        ),
        *("dense_softsign", "bounded", "above", "leaky", "swish", "prelu"),
    },
    "dense": {"d5"},  # a softmax at the end: the block gives logits
    "quantizers_more": {"thirds", "dummy"},  # real-valued; the first is seen behind the next quantizer
    "pooling": {"thirds"},  # the same
    "sequential": {"dropout"},  # nothing at inference
}
"""Layers without integers of their own, by model; all others are compared."""


def recorded(name: str) -> tuple[list[np.ndarray], dict[str, np.ndarray]]:
    """Return the inputs, and the answers of all layers."""
    with np.load(VECTORS / f"{name}.npz", allow_pickle=False) as file:
        inputs = [file[f"input_{k}"] * LSB for k in range(sum(k.startswith("input_") for k in file.files))]
        return inputs, {k[6:]: file[k].astype(np.float64) for k in file.files if k.startswith("layer/")}


def program_of(path: Path) -> TensorProgram:
    network = read_model(path)
    return build.to_program(build.input_quantizers(network, {i.name: INPUT for i in network.inputs}))


@cache
def program(name: str) -> TensorProgram:
    return program_of(VECTORS / f"{name}.keras")


def differences(made: TensorProgram, name: str) -> dict[str, int]:
    """Count the values that differ, by layer; layers without integers are left out."""
    inputs, wanted = recorded(name)
    trace = Emulator(made).trace(inputs)
    return {
        key: int((trace[key].reshape(values.shape) != values).sum())
        for key, values in wanted.items()
        if key in trace
    }


def edited(name: str, folder: Path, change: Any) -> Path:
    """Return a copy of a model with another configuration."""
    copy = folder / f"{name}.keras"
    with zipfile.ZipFile(VECTORS / f"{name}.keras") as old, zipfile.ZipFile(copy, "w") as new:
        for member in old.namelist():
            data = old.read(member)
            if member == "config.json":
                data = json.dumps(change(json.loads(data))).encode()
            new.writestr(member, data)
    return copy


def replaced(old: str, new: str) -> Any:
    """Return a change that replaces a text of the configuration, which must be there."""

    def change(config: Any) -> Any:
        text = json.dumps(config)
        assert old in text
        return json.loads(text.replace(old, new))

    return change


@pytest.mark.parametrize("name", MODELS)
def test_every_value_of_every_layer_is_that_of_hgq2(name: str) -> None:
    made = program(name)
    assert made.approximations == ()
    found = differences(made, name)
    assert not {key: count for key, count in found.items() if count}
    assert set(recorded(name)[1]) - set(found) == HIDDEN.get(name, set())


@pytest.mark.parametrize("name", MODELS)
def test_the_logic_gives_the_same_codes(name: str) -> None:
    made = program(name)
    inputs, _ = recorded(name)
    flow = lower(made)
    wires = flow.emulate(
        [np.rint(column / LSB).astype(np.int64) for x in inputs for column in x.reshape(len(x), -1).T]
    )
    wanted = [codes.reshape(len(codes), -1) for codes in Emulator(made).codes(inputs)]
    np.testing.assert_array_equal(flow.read(wires, flow.outputs), np.concatenate(wanted, axis=1))


def test_a_softmax_at_the_end_has_the_logits_of_hgq2() -> None:
    inputs, wanted = recorded("dense")
    (logits,) = Emulator(program("dense")).values(inputs)
    e = np.exp(logits - logits.max(axis=-1, keepdims=True))
    np.testing.assert_allclose(e / e.sum(axis=-1, keepdims=True), wanted["d5"], rtol=0, atol=2e-6)


def test_every_layer_that_is_read_has_a_model() -> None:
    tried = set()
    for name in MODELS:
        with zipfile.ZipFile(VECTORS / f"{name}.keras") as file:
            tried |= set(re.findall(r'"registered_name": "hgq>(\w+)"', file.read("config.json").decode()))
    assert set(hgq2.LAYERS) - set(hgq2.REFUSED) - tried == set()


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        *(("quantizers", f'"round_mode": "{a}"', f'"round_mode": "{b}"') for a, b in OTHERS.items()),
        ("quantizers", '"overflow_mode": "SAT"', '"overflow_mode": "SAT_SYM"'),
        ("weights", '"overflow_mode": "SAT"', '"overflow_mode": "SAT_SYM"'),
        ("weights", '"round_mode": "RND"', '"round_mode": "RND_CONV"'),
        ("batch_normalization", '"epsilon": 0.001', '"epsilon": 0.1'),
        ("sums", '"scale": 0.25', '"scale": 0.5'),
    ],
)
def test_another_meaning_would_be_seen(name: str, old: str, new: str, tmp_path: Path) -> None:
    assert any(differences(program_of(edited(name, tmp_path, replaced(old, new))), name).values())
