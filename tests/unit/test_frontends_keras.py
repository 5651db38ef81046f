# SPDX-License-Identifier: Apache-2.0
"""Keras models: containers, topologies and layers, on small files written here."""

from __future__ import annotations

import copy

import fixtures_models as fm
import numpy as np
import pytest

from l1ml.errors import ModelError
from l1ml.frontends import containers, read_model
from l1ml.frontends.keras import read_keras
from l1ml.graph import model

RNG = np.random.default_rng(7)
WEIGHTS = fm.weights_of(RNG, fc1=(4, 6), fc2=(6, 3))
CONFIG = fm.sequential(
    fm.qdense("fc1", 6),
    fm.layer("QActivation", "relu1", activation=fm.relu(6)),
    fm.layer("Dropout", "drop", rate=0.5),
    fm.qdense("fc2", 3),
    fm.layer("Activation", "softmax", activation="softmax"),
)
X = np.linspace(-2, 2, 400).reshape(-1, 4)


def build(config, weights=WEIGHTS):
    """Read a configuration without a file around it."""
    stored = {name: tuple(arrays.items()) for name, arrays in weights.items()}
    return read_keras(containers.KerasFile("test.h5", containers.model_config(config, "test.h5"), stored))


def same(mine, other):
    assert fm.kinds(mine) == fm.kinds(other)
    a, b = (fm.forward(n, **{n.inputs[0].name: X})[n.layers[-1].name] for n in (mine, other))
    np.testing.assert_array_equal(a, b)
    assert np.abs(a).max() > 0


def test_every_container_gives_the_same_network(tmp_path):
    reference = build(CONFIG)
    assert fm.kinds(reference) == ["Input", "Dense", "Quantize", "Dense", "Softmax"]
    config = fm.write_json(tmp_path / "m.json", CONFIG)
    weights = fm.write_weights(tmp_path / "w.h5", WEIGHTS)
    full = fm.write_h5(tmp_path / "full.h5", CONFIG, WEIGHTS)
    archive = fm.write_keras(tmp_path / "m.keras", CONFIG, WEIGHTS)
    nameless = fm.write_weights(tmp_path / "n.h5", WEIGHTS, attributes=False)
    older = fm.write_keras(tmp_path / "o.keras", CONFIG, WEIGHTS, named=False)
    disguised = tmp_path / "really_hdf5.keras"
    disguised.write_bytes(full.read_bytes())
    for network in (
        read_model(full),
        read_model(str(full)),
        read_model(disguised),
        read_model(archive),
        read_model(older),
        read_model(config, weights=weights),
        read_model(config, weights=nameless),
        read_model(config, weights=full),
        read_model(config, weights=archive),
        read_model(full, weights=weights),
    ):
        same(network, reference)


def test_weights_with_other_names_are_taken_in_order_as_keras_does(tmp_path):
    config = fm.write_json(tmp_path / "m.json", CONFIG)
    renamed = {f"dense_{name}": arrays for name, arrays in WEIGHTS.items()}
    same(read_model(config, weights=fm.write_weights(tmp_path / "w.h5", renamed)), build(CONFIG))
    renamed["dense_3"] = WEIGHTS["fc1"]
    with pytest.raises(ModelError, match="of another model: 3 layers with weights, the architecture has 2"):
        read_model(config, weights=fm.write_weights(tmp_path / "w3.h5", renamed))


def test_a_long_list_of_layers_split_over_attributes(tmp_path):
    import h5py

    path = fm.write_weights(tmp_path / "w.h5", WEIGHTS)
    with h5py.File(path, "r+") as file:
        names = file.attrs["layer_names"]
        del file.attrs["layer_names"]
        file.attrs["layer_names0"], file.attrs["layer_names1"] = names[:1], names[1:]
    same(read_model(fm.write_json(tmp_path / "m.json", CONFIG), weights=path), build(CONFIG))


def as_functional(config, *, keras3=False):
    layers = copy.deepcopy(config["config"]["layers"])
    before = None
    for entry in layers:
        entry["name"] = entry["config"]["name"]
        history = {
            "class_name": "__keras_tensor__",
            "config": {"shape": [None], "keras_history": [before, 0, 0]},
        }
        node = {"args": [history], "kwargs": {"training": False}} if keras3 else [[before, 0, 0, {}]]
        entry["inbound_nodes"] = [] if before is None else [node]
        before = entry["name"]
    ends = {"input_layers": ["x", 0, 0] if keras3 else [["x", 0, 0]], "output_layers": [[before, 0, 0]]}
    return {"class_name": "Functional", "config": {"name": "f", "layers": layers, **ends}}


@pytest.mark.parametrize("keras3", [False, True])
def test_functional_models_in_both_spellings(keras3):
    same(build(as_functional(CONFIG, keras3=keras3)), build(CONFIG))


def test_layers_may_be_listed_in_any_order():
    config = as_functional(CONFIG)
    config["config"]["layers"].reverse()
    same(build(config), build(CONFIG))


def test_a_bare_configuration_gets_its_class_back():
    same(build(as_functional(CONFIG)["config"]), build(CONFIG))
    same(build(CONFIG["config"]), build(CONFIG))
    same(build({"class_name": "Sequential", "config": CONFIG["config"]["layers"]}), build(CONFIG))


@pytest.mark.parametrize(
    "place", ["layer", "layer3", "build_input_shape", "model build_config", "layer build_config", "tuple"]
)
def test_sequential_without_input_layer(place):
    config = copy.deepcopy(CONFIG)
    layers = config["config"]["layers"] = config["config"]["layers"][1:]
    match place:
        case "layer":
            layers[0]["config"]["batch_input_shape"] = [None, 4]
        case "layer3":
            layers[0]["config"]["batch_shape"] = [None, 4]
        case "build_input_shape":
            config["config"]["build_input_shape"] = [None, 4]
        case "model build_config":
            config["build_config"] = {"input_shape": [None, 4]}
        case "layer build_config":
            layers[0]["build_config"] = {"input_shape": [None, 4]}
        case "tuple":
            layers[0]["config"]["batch_input_shape"] = {"class_name": "__tuple__", "items": [None, 4]}
    network = build(config)
    assert network.inputs[0].name == "fc1_input"
    same(network, build(CONFIG))


def test_an_unbuilt_model_is_refused():
    config = copy.deepcopy(CONFIG)
    del config["config"]["layers"][0]
    with pytest.raises(ModelError, match="shape of the input is not known"):
        build(config)


def pruned():
    """CONFIG with its dense layers in pruning wrappers, and the weights of these."""
    config = copy.deepcopy(CONFIG)
    weights = {}
    for index, entry in enumerate(config["config"]["layers"]):
        name = entry["config"]["name"]
        if entry["class_name"] == "QDense":
            wrapper = {"name": f"prune_low_magnitude_{name}", "layer": entry, "pruning_schedule": {}}
            config["config"]["layers"][index] = {"class_name": "PruneLowMagnitude", "config": wrapper}
            extra = {
                "mask": np.ones((4, 6), np.float32),
                "threshold": np.zeros(()),
                "pruning_step": np.int64(-1),
            }
            weights[wrapper["name"]] = {**WEIGHTS[name], **extra}
    return config, weights


def test_pruning_wrappers_are_stripped(tmp_path):
    config, weights = pruned()
    network = read_model(fm.write_h5(tmp_path / "p.h5", config, weights))
    assert [layer.name for layer in network.layers][:2] == ["x", "fc1"]
    same(network, build(CONFIG))
    same(build(as_functional(config), weights), build(CONFIG))


@pytest.mark.parametrize("named", [True, False])
def test_pruning_wrappers_in_folders_keep_the_weights_one_folder_further_in(tmp_path, named):
    config, weights = pruned()
    archive = fm.write_keras(tmp_path / "p.keras", config, weights, named=named)
    inside = tmp_path / "p.weights.h5"
    inside.write_bytes(fm.folders(config, weights, named=named))
    for network in (
        read_model(archive),
        read_model(fm.write_json(tmp_path / "p.json", config), weights=inside),
    ):
        assert [layer.name for layer in network.layers][:2] == ["x", "fc1"]
        same(network, build(CONFIG))


def test_weights_of_unusual_names_are_taken_in_order_without_the_bookkeeping_of_pruning():
    arrays = WEIGHTS["fc1"]
    stored = {
        "w_1": arrays["kernel"],
        "b_1": arrays["bias"],
        "mask": np.ones((4, 6)),
        "threshold": np.zeros(()),
    }
    found = {"fc1": containers.named((f"fc1/{key}:0", array) for key, array in stored.items())}
    config = containers.model_config(fm.sequential(fm.qdense("fc1", 6)), "m.h5")
    network = read_keras(containers.KerasFile("m.h5", config, found))
    same(network, build(fm.sequential(fm.qdense("fc1", 6)), {"fc1": arrays}))


def test_branches_with_several_inputs_and_outputs():
    config = fm.functional(
        [
            (fm.keras_input("b", 4), []),
            (fm.keras_input("a", 4), []),
            (fm.qdense("fc1", 6), ["a"]),
            (fm.layer("QActivation", "relu1", activation="quantized_relu(6)"), ["fc1"]),
            (fm.qdense("fc2", 3), ["relu1"]),
            (fm.qdense("fc3", 6), ["b"]),
        ],
        ["a", "b"],
        ["fc3", "fc2"],
    )
    network = build(config, {**WEIGHTS, "fc3": WEIGHTS["fc1"]})
    assert [i.name for i in network.inputs] == ["a", "b"]
    assert network.outputs == ("fc3", "fc2")
    values = fm.forward(network, a=X, b=-X)
    np.testing.assert_array_equal(values["fc3"], -X @ network.layer("fc1").kernel + network.layer("fc1").bias)


def test_a_shared_layer_becomes_two_with_the_same_constants():
    config = fm.functional(
        [(fm.keras_input("a", 6), []), (fm.qdense("fc", 6), ["a"]), (fm.qdense("end", 6), ["fc"])],
        ["a"],
        ["end"],
    )
    config["config"]["layers"][1]["inbound_nodes"].append([["fc", 0, 0, {}]])
    config["config"]["layers"][2]["inbound_nodes"] = [[["fc", 1, 0, {}]]]
    network = build(config, fm.weights_of(RNG, fc=(6, 6), end=(6, 6)))
    names = {layer.name: layer for layer in network.layers}
    assert names["fc_2"].inputs == ("fc",)
    assert names["end"].inputs == ("fc_2",)
    np.testing.assert_array_equal(names["fc"].kernel, names["fc_2"].kernel)


@pytest.mark.parametrize(
    ("activation", "kinds"),
    [
        ("linear", ["Dense"]),
        (None, ["Dense"]),
        ("relu", ["Dense", "Relu"]),
        ("softmax", ["Dense", "Softmax"]),
        ("quantized_relu(4,1)", ["Dense", "Quantize"]),
        (fm.relu(4, 1), ["Dense", "Quantize"]),
        (fm.bits(1), ["Dense", "Map"]),
        (fm.bits(4, alpha=2), ["Dense", "Map"]),
        ({"module": "builtins", "class_name": "function", "config": "relu", "registered_name": "function"},
         ["Dense", "Relu"]),
    ],
)  # fmt: skip
def test_activation_inside_of_a_layer_is_split_off(activation, kinds):
    network = build(fm.sequential(fm.qdense("fc1", 6, activation=activation)))
    assert fm.kinds(network)[1:] == kinds
    assert network.outputs == ("fc1",)
    if len(kinds) > 1:
        assert network.layers[1].name == "fc1.linear"


def test_names_made_up_here_give_way_to_those_of_the_file():
    quantized = "quantized_bits(4,alpha=2)"
    weights = fm.weights_of(RNG, **{"fc.linear": (4, 6), "fc": (6, 6)})
    chain = [fm.qdense("fc.linear", 6, activation=quantized), fm.qdense("fc", 6, activation=quantized)]
    network = build(fm.sequential(*chain), weights)
    names = {layer.name: layer.inputs for layer in network.layers}
    assert names["fc.linear.linear"] == ("x",)
    assert names["fc.linear_2"] == ("fc.linear",)
    assert names["fc"] == ("fc.linear_2",)


def test_the_name_of_an_input_that_the_file_does_not_list_gives_way_too():
    config = fm.sequential(fm.qdense("fc1", 6), fm.qdense("fc1_input", 3))
    del config["config"]["layers"][0]
    config["config"]["build_input_shape"] = [None, 4]
    network = build(config, {"fc1": WEIGHTS["fc1"], "fc1_input": WEIGHTS["fc2"]})
    assert [layer.name for layer in network.layers] == ["fc1_input_2", "fc1", "fc1_input"]


def test_a_relu_before_an_unsigned_quantizer_is_dropped_and_no_other():
    def after(quantizer):
        chain = [fm.qdense("fc1", 6, activation="relu"), fm.layer("QActivation", "q", activation=quantizer)]
        return fm.kinds(build(fm.sequential(*chain)))[2:]

    assert after(fm.relu(4)) == ["Quantize"]
    assert after(fm.bits(4, keep_negative=False)) == ["Quantize"]
    assert after(fm.bits(4)) == ["Relu", "Quantize"]


def test_a_relu_that_something_else_reads_stays():
    def network(outputs):
        layers = [
            (fm.keras_input("a", 4), []),
            (fm.layer("ReLU", "r", max_value=None, negative_slope=0.0, threshold=0.0), ["a"]),
            (fm.layer("QActivation", "q", activation=fm.relu(4)), ["r"]),
        ]
        return build(fm.functional(layers, ["a"], outputs))

    assert fm.kinds(network(["q", "r"])) == ["Input", "Relu", "Quantize"]
    assert fm.kinds(network(["q"])) == ["Input", "Quantize"]


def test_linear_and_dropout_vanish_even_as_outputs():
    chain = [
        fm.qdense("fc1", 6),
        fm.layer("Activation", "lin", activation="linear"),
        fm.layer("Dropout", "d", rate=0.1),
    ]
    network = build(fm.sequential(*chain))
    assert fm.kinds(network) == ["Input", "Dense"]
    assert network.outputs == ("fc1",)


def test_a_layer_without_quantizers_is_not_exact_and_keeps_its_numbers():
    network = build(fm.sequential(fm.layer("Dense", "fc1", units=6, activation="relu", use_bias=True)))
    dense = network.layers[1]
    assert not dense.exact
    assert dense.quantizers == ()
    np.testing.assert_array_equal(dense.kernel, WEIGHTS["fc1"]["kernel"].astype(np.float64))
    half = build(fm.sequential(fm.qdense("fc1", 6, bias_quantizer=None))).layers[1]
    assert not half.exact
    assert [key for key, _ in half.quantizers] == ["kernel"]
    zero = {"fc1": {**WEIGHTS["fc1"], "bias": np.zeros(6, np.float32)}}
    assert build(fm.sequential(fm.qdense("fc1", 6, bias_quantizer=None)), zero).layers[1].exact


def test_without_bias():
    kernel = {"fc1": {"kernel": WEIGHTS["fc1"]["kernel"]}}
    assert build(fm.sequential(fm.qdense("fc1", 6, use_bias=False)), kernel).layers[1].bias is None


@pytest.mark.parametrize("center", [True, False])
@pytest.mark.parametrize("scale", [True, False])
def test_batch_normalization(center, scale):
    rng = np.random.default_rng(5)
    arrays = {
        **({"gamma": rng.normal(1, 0.2, 4).astype(np.float32)} if scale else {}),
        **({"beta": rng.normal(0, 1, 4).astype(np.float32)} if center else {}),
        "moving_mean": rng.normal(0, 1, 4).astype(np.float32),
        "moving_variance": rng.uniform(0.1, 2, 4).astype(np.float32),
    }
    options = {"axis": [1], "epsilon": 0.001, "center": center, "scale": scale}
    network = build(fm.sequential(fm.layer("BatchNormalization", "bn", **options)), {"bn": arrays})
    y = fm.forward(network, x=X)["bn"]
    assert network.layers[1].scale.dtype == np.float32
    expected = (X - arrays["moving_mean"]) / np.sqrt(arrays["moving_variance"].astype(np.float64) + 1e-3)
    np.testing.assert_allclose(
        y, expected * arrays.get("gamma", 1) + arrays.get("beta", 0), rtol=1e-5, atol=1e-5
    )


def test_flatten_and_reshape_know_their_shapes():
    config = fm.sequential(
        fm.layer("Reshape", "r", target_shape=[3, -1]),
        fm.layer("Flatten", "f"),
        fm.layer("Flatten", "again"),
        shape=(None, 6),
    )
    network = build(config)
    assert [(layer.name, layer.shape) for layer in network.layers] == [
        ("x", (6,)),
        ("r", (3, 2)),
        ("f", (6,)),
    ]
    assert network.outputs == ("f",)


def test_dense_acts_on_the_last_axis():
    network = build(fm.sequential(fm.qdense("fc1", 6), shape=(None, 5, 4)))
    assert fm.forward(network, x=np.ones((2, 5, 4)))["fc1"].shape == (2, 5, 6)


def test_all_unsupported_layers_are_named_at_once():
    config = fm.sequential(
        fm.qdense("fc1", 6, kernel_quantizer={"class_name": "bernoulli", "config": {}}),
        fm.layer("Lambda", "cust"),
        fm.layer("ConvLSTM2D", "cl"),
        fm.layer("GRUCell", "cell"),
    )
    with pytest.raises(ModelError) as error:
        build(config, fm.weights_of(RNG, fc1=(4, 6)))
    assert error.value.what == (
        "4 layers are not supported: fc1 (QDense: kernel_quantizer bernoulli draws random numbers at inference; use "
        "binary), cust (Lambda), cl (ConvLSTM2D), cell (GRUCell)"
    )
    assert error.value.where == ("test.h5",)
    assert "supported are Activation, Add, Average" in error.value.fix


@pytest.mark.parametrize(
    ("layer", "reason"),
    [
        (fm.layer("ReLU", "l", threshold=1.0, negative_slope=0.1), "a slope and a threshold"),
        (fm.layer("Softmax", "l", axis=0), r"axis=\[0\]"),
        (fm.layer("BatchNormalization", "l", axis=[2]), r"axis=\[2\]"),
        (fm.layer("BatchNormalization", "l", axis=[-1], renorm=True), "option renorm"),
        ({**fm.qdense("l", 4), "module": "my.layers"}, r"l \(QDense of my\)"),
        ({**fm.qdense("l", 4), "registered_name": "mine>QDense"}, r"l \(QDense of mine\)"),
        (
            fm.layer("Dense", "l", units=2) | {"config": {"name": "l", "units": 2, "dtype": "float16"}},
            "dtype float16",
        ),
        (fm.layer("InputLayer", "l", batch_input_shape=[None, 4]), "in the middle"),
        (CONFIG | {"config": {**CONFIG["config"], "name": "nested"}}, "layer 'nested/fc1' needs the weights"),
    ],
)
def test_options_without_exact_form_are_refused(layer, reason):
    with pytest.raises(ModelError, match=reason):
        build(fm.sequential(layer))


class _Weight:
    def __init__(self, name):
        self.name = name


class _Layer:
    """What the reader may use of a Keras layer."""

    def __init__(self, name, arrays):
        self.name = name
        self.weights = [_Weight(f"{name}/{key}:0") for key in arrays]
        self._arrays = list(arrays.values())

    def get_weights(self):
        return self._arrays


class quantized_relu:  # noqa: N801  the name is what a model file holds
    __module__ = "qkeras.quantizers"

    def get_config(self):
        return {"bits": np.int64(6), "integer": 0, "negative_slope": np.float32(0)}


class Sequential:
    """A live model: tuples, NumPy numbers and quantizer objects where a file has plain JSON."""

    name = "live"
    built = True
    input_shape = (None, 4)

    def __init__(self, config):
        self._config = config
        self.layers = [_Layer(name, arrays) for name, arrays in WEIGHTS.items()]

    def get_config(self):
        return self._config

    def get_weights(self):
        return []


def test_live_model():
    config = copy.deepcopy(CONFIG["config"])
    config["layers"] = tuple(config["layers"][1:])  # without InputLayer: the model knows its shape
    config["layers"][1]["config"]["activation"] = quantized_relu()
    network = read_model(Sequential(config))
    assert network.source == "live"
    same(network, build(CONFIG))


def test_live_model_without_configuration():
    class Subclassed(Sequential):
        def get_config(self):
            raise NotImplementedError

    with pytest.raises(ModelError, match="configuration of the model cannot be read") as error:
        read_model(Subclassed({}))
    assert "subclass" in error.value.fix or "functional" in error.value.fix
    with pytest.raises(ModelError, match="no file of weights"):
        read_model(Sequential(CONFIG["config"]), weights="w.h5")


def test_neither_path_nor_model():
    with pytest.raises(ModelError, match="a int is neither a path nor a Keras model"):
        read_model(3)


def test_the_names_of_a_file_do_not_change():
    network = build(CONFIG)
    assert [layer.name for layer in network.layers] == ["x", "fc1", "relu1", "fc2", "softmax"]
    assert isinstance(network.layers[0], model.Input)
