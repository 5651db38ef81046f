# SPDX-License-Identifier: Apache-2.0
"""Real-valued scales: the integer form gives the framework's float32 result for every input code."""

from __future__ import annotations

import networks
import numpy as np
import pytest

from l1ml.errors import ModelError
from l1ml.graph import model, primitives
from l1ml.graph.emulate import Emulator
from l1ml.types.fixed import Quantizer, quantize


def _network(scale: np.ndarray, offset: np.ndarray, quantizer: str, relu: bool = False) -> model.Model:
    layers: list[model.Layer] = [
        model.Input("x", (), (len(scale),)),
        model.Affine("bn", ("x",), scale.astype(np.float32), offset.astype(np.float32)),
    ]
    if relu:
        layers.append(model.Relu("relu", ("bn",)))
    layers.append(model.Quantize("q", (layers[-1].name,), Quantizer.parse(quantizer)))
    return model.Model("bn", tuple(layers), ("q",))


def _check(net: model.Model, input_type: str) -> str:
    program = networks.program(net, input_type)
    kind = program.inputs[0].type
    codes = np.arange(int(kind.lo[0]), int(kind.hi[0]) + 1)[:, None].repeat(kind.size, axis=1)
    (x,) = networks.values(program, [codes])
    bn, last = net.layers[1], net.layers[-1]
    assert isinstance(bn, model.Affine)
    assert isinstance(last, model.Quantize)
    y = x.astype(np.float32) * bn.scale + bn.offset
    if isinstance(net.layers[2], model.Relu):
        y = np.maximum(y, np.float32(0))
    expected = quantize(y, last.quantizer)
    for engine in ("native", "array", "reference"):
        np.testing.assert_array_equal(Emulator(program, engine).values([x])[0], expected)  # type: ignore[arg-type]
    return type(program.steps[0].op).__name__


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(
    "quantizer", ["ufixed<4,1,RND_CONV,SAT>", "fixed<5,2,TRN,SAT>", "fixed<4,0,RND,SAT_SYM>"]
)
@pytest.mark.parametrize("relu", [False, True])
def test_every_code_equals_float32(seed: int, quantizer: str, relu: bool) -> None:
    rng = np.random.default_rng(seed)
    scale, offset = rng.normal(0, 1, 4), rng.normal(0, 0.5, 4)
    scale[3] = 0.0
    _check(_network(scale, offset, quantizer, relu), "fixed<9,3>")


def test_simple_scales_need_no_thresholds() -> None:
    assert (
        _check(_network(np.array([0.75, -0.5]), np.array([0.125, 0.0]), "fixed<6,2,TRN,SAT>"), "fixed<8,3>")
        == "Rescale"
    )


def test_half_even_ties_fall_back_to_thresholds() -> None:
    assert (
        _check(_network(np.array([0.5]), np.array([0.0]), "fixed<6,3,RND_CONV,SAT>"), "fixed<8,3>") == "Steps"
    )


def test_negative_scale_counts_down() -> None:
    _check(_network(np.array([-0.3, -2.0]), np.array([0.1, 0.0]), "fixed<4,2,RND_CONV,SAT>"), "fixed<7,3>")


def test_affine_without_quantizer_is_exact_or_refused() -> None:
    def net(scale: float) -> model.Model:
        bn = model.Affine("bn", ("x",), np.float32([scale]), np.float32([0.25]))
        return model.Model("bn", (model.Input("x", (), (1,)), bn), ("bn",))

    program = networks.program(net(0.75), "fixed<6,2>")
    assert isinstance(program.steps[0].op, primitives.ConstMatmul)
    with pytest.raises(ModelError, match="float32"):
        networks.program(net(1 / 3), "fixed<6,2>")


def test_sign_layer() -> None:
    net = model.Model("s", (model.Input("x", (), (2,)), model.Sign("sign", ("x",), 0.5)), ("sign",))
    program = networks.program(net, "fixed<3,2>")
    (x,) = networks.values(program, networks.random_codes(program, 50))
    np.testing.assert_array_equal(Emulator(program).values([x])[0], np.where(x >= 0, 0.5, -0.5))
