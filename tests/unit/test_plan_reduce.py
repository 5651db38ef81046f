# SPDX-License-Identifier: Apache-2.0
"""Reduce: the twin against plain loops, its times against a model that counts clocks."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from engine_clocks import reduce_clocks

from l1ml.errors import ConfigError, DataError
from l1ml.plan.reduce import KINDS, ReduceEngine

SHAPES = [
    (rows, columns, lanes)
    for rows, columns in itertools.product((1, 2, 3), range(1, 6))
    for lanes in range(1, columns + 1)
]


def engine(rows: int, columns: int, lanes: int, **changes: Any) -> ReduceEngine:
    given = {"channels": 3, "element_bits": 6, "signed": True, "kind": "sum", "result_bits": 12}
    return ReduceEngine(rows, columns, lanes, **{**given, **changes})


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", SHAPES)
def test_every_position_counts_once_and_no_other(kind: str, shape: tuple[int, int, int]) -> None:
    one = engine(*shape, kind=kind)
    rng = np.random.default_rng(4)
    beats = rng.integers(-32, 32, (7, one.beats, one.lanes, 3))
    expected = []
    for event in beats:
        image: list[list[int]] = [[], [], []]
        for number, beat in enumerate(event):
            for lane, position in enumerate(beat):
                if number % one.beats_per_row * one.lanes + lane < one.columns:
                    for channel, code in enumerate(position):
                        image[channel].append(int(code))
        assert len(image[0]) == one.rows * one.columns
        expected.append([{"sum": sum, "max": max, "min": min}[kind](codes) for codes in image])
    np.testing.assert_array_equal(one.emulate(beats)[:, 0, 0], expected)
    assert one.emulate(beats[:0]).shape == (0, 1, 1, 3)


@pytest.mark.parametrize("tree_stages", [0, 1, 2])
def test_results_come_in_their_clock_at_the_least_interval(tree_stages: int) -> None:
    one = engine(2, 7, 4, tree_stages=tree_stages)
    for arrivals in (np.arange(4), np.array([3, 4, 9, 10])):
        busy = one.busy(arrivals)
        events = [arrivals + busy * number for number in range(3)]
        clocks = [(0, 1)] * (int(events[-1][-1]) + 1)
        for event in events:
            for number, clock in enumerate(event):
                clocks[clock] = (1, int(number == 0))
        answers = reduce_clocks(one, clocks)
        assert [a.clock for a in answers] == [int(one.times(event)[0]) for event in events]
        assert [list(a.beats) for a in answers] == [event.tolist() for event in events]
        assert set(events[0]) & set(events[0] + busy - 1)  # any closer, and two beats share a clock


@pytest.mark.parametrize("tree_stages", [0, 1])
def test_groups_are_events_of_their_own(tree_stages: int) -> None:
    one, each = engine(2, 5, 2, groups=3, tree_stages=tree_stages), engine(2, 5, 2)
    beats = np.random.default_rng(6).integers(-32, 32, (4, one.beats, 2, 3))
    apart = each.emulate(beats.reshape(12, each.beats, 2, 3)).reshape(4, 3, 1, 3)
    np.testing.assert_array_equal(one.emulate(beats), apart)
    arrivals = np.cumsum(np.random.default_rng(7).integers(1, 4, one.beats))
    clocks = [(0, 1)] * (int(arrivals[-1]) + 1)
    for number, clock in enumerate(arrivals):
        clocks[clock] = (1, int(number == 0))
    answers = reduce_clocks(one, clocks)
    assert [a.clock for a in answers] == one.times(arrivals).tolist()
    assert [a.start for a in answers] == [True, False, False]
    assert one.busy(arrivals) == arrivals[-1] - arrivals[0] + 1
    with pytest.raises(ConfigError, match="groups = 0"):
        engine(2, 5, 2, groups=0)


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("bits", [1, 2, 5])
@pytest.mark.parametrize("positions", [1, 2, 3, 8, 9])
def test_least_result_bits_are_enough_and_not_more(signed: bool, bits: int, positions: int) -> None:
    low = -(1 << bits - 1) if signed else 0
    ends = positions * low, positions * (low + (1 << bits) - 1)
    least = ReduceEngine.least_result_bits("sum", positions, bits, signed)

    def fits(width: int) -> bool:
        bottom = -(1 << width - 1) if signed else 0
        return bottom <= ends[0] and ends[1] < bottom + (1 << width)

    assert fits(least)
    assert least == 1 or not fits(least - 1)
    made = ReduceEngine(1, positions, 1, 1, bits, signed, "sum", least)
    assert made.emulate(np.full((1, positions, 1, 1), low)).ravel().tolist() == [ends[0]]


def test_parameters_carry_the_names_of_the_hardware() -> None:
    assert engine(2, 5, 3, kind="min", tree_stages=1).parameters() == {
        "Rows": 2, "Columns": 5, "Lanes": 3, "Channels": 3, "ElementBits": 6, "Signed": 1, "Kind": 2,
        "ResultBits": 12, "TreeStages": 1, "Groups": 1,
    }  # fmt: skip


def test_what_has_no_meaning_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"^Reduce: rows = 0, channels = -1; at least 1 is needed"):
        engine(0, 4, 1, channels=-1)
    with pytest.raises(ConfigError, match="5 lanes, but a row has only 4 positions"):
        engine(1, 4, 5)
    with pytest.raises(ConfigError, match=r"kind 'mean'\n  fix allowed are sum, max, min"):
        engine(1, 4, 1, kind="mean")
    with pytest.raises(ConfigError, match=r"8 elements of 6 bits does not fit 8 bits\n  fix give at least 9"):
        engine(2, 4, 1, result_bits=8)
    with pytest.raises(ConfigError, match="the max of 8 elements of 6 bits does not fit 5 bits"):
        engine(2, 4, 1, kind="max", result_bits=5)
    with pytest.raises(ConfigError, match="result_bits = 63"):
        engine(2, 4, 1, result_bits=63)
    with pytest.raises(ConfigError, match=r"3 registers in a tree of 4 terms, which has 2 levels"):
        engine(2, 4, 4, tree_stages=3)
    with pytest.raises(DataError, match=r"codes of shape \(1, 8, 1, 2\) are no events of 8 beats"):
        engine(2, 4, 1).emulate(np.zeros((1, 8, 1, 2), dtype=np.int64))
    with pytest.raises(ConfigError, match="an event has 8 input beats"):
        engine(2, 4, 1).times(np.arange(7))
