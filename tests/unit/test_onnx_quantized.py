# SPDX-License-Identifier: Apache-2.0
"""Quantized ONNX models: integer for integer what qonnx and ONNX Runtime give, or refused with a reason."""

from __future__ import annotations

import numpy as np
import onnx_vectors as ov
import pytest
from onnx import TensorProto, helper
from onnx_vectors import QONNX, node, normal, quant
from onnx_vectors import onnx_quantized as oq

from l1ml.errors import ModelError
from l1ml.frontends.onnx import qonnx
from l1ml.frontends.onnx.functions import MODES, rounded
from l1ml.graph import model

CASES = [(family, case) for family, case in ov.quantized_cases() if ov.recorded(family, case) is not None]
REAL_SCALES = ("real", "0.1", "0.3", "_two", "channels", "QLinear", "QGemm", "Multi")
"""Words in the names of models that have a scale that is no power of two."""


def same_codes(made: np.ndarray, wanted: np.ndarray) -> int:
    """Count values that stand for another code.

    A code times a scale that is no power of two is real, and the block may give it on a grid of its own;
    all scales here are so large that the next code is much farther away.
    """
    wanted = wanted.astype(np.float64)
    return int((np.abs(made.reshape(wanted.shape) - wanted) > 4e-6 * np.maximum(1, np.abs(wanted))).sum())


@pytest.mark.parametrize(("family", "case"), CASES, ids=[f"{f}-{c.name}" for f, c in CASES])
def test_the_real_reading_is_that_of_the_reference(family, case):
    if case.name == "QLinearAveragePool":
        pytest.skip("a mean of codes lies on ties; ONNX Runtime's order of summation is not known")
    made = ov.reals(ov.read_case(case), *ov.events(family, case))[0]
    np.testing.assert_array_equal(made, ov.recorded(family, case)[0].reshape(made.shape).astype(np.float32))


@pytest.mark.parametrize("family", ["qdq", "qlinear", "qonnx", "quant"])
def test_the_exact_reading_gives_every_code_or_refuses(family, capsys):
    exact = refused = values = 0
    for case in (case for name, case in CASES if name == family):
        network = ov.read_case(case)
        try:
            made = ov.exact(network, case.types, *ov.events(family, case))[0]
        except ModelError as error:
            assert any(word in case.name for word in REAL_SCALES), f"{case.name}: {error}"
            assert error.fix
            refused += 1
            continue
        wanted = ov.recorded(family, case)[0]
        assert same_codes(made, wanted) == 0, case.name
        fused = ov.recorded(family, case, "fused")
        if fused is not None:  # ONNX Runtime replaces Q, DQ and the layer between them by integer arithmetic
            assert same_codes(made, fused[0]) == 0, case.name
        exact, values = exact + 1, values + wanted.size
    with capsys.disabled():
        print(f"\n{family}: {exact} models exact ({values} values), {refused} refused")
    assert exact >= 20
    assert refused <= exact / 5


def test_a_wrong_rounding_would_be_seen():
    """Ties are in the grid: every two modes differ on it, unless they mean the same."""
    answers = {mode: ov.recorded("quant", oq_case(f"{mode}_10"))[0] for mode in MODES}
    for mode in MODES:
        for other in MODES:
            if mode != other and {mode, other} != {"ROUND", "HALF_EVEN"}:
                assert (answers[mode] != answers[other]).any()


def oq_case(name):
    return next(case for case in oq.quants() if case.name == name)


@pytest.mark.parametrize("mode", MODES)
def test_rounding_of_constants(mode):
    """Weights are rounded at import: they must come out as the data do."""
    case = oq_case(f"{mode}_10")
    made, extra = quant("w", "k", 0.25, 4, rounding_mode=mode)
    network = ov.read([(made, extra), node("MatMul", ["x", "w"], "y")], {"k": oq.GRID.reshape(4, -1)})
    np.testing.assert_array_equal(network.layers[1].kernel.reshape(16, 64), ov.recorded("quant", case)[0])
    assert network.layers[1].exact


@pytest.mark.parametrize("mode", MODES)
def test_rounding_by_hand(mode):
    x = np.array([-2.5, -1.5, -1.25, -0.5, 0.0, 0.5, 0.75, 1.5, 2.5])
    expected = {
        "ROUND": [-2, -2, -1, 0, 0, 0, 1, 2, 2],
        "CEIL": [-2, -1, -1, 0, 0, 1, 1, 2, 3],
        "FLOOR": [-3, -2, -2, -1, 0, 0, 0, 1, 2],
        "UP": [-3, -2, -2, -1, 0, 1, 1, 2, 3],
        "DOWN": [-2, -1, -1, 0, 0, 0, 0, 1, 2],
        "HALF_UP": [-3, -2, -1, -1, 0, 1, 1, 2, 3],
        "HALF_DOWN": [-2, -1, -1, 0, 0, 0, 1, 1, 2],
    }
    np.testing.assert_array_equal(rounded(x, mode), expected["ROUND" if mode == "HALF_EVEN" else mode])


def test_matmul_add_relu_quant_softmax_has_the_layers_of_the_keras_twin():
    nodes = [
        quant("qk", "k", 1 / 32, 6),
        quant("qb", "b", 1 / 32, 6),
        node("MatMul", ["x", "qk"], "mm"),
        node("Add", ["qb", "mm"], "sum"),
        node("Relu", ["sum"], "relu"),
        quant("act", "relu", 1 / 64, 6, signed=0),
        node("Softmax", ["act"], "y"),
    ]
    network = ov.read(nodes, {"k": normal("k", 4, 6), "b": normal("b", 6)})
    assert [layer.name for layer in network.layers] == ["x", "Add_sum", "act", "Softmax_y"]
    assert ov.kinds(network) == ["Input", "Dense", "Quantize", "Softmax"]
    assert str(network.layers[2].quantizer) == "ufixed<6,0,RND_CONV,SAT>"
    assert network.layers[1].exact
    assert [key for key, _ in network.layers[1].quantizers] == ["kernel", "bias"]


@pytest.mark.parametrize("domain", qonnx.DOMAINS)
@pytest.mark.parametrize("kind", ["Quant", "IntQuant"])
def test_every_name_of_the_domain(domain, kind):
    network = ov.read([quant("y", "x", 0.25, 4, domain=domain, narrow=1, kind=kind)])
    assert str(network.layers[1].quantizer) == "fixed<4,2,RND_CONV,SAT_SYM>"


def test_weights_keep_codes_and_scale():
    """A scale that is no power of two stays beside whole numbers, through transposes and reshapes."""
    scale = np.array([0.3, 0.1, 0.7, 0.2, 0.5, 0.9], np.float32)
    made, constants = oq.quant("k", "qk", scale.reshape(6, 1), 5)
    nodes = [
        made,
        node("Transpose", ["qk"], "t", perm=[1, 0]),
        node("Unsqueeze", ["t", "zero"], "u"),
        node("Reshape", ["u", "shape"], "r"),
        node("MatMul", ["x", "r"], "y"),
    ]
    more = {"k": normal("k", 6, 4), "zero": np.array([0]), "shape": np.array([4, 6])}
    dense = ov.read(nodes, constants | more).layers[1]
    np.testing.assert_array_equal(dense.scale, scale.astype(np.float64))
    np.testing.assert_array_equal(dense.kernel, np.rint(dense.kernel))
    assert dense.exact
    assert np.abs(dense.kernel).max() <= 16
    expected = np.clip(np.rint(more["k"] / scale[:, None]), -16, 15).T
    np.testing.assert_array_equal(dense.kernel, expected)


def test_a_scale_per_input_of_the_weights_is_refused():
    made, constants = oq.quant("k", "qk", np.array([0.3, 0.1, 0.7, 0.2], np.float32).reshape(4, 1), 5)
    with pytest.raises(ModelError, match="differs along the axis that is summed"):
        ov.read([made, node("MatMul", ["x", "qk"], "y")], constants | {"k": normal("k", 4, 6)})


def test_scales_multiplied_by_hand():
    """Whole numbers times a scale, as old exporters write weights."""
    nodes = [
        node("Cast", ["k"], "kf", to=TensorProto.FLOAT),
        node("Sub", ["kf", "zero"], "kz"),
        node("Mul", ["kz", "s"], "w"),
        node("MatMul", ["x", "w"], "y"),
    ]
    codes = np.rint(normal("k", 4, 6) * 20).astype(np.int8)
    for scale, kept in ((0.3, True), (0.25, False)):
        dense = ov.read(nodes, {"k": codes, "zero": np.float32(2), "s": np.float32(scale)}).layers[1]
        assert (dense.scale is not None) == kept
        assert dense.exact
        real = dense.kernel if dense.scale is None else dense.kernel * dense.scale
        np.testing.assert_allclose(real, (codes.astype(float) - 2) * scale, rtol=1e-6)


def test_floats_are_not_exact_but_whole_numbers_are():
    assert not ov.read([node("MatMul", ["x", "k"], "y")], {"k": normal("k", 4, 6)}).layers[1].exact
    whole = np.rint(normal("k", 4, 6) * 9).astype(np.float32)
    assert ov.read([node("MatMul", ["x", "k"], "y")], {"k": whole}).layers[1].exact
    half = ov.read(
        [quant("qk", "k", 1 / 32, 6), node("Gemm", ["x", "qk", "b"], "y")],
        {"k": normal("k", 4, 6), "b": normal("b", 6)},
    )
    assert not half.layers[1].exact
    assert [key for key, _ in half.layers[1].quantizers] == ["kernel"]


def test_a_pair_of_quantize_and_dequantize_is_one_quantizer():
    nodes, constants = oq.pair("x", "y", 0.25, 0)
    network = ov.read(nodes, constants)
    assert ov.kinds(network) == ["Input", "Quantize"]
    assert str(network.layers[1].quantizer) == "fixed<8,6,RND_CONV,SAT>"
    nodes, constants = oq.pair("x", "y", 0.25, 7)
    network = ov.read(nodes, constants)
    assert ov.kinds(network) == ["Input", "QuantizeEach"]
    assert (int(network.layers[1].grid.lo), int(network.layers[1].grid.hi)) == (-135, 120)


@pytest.mark.parametrize(
    ("bounds", "lo", "hi"), [(["lo"], -0.5, 99), (["", "hi"], -99, 2), (["zero"], 0, 99)]
)
def test_a_clip_with_one_bound_is_exact(bounds, lo, hi):
    constants = {"lo": np.float32(-0.5), "hi": np.float32(2), "zero": np.float32(0)}
    nodes = [node("Clip", ["x", *bounds], "c"), quant("y", "c", 0.25, 8)]
    used = {name: constants[name] for name in bounds if name}
    x = oq.GRID[:, :4]
    made = ov.exact(ov.read(nodes, used), oq.GRID_TYPE, x)[0]
    np.testing.assert_array_equal(made, np.rint(np.clip(x, lo, hi) * 4) / 4)


def test_a_clip_between_them_narrows_it():
    first, c = oq.q("x", "a", 0.25, 0)
    last, d = oq.dq("b", "y", 0.25, 0)
    nodes = [first, node("Clip", ["a", "lo", "hi"], "b"), last]
    network = ov.read(nodes, c | d | {"lo": np.int8(-8), "hi": np.int8(7)})
    assert [str(layer.quantizer) for layer in network.layers[1:]] == ["fixed<4,2,RND_CONV,SAT>"]


def test_integer_inputs_have_a_type_of_their_own():
    last, constants = oq.dq("x", "y", 0.5, 0, kind="int16")
    network = ov.read([last], constants, kind=TensorProto.INT16)
    assert str(network.inputs[0].quantizer) == "fixed<16,16,TRN,WRAP>"
    wide = ov.read([node("Cast", ["x"], "y", to=TensorProto.FLOAT)], kind=TensorProto.INT64)
    assert wide.inputs[0].quantizer is None


def test_padding_is_done_with_the_zero_point():
    """Codes with a zero point are padded with that, not with the code 0."""
    case = next(c for c in oq.qlinear() if c.name == "QLinearConv_po2")
    network = ov.read_case(case)
    assert any(isinstance(layer, model.Map) and "centred" in layer.name for layer in network.layers)
    assert next(layer for layer in network.layers if isinstance(layer, model.Conv)).padding == (
        (1, 0),
        (0, 1),
    )


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        (quant("y", "x", 0.0, 4), "a scale or zero point that is 0"),
        (quant("y", "x", 0.5, 2.5), "a bit width of 2.5"),
        (quant("y", "x", 0.5, 0), "a bit width of 0"),
        (quant("y", "x", 0.5, 99), "a bit width of 99"),
        (
            quant("y", "x", 0.5, 4, rounding_mode="STOCHASTIC"),
            "rounding mode STOCHASTIC; supported are ROUND",
        ),
        (quant("y", "x", 0.5, 4, domain="somewhere.else"), r"y \(Quant of somewhere\.else\)"),
        (quant("y", "x", 0.5, 4, mystery=1), "attributes that are not known here: mystery"),
        (helper.make_node("FloatQuant", ["x"] * 7, ["y"], name="y", domain=QONNX), "minifloats"),
        (
            helper.make_node("DynamicQuantizeLinear", ["x"], ["y", "s", "z"], name="y"),
            "depends on the data of each event",
        ),
    ],
)
def test_what_has_no_exact_form_is_refused_with_the_reason(made, reason):
    with pytest.raises(ModelError, match=r"1 layer is not supported") as error:
        ov.read([made])
    assert error.match(reason)


def test_a_scale_per_block_on_data_is_refused():
    first, constants = oq.q("x", "a", np.full((1, 2), 0.5), np.zeros((1, 2)), block_size=2)
    last, more = oq.dq("a", "y", np.full((1, 2), 0.5), np.zeros((1, 2)), block_size=2)
    with pytest.raises(ModelError, match="scale per block on data"):
        ov.read([first, last], constants | more, opset=21)


@pytest.mark.parametrize("opset", [10, 13, 19, 21, 23, 25])
def test_pairs_of_every_version(opset):
    nodes, constants = oq.pair("x", "y", 0.25, 3, kind="uint8")
    network = ov.read(nodes, constants, opset=opset)
    x = oq.GRID[:, :4]
    np.testing.assert_array_equal(
        ov.reals(network, x)[0], (np.clip(np.rint(x / 0.25) + 3, 0, 255) - 3) * 0.25
    )


@pytest.mark.parametrize(("kind", "lo", "hi"), [("INT2", -2, 1), ("UINT2", 0, 3)])
def test_two_bits(kind, lo, hi):
    number = getattr(TensorProto, kind, None)
    if number is None:
        pytest.skip("this version of onnx has no types of 2 bits")
    zero = helper.make_tensor("z", number, [], [0])
    nodes = [node("QuantizeLinear", ["x", "s", "z"], "q"), node("DequantizeLinear", ["q", "s", "z"], "y")]
    network = ov.read(nodes, {"s": np.float32(0.5), "z": zero}, opset=25)
    x = oq.GRID[:, :4]
    np.testing.assert_array_equal(ov.reals(network, x)[0], np.clip(np.rint(x * 2), lo, hi) / 2)


def test_blocks_of_scales_are_for_weights():
    codes = np.arange(24).reshape(4, 6).astype(np.int8)
    scale = np.array([[1, 2, 4, 8, 16, 32], [2, 2, 2, 2, 2, 2]], np.float32) / 64
    made = node("DequantizeLinear", ["c", "s"], "w", axis=0, block_size=2)
    network = ov.read([made, node("MatMul", ["x", "w"], "y")], {"c": codes, "s": scale}, opset=21)
    np.testing.assert_array_equal(network.layers[1].kernel, codes * np.repeat(scale, 2, axis=0).astype(float))


def test_codes_as_the_result():
    first, constants = oq.q("x", "y", 0.25, 7, kind="uint8")
    network = ov.read([first], constants)
    x = oq.GRID[:, :4]
    expected = np.clip(np.rint(x / 0.25) + 7, 0, 255)
    np.testing.assert_array_equal(ov.reals(network, x)[0], expected)
    np.testing.assert_array_equal(ov.exact(network, oq.GRID_TYPE, x)[0], expected)


def test_constants_beside_the_results_are_left_out():
    """Brevitas writes scale, zero point and bit width of a quantized result as outputs."""
    network = ov.read([quant("y", "x", 0.25, 4)], outputs=("y", "y_scale", "y_zero", "y_bits"))
    assert network.outputs == ("y",)


@pytest.mark.parametrize("scale", [0.11, 0.125])
def test_sums_between_dequantize_and_quantize_are_whole_numbers(scale):
    before, c = oq.pair("x", "a", scale, 5, kind="uint8")
    weight, w = oq.dq("wc", "w", 0.037, 0)
    bias, b = oq.dq("bc", "b", np.float32(scale) * np.float32(0.037), 0, kind="int32")
    after, y = oq.pair("r", "y", 0.43, 0, kind="uint8")
    nodes = [*before, weight, bias, node("Gemm", ["a", "w", "b"], "g"), node("Relu", ["g"], "r"), *after]
    codes = np.rint(normal("w", 4, 3) * 100).astype(np.int8)
    constants = c | w | b | y | {"wc": codes, "bc": np.array([100, -70, 3], np.int32)}
    dense = next(layer for layer in ov.read(nodes, constants).layers if isinstance(layer, model.Dense))
    assert dense.scale is None
    assert dense.exact
    np.testing.assert_array_equal(dense.kernel, codes.astype(float))
    unit = 1.0 if scale == 0.11 else 0.125  # codes of a binary scale carry it themselves
    np.testing.assert_array_equal(dense.bias, np.array([100, -70, 3]) * unit)
