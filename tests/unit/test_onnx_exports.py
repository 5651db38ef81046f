# SPDX-License-Identifier: Apache-2.0
"""Files that PyTorch, Brevitas, ONNX Runtime's quantizer and other people wrote, against what they answer."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import onnx_vectors as ov
import pytest

from l1ml.errors import ModelError
from l1ml.frontends import read_model
from l1ml.frontends.normalization import batch_norm
from l1ml.graph import build, model

FILES = sorted((ov.VECTORS / "onnx" / "exported").glob("*.onnx"))
INPUT = "fixed<12,5>"
BINARY = re.compile("fixed|binary|bounded|truncated")


def golden(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return events and answers: stored per file, or per model where several files hold the same one."""
    own = path.with_suffix(".npz")
    stem = path.stem.rsplit("_", 1)[0]
    with np.load(own if own.exists() else path.with_name(f"{stem}.npz")) as file:
        return file["x"], file["y"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_an_exported_model_gives_what_its_framework_gives(path):
    x, y = golden(path)
    made = ov.reals(read_model(path), x)[0].reshape(y.shape)
    np.testing.assert_allclose(made, y, rtol=1e-5, atol=1e-6)
    if path.stem.startswith("brevitas"):
        np.testing.assert_array_equal(made, y)


def test_all_exporters_are_there():
    names = {path.stem for path in FILES}
    for name in ("mlp", "cnn", "cnn1d", "deepsets", "lstm", "gru", "rnn", "attention"):
        assert {f"torch_{name}_new", f"torch_{name}_old", f"torch_{name}_one"} <= names
    assert sum(name.startswith("brevitas") for name in names) == 14
    assert sum(name.startswith("runtime") for name in names) == 6


@pytest.mark.parametrize("path", [p for p in FILES if BINARY.search(p.stem)], ids=lambda path: path.stem)
def test_brevitas_with_binary_scales_is_exact(path):
    x, y = golden(path)
    made = ov.exact(read_model(path), INPUT, x)[0].reshape(y.shape)
    if path.stem == "brevitas_binary_qonnx":  # ternary weights end on a real scale
        np.testing.assert_allclose(made, y, rtol=0, atol=1e-6)
    else:
        np.testing.assert_array_equal(made, y)


@pytest.mark.parametrize("kind", ["dense_fixed", "conv_fixed"])
def test_qonnx_and_qcdq_exports_of_a_model_are_the_same_network(kind):
    programs = []
    for key in ("qonnx", "qcdq"):
        network = read_model(ov.VECTORS / "onnx" / "exported" / f"brevitas_{kind}_{key}.onnx")
        programs.append(build.to_program(build.input_quantizers(network, INPUT)))
    assert programs[0].digest == programs[1].digest


REAL = [p for p in FILES if p.stem.startswith(("brevitas", "runtime")) and not BINARY.search(p.stem)]


def test_real_scales_are_exact_or_refused(capsys):
    exact, refused = [], []
    for path in REAL:
        x, y = golden(path)
        try:
            made = ov.exact(read_model(path), INPUT, x)[0].reshape(y.shape)
        except ModelError as error:
            assert error.fix
            assert path.name in error.where
            refused.append(path.stem)
            continue
        if "runtime_cnn" in path.stem:  # the block gives the logits that the softmax is taken of
            power = np.exp(made - made.max(axis=-1, keepdims=True))
            made = power / power.sum(axis=-1, keepdims=True)
        assert np.abs(made - y).max() < 1e-5, path.stem
        exact.append(path.stem)
    with capsys.disabled():
        print(
            f"\nscales that are no power of two: exact {len(exact)} {exact}, refused {len(refused)} {refused}"
        )
    # Between DequantizeLinear and QuantizeLinear sums are whole numbers, as in ONNX Runtime.
    assert {"runtime_cnn_qoperator", "runtime_cnn_qdq", "brevitas_dense_float_qcdq"} <= set(exact)


# ---- files of the corpus, beside the checkout


@pytest.fixture(scope="module")
def files(corpus: Path) -> dict[str, Path]:
    return {path.parent.name: path for path in corpus.glob("*/*.onnx")}


def test_the_qonnx_twin_is_the_keras_model(files, corpus):
    folder = corpus / "qkeras_3layer"
    twins = (
        read_model(files["qonnx_jettagging"]),
        read_model(folder / "qkeras_3layer.json", folder / "qkeras_3layer_weights.h5"),
    )
    programs = [build.to_program(build.input_quantizers(network, "fixed<16,6>")) for network in twins]
    assert programs[0].digest == programs[1].digest
    assert ov.kinds(twins[0]) == ["Input", *["Dense", "Quantize"] * 3, "Dense", "Softmax"]


def test_qonnx_jettagging(files):
    network = read_model(files["qonnx_jettagging"])
    with np.load(files["qonnx_jettagging"].with_name("golden.npz")) as file:
        x, wanted = file["input_0"], file["output_0"].astype(np.float64)
    logits = ov.exact(network, "fixed<16,6>", x)[0]
    # The stored softmax is precise enough to tell every code of a logit, up to one constant per event.
    visible, best = wanted > 1e-30, logits.argmax(axis=1)[:, None]
    ratio = np.where(visible, wanted, 1) / np.take_along_axis(wanted, best, axis=1)
    difference = logits - np.take_along_axis(logits, best, axis=1)
    np.testing.assert_array_equal(np.rint(np.log(ratio) * 2**11)[visible], (difference * 2**11)[visible])
    assert visible.mean() > 0.9
    assert len(x) == 500


def test_qonnx_tfc_2w2a(files):
    """Brevitas of 2021: shapes computed from the batch, BatchNormalization, 2-bit weights, a real end."""
    network = read_model(files["qonnx_tfc_2w2a"])
    assert [layer.exact for layer in network.layers if isinstance(layer, model.Dense)] == [True] * 4
    with np.load(files["qonnx_tfc_2w2a"].with_name("golden.npz")) as file:
        x, y = file["input_0"], file["output_0"]
    np.testing.assert_array_equal(ov.reals(network, x)[0], y)
    made = ov.exact(network, "ufixed<8,0,RND,SAT>", x)[0]
    assert np.abs(made - y).max() < 1e-5
    assert len(y) == 50


def test_onnx_conv2d_small(files):
    network = read_model(files["onnx_conv2d_small"])
    assert network.inputs[0].shape == (25, 25, 1)
    assert not any(isinstance(layer, model.Take) for layer in network.layers)  # its Transposes are not needed
    with np.load(files["onnx_conv2d_small"].with_name("golden.npz")) as file:
        np.testing.assert_allclose(
            ov.reals(network, file["input_0"])[0], file["output_0"], rtol=1e-5, atol=1e-6
        )


def test_onnx_three_layer_bn(files):
    """PyTorch of 2017: ONNX Runtime refuses Gemm(6); the layers by hand give the golden."""
    network = read_model(files["onnx_three_layer_bn"])
    x = np.random.default_rng(3).normal(0, 1, (50, 16)).astype(np.float32)
    y = x
    import onnx  # the arrays as the file has them

    arrays = {
        t.name: onnx.numpy_helper.to_array(t)
        for t in onnx.load(files["onnx_three_layer_bn"]).graph.initializer
    }
    for first, epsilon in ((1, 1e-6), (8, 1e-6), (15, 1e-6), (22, 1e-5)):
        w, b, gamma, beta, mean, variance = (arrays[str(first + k)] for k in range(6))
        scale, offset = batch_norm(mean, variance, gamma, beta, float(np.float32(epsilon)))
        y = (y @ w.T + b) * scale + offset
        y = np.maximum(y, 0) if first < 22 else y
    power = np.exp(y - y.max(axis=1, keepdims=True))
    np.testing.assert_allclose(
        ov.reals(network, x)[0], power / power.sum(axis=1, keepdims=True), rtol=1e-5, atol=1e-6
    )
    assert [layer.name for layer in network.inputs] == ["0"]


def test_qonnx_branched(files):
    """Channels-last domain, depthwise convolutions, a branch, a resize: everything on binary scales."""
    network = read_model(files["qonnx_branched"])
    kinds = ov.kinds(network)
    assert [kinds.count(kind) for kind in ("Conv", "Quantize", "Pool", "Concat", "Take")] == [14, 17, 1, 1, 1]
    assert network.inputs[0].shape == (256, 256, 3)
    assert all(
        layer.exact and layer.scale is None for layer in network.layers if isinstance(layer, model.Conv)
    )
    groups = [layer.groups for layer in network.layers if isinstance(layer, model.Conv)]
    assert set(groups) == {1, 3, 32, 64}


def test_trees_are_refused_for_now(files):
    with pytest.raises(ModelError, match="trees come with a later version"):
        read_model(files["onnx_gbdt_default"])
