# SPDX-License-Identifier: Apache-2.0
"""The typed program: exact ranges, three emulators, one digest."""

from __future__ import annotations

import json
import tracemalloc
from dataclasses import replace
from fractions import Fraction

import networks
import numpy as np
import pytest

from l1ml.errors import DataError, ModelError, RangeError
from l1ml.graph import build, kernels, model, primitives
from l1ml.graph.emulate import Emulator
from l1ml.graph.program import loads
from l1ml.graph.reals import to_integers
from l1ml.graph.tensor import TensorType
from l1ml.types.fixed import Quantizer, quantize
from l1ml.types.intrange import IntType

EVENTS = 257


@pytest.mark.parametrize("hidden", [f"{s}fixed<5,1,{r},SAT>" for r in networks.ROUNDINGS for s in ("", "u")])
@pytest.mark.parametrize("engine", ["native", "array"])
def test_emulators_agree_with_the_reference(hidden: str, engine: str) -> None:
    net = networks.program(networks.mlp(hidden=hidden))
    codes = networks.random_codes(net, EVENTS)
    made = net.emulate(codes)
    emulator = Emulator(net, engine)  # type: ignore[arg-type]
    got = emulator.trace(networks.values(net, codes))
    for name, tensor in net.marks:
        expected = np.ldexp(made[tensor].astype(float), -net.type_of(tensor).frac)
        np.testing.assert_array_equal(got[name], expected, err_msg=f"{emulator.engine} {name}")


def test_reference_equals_rational_arithmetic() -> None:
    net = networks.mlp((3, 4, 2), hidden="ufixed<4,0,RND_CONV,SAT>")
    program = networks.program(net)
    codes = networks.random_codes(program, 40)
    made = program.emulate(codes)[program.outputs[0][1]]
    frac = program.type_of(program.outputs[0][1]).frac
    for event in range(40):
        x = [Fraction(int(n), 16) for n in codes[0][event]]
        for layer in net.layers[1:]:
            if isinstance(layer, model.Dense):
                assert layer.bias is not None
                x = [
                    sum((a * Fraction(w) for a, w in zip(x, column, strict=True)), Fraction(b))
                    for column, b in zip(layer.kernel.T, layer.bias, strict=True)
                ]
            else:  # round half to even on a grid of 1/16, 0 to 15
                x = [Fraction(min(max(round(a * 16), 0), 15), 16) for a in x]
        assert [Fraction(int(n), 1 << int(f)) for n, f in zip(made[event], frac, strict=True)] == x


@pytest.mark.parametrize("seed", range(5))
def test_ranges_are_reached_or_wider_never_left(seed: int) -> None:
    net = networks.program(networks.mlp(seed=seed, hidden="fixed<4,2,RND,SAT_SYM>"))
    made = net.emulate(networks.random_codes(net, 2000, seed))
    for tensor, codes in enumerate(made):
        kind = net.type_of(tensor)
        assert (codes >= kind.lo).all()
        assert (codes <= kind.hi).all()


@pytest.mark.parametrize("overflow", ["WRAP", "SAT_ZERO", "SAT", "SAT_SYM"])
@pytest.mark.parametrize("rounding", networks.ROUNDINGS)
def test_requantize_range_is_exact_over_every_code(rounding: str, overflow: str) -> None:
    op = primitives.Requantize.of(Quantizer.parse(f"fixed<3,2,{rounding},{overflow}>"))
    for lo, hi in ((-40, 37), (-3, 2), (0, 11), (5, 9), (30, 90)):
        x = TensorType.of((1,), IntType(lo, hi, 4))
        out, codes = op.infer(x), op.emulate([np.arange(lo, hi + 1)[:, None]], [x])
        assert out.lo[0] <= codes.min() <= codes.max() <= out.hi[0]
        if overflow in ("SAT", "SAT_SYM"):
            assert (out.lo[0], out.hi[0]) == (codes.min(), codes.max())


def test_wide_network_uses_double_and_stays_exact() -> None:
    net = networks.program(
        networks.mlp((40, 30, 2), bits=12, hidden="fixed<16,6,RND_CONV,SAT>"), "fixed<16,6>"
    )
    codes = networks.random_codes(net, EVENTS)
    plan = kernels.plan(net, [net.outputs[0][1]])
    assert plan is not None
    assert plan.wide
    emulator = Emulator(net)
    assert emulator.engine != "reference"
    np.testing.assert_array_equal(
        emulator.codes(networks.values(net, codes))[0], net.emulate(codes)[net.outputs[0][1]]
    )


def test_float32_and_float64_inputs_give_the_same() -> None:
    net = networks.program(networks.mlp())
    (x,) = networks.values(net, networks.random_codes(net, EVENTS))
    emulator = Emulator(net)
    np.testing.assert_array_equal(emulator.values([x])[0], emulator.values([x.astype(np.float32)])[0])
    assert len(emulator.values([x[:0]])[0]) == 0


@pytest.mark.parametrize("engine", ["native", "array", "reference"])
@pytest.mark.parametrize(
    ("value", "text"), [(0.01, "off the grid"), (4.0, "outside"), (float("nan"), "outside")]
)
def test_input_off_the_grid_is_refused(engine: str, value: float, text: str) -> None:
    net = networks.program(networks.mlp())
    x = np.zeros((100, 5))
    x[77, 3] = value
    with pytest.raises(RangeError, match=text) as caught:
        Emulator(net, engine).values([x])  # type: ignore[arg-type]
    assert "x_in" in str(caught.value)


def test_input_type_with_modes_rounds_and_saturates() -> None:
    net = networks.program(networks.mlp(), "fixed<7,3,RND_CONV,SAT>")
    plain = networks.program(networks.mlp(), "fixed<7,3>")
    x = np.random.default_rng(3).normal(0, 3, (500, 5))
    grid = np.clip(np.rint(x * 16), -64, 63) / 16
    np.testing.assert_array_equal(Emulator(net).values([x])[0], Emulator(plain).values([grid])[0])


@pytest.mark.parametrize("x", [np.zeros(5), np.zeros((3, 4)), np.zeros((3, 5), dtype=object)])
def test_wrong_arrays_are_refused(x: np.ndarray) -> None:
    with pytest.raises(DataError):
        Emulator(networks.program(networks.mlp())).values([x])


def test_digest_sees_numbers_and_not_names() -> None:
    net = networks.mlp()
    renamed = {layer.name: f"other_{n}" for n, layer in enumerate(net.layers)}
    layers = tuple(
        replace(la, name=renamed[la.name], inputs=tuple(renamed[i] for i in la.inputs)) for la in net.layers
    )
    twin = model.Model("else", layers, (renamed[net.outputs[0]],))
    assert networks.program(twin).digest == networks.program(net).digest
    dense = net.layers[1]
    assert isinstance(dense, model.Dense)
    kernel = dense.kernel.copy()
    kernel[0, 0] += 2.0**-4
    other = replace(net, layers=(net.layers[0], replace(dense, kernel=kernel), *net.layers[2:]))
    assert networks.program(other).digest != networks.program(net).digest


def test_network_file_round_trip_and_damage() -> None:
    net = networks.program(networks.mlp())
    text = net.dumps()
    assert loads(text, "x").dumps() == text
    for damage in (
        '{"schema": "l1ml-network/2"}',
        "[]",
        "{",
        text.replace("ConstMatmul", "Evil"),
        text[:200],
    ):
        with pytest.raises(ModelError):
            loads(damage, "network.json")


@pytest.mark.parametrize("key", ["schema", "steps", "inputs"])
def test_what_a_damaged_network_holds_does_not_fill_the_screen(key: str) -> None:
    data = json.loads(networks.program(networks.mlp()).dumps())
    data[key] = [{"op": list(range(10_000))}]
    with pytest.raises(ModelError) as refused:
        loads(json.dumps(data), "network.json")
    assert len(str(refused.value)) < 1000


def test_to_integers_takes_the_coarsest_grid() -> None:
    codes, frac = to_integers(np.array([0.75, -4.0, 0.0]), "kernel")
    assert (codes.tolist(), frac) == ([3, -16, 0], 2)
    assert to_integers(np.array([96.0]), "kernel")[1] == -5
    with pytest.raises(ModelError, match="common grid"):
        to_integers(np.array([1e-20, 1.0]), "kernel")


def test_softmax_at_the_end_is_dropped_and_inside_refused() -> None:
    net = networks.mlp()
    ended = replace(net, layers=(*net.layers, model.Softmax("prob", net.outputs)), outputs=("prob",))
    assert networks.program(ended).digest == networks.program(net).digest
    inner = model.Dense("late", ("prob",), np.eye(3), None)
    with pytest.raises(ModelError, match="softmax inside a network"):
        networks.program(replace(ended, layers=(*ended.layers, inner), outputs=("late",)))


def test_several_outputs_keep_the_models_names() -> None:
    net = networks.mlp()
    end = net.outputs[0]
    both = replace(net, layers=(*net.layers, model.Softmax("prob", (end,))), outputs=(end, "prob"))
    assert [name for name, _ in networks.program(both).outputs] == [end, "prob"]


def test_float_layers_are_refused_by_name_until_they_have_types() -> None:
    from l1ml.graph.precision import apply_types

    net = networks.mlp((3, 2))
    loose = replace(net, layers=(net.layers[0], replace(net.layers[1], exact=False)))
    with pytest.raises(ModelError, match="fc0"):
        networks.program(loose)
    kinds = {"fc0": {"weight": "fixed<5,1,RND_CONV,SAT>", "bias": "fixed<9,5,RND_CONV,SAT>"}}
    assert networks.program(apply_types(loose, kinds)).digest == networks.program(net).digest


def test_a_bias_alone_without_quantizer_is_added_as_it_is() -> None:
    from l1ml.errors import ConfigError
    from l1ml.graph.precision import apply_types

    net = networks.mlp((3, 2))
    dense = replace(net.layers[1], exact=False, quantizers=(("kernel", "quantized_bits(5)"),))
    half = replace(net, layers=(net.layers[0], dense))
    assert networks.program(half).digest == networks.program(net).digest
    kind = "fixed<9,5,RND_CONV,SAT>"
    assert networks.program(apply_types(half, {"fc0": {"bias": kind}})).digest == networks.program(net).digest
    with pytest.raises(ConfigError, match="quantizes the kernel"):
        apply_types(half, {"fc0": {"weight": kind, "bias": kind}})


@pytest.mark.parametrize("seed", range(5))
def test_a_float_bias_before_a_quantizer_is_added_as_float32_does(seed: int) -> None:
    rng = np.random.default_rng(seed)
    bias = np.float32(rng.normal(0, 1, 4)).astype(float)
    kernel = np.ldexp(rng.integers(-8, 8, (3, 4)).astype(float), -3)
    dense = model.Dense("d", ("x",), kernel, bias, exact=False, quantizers=(("kernel", "quantized_bits(4)"),))
    kind = Quantizer.parse("ufixed<5,2,RND_CONV,SAT>")
    net = model.Model("n", (model.Input("x", (), (3,)), dense, model.Quantize("q", ("d",), kind)), ("q",))
    program = networks.program(net, "fixed<6,2>")
    (x,) = networks.values(program, networks.random_codes(program, 2000))
    total = (x @ kernel).astype(np.float32) + bias.astype(np.float32)
    np.testing.assert_array_equal(Emulator(program).values([x])[0], quantize(total, kind))


def test_constants_that_do_not_fit_their_type_stop_the_conversion() -> None:
    from l1ml.graph.precision import apply_types

    net = networks.mlp((3, 2))
    loose = replace(net, layers=(net.layers[0], replace(net.layers[1], exact=False)))
    kinds = {"fc0": {"weight": "fixed<5,-1,RND_CONV,SAT>", "bias": "fixed<9,5,RND_CONV,SAT>"}}
    with pytest.raises(RangeError, match="do not fit") as caught:
        apply_types(loose, kinds)
    assert "weight" in str(caught.value)


def test_input_type_comes_from_the_network_or_is_asked_for() -> None:
    net = networks.mlp()
    with pytest.raises(ModelError, match="'x_in' is not known"):
        build.input_quantizers(net, None)
    with pytest.raises(ModelError, match=r"\['y'\]"):
        build.input_quantizers(net, {"y": "fixed<8,2>"})
    first = model.Quantize("q_in", ("x_in",), Quantizer.parse("fixed<6,2,RND_CONV,SAT>"))
    fed = replace(
        net, layers=(net.layers[0], first, replace(net.layers[1], inputs=("q_in",)), *net.layers[2:])
    )
    assert str(build.input_quantizers(fed, None).inputs[0].quantizer) == "fixed<6,2,RND_CONV,SAT>"


def test_a_network_beyond_all_bounds_is_refused_before_it_is_made() -> None:
    """A 512 x 512 image seen through 9 x 9 windows: 21 million values, each a product of 81 terms."""
    image, windows = (512, 512, 1), ((4, 4), (4, 4))
    layers = (
        model.Input("x", (), image, Quantizer.parse("ufixed<8,0>")),
        model.Conv("conv", ("x",), np.ones((9, 9, 1, 4)), None, strides=(1, 1), padding=windows, dilation=(1, 1),
                   exact=True),
    )  # fmt: skip
    tracemalloc.start()
    with pytest.raises(
        ModelError, match=r"more than 16,777,216 values .* 'conv' being the layer that exceeds it"
    ):
        build.to_program(model.Model("n", layers, ("conv",)))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 30, "81 terms of 21 million values would be 13 GB"


def test_distinct_rows_are_those_of_a_sort_even_where_their_keys_collide() -> None:
    from l1ml.graph.primitives.linear import _distinct

    rng = np.random.default_rng(4)
    factors = np.arange(1, 4, dtype=np.int64) ** 3 * 2_654_435_761 + 1
    twins = np.array([[0, 0, 5], [factors[1], -factors[0], 5]])
    assert len(set((twins @ factors).tolist())) == 1
    for rows in (
        rng.integers(-2, 3, (500, 3)),
        twins,
        np.zeros((4, 0), np.int64),
        np.zeros((0, 3), np.int64),
    ):
        found, back = _distinct(rows)
        np.testing.assert_array_equal(found[back], rows)
        assert len(found) == len({tuple(row) for row in rows.tolist()})


def test_a_network_read_again_still_names_its_approximations() -> None:
    net = replace(networks.program(networks.mlp()), approximations=(("fc1", "not exactly so"),))
    again = loads(net.dumps(), "network.json")
    assert again.approximations == net.approximations
    assert again.dumps() == net.dumps()
