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
from typing import Any

import fixtures_models as fm
import numpy as np
import pytest

from l1ml.errors import ModelError
from l1ml.frontends import containers, read_model
from l1ml.frontends.keras import read_keras
from l1ml.graph import build, precision, real
from l1ml.graph.emulate import Emulator
from l1ml.graph.model import Model
from l1ml.lowering.lower import lower

VECTORS = Path(__file__).resolve().parents[1] / "vectors" / "keras"
GENERATIONS = ("keras2", "keras3")
SLOW = (("keras2", "q_recurrent.h5"), ("keras3", "q_recurrent.keras"))
"""Models that take a second each: the other container of the same generation is compared."""
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
        if name.startswith("q_") == quantized and (generation, name) not in SLOW
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


@pytest.mark.parametrize(
    ("generation", "name"), [(g, n) for g in GENERATIONS for n in members(g) if n.endswith(".json")]
)
def test_architecture_and_weights_apart_give_the_same(folder: Path, generation: str, name: str) -> None:
    path = folder / generation / name
    model = read_model(path, weights=path.with_suffix(".weights.h5"))
    assert_real(model, *recorded(folder, generation, name, "float"))


@pytest.mark.parametrize(
    "name", ["conv1d", "conv2d", "pooling", "normalization", "merging", "moving", "nested"]
)
def test_float_models_at_16_bits_are_near(folder: Path, name: str) -> None:
    inputs, outputs = recorded(folder, "keras3", name, "float")
    places = precision.structure(
        read_model(folder / "keras3" / f"{name}.keras"), precision.Settings.of("fixed<16,6>")
    )
    typed = precision.finish(places, precision.choose(places, precision.Auto(), None))
    program = build.to_program(build.input_quantizers(typed, "fixed<16,6,RND,SAT>"), passes=())
    errors = [
        float(np.abs(found - wanted).max())
        for found, wanted in zip(Emulator(program).values(inputs), outputs, strict=True)
    ]
    assert 0 < max(errors) < 0.02, errors


def test_both_generations_and_every_layer_of_qkeras_are_recorded() -> None:
    for generation in GENERATIONS:
        assert sum(name.startswith("q_") for name in members(generation)) > 18
        assert len(cases(quantized=False)) > 60


def sequential(*layers: dict[str, Any], shape: tuple[int, ...] = (3, 2)) -> Model:
    config = fm.sequential(*layers, shape=(None, *shape))
    weights: dict[str, Any] = {"l": {"kernel": np.eye(2, dtype=np.float32), "bias": np.zeros(2, np.float32)}}
    weights["adaptive"] = {"step": np.int64(5), "ema_min": np.float32([-1, 0]), "ema_max": np.float32([1, 2])}
    stored = {name: tuple((k, np.asarray(a)) for k, a in arrays.items()) for name, arrays in weights.items()}
    return read_keras(containers.KerasFile("test.h5", containers.model_config(config, "test.h5"), stored))


ADAPTIVE = {"activation": "quantized_relu", "total_bits": 6, "per_channel": True, "relu_neg_slope": 0.25}


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (fm.layer("LSTM", "l", units=2, return_state=True), r"l \(LSTM: option return_state; only the outputs"),
        (fm.layer("RNN", "l", cell={"class_name": "Own", "config": {}}), r"l \(RNN: a cell other than one of Sim"),
        (
            fm.layer("TimeDistributed", "l", layer=fm.sequential(fm.qdense("fc", 2), shape=(None, 2))),
            "around a Sequential model; call its layers one by one",
        ),
        (fm.layer("QAdaptiveActivation", "adaptive", **ADAPTIVE), "one power of two for all channels is supported"),
        (
            fm.layer("MultiHeadAttention", "l", num_heads=1, key_dim=2, attention_axes=[1, 2]),
            r"l \(MultiHeadAttention: inputs other than",
        ),
    ],
)  # fmt: skip
def test_what_has_no_exact_form_is_refused_by_name(layer: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        sequential(layer)


@pytest.mark.parametrize("keyword", ["use_causal_mask", "training"])
def test_a_keyword_that_changes_the_layer_is_refused(keyword: str) -> None:
    config = fm.functional([(fm.keras_input("a", 4), []), (fm.qdense("fc", 6), ["a"])], ["a"], ["fc"])
    config["config"]["layers"][1]["inbound_nodes"] = [[["a", 0, 0, {keyword: True}]]]
    stored = {"fc": (("kernel", np.ones((4, 6), np.float32)), ("bias", np.ones(6, np.float32)))}
    file = containers.KerasFile("test.h5", config, stored)
    with pytest.raises(ModelError, match=rf"fc \(QDense: called with {keyword}; call it without\)"):
        read_keras(file)
    config["config"]["layers"][1]["inbound_nodes"] = [[["a", 0, 0, {keyword: None}]]]
    assert fm.kinds(read_keras(file)) == ["Input", "Dense"]


@pytest.mark.parametrize("quantizer", ["binary(alpha=1)", "ternary(alpha=1)", "stochastic_ternary(alpha=1)"])
def test_binary_and_ternary_weights_cost_no_multiplier(quantizer: str) -> None:
    rng = np.random.default_rng(4)
    config = fm.sequential(fm.qdense("fc", 6, kernel_quantizer=quantizer), shape=(None, 8))
    arrays = (("kernel", rng.normal(0, 1, (8, 6)).astype(np.float32)), ("bias", np.ones(6, np.float32)))
    model = read_keras(containers.KerasFile("test.h5", config, {"fc": arrays}))
    flow = lower(build.to_program(build.input_quantizers(model, CODES)))
    assert {type(step.op).__name__ for step in flow.steps} <= {"ShiftAdd", "Constant"}
    added = sum(type(step.op).__name__ == "ShiftAdd" for step in flow.steps)
    assert 6 < added <= np.count_nonzero(model.layer("fc").kernel)  # one input fewer than terms, and the bias
