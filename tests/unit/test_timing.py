# SPDX-License-Identifier: Apache-2.0
"""LHC time."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from l1ml.errors import TimingError
from l1ml.types.timing import BX_NS, BX_PER_ORBIT, LHC_MHZ, Clock, Latency


@pytest.mark.parametrize(
    ("mhz", "cycles"),
    [(40.0789, 1), (240.47, 6), (240.4734, 6), (320.63, 8), (360.71, 9), (360.0, 8), (200.0, 4)],
)
def test_cycles_per_bunch_crossing(mhz: float, cycles: int) -> None:
    assert Clock(mhz).cycles_per_bx == cycles


@pytest.mark.parametrize(
    ("mhz", "multiple"), [(360.71, 9), (360.0, 9), (240.47, 6), (320.63, 8), (200.0, 5), (250.0, None)]
)
def test_multiples_of_the_lhc_clock(mhz: float, multiple: int | None) -> None:
    assert Clock(mhz).lhc_multiple == multiple


@pytest.mark.parametrize(
    ("mhz", "per_bx"),
    [(80.16, 2), (160.32, 4), (200.39, 5), (240.47, 6), (240.4734, 6), (320.63, 8), (360.71, 9)],
)
def test_whole_bunch_crossings_are_not_rounded_up(mhz: float, per_bx: int) -> None:
    for crossings in range(1, 60):
        assert Latency(0, crossings * per_bx, 0, mhz, 0, 1).bx == crossings
        assert Latency(1, crossings * per_bx, 0, mhz, 0, 1).bx == crossings + 1


@pytest.mark.parametrize(
    ("mhz", "crossings", "cycles"),
    [
        (200.0, 6, 29),
        (200.39, 6, 30),
        (360.0, 1, 8),
        (200.0, 205, 1022),
        (200.0, 206, 1027),
        (240.47, 3564, 21384),
    ],
)
def test_clocks_in_bunch_crossings(mhz: float, crossings: int, cycles: int) -> None:
    clock = Clock(mhz)
    assert clock.cycles_in(crossings) == cycles
    assert clock.crossings_of(cycles) == crossings
    assert clock.crossings_of(cycles + 1) == crossings + 1


def test_a_bunch_crossing_and_an_orbit() -> None:
    assert abs(BX_NS - 24.951) < 5e-4
    assert pytest.approx(88.92, abs=0.01) == BX_PER_ORBIT * BX_NS * 1e-3  # the LHC's revolution in us


@pytest.mark.parametrize("mhz", [0.0, -1.0, 0.5, 1500.1, math.inf, math.nan])
def test_impossible_clocks(mhz: float) -> None:
    with pytest.raises(TimingError, match=r"^clock of .* MHz; allowed are 1 to 1500 MHz"):
        Clock(mhz)


def test_latency_adds_up() -> None:
    latency = Latency(4, 8, 1, 9 * LHC_MHZ, last_word=3, words_out=2)
    assert (latency.cycles, latency.bx) == (13, 2)
    assert latency.ns == pytest.approx(13 / 9 * BX_NS)
    assert str(latency) == "13 clocks = 36.0 ns = 2 BX (collect 4 + compute 8 + emit 1)"


def test_what_is_left_once_the_event_is_there() -> None:
    whole = Latency(4, 8, 1, 200.0, last_word=3, words_out=2)
    assert (whole.last_cycles, whole.tail_cycles, whole.tail_last_cycles, whole.gathered_cycles) == (
        14,
        10,
        11,
        4,
    )
    beats = Latency(1, 70, 1, 200.0, last_word=63, words_out=1)  # the core reads 64 words as they come
    assert (beats.last_cycles, beats.tail_cycles, beats.tail_last_cycles, beats.gathered_cycles) == (
        72,
        9,
        9,
        64,
    )


@given(st.integers(0, 4000), st.sampled_from([1, 6, 8, 9]))
def test_bunch_crossings_round_up(cycles: int, per_bx: int) -> None:
    assert Latency(0, cycles, 0, per_bx * LHC_MHZ, 0, 1).bx == -(-cycles // per_bx)
