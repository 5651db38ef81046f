# SPDX-License-Identifier: Apache-2.0
"""Real model files against the stored outputs of their own frameworks."""

from __future__ import annotations

import fixtures_models as fm
import h5py
import numpy as np
import pytest

from l1ml.errors import ModelError
from l1ml.frontends import read_model
from l1ml.frontends.normalization import batch_norm
from l1ml.graph import model

JETS = fm.SHARED / "data" / "jets"
CORPUS = fm.SHARED / "corpus"
THREE = CORPUS / "qkeras_3layer"

needs_jets = pytest.mark.skipif(not JETS.exists(), reason=f"no {JETS.name} data beside the checkout")
needs_corpus = pytest.mark.skipif(not CORPUS.exists(), reason="no corpus of models beside the checkout")

SEQUENCE = ["Input", *["Dense", "Quantize"] * 3, "Dense", "Softmax"]


@needs_jets
@pytest.mark.parametrize("name", ["q6", "q6_pruned75"])
def test_jet_tagger_gives_the_logits_of_qkeras(name):
    network = read_model(JETS / f"jet_{name}.h5")
    with np.load(JETS / f"golden_{name}.npz") as golden:
        values = fm.forward(network, fc1_input=golden["input_0"])
        assert len(golden["logits_0"]) == 10_000
        np.testing.assert_array_equal(values["output"], golden["logits_0"])
        for key in ("fc1", "relu1", "fc2", "relu2", "fc3", "relu3"):
            np.testing.assert_array_equal(values[key][:200], golden[f"layer/{key}"])
    assert fm.kinds(network) == SEQUENCE
    assert network.source == f"jet_{name}.h5"
    assert network.outputs == ("softmax",)


@needs_jets
def test_float_jet_tagger_is_read_but_not_exact():
    network = read_model(JETS / "jet_float.h5")
    dense = [layer for layer in network.layers if isinstance(layer, model.Dense)]
    assert [layer.exact for layer in dense] == [False] * 4
    assert dense[0].kernel.dtype == np.float64
    assert fm.kinds(network) == ["Input", *["Dense", "Relu"] * 3, "Dense", "Softmax"]


@pytest.fixture(scope="module")
def four_containers():
    if not CORPUS.exists():
        pytest.skip("no corpus of models beside the checkout")
    return {
        "h5": read_model(THREE / "QKERAS_3layer.h5"),
        "json": read_model(THREE / "qkeras_3layer.json", weights=THREE / "qkeras_3layer_weights.h5"),
        "keras": read_model(THREE / "qkeras-v3_3layer.keras"),
        "qonnx": read_model(CORPUS / "qonnx_jettagging" / "qkeras_jettagging.onnx"),
    }


def logits_of(network, x):
    return fm.forward(network, **{network.inputs[0].name: x})[network.layers[-1].inputs[0]]


def test_full_h5_gives_the_logits_of_qkeras(four_containers):
    with np.load(THREE / "golden.npz") as golden:
        logits = logits_of(four_containers["h5"], golden["input_0"])
        assert len(golden["logits_0"]) == 5000
        np.testing.assert_array_equal(logits, golden["logits_0"])


# The full h5 and the other three files hold two trainings of one architecture: the stored weights differ.
TWINS = ["json", "keras", "qonnx"]


@pytest.mark.parametrize("kind", TWINS)
def test_twins_give_the_logits_of_the_qonnx_executor(four_containers, kind):
    """Its stored softmax is precise enough to tell every code of a logit, up to one constant per event."""
    with np.load(CORPUS / "qonnx_jettagging" / "golden.npz") as golden:
        logits = logits_of(four_containers[kind], golden["input_0"])
        probability = golden["output_0"].astype(np.float64)
    lsb = 2.0**-11
    visible = probability > 1e-30
    best = logits.argmax(axis=1)[:, None]
    ratio = np.where(visible, probability, 1) / np.take_along_axis(probability, best, axis=1)
    difference = logits - np.take_along_axis(logits, best, axis=1)
    np.testing.assert_array_equal(np.rint(np.log(ratio) / lsb)[visible], (difference / lsb)[visible])
    assert visible.mean() > 0.9
    assert len(logits) == 500


def test_twins_are_the_same_network(four_containers):
    reference = four_containers["json"]
    for kind in TWINS:
        network = four_containers[kind]
        for mine, other in zip(network.layers, reference.layers, strict=True):
            assert type(mine) is type(other)
            if isinstance(mine, model.Dense):
                np.testing.assert_array_equal(mine.kernel, other.kernel)
                np.testing.assert_array_equal(mine.bias, other.bias)
                assert mine.exact
            if isinstance(mine, model.Quantize):
                assert mine.quantizer == other.quantizer
    assert all(fm.kinds(network) == SEQUENCE for network in four_containers.values())


@needs_corpus
def test_batch_normalization_rounds_as_tensorflow_does():
    folder = CORPUS / "jetid_interaction_network"
    with h5py.File(folder / "model_QInteractionNetwork_Conv1D_nconst_8_nbits_8.h5") as file:
        group = file["model_weights/batchnorm/batchnorm"]
        stored = {key: group[f"{key}:0"][()] for key in ("moving_mean", "moving_variance", "gamma", "beta")}
    scale, offset = batch_norm(*stored.values(), 1e-3)
    with np.load(folder / "golden.npz") as golden:
        expected = golden["layer/batchnorm"]
        x = golden["input_0"][: len(expected)].astype(np.float32)
        np.testing.assert_array_equal(x * scale + offset, expected)


@needs_corpus
@pytest.mark.parametrize(
    ("path", "names"),
    [
        ("onnx_gbdt_default/GBDT_default.onnx", r"TreeEnsembleClassifier of ai\.onnx\.ml"),
        ("conifer_trackquality/L1_TrackQuality_GBDT_emulation_digitized.json", "tree ensemble of conifer"),
        ("conifer_compositeid_ee_v0/compositeID_EE_v0.json", "tree ensemble of conifer"),
    ],
)
def test_trees_are_refused_by_name(path, names):
    with pytest.raises(ModelError, match=names) as error:
        read_model(CORPUS / path)
    assert error.value.where[0] == path.split("/")[-1]


@needs_corpus
def test_float_model_from_json_and_weights():
    folder = CORPUS / "keras_3layer_float"
    network = read_model(folder / "KERAS_3layer.json", weights=folder / "KERAS_3layer_weights.h5")
    assert [layer.name for layer in network.layers][:3] == ["input_1", "fc1_relu.linear", "fc1_relu"]
    with np.load(folder / "golden.npz") as golden:
        logits = fm.forward(network, input_1=golden["input_0"])["output_softmax.linear"]
        power = np.exp(logits - logits.max(axis=1, keepdims=True))
        np.testing.assert_allclose(
            power / power.sum(axis=1, keepdims=True), golden["output_0"], rtol=0, atol=1e-5
        )
