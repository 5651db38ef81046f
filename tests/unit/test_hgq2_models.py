# SPDX-License-Identifier: Apache-2.0
"""HGQ2's layers one by one: every value of every event is what HGQ2 itself gave, down to the logic operations.

`make_hgq2_models.py` beside the files made models and answers; bit widths differ per element there.
"""

from __future__ import annotations

import json
import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hgq_vectors import VECTORS, check_logic, differences, program, recorded

from l1ml.frontends import hgq2
from l1ml.graph.emulate import Emulator

FOLDER = VECTORS / "hgq2"
MODELS = sorted(path.stem for path in FOLDER.glob("*.keras"))
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


def files(name: str) -> tuple[Path, Path]:
    return FOLDER / f"{name}.keras", FOLDER / f"{name}.npz"


def edited(name: str, folder: Path, change: Any) -> Path:
    """Return a copy of a model with another configuration."""
    copy = folder / f"{name}.keras"
    with zipfile.ZipFile(FOLDER / f"{name}.keras") as old, zipfile.ZipFile(copy, "w") as new:
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
    model, answers = files(name)
    assert program(model).approximations == ()
    found = differences(model, answers)
    assert not {key: count for key, count in found.items() if count}
    assert set(recorded(answers)[1]) - set(found) == HIDDEN.get(name, set())


@pytest.mark.parametrize("name", MODELS)
def test_the_logic_gives_the_same_codes(name: str) -> None:
    check_logic(*files(name))


def test_a_softmax_at_the_end_has_the_logits_of_hgq2() -> None:
    model, answers = files("dense")
    inputs, wanted = recorded(answers)
    (logits,) = Emulator(program(model)).values(inputs)
    e = np.exp(logits - logits.max(axis=-1, keepdims=True))
    np.testing.assert_allclose(e / e.sum(axis=-1, keepdims=True), wanted["d5"], rtol=0, atol=2e-6)


def test_every_layer_that_is_read_has_a_model() -> None:
    tried = set()
    for name in MODELS:
        with zipfile.ZipFile(FOLDER / f"{name}.keras") as file:
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
    assert any(differences(edited(name, tmp_path, replaced(old, new)), files(name)[1]).values())
