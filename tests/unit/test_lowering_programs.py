# SPDX-License-Identifier: Apache-2.0
"""Every primitive as wires: the wires compute what the primitive says, in the form they should have."""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence

import numpy as np
import programs
import pytest
from programs import Net, ints, p

from l1ml.dataflow import op as ops
from l1ml.dataflow.build import Builder, Element
from l1ml.dataflow.program import Dataflow
from l1ml.graph.program import TensorProgram
from l1ml.lowering import matrix, multiply, stairs
from l1ml.lowering.lower import lower
from l1ml.lowering.sums import add_all
from l1ml.rtl.systemverilog import Core, print_core
from l1ml.schedule.delay import family_of
from l1ml.schedule.pipeline import pipeline
from l1ml.synth import estimate
from l1ml.types.fixed import Overflow, Quantizer, Rounding
from l1ml.types.intrange import IntType

SEEDS = range(90)


def check(net: TensorProgram, events: int = 300) -> Dataflow:
    """Compare wires and tensors on extreme and random codes; what a layer shows, too."""
    codes = programs.codes_of(net, events)
    flow = lower(net)
    flow.verify()
    wires = flow.emulate([column for c in codes for column in c.reshape(events, -1).T])
    made = net.emulate(codes)
    expected = np.concatenate([made[t].reshape(events, -1) for _, t in net.outputs], axis=1)
    np.testing.assert_array_equal(flow.read(wires, flow.outputs), expected)
    marks = dict(net.marks)
    for layer, ports in flow.marks:
        live = [k for k, port in enumerate(ports) if port.wire >= 0]
        if live:
            shown = made[marks[flow.layers[layer]]].reshape(events, -1)[:, live]
            np.testing.assert_array_equal(flow.read(wires, [ports[k] for k in live]), shown)
    return flow


def kinds_of(flow: Dataflow) -> set[str]:
    return {type(step.op).__name__ for step in flow.steps} - {"Constant"}


@pytest.mark.parametrize("first", range(0, len(SEEDS), 15))
def test_random_programs(first: int) -> None:
    for seed in SEEDS[first : first + 15]:
        check(programs.drawn(seed, 8 + seed % 18))


def test_random_programs_hold_every_primitive() -> None:
    drawn = {type(step.op).__name__ for seed in SEEDS for step in programs.drawn(seed, 8 + seed % 18).steps}
    assert drawn == set(p.Primitive.PRIMITIVES) - {"Move", "Scalar"}  # a base class; test_alir has the other


def test_a_program_with_everything() -> None:
    flow = check(programs.everything(), 1000)
    assert kinds_of(flow) == set(ops.Op.OPS) - {"Constant", "Not", "NonZero"}


@pytest.mark.parametrize("overflow", Overflow)
@pytest.mark.parametrize("rounding", Rounding)
def test_every_conversion_of_every_code(rounding: Rounding, overflow: Overflow) -> None:
    net = Net(((256,), "fixed<8,4>"))
    lo = ints([-4, 0, -4 if overflow is Overflow.WRAP else -3, 0, 0, 1])[:, None]
    hi = ints([3, 7, 3, 0, 1, 4])[:, None]
    frac = ints([2, 1, 4, 3, 6, -1])[:, None]
    rows = net.add(p.Take(np.broadcast_to(np.arange(256), (6, 256)).copy()), 0)
    flow = lower(net.program(net.add(p.Requantize(lo, hi, frac, rounding, overflow), rows)))
    codes = np.arange(-128, 128)[None]
    wires = flow.emulate([np.array([c]) for c in codes[0]])
    made = net.program(len(net.types) - 1).emulate([codes])[-1]
    np.testing.assert_array_equal(flow.read(wires, flow.outputs)[0], made.ravel())


# --- functions of one element


RANGES = [
    IntType(0, 1),
    IntType(-1, 0),
    IntType(-5, 3),
    IntType(0, 21),
    IntType(-100, 77),
    IntType(3, 40),
    IntType(-9, -2),
]


def emitted(build: Builder, element: Element, codes: Sequence[np.ndarray]) -> np.ndarray:
    """Return the values of an element for values of the inputs, on the binary point 0."""
    element = build.positive(element, 0)
    wires = [np.asarray(c) for c in codes]
    for step in build.steps:
        value = np.broadcast_to(step.op.emulate(*(wires[i] for i in step.ins)), wires[0].shape)
        assert step.type.lo <= value.min() <= value.max() <= step.type.hi
        wires.append(value)
    assert element.frac <= 0 or not wires[element.wire].any()
    return wires[element.wire] << max(0, -element.frac)


@pytest.mark.parametrize("form", ["steps", "table", "window", "cheapest"])
@pytest.mark.parametrize("kind", RANGES, ids=str)
def test_a_function_in_every_form(form: str, kind: IntType, monkeypatch: pytest.MonkeyPatch) -> None:
    costs = {"steps": "_compare_cost", "table": "_table_cost"}
    for name, function in costs.items():
        if form == name:
            monkeypatch.setattr(stairs, function, lambda *_: -1)
    if form == "window":
        monkeypatch.setattr(stairs, "_table_cost", lambda _, k: -99 if k != kind else 99)
    for seed in range(25):
        rng = np.random.default_rng(seed)
        size = kind.hi - kind.lo + 1
        values = rng.integers(-9, 30, size)
        if seed % 3 == 0:
            values = np.sort(values)
        if seed % 4 == 1:
            values = np.clip(np.arange(size) * 4 - size, -8, 24)
        if seed % 5 == 2:
            values = np.where(np.arange(size) < size // 2, -12, 20)
        negated = bool(seed & 1)
        codes = np.arange(kind.lo, kind.hi + 1)
        starts = (-codes[::-1] if negated else codes).tolist()
        build = Builder((kind,), ["a"])
        made = stairs.emit(
            build, Element(0, 0, negated), stairs.Runs(tuple(starts), tuple(values.tolist())), 0, 0
        )
        np.testing.assert_array_equal(emitted(build, made, [codes]), values[::-1] if negated else values)


def test_the_cheapest_form_is_taken() -> None:
    def forms(bits: int, values: np.ndarray) -> set[str]:
        net = Net(((1,), f"fixed<{bits},{bits}>"))
        return kinds_of(
            lower(net.program(net.add(p.Lookup(ints(-(1 << bits - 1)), values[None], ints(0), 0), 0)))
        )

    codes = np.arange(-2048, 2048)
    assert forms(6, np.rint(15 / (1 + np.exp(-np.arange(-32, 32) / 6)))) == {"Lookup"}
    assert forms(12, (codes >= 77) * 2 - 1) == {"AtLeast", "Bitwise", "Wrap"}
    assert forms(12, np.clip(np.rint(codes**3 / 3e3), -15, 15)) == {"Clip", "Lookup"}
    assert forms(12, codes // 64) == {"Floor"}  # low bits change nothing, and the rest is the result
    assert forms(12, -codes) == {"Negate"}


def test_a_table_over_too_many_bits_is_refused() -> None:
    kind = IntType(-(1 << 19), (1 << 19) - 1)
    runs = stairs.Runs(
        tuple(range(kind.lo, kind.hi, 100)), tuple(n % 7 for n in range(0, kind.hi - kind.lo, 100))
    )
    with pytest.raises(Exception, match="quantize its input to at most 16 bits"):
        stairs.emit(Builder((kind,), ["a"]), Element(0, 0), runs, 0, 0)


# --- products


@pytest.mark.parametrize(("a", "b"), list(itertools.combinations_with_replacement(RANGES, 2)), ids=str)
def test_products_of_all_codes(a: IntType, b: IntType) -> None:
    x, y = (g.ravel() for g in np.meshgrid(np.arange(a.lo, a.hi + 1), np.arange(b.lo, b.hi + 1)))
    for negate in (False, True):
        build = Builder((a, b), ["m"])
        made = multiply.multiply(build, Element(0, 0, negate), Element(1, 0), 0)
        np.testing.assert_array_equal(emitted(build, made, [x, y]), -x * y if negate else x * y)
    if min(a.width, b.width) > 2:
        build = Builder((a, b), ["m"])
        np.testing.assert_array_equal(emitted(build, multiply.rows(build, 0, 1, 0), [x, y]), x * y)
    codes = np.arange(a.lo, a.hi + 1)
    square = Builder((a,), ["m"])
    np.testing.assert_array_equal(
        emitted(square, multiply.multiply(square, Element(0, 0), Element(0, 0), 0), [codes]), codes**2
    )


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ("fixed<3,3>", "ufixed<3,3>", {"Wrap", "Bitwise", "Lookup"}),
        ("fixed<9,9>", "ufixed<1,1>", {"Select"}),
        ("fixed<8,8>", "fixed<8,8>", {"Floor", "Wrap", "Multiply", "ShiftAdd"}),
        ("fixed<12,12>", "fixed<12,12>", {"Multiply"}),
    ],
)
def test_products_take_the_form_of_their_widths(a: str, b: str, expected: set[str]) -> None:
    net = Net(((2,), a), ((2,), b))
    flow = check(net.program(net.add(p.Combine("mul"), 0, 1)))
    assert kinds_of(flow) == expected
    blocks = [
        s.op.blocks(*(flow.type_of(i) for i in s.ins)) for s in flow.steps if isinstance(s.op, ops.Multiply)
    ]
    assert sum(blocks) == (2 if a == "fixed<12,12>" else 0)


def test_a_product_with_a_constant_has_no_multiplier() -> None:
    net = Net(((3,), "fixed<12,12>"))
    fixed = net.add(p.Constant(ints([3, 0, -7]), ints(0)))
    outer = net.add(p.Contract(), net.add(p.Reshape((1, 3)), 0), net.add(p.Reshape((3, 1)), fixed))
    flow = check(net.program(net.add(p.Combine("mul"), 0, fixed), outer))
    assert kinds_of(flow) <= {"ShiftAdd", "Negate"}


def test_operations_longer_than_a_clock_are_taken_apart() -> None:
    net = Net(((1,), "fixed<14,14>"), ((1,), "ufixed<15,15>"), ((1,), "fixed<12,12>"))
    wide = net.add(p.Combine("mul"), 0, 1)
    table = np.random.default_rng(0).integers(-30, 31, (1, 4096))
    flow = lower(net.program(wide, net.add(p.Lookup(ints(-2048), table, ints(0), 0), 2)))
    assert {"Multiply", "Lookup"} <= kinds_of(flow)
    family = family_of("xcvu13p", 60_000)
    slow, fast = pipeline(flow, family, 200.0), pipeline(flow, family, 600.0)
    assert slow.flow is flow
    assert not any(
        isinstance(s.op, ops.Multiply) and s.op.blocks(*(fast.flow.type_of(i) for i in s.ins))
        for s in fast.flow.steps
    )
    rng = np.random.default_rng(1)
    codes = [rng.integers(k.lo, k.hi + 1, 500) for k in flow.inputs]
    one, other = (f.read(f.emulate(codes), f.outputs) for f in (flow, fast.flow))
    np.testing.assert_array_equal(one, other)
    assert [port.type for port in fast.flow.outputs] == [port.type for port in flow.outputs]


# --- matrices


def _kernel(shape: tuple[int, int], values: Sequence[int], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).choice(np.array(values), shape)


def test_one_search_serves_all_windows_of_a_convolution(monkeypatch: pytest.MonkeyPatch) -> None:
    searched = []
    solve = matrix.solve
    monkeypatch.setattr(matrix, "solve", lambda m, kinds: searched.append(m.shape) or solve(m, kinds))
    matrix._solved.cache_clear()
    net = Net(((7, 6, 2), "fixed<4,2>"))
    windows = net.add(p.Window((3, 3), (1, 1), (1, 1), ((1, 1), (1, 1))), 0)
    check(net.program(net.add(p.ConstMatmul(_kernel((18, 3), range(-7, 8)), 2), windows)), 50)
    assert len(searched) == 9  # the inside, four sides and four corners
    mixed = Net(((7, 6, 2), "fixed<6,3>"))
    frac = np.random.default_rng(1).integers(0, 4, (7, 6, 2))
    types = p.Requantize(ints(-4), ints(3), frac, Rounding.TRN, Overflow.SAT)
    windows = mixed.add(p.Window((3, 3), (1, 1), (1, 1), ((0, 0), (0, 0))), mixed.add(types, 0))
    check(mixed.program(mixed.add(p.ConstMatmul(_kernel((18, 3), range(-7, 8)), 2), windows)), 50)
    assert len(searched) == 10  # types differ from window to window


def test_long_constants_and_large_matrices_are_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matrix, "MAX_WEIGHTS", 10)
    net = Net(((6,), "fixed<5,3>"))
    long = net.add(p.ConstMatmul(_kernel((6, 4), [-(1 << 40) + 77, 3, (1 << 35) + 1, 0]), 20), 0)
    check(net.program(long, net.add(p.MulConst(ints([1 << 30, 5, -(1 << 45) - 1, 0, 1, 7]), 0), 0)))


@pytest.mark.parametrize("kind", ["ufixed<1,1>", "signs"])
def test_binary_networks_are_sums_of_bits(kind: str) -> None:
    net = Net(((64,), "fixed<4,4>" if kind == "signs" else kind))
    x = net.add(p.Steps(ints([1]), ints(-1), ints([2]), 0), 0, layer="sign") if kind == "signs" else 0
    sums = net.add(p.ConstMatmul(_kernel((64, 16), [-1, 1]), 0), x, layer="fc")
    thresholds = np.random.default_rng(3).integers(-6, 7, (16, 1))
    flow = check(net.program(net.add(p.Steps(thresholds, ints(-1), ints([2]), 0), sums, layer="act")))
    assert not kinds_of(flow) & {"Multiply", "Select", "Lookup"}
    assert estimate.of_dataflow(flow)["lut"] < 0.75 * 64 * 16
    for layer, ports in flow.marks:
        assert all(port.wire >= 0 for port in ports), f"{flow.layers[layer]} cannot be seen"


def test_single_bits_are_counted_six_at_a_time() -> None:
    net = Net(((2, 31), "ufixed<1,1>"))
    flow = check(net.program(net.add(p.Reduce("sum"), 0)))
    assert sum(isinstance(s.op, ops.Lookup) for s in flow.steps) == 10
    assert estimate.of_dataflow(flow)["lut"] < 2 * 31


def test_sums_take_first_what_arrives_first() -> None:
    build = Builder(tuple(IntType(-8, 7) for _ in range(6)), ["a"])
    late = Element(0, 0)
    for k in (1, 2):
        late = build.sum(late, Element(k, 0), 0)
    total = add_all(build, [late, Element(3, 0), Element(4, 0), Element(5, 0)], 0)
    assert build.depth(total.wire) == 3  # two levels of the late one, and the last sum


def test_the_first_maximum_wins() -> None:
    net = Net(((5,), "fixed<3,3>"))
    frac = p.Requantize(ints(-8), ints(7), ints([0, 1, 2, 0, 1]), Rounding.TRN, Overflow.SAT)
    flow = lower(net.program(net.add(p.ArgMax(), net.add(frac, 0))))
    codes = np.array(list(itertools.product(range(-4, 4), repeat=5)))
    clipped = np.stack([np.minimum(codes[:, k], 7 / 2**f) for k, f in enumerate([0, 1, 2, 0, 1])], axis=1)
    clipped = np.maximum(clipped, [-8, -4, -2, -8, -4])
    wires = flow.emulate(list(codes.T))
    np.testing.assert_array_equal(flow.read(wires, flow.outputs)[:, 0], clipped.argmax(axis=1))


@pytest.mark.slow
def test_a_parallel_cnn_of_50000_wires_takes_seconds() -> None:
    rng = np.random.default_rng(1)
    net = Net(((24, 24, 1), "ufixed<4,0>"))

    def conv(x: int, c_in: int, c_out: int) -> int:
        windows = net.add(p.Window((3, 3), (1, 1), (1, 1), ((1, 1), (1, 1))), x)
        kernel = rng.integers(-7, 8, (9 * c_in, c_out)) * (rng.random((9 * c_in, c_out)) < 0.6)
        sums = net.add(
            p.AddConst(rng.integers(-20, 20, c_out), 4), net.add(p.ConstMatmul(kernel, 3), windows)
        )
        return net.add(p.Requantize.of(Quantizer.parse("ufixed<4,1,RND,SAT>")), sums)

    x = conv(conv(0, 1, 4), 4, 4)
    start = time.process_time()
    flow = lower(net.program(x))
    pipe = pipeline(flow, family_of("xcvu13p", estimate.of_dataflow(flow)["lut"]), 240.0)
    text = print_core(Core("c", tuple(f"x_{k}" for k in range(576)), "0" * 64), pipe)
    estimate.of_pipeline(pipe)
    assert len(flow.steps) > 50_000
    assert text.count("\n") > 50_000
    assert time.process_time() - start < 90
