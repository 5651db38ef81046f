# SPDX-License-Identifier: Apache-2.0
"""Quantizers: spellings, the numbers they give, and what is refused."""

from __future__ import annotations

from fractions import Fraction

import fixtures_models as fm
import numpy as np
import pytest

from l1ml.errors import ModelError
from l1ml.frontends import qkeras, qonnx, spelling
from l1ml.frontends.canonical import Identity
from l1ml.graph import model
from l1ml.types.fixed import quantize

VECTORS = fm.SHARED / "data" / "quantizers" / "qkeras_vectors.npz"


def weights(text, raw, *, kernel=True):
    return qkeras.weights(spelling.call(text), np.asarray(raw, np.float32), kernel=kernel, source="m.h5")[0]


def activation(value):
    return qkeras.activation(spelling.call(value), "a", "x", "m.h5")


@pytest.mark.skipif(not VECTORS.exists(), reason="no vectors of QKeras beside the checkout")
@pytest.mark.parametrize("role", ["kernel", "bias"])
@pytest.mark.parametrize(
    "text", ["quantized_bits(4,0,alpha='auto_po2')", "quantized_bits(6,1,alpha='auto_po2')"]
)
def test_auto_po2_equals_qkeras(role, text):
    with np.load(VECTORS) as vectors:
        raw, expected = vectors[f"in/{role}"], vectors[f"{role}/{text}"]
    np.testing.assert_array_equal(weights(text, raw, kernel=role == "kernel"), expected)


def test_a_kernel_without_alpha_means_auto_po2_and_a_bias_does_not():
    raw = np.random.default_rng(3).normal(0, 0.02, (16, 4))
    automatic = weights("quantized_bits(4,0,alpha='auto_po2')", raw)
    np.testing.assert_array_equal(weights("quantized_bits(4,0)", raw), automatic)
    assert not np.array_equal(weights("quantized_bits(4,0)", raw, kernel=False), automatic)


def exact_bits(value, width, integer, symmetric, negative):
    """quantized_bits in rational arithmetic, as its definition reads."""
    low = -(2 ** (width - 1)) + symmetric if negative else 0
    top = 2 ** (width - negative) - 1
    lsb = Fraction(2) ** (integer - (width - negative))
    code = min(max(round(Fraction(value) / lsb), low), top)  # round() of a Fraction is half to even
    return float(code * lsb)


@pytest.mark.parametrize("width", [2, 3, 6])
@pytest.mark.parametrize("integer", [-2, 0, 1, 5, 8])
@pytest.mark.parametrize("symmetric", [0, 1])
@pytest.mark.parametrize("negative", [True, False])
def test_quantized_bits_on_a_grid_with_ties(width, integer, symmetric, negative):
    lsb = 2.0 ** (integer - width)
    x = np.arange(-(2 ** (width + 2)), 2 ** (width + 2) + 1) * lsb / 2
    x = np.concatenate([x, np.nextafter(x.astype(np.float32), np.float32(np.inf))]).astype(np.float32)
    expected = [exact_bits(float(v), width, integer, symmetric, negative) for v in x]
    config = fm.bits(width, integer, symmetric=symmetric, keep_negative=negative)
    np.testing.assert_array_equal(weights(config, x), expected)
    (layer,) = activation(config)
    np.testing.assert_array_equal(quantize(x, layer.quantizer), expected)


@pytest.mark.parametrize(("width", "integer"), [(1, 0), (4, 2), (6, 0), (8, -1), (3, 5)])
def test_quantized_relu_is_unsigned_half_even_saturating(width, integer):
    (layer,) = activation(fm.relu(width, integer))
    assert str(layer.quantizer) == f"ufixed<{width},{integer},RND_CONV,SAT>"
    if (width, integer) == (4, 2):
        ties = quantize([0.125, 0.375, 0.625, 99.0, -1.0], layer.quantizer)
        np.testing.assert_array_equal(ties, [0, 0.5, 0.5, 3.75, 0])


def test_one_signed_bit_is_the_sign_and_zero_counts_as_positive():
    np.testing.assert_array_equal(weights(fm.bits(1, alpha=0.5), [-0.1, 0.0, 3.0]), [-0.5, 0.5, 0.5])
    (layer,) = activation(fm.bits(1))
    assert isinstance(layer, model.Sign)
    assert layer.scale == 1.0


def test_numeric_alpha_multiplies_the_result_and_does_not_divide_the_input():
    raw = [0.3, -0.3, 5.0]
    np.testing.assert_array_equal(weights(fm.bits(4, 0, alpha=2.0), raw), [0.5, -0.5, 1.75])
    np.testing.assert_array_equal(
        weights(fm.bits(4, 0, alpha=0.75), raw), np.array([0.25, -0.25, 0.875]) * 0.75
    )
    first, second = activation(fm.bits(4, 0, alpha=2.0))
    assert (first.name, second.name, second.inputs) == ("a.quantized", "a", ("a.quantized",))
    y = quantize(raw, first.quantizer).astype(np.float32) * second.scale + second.offset
    np.testing.assert_array_equal(y, [0.5, -0.5, 1.75])


@pytest.mark.parametrize("width", [1, 2, 4, 8])
@pytest.mark.parametrize("kernel", [True, False])
@pytest.mark.parametrize("alpha", [0.3, -0.3, 1 + 2.0**-12, [[1.0, 0.3]]])
def test_an_alpha_that_is_no_short_binary_fraction_is_refused_at_every_width(width, kernel, alpha):
    with pytest.raises(ModelError, match="train with alpha=1") as error:
        weights(fm.bits(width, 0, symmetric=1, alpha=alpha), [[0.25, 0.75]], kernel=kernel)
    assert "not a power of two" in error.value.what


@pytest.mark.parametrize("alpha", [0.75, -0.375, 1 + 2.0**-11, 3 * 2.0**30, 0.0])
def test_an_alpha_that_is_a_short_binary_fraction_is_exact(alpha):
    np.testing.assert_array_equal(weights(fm.bits(1, alpha=alpha), [0.5, -0.5]), [alpha, -alpha])
    np.testing.assert_array_equal(weights(fm.bits(4, alpha=alpha), [0.5, -0.25]), [alpha / 2, -alpha / 4])


def test_an_alpha_beyond_float32_is_refused():
    with pytest.raises(ModelError, match="beyond the range"):
        weights(fm.bits(1, alpha=1e39), [0.5])


def test_alpha_per_channel():
    kernel = weights(fm.bits(4, 0, alpha=[[0.5, 4.0]]), [[0.25, 0.25], [-1.0, -1.0]])
    np.testing.assert_array_equal(kernel, [[0.125, 1.0], [-0.5, -4.0]])


def test_a_stored_scale_is_used_as_it_is():
    config = fm.bits(4, 0, alpha="auto_po2", post_training_scale=[[1.0, 0.25]])
    np.testing.assert_array_equal(
        weights(config, [[0.3125, 0.3125], [-9.0, -9.0]]), [[0.375, 0.21875], [-0.875, -0.21875]]
    )


def test_a_scale_on_the_edge_between_two_powers_of_two_is_refused():
    edge = 7 * 2.0**-3.5  # code 7 at the scale 1/16 as good as code 5 at the scale 1/8
    outcomes = set()
    for step in range(-400, 401):
        value = np.float32(edge * (1 + step * 1e-7))
        try:
            outcomes.add(float(weights("quantized_bits(4,0)", [[value]])[0, 0]))
        except ModelError as error:
            assert "depends on the machine" in error.what
            outcomes.add("refused")
    assert outcomes == {7 / 16, "refused", 5 / 8}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("quantized_relu(6)", {"bits": 6}),
        ("quantized_relu( 6, 2 )", {"bits": 6, "integer": 2}),
        ("quantized_bits(8,0,alpha=1)", {"bits": 8, "integer": 0, "alpha": 1}),
        ("quantized_bits(8,0,1,keep_negative=False,alpha='auto_po2')",
         {"bits": 8, "integer": 0, "symmetric": 1, "keep_negative": False, "alpha": "auto_po2"}),
        ("quantized_bits(bits=4, alpha=None)", {"bits": 4, "alpha": None}),
        ("quantized_bits(4,0,alpha=[1 0.5])", {"bits": 4, "integer": 0, "alpha": [1, 0.5]}),
        ("quantized_relu", {}),
        ("quantized_bits()", {}),
        ({"class_name": "function", "config": "relu", "registered_name": "function"}, {}),
        ({"class_name": "qkeras>quantized_relu", "config": {"bits": 3}}, {"bits": 3}),
        ({"module": "qkeras.quantizers", "class_name": "quantized_bits", "config": {"bits": 3, "name": "q"}},
         {"bits": 3}),
    ],
)  # fmt: skip
def test_spellings(value, expected):
    assert dict(spelling.call(value).options) == expected


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("quantized_bits(8", "cannot read"),
        ("quantized_bits(8,0,alpha=1,0)", "cannot read argument 4"),
        ("quantized_bits(8,bits=8)", "gives bits twice"),
        ("quantized_bits(8,alpha=__import__)", "cannot read '__import__'"),
        ("quantized_relu(quantized_bits(8, 0, alpha=1), 0)", "nests calls"),
        ("quantized_relu(1,2,3,4,5,6,7,8,9,10,11,12,13)", "cannot read argument 13"),
        ("__import__('os').system('true')", "nests calls|cannot read|__import__"),
        ("ternary", "ternary"),
        ("tanh", "tanh"),
        ("x" * 2000, "cannot read the text"),
        ({"class_name": "quantized_bits", "config": {"bits": 3, "fancy": 1}}, "options unknown here: fancy"),
        ({"module": "hgq.quantizer", "class_name": "quantized_bits", "config": {}}, "quantized_bits of hgq"),
        ({"class_name": "quantized_bits", "config": [1]}, "arguments"),
        ({"config": {}}, "of the form"),
        (7, "of the form"),
    ],
)
def test_unreadable_spellings_are_refused(value, reason):
    with pytest.raises(ModelError, match=reason):
        spelling.call(value)


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        (fm.bits(1, alpha="auto_po2"), "one bit leaves no levels"),
        (fm.bits(4, alpha="auto"), "no powers of two"),
        (fm.bits(4, alpha="automatic"), "alpha='automatic'"),
        (fm.bits(4, alpha=0.1), "not a power of two"),
        (fm.bits(16, alpha=1 + 2.0**-11), "weights are wide"),
        (fm.bits(4, alpha=[1.0, 2.0, 3.0]), "alpha of shape"),
        (fm.bits(4, alpha=[]), "empty"),
        (fm.bits(4, alpha=[["a"]]), "not an array of numbers"),
        (fm.bits(0), "0 bits"),
        (fm.bits(400), "400 bits"),
        (fm.bits(4, 1000), "integer=1000"),
        (fm.bits(2.5), "bits of quantized_bits is 2.5; expected a whole number"),
        (fm.bits(4, symmetric=3), "expected true or false"),
        (fm.bits(4, elements_per_scale=2), "elements_per_scale"),
        (fm.bits(4, scale_axis=0), "scale_axis=0"),
        (fm.bits(4, alpha="auto_po2", post_training_scale=[[0.3]]), "not a power of two"),
        (fm.bits(4, alpha="auto_po2", post_training_scale=[[1.0, 1.0, 1.0]]), "post_training_scale of shape"),
        (fm.relu(4), "weights quantized by quantized_relu"),
    ],
)
def test_weights_off_any_grid_are_refused(config, reason):
    with pytest.raises(ModelError, match=reason):
        weights(config, [[0.3, 0.7], [0.1, -0.4]])


def test_noise_is_refused():
    config = fm.bits(4)
    config["config"]["qnoise_factor"] = 0.5
    with pytest.raises(ModelError, match=r"qnoise_factor=0\.5"):
        weights(config, [0.3])


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (fm.bits(4, alpha="auto_po2"), "scales every event by itself"),
        (fm.bits(4, alpha=0.3), "one power of two"),
        (fm.bits(4, alpha=[1.0, 2.0]), "one power of two"),
        (fm.bits(4, alpha=-1.0), "one power of two"),
        (fm.relu(4, negative_slope=0.25), r"negative_slope=0\.25"),
        (fm.relu(4, use_sigmoid=1), "use_sigmoid"),
        (fm.relu(6, 3, relu_upper_bound=6, is_quantized_clip=False), "relu_upper_bound=6"),
        (fm.relu(6, qnoise_factor=0.0), "qnoise_factor=0"),
        (fm.relu(4, "one"), "integer of quantized_relu is 'one'"),
        ("relu(0.1)", r"negative_slope=0\.1"),
        ("softmax(axis=1)", "axis"),
    ],
)
def test_activations_without_exact_form_are_refused(value, reason):
    with pytest.raises(ModelError, match=reason):
        activation(value)


def test_an_upper_bound_that_qkeras_ignores_is_ignored():
    (layer,) = activation(fm.relu(6, 3, relu_upper_bound=6))
    assert str(layer.quantizer.type) == "ufixed<6,3>"


@pytest.mark.parametrize(
    ("value", "kind"),
    [(None, Identity), ("linear", Identity), ("relu", model.Relu), ("softmax", model.Softmax)],
)
def test_plain_activations(value, kind):
    (layer,) = activation(value)
    assert isinstance(layer, kind)


def quant(width, *, scale=0.5, zero=0.0, signed=True, narrow=False, rounding="ROUND"):
    return qonnx.Quant.of(
        np.float32(scale),
        np.float32(zero),
        np.float32(width),
        signed=signed,
        narrow=narrow,
        rounding=rounding,
    )


@pytest.mark.parametrize(
    ("rounding", "codes"),
    [
        ("ROUND", [-2, -2, 0, 0, 2, 2]),
        ("half_even", [-2, -2, 0, 0, 2, 2]),
        ("FLOOR", [-3, -2, -1, 0, 1, 2]),
        ("DOWN", [-2, -1, 0, 0, 1, 2]),
        ("HALF_UP", [-3, -2, -1, 1, 2, 3]),
        ("HALF_DOWN", [-2, -1, 0, 0, 1, 2]),
    ],
)
def test_qonnx_roundings_on_ties(rounding, codes):
    ties = np.array([-2.5, -1.5, -0.5, 0.5, 1.5, 2.5]) * 0.5
    found = quant(4, rounding=rounding)
    np.testing.assert_array_equal(found.values(ties), np.array(codes) * 0.5)
    np.testing.assert_array_equal(quantize(ties, found.layer("q", "x").quantizer), np.array(codes) * 0.5)


@pytest.mark.parametrize(
    ("rounding", "codes"),
    [("CEIL", [-8, -2, -1, 0, 0, 1, 2, 3, 7]), ("up", [-8, -3, -2, -1, 0, 1, 2, 3, 7])],
)
def test_qonnx_roundings_for_constants_only(rounding, codes):
    found = quant(4, rounding=rounding)
    x = np.array([-99, -2.5, -1.1, -0.5, 0, 0.01, 1.5, 3.0, 99]) * 0.5
    np.testing.assert_array_equal(found.values(x), np.array(codes) * 0.5)
    with pytest.raises(ModelError, match=f"rounding mode {rounding.upper()} on data"):
        found.layer("q", "x")


@pytest.mark.parametrize(
    ("signed", "narrow", "lo", "hi"), [(True, False, -8, 7), (True, True, -7, 7), (False, False, 0, 15)]
)
def test_qonnx_ranges(signed, narrow, lo, hi):
    found = quant(4, signed=signed, narrow=narrow)
    np.testing.assert_array_equal(found.values(np.array([-99.0, 99.0])), np.array([lo, hi]) * 0.5)
    np.testing.assert_array_equal(
        quantize([-99.0, 99.0], found.layer("q", "x").quantizer), np.array([lo, hi]) * 0.5
    )


def test_qonnx_unsigned_narrow_constants_lose_the_top_code_and_data_is_refused():
    found = quant(4, signed=False, narrow=True)
    np.testing.assert_array_equal(found.values(np.array([99.0])), [7.0])
    with pytest.raises(ModelError, match="unsigned and narrow"):
        found.layer("q", "x")


def test_qonnx_one_signed_bit_is_the_sign():
    found = quant(1, scale=0.25, narrow=True, rounding="FLOOR")
    np.testing.assert_array_equal(found.values(np.array([-0.1, 0.0, 9.0])), [-0.25, 0.25, 0.25])
    layer = found.layer("q", "x")
    assert isinstance(layer, model.Sign)
    assert layer.scale == 0.25


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"scale": 0.3}, r"not a power of two \(0\.3\)"),
        ({"scale": -0.5}, "not a power of two"),
        ({"scale": 0.0}, "not a power of two"),
        ({"zero": 1.0}, "zero point"),
        ({"width": 2.5}, "bit width of 2.5"),
        ({"width": 0}, "bit width"),
        ({"width": 99}, "bit width"),
        ({"rounding": "STOCHASTIC"}, "rounding mode STOCHASTIC"),
    ],
)
def test_qonnx_off_any_grid_is_refused(options, reason):
    with pytest.raises(ModelError, match=reason):
        quant(options.pop("width", 4), **options)


def test_qonnx_scale_per_channel_is_for_constants_only():
    found = qonnx.Quant.of(
        np.array([0.5, 0.25]), np.float32(0), np.float32(4), signed=True, narrow=False, rounding="ROUND"
    )
    np.testing.assert_array_equal(found.values(np.array([[0.3, 0.3]])), [[0.5, 0.25]])
    with pytest.raises(ModelError, match="scale per channel on data"):
        found.layer("q", "x")
    with pytest.raises(ModelError, match="a scale of shape"):
        found.values(np.zeros((2, 3)))
