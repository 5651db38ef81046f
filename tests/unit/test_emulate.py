# SPDX-License-Identifier: Apache-2.0
"""The fast emulators give the integers of the reference, whatever the network."""

from __future__ import annotations

import networks
import numpy as np
import programs
import pytest
from programs import Net, ints

from l1ml.errors import RangeError
from l1ml.graph import kernels
from l1ml.graph import primitives as p
from l1ml.graph.emulate import Emulator
from l1ml.graph.kernels.line import lines
from l1ml.graph.kernels.order import arranged
from l1ml.graph.program import TensorProgram
from l1ml.graph.scalar import Kind
from l1ml.types.fixed import Overflow, Quantizer, Rounding

ENGINES = ("native", "array")
EVENTS = 150


def agree(net: TensorProgram, *, reference: bool = False, events: int = EVENTS) -> None:
    """Check every output and every layer in all engines against the int64 reference.

    Args:
        net: the program.
        reference: allow that no kernel exists for it.
        events: how many.
    """
    codes = programs.codes_of(net, events)
    values = networks.values(net, codes)
    wanted = [t for _, t in (*net.outputs, *net.marks)]
    expected = dict(zip(wanted, net.emulate(codes, wanted), strict=True))
    for engine in ENGINES:
        emulator = Emulator(net, engine, threads=2)  # type: ignore[arg-type]
        assert reference or emulator.engine == engine
        for (name, tensor), got in zip(net.outputs, emulator.codes(values), strict=True):
            np.testing.assert_array_equal(got, expected[tensor], err_msg=f"{engine} {name}")
        traced = emulator.trace(values)
        for name, tensor in net.marks:
            real = np.ldexp(expected[tensor].astype(float), -net.type_of(tensor).frac)
            np.testing.assert_array_equal(traced[name], real, err_msg=f"{engine} {name}")


@pytest.mark.parametrize("seed", range(60))
def test_random_programs(seed: int) -> None:
    agree(programs.drawn(seed, steps=14), events=96)


def test_every_primitive_in_one_program() -> None:
    agree(programs.everything())


@pytest.mark.parametrize("overflow", list(Overflow))
@pytest.mark.parametrize("rounding", list(Rounding))
def test_conversions_with_a_type_per_element(rounding: Rounding, overflow: Overflow) -> None:
    """Every code of the input into narrower, wider, finer, coarser and far-off types, behind a sum and alone."""
    rng = np.random.default_rng(7)
    net = Net(((1,), "fixed<9,4>"))
    wide = net.add(p.Take(np.zeros((5, 8), dtype=int)), 0)
    sums = net.add(p.ConstMatmul(rng.integers(-5, 6, (8, 8)), 2), wide)
    biased = net.add(p.AddConst(rng.integers(-90, 90, 8), 4), sums)
    width, signed = rng.integers(1, 14, (5, 8)), rng.integers(0, 2, (5, 8))
    hi = (1 << np.maximum(width - signed, 0)) - 1
    lo = np.where(signed == 1, -hi - (overflow is not Overflow.SAT_SYM), 0)
    frac = rng.integers(-6, 12, (5, 8))
    frac[0, :2] = -30, 40
    into = p.Requantize(ints(lo), ints(hi), ints(frac), rounding, overflow)
    made = [
        net.add(into, t) for t in (wide, biased, net.add(p.Relu(), biased), net.add(p.Clip(-9, 77, 3), sums))
    ]
    program = net.program(*made)
    codes = [np.arange(-256, 256)[:, None]]
    expected = program.emulate(codes, made)
    for engine in ENGINES:
        emulator = Emulator(program, engine)  # type: ignore[arg-type]
        assert emulator.engine == engine
        for got, right in zip(emulator.codes(networks.values(program, codes)), expected, strict=True):
            np.testing.assert_array_equal(got, right)


@pytest.mark.parametrize("size", [23, 24, 25, 26, 40, 52, 53, 54])
def test_numbers_as_long_as_the_formats(size: int) -> None:
    """Sums of ``size`` bits, rounded and wrapped: float32, float64 or the reference, always exact."""
    net = Net(((3,), f"fixed<{size - 2},4>"))
    total = net.add(p.ConstMatmul(ints([[1, -2], [1, 1], [-1, 1]]), 0), 0)
    rounded = [
        net.add(p.Requantize.of(Quantizer.parse(f"fixed<{size - 8},3,{rounding},{overflow}>")), total)
        for rounding, overflow in (("RND", "SAT"), ("RND_CONV", "WRAP"), ("RND_INF", "SAT_ZERO"))
    ]
    scaled = (
        net.add(p.Rescale(ints(77), ints(9), ints(13), ints(-90_000), ints(90_000), 2), rounded[0])
        if size < 50
        else 0
    )
    agree(net.program(total, *rounded, scaled), reference=size > 50)


def test_the_reference_runs_what_no_format_holds() -> None:
    net = Net(((2,), "fixed<60,4>"))
    total = net.add(p.ConstMatmul(ints([[1], [1]]), 0), 0)
    assert Emulator(net.program(total)).engine == "reference"


@pytest.mark.parametrize("frac", [-700, -90, -45, 45, 90, 130, 700])
def test_far_binary_points(frac: int) -> None:
    net = Net(((2, 3), "fixed<8,3>"))
    moved = net.add(p.MulConst(ints([1, -3, 5]), frac), 0)
    back = net.add(p.MulConst(ints(3), -frac), moved)
    agree(net.program(moved, back), reference=True)


def test_constants_and_dead_elements() -> None:
    """Elements that never change, that nobody reads, and inputs that go straight to an output."""
    net = Net(((6,), "fixed<5,2>"), ((2, 2), "ufixed<3,1>"))
    some = net.add(p.MulConst(ints([1, 0, 3, 0, -1, 2]), 1), 0)
    taken = net.add(p.Take(ints([[0, 1, -1], [4, -1, 3]])), some)
    fixed = net.add(p.Constant(ints([[5, -3, 0], [0, 7, 1]]), ints([1, 2, 3])))
    joined = net.add(p.Concat(1), taken, fixed)
    sums = net.add(p.ConstMatmul(ints(np.eye(6, 4) * 3), 1), joined)
    one = net.add(p.Take(ints([0, 5])), sums)
    agree(net.program(0, 1, fixed, one, taken))


@pytest.mark.parametrize("shape", [(0,), (0, 3), (3, 0), (1,), (1, 1), (7, 1, 3)])
def test_empty_and_odd_axes(shape: tuple[int, ...]) -> None:
    net = Net((shape, "fixed<5,2>"), ((2,), "fixed<4,2>"))
    n = shape[-1]
    steps = [
        net.add(p.ConstMatmul(np.arange(n * 3).reshape(n, 3) - n, 2), 0), net.add(p.Reduce("sum"), 0),
        net.add(p.AddConst(ints(3), 2), 0), net.add(p.Relu(), 0), net.add(p.Combine("mul"), 0, 0, 0),
        net.add(p.Requantize.of(Quantizer.parse("fixed<3,2,RND,SAT>")), 0), net.add(p.Concat(0), 0, 0),
        net.add(p.Steps(ints([-3, 0, 2, 4, 5]), ints(1), ints([1]), 0), 0), net.add(p.Reshape((n, *shape[:-1])), 0),
        net.add(p.Lookup(ints(-16), np.arange(32)[None] ** 2, ints(0), 1), 0), net.add(p.Compare(), 0, 0),
        net.add(p.ConstMatmul(np.zeros((n, 0), dtype=int), 0), 0),
    ]  # fmt: skip
    if n:
        steps += [net.add(p.ArgMax(), 0), net.add(p.Reduce("max"), 0)]
    if len(shape) == 2:
        turned = net.add(p.Take(np.arange(net.types[0].size).reshape(shape).T), 0)
        steps += [net.add(p.Contract(), 0, turned), net.add(p.Contract(), turned, 0)]
        windows = net.add(p.Window((2,), (1,), (1,), ((1, 1),)), 0)
        steps.append(net.add(p.Reduce("sum"), windows))
    agree(net.program(1, *steps))


def test_events_of_any_number() -> None:
    """Blocks of the engines end in the middle; nothing of one event reaches another."""
    net = programs.everything()
    codes = programs.codes_of(net, 131)
    whole = Emulator(net, "reference").codes(networks.values(net, codes))
    for engine in ENGINES:
        emulator = Emulator(net, engine, threads=3)  # type: ignore[arg-type]
        for count in (0, 1, 2, 63, 64, 65, 131):
            part = emulator.codes(networks.values(net, [c[:count] for c in codes]))
            for got, right in zip(part, whole, strict=True):
                np.testing.assert_array_equal(got, right[:count])


def scalar_program(seed: int) -> TensorProgram:
    """Return a scalar program of random rows on elements of random types."""
    rng = np.random.default_rng(seed)
    net = Net(((4,), "fixed<6,3>"))
    typed = net.add(
        p.Requantize(
            ints([-8, 0, -2, 0]), ints([7, 31, 1, 1]), ints([1, 3, -1, 0]), Rounding.RND, Overflow.WRAP
        ),
        0,
    )
    sizes = (int(rng.integers(1, 20)), 8)
    tables = rng.integers(-30, 30, sum(sizes))
    rows: list[list[int]] = []
    while len(rows) < 25:
        kind = Kind(int(rng.integers(0, len(Kind))))
        wires = rng.integers(max(0, len(rows) - 6), 4 + len(rows), 3).tolist()
        width = int(rng.integers(1, 8)) * int(rng.choice([-1, 1]))
        shift, frac = int(rng.integers(-2, 3)), int(rng.integers(-2, 5))
        given = {
            Kind.LOOKUP: [int(rng.integers(0, 2)), int(rng.integers(-8, 8)), shift], Kind.NOT: [width, frac, shift],
            Kind.ALL: [abs(width), frac, 0], Kind.CONVERT: [shift, frac, width],
        }  # fmt: skip
        row = [int(kind), *wires, *given.get(kind, [int(rng.integers(-3, 4)), frac, 0])]
        # What grows is made short again at once, so that long chains stay within the formats.
        more = [row, [int(Kind.CONVERT), 4 + len(rows), 0, 0, 0, 2, -9]]
        try:
            scalar(rows + more, tables, sizes).infer(net.types[typed])
        except RangeError:
            continue
        rows += more
    return net.program(net.add(scalar(rows, tables, sizes), typed))


def scalar(rows: list[list[int]], tables: np.ndarray, sizes: tuple[int, ...]) -> p.Scalar:
    """Return the program with all its wires as outputs, some of them moved and negated, and a zero."""
    outputs = [[4 + k, k % 3 - 1, k % 2] for k in range(len(rows))] + [[-1, 0, 0], [1, 0, 0]]
    return p.Scalar(ints(rows), ints(outputs), tables, sizes, (2, -1), (len(outputs),))


@pytest.mark.parametrize("seed", range(12))
def test_scalar_programs(seed: int) -> None:
    agree(scalar_program(seed))


def test_thresholds_of_a_normalization_become_a_line() -> None:
    """Exhaustively: a rounded line of long factors, seen as thresholds, gives the same levels for every code."""
    rng = np.random.default_rng(4)
    first, last = -3000, 2999
    codes = np.arange(first, last + 1)
    factor, offset = rng.integers(3000, 90_000, 30), rng.integers(-(1 << 24), 1 << 24, 30)
    levels = np.clip((codes * factor[:, None] + offset[:, None]) >> 20, 0, 31)
    limits = np.stack([np.searchsorted(row, np.arange(1, 32)) for row in levels]) + first
    ends = np.full(30, first), np.full(30, last)
    found = lines(limits, *ends)
    assert found is not None
    slope, constant = (part[:, None] for part in found)
    np.testing.assert_array_equal(np.clip(np.floor(slope * codes + constant), 0, 31), levels)
    limits[3, 4] -= 400
    assert lines(np.sort(limits, axis=1), *ends) is None


@pytest.mark.parametrize("jump", [1, 4, 3, -2])
def test_thresholds_with_equal_jumps(jump: int) -> None:
    net = Net(((3,), "fixed<11,5>"))
    limits = np.clip(np.arange(-15, 16) * ints([[30], [61], [71]]) + ints([[0], [5], [-99]]), -1024, 1024)
    steps = p.Steps(limits, ints([0, 12, -24]), ints([jump]), 3)
    net.add(steps, 0)
    net.add(steps, net.add(p.AddConst(ints([1, 0, 3]), 6), 0))
    program = net.program(1, 3)
    codes = [np.arange(-1024, 1024)[:, None] + np.zeros(3, dtype=int)]
    expected = program.emulate(codes, [1, 3])
    for engine in ENGINES:
        for got, right in zip(
            Emulator(program, engine).codes(networks.values(program, codes)),
            expected,
            strict=True,  # type: ignore[arg-type]
        ):
            np.testing.assert_array_equal(got, right)


def test_convolutions_need_few_rows() -> None:
    """A step runs just before its reader: a few lines of the image are alive, not the whole of it."""
    rng = np.random.default_rng(3)
    net = Net(((24, 6, 2), "ufixed<4,0>"))
    x = 0
    for _ in range(2):
        windows = net.add(p.Window((3, 3), (1, 1), (1, 1), ((1, 1), (1, 1))), x)
        taps = net.types[windows].shape[-1]
        sums = net.add(p.ConstMatmul(rng.integers(-3, 4, (taps, 8)), 3), windows)
        x = net.add(p.Requantize.of(Quantizer.parse("ufixed<4,1,RND,SAT>")), sums)
    program = net.program(net.add(p.Reduce("max"), net.add(p.Reshape((24, 48)), x)))
    plan = kernels.plan(program, [program.outputs[0][1]])
    assert plan is not None
    whole, few = arranged(plan), arranged(plan, 48)
    assert 2 * 24 * 48 <= whole.n_rows < plan.n_rows
    assert few.n_rows < whole.n_rows / 3
    for done in (whole, few):
        runs = {(s.kernel, unit) for s in done.steps for unit in range(s.first, s.last)}
        assert len(runs) == sum(len(k.sources) for k in plan.kernels)
    agree(program)
