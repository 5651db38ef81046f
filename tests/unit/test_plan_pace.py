# SPDX-License-Identifier: Apache-2.0
"""Pace: times, interval and depth against a model that counts clocks; what a plan makes of it."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from l1ml import flow, streamed
from l1ml.config import ProjectConfig
from l1ml.errors import ConfigError
from l1ml.plan.pace import PaceEngine

sys.path.insert(0, str(Path(__file__).parent))
from networks import program, random_codes
from streamed_networks import NETWORKS
from test_plan_layout import beats, wanted


def arrivals(seed: int, count: int) -> np.ndarray:
    """Bursts: some gaps long, most short."""
    rng = np.random.default_rng(seed)
    return np.cumsum(np.where(rng.random(count) < 0.3, rng.integers(1, 25, count), 1)) + 3


def clock_by_clock(engine: PaceEngine, starts: list[int], beats_at: np.ndarray) -> dict[int, tuple[int, int]]:
    """Play the memory: event and beat on the output by clock; a place is free once its beat has been read."""
    comes = {start + int(c): (event, k) for event, start in enumerate(starts) for k, c in enumerate(beats_at)}
    memory: dict[int, tuple[int, int]] = {}
    out, write, read, wait, count = {}, 0, 0, 0, 0
    for clock in range(max(comes) + engine.spacing * engine.beats + 3):
        take = count > 0 and wait == 0
        if take:
            out[clock + 1] = memory[read]
        beat = comes.get(clock)
        if beat is not None:
            memory[write] = beat
        if beat is not None and beat[1] == 0:
            read, wait, count = write, 0, 1
        else:
            wait = engine.spacing - 1 if take else max(wait - 1, 0)
            read, count = (read + take) % engine.depth, count + (beat is not None) - take
        write = (write + (beat is not None)) % engine.depth
    return out


@pytest.mark.parametrize("spacing", [2, 3, 7])
@pytest.mark.parametrize("count", [1, 2, 9, 40])
def test_beats_leave_apart_and_in_order(spacing: int, count: int) -> None:
    for seed in range(4):
        clocks = arrivals(seed, count)
        engine = PaceEngine.between(5, clocks, spacing)
        left = engine.times(clocks)
        assert left[0] == clocks[0] + 2
        assert (np.diff(left) >= spacing).all()
        assert (left >= clocks + 2).all()
        for k in range(1, count):  # never later than needed
            assert left[k] in (clocks[k] + 2, left[k - 1] + spacing)
        busy = engine.busy(clocks)
        starts = [0, busy, 2 * busy]
        expected = {start + int(c): (e, k) for e, start in enumerate(starts) for k, c in enumerate(left)}
        assert clock_by_clock(engine, starts, clocks) == expected


def test_one_place_less_loses_a_beat() -> None:
    clocks = np.array([0, 1, 2, 3, 30, 31, 32])
    engine = PaceEngine.between(4, clocks, 6)
    assert engine.depth == 3
    small = PaceEngine(4, 7, 6, engine.depth - 1)
    whole = clock_by_clock(engine, [0], clocks)
    assert clock_by_clock(small, [0], clocks) != whole


def test_wrong_numbers_are_refused() -> None:
    with pytest.raises(ConfigError, match="width = 0"):
        PaceEngine(0, 1, 2, 1)
    with pytest.raises(ConfigError, match="1 clock apart"):
        PaceEngine(1, 1, 1, 1)
    with pytest.raises(ConfigError, match="ascending"):
        PaceEngine.between(1, np.array([0, 2, 2]), 2)
    beats_in = np.arange(12).reshape(2, 3, 2, 1)
    assert np.array_equal(PaceEngine(1, 3, 2, 1).emulate(beats_in), beats_in)


def test_a_fold_takes_longer_than_the_beats_of_a_burst_are_apart() -> None:
    """Behind a pooling layer the windows of a convolution come in bursts; folded, they are spaced."""
    of = program(NETWORKS["cnn"][0], "fixed<5,2>")
    options = {"plan": {"lanes": 1, "layers": {"conv4": {"reuse_factor": 6}}}}
    config = ProjectConfig.from_mapping({"interface": "axis", "clock_mhz": 240.47, **options})
    block = streamed.plan(of, config, *flow.elements(of))
    timed = block.plan.timed
    (pace,) = [wait.pace for each in timed.waits for wait in each if wait.pace is not None]
    (number,) = [k for k, each in enumerate(timed.waits) if each[0].pace is pace]
    source = timed.times[timed.network.nodes[number].inputs[0]]
    assert pace.spacing == 6
    assert (
        int(np.diff(source).min())
        < 6
        <= int(np.diff(timed.times[timed.network.nodes[number].outputs[0]]).min())
    )
    codes = random_codes(of, 12)
    (found,) = timed.network.emulate(beats(block.raster, codes[0]))
    (right,) = wanted(of, codes)
    assert np.array_equal(found.reshape(len(right), -1), right)
