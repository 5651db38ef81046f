# SPDX-License-Identifier: Apache-2.0
"""What `l1ml verify` compares: layers, float32's own errors, and events on the boundaries of quantizers."""

from __future__ import annotations

import numpy as np
import pytest

from l1ml.graph import primitives as p
from l1ml.graph.program import NetInput, TensorProgram, TensorStep
from l1ml.types.fixed import Quantizer
from l1ml.verify import stimuli
from l1ml.verify.compare import Comparator, Comparison
from l1ml.verify.slack import UNIT, bounds


def network(
    steps: list[tuple[p.Primitive, tuple[int, ...], str]], shape: tuple[int, ...] = (4,)
) -> TensorProgram:
    """Return a program of one input, fixed<8,4>, with every step marked."""
    made: list[TensorStep] = []
    port = NetInput("x", shape, Quantizer.parse("fixed<8,4>"))
    for op, sources, layer in steps:
        types = [port.type if s == 0 else made[s - 1].type for s in sources]
        made.append(TensorStep(op, sources, layer, op.infer(*types)))
    marks = tuple((step.layer, number) for number, step in enumerate(made, start=1))
    return TensorProgram((port,), tuple(made), (("y", len(made)),), marks)


def matrix(rows: int, columns: int, frac: int, size: int = 7) -> p.ConstMatmul:
    values = np.random.default_rng(1).integers(-size, size + 1, (rows, columns))
    return p.ConstMatmul(values, frac)


@pytest.fixture
def program() -> TensorProgram:
    """Return a dense layer, a quantizer of 4 bits with one fraction bit, and another dense layer."""
    quantizer = p.Requantize.of(Quantizer.parse("fixed<4,3,RND_CONV,SAT>"))
    return network([(matrix(4, 3, 2), (0,), "fc1"), (quantizer, (1,), "act"), (matrix(3, 2, 2), (2,), "out")])


@pytest.fixture
def codes() -> np.ndarray:
    return np.random.default_rng(2).integers(-128, 128, (150, 4))


def real(program: TensorProgram, codes: np.ndarray) -> dict[str, np.ndarray]:
    """Return what a framework without float32 errors gives."""
    made = dict(program.walk([codes]))
    return {name: np.ldexp(made[t].astype(np.float64), -program.type_of(t).frac) for name, t in program.marks}


def compared(program: TensorProgram, codes: np.ndarray, wanted: dict[str, np.ndarray]) -> Comparison:
    comparator = Comparator(program)
    for first in range(0, len(codes), 64):
        comparator.add([codes[first : first + 64]], {n: v[first : first + 64] for n, v in wanted.items()})
    return comparator.result


# ---- comparison


def test_equal_layers_pass(program: TensorProgram, codes: np.ndarray) -> None:
    result = compared(program, codes, real(program, codes))
    assert result.passed
    assert (result.events, result.values, result.different) == (150, 150 * 8, 0)
    assert result.first is None


def test_the_first_layer_and_event_are_named(program: TensorProgram, codes: np.ndarray) -> None:
    wanted = real(program, codes)
    wanted["out"][5, 1] += 2.0**-5  # an earlier event of a later layer
    wanted["act"][99, 2] -= 0.5
    wanted["act"][120, 0] += 0.5
    result = compared(program, codes, wanted)
    assert not result.passed
    assert result.different == 3
    assert result.first is not None
    assert (result.first.layer, result.first.event, result.first.index) == ("act", 99, (2,))
    assert "layer 'act', event 99, element [2]" in str(result.first)
    assert "+1 LSB" in str(result.first)


def test_a_layer_that_is_not_shown_is_listed_and_an_output_must_be(
    program: TensorProgram, codes: np.ndarray
) -> None:
    wanted = real(program, codes)
    del wanted["act"]
    result = compared(program, codes, wanted)
    assert result.passed
    assert set(result.missing) == {"act"}
    del wanted["out"]
    result = compared(program, codes, wanted)
    assert not result.passed
    assert result.not_shown == ["out"]


def test_no_events_are_no_success(program: TensorProgram) -> None:
    assert not Comparator(program).result.passed


def test_axes_and_codes_of_the_framework_are_found() -> None:
    program = network([(p.Requantize.of(Quantizer.parse("fixed<6,4>")), (0,), "q")], (2, 2, 3))
    codes = np.random.default_rng(3).integers(-128, 128, (20, 2, 2, 3))
    wanted = real(program, codes)["q"]
    first = np.moveaxis(wanted, -1, 1)
    assert compared(program, codes, {"q": first}).passed
    assert compared(program, codes, {"q": first * 0.37, "q [codes]": wanted}).passed
    assert not compared(program, codes, {"q": first * 0.37}).passed
    result = compared(program, codes, {"q": wanted[:, 0]})
    assert not result.passed
    assert result.missing["q"] == "shape (2, 3) there, (2, 2, 3) here"


def test_what_a_quantizer_returns_may_lie_a_little_off_its_grid(
    program: TensorProgram, codes: np.ndarray
) -> None:
    """QKeras gives x + (-x + q) in float32."""
    wanted = real(program, codes)
    wanted["act"][3] += 0.2 * 0.5  # of its LSB
    result = compared(program, codes, wanted)
    assert result.passed
    assert result.layers["act"].snapped == 3
    wanted["act"][3, 0] += 0.4 * 0.5
    assert not compared(program, codes, wanted).passed


# ---- slack


def test_sums_that_float32_holds_have_no_slack(program: TensorProgram) -> None:
    assert all(not bound.any() for bound in bounds(program))


@pytest.fixture
def wide() -> TensorProgram:
    """Return sums of more than 24 bits, in front of a quantizer."""
    quantizer = p.Requantize.of(Quantizer.parse("fixed<6,6,RND_CONV,SAT>"))
    return network([(matrix(4, 3, 24, 1 << 24), (0,), "fc1"), (quantizer, (1,), "act")])


def test_slack_of_a_wide_sum_covers_float32_and_ends_at_the_quantizer(
    wide: TensorProgram, codes: np.ndarray
) -> None:
    slack = bounds(wide)
    op = wide.steps[0].op
    assert isinstance(op, p.ConstMatmul)
    weights, x = np.ldexp(op.matrix.astype(np.float64), -24), codes * 2.0**-4
    single = np.zeros((len(x), 3), dtype=np.float32)
    for k in range(4):
        single += (x[:, k : k + 1] * weights[k]).astype(np.float32)
    off = np.abs(single - x @ weights)
    assert off.max() > 0
    assert (off <= slack[1]).all()
    assert slack[1].max() < 100 * UNIT * 8 * 4
    assert not slack[2].any()


def test_float32_before_a_quantizer_is_uncertain_only_at_its_boundary(
    wide: TensorProgram, codes: np.ndarray
) -> None:
    op = wide.steps[0].op
    assert isinstance(op, p.ConstMatmul)
    tie = np.zeros((1, 4), dtype=np.int64)
    exact = network([(p.Requantize.of(Quantizer.parse("fixed<6,6,RND_CONV,SAT>")), (0,), "act")])
    at_tie = np.array([[8, 24, -8, 40]])  # 0.5, 1.5, -0.5, 2.5
    wanted = real(exact, at_tie)
    wanted["act"] += 1
    assert not compared(exact, at_tie, wanted).passed, "an exact input excuses nothing"
    near = Comparator(wide)
    values = real(wide, tie)
    values["act"] = values["act"] + 1
    near.add([tie], values)
    assert near.result.different == 3, "far from a boundary nothing is excused"
    shifted = network(
        [
            (matrix(4, 3, 24, 1 << 24), (0,), "fc1"),
            (p.AddConst(np.full(3, 1 << 23), 24), (1,), "bias"),
            (p.Requantize.of(Quantizer.parse("fixed<6,6,RND_CONV,SAT>")), (2,), "act"),
        ]
    )
    values = real(shifted, tie)  # the sum is exactly 0.5
    assert not values["act"].any()
    values["act"] = values["act"] + 1
    beside = Comparator(shifted)
    beside.add([tie], values)
    assert beside.result.layers["act"].uncertain == 3
    assert beside.result.set_aside == 1
    assert beside.result.different == 0


def test_events_behind_an_uncertain_value_are_set_aside(codes: np.ndarray) -> None:
    program = network(
        [
            (matrix(4, 3, 24, 1 << 24), (0,), "fc1"),
            (p.AddConst(np.full(3, 1 << 23), 24), (1,), "bias"),
            (p.Requantize.of(Quantizer.parse("fixed<6,6,RND_CONV,SAT>")), (2,), "act"),
            (matrix(3, 2, 2), (3,), "out"),
        ]
    )
    events = np.concatenate([np.zeros((1, 4), dtype=np.int64), codes])
    wanted = real(program, events)
    wanted["act"][0] += 1
    wanted["out"][0] += 1
    result = compared(program, events, wanted)
    assert result.passed
    assert result.set_aside == 1
    assert result.layers["out"].values == 2 * len(codes)
    only = compared(program, events[:1], {name: values[:1] for name, values in wanted.items()})
    assert not only.passed, "no event is left in which the output was compared"


# ---- stimuli


def test_stimuli_reach_the_boundaries_of_the_quantizers(program: TensorProgram) -> None:
    (made,), coverage = stimuli.generate(program, 200)
    assert made.shape == (200, 4)
    assert made.min() >= -128
    assert made.max() <= 127
    totals = coverage.totals()
    assert set(totals) == {*stimuli.TIES, *stimuli.ENDS}
    assert totals["tie to even below"] == totals["tie to even above"] == (3, 3)
    assert all(hit == of for hit, of in totals.values()), totals
    sums = dict(program.walk([made]))[1]
    drop = int(program.steps[0].type.frac.ravel()[0]) - 1
    ties = sums & ((1 << drop) - 1) == 1 << (drop - 1)
    assert ties.any(axis=0).all(), "the coverage is that of the events"


def test_stimuli_are_the_same_every_time_and_as_many_as_asked_for(program: TensorProgram) -> None:
    (first,), _ = stimuli.generate(program, 70)
    (again,), _ = stimuli.generate(program, 70)
    (other,), _ = stimuli.generate(program, 70, seed=2)
    assert len(first) == 70
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("shift", [1, 4])
def test_stimuli_find_a_wrong_rounding(shift: int) -> None:
    """Ties, and ends of ranges, tell roundings and overflows apart; random events may not."""
    steps = [(p.Requantize.of(Quantizer.parse(f"fixed<{8 - shift},4,{text}>")), (0,), "q")
             for text in ("RND_CONV,SAT", "RND,SAT", "RND_CONV,SAT_SYM", "RND_CONV,WRAP")]  # fmt: skip
    right, *wrong = (network([step]) for step in steps)
    (made,), _ = stimuli.generate(right, 100)
    for other in wrong:
        assert not compared(right, made, real(other, made)).passed
