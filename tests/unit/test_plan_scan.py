# SPDX-License-Identifier: Apache-2.0
"""Scan: the twin against plain NumPy, times and interval against a model that plays every clock."""

from __future__ import annotations

import re
from collections.abc import Iterable

import numpy as np
import pytest
from scan_clocks import ScanClocks, Step

from l1ml.errors import ConfigError, DataError, L1mlError, TimingError
from l1ml.plan.scan import ScanEngine


def engine(steps: int, latency: int, interval: int, slot: int = 0, **more: object) -> ScanEngine:
    slot = slot or ScanEngine.smallest_slot(latency, steps, interval)
    given = {"x_bits": 8, "state_widths": (8,), "y_bits": 8, "initial": (0,), **more}
    return ScanEngine(steps=steps, slot=slot, cell_latency=latency, interval=interval, **given)


def rows(starts: Iterable[int], arrivals: np.ndarray) -> list[tuple[bool, bool]]:
    """Return (valid, start) of every clock for events with the given arrivals after their starts."""
    beats = {int(s + a): k == 0 for s in starts for k, a in enumerate(arrivals)}
    return [(clock in beats, beats.get(clock, False)) for clock in range(max(beats) + 1)]


def play(one: ScanEngine, starts: Iterable[int], arrivals: np.ndarray) -> tuple[list[Step], ScanClocks]:
    model = ScanClocks(one)
    return model.run(rows(starts, arrivals), tail=one.steps * one.slot * 3 + 9), model


@pytest.mark.parametrize("backwards", [False, True])
def test_the_twin_is_the_recurrence(backwards: bool) -> None:
    rng = np.random.default_rng(3)
    w, u = rng.integers(-4, 5, (6, 3)), rng.integers(-2, 3, (3, 3))

    def cell(x: np.ndarray, state: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        h = np.clip(x @ w + state @ u, -99, 99)
        return h[:, :2], h

    given = {"state_widths": (8, 8, 8), "initial": (5, -6, 7), "y_bits": 16, "go_backwards": backwards}
    x = rng.integers(-9, 10, (11, 5, 2, 3))
    wanted, h = [], np.tile([5, -6, 7], (11, 1))
    for step in range(5):
        h = np.clip(x[:, 4 - step if backwards else step].reshape(11, 6) @ w + h @ u, -99, 99)
        wanted.append(h[:, :2])
    last = engine(5, 2, 30, **given).emulate(x, cell)
    assert last.shape == (11, 1, 1, 2)
    np.testing.assert_array_equal(last[:, 0, 0], wanted[-1])
    every = engine(5, 2, 30, return_sequences=True, **given).emulate(x, cell)
    assert every.shape == (11, 5, 1, 2)
    np.testing.assert_array_equal(every[:, :, 0], np.stack(wanted, axis=1))


def meet(steps: int, slot: int, interval: int) -> bool:
    """Say whether events ever enter the cell in the same clock, by trying."""
    other = {interval * n + slot * k for n in range(1, steps * slot + 1) for k in range(steps)}
    return any(slot * k in other for k in range(steps))


def test_the_smallest_slot_is_the_smallest_by_trial() -> None:
    for steps in range(1, 7):
        for interval in range(steps, 20):
            for latency in range(9):
                slot = ScanEngine.smallest_slot(latency, steps, interval)
                assert slot >= max(1, latency)
                assert not meet(steps, slot, interval)
                assert all(meet(steps, s, interval) for s in range(max(1, latency), slot))


ARRIVALS = {
    "every_clock": lambda n: np.arange(n),
    "every_third": lambda n: 3 * np.arange(n),
    "slow_end": lambda n: np.arange(n) + 7 * (np.arange(n) >= n - 1),
    "slow_begin": lambda n: np.arange(n) + 7 * (np.arange(n) >= 1),
}


@pytest.mark.parametrize("arriving", ARRIVALS)
@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize(("steps", "latency", "interval"), [(1, 2, 4), (4, 3, 18), (5, 1, 23), (6, 9, 25)])
def test_times_hold_at_every_multiple_of_the_interval(
    steps: int, latency: int, interval: int, backwards: bool, arriving: str
) -> None:
    arrivals = ARRIVALS[arriving](steps)
    lead = engine(steps, latency, interval).smallest_lead(arrivals)
    one = engine(steps, latency, interval, lead=lead, go_backwards=backwards)
    assert one.busy(arrivals) == interval
    rng = np.random.default_rng(4)
    starts = np.cumsum(interval * rng.choice([1, 1, 1, 2, 5], 40))
    steps_taken, model = play(one, starts, arrivals)
    assert not model.refused
    final = {s.event: s.clock + latency for s in steps_taken if s.step == steps - 1}
    assert [final[n] for n in range(40)] == [int(one.times(arrivals + s)[0]) for s in starts]
    order = np.arange(steps)[:: -1 if backwards else 1]
    for n, start in enumerate(starts):
        assert [s.row for s in steps_taken if s.event == n] == (start + arrivals[order]).tolist()
    if lead > 1 and not backwards:  # fewer beats first, and a step comes before its beat
        early = engine(steps, latency, interval, lead=lead - 1)
        with pytest.raises(TimingError, match=rf"come too late\n  fix set lead to {lead}$"):
            early.times(arrivals)
        repeated, _ = play(early, starts[:1], arrivals)
        assert len(repeated) > steps


def test_all_results_at_their_times() -> None:
    one = engine(4, 3, 13, return_sequences=True)
    taken, _ = play(one, [0, 13, 26, 52], np.arange(4))
    clocks = [s.clock + 3 for s in taken]
    assert clocks == [int(c) for s in (0, 13, 26, 52) for c in one.times(np.arange(4) + s)]


@pytest.mark.parametrize(
    ("steps", "latency", "interval"), [(2, 0, 2), (2, 5, 3), (6, 3, 7), (9, 1, 9), (3, 6, 5), (20, 2, 21)]
)
def test_results_that_would_mix_leave_one_per_clock(steps: int, latency: int, interval: int) -> None:
    arrivals = np.arange(steps)
    given = {"return_sequences": True, "slot": ScanEngine.smallest_slot(latency, steps, interval)}
    given["slot"] += given["slot"] == 1  # else one per clock is what the cell does
    if given["slot"] * (steps - 1) < interval or np.gcd(given["slot"], interval) * steps > interval:
        given["slot"] = ScanEngine.smallest_slot(given["slot"] + 1, steps, interval)
    one = engine(steps, latency, interval, **given)
    assert one.bursts
    one = engine(steps, latency, interval, **given, lead=one.smallest_lead(arrivals))
    made = one.first_step(arrivals) + one.slot * np.arange(steps) + latency
    leave = one.times(arrivals)
    assert np.diff(leave).tolist() == [1] * (steps - 1)
    assert (leave - made).min() == leave[-1] - made[-1] == 2  # written, then read
    assert leave[-1] < leave[0] + interval
    taken, model = play(one, interval * np.arange(30), arrivals)
    assert not model.refused
    assert [s.step for s in sorted(taken, key=lambda s: s.event)] == [*range(steps)] * 30  # none again
    # The step that starts the clock is the last that is early enough.
    delay = one.parameters()["BurstDelay"]
    assert made[one.burst_step] - latency - 1 + delay + 1 == leave[0]
    assert one.burst_step == steps - 1 or delay <= one.slot


@pytest.mark.parametrize(("steps", "latency", "interval"), [(20, 8, 40), (4, 12, 6), (3, 5, 9), (6, 9, 11)])
def test_events_off_the_grid_are_late_but_whole(steps: int, latency: int, interval: int) -> None:
    one = engine(steps, latency, interval)
    rng = np.random.default_rng(5)
    starts = np.cumsum(rng.integers(interval, 2 * interval + 1, 300))
    taken, model = play(one, starts, np.arange(steps))
    assert not model.refused
    first = np.array([s.clock for s in taken if s.step == 0])
    nominal = np.array([one.first_step(np.arange(steps) + s) for s in starts])
    assert (first >= nominal).all()
    assert (first > nominal).any()
    assert np.diff(first).min() >= interval
    for n, start in enumerate(starts):
        assert [s.row for s in taken if s.event == n] == list(range(start, start + steps))


def test_a_gap_only_delays() -> None:
    one = engine(6, 2, 40, 2)
    arrivals = np.array([0, 1, 2, 13, 14, 15])
    taken, _ = play(one, [0, 40], arrivals)
    for n in (0, 1):
        again = [s for s in taken if s.event == n][-6:]
        assert [s.row for s in again] == (40 * n + arrivals).tolist()
        assert np.diff([s.clock for s in again]).tolist() == [2] * 5


def test_the_initial_state_goes_into_the_parameters() -> None:
    one = engine(3, 2, 9, state_widths=(4, 70, 3), initial=(-1, 5, -2))
    assert one.literals() == {"InitialState": f"77'h{6 << 74 | 5 << 4 | 15:x}"}
    assert one.parameters() == {
        "Steps": 3, "Slot": 2, "CellLatency": 2, "XBits": 8, "StateBits": 77, "YBits": 8, "Buffers": 2, "Lead": 1,
        "Interval": 9, "ReturnSequences": 0, "GoBackwards": 0, "BlockRam": 0,
    }  # fmt: skip
    assert engine(3, 2, 9, go_backwards=True).parameters()["Lead"] == 3


@pytest.mark.parametrize(
    ("kind", "message", "given"),
    [
        (ConfigError, "Scan: x_bits = 0; at least 1", {"x_bits": 0}),
        (ConfigError, "a slot of 3 clocks, but the cell takes 4", {"slot": 3}),
        (ConfigError, "slot of 4 clocks, but the cell takes -1", {"latency": -1}),
        (ConfigError, "lead 6, but an event has 5 beats", {"lead": 6}),
        (ConfigError, "2 initial codes for a state of widths (8,)", {"initial": (0, 1)}),
        (ConfigError, "initial code 256 of state 0 does not fit 8 bits", {"initial": (256,)}),
        (TimingError, "meet in a cell with 5 steps, one every 5 clocks", {"slot": 5}),
        (TimingError, "the smallest slot that works is 4", {"slot": 5}),
    ],
)
def test_what_cannot_work_is_refused(kind: type[L1mlError], message: str, given: dict[str, object]) -> None:
    fields = {"steps": 5, "latency": 4, "interval": 10, "slot": 4, **given}
    if "interval" not in given:
        fields["interval"] = 5
    with pytest.raises(kind, match=re.escape(message)):
        engine(**fields)


def test_clocks_that_cannot_work_are_refused() -> None:
    with pytest.raises(TimingError, match="at least 5 clocks, or unroll"):
        ScanEngine.smallest_slot(4, 5, 4)
    with pytest.raises(TimingError, match="take 12 clocks, but events come every 7"):
        engine(5, 2, 7).busy(np.array([0, 1, 2, 3, 11]))
    with pytest.raises(DataError, match=r"\(2, 4, 1, 3\) are no events of 5 beats"):
        engine(5, 2, 7).emulate(np.zeros((2, 4, 1, 3)), lambda x, s: (x, s))
