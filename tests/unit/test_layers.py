# SPDX-License-Identifier: Apache-2.0
"""Every layer: the exact reading gives the same numbers as the real one, and both what NumPy says."""

from __future__ import annotations

import operator

import networks
import numpy as np
import pytest

from l1ml.errors import ModelError
from l1ml.graph import functions, model, real, shapes
from l1ml.graph.emulate import Emulator
from l1ml.graph.named import Named
from l1ml.graph.program import TensorProgram
from l1ml.types.fixed import Quantizer
from l1ml.types.grid import Grid

EVENTS = 40
COMPARISONS = {
    ">=": operator.ge, ">": operator.gt, "<=": operator.le, "<": operator.lt, "==": operator.eq, "!=": operator.ne,
}  # fmt: skip


def coarse(rng: np.random.Generator, *shape: int, bits: int = 3) -> np.ndarray:
    return np.ldexp(rng.integers(-(1 << bits), 1 << bits, shape).astype(float), 1 - bits)


def check(net: model.Model, expected: object = None, input_type: str = "fixed<6,3>") -> TensorProgram:
    """Compare the typed program, in all engines, with the real reading and with ``expected(*inputs)``."""
    program = networks.program(net, input_type)
    inputs = networks.values(program, networks.random_codes(program, EVENTS))
    reals = real.run(net, inputs)
    for engine in ("native", "array", "reference"):
        traced = Emulator(program, engine).trace(inputs)  # type: ignore[arg-type]
        for name, values in traced.items():
            np.testing.assert_array_equal(values, reals[name], err_msg=f"{engine} {name}")
        assert net.outputs[0] in traced
    if expected is not None:
        np.testing.assert_array_equal(reals[net.outputs[0]], expected(*inputs))  # type: ignore[operator]
    shape = shapes.infer(net.layers[-1], *(reals[n].shape[1:] for n in net.layers[-1].inputs))
    assert shape == reals[net.layers[-1].name].shape[1:]
    return program


def single(shape: tuple[int, ...], layer: model.Layer, *more: tuple[int, ...]) -> model.Model:
    inputs = [model.Input(name, (), s) for name, s in zip("xyz", (shape, *more), strict=False)]
    return model.Model("n", (*inputs, layer), (layer.name,))


def conv_by_hand(x: np.ndarray, layer: model.Conv) -> np.ndarray:
    """Loop over everything."""
    *sizes, per_group, c_out = layer.kernel.shape
    padded = np.pad(x, ((0, 0), *layer.padding, (0, 0)))
    places = layer.windows.positions(x.shape[1:-1])
    y = np.zeros((len(x), *places, c_out))
    each = c_out // layer.groups
    for place in np.ndindex(*places):
        for tap in np.ndindex(*sizes):
            at = tuple(
                p * s + t * d for p, s, t, d in zip(place, layer.strides, tap, layer.dilation, strict=True)
            )
            for m in range(c_out):
                g = m // each
                part = padded[(slice(None), *at, slice(g * per_group, (g + 1) * per_group))]
                y[(slice(None), *place, m)] += part @ layer.kernel[(*tap, slice(None), m)]
    return y if layer.bias is None else y + layer.bias


@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize(("stride", "dilation", "padding"), [(1, 1, (0, 0)), (2, 1, (1, 0)), (1, 2, (2, 1))])
def test_conv_2d(groups: int, stride: int, dilation: int, padding: tuple[int, int]) -> None:
    rng = np.random.default_rng(1)
    layer = model.Conv(
        "c", ("x",), coarse(rng, 3, 2, 4 // groups, 8), coarse(rng, 8), (stride, 1), (padding, (0, 1)), (dilation, 1), groups  # noqa: E501
    )  # fmt: skip
    check(single((7, 5, 4), layer), lambda x: conv_by_hand(x, layer))


def test_conv_1d_and_depthwise() -> None:
    rng = np.random.default_rng(2)
    layer = model.Conv("c", ("x",), coarse(rng, 3, 5, 2), None, (1,), ((1, 1),), (1,))
    check(single((6, 5), layer), lambda x: conv_by_hand(x, layer))
    depthwise = model.Conv("d", ("x",), coarse(rng, 2, 1, 10), coarse(rng, 10), (1,), ((0, 0),), (1,), 5)
    check(single((6, 5), depthwise), lambda x: conv_by_hand(x, depthwise))


@pytest.mark.parametrize("kind", ["max", "min", "sum", "mean"])
@pytest.mark.parametrize("padding", [((0, 0), (0, 0)), ((1, 0), (0, 1))])
def test_pooling(kind: str, padding: tuple[tuple[int, int], ...]) -> None:
    layer = model.Pool("p", ("x",), kind, (2, 2), (2, 1), padding)

    def expected(x: np.ndarray) -> np.ndarray:
        nan = np.pad(x, ((0, 0), *padding, (0, 0)), constant_values=np.nan)
        rows, columns = layer.windows.positions(x.shape[1:3])
        out = np.empty((len(x), rows, columns, x.shape[3]))
        for i, j in np.ndindex(rows, columns):
            part = nan[:, 2 * i : 2 * i + 2, j : j + 2].reshape(len(x), -1, x.shape[3])
            out[:, i, j] = {"max": np.nanmax, "min": np.nanmin, "sum": np.nansum, "mean": np.nanmean}[kind](
                part, axis=1
            )
        return out

    check(single((4, 5, 3), layer), expected)  # counts are powers of two: exact without a quantizer


def test_global_pooling_and_reductions() -> None:
    for kind, function in (("max", np.max), ("mean", np.mean), ("sum", np.sum), ("min", np.min)):
        check(single((2, 4, 3), model.GlobalPool("g", ("x",), kind)), lambda x, f=function: f(x, axis=(1, 2)))
        reduce = model.Reduce("r", ("x",), kind, (0, 1), keepdims=True)
        check(single((2, 4, 3), reduce), lambda x, f=function: f(x, axis=(1, 2), keepdims=True))


@pytest.mark.parametrize(
    "equation", ["abc,cd->abd", "abc,cde->abde", "abc,acd->abd", "abc,bc->ab", "ab,bc->ca"]
)
def test_einsum_with_a_constant(equation: str) -> None:
    rng = np.random.default_rng(3)
    size = dict(zip("abcde", (2, 3, 4, 5, 6), strict=True))
    data, rest = equation.split(",")
    kernel = coarse(rng, *(size[c] for c in rest.split("->")[0]))
    layer = model.Einsum("e", ("x",), kernel, None, equation)
    result = rest.split("->")[1]
    check(
        single(tuple(size[c] for c in data), layer),
        lambda x: np.einsum(f"z{data},{rest.split('->')[0]}->z{result}", x, kernel),
    )


@pytest.mark.parametrize(
    "equation", ["ab,cb->ac", "abc,adc->abd", "ab,ab->a", "abc,d->bd", "ab,b->a", "ab,bc->ca"]
)
def test_einsum_of_two_tensors(equation: str) -> None:
    size = dict(zip("abcd", (2, 3, 4, 5), strict=True))
    a, rest = equation.split(",")
    b, result = rest.split("->")
    layer = model.Einsum2("e", ("x", "y"), equation)
    check(
        single(tuple(size[c] for c in a), layer, tuple(size[c] for c in b)),
        lambda x, y: np.einsum(f"z{a},z{b}->z{result}", x, y),
    )


def test_matmul_and_dot() -> None:
    layer = model.MatMul("m", ("x", "y"), transpose_y=True)
    check(single((2, 3, 4), layer, (5, 4)), lambda x, y: x @ y[:, None].swapaxes(-1, -2))
    dot = model.Dot("d", ("x", "y"), (1, 0))
    check(single((3, 4), dot, (4, 2)), lambda x, y: np.einsum("zab,zbc->zac", x, y))


@pytest.mark.parametrize(
    ("kind", "function"),
    [("add", np.add), ("sub", np.subtract), ("mul", np.multiply), ("max", np.maximum), ("min", np.minimum),
     ("mean", lambda a, b: (a + b) / 2)],
)  # fmt: skip
def test_merges_broadcast(kind: str, function: object) -> None:
    layer = model.Merge("m", ("x", "y"), kind)
    check(single((3, 4), layer, (4,)), lambda x, y: function(x, y[:, None]))  # type: ignore[operator]


def test_moving_elements() -> None:
    shape = (2, 3, 4)
    moves = [
        (shapes.permute("t", "x", shape, (2, 0, 1)), lambda x: x.transpose(0, 3, 1, 2)),
        (shapes.gather("t", "x", shape, 1, np.array([2, 0])), lambda x: x[:, :, [2, 0]]),
        (
            shapes.slice_("t", "x", shape, (0, 1, None), (2, 3, None), (1, 1, -2)),
            lambda x: x[:, 0:2, 1:3, ::-2],
        ),
        (
            shapes.pad("t", "x", shape, ((1, 0), (0, 2), (0, 0))),
            lambda x: np.pad(x, ((0, 0), (1, 0), (0, 2), (0, 0))),
        ),
        (shapes.upsample("t", "x", shape, (2, 1)), lambda x: x.repeat(2, axis=1)),
        (shapes.flip("t", "x", shape, (0, 2)), lambda x: x[:, ::-1, :, ::-1]),
        (shapes.repeat("t", "x", shape, 3), lambda x: np.stack([x] * 3, axis=1)),
        (model.Concat("t", ("x", "x"), 1), lambda x: np.concatenate([x, x], axis=2)),
    ]
    for layer, expected in moves:
        check(single(shape, layer), expected)


def test_decisions() -> None:
    check(single((3, 5), model.ArgMax("a", ("x",))), lambda x: x.argmax(axis=-1))
    check(single((3, 5), model.ArgMax("a", ("x",), 0, keepdims=True)), lambda x: x.argmax(axis=1)[:, None])
    check(single((3, 5), model.ArgMax("a", ("x",), smallest=True)), lambda x: x.argmin(axis=-1))
    for kind in COMPARISONS:
        layer = model.Compare("c", ("x", "y"), kind)
        check(single((4,), layer, (4,)), lambda x, y, k=kind: COMPARISONS[k](x, y), "fixed<3,2>")
    where = model.Where("w", ("x", "y", "z"))
    bit = {"x": "ufixed<1,1>", "y": "fixed<4,2>", "z": "fixed<5,2>"}
    net = single((4,), where, (4,), (4,))
    check(net, lambda c, a, b: np.where(c, a, b), bit)  # type: ignore[arg-type]
    for indices in (False, True):
        layer = model.TopK("t", ("x",), 3, indices)

        def expected(x: np.ndarray, indices: bool = indices) -> np.ndarray:
            order = np.argsort(-x, axis=-1, kind="stable")[..., :3]
            return order if indices else np.take_along_axis(x, order, axis=-1)

        check(single((2, 6), layer), expected, "fixed<3,2>")


def test_embedding() -> None:
    table = coarse(np.random.default_rng(4), 8, 3)
    net = single((5,), model.Embedding("e", ("x",), table))
    check(net, lambda x: table[x.astype(int)], "ufixed<3,3>")
    with pytest.raises(ModelError, match="rows"):
        networks.program(net, "ufixed<4,4>")


def hard(slope: float = 0.25) -> tuple[functions.Function, ...]:
    """A hard sigmoid on a grid: every framework gives the same."""
    return (
        functions.HardSigmoid(slope),
        functions.ToGrid(Grid.of(Quantizer.parse("ufixed<6,1,RND_CONV,SAT>"))),
    )


@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
@pytest.mark.parametrize("reset_after", [False, True])
def test_recurrent_cells(cell: str, reset_after: bool) -> None:
    rng = np.random.default_rng(5)
    gates = {"rnn": 1, "gru": 3, "lstm": 4}[cell]
    tanh = (functions.ToGrid(Grid.of(Quantizer.parse("fixed<5,1,RND_CONV,SAT>"))),)
    units, steps, state = 3, 4, Quantizer.parse("fixed<6,2,RND_CONV,SAT>")
    layer = model.Recurrent(
        "r", ("x",), coarse(rng, 2, gates * units), coarse(rng, gates * units),
        recurrent=coarse(rng, units, gates * units),
        recurrent_bias=coarse(rng, gates * units) if cell == "gru" and reset_after else None,
        cell=cell, activation=tanh, recurrent_activation=hard(), state_quantizer=(state,),
        reset_after=reset_after, return_sequences=True,
    )  # fmt: skip

    def act(x: np.ndarray) -> np.ndarray:
        return tanh[0](x.astype(np.float32)).astype(float)

    def gate(x: np.ndarray) -> np.ndarray:
        return hard()[1](hard()[0](x.astype(np.float32))).astype(float)

    def expected(x: np.ndarray) -> np.ndarray:
        h = c = np.zeros((len(x), units))
        out = []
        quant = Grid.of(state).values
        for t in range(steps):
            h, c = quant(h), quant(c)
            a = x[:, t] @ layer.kernel + layer.bias
            b = h @ layer.recurrent + (0 if layer.recurrent_bias is None else layer.recurrent_bias)
            parts = [slice(k * units, (k + 1) * units) for k in range(gates)]
            if cell == "rnn":
                h = act(a + b)
            elif cell == "lstm":
                i, f, g, o = parts
                c = gate(a[:, f] + b[:, f]) * c + gate(a[:, i] + b[:, i]) * act(a[:, g] + b[:, g])
                h = gate(a[:, o] + b[:, o]) * act(c)
            else:
                z, r = (gate(a[:, p] + b[:, p]) for p in parts[:2])
                inner = r * b[:, parts[2]] if reset_after else (r * h) @ layer.recurrent[:, parts[2]]
                h = z * h + (1 - z) * act(a[:, parts[2]] + inner)
            out.append(h)
        return np.stack(out, axis=1)

    check(single((steps, 2), layer), expected, "fixed<4,2>")


def test_softmax_and_layer_norm_need_types() -> None:
    for layer in (model.Softmax("s", ("x",)), model.LayerNorm("s", ("x",), 1, None, None, 1e-3)):
        more = model.Quantize("q", ("s",), Quantizer.parse("fixed<8,2,RND_CONV,SAT>"))
        net = model.Model("n", (model.Input("x", (), (4,)), layer, more), ("q",))
        with pytest.raises(ModelError, match="'s'"):
            networks.program(net, "fixed<5,3>", strict=True)


def test_softmax_with_tables_is_close_to_softmax() -> None:
    tables = tuple(
        Quantizer.parse(t) for t in ("ufixed<12,1,RND,SAT>", "ufixed<12,3,RND,SAT>", "ufixed<12,1,RND,SAT>")
    )
    layer = model.Softmax("s", ("x",), tables=tables)  # type: ignore[arg-type]
    net = model.Model("n", (model.Input("x", (), (4,)), layer), ("s",))
    program = networks.program(net, "fixed<6,3>")
    (x,) = networks.values(program, networks.random_codes(program, 200))
    found = Emulator(program).values([x])[0]
    wanted = np.exp(x) / np.exp(x).sum(axis=-1, keepdims=True)
    assert np.abs(found - wanted).max() < 0.003
    assert np.abs(real.run(net, [x])["s"] - wanted).max() < 1e-6


# ---- real-valued scales


@pytest.mark.parametrize("per_channel", [False, True])
def test_a_real_scale_goes_through_a_dense_layer(per_channel: bool) -> None:
    """Weights and data on grids that are no powers of two: exact thresholds behind the sum."""
    rng = np.random.default_rng(6)
    scale = np.float32(rng.uniform(0.05, 0.2, 5)) if per_channel else np.float32(0.11)
    kind = Quantizer.parse("fixed<5,2,RND_CONV,SAT>")
    layers = (
        model.Input("x", (), (4,)),
        model.Map("sx", ("x",), (functions.Scale(np.float32(0.3)),)),
        model.Dense("d", ("sx",), coarse(rng, 4, 5), None, scale=np.asarray(scale, dtype=float)),
        model.Quantize("q", ("d",), kind),
    )
    net = model.Model("n", layers, ("q",))
    program = networks.program(net, "fixed<5,3>", strict=True)
    (x,) = networks.values(program, networks.random_codes(program, 3000))
    exact = (x @ layers[2].kernel) * (float(np.float32(0.3)) * np.asarray(scale, dtype=float))
    np.testing.assert_array_equal(Emulator(program).values([x])[0], np.clip(np.rint(exact * 8), -16, 15) / 8)
    assert "d" not in dict(program.marks)


def test_a_pending_scale_at_the_output_is_refused_by_name() -> None:
    net = single((3,), model.Map("sx", ("x",), (functions.Scale(np.float32(0.3)),)))
    with pytest.raises(ModelError, match="Scale") as caught:
        networks.program(net, "fixed<5,3>", strict=True)
    assert "layer sx" in str(caught.value)
    assert "quantizer" in str(caught.value)


def test_a_sum_on_the_brink_of_a_threshold_is_refused() -> None:
    """0.1 * n is exactly half way between two codes for some n, but float32 sums are rounded."""
    layers = (
        model.Input("x", (), (8,)),
        model.Map("sx", ("x",), (functions.Scale(np.float32(0.1)),)),
        model.Dense("d", ("sx",), np.ones((8, 1)), None),
        model.Quantize("q", ("d",), Quantizer.parse("fixed<6,6,RND_CONV,SAT>")),
    )
    with pytest.raises(ModelError, match="rounding boundary"):
        networks.program(model.Model("n", layers, ("q",)), "fixed<5,5>")


@pytest.mark.parametrize("name", ["tanh", "sigmoid", "elu", "silu", "exp", "softplus"])
def test_functions_with_a_quantizer_become_tables(name: str) -> None:
    kind = Quantizer.parse("fixed<7,3,RND_CONV,SAT>")
    params = (1.0,) if name == "elu" else ()
    layers = (
        model.Input("x", (), (2,)),
        model.Map("f", ("x",), (Named(name, params),)),
        model.Quantize("q", ("f",), kind),
    )
    program = networks.program(model.Model("n", layers, ("q",)), "fixed<9,4>")
    codes = np.arange(-256, 256)[:, None].repeat(2, axis=1)
    x = codes / 32.0
    wide = {
        "tanh": np.tanh(x), "sigmoid": 1 / (1 + np.exp(-x)), "elu": np.where(x > 0, x, np.expm1(x)),
        "silu": x / (1 + np.exp(-x)), "exp": np.exp(x), "softplus": np.log1p(np.exp(x)),
    }[name]  # fmt: skip
    expected = np.clip(np.rint(wide * 16), -64, 63) / 16
    for engine in ("native", "array", "reference"):
        np.testing.assert_array_equal(Emulator(program, engine).values([x])[0], expected)  # type: ignore[arg-type]
