# SPDX-License-Identifier: Apache-2.0
"""The twin of Window against plain NumPy and against a model clock by clock."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from l1ml.errors import ConfigError
from l1ml.graph.primitives import Window
from l1ml.plan.window import WindowEngine

sys.path.insert(0, str(Path(__file__).parent))
import window_clocks

SAME = ((1, 1), (1, 1))
SHAPES = {
    "valid": WindowEngine(6, 7, 1, 4, (3, 3)),
    "same": WindowEngine(4, 5, 1, 3, (3, 3), padding=SAME),
    "same two lanes": WindowEngine(4, 6, 2, 3, (3, 3), padding=SAME),
    "ragged": WindowEngine(5, 7, 2, 3, (3, 3)),
    "ragged same": WindowEngine(3, 7, 4, 2, (3, 3), padding=SAME),
    "pool": WindowEngine(6, 7, 1, 4, (2, 2), (2, 2)),
    "pool two lanes": WindowEngine(6, 7, 2, 4, (2, 2), (2, 2)),
    "pool four lanes": WindowEngine(5, 10, 4, 4, (2, 2), (2, 2)),
    "stride": WindowEngine(7, 9, 1, 2, (3, 3), (2, 2), padding=SAME),
    "dilated": WindowEngine(7, 8, 2, 2, (3, 3), dilation=(2, 2)),
    "dilated same": WindowEngine(6, 8, 1, 2, (3, 2), dilation=(1, 3), padding=((1, 1), (3, 0))),
    "row": WindowEngine(1, 9, 1, 5, (1, 3)),
    "row same": WindowEngine(1, 9, 3, 5, (1, 5), padding=((0, 0), (2, 2))),
    "row causal": WindowEngine(1, 8, 2, 5, (1, 3), dilation=(1, 2), padding=((0, 0), (4, 0))),
    "row stride": WindowEngine(1, 12, 4, 3, (1, 4), (1, 2), padding=((0, 0), (1, 1))),
    "whole row": WindowEngine(5, 4, 4, 2, (3, 3), padding=SAME),
    "column": WindowEngine(6, 3, 1, 2, (2, 1), (3, 1)),
    "one": WindowEngine(3, 3, 1, 2, (1, 1)),
    "skip": WindowEngine(4, 6, 1, 2, (1, 1), (2, 3)),
    "below": WindowEngine(2, 4, 1, 2, (3, 2), padding=((0, 1), (0, 0))),  # no window before the last beat
    "right": WindowEngine(1, 3, 1, 2, (1, 5), padding=((0, 0), (0, 2))),
    "crop": WindowEngine(5, 7, 1, 3, (1, 1), padding=((-1, -2), (-2, -1))),
    "crop lanes": WindowEngine(4, 9, 2, 3, (1, 1), padding=((0, -1), (-3, -1))),
    "crop and convolve": WindowEngine(6, 8, 4, 2, (2, 3), padding=((-1, 1), (-5, 0))),
    "last": WindowEngine(1, 5, 1, 4, (1, 1), padding=((0, 0), (-4, 0))),
}


@pytest.mark.parametrize("name", SHAPES)
def test_every_window_is_in_its_region(name: str) -> None:
    one = SHAPES[name]
    rng = np.random.default_rng(1)
    channels = 3
    image = rng.integers(-9, 9, (2, one.rows, one.columns, channels), dtype=np.int64)
    padded = rng.integers(-9, 9, (2, one.rows, one.beats_per_row * one.lanes, channels), dtype=np.int64)
    padded[:, :, : one.columns] = image
    found = one.emulate(padded.reshape(2, one.beats, one.lanes, channels))
    assert found.shape == (
        2,
        one.out_rows * one.out_beats_per_row,
        one.kernel[0] * one.region_columns,
        channels,
    )
    found = found.reshape(2, one.out_rows, one.out_beats_per_row, one.kernel[0], one.region_columns, channels)
    (top, bottom), (left, right) = one.padding
    cut = image[:, max(0, -top) : one.rows - max(0, -bottom), max(0, -left) : one.columns - max(0, -right)]
    pads = ((max(0, top), max(0, bottom)), (max(0, left), max(0, right)))
    indices = Window(one.kernel, one.strides, one.dilation, pads).indices(cut.shape[1:])
    wanted = np.where(indices < 0, 0, cut.reshape(2, -1)[:, np.maximum(indices, 0)])
    assert wanted.shape[1:3] == (one.out_rows, one.out_columns)
    for column in range(one.out_columns):
        beat, lane = divmod(column, one.out_lanes)
        taps = lane * one.strides[1] + np.arange(one.kernel[1]) * one.dilation[1]
        window = found[:, :, beat][:, :, :, taps].reshape(2, one.out_rows, -1)
        assert np.array_equal(window, wanted[:, :, column])


@pytest.mark.parametrize("gaps", [0, 1, 3])
@pytest.mark.parametrize("name", SHAPES)
def test_times_and_busy_are_those_of_the_clock_model(name: str, gaps: int) -> None:
    one = SHAPES[name]
    rng = np.random.default_rng(gaps)
    steps = rng.integers(1, 2 + gaps, one.beats)
    arrivals = np.cumsum(steps) - steps[0]
    busy = one.busy(arrivals)
    events = [window_clocks.random_event(one, rng) for _ in range(3)]
    for interval in (busy, busy + 1, busy + one.flush, busy + one.flush + 3):
        clocks = 3 * interval + 4 * (one.beats + one.flush) + 8
        valid, start = np.zeros(clocks, dtype=int), np.zeros(clocks, dtype=int)
        beats: list[list[int]] = [[0] * one.lanes] * clocks
        wanted = {}
        for k, event in enumerate(events):
            at = arrivals + k * interval
            valid[at], start[at[0]] = 1, 1
            for beat, clock in enumerate(at.tolist()):
                beats[clock] = event[0, beat, :, 0].tolist()
            regions = one.emulate(event)[0, :, :, 0]
            wanted |= dict(zip((one.times(arrivals) + k * interval).tolist(), regions, strict=True))
        found = window_clocks.play(one, valid.tolist(), start.tolist(), beats)
        assert sorted(found) == sorted(wanted)
        firsts = [c for c, (first, _) in found.items() if first]
        assert firsts == [int(one.times(arrivals)[0]) + k * interval for k in range(3)]
        for clock, (_, pixels) in found.items():
            assert all(p is None or p == q for p, q in zip(pixels, wanted[clock].tolist(), strict=True))


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"lanes": 3, "strides": (1, 2)}, "give 1 or a multiple of 2 pixels per beat"),
        ({"lanes": 9}, "at most 8"),
        ({"padding": ((0, 0), (3, 0))}, "at most 2, or cut off"),
        ({"kernel": (9, 3)}, "in an image of 6 x 8 pixels"),
        ({"ram": "ultra"}, "auto, distributed, block"),
        ({"rows": 0}, "rows = 0"),
        ({"lanes": 8, "padding": ((2, 2), (2, 2))}, "do not fit"),
    ],
)
def test_what_cannot_be_is_refused(change: dict[str, object], text: str) -> None:
    given: dict[str, object] = {
        "rows": 6,
        "columns": 8,
        "lanes": 1,
        "pixel_bits": 4,
        "kernel": (3, 3),
        **change,
    }
    with pytest.raises(ConfigError) as caught:
        WindowEngine(**given)  # type: ignore[arg-type]
    assert text in str(caught.value)
