# SPDX-License-Identifier: Apache-2.0
"""Reduce in simulation: every result in its clock, whatever comes; every mutant is found."""

from __future__ import annotations

import itertools
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from l1ml.plan.reduce import KINDS, ReduceEngine

sys.path.insert(0, str(Path(__file__).parents[1] / "unit"))
sys.path.insert(0, str(Path(__file__).parent))
import engine_bench as eb
from engine_clocks import reduce_clocks

pytestmark = pytest.mark.sim

SHAPES = (
    (1, 1, 1, 0, 1), (1, 4, 1, 0, 1), (1, 2, 2, 1, 3), (2, 3, 2, 0, 1), (3, 5, 4, 1, 1), (2, 7, 5, 3, 1),
    (1, 9, 8, 2, 1), (2, 3, 3, 2, 1), (2, 5, 3, 2, 3),
)  # fmt: skip
"""Rows, columns, lanes, registers of the tree, groups."""


def engine(
    rows: int, columns: int, lanes: int, stages: int, groups: int, kind: str, signed: bool, bits: int
) -> ReduceEngine:
    spare = rows % 2  # bits more than needed
    least = ReduceEngine.least_result_bits(kind, rows * columns, bits, signed)
    channels = columns % 3 + 1
    return ReduceEngine(rows, columns, lanes, channels, bits, signed, kind, least + spare, stages, groups)


ENGINES = {
    f"{kind}{int(signed)}_{number}": engine(*shape, kind, signed, 1 + (3 * number + int(signed)) % 7)
    for (number, shape), kind, signed in itertools.product(enumerate(SHAPES), KINDS, (False, True))
}
MUTANTS = {
    "count": ("LeftBits'(Beats - 1) :", "LeftBits'(Beats - 2) :"),
    "start": ("start_i ? LeftBits'(Beats - 1)", "(start_i & (left_q == '0)) ? LeftBits'(Beats - 1)"),
    "armed": ("(start_i | (left_q != '0));", "1'b1;"),
    "reset": ("if (rst_i) left_q <= '0;", ""),
    "late_reset": ("take_q <= rst_i ? '0 : {", "take_q <= {"),
    "valid": ("last_tree & ~rst_i", "last_tree"),
    "row": ("RowBeats - 1);\n\n    always_ff", "RowBeats - 2);\n\n    always_ff"),
    "place": ("start_i ? '0 : place_q", "place_q"),
    "lane": ("lane >= LastLanes", "lane > LastLanes"),
    "neutral": ("(Kind == 0) ? '0 :", "(Kind == 0) ? ElementBits'(1) :"),
    "marks": (".Latency(TreeStages)", ".Latency(TreeStages - 1)"),
    "first": ("(first_tree ? '0 : result_q)", "result_q"),
}
GROUP_MUTANTS = {
    "group": ("BeatPlaceBits'(GroupBeats - 1)", "BeatPlaceBits'(GroupBeats - 2)"),
    "group_start": ("start_i ? '0 : beat_q", "beat_q"),
    "group_begin": ("begins & ~last;", "begins;"),
    "group_fresh": ("begins = start_i | begins_q", "begins = begins_q"),
    "group_late": ("valid_o & begins_out", "valid_o & begins_tree"),
}
CHOICE_MUTANTS = {
    "lowest": ("Signed ? Top : '0", "Signed ? ~Top : '1"),
    "less": ("(less ^ (Kind == 1))", "less"),
    "begin": ("(first_tree | (less", "((less"),
}
MUTATED = {f"m_{name}": ("sum1_5", change) for name, change in MUTANTS.items()}
MUTATED |= {f"m_{name}": ("max1_5", change) for name, change in CHOICE_MUTANTS.items()}
MUTATED |= {f"m_{name}": ("sum1_8", change) for name, change in GROUP_MUTANTS.items()}


def sizes(one: ReduceEngine) -> tuple[int, int]:
    return one.lanes * one.channels * one.element_bits, one.channels * one.result_bits


def case(one: ReduceEngine, mutation: tuple[str, str] | None = None) -> eb.Case:
    return eb.Case(one.MODULE, one.parameters(), *sizes(one), mutation)


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> eb.Bench:
    made = eb.Bench(tmp_path_factory.mktemp("reduce"))
    made.cases |= {name: case(one) for name, one in ENGINES.items()}
    made.cases |= {name: case(ENGINES[of], change) for name, (of, change) in MUTATED.items()}
    made.build()
    return made


def results(one: ReduceEngine, events: list[list[int]]) -> list[int]:
    """Return the words of the results, by the twin, from the words of the beats of each."""
    one = replace(one, groups=1)
    shape = (len(events), one.beats, one.lanes, one.channels)
    beats = [beat for event in events for beat in event]
    codes = eb.codes(beats, one.lanes * one.channels, one.element_bits, one.signed)
    return eb.words(one.emulate(codes.reshape(shape)).reshape(len(events), one.channels), one.result_bits)


def expected(one: ReduceEngine, given: eb.Traffic) -> eb.Result:
    answers = reduce_clocks(one, zip(given.valid.tolist(), given.start.tolist(), strict=True))
    made = results(one, [[given.data[clock] for clock in answer.beats] for answer in answers])
    return eb.Result({a.clock: (a.start, word) for a, word in zip(answers, made, strict=True)})


def drive(one: ReduceEngine, seed: int, kinds: list[eb.Kind], resets: float = 0.0) -> eb.Traffic:
    interval = one.busy(np.arange(one.beats))
    return eb.traffic(seed, one.beats, interval, sizes(one)[0], kinds, resets=resets, tail=5)


def test_back_to_back(bench: eb.Bench) -> None:
    """The twin says what comes out, and when."""
    given = {name: drive(one, 2, [eb.whole] * 40) for name, one in ENGINES.items()}
    found = bench.play(given)
    for name, one in ENGINES.items():
        arrivals = np.arange(one.beats)
        rows = np.arange(40)[:, None] * one.busy(arrivals) + arrivals
        groups = rows.reshape(40 * one.groups, -1)
        made = results(one, [[given[name].data[clock] for clock in group] for group in groups])
        clocks = [int(clock) for event in rows for clock in one.times(event)]
        starts = [k % one.groups == 0 for k in range(len(made))]
        assert found[name].beats == dict(zip(clocks, zip(starts, made, strict=True), strict=True)), name


@pytest.mark.parametrize("resets", [0.0, 0.03])
def test_whatever_comes(bench: eb.Bench, resets: float) -> None:
    rng = np.random.default_rng(5)
    for seed in range(2):
        kinds = [eb.KINDS[k] for k in rng.integers(0, len(eb.KINDS), 80)]
        given = {name: drive(one, seed, kinds, resets) for name, one in ENGINES.items()}
        found = bench.play(given, seed=seed + 1)
        for name, one in ENGINES.items():
            wanted = eb.between_resets(given[name], lambda part, one=one: expected(one, part))
            assert found[name].beats == wanted.beats, f"{name}, seed {seed}"
            assert len(wanted.beats) > 15


def test_every_mutant_is_found(bench: eb.Bench) -> None:
    kinds = [*eb.KINDS] * 5
    given = {name: drive(ENGINES[of], 7, kinds, 0.02) for name, (of, _) in MUTATED.items()}
    found = bench.play(given)
    for name, (of, _) in MUTATED.items():
        wanted = eb.between_resets(given[name], lambda part, one=ENGINES[of]: expected(one, part))
        assert found[name].beats != wanted.beats, name
