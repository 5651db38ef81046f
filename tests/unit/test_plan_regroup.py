# SPDX-License-Identifier: Apache-2.0
"""Split and Collect: their twins against plain NumPy and against a model that counts clocks."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from l1ml.errors import ConfigError, DataError
from l1ml.plan.regroup import CollectEngine, SplitEngine

SHAPES = [
    (rows, columns, lanes)
    for rows, columns in itertools.product((1, 2, 3), range(1, 8))
    for lanes in range(1, columns + 1)
]


@pytest.mark.parametrize(("rows", "columns", "lanes"), SHAPES)
def test_every_position_is_in_its_lane(rows: int, columns: int, lanes: int) -> None:
    image = np.random.default_rng(1).integers(-99, 99, (5, rows, columns, 2))
    split, collect = (kind(rows, columns, lanes, 9) for kind in (SplitEngine, CollectEngine))
    beats = split.emulate(image.reshape(5, 1, -1, 1))
    assert beats.shape == (5, split.beats, lanes, 2)
    for row, column in itertools.product(range(rows), range(beats.shape[1] // rows * lanes)):
        beat, lane = divmod(column, lanes)
        found = beats[:, row * split.beats_per_row + beat, lane]
        np.testing.assert_array_equal(found, image[:, row, column] if column < columns else 0)
    whole = collect.emulate(beats)
    assert whole.shape == (5, 1, rows * columns, 2)
    np.testing.assert_array_equal(whole.reshape(image.shape), image)
    assert len(collect.emulate(beats[:0])) == len(split.emulate(whole[:0])) == 0


def split_clocks(engine: SplitEngine, events: list[int]) -> dict[int, tuple[int, int]]:
    """Play the shift register: event and beat on the output, by clock."""
    out, waiting = {}, []
    for clock in range(max(events) + engine.beats + 1):
        if waiting:
            out[clock] = waiting.pop(0)
        if clock in events:
            waiting = [(events.index(clock), beat) for beat in range(engine.beats)]
    return out


@pytest.mark.parametrize("lanes", [1, 2, 3, 7])
def test_split_sends_one_beat_per_clock_at_the_least_interval(lanes: int) -> None:
    engine = SplitEngine(2, 7, lanes, 4)
    busy = engine.busy(np.array([5]))
    starts = [5 + busy * n for n in range(3)]
    expected = {
        int(clock): (event, beat)
        for event, start in enumerate(starts)
        for beat, clock in enumerate(engine.times(np.array([start])))
    }
    assert split_clocks(engine, starts) == expected
    if busy > 1:  # any closer, and an event would be cut
        assert len(split_clocks(engine, [5, 5 + busy - 1])) < 2 * engine.beats


def test_collect_waits_for_the_last_beat() -> None:
    engine = CollectEngine(2, 5, 2, 4)
    arrivals = np.array([3, 4, 7, 8, 9, 15])
    assert engine.times(arrivals).tolist() == [16]
    assert engine.busy(arrivals) == 13
    assert engine.times(arrivals + 13)[0] == 29
    # Any closer, and two beats would share a clock.
    assert set(arrivals) & set(arrivals + 12)
    assert not set(arrivals) & set(arrivals + 13)


def test_parameters_carry_the_names_of_the_hardware() -> None:
    expected = {"Rows": 2, "Columns": 5, "Lanes": 3, "PositionBits": 12}
    assert SplitEngine(2, 5, 3, 12).parameters() == CollectEngine(2, 5, 3, 12).parameters() == expected


@pytest.mark.parametrize("kind", [SplitEngine, CollectEngine])
def test_what_has_no_meaning_is_refused(kind: type[SplitEngine | CollectEngine]) -> None:
    with pytest.raises(ConfigError, match=rf"^{kind.NAME}: rows = 0, lanes = -1; at least 1 is needed"):
        kind(0, 4, -1, 3)
    with pytest.raises(ConfigError, match="5 lanes, but a row has only 4 positions"):
        kind(3, 4, 5, 3)
    with pytest.raises(DataError, match=r"codes of shape \(2, 3, 1, 1\)"):
        kind(1, 5, 1, 3).emulate(np.zeros((2, 3, 1, 1), dtype=np.int64))
    with pytest.raises(ConfigError, match=r"input beats, got clocks of shape"):
        kind(1, 4, 2, 3).times(np.arange(7))


def test_two_beats_in_one_clock_are_refused() -> None:
    with pytest.raises(ConfigError, match="beat 2 comes at clock 4, beat 1 at clock 4"):
        CollectEngine(1, 6, 2, 3).busy(np.array([2, 4, 4]))
