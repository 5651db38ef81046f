# SPDX-License-Identifier: Apache-2.0
"""Real-valued scales: the integer form gives the framework's float32 result for every input code."""

from __future__ import annotations

import networks
import numpy as np
import pytest

from l1ml.errors import ModelError
from l1ml.graph import forms, functions, model, primitives, unary
from l1ml.graph.emulate import Emulator
from l1ml.graph.program import TensorProgram
from l1ml.graph.tensor import TensorType
from l1ml.types.fixed import FixedType, Overflow, Quantizer, Rounding, quantize, quantize_codes
from l1ml.types.grid import Grid
from l1ml.types.intrange import IntType


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


@pytest.mark.parametrize("seed", range(400))
def test_step_functions_of_every_kind(seed: int) -> None:
    rng = np.random.default_rng(seed)
    frac = int(rng.choice([0, 2, 4, -1]))
    low = int(rng.choice([0, -64, -7, rng.integers(-200, 200)]))
    high = low + int(rng.choice([1, 15, 63, 300]))
    scale = np.float32(rng.choice([rng.normal(), 0.1, 0.5, -0.25, 0.0, 1e-6, 20.0], 2))
    offset = np.float32(rng.choice([0.0, rng.normal(), 0.0237, 0.5, -0.5, 3.0], 2))
    kind = Quantizer(
        FixedType(bool(rng.integers(2)), int(rng.choice([2, 3, 4, 6])), int(rng.integers(4))),
        Rounding(rng.choice([r.value for r in Rounding])),
        Overflow(rng.choice(["SAT", "SAT", "SAT", "SAT_SYM", "SAT_ZERO", "WRAP"])),
    )
    relu = bool(rng.integers(2))
    chain = (functions.Scale(scale), functions.Offset(offset), *((functions.Relu(),) if relu else ()))
    chain = (*chain, functions.ToGrid(Grid.of(kind)))
    x = TensorType.of((2,), IntType(low, high, frac))
    codes = np.repeat(np.arange(low, high + 1)[:, None], 2, axis=1)
    y = np.ldexp(codes.astype(float), -frac).astype(np.float32) * scale + offset
    expected = quantize_codes(np.maximum(y, np.float32(0)) if relu else y, kind)
    made, now = codes, x
    for op in forms.realize("q", unary.tabulate("q", chain, x, declared=False), x):
        made, now = op.emulate([made], [now]), op.infer(now)
    np.testing.assert_array_equal(made, expected)
    assert (now.lo == expected.min(axis=0)).all()
    assert (now.hi == expected.max(axis=0)).all()


def _joined(*between: model.Layer, last: model.Layer) -> TensorProgram:
    net = model.Model("n", (model.Input("x", (), (4,)), *between, last), (last.name,))
    return networks.program(net, "fixed<7,3>")


SCALE, OFFSET = np.float32([0.3, -0.7, 1.1, 0.05]), np.float32([0.1, 0.0, -0.4, 2.0])
GRID = np.ldexp(np.arange(-64, 64).astype(np.float32), -4)[:, None].repeat(4, axis=1)


def test_normalization_before_a_sign() -> None:
    net = _joined(model.Affine("bn", ("x",), SCALE, OFFSET), last=model.Sign("s", ("bn",), 0.5))
    np.testing.assert_array_equal(
        Emulator(net).values([GRID])[0], np.where(GRID * SCALE + OFFSET >= 0, 0.5, -0.5)
    )


def test_normalization_and_reshape_before_a_quantizer() -> None:
    kind = Quantizer.parse("fixed<5,2,RND_CONV,SAT>")
    net = _joined(
        model.Affine("bn", ("x",), SCALE, OFFSET),
        model.Reshape("r", ("bn",), (2, 2)),
        last=model.Quantize("q", ("r",), kind),
    )
    expected = quantize(GRID * SCALE + OFFSET, kind).reshape(-1, 2, 2)
    np.testing.assert_array_equal(Emulator(net).values([GRID])[0], expected)
    assert dict(net.marks).keys() >= {"q"}


def test_two_normalizations_in_a_row() -> None:
    kind = Quantizer.parse("fixed<6,3,RND_CONV,SAT>")
    net = _joined(
        model.Affine("bn1", ("x",), SCALE, OFFSET),
        model.Affine("bn2", ("bn1",), OFFSET, SCALE),
        last=model.Quantize("q", ("bn2",), kind),
    )
    expected = quantize((GRID * SCALE + OFFSET) * OFFSET + SCALE, kind)
    np.testing.assert_array_equal(Emulator(net).values([GRID])[0], expected)


def test_a_normalization_with_two_quantizers_behind_it() -> None:
    kinds = [Quantizer.parse(t) for t in ("fixed<5,2,RND_CONV,SAT>", "ufixed<4,1,RND_CONV,SAT>")]
    layers = (
        model.Input("x", (), (4,)),
        model.Affine("bn", ("x",), SCALE, OFFSET),
        model.Quantize("a", ("bn",), kinds[0]),
        model.Quantize("b", ("bn",), kinds[1]),
    )
    net = networks.program(model.Model("n", layers, ("a", "b")), "fixed<7,3>")
    for found, kind in zip(Emulator(net).values([GRID]), kinds, strict=True):
        np.testing.assert_array_equal(found, quantize(GRID * SCALE + OFFSET, kind))


def test_short_scales_are_multiplied_and_long_ones_rescaled() -> None:
    short = _network(np.array([0.75, -0.5]), np.array([0.125, 0.0]), "fixed<6,2,RND_CONV,SAT>")
    assert _check(short, "fixed<8,3>") == "MulConst"
    long = _network(np.array([0.7312, -0.5113]), np.array([0.125, 0.0]), "fixed<6,2,TRN,SAT>")
    assert _check(long, "fixed<8,3>") == "Rescale"


def test_few_changes_are_thresholds_and_irregular_ones_a_table() -> None:
    assert _check(_network(np.array([0.3]), np.array([0.1]), "ufixed<1,0,RND,SAT>"), "fixed<8,3>") == "Steps"
    wrapped = _network(np.array([1.7, 0.9]), np.array([0.1, 0.3]), "fixed<5,1,RND,WRAP>")
    assert _check(wrapped, "fixed<7,4>") == "Requantize"  # the clip to the live part of the table


def test_negative_scale_counts_down() -> None:
    _check(_network(np.array([-0.3, -2.0]), np.array([0.1, 0.0]), "fixed<4,2,RND_CONV,SAT>"), "fixed<7,3>")


def test_affine_without_quantizer_is_exact_or_refused() -> None:
    def net(scale: float) -> model.Model:
        bn = model.Affine("bn", ("x",), np.float32([scale]), np.float32([0.25]))
        return model.Model("bn", (model.Input("x", (), (1,)), bn), ("bn",))

    program = networks.program(net(0.75), "fixed<6,2>")
    assert isinstance(program.steps[0].op, primitives.MulConst)
    with pytest.raises(ModelError, match="float32"):
        networks.program(net(1 / 3), "fixed<6,2>", strict=True)


def test_sign_layer() -> None:
    net = model.Model("s", (model.Input("x", (), (2,)), model.Sign("sign", ("x",), 0.5)), ("sign",))
    program = networks.program(net, "fixed<3,2>")
    (x,) = networks.values(program, networks.random_codes(program, 50))
    np.testing.assert_array_equal(Emulator(program).values([x])[0], np.where(x >= 0, 0.5, -0.5))


def test_softsign_of_codes_has_one_rounding_and_so_one_value() -> None:
    from l1ml.graph.named import Named

    x = np.arange(-64, 64, dtype=np.float32) / 8
    low, high = Named("softsign").bounds(x, x)
    np.testing.assert_array_equal(low, high)
    np.testing.assert_array_equal(low, x / (np.float32(1) + np.abs(x)))
    wide = np.float32(1 / 3)
    assert np.less(*Named("softsign").bounds(wide, wide))
