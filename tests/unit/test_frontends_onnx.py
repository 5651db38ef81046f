# SPDX-License-Identifier: Apache-2.0
"""ONNX and QONNX graphs, on small files written here."""

from __future__ import annotations

import re

import fixtures_models as fm
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from l1ml.errors import ModelError
from l1ml.frontends import read_model
from l1ml.graph import model

RNG = np.random.default_rng(11)
KERNEL = RNG.normal(0, 0.4, (4, 6)).astype(np.float32)
BIAS = RNG.normal(0, 0.3, 6).astype(np.float32)
X = np.linspace(-2, 2, 400).reshape(-1, 4)


def node(kind, inputs, output, **attributes):
    return helper.make_node(kind, inputs, [output], name=f"{kind}_{output}", **attributes)


def read(tmp_path, nodes, constants=None, **options):
    return read_model(fm.write_onnx(tmp_path / "m.onnx", nodes, constants or {}, **options))


def quantized(values, scale=1 / 32, width=6):
    return (
        np.clip(np.rint(values.astype(np.float64) / scale), -(2 ** (width - 1)), 2 ** (width - 1) - 1) * scale
    )


WEIGHTS = [fm.quant("qk", "k", 1 / 32, 6), fm.quant("qb", "b", 1 / 32, 6)]
CONSTANTS = {"k": KERNEL, "b": BIAS}
EXPECTED = X @ quantized(KERNEL) + quantized(BIAS)


@pytest.mark.parametrize("swap", [False, True])
def test_matmul_add_relu_quant_softmax(tmp_path, swap):
    nodes = [
        *WEIGHTS,
        node("MatMul", ["x", "qk"], "mm"),
        node("Add", ["qb", "mm"] if swap else ["mm", "qb"], "sum"),
        node("Relu", ["sum"], "relu"),
        fm.quant("act", "relu", 1 / 64, 6, signed=0),
        node("Softmax", ["act"], "y"),
    ]
    network = read(tmp_path, nodes, CONSTANTS)
    assert [layer.name for layer in network.layers] == ["x", "Add_sum", "act", "Softmax_y"]
    assert fm.kinds(network) == ["Input", "Dense", "Quantize", "Softmax"]
    values = fm.forward(network, x=X)
    np.testing.assert_array_equal(values["Add_sum"], EXPECTED)
    assert str(network.layers[2].quantizer) == "ufixed<6,0,RND_CONV,SAT>"
    assert network.layers[1].exact
    assert [key for key, _ in network.layers[1].quantizers] == ["kernel", "bias"]


def test_a_merged_sum_at_the_end_is_the_output(tmp_path):
    nodes = [*WEIGHTS, node("MatMul", ["x", "qk"], "mm"), node("Add", ["mm", "qb"], "y")]
    network = read(tmp_path, nodes, CONSTANTS)
    assert [layer.name for layer in network.layers] == ["x", "Add_y"]
    assert network.outputs == ("Add_y",)


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("factor", [1.0, 0.5])
def test_gemm(tmp_path, transposed, factor):
    constants = {"k": KERNEL.T if transposed else KERNEL, "b": BIAS}
    gemm = node("Gemm", ["x", "qk", "qb"], "y", transB=int(transposed), alpha=factor, beta=2 * factor)
    network = read(tmp_path, [*WEIGHTS, gemm], constants)
    expected = factor * (X @ quantized(KERNEL)) + 2 * factor * quantized(BIAS)
    np.testing.assert_array_equal(fm.forward(network, x=X)["Gemm_y"], expected)


@pytest.mark.parametrize(
    "domain",
    ["qonnx.custom_op.general", "finn.custom_op.general", "onnx.brevitas", "qonnx", "finn", "brevitas"],
)
def test_every_name_of_the_domain(tmp_path, domain):
    network = read(tmp_path, [fm.quant("y", "x", 0.25, 4, domain=domain, narrow=1)])
    assert str(network.layers[1].quantizer) == "fixed<4,2,RND_CONV,SAT_SYM>"


def test_transposed_and_reshaped_constants_stay_exact(tmp_path):
    nodes = [
        fm.quant("qk", "k", 1 / 32, 6),
        node("Identity", ["qk"], "id"),
        node("Transpose", ["id"], "t", perm=[1, 0]),
        node("Reshape", ["t", "shape"], "r"),
        node("MatMul", ["x", "r"], "y"),
    ]
    network = read(tmp_path, nodes, {"k": KERNEL.T, "shape": np.array([4, 6], np.int64)})
    assert network.layers[1].exact
    np.testing.assert_array_equal(network.layers[1].kernel, quantized(KERNEL))


def test_constant_nodes(tmp_path):
    nodes = [
        helper.make_node("Constant", [], ["k"], value=numpy_helper.from_array(KERNEL, "v")),
        helper.make_node("Constant", [], ["shape"], value_ints=[1, 2, 3]),
        *WEIGHTS[:1],
        node("MatMul", ["x", "qk"], "mm"),
        node("Reshape", ["mm", "shape"], "y"),
    ]
    network = read(tmp_path, nodes)
    assert [(layer.name, getattr(layer, "shape", None)) for layer in network.layers][-1] == (
        "Reshape_y",
        (2, 3),
    )


def test_weights_without_quantizers_are_not_exact(tmp_path):
    network = read(tmp_path, [node("MatMul", ["x", "k"], "y")], {"k": KERNEL})
    assert not network.layers[1].exact
    half = read(tmp_path, [*WEIGHTS[:1], node("Gemm", ["x", "qk", "b"], "y")], CONSTANTS)
    assert not half.layers[1].exact


def test_bipolar_quant(tmp_path):
    def bipolar(x, output):
        return helper.make_node("BipolarQuant", [x, "s"], [output], domain="qonnx.custom_op.general")

    nodes = [bipolar("k", "qk"), bipolar("x", "qx"), node("MatMul", ["qx", "qk"], "y")]
    network = read(tmp_path, nodes, {"k": KERNEL, "s": np.array(0.5, np.float32)})
    assert fm.kinds(network) == ["Input", "Sign", "Dense"]
    expected = np.where(X >= 0, 0.5, -0.5) @ np.where(KERNEL >= 0, 0.5, -0.5)
    np.testing.assert_array_equal(fm.forward(network, x=X)["MatMul_y"], expected)


def test_batch_normalization(tmp_path):
    names = ["gamma", "beta", "mean", "variance"]
    arrays = dict(zip(names, RNG.uniform(0.2, 1.5, (4, 4)).astype(np.float32), strict=True))
    network = read(tmp_path, [node("BatchNormalization", ["x", *names], "y", epsilon=1e-3)], arrays)
    y = fm.forward(network, x=X)["BatchNormalization_y"]
    real = {key: value.astype(np.float64) for key, value in arrays.items()}
    expected = (X - real["mean"]) / np.sqrt(real["variance"] + 1e-3) * real["gamma"] + real["beta"]
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-5)


def test_a_sum_that_follows_no_dense_layer_is_an_offset_per_channel(tmp_path):
    constants = {"c": np.array([[0.5, 1.0, -2.0, 0.25]], np.float32)}
    network = read(tmp_path, [node("Add", ["x", "c"], "y")], constants)
    np.testing.assert_array_equal(fm.forward(network, x=X)["Add_y"], (X.astype(np.float32) + constants["c"]))


def test_a_dense_result_that_is_read_twice_keeps_its_own_bias(tmp_path):
    nodes = [
        *WEIGHTS,
        node("MatMul", ["x", "qk"], "mm"),
        node("Add", ["mm", "qb"], "y"),
        node("Relu", ["mm"], "z"),
    ]
    network = read(tmp_path, nodes, CONSTANTS, outputs=("y", "z"))
    assert fm.kinds(network) == ["Input", "Dense", "Affine", "Relu"]
    values = fm.forward(network, x=X)
    np.testing.assert_array_equal(values["Relu_z"], np.maximum(X @ quantized(KERNEL), 0))


def test_identity_dropout_and_flatten_vanish(tmp_path):
    nodes = [
        node("Identity", ["x"], "i"),
        node("Dropout", ["i"], "d"),
        node("Flatten", ["d"], "f"),
        node("Reshape", ["f", "shape"], "r"),
        node("Relu", ["r"], "y"),
    ]
    network = read(tmp_path, nodes, {"shape": np.array([-1, 4], np.int64)})
    assert fm.kinds(network) == ["Input", "Relu"]


@pytest.mark.parametrize("target", [[1, -1], [0, 12], [-1, 12], [1, 0, 4], [1, 3, -1]])
def test_reshape_keeps_the_batch(tmp_path, target):
    constants = {"shape": np.array(target, np.int64)}
    network = read(tmp_path, [node("Reshape", ["x", "shape"], "y")], constants, shape=(1, 3, 4))
    assert fm.forward(network, x=np.ones((5, 12)))[network.outputs[0]].shape[0] == 5


@pytest.mark.parametrize("target", [[-1, -1], [12], [4, 3], [2, -1]])
def test_reshape_across_the_batch_is_refused(tmp_path, target):
    constants = {"shape": np.array(target, np.int64)}
    with pytest.raises(ModelError, match="batch axis"):
        read(tmp_path, [node("Reshape", ["x", "shape"], "y")], constants, shape=(1, 3, 4))


def test_names_are_unique_and_unnamed_nodes_take_the_name_of_their_output(tmp_path):
    nodes = [
        helper.make_node("Relu", ["x"], ["a"], name="x"),
        helper.make_node("Relu", ["a"], ["b"], name="x"),
        helper.make_node("Relu", ["b"], ["y"]),
    ]
    assert [layer.name for layer in read(tmp_path, nodes).layers] == ["x", "x_2", "x_3", "y"]


def test_old_files_list_their_constants_as_inputs(tmp_path):
    path = fm.write_onnx(tmp_path / "m.onnx", [node("MatMul", ["x", "k"], "y")], {"k": KERNEL})
    proto = onnx.load(path)
    proto.graph.input.append(helper.make_tensor_value_info("k", TensorProto.FLOAT, [4, 6]))
    path.write_bytes(proto.SerializeToString())
    assert [i.name for i in read_model(path).inputs] == ["x"]


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        (node("Add", ["x", "x"], "y"), "sum of two tensors of data"),
        (node("MatMul", ["k", "x"], "y"), "input 0 is a constant"),
        (node("MatMul", ["x", "x"], "y"), "computed from the data"),
        (node("Gemm", ["x", "k"], "y", transA=1), "transA"),
        (node("Gemm", ["x", "k"], "y", alpha=0.3), "alpha=0.3"),
        (node("Softmax", ["x"], "y", axis=0), "axis other than the last"),
        (node("Transpose", ["x"], "y"), "of data"),
        (node("Flatten", ["x"], "y", axis=0), "batch axis"),
        (node("Dropout", ["x", "s", "true"], "y"), "training mode"),
        (node("BatchNormalization", ["x", "b4", "b4", "b4", "b4"], "y", training_mode=1), "training mode"),
        (fm.quant("y", "x", 0.3, 4), "scale that is not a power of two"),
        (fm.quant("y", "x", 0.5, 4, zero=1), "zero point"),
        (fm.quant("y", "x", 0.5, 4, rounding_mode="CEIL"), "rounding mode CEIL"),
        (fm.quant("y", "x", 0.5, 4, signed=0, narrow=1), "unsigned and narrow"),
        (fm.quant("y", "x", 0.5, 4, domain="somewhere.else"), r"y \(Quant of somewhere\.else\)"),
        (node("Tanh", ["x"], "y"), r"Tanh_y \(Tanh\)"),
    ],
)
def test_what_has_no_exact_form_is_refused(tmp_path, made, reason):
    constants = {
        "k": KERNEL,
        "s": np.float32(0.5).reshape(()),
        "true": np.array(True),
        "b4": np.ones(4, np.float32),
    }
    with pytest.raises(ModelError, match=r"1 layer is not supported") as error:
        read(tmp_path, [made], constants)
    assert error.match(reason)


def test_all_unsupported_nodes_are_named_at_once(tmp_path):
    nodes = [node("Tanh", ["x"], "a"), node("MatMul", ["a", "k"], "b"), node("Selu", ["b"], "y")]
    with pytest.raises(
        ModelError, match=r"2 layers are not supported: Tanh_a \(Tanh\), Selu_y \(Selu\)"
    ) as error:
        read(tmp_path, nodes, {"k": KERNEL})
    assert error.value.where == ("m.onnx",)


BAD_K = fm.quant("qk", "k", 0.3, 6)
BAD_B = fm.quant("qb", "b", 1 / 32, 6, rounding_mode="ODD")


@pytest.mark.parametrize(
    ("nodes", "refused"),
    [
        ([BAD_K, WEIGHTS[1], node("Gemm", ["x", "qk", "qb"], "y")], ["qk"]),
        ([BAD_K, WEIGHTS[1], node("MatMul", ["x", "qk"], "m"), node("Add", ["m", "qb"], "y")], ["qk"]),
        ([WEIGHTS[0], BAD_B, node("MatMul", ["x", "qk"], "m"), node("Add", ["m", "qb"], "y")], ["qb"]),
        ([BAD_B, node("Identity", ["qb"], "i"), node("Add", ["i", "x"], "y")], ["qb"]),
        ([BAD_K, node("Transpose", ["qk"], "t"), node("MatMul", ["x", "t"], "y")], ["qk"]),
        ([BAD_K, fm.quant("twice", "qk", 0.5, 4), node("MatMul", ["x", "twice"], "y")], ["qk"]),
        (
            [node("Shape", ["x"], "s"), node("Gather", ["s", "zero"], "g"), node("Reshape", ["x", "g"], "y")],
            ["Shape_s", "Gather_g"],
        ),
        # What is computed from the data stays known to be so, and other problems are still named.
        ([node("Tanh", ["x"], "t"), node("Add", ["t", "x"], "y")], ["Tanh_t", "Add_y"]),
        ([BAD_K, node("MatMul", ["x", "qk"], "m"), node("Selu", ["m"], "y")], ["qk", "Selu_y"]),
        ([BAD_K, node("MatMul", ["x", "qk"], "m"), node("Add", ["m", "m"], "y")], ["qk", "Add_y"]),
    ],
)
def test_problems_that_follow_from_another_are_not_named(tmp_path, nodes, refused):
    constants = {**CONSTANTS, "zero": np.int64(0).reshape(())}
    with pytest.raises(ModelError) as error:
        read(tmp_path, nodes, constants)
    assert re.findall(r"(\w+) \([A-Z]\w+", error.value.what) == refused


def edited(tmp_path, change, nodes=None, constants=None):
    path = fm.write_onnx(
        tmp_path / "m.onnx", nodes or [node("MatMul", ["x", "k"], "y")], constants or {"k": KERNEL}
    )
    proto = onnx.load(path)
    change(proto)
    path.write_bytes(proto.SerializeToString())
    return path


def _external(proto):
    tensor = proto.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../etc/passwd")


def _huge(proto):
    proto.graph.initializer[0].dims[:] = [10**9, 10**9]


def _complex(proto):
    proto.graph.initializer[0].data_type = TensorProto.COMPLEX64


def _no_shape(proto):
    proto.graph.input[0].type.tensor_type.ClearField("shape")


def _free_axis(proto):
    proto.graph.input[0].type.tensor_type.shape.dim[1].ClearField("dim_value")


def _large_input(proto):
    proto.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 10**12


def _negative_input(proto):
    proto.graph.input[0].type.tensor_type.shape.dim[1].dim_value = -4


def _dangling(proto):
    proto.graph.node[0].input[0] = "nowhere"


def _lacking(proto):
    del proto.graph.node[0].input[1]


def _constant_output(proto):
    proto.graph.output[0].name = "k"


def _no_output(proto):
    proto.graph.output[0].name = "nothing"


def _not_finite(proto):
    proto.graph.initializer[0].CopyFrom(numpy_helper.from_array(np.full((4, 6), np.nan, np.float32), "k"))


def _wrong_matrix(proto):
    proto.graph.initializer[0].CopyFrom(numpy_helper.from_array(np.ones((5, 6), np.float32), "k"))


def _sparse(proto):
    proto.graph.sparse_initializer.add()


def _no_inputs(proto):
    del proto.graph.input[:]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (_external, "keeps its data in another file"),
        (_huge, "constant 'k' cannot be read"),
        (_complex, "no real numbers"),
        (_no_shape, "no tensor of known shape"),
        (_free_axis, "every axis but the batch needs a fixed size"),
        (_large_input, "elements per event"),
        (_negative_input, "every axis but the batch"),
        (_dangling, "reads 'nowhere', which no input"),
        (_lacking, "lacks input 1"),
        (_constant_output, "does not depend on the inputs"),
        (_no_output, "does not depend on the inputs"),
        (_not_finite, r"constant 'k' .* 24 values that are not finite, the first at index \(0, 0\)"),
        (_wrong_matrix, r"shape \(5, 6\), its data \(4,\)"),
        (_sparse, "sparse constants"),
        (_no_inputs, "no inputs"),
    ],
)
def test_malformed_graphs(tmp_path, change, reason):
    with pytest.raises(ModelError, match=reason) as error:
        read_model(edited(tmp_path, change))
    assert error.value.where == ("m.onnx",)


def test_weights_beside_an_onnx_file_are_refused(tmp_path):
    path = fm.write_onnx(tmp_path / "m.onnx", [node("Relu", ["x"], "y")], {})
    with pytest.raises(ModelError, match="only Keras models"):
        read_model(path, weights=path)


def test_layers_are_those_of_the_graph_model(tmp_path):
    network = read(tmp_path, [*WEIGHTS, node("Gemm", ["x", "qk", "qb"], "y")], CONSTANTS)
    assert isinstance(network, model.Model)
    network.verify()
