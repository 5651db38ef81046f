# SPDX-License-Identifier: Apache-2.0
"""ONNX files: names, sizes, batches, constants beside the file, and everything that can be wrong with one."""

from __future__ import annotations

import re

import numpy as np
import onnx
import onnx_vectors as ov
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx_vectors import node, normal, quant

from l1ml.errors import ModelError
from l1ml.frontends import read_model
from l1ml.frontends.onnx import operators, read_onnx
from l1ml.frontends.onnx.file import File, Node, ordered

KERNEL = normal("kernel", 4, 6)
MATMUL = [node("MatMul", ["x", "k"], "y")]


def refused(nodes, constants=None, **options):
    with pytest.raises(ModelError) as error:
        ov.read(nodes, constants, **options)
    assert error.value.where == ("m.onnx",)
    assert error.value.fix
    return error.value.what


# ---- names, batches, sizes


def test_names_are_unique_and_unnamed_nodes_take_the_name_of_their_output():
    nodes = [
        helper.make_node("Relu", ["x"], ["a"], name="x"),
        helper.make_node("Relu", ["a"], ["b"], name="x"),
        helper.make_node("Relu", ["b"], ["y"]),
    ]
    assert [layer.name for layer in ov.read(nodes).layers] == ["x", "x_2", "x_3", "y"]


def test_nodes_may_come_in_any_order():
    nodes = [node("Relu", ["b"], "y"), node("Abs", ["a"], "b"), node("Neg", ["x"], "a")]
    assert [layer.name for layer in ov.read(nodes).layers] == ["x", "Neg_a", "Abs_b", "Relu_y"]


def test_sorting_is_not_slow_for_nodes_in_reverse():
    nodes = tuple(Node(f"n{k}", "Relu", "", (f"t{k + 1}",), (f"t{k}",), {}) for k in range(8000))
    file = File("f", "f", {"": 17}, (), ("t0",), nodes, {})
    assert [item.name for item in ordered(file)] == [f"n{k}" for k in range(7999, -1, -1)]


def test_constants_listed_as_inputs_are_no_inputs():
    def list_them(proto):
        proto.graph.input.append(helper.make_tensor_value_info("k", TensorProto.FLOAT, [4, 6]))

    data = ov.edited(list_them, MATMUL, {"k": KERNEL})
    assert [port.name for port in read_onnx(data, "m.onnx").inputs] == ["x"]


def test_constant_nodes_in_all_their_forms():
    nodes = [
        helper.make_node("Constant", [], ["k"], value=numpy_helper.from_array(KERNEL, "v")),
        helper.make_node("Constant", [], ["shape"], value_ints=[0, 2, 3]),
        helper.make_node("Constant", [], ["f"], value_float=0.5),
        helper.make_node("Constant", [], ["fs"], value_floats=[0.5, 1.0, 2.0]),
        node("MatMul", ["x", "k"], "mm"),
        node("Reshape", ["mm", "shape"], "r"),
        node("Mul", ["r", "f"], "m"),
        node("Mul", ["m", "fs"], "y"),
    ]
    x = normal("x", 5, 4)
    expected = (x @ KERNEL).reshape(5, 2, 3) * np.float32(0.5) * np.array([0.5, 1, 2], np.float32)
    np.testing.assert_allclose(ov.reals(ov.read(nodes), x)[0], expected, rtol=1e-6)


@pytest.mark.parametrize("batch", ["N", 1, 64])
@pytest.mark.parametrize("target", [[0, -1], [-1, 12], [0, 0, 4], [0, 3, -1]])
def test_reshape_keeps_the_batch(batch, target):
    network = ov.read([node("Reshape", ["x", "s"], "y")], {"s": np.array(target)}, shape=(batch, 3, 4))
    x = np.arange(60.0).reshape(5, 3, 4)
    np.testing.assert_array_equal(ov.reals(network, x)[0].reshape(5, 12), x.reshape(5, 12))


def test_a_baked_batch_size_may_be_written_out():
    network = ov.read([node("Reshape", ["x", "s"], "y")], {"s": np.array([64, 12])}, shape=(64, 3, 4))
    assert ov.reals(network, np.ones((5, 3, 4)))[0].shape == (5, 12)


@pytest.mark.parametrize("target", [[12], [4, 3], [2, -1], [3, -1, 4]])
def test_reshape_across_the_batch_is_refused(target):
    what = refused([node("Reshape", ["x", "s"], "y")], {"s": np.array(target)}, shape=(64, 3, 4))
    assert "across the batch axis" in what or "the sizes do not fit" in what


def test_what_depends_on_the_batch_size_is_no_constant():
    nodes = [
        node("Shape", ["x"], "s"),
        node("Cast", ["s"], "f", to=TensorProto.FLOAT),
        node("Gather", ["f", "zero"], "n"),
        node("Div", ["x", "n"], "y"),
    ]
    assert "input 1 depends on the batch size" in refused(nodes, {"zero": np.int64(0)})
    baked = ov.read(nodes, {"zero": np.int64(0)}, shape=(4, 4))  # here the file says it
    np.testing.assert_array_equal(ov.reals(baked, np.ones((2, 4)))[0], np.full((2, 4), 0.25))


def test_two_inputs_and_two_outputs():
    case = ov.Case(
        "two",
        [node("Add", ["x0", "x1"], "y0"), node("Mul", ["x0", "x1"], "y1")],
        shapes=[(3,), (3,)],
        outputs=2,
    )
    network = ov.read_case(case)
    a, b = normal("a", 4, 3), normal("b", 4, 3)
    total, product = ov.reals(network, a, b)
    np.testing.assert_array_equal(total, a + b)
    np.testing.assert_array_equal(product, a * b)


# ---- problems


def test_one_problem_comes_with_its_own_fix():
    with pytest.raises(ModelError) as error:
        ov.read(MATMUL, {"k": np.full((4, 6), np.inf, np.float32)})
    assert error.value.fix == "the training diverged; train it again"


def test_all_problems_are_named_at_once():
    nodes = [
        node("LogSoftmax", ["x"], "a"),
        node("ConvTranspose", ["a", "k"], "b"),
        node("Loop", ["b"], "c"),
        node("Gemm", ["x", "k"], "d", transA=1),
        node("Softmax", ["x"], "e", axis=0),
        quant("f", "x", 0.5, 4, rounding_mode="ODD"),
        node("Add", ["c", "f"], "y"),
    ]
    what = refused(nodes, {"k": KERNEL})
    assert what.startswith("6 layers are not supported: ")
    found = re.findall(r"(\w+) \((\w+)", what)
    assert found == [
        ("LogSoftmax_a", "LogSoftmax"),
        ("ConvTranspose_b", "ConvTranspose"),
        ("Loop_c", "Loop"),
        ("Gemm_d", "Gemm"),
        ("Softmax_e", "Softmax"),
        ("f", "Quant"),
    ]
    for reason in (
        "order of the classes",
        "Resize and Conv",
        "loops are unrolled",
        "transA",
        "batch axis",
        "rounding mode ODD",
    ):
        assert reason in what


def test_problems_that_follow_from_another_are_not_named():
    bad = quant("qk", "k", 0.0, 6)
    assert re.findall(
        r"(\w+) \(", refused([bad, node("MatMul", ["x", "qk"], "m"), node("Relu", ["m"], "y")], {"k": KERNEL})
    ) == ["qk"]
    shape = [node("NonZero", ["x"], "s"), node("Reshape", ["x", "s"], "y")]
    assert re.findall(r"(\w+) \(", refused(shape)) == ["NonZero_s"]


def test_problems_of_constants_inputs_and_nodes_are_one_list():
    def spoil(proto):
        tensor = proto.graph.initializer[0]
        tensor.data_type = TensorProto.COMPLEX64
        proto.graph.input[0].type.tensor_type.shape.dim[1].ClearField("dim_value")
        proto.graph.node.append(node("Loop", ["k"], "z"))
        proto.graph.output.append(onnx.ValueInfoProto(name="z"))

    with pytest.raises(ModelError) as error:
        read_onnx(ov.edited(spoil, MATMUL, {"k": KERNEL}), "m.onnx")
    assert error.match("3 things in the file cannot be read")
    assert error.match(r"k \(constant: holds no real numbers \(complex64\)\)")
    assert error.match(r"x \(input: .*every axis but the batch needs a fixed size")
    assert error.match(r"Loop_z \(Loop: ")


def test_names_of_the_file_are_made_printable_in_messages():
    name = "evil\n\x1b[31m" + "a" * 300
    made = helper.make_node("Loop\r", ["x"], ["y"], name=name)
    what = refused([made])
    assert what.isprintable()
    assert len(refused([node("Relu", ["x" * 5000], "y")])) < 400


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        (node("MatMul", ["k", "x"], "y"), "input 0 is a constant of shape"),
        (node("MatMul", ["x", "x"], "y"), "mixes the events of a batch"),
        (node("Gemm", ["x", "k"], "y", transA=1), "transA mixes events"),
        (node("Softmax", ["x"], "y", axis=0), "batch axis"),
        (node("ReduceSum", ["x"], "y"), "reduces the batch axis"),
        (node("ArgMax", ["x"], "y"), "compares the events"),
        (node("ArgMax", ["x"], "y", axis=1, select_last_index=1), "select_last_index=1; supported is 0"),
        (node("Concat", ["x", "x"], "y", axis=0), "joins events"),
        (node("Gather", ["x", "i"], "y"), "picks events"),
        (node("Slice", ["x", "i", "i1", "i"], "y"), "cuts the batch axis"),
        (node("Dropout", ["x", "s", "true"], "y"), "training mode"),
        (node("BatchNormalization", ["x", "b4", "b4", "b4", "b4"], "y", training_mode=1), "training mode"),
        (node("Relu", ["x"], "y", mystery=1), "attributes that are not known here: mystery"),
        (node("Conv", ["x", "k"], "y"), "a kernel of shape"),
        (node("Resize", ["x", "", "s2"], "y", mode="linear"), "mode=linear; supported is nearest"),
        (node("Pad", ["x", "p"], "y"), "pads the batch axis"),
        (node("Pow", ["s", "x"], "y"), "exponent computed from the data"),
        (node("Clip", ["x", "x"], "y"), "input 1 is computed from the data"),
        (node("Reshape", ["x", "x"], "y"), "must be a constant"),
        (node("Div", ["x", "z"], "y"), "by 0"),
        (node("Cast", ["x"], "y", to=TensorProto.FLOAT16), "float16"),
        (node("Cast", ["x"], "y", to=TensorProto.STRING), "no real numbers"),
        (node("TopK", ["x", "i9"], "y"), "9 first of 4"),
        (node("Transpose", ["x"], "y", perm=[0, 0]), r"orders 2 axes as \[0, 0\]"),
        (node("Einsum", ["x", "x"], "y", equation="bi,bi->i"), "sums over the events"),
        (node("LSTM", ["x", "k", "k"], "y", hidden_size=2), r"data of shape \(4,\)"),
        (node("Add", ["x", "k"], "y"), "differs from event to event|contradicts itself"),
        (node("Relu", ["nowhere"], "y"), "reads 'nowhere', which no input"),
        (node("MatMul", ["x"], "y"), "lacks input 1"),
        (node("If", ["x"], "y", then_branch=helper.make_graph([], "g", [], [])), "graphs of its own"),
        (node("SequenceConstruct", ["x"], "y"), "sequence"),
        (node("Nonsense", ["x"], "y"), r"Nonsense_y \(Nonsense\)"),
        (
            helper.make_node("TreeEnsembleClassifier", ["x"], ["y"], domain="ai.onnx.ml"),
            "trees come with a later version",
        ),
        (helper.make_node("MaxPool", ["x"], ["y"], domain="com.other"), "MaxPool of com.other"),
    ],
)
def test_what_is_not_read_is_refused_with_the_reason(made, reason):
    constants = {
        "k": KERNEL,
        "s": np.float32(0.5),
        "true": np.array(True),
        "b4": np.ones(4, np.float32),
        "i": np.array([0]),
        "i1": np.array([1]),
        "i9": np.array([9]),
        "s2": np.array([1, 1.5], np.float32),
        "p": np.array([1, 0, 0, 0]),
        "z": np.zeros(4, np.float32),
    }
    what = refused([made], constants)
    assert what.startswith("1 layer is not supported")
    assert re.search(reason, what), what


def test_functions_of_the_model_are_refused():
    def add(proto):
        proto.functions.append(
            helper.make_function(
                "own", "Relu", ["a"], ["b"], [node("Abs", ["a"], "b")], [helper.make_opsetid("", 17)]
            )
        )
        proto.graph.node[0].domain = "own"

    with pytest.raises(ModelError, match="is a function of the model; inline it"):
        read_onnx(ov.edited(add, [node("Relu", ["x"], "y")], {}), "m.onnx")


# ---- malformed files


def _huge(proto):
    proto.graph.initializer[0].dims[:] = [10**9, 10**9]


def _negative_constant(proto):
    proto.graph.initializer[0].dims[:] = [-1, 5]


def _short(proto):
    proto.graph.initializer[0].raw_data = b"123"


def _no_shape(proto):
    proto.graph.input[0].type.tensor_type.ClearField("shape")


def _sequence(proto):
    proto.graph.input[0].type.sequence_type.elem_type.tensor_type.elem_type = 1


def _large_input(proto):
    proto.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 10**12


def _negative_input(proto):
    proto.graph.input[0].type.tensor_type.shape.dim[1].dim_value = -4


def _flat_input(proto):
    del proto.graph.input[0].type.tensor_type.shape.dim[1]


def _double_input(proto):
    proto.graph.input[0].type.tensor_type.elem_type = TensorProto.DOUBLE


def _text_input(proto):
    proto.graph.input[0].type.tensor_type.elem_type = TensorProto.STRING


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


def _twice(proto):
    proto.graph.initializer.append(proto.graph.initializer[0])


def _made_twice(proto):
    proto.graph.node.append(proto.graph.node[0])


def _makes_its_input(proto):
    proto.graph.node[0].output[0] = "x"


def _circle(proto):
    proto.graph.node.append(node("Relu", ["y"], "z"))
    proto.graph.node[0].input[0] = "z"


def _two_ports(proto):
    proto.graph.input.append(proto.graph.input[0])


def _no_name(proto):
    proto.graph.input[0].name = "a\nb"


def _float8(proto):
    proto.graph.initializer[0].data_type = TensorProto.FLOAT8E4M3FN


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (_huge, r"k \(constant: has the shape"),
        (_negative_constant, r"k \(constant: has the shape"),
        (_short, r"k \(constant: its data cannot be read"),
        (_no_shape, r"x \(input: is no tensor of known shape"),
        (_sequence, r"x \(input: is no tensor of known shape"),
        (_large_input, "elements per event"),
        (_negative_input, "every axis but the batch"),
        (_flat_input, "expected the batch axis and 1 to 7 more"),
        (_double_input, "is float64"),
        (_text_input, r"holds no real numbers \(string\)"),
        (_constant_output, "does not depend on the inputs"),
        (_no_output, "does not depend on the inputs"),
        (_not_finite, r"constant 'k' holds 24 values that are not finite, the first at index \(0, 0\)"),
        (_wrong_matrix, r"a matrix of shape \(5, 6\) for data of shape \(4,\)"),
        (_sparse, "is sparse"),
        (_no_inputs, "no inputs"),
        (_twice, "two constants are called 'k'"),
        (_made_twice, "make the tensor 'y'"),
        (_makes_its_input, "make the tensor 'x'"),
        (_circle, "2 nodes wait for each other"),
        (_two_ports, "two inputs are called 'x'"),
        (_no_name, "no proper name"),
        (_float8, r"holds no real numbers \(float8e4m3fn\)"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_malformed_graphs(change, reason):
    with pytest.raises(ModelError, match=reason) as error:
        read_onnx(ov.edited(change, MATMUL, {"k": KERNEL}), "m.onnx")
    assert error.value.where == ("m.onnx",)


@pytest.mark.parametrize("data", [b"", b"\0" * 100, b"\x08\x07", b"not a model", b"PK\x03\x04" + b"\0" * 50])
def test_other_files_are_not_onnx(data):
    with pytest.raises(ModelError, match="neither a Keras model"):
        read_onnx(data, "m.onnx")


@pytest.mark.parametrize(
    "made",
    [
        node("Expand", ["x", "big"], "y"),
        node("Tile", ["x", "big"], "y"),
        node("Pad", ["x", "pads"], "y"),
        node("Resize", ["x", "", "", "big"], "y"),
        node("ConstantOfShape", ["big"], "y"),
        node("Range", ["zero", "huge", "one"], "y"),
        node("Expand", ["k", "big"], "y"),
        node("TopK", ["x", "huge1"], "y"),
        node("Unsqueeze", ["x", "many"], "y"),
        node("Add", ["column", "row"], "y"),
        node("Tile", ["k", "big"], "y"),
        node("Pad", ["k", "pads"], "y"),
    ],
    ids=lambda made: f"{made.op_type}_{made.input[0]}",
)
def test_small_files_cannot_ask_for_large_tensors(made):
    constants = {
        "big": np.array([1, 10**9]),
        "pads": np.array([0, 10**9, 0, 10**9]),
        "zero": np.int64(0),
        "one": np.int64(1),
        "huge": np.int64(10**12),
        "huge1": np.array([10**9]),
        "many": np.arange(1, 60),
        "k": KERNEL,
        "column": np.ones((10**4, 1), np.float32),
        "row": np.ones((1, 10**4), np.float32),
    }
    refused([made], constants)


def test_many_small_moves_cannot_add_up():
    nodes = [node("Expand", ["x", "s"], f"t{k}") for k in range(100)] + [
        node("Sum", [f"t{k}" for k in range(100)], "y")
    ]
    assert "moves more than" in refused(nodes, {"s": np.array([1, 1 << 20, 4])}, shape=("N", 1, 4))


# ---- constants beside the file


def beside(folder, location, size=96, **entries):
    """Write a model whose kernel is in another file."""
    made = ov.proto(MATMUL, {"k": KERNEL})
    tensor = made.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in {"location": location, "offset": "16", "length": str(size), **entries}.items():
        tensor.external_data.add(key=key, value=value)
    return made.SerializeToString(), folder


def test_constants_in_a_file_of_the_folder_are_read(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "weights.bin").write_bytes(b"\0" * 16 + KERNEL.tobytes() + b"rest")
    data, folder = beside(tmp_path, "sub/weights.bin")
    network = read_onnx(data, "m.onnx", folder)
    np.testing.assert_array_equal(network.layers[1].kernel, KERNEL.astype(np.float64))


def test_constants_outside_the_folder_are_refused(tmp_path):
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    inside.mkdir()
    outside.mkdir()
    (outside / "weights.bin").write_bytes(b"\0" * 16 + KERNEL.tobytes())
    (inside / "link.bin").symlink_to(outside / "weights.bin")
    (inside / "folder").mkdir()
    (inside / "short.bin").write_bytes(b"\0" * 20)
    attempts = [
        ("../outside/weights.bin", "not in the folder"),
        (str(outside / "weights.bin"), "not in the folder"),
        ("link.bin", "not in the folder"),
        ("folder", "not in the folder"),
        ("missing.bin", "cannot be read"),
        ("", "does not say which"),
        ("a\0b", "does not say which"),
        ("short.bin", "ends too early"),
        ("/dev/zero", "not in the folder"),
        ("a" * 5000, "cannot be read"),
    ]
    for location, reason in attempts:
        data, folder = beside(inside, location)
        with pytest.raises(ModelError, match=reason):
            read_onnx(data, "m.onnx", folder)
    for entries, reason in (
        ({"offset": "-1"}, "no number"),
        ({"length": "1e3"}, "no number"),
        ({"length": "40"}, "40 are announced"),
        ({"evil": "x"}, "does not say"),
    ):
        data, folder = beside(inside, "short.bin", **entries)
        with pytest.raises(ModelError, match=reason):
            read_onnx(data, "m.onnx", folder)
    data, _ = beside(inside, "short.bin")
    with pytest.raises(ModelError, match="came without a folder"):
        read_onnx(data, "m.onnx")


def test_weights_beside_an_onnx_file_are_refused(tmp_path):
    path = tmp_path / "m.onnx"
    path.write_bytes(ov.proto([node("Relu", ["x"], "y")]).SerializeToString())
    with pytest.raises(ModelError, match="only Keras models"):
        read_model(path, weights=path)


def test_the_list_of_operators_is_sorted_and_long():
    assert list(operators.SUPPORTED) == sorted(set(operators.SUPPORTED))
    assert len(operators.SUPPORTED) > 100
    assert not set(operators.REFUSED) & set(operators.SUPPORTED)
