# SPDX-License-Identifier: Apache-2.0
"""HGQ2's layers one by one: every value of every event is what HGQ2 itself gave, down to the logic operations.

`make_hgq2_models.py` beside the files made models and answers; bit widths differ per element there.
"""

from __future__ import annotations

import io
import json
import re
import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hgq_vectors import VECTORS, check_logic, differences, edited, program, read_changed, recorded

from l1ml.errors import ModelError
from l1ml.frontends import hgq2, read_model
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
    "linear_interaction": {
        "embed_shape",
        "own_shape",
        "all_shape",
        "node_shape",
    },  # only for Keras' own shapes
    "sequential": {"dropout"},  # nothing at inference
}
"""Layers without integers of their own, by model; all others are compared."""


def files(name: str) -> tuple[Path, Path]:
    return FOLDER / f"{name}.keras", FOLDER / f"{name}.npz"


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
    assert any(differences(edited(files(name)[0], tmp_path, replaced(old, new)), files(name)[1]).values())


def of(layer: str, *path: Any, value: Any) -> Any:
    """Return a change of one entry of a layer's description."""

    def change(config: Any) -> Any:
        place = next(entry for entry in config["config"]["layers"] if entry["config"]["name"] == layer)
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = value
        return config

    return change


def conf(layer: str, which: str, key: str, value: Any) -> Any:
    return of(layer, "config", which, "config", key, value=value)


REFUSALS = {
    "float16": ("dense", of("d1", "config", "dtype", value="float16"), "d1 .*dtype float16; only float32"),
    "rounding": (
        "dense",
        conf("d1", "iq_conf", "round_mode", "NEAREST"),
        "d1 .*NEAREST.*supported are TRN.*SAT_SYM",
    ),
    "overflow": (
        "dense",
        conf("d1", "iq_conf", "overflow_mode", "SAT_ZERO"),
        "d1 .*SAT_ZERO; supported are.*SAT_SYM",
    ),
    "type": (
        "dense",
        conf("d1", "kq_conf", "q_type", "octal"),
        "d1 .*kq of type 'octal'; kif, kbi, float and dummy",
    ),
    "unquantized": (
        "dense",
        conf("d1", "kq_conf", "q_type", "dummy"),
        "d1 .*kq of type dummy: .* not quantized",
    ),
    "mapper": (
        "dense",
        conf("d1", "iq_conf", "bw_mapper", {"class_name": "Mine"}),
        "d1 .*iq with a bw_mapper",
    ),
    "quantizer": (
        "dense",
        of("d1", "config", "iq_conf", "class_name", value="Mine"),
        "d1 .*Mine.*QuantizerConfig",
    ),
    "function": ("dense", of("d1", "config", "activation", value="cube"), "d1 .*activation cube"),
    "channels": (
        "conv1d",
        of("valid", "config", "data_format", value="channels_first"),
        "valid .*channels_last",
    ),
    "padding": (
        "conv2d",
        of("same", "config", "padding", value="causal"),
        "same .*padding 'causal'; valid, same",
    ),
    "events": (
        "sums",
        of("rows", "config", "axes", value=[0]),
        r"rows .*axes \[0\]; axes of the data other than",
    ),
    "norm_axes": (
        "batch_normalization",
        of("full", "config", "axis", value=[1, 2]),
        "full .*one axis of the data",
    ),
    "normalize": ("merges", of("dot", "config", "normalize", value=True), "dot .*normalize=True"),
    "equation": (
        "merges",
        of("einsum", "config", "equation", value="bij,kbj->bik"),
        "einsum .*event axis first",
    ),
    "fuse": ("attention", of("qkv", "config", "fuse", value="qk"), "qkv .*fuse 'qk'; none, kv and qkv"),
    "axes": ("attention", of("own", "config", "attention_axes", value=[2]), "own .*all axes of positions"),
    "causal": (
        "attention",
        of("own", "inbound_nodes", 0, "kwargs", "use_causal_mask", value=True),
        "use_causal_mask",
    ),
    "projection": (
        "linformer",
        of("two", "config", "lin_kv_proj_mode", value="conv"),
        "two .*lin_kv_proj_mode 'conv'",
    ),
    "state": ("gru", of("after", "config", "return_state", value=True), "after .*option return_state"),
    "stateful": ("simple_rnn", of("last", "config", "stateful", value=True), "last .*option stateful"),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_what_is_not_known_is_refused_with_its_layer(case: str) -> None:
    name, change, message = REFUSALS[case]
    with pytest.raises(ModelError, match=message):
        read_changed(files(name)[0], change)


@pytest.mark.parametrize("kind", sorted(hgq2.REFUSED))
def test_known_layers_without_an_exact_form_are_refused(kind: str) -> None:
    def change(config: Any) -> Any:
        layer = next(entry for entry in config["config"]["layers"] if entry["config"]["name"] == "d1")
        layer |= {"class_name": kind, "registered_name": f"hgq>{kind}"}
        return config

    with pytest.raises(ModelError, match=rf"d1 \({kind} of hgq: .*({hgq2.REFUSED[kind][:20]})"):
        read_changed(files("dense")[0], change)


@pytest.mark.parametrize("wrapper", ["TimeDistributed", "Bidirectional"])
def test_wrappers_of_keras_do_not_take_them_for_layers_of_qkeras(wrapper: str) -> None:
    def change(config: Any) -> Any:
        layer = next(entry for entry in config["config"]["layers"] if entry["config"]["name"] == "d1")
        inner = {key: layer[key] for key in ("module", "class_name", "registered_name", "config")}
        layer |= {"module": "keras.layers", "class_name": wrapper, "registered_name": None}
        layer["config"] = {"name": "d1", "layer": inner}
        return config

    with pytest.raises(ModelError, match=rf"d1 \({wrapper}: around QDense of hgq; call that layer itself"):
        read_changed(files("dense")[0], change)


@pytest.mark.parametrize("shape", [(0,), (6,), (7, 1)])
def test_bit_widths_of_another_shape_are_refused(tmp_path: Path, shape: tuple[int, ...]) -> None:
    with zipfile.ZipFile(FOLDER / "dense.keras") as old:
        members = {name: old.read(name) for name in old.namelist()}
    data = io.BytesIO(members["model.weights.h5"])
    with h5py.File(data, "r+") as file:
        place = file["layers/q_dense/kq/quantizer/vars"]
        del place["1"]
        place["1"] = np.ones(shape, np.float32)
    with zipfile.ZipFile(tmp_path / "m.keras", "w") as new:
        for name in members:
            new.writestr(name, data.getvalue() if name == "model.weights.h5" else members[name])
    with pytest.raises(ModelError, match=r"d1 \(QDense") as caught:
        read_model(tmp_path / "m.keras")
    assert str(shape) in str(caught.value)


def test_bit_widths_that_do_not_fit_the_data_are_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(FOLDER / "dense.keras") as old:
        members = {name: old.read(name) for name in old.namelist()}
    data = io.BytesIO(members["model.weights.h5"])
    with h5py.File(data, "r+") as file:
        place = file["layers/q_dense/iq/quantizer/vars"]
        for name in [name for name in place if place[name].ndim]:
            del place[name]
            place[name] = np.ones((1, 7), np.float32)
    with zipfile.ZipFile(tmp_path / "m.keras", "w") as new:
        for name in members:
            new.writestr(name, data.getvalue() if name == "model.weights.h5" else members[name])
    with pytest.raises(ModelError, match=r"bit widths of the shape \(1, 7\) for data of the shape \(6,\)"):
        read_model(tmp_path / "m.keras")


def test_a_folded_constant_on_a_rounding_boundary_is_refused(tmp_path: Path) -> None:
    """The framework's own implementations fold to either side of it."""
    with zipfile.ZipFile(FOLDER / "batch_normalization.keras") as old:
        members = {name: old.read(name) for name in old.namelist()}
    found = []
    for k in range(2, 8):
        data = io.BytesIO(members["model.weights.h5"])
        with h5py.File(data, "r+") as file:
            place = file["layers/q_batch_normalization/vars"]
            place["0"][...] = 1 + 2.0**-k
            place["3"][...] = 1 - 0.001
        with zipfile.ZipFile(tmp_path / "m.keras", "w") as new:
            for name in members:
                new.writestr(name, data.getvalue() if name == "model.weights.h5" else members[name])
        try:
            read_model(tmp_path / "m.keras")
        except ModelError as error:
            found.append(str(error))
    assert found
    assert all("full (QBatchNormalization" in text and "rounding boundary of kq" in text for text in found)


def test_a_model_in_memory_is_saved_and_read() -> None:
    class QDense:
        pass

    QDense.__module__ = "hgq.layers.core.dense"

    class Live:
        name = "net"
        layers = (QDense(),)

        def get_config(self) -> Any:
            raise AssertionError("the file holds more")

        get_weights = get_config

        def save(self, path: Path) -> None:
            path.write_bytes((FOLDER / "dense.keras").read_bytes())

    made, wanted = read_model(Live()), read_model(FOLDER / "dense.keras")
    assert [layer.name for layer in made.layers] == [layer.name for layer in wanted.layers]
    Live.save = Live.get_config  # type: ignore[assignment]
    with pytest.raises(ModelError, match="cannot be saved by its framework"):
        read_model(Live())
