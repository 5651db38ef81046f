# SPDX-License-Identifier: Apache-2.0
"""Damaged, foreign, oversized and malicious files: a ModelError that names the file, and nothing else."""

from __future__ import annotations

import base64
import copy
import io
import json
import pickle
import random
import zipfile

import fixtures_models as fm
import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from l1ml.errors import ModelError
from l1ml.frontends import common, containers, read_model
from l1ml.frontends.files import is_keras
from l1ml.frontends.keras import read_keras
from l1ml.frontends.onnx import read_onnx

WEIGHTS = fm.weights_of(np.random.default_rng(7), fc1=(4, 6), fc2=(6, 3))
CONFIG = fm.sequential(
    fm.qdense("fc1", 6), fm.layer("QActivation", "relu1", activation="quantized_relu(6)"), fm.qdense("fc2", 3)
)


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    """One good file of every kind, by name, as bytes."""
    folder = tmp_path_factory.mktemp("good")
    quant = fm.quant("qk", "k", 1 / 32, 6)
    matmul = fm.helper.make_node("MatMul", ["x", "qk"], ["y"])
    files = {
        "m.h5": fm.write_h5(folder / "m.h5", CONFIG, WEIGHTS),
        "m.keras": fm.write_keras(folder / "m.keras", CONFIG, WEIGHTS),
        "m.json": fm.write_json(folder / "m.json", CONFIG),
        "w.h5": fm.write_weights(folder / "w.h5", WEIGHTS),
        "m.onnx": fm.write_onnx(folder / "m.onnx", [quant, matmul], {"k": WEIGHTS["fc1"]["kernel"]}),
    }
    return {name: path.read_bytes() for name, path in files.items()}


def read_bytes(data, good, weights=None):
    """Read a model file from bytes, as `read_model` does."""
    if not is_keras(data):
        return read_onnx(data, "f.bin")
    extra = (good["w.h5"] if weights is None else weights, "w.h5")
    return read_keras(containers.read(data, "f.bin", extra if data[:1] == b"{" else None))


def refused(path, weights=None):
    """Read a file that must be refused; return the error."""
    with pytest.raises(ModelError) as error:
        read_model(path, weights=weights)
    assert error.value.where
    assert error.value.where[0] in (path.name, weights.name if weights else path.name)
    assert "\n" not in error.value.what
    return error.value


@pytest.mark.parametrize("name", ["m.h5", "m.keras", "m.json", "m.onnx"])
def test_truncated_at_many_offsets(tmp_path, good, name):
    data = good[name]
    path = tmp_path / name
    weights = None
    if name == "m.json":
        weights = tmp_path / "w.h5"
        weights.write_bytes(good["w.h5"])
    path.write_bytes(data)
    read_model(path, weights=weights)  # the whole file is good
    offsets = sorted({*range(12), *range(12, len(data), max(1, len(data) // 60)), len(data) - 1})
    for size in offsets:
        path.write_bytes(data[:size])
        refused(path, weights)


def test_truncated_weights(tmp_path, good):
    config, weights = tmp_path / "m.json", tmp_path / "w.h5"
    config.write_bytes(good["m.json"])
    for size in range(0, len(good["w.h5"]), 500):
        weights.write_bytes(good["w.h5"][:size])
        refused(config, weights)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x00" * 1000,
        b"hello, world",
        b"\x89PNG\r\n\x1a\n" + bytes(100),
        b"PK\x03\x04" + bytes(100),
        b"PK\x05\x06" + bytes(18),
        b"\x89HDF\r\n\x1a\n" + bytes(1000),
        b"\x93NUMPY\x01\x00" + bytes(60),
        b"\x80\x04\x95pickle",
        b"%PDF-1.7",
        bytes(random.Random(1).randbytes(5000)),
        "{\u0000".encode("utf-16"),
        b'{"class_name": "Sequential", "config": \xff\xfe}',
        b"\x08\x07",
    ],
)
def test_foreign_bytes(tmp_path, data):
    path = tmp_path / "model.h5"
    path.write_bytes(data)
    assert refused(path).what


def test_places_that_are_no_files(tmp_path):
    assert "no file" in refused(tmp_path / "absent.h5").what
    assert "folder" in refused(tmp_path).what
    path = tmp_path / ("n" * 5000)
    assert "cannot be read" in refused(path).what
    assert refused(tmp_path / "nul\0byte").what


def test_oversized_file(tmp_path, monkeypatch, good):
    monkeypatch.setattr("l1ml.frontends.files.MAX_BYTES", 1000)
    path = tmp_path / "m.h5"
    path.write_bytes(good["m.h5"])
    assert "at most 0 MiB are read" in refused(path).what


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{}", "no list of layers"),
        ('{"a": 1}', "no list of layers"),
        ('{"class_name": "Sequential"}', "no list of layers"),
        ('{"class_name": "Sequential", "config": {"layers": {}}}', "no list of layers"),
        ('{"class_name": "Sequential", "config": {"layers": []}}', "no layers"),
        ('{"class_name": "Sequential", "config": {"layers": [1]}}', "layer 0 .* no class_name"),
        ('{"layers": [{"class_name": "Dense", "config": {}}]}', "no proper name"),
        ('{"layers": [{"class_name": "Dense", "config": {"name": "\\n"}}]}', "no proper name"),
        ('{"layers": [{"class_name": "Dense", "config": {"name": "\\ud800"}}]}', "no proper name"),
        ('{"layers": [{"class_name": "\\ud800", "config": {"name": "a"}}]}', "no class_name"),
        ('{"layers": [{"class_name": "Dense", "config": {"name": "d"}}]}', "shape of the input is not known"),
        ('{"layers": [], "input_layers": 3}', "no inputs or no outputs"),
        ("{" * 100_000, "cannot be read"),
        ('{"a":' * 100_000 + "1" + "}" * 100_000, "cannot be read|nests deeper"),
        ('{"a":' * 300 + "1" + "}" * 300, "nests deeper than 100"),
        ('{"a": ' + "[" * 300 + "]" * 300 + "}", "nests deeper than 100"),
        ('{"a": ' + "9" * 10_000 + "}", "cannot be read"),
    ],
)
def test_json_that_is_no_model(tmp_path, good, text, reason):
    path, weights = tmp_path / "m.json", tmp_path / "w.h5"
    path.write_text(text, encoding="utf-8")
    weights.write_bytes(good["w.h5"])
    with pytest.raises(ModelError, match=reason):
        read_model(path, weights=weights)
    refused(path, weights)


def test_too_many_layers(tmp_path, good):
    config = fm.sequential(*(fm.layer("ReLU", f"r{n}") for n in range(common.MAX_LAYERS)))
    path, weights = fm.write_json(tmp_path / "m.json", config), tmp_path / "w.h5"
    weights.write_bytes(good["w.h5"])
    assert "layers; at most" in refused(path, weights).what


def test_json_without_weights_and_weights_without_json(tmp_path, good):
    config, weights = tmp_path / "m.json", tmp_path / "w.h5"
    config.write_bytes(good["m.json"])
    weights.write_bytes(good["w.h5"])
    assert "architecture only" in refused(config).what
    assert "no architecture" in refused(weights).what
    assert "not in HDF5" in refused(config, config).what
    assert "no file" in refused(config, tmp_path / "absent.h5").what


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_weights_that_are_not_finite_are_named(tmp_path, bad):
    weights = copy.deepcopy(WEIGHTS)
    weights["fc2"]["kernel"][2, 1] = bad
    error = refused(fm.write_h5(tmp_path / "m.h5", CONFIG, weights))
    assert "weight 'kernel' of layer 'fc2' holds 1 values that are not finite" in error.what
    assert "(2, 1)" in error.what


def test_weights_beyond_float32(tmp_path):
    weights = copy.deepcopy(WEIGHTS)
    weights["fc1"]["bias"] = np.full(6, 1e300)
    assert "not finite" in refused(fm.write_h5(tmp_path / "m.h5", CONFIG, weights)).what


@pytest.mark.parametrize(
    ("layer", "key", "array", "reason"),
    [
        ("fc1", "kernel", np.zeros((5, 6)), r"'kernel' of layer 'fc1' has the shape \(5, 6\); expected 4x6"),
        ("fc1", "kernel", np.zeros((4, 7)), "expected 4x6"),
        ("fc1", "kernel", np.zeros(24), "expected 4x6"),
        ("fc1", "kernel", np.zeros((4, 6, 1)), "expected 4x6"),
        ("fc1", "kernel", np.zeros((0, 6)), "expected 4x6"),
        ("fc2", "bias", np.zeros(4), r"'bias' of layer 'fc2' .* expected 3"),
        ("fc2", "bias", np.float32(1), r"'bias' of layer 'fc2' .* expected 3"),
        ("fc2", "bias", np.zeros(3, np.complex64), "no real numbers"),
        ("fc2", "bias", np.array([b"a", b"b", b"c"]), "no real numbers"),
    ],
)
def test_weights_of_wrong_shape_or_kind(tmp_path, layer, key, array, reason):
    weights = copy.deepcopy(WEIGHTS)
    weights[layer][key] = array
    with pytest.raises(ModelError, match=reason):
        read_model(fm.write_h5(tmp_path / "m.h5", CONFIG, weights))


def test_missing_and_surplus_weights(tmp_path):
    lacking = {"fc1": WEIGHTS["fc1"], "fc2": {"kernel": WEIGHTS["fc2"]["kernel"]}}
    assert (
        "layer 'fc2' needs the weights kernel, bias; stored are kernel"
        in refused(fm.write_h5(tmp_path / "a.h5", CONFIG, lacking)).what
    )
    assert refused(fm.write_json(tmp_path / "m.json", CONFIG), tmp_path / "a.h5").where == ("a.h5",)
    assert "stored are none" in refused(fm.write_h5(tmp_path / "b.h5", CONFIG, {"fc1": WEIGHTS["fc1"]})).what


@pytest.mark.parametrize(
    "shape",
    [None, [], [None], 4, "abc", [None, None], [None, 0], [None, -4], [None, 4.5], [None, "a"],
     [None, 10**30],     [None, 10**5, 10**5], [None] + [1] * 20, {"class_name": "__tuple__", "items": 3}],
)  # fmt: skip
def test_input_shapes(shape):
    config = copy.deepcopy(CONFIG)
    config["config"]["layers"][0]["config"]["batch_input_shape"] = shape
    with pytest.raises(ModelError, match=r"input 'x' has"):
        read_keras(containers.KerasFile("m.h5", config, {}))


@pytest.mark.parametrize(
    ("key", "value"),
    [("units", 0), ("units", -1), ("units", "6"), ("units", 1e400), ("units", None), ("units", [6]),
     ("units", 10**40), ("use_bias", "yes"), ("use_bias", 2), ("activation", 3), ("activation", []),
     ("kernel_quantizer", "("), ("kernel_quantizer", {"class_name": 3}), ("dtype", 16),
     ("dtype", {"config": {"name": "mixed_float16"}})],
)  # fmt: skip
def test_options_of_the_wrong_kind(key, value):
    config = copy.deepcopy(CONFIG)
    config["config"]["layers"][1]["config"][key] = value
    stored = {name: tuple(arrays.items()) for name, arrays in WEIGHTS.items()}
    with pytest.raises(ModelError):
        read_keras(containers.KerasFile("m.h5", config, stored))


@pytest.mark.parametrize("target", [None, [], [5], [-1, -1], [0, 4], [-2, -2], ["a"], [10**30], [1] * 20])
def test_reshape_targets(target):
    config = fm.sequential(fm.layer("Reshape", "r", target_shape=target))
    with pytest.raises(ModelError):
        read_keras(containers.KerasFile("m.h5", config, {}))


def _cycle(layers):
    layers[1]["inbound_nodes"] = [[["fc2", 0, 0, {}]]]


def _dangling(layers):
    layers[1]["inbound_nodes"] = [[["ghost", 0, 0, {}]]]


def _silent(layers):
    layers[1]["inbound_nodes"] = None


def _unfed(layers):
    layers[1]["inbound_nodes"] = []


def _twice(layers):
    layers.append(layers[1])


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (_cycle, "in a circle"),
        (_dangling, "reads 'ghost', which is no layer"),
        (_silent, "does not say what it reads"),
        (_unfed, "reads 0 tensors"),
        (_twice, "two layers are called 'fc1'"),
    ],
)
def test_functional_models_that_contradict_themselves(change, reason):
    layers = [(fm.keras_input("x", 4), []), (fm.qdense("fc1", 6), ["x"]), (fm.qdense("fc2", 3), ["fc1"])]
    config = fm.functional(layers, ["x"], ["fc2"])
    change(config["config"]["layers"])
    stored = {name: tuple(arrays.items()) for name, arrays in WEIGHTS.items()}
    with pytest.raises(ModelError, match=reason):
        read_keras(containers.KerasFile("m.h5", config, stored))


@pytest.mark.parametrize(
    "ends", [{"input_layers": []}, {"output_layers": [["ghost", 0, 0]]}, {"input_layers": [["fc1", 0, 0]]}]
)
def test_ends_that_do_not_exist(ends):
    config = fm.functional([(fm.keras_input("x", 4), []), (fm.qdense("fc1", 6), ["x"])], ["x"], ["fc1"])
    config["config"].update(ends)
    stored = {name: tuple(arrays.items()) for name, arrays in WEIGHTS.items()}
    with pytest.raises(ModelError, match=r"no inputs|is no layer|is no InputLayer"):
        read_keras(containers.KerasFile("m.h5", config, stored))


def with_link(tmp_path, change):
    path = fm.write_h5(tmp_path / "m.h5", CONFIG, WEIGHTS)
    with h5py.File(path, "r+") as file:
        change(file)
    return path


PLACE = "model_weights/fc1/fc1/kernel:0"


def _external_link(file):
    del file[PLACE]
    file[PLACE] = h5py.ExternalLink("other.h5", "/kernel")


def _external_group(file):
    del file["model_weights"]
    file["model_weights"] = h5py.ExternalLink("other.h5", "/")


def _soft_link(file):
    del file[PLACE]
    file[PLACE] = h5py.SoftLink("/model_weights/fc2/fc2/kernel:0")


def _external_storage(file):
    del file[PLACE]
    file.create_dataset(PLACE, (4, 6), "f4", external=[("raw.bin", 0, 96)])


def _virtual(file):
    del file[PLACE]
    layout = h5py.VirtualLayout((4, 6), "f4")
    layout[:] = h5py.VirtualSource("other.h5", "kernel", shape=(4, 6))
    file.create_virtual_dataset(PLACE, layout)


def _bomb(file):
    del file[PLACE]
    file.create_dataset(PLACE, (10**7, 10**7), "f4", chunks=(1024, 1024))


def _many(file):
    for name in ("kernel:0", "bias:0"):
        del file[f"model_weights/fc1/fc1/{name}"]
        file.create_dataset(f"model_weights/fc1/fc1/{name}", (100_000,), "f4", chunks=(1024,))


def _group_for_dataset(file):
    del file[PLACE]
    file.create_group(PLACE)


def _gone(file):
    del file[PLACE]


def _empty(file):
    del file[PLACE]
    file[PLACE] = h5py.Empty("f4")


def _names_of_numbers(file):
    file["model_weights"].attrs["layer_names"] = np.arange(3)


def _absolute_name(file):
    file["model_weights/fc1"].attrs["weight_names"] = np.array([b"../../fc2/kernel:0", b"/fc1/bias:0"])


def _config_of_numbers(file):
    file.attrs["model_config"] = 3


def _config_not_utf8(file):
    file.attrs["model_config"] = np.bytes_(b'{"a": "\xff"}')


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (_external_link, "'kernel:0' in '/model_weights/fc1/fc1' is a link to another place"),
        (_external_group, "'model_weights' in '/' is a link to another place"),
        (_soft_link, "is a link to another place"),
        (_external_storage, "keeps its data in another file"),
        (_virtual, "keeps its data in another file"),
        (_bomb, "more than 0 MiB of weights"),
        (_many, "more than 0 MiB of weights"),
        (_group_for_dataset, "is not a dataset"),
        (_gone, "is missing in"),
        (_empty, "no real numbers"),
        (_names_of_numbers, "where a text is expected"),
        (_absolute_name, "is missing in"),
        (_config_of_numbers, "where a text is expected"),
        (_config_not_utf8, "cannot be read"),
    ],
)
def test_hdf5_that_reaches_out_or_lies(tmp_path, monkeypatch, change, reason):
    monkeypatch.setattr("l1ml.frontends.hdf5.MAX_BYTES", 500_000)
    with h5py.File(tmp_path / "other.h5", "w") as other:
        other["kernel"] = WEIGHTS["fc1"]["kernel"]
    (tmp_path / "raw.bin").write_bytes(bytes(96))
    path = with_link(tmp_path, change)
    with pytest.raises(ModelError, match=reason):
        read_model(path)


def zipped(tmp_path, members, **options):
    path = tmp_path / "m.keras"
    with zipfile.ZipFile(path, "w", **options) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def test_zip_bomb(tmp_path, good, monkeypatch):
    monkeypatch.setattr("l1ml.frontends.containers.MAX_BYTES", 4 << 20)
    members = {"config.json": good["m.json"], "model.weights.h5": bytes(8 << 20)}
    path = zipped(tmp_path, members, compression=zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 1 << 20
    assert "model.weights.h5 unpacks to 8 MiB; at most 4 MiB are read" in refused(path).what


def test_a_pickled_lambda_is_refused_and_never_run(tmp_path):
    """A Lambda layer as both generations of Keras store it: marshalled code, or a pickle."""
    target = tmp_path / "ran"
    code = base64.b64encode(pickle.dumps(_Opens(str(target)))).decode()
    for function in ([code, None, None], {"class_name": "__lambda__", "config": {"code": code}}):
        lambda_layer = fm.layer("Lambda", "bad", function=function, function_type="lambda")
        config = fm.sequential(fm.qdense("fc1", 6), lambda_layer)
        weights = {"fc1": WEIGHTS["fc1"]}
        for path in (
            fm.write_h5(tmp_path / "m.h5", config, weights), fm.write_keras(tmp_path / "m.keras", config, weights),
        ):  # fmt: skip
            assert "bad (Lambda)" in refused(path).what
    assert not target.exists()
    pickle.loads(base64.b64decode(code)).close()
    assert target.exists()  # the trap works


class _Opens:
    """Opens a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (self.path, "w")


def test_archives_that_are_no_models(tmp_path, good):
    assert "holds no config.json" in refused(zipped(tmp_path, {"data.pkl": b"x"})).what
    assert "holds no model.weights.h5" in refused(zipped(tmp_path, {"config.json": good["m.json"]})).what
    members = {"config.json": good["m.json"], "model.weights.h5": b"not hdf5"}
    assert "not in HDF5" in refused(zipped(tmp_path, members)).what
    members = {"config.json": b"[]", "model.weights.h5": good["w.h5"]}
    assert "not an object" in refused(zipped(tmp_path, members)).what
    members = {"../config.json": b"{}", "config.json/": b""}
    assert "holds no config.json" in refused(zipped(tmp_path, members)).what


def test_encrypted_and_damaged_archives(tmp_path, good):
    data = bytearray(good["m.keras"])
    central = data.index(b"PK\x01\x02")
    for offset in range(central, len(data)):
        broken = bytearray(data)
        broken[offset] ^= 0xFF
        try:
            read_bytes(bytes(broken), good)
        except ModelError:
            continue


def _mutate(data, seed):
    rng = random.Random(seed)
    broken = bytearray(data)
    for _ in range(rng.choice([1, 1, 2, 4, 16])):
        place = rng.randrange(len(broken))
        broken[place] = rng.choice([0, 255, rng.randrange(256), broken[place] ^ (1 << rng.randrange(8))])
    return bytes(broken)


# Not HDF5: libhdf5 itself is not safe against crafted metadata; its data and texts are covered below.
@pytest.mark.parametrize("name", ["m.keras", "m.json", "m.onnx"])
def test_mutated_files_raise_model_errors_only(good, name):
    outcomes = set()
    for seed in range(300):
        try:
            read_bytes(_mutate(good[name], seed), good)
            outcomes.add("read")
        except ModelError as error:
            assert error.where
            str(error).encode()
            outcomes.add("refused")
    assert "refused" in outcomes


def test_mutated_config_in_hdf5(good):
    """Every mutation of the configuration's text keeps the HDF5 structure whole."""
    data = good["m.h5"]
    start = data.index(b'{"class_name"')
    end = start + len(json.dumps(CONFIG))
    for seed in range(300):
        text = _mutate(data[start:end], seed)
        try:
            read_bytes(data[:start] + text + data[end:], good)
        except ModelError as error:
            str(error).encode()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**20), 10**20) | st.floats() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)
STORED = {name: tuple(arrays.items()) for name, arrays in WEIGHTS.items()}
FUNCTIONAL = fm.functional(
    [(fm.keras_input("x", 4), []), (fm.qdense("fc1", 6, activation=fm.relu(4)), ["x"]),
     (fm.layer("BatchNormalization", "bn", axis=[1]), ["fc1"]),
     (fm.layer("Reshape", "r", target_shape=[2, 3]), ["bn"]),
     (fm.layer("Flatten", "f"), ["r"]), (fm.layer("Softmax", "s", axis=-1), ["f"])], ["x"], ["s"],
)  # fmt: skip


def _places(value, path=()):
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from _places(inner, (*path, key))


PLACES = [(config, path) for config in (CONFIG, FUNCTIONAL) for path in _places(config) if path]


@settings(max_examples=400, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(place=st.sampled_from(PLACES), value=JSON)
@example(place=(CONFIG, ("config", "layers", 1, "config", "units")), value=10**20)
@example(place=(CONFIG, ("config", "layers", 1, "config", "kernel_quantizer", "config", "bits")), value=1e308)
@example(place=(FUNCTIONAL, ("config", "input_layers")), value={"a": [["x", 0, 0]]})
def test_any_value_at_any_place_of_a_configuration(place, value):
    config, path = place
    config = copy.deepcopy(config)
    target = config
    for key in path[:-1]:
        target = target[key]
    target[path[-1]] = value
    bn = {
        "bn": tuple(
            (key, np.ones(6, np.float32)) for key in ("gamma", "beta", "moving_mean", "moving_variance")
        )
    }
    try:
        file = containers.KerasFile("m.h5", containers.model_config(config, "m.h5"), {**STORED, **bn})
        read_keras(file)
    except ModelError as error:
        str(error).encode()


def test_unread_weights_of_an_optimizer_do_no_harm(tmp_path):
    path = fm.write_h5(tmp_path / "m.h5", CONFIG, WEIGHTS)
    with h5py.File(path, "r+") as file:
        file.create_dataset("optimizer_weights/x", (10**6, 10**6), "f4", chunks=(64, 64))
        file["optimizer_weights/y"] = h5py.ExternalLink("other.h5", "/")
    assert read_model(path).layer("fc1")


def test_weights_of_a_keras_archive_are_checked_too(tmp_path):
    weights = copy.deepcopy(WEIGHTS)
    weights["fc1"]["kernel"][0, 0] = np.nan
    assert "layer 'fc1'" in refused(fm.write_keras(tmp_path / "m.keras", CONFIG, weights)).what
    data = io.BytesIO()
    with h5py.File(data, "w") as file:
        file["layers/q_dense/vars/0"] = h5py.ExternalLink("other.h5", "/")
    path = zipped(tmp_path, {"config.json": json.dumps(CONFIG), "model.weights.h5": data.getvalue()})
    assert "is a link" in refused(path).what
