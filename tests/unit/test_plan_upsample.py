# SPDX-License-Identifier: Apache-2.0
"""Upsample: the twin against NumPy, its times against a model that counts clocks."""

from __future__ import annotations

import numpy as np
import pytest
from upsample_clocks import play

from l1ml.errors import ConfigError, DataError
from l1ml.plan.upsample import UpsampleEngine

SHAPES = (
    (1, 1, 3, 1, 1), (1, 4, 2, 1, 3), (3, 2, 4, 2, 1), (2, 3, 5, 2, 2), (3, 4, 2, 3, 2), (4, 1, 2, 2, 2),
    (2, 4, 3, 1, 1),
)  # fmt: skip
"""Rows, beats of a row, bits, how often rows and beats go out."""


@pytest.mark.parametrize("shape", SHAPES)
def test_rows_and_columns_are_repeated(shape: tuple[int, ...]) -> None:
    one = UpsampleEngine(*shape)
    image = np.random.default_rng(1).integers(0, 9, (2, one.rows, one.row_beats, 3, 2))
    wanted = np.repeat(np.repeat(image, one.row_times, axis=1), one.beat_times, axis=2)
    made = one.emulate(image.reshape(2, one.beats, 3, 2))
    assert np.array_equal(made, wanted.reshape(2, -1, 3, 2))


@pytest.mark.parametrize("gaps", [0, 1, 5])
@pytest.mark.parametrize("shape", SHAPES)
def test_times_and_busy_are_those_of_the_clock_model(shape: tuple[int, ...], gaps: int) -> None:
    one = UpsampleEngine(*shape)
    rng = np.random.default_rng(gaps)
    arrivals = np.cumsum(rng.integers(1, 2 + gaps, one.beats)) - 1
    arrivals -= arrivals[0]

    def exact(interval: int) -> bool:
        clocks = 3 * interval + int(one.times(arrivals)[-1]) + 4
        valid, start, data = ([0] * clocks for _ in range(3))
        wanted: dict[int, tuple[bool, int]] = {}
        for event in range(4):
            for number, at in enumerate(arrivals + event * interval):
                valid[at], start[at], data[at] = 1, int(number == 0), 100 * event + number
            for number, (at, beat) in enumerate(zip(one.times(arrivals), one.order(), strict=True)):
                wanted[int(at) + event * interval] = (number == 0, 100 * event + int(beat))
        apart = len(wanted) == 4 * len(one.order())  # else two events want the same clock
        return apart and play(one, valid, start, data) == wanted

    busy, span = one.busy(arrivals), int(arrivals[-1]) + 1
    assert all(exact(interval) for interval in range(busy, busy + 3))
    assert busy == span or not exact(busy - 1)


def test_what_has_no_meaning_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"^Upsample: rows = 0, beat_times = 0; at least 1 is needed"):
        UpsampleEngine(0, 1, 1, 1, 0)
    with pytest.raises(DataError, match="no events of 6 beats"):
        UpsampleEngine(2, 3, 1).emulate(np.zeros((1, 5, 1, 1), dtype=np.int64))
    with pytest.raises(ConfigError, match="an event has 6 input beats"):
        UpsampleEngine(2, 3, 1).times(np.arange(5))
