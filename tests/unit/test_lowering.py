# SPDX-License-Identifier: Apache-2.0
"""Wires against tensors: the lowering computes what the typed program says, and stays in its ranges."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from functools import reduce
from operator import and_, or_, xor

import networks
import numpy as np
import programs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from l1ml.dataflow import op as ops
from l1ml.dataflow.build import Builder, Element
from l1ml.graph import model
from l1ml.graph.program import TensorProgram
from l1ml.lowering import constmult
from l1ml.lowering.lower import lower
from l1ml.types.fixed import Quantizer, Rounding
from l1ml.types.intrange import IntType

ranges = st.tuples(st.integers(-70, 70), st.integers(0, 90)).map(lambda t: IntType(t[0], t[0] + t[1]))
zeros = st.integers(0, 5)
BIT, ANY = IntType(0, 1), None
OPERANDS: dict[type[ops.Op], tuple[IntType | None, ...]] = {
    ops.ShiftAdd: (ANY, ANY),
    ops.Increment: (ANY, BIT),
    ops.Multiply: (ANY, ANY),
    ops.Compare: (ANY, ANY),
    ops.Select: (BIT, ANY, ANY),
}
"""What operations of several operands read; None is any range."""

OPS = st.one_of(
    st.builds(ops.ShiftAdd, st.integers(0, 6), st.booleans(), st.just(value=False)),
    st.builds(ops.ShiftAdd, st.integers(0, 6), st.just(value=False), st.booleans()),
    st.just(ops.Negate()),
    st.builds(ops.Floor, st.integers(-3, 8)),
    st.builds(
        ops.RoundUp, st.integers(1, 8), st.sampled_from([r for r in Rounding if r is not Rounding.TRN])
    ),
    st.builds(ops.Increment, st.integers(-9, 9), st.booleans()),
    st.builds(ops.Clip, st.integers(-40, 0), st.integers(1, 40)),
    st.builds(ops.Wrap, st.integers(1, 6), st.booleans()),
    st.builds(ops.AtLeast, st.integers(-60, 60)),
    st.just(ops.Multiply()),
    st.builds(ops.Compare, st.integers(-4, 4)),
    st.builds(ops.Select, zeros, zeros),
    st.builds(ops.Lookup, st.just(-70), st.tuples(*[st.integers(-9, 9)] * 5).map(lambda t: t * 50)),
    st.builds(
        ops.Bitwise, st.sampled_from(["and", "or", "xor"]), st.lists(zeros, min_size=2, max_size=4).map(tuple)
    ),
    st.just(ops.Not()),
    st.just(ops.NonZero()),
)


def operands_of(op: ops.Op, kinds: list[IntType]) -> list[IntType]:
    """Return ranges for the operands of an operation, taken from ``kinds`` where any will do."""
    if isinstance(op, ops.Bitwise):
        return [kinds[k % len(kinds)] for k in range(len(op.shifts))]
    wanted = OPERANDS.get(type(op), (ANY,))
    return [kinds[k % len(kinds)] if kind is ANY else kind for k, kind in enumerate(wanted)]


def plain(op: ops.Op, values: list[int]) -> int | None:
    """Say what an operation means in Python's integers, for those that have arrays in their own words."""
    match op:
        case ops.Multiply():
            return values[0] * values[1]
        case ops.Compare():
            return int(Fraction(values[0]) >= Fraction(values[1]) * Fraction(2) ** op.shift)
        case ops.Select():
            return values[1] << op.zeros_a if values[0] else values[2] << op.zeros_b
        case ops.Lookup():
            return op.table[values[0] - op.first]
        case ops.Bitwise():
            moved = [v << s for v, s in zip(values, op.shifts, strict=True)]
            return reduce({"and": and_, "or": or_, "xor": xor}[op.kind], moved)
        case ops.Not():
            return ~values[0]
        case ops.NonZero():
            return int(values[0] != 0)
    return None


@given(op=OPS, kinds=st.lists(ranges, min_size=3, max_size=3), seed=st.integers(0, 2**32 - 1))
@settings(max_examples=500, deadline=None)
def test_result_stays_in_inferred_range(op: ops.Op, kinds: list[IntType], seed: int) -> None:
    rng = np.random.default_rng(seed)
    types = operands_of(op, kinds)
    ins = [rng.integers(t.lo, t.hi, 64, endpoint=True) for t in types]
    for column, kind in zip(ins, types, strict=True):
        column[:4] = rng.choice([kind.lo, kind.hi], 4)
    out, kind = op.emulate(*ins), op.infer(*types)
    assert kind.lo <= out.min() <= out.max() <= kind.hi
    if plain(op, [t.lo for t in types]) is not None:
        assert out.tolist() == [plain(op, [int(column[k]) for column in ins]) for k in range(64)]


def test_every_operation_is_covered_by_the_law() -> None:
    linear = {"ShiftAdd", "Negate", "Floor", "RoundUp", "Increment", "Clip", "Wrap", "AtLeast", "Constant"}
    choices = {"Multiply", "Compare", "Select", "Lookup", "Bitwise", "Not", "NonZero"}
    assert set(ops.Op.OPS) == linear | choices


def _check(net: TensorProgram, events: int = 400) -> None:
    codes = programs.codes_of(net, events)
    flow = lower(net)
    flow.verify()
    wires = flow.emulate([column for c in codes for column in c.reshape(events, -1).T])
    made = net.emulate(codes)
    expected = np.concatenate([made[t].reshape(events, -1) for _, t in net.outputs], axis=1)
    np.testing.assert_array_equal(flow.read(wires, flow.outputs), expected)
    marks = dict(net.marks)
    seen = 0
    for layer, ports in flow.marks:
        live = [k for k, port in enumerate(ports) if port.wire >= 0]
        got = flow.read(wires, [ports[k] for k in live]) if live else np.zeros((events, 0))
        np.testing.assert_array_equal(got, made[marks[flow.layers[layer]]].reshape(events, -1)[:, live])
        seen += len(live)
    assert seen


@pytest.mark.parametrize("rounding", networks.ROUNDINGS)
@pytest.mark.parametrize("overflow", ["SAT", "SAT_SYM", "WRAP"])
@pytest.mark.parametrize("bias_frac", [None, 2, 5])
def test_mlp_with_every_rounding_and_overflow(rounding: str, overflow: str, bias_frac: int | None) -> None:
    _check(networks.program(networks.mlp(hidden=f"fixed<4,1,{rounding},{overflow}>", bias_frac=bias_frac)))


@pytest.mark.parametrize(
    "hidden", ["ufixed<3,-1,RND_CONV,SAT>", "fixed<4,6,RND,SAT>", "ufixed<12,4,RND_CONV,SAT>"]
)
def test_grids_above_and_below_the_sum(hidden: str) -> None:
    _check(networks.program(networks.mlp(hidden=hidden)))


def test_binary_inputs_dead_columns_and_constant_outputs() -> None:
    net = networks.mlp((4, 3, 2), density=0.3)
    dense = net.layers[1]
    assert isinstance(dense, model.Dense)
    kernel = dense.kernel.copy()
    kernel[:, 1] = 0
    _check(
        networks.program(
            replace(net, layers=(net.layers[0], replace(dense, kernel=kernel), *net.layers[2:])),
            "ufixed<1,1>",
        )
    )
    dead = replace(dense, kernel=np.zeros_like(dense.kernel))
    only = model.Model("constant", (net.layers[0], dead), (dead.name,))
    flow = lower(networks.program(only))
    assert all(isinstance(step.op, ops.Constant) for step in flow.steps)


def test_normalization_sign_reshape_and_two_inputs() -> None:
    rng = np.random.default_rng(5)
    layers: tuple[model.Layer, ...] = (
        model.Input("a", (), (2, 3)),
        model.Input("b", (), (4,)),
        model.Reshape("flat", ("a",), (-1,)),
        model.Affine(
            "bn", ("flat",), rng.normal(0, 1, 6).astype(np.float32), rng.normal(0, 1, 6).astype(np.float32)
        ),
        model.Quantize("q", ("bn",), Quantizer.parse("fixed<4,2,RND_CONV,SAT>")),
        model.Dense("fc", ("q",), rng.integers(-4, 4, (6, 2)) / 4, np.array([0.25, -1.0])),
        model.Sign("sign", ("b",), 0.5),
        model.Relu("relu", ("b",)),
    )
    net = model.Model("two", layers, ("fc", "sign", "relu"))
    _check(networks.program(net, "fixed<5,2>"))


def test_shared_subexpressions_are_built_once() -> None:
    build = Builder((IntType(-8, 7), IntType(-8, 7)))
    layer = build.layer("fc")
    a, b = Element(0, 0), Element(1, 0)
    first = build.sum(a, b, layer)
    assert build.sum(a, b, layer) == first
    assert (
        build.sum(Element(0, 3), Element(1, 3), layer).wire == first.wire
    )  # the binary point does not matter


@pytest.mark.parametrize("seed", range(8))
def test_adder_graph_equals_its_matrix(seed: int) -> None:
    rng = np.random.default_rng(seed)
    matrix = rng.integers(-31, 32, (6, 5)) * (rng.random((6, 5)) < 0.7)
    matrix[:, 0] = 0
    kinds = [IntType(-8, 7, int(f)) for f in rng.integers(0, 3, 6)]
    graph = constmult.solve(matrix[np.any(matrix, axis=1)], kinds[: int(np.any(matrix, axis=1).sum())])
    assert graph.wrong_column(matrix[np.any(matrix, axis=1)]) is None


def test_a_wrong_adder_graph_is_noticed() -> None:
    matrix = np.array([[3, 5], [7, -2]])
    graph = constmult.solve(matrix, [IntType(-8, 7), IntType(-8, 7)])
    broken = replace(
        graph,
        terms=(replace(graph.terms[0], negate_second=not graph.terms[0].negate_second), *graph.terms[1:]),
    )
    assert broken.wrong_column(matrix) is not None
    assert graph.wrong_column(matrix + 1) == 0


def test_solutions_are_cached_and_damage_is_repaired(tmp_path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setenv("L1ML_CACHE", str(tmp_path))
    matrix, kinds = np.array([[3, 5], [7, -2]]), [IntType(-8, 7), IntType(-8, 7)]
    graph = constmult.solve(matrix, kinds)
    (file,) = (tmp_path / "cmvm").glob("*.json")
    for damage in ("", "{}", file.read_text().replace("[0,1,", "[1,0,", 1), "[2,[],[null,null],0]"):
        file.write_text(damage)
        assert constmult.solve(matrix, kinds) == graph
        assert constmult.AdderGraph.from_json(file.read_text()) == graph
