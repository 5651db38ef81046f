# SPDX-License-Identifier: Apache-2.0
"""Every operator in every setting against what ONNX Runtime made of it: real numbers."""

from __future__ import annotations

import itertools

import numpy as np
import onnx_vectors as ov
import pytest
from onnx_vectors import node, normal

from l1ml.graph import model

RECORDED = [(family, case) for family, case in ov.float_cases() if ov.recorded(family, case) is not None]


@pytest.mark.parametrize(("family", "case"), RECORDED, ids=[f"{f}-{c.name}" for f, c in RECORDED])
def test_an_operator_gives_what_onnx_runtime_gives(family, case):
    network = ov.read_case(case)
    made = ov.reals(network, *ov.events(family, case))
    expected = ov.recorded(family, case)
    assert len(made) == len(expected) == case.outputs
    for mine, wanted in zip(made, expected, strict=True):
        # A batch of 1 may have been given up on the way: then only the elements count.
        got = mine.reshape(wanted.shape) if case.batch else mine
        np.testing.assert_allclose(got, wanted.astype(np.float64), rtol=1e-5, atol=1e-5)


def test_enough_is_recorded():
    assert len(RECORDED) >= 400
    kinds = {item.op_type for _, case in RECORDED for item in case.nodes}
    assert len(kinds) >= 90
    for family, case in RECORDED:
        wanted = ov.recorded(family, case)[0]
        assert len(wanted) >= 6 or case.batch
        assert np.isfinite(wanted.astype(np.float64)).all()


@pytest.mark.parametrize("family", ["activations", "linear", "reducing"])
def test_the_comparison_can_fail(family):
    """Each recorded answer belongs to its model: the next one does not fit it."""
    own = [case for name, case in RECORDED if name == family and case.outputs == 1]
    wrong = 0
    for case, other in itertools.pairwise(own):
        made = ov.reals(ov.read_case(case), *ov.events(family, case))[0]
        wanted = ov.recorded(family, other)[0]
        wrong += made.shape != wanted.shape or not np.allclose(made, wanted, rtol=1e-5, atol=1e-5)
    assert wrong == len(own) - 1


# ONNX Runtime no longer runs the operators of 2017; their newer forms say what they must give.
SLOPE, BIAS, KERNEL = normal("s", 3), normal("b", 5), normal("k", 4, 5)


@pytest.mark.parametrize(
    ("old", "new", "shape"),
    [
        (node("PRelu", ["x", "s"], "y"), node("PRelu", ["x", "s31"], "y"), ("N", 3, 4)),
        (
            node(
                "Add",
                [
                    "x",
                    "b",
                ],
                "y",
                broadcast=1,
            ),
            node("Add", ["x", "b"], "y"),
            ("N", 3, 5),
        ),
        (node("Mul", ["x", "s"], "y", broadcast=1, axis=1), node("Mul", ["x", "s31"], "y"), ("N", 3, 5)),
        (node("Gemm", ["x", "k", "b"], "y", broadcast=1), node("Gemm", ["x", "k", "b"], "y"), ("N", 4)),
        (node("Reshape", ["x"], "y", shape=[0, 6]), node("Reshape", ["x", "shape"], "y"), ("N", 2, 3)),
        (node("Cast", ["x"], "y", to="FLOAT"), node("Cast", ["x"], "y", to=1), ("N", 4)),
        (
            node(
                "BatchNormalization",
                ["x", "s", "s", "s", "v"],
                "y",
                is_test=1,
                spatial=1,
                consumed_inputs=[0, 0, 0, 1, 1],
            ),
            node("BatchNormalization", ["x", "s", "s", "s", "v"], "y"),
            ("N", 3, 5),
        ),
    ],
    ids=["PRelu", "Add", "Mul", "Gemm", "Reshape", "Cast", "BatchNormalization"],
)
def test_operators_of_old_files(old, new, shape):
    constants = {
        "s": SLOPE,
        "s31": SLOPE.reshape(3, 1),
        "b": BIAS,
        "k": KERNEL,
        "shape": np.array([0, 6]),
        "v": np.abs(SLOPE) + np.float32(1),
    }
    used = [{k: v for k, v in constants.items() if k in item.input} for item in (old, new)]
    x = normal("x", 7, *shape[1:], scale=2)
    networks = (ov.read([old], used[0], shape=shape, opset=5), ov.read([new], used[1], shape=shape))
    np.testing.assert_array_equal(*(ov.reals(network, x)[0] for network in networks))


def test_images_stay_channels_first_outside_and_are_channels_last_inside():
    nodes = [
        node("Conv", ["x", "w"], "c", pads=[1, 1, 1, 1]),
        node("Relu", ["c"], "r"),
        node("MaxPool", ["r"], "p", kernel_shape=[2, 2]),
        node("Conv", ["p", "v"], "y"),
    ]
    constants = {"w": normal("w1", 3, 2, 3, 3), "v": normal("v1", 4, 3, 1, 1)}
    network = ov.read(nodes, constants, shape=("N", 2, 6, 5))
    assert ov.kinds(network) == ["Input", "Take", "Conv", "Relu", "Pool", "Conv", "Take"]
    assert network.inputs[0].shape == (2, 6, 5)
    assert network.layers[1].indices.shape == (6, 5, 2)
    assert ov.reals(network, np.zeros((1, 2, 6, 5)))[0].shape == (1, 4, 5, 4)


def test_transposes_around_images_vanish():
    nodes = [
        node("Transpose", ["x"], "t", perm=[0, 3, 1, 2]),
        node("Conv", ["t", "w"], "c"),
        node("Relu", ["c"], "r"),
        node("Transpose", ["r"], "y", perm=[0, 2, 3, 1]),
    ]
    network = ov.read(nodes, {"w": normal("w1", 3, 2, 3, 3)}, shape=("N", 6, 5, 2))
    assert ov.kinds(network) == ["Input", "Conv", "Relu"]


def test_one_transposed_tensor_serves_all_its_readers():
    nodes = [node("Conv", ["x", "w"], "a"), node("Conv", ["x", "w"], "b"), node("Add", ["a", "b"], "y")]
    network = ov.read(nodes, {"w": normal("w1", 3, 2, 3, 3)}, shape=("N", 2, 6, 5))
    assert ov.kinds(network) == ["Input", "Take", "Conv", "Conv", "Merge", "Take"]


def test_a_bias_is_merged_only_where_nothing_else_sees_the_product():
    weights = {"w": normal("w", 4, 3), "b": normal("b", 3)}
    product, plus = node("MatMul", ["x", "w"], "m"), node("Add", ["m", "b"], "y")
    assert ov.kinds(ov.read([product, plus], weights)) == ["Input", "Dense"]
    more = [product, plus, node("Identity", ["m"], "i"), node("Relu", ["i"], "z")]
    assert ov.kinds(ov.read(more, weights, outputs=("y", "z"))) == ["Input", "Dense", "Affine", "Relu"]
    again = [product, node("Identity", ["m"], "i"), node("Add", ["i", "b"], "y"), node("Relu", ["m"], "z")]
    assert "Affine" in ov.kinds(ov.read(again, weights, outputs=("y", "z")))
    assert ov.kinds(ov.read([product, plus], weights, outputs=("y", "m"))) == ["Input", "Dense", "Affine"]
    image = [node("Conv", ["x", "k"], "c"), node("Add", ["c", "d"], "y")]
    constants = {"k": normal("k", 3, 2, 1, 1), "d": normal("d", 3, 1, 1)}
    network = ov.read(image, constants, shape=("N", 2, 4, 4))
    assert ov.kinds(network) == ["Input", "Take", "Conv", "Take"]
    assert isinstance(network.layers[2], model.Conv)
    np.testing.assert_array_equal(network.layers[2].bias, constants["d"].ravel())
