# SPDX-License-Identifier: Apache-2.0
"""Runs inside the simulator: the contract of every l1ml block, on any link.

Latency is the same for every event: the first after reset, back to back, after gaps, with all-zero data, over
the orbit boundary, after a reset in flight and after broken frames; and outputs are the emulator's.

L1ML_MANIFEST names the manifest, L1ML_STIMULUS an .npz with ``inputs`` and ``outputs``: codes,
(events, elements), event 0 all zero where zero is in range.
"""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cocotb
import numpy as np
from drivers import Link, Packet, Player, Row

from l1ml.links.layout import LinkLayout
from l1ml.links.spec import Role

MANIFEST = json.loads(Path(os.environ["L1ML_MANIFEST"]).read_text(encoding="utf-8"))
LAYOUT = LinkLayout.from_dict(MANIFEST["link"])
LINK = Link(LAYOUT)
LATENCY = int(MANIFEST["latency"]["cycles"])
LAST = int(MANIFEST["latency"]["last_cycles"])
INTERVAL = int(MANIFEST["interval"]["cycles"])
CORE = int(MANIFEST["interval"]["core_cycles"])
GRID = LAYOUT.grid_cycles
CLEAR = LAYOUT.clear_cycles
WORDS, MIDDLE = LAYOUT.frame_words, LAYOUT.frame_words // 2
TEST = {"timeout_time": 10, "timeout_unit": "ms"}

with np.load(os.environ["L1ML_STIMULUS"], allow_pickle=False) as _arrays:
    INPUTS, OUTPUTS = _arrays["inputs"].tolist(), _arrays["outputs"].tolist()


@dataclass
class Sent:
    """One event in flight: the clock of its first word, its number, whether it opens an orbit, and is refused."""

    clock: int
    event: int
    orbit: bool = False
    refused: bool = False


def on_grid(clocks: int) -> int:
    """Round a gap up, so that events keep lying a multiple of the grid apart."""
    return -(-clocks // GRID) * GRID


class Traffic:
    """Rows and what must come of them."""

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.sent: list[Sent] = []

    def idle(self, clocks: int) -> Traffic:
        self.rows += [LINK.idle() for _ in range(clocks)]
        return self

    def event(self, number: int, *, orbit: bool = False, gap: int = 0) -> Traffic:
        """Append an event, at the interval after the one before, plus a gap, which keeps to the grid."""
        self.sent.append(Sent(len(self.rows), number, orbit))
        self.rows += LINK.frame(INPUTS[number], orbit=orbit)
        return self.idle(INTERVAL - LAYOUT.frame_words + on_grid(gap))

    def pad(self) -> Traffic:
        """Append idle clocks until the next event may start."""
        return self.idle((self.sent[0].clock - len(self.rows)) % GRID)

    def drain(self) -> Traffic:
        return self.idle(LATENCY + LAYOUT.words_out + LAYOUT.frame_words + 2)


def check(packets: Sequence[Packet], sent: Sequence[Sent], *, optional: Sequence[Sent] = ()) -> None:
    """Every event sent comes out whole and exact, its words from LATENCY to LAST clocks on, and nothing else."""
    due = {s.clock + LATENCY: s for s in (*sent, *optional)}
    missing = {s.clock + LATENCY for s in sent}
    for packet in packets:
        event = due.get(packet.clock)
        assert event is not None, (
            f"clock {packet.clock}: a packet where none is due; "
            f"due are {sorted(missing)[:5]} (latency {LATENCY})"
        )
        missing.discard(packet.clock)
        place = f"event {event.event}, clock {packet.clock}"
        assert packet.last_clock == event.clock + LAST, (
            f"{place}: the last word is at clock {packet.last_clock}; due is {event.clock + LAST} "
            f"(latency {LATENCY} to the first word, {LAST} to the last)"
        )
        assert not packet.flaws, f"{place}: {'; '.join(packet.flaws)}"
        for number, (found, expected) in enumerate(zip(packet.codes, OUTPUTS[event.event], strict=True)):
            where = LAYOUT.out_fields[number]
            assert found == expected, f"{place}, {where}: expected {expected}, found {found}"
        flag = LINK.port("out", Role.START_OF_ORBIT)
        assert flag is None or packet.start_of_orbit == event.orbit, (
            f"{place}: start_of_orbit is {packet.start_of_orbit}, expected {event.orbit}"
        )
    assert not missing, (
        f"no packet at clocks {sorted(missing)[:5]}; {len(packets)} of {len(sent)} events came out"
    )


async def play(dut: Any, traffic: Traffic) -> tuple[list[Row], Player]:
    """Reset the design, play the traffic, and require resolvable outputs."""
    player = Player(dut, LINK)
    await player.start()
    samples = await player.play(traffic.rows)
    assert not player.unresolved, player.unresolved[:3]
    return samples, player


def errors(sample: Row) -> tuple[str, ...]:
    """Return the names of the sticky errors that are raised."""
    port = LINK.port("out", Role.ERROR)
    return LAYOUT.error_names(sample[port.name]) if port else ()


@cocotb.test(**TEST)
async def latency_of_the_first_event_after_reset(dut: Any) -> None:
    """The very first event after reset comes out after the declared latency."""
    traffic = Traffic().event(1).drain()
    samples, _ = await play(dut, traffic)
    check(list(LINK.packets(samples)), traffic.sent)
    assert not errors(samples[-1])


@cocotb.test(**TEST)
async def back_to_back_at_the_interval(dut: Any) -> None:
    """Events follow each other at the declared interval, each exact and after the same latency."""
    traffic = Traffic()
    for number in range(1, len(INPUTS)):
        traffic.event(number)
    samples, _ = await play(dut, traffic.drain())
    check(list(LINK.packets(samples)), traffic.sent)
    assert not errors(samples[-1]), errors(samples[-1])


@cocotb.test(**TEST)
async def random_gaps_between_frames(dut: Any) -> None:
    """Gaps between frames change neither values nor latency."""
    traffic, rng = Traffic(), random.Random(2)
    for number in range(1, len(INPUTS)):
        traffic.event(number, gap=rng.choice((0, 0, 1, 2, 3, 7, LATENCY, 3 * LATENCY)))
    samples, _ = await play(dut, traffic.drain())
    check(list(LINK.packets(samples)), traffic.sent)
    assert not errors(samples[-1]), errors(samples[-1])


@cocotb.test(skip=LAYOUT.frame_words < 2, **TEST)
async def pauses_inside_frames(dut: Any) -> None:
    """A clock without a word makes its event late by a clock, or loses it where beats come at fixed clocks."""
    traffic, rng = Traffic(), random.Random(3)
    gaps_seen = False
    for number in range(1, len(INPUTS)):
        begin, late = len(traffic.rows), 0
        before = (
            {rng.randrange(1, WORDS): rng.randrange(1, 4) for _ in range(2)} if rng.random() < 0.5 else {}
        )
        for word, row in enumerate(LINK.frame(INPUTS[number])):
            clocks = before.get(word, 0)
            traffic.rows += [LINK.pause(row)] * clocks + [row]
            late += clocks * (word <= LAYOUT.last_word_needed)
        if not (late and LAYOUT.beat_count):
            traffic.sent.append(Sent(begin + late, number))
        clocks = len(traffic.rows) - begin
        traffic.idle(INTERVAL + on_grid(clocks - WORDS) - clocks)
        gaps_seen |= bool(before)
    samples, _ = await play(dut, traffic.drain())
    check(list(LINK.packets(samples)), traffic.sent)
    told = LAYOUT.beat_count or not LINK.has(Role.STROBE)
    assert gaps_seen and errors(samples[-1]) == (("valid_gap",) if told else ()), errors(samples[-1])


@cocotb.test(**TEST)
async def all_zero_data(dut: Any) -> None:
    """Events without a set bit come out like any other, by their valid alone."""
    traffic = Traffic()
    for number in (0, 0, 1, 0, 0, 2, 0):
        traffic.event(number)
    samples, _ = await play(dut, traffic.drain())
    check(list(LINK.packets(samples)), traffic.sent)


@cocotb.test(skip=not LINK.has(Role.START_OF_ORBIT), **TEST)
async def orbit_boundary(dut: Any) -> None:
    """start_of_orbit comes out with its event, exactly one latency later, also after the orbit gap."""
    traffic = Traffic()
    traffic.event(1, orbit=True)
    for number in range(2, 6):
        traffic.event(number)
    traffic.idle(40 * INTERVAL)  # gap at the end of the orbit
    traffic.event(6, orbit=True)
    traffic.event(7, orbit=True)
    traffic.event(8)
    samples, _ = await play(dut, traffic.drain())
    check(list(LINK.packets(samples)), traffic.sent)
    assert not errors(samples[-1]), errors(samples[-1])


@cocotb.test(skip=not LINK.has(Role.STROBE), **TEST)
async def no_word_without_strobe(dut: Any) -> None:
    """What stands on the link while strobe is low is no word, whatever its flags say."""
    traffic = Traffic()
    for number in (1, 2, 3):
        traffic.event(number)
        rows = LINK.frame(INPUTS[number + 3], orbit=True)
        for row in rows:
            LINK.set(row, Role.STROBE, 0)
        traffic.rows += rows
        traffic.pad()
    samples, _ = await play(dut, traffic.drain())
    check(list(LINK.packets(samples)), traffic.sent)
    assert not errors(samples[-1]), errors(samples[-1])


@cocotb.test(**TEST)
async def reset_in_flight(dut: Any) -> None:
    """Events in flight at a reset never come out; the next one is exact, wherever the reset fell."""
    player = Player(dut, LINK)
    await player.start()
    for offset in range(0, LATENCY + LAYOUT.words_out, max(1, LATENCY // 7)):
        killed = Traffic().event(1, gap=0)
        killed.idle(max(0, offset + 1 - len(killed.rows)))
        cut = killed.rows[: offset + 1]
        samples = await player.play([*cut, LINK.idle()], reset=[len(cut)])
        before = [p for p in LINK.packets(samples[:-1]) if p.clock != LATENCY]
        assert not before, f"reset at clock {offset}: a packet at clock {before[0].clock}"
        traffic = Traffic().event(2).event(3).drain()
        samples = await player.play(traffic.rows)
        try:
            check(list(LINK.packets(samples)), traffic.sent)
        except AssertionError as error:
            raise AssertionError(f"reset at clock {offset} of an event: {error}") from None
        assert not errors(samples[-1]), errors(samples[-1])
    assert not player.unresolved, player.unresolved[:3]


Recipe = Callable[[Traffic], None]
"""Appends one broken event to the traffic."""


def _broken(traffic: Traffic, change: Callable[[list[Row]], list[Row]]) -> None:
    rows = change(LINK.frame(INPUTS[3]))
    traffic.sent.append(Sent(len(traffic.rows), 3))
    traffic.rows += rows


def _short_frame(traffic: Traffic) -> None:
    _broken(traffic, lambda rows: rows[: len(rows) // 2])
    if GRID > 1 or (CLEAR and LAYOUT.committed_word < WORDS // 2):
        _refused(traffic)  # the frame that cuts it short starts off the grid, or too soon after what lives on


def _valid_gap(traffic: Traffic) -> None:
    at = LAYOUT.frame_words // 2
    _broken(traffic, lambda rows: [*rows[:at], LINK.idle(), *rows[at:]])
    traffic.idle(INTERVAL)


def _flag(role: Role, word: int, value: int) -> Recipe:
    def recipe(traffic: Traffic) -> None:
        def change(rows: list[Row]) -> list[Row]:
            LINK.set(rows[word], role, value)
            return rows

        _broken(traffic, change)
        traffic.idle(INTERVAL)

    return recipe


def _last_missing(traffic: Traffic) -> None:
    def change(rows: list[Row]) -> list[Row]:
        LINK.set(rows[-1], Role.LAST, 0)
        if LINK.has(Role.START):
            return rows
        # Without a start mark only last ends a packet: it comes late, behind a pause.
        late = LINK.frame(INPUTS[3])[-1]
        LINK.set(late, Role.LAST, 1)
        return [*rows, LINK.idle(), late]

    _broken(traffic, change)
    traffic.idle(INTERVAL)


def _out_of_step(traffic: Traffic) -> None:
    def change(rows: list[Row]) -> list[Row]:
        LINK.set(rows[0], Role.START, 0, link=LAYOUT.n_links_in - 1)
        return rows

    _broken(traffic, change)
    traffic.idle(INTERVAL)


def _output_stalled(traffic: Traffic) -> None:
    _broken(traffic, lambda rows: rows)
    first = traffic.sent[-1].clock + LATENCY
    traffic.idle(first + LAYOUT.words_out - len(traffic.rows))
    LINK.set(traffic.rows[first], Role.READY, 0)
    traffic.idle(INTERVAL)


def _output_cut(traffic: Traffic) -> None:
    _broken(traffic, lambda rows: rows)  # and the next frame at once, before the packet is out


def _refused(traffic: Traffic) -> None:
    """Append an event that the block must drop."""
    traffic.sent.append(Sent(len(traffic.rows), 3, refused=True))
    traffic.rows += LINK.frame(INPUTS[3])


def _too_early(traffic: Traffic) -> None:
    """An event while the one before is in flight, as soon as the link can bring it; the next one is in time."""
    begin = traffic.sent[-1].clock
    traffic.rows = traffic.rows[: begin + WORDS]
    traffic.idle(int(GRID > 1 and WORDS % GRID == 0))
    _refused(traffic)
    traffic.idle((begin - len(traffic.rows)) % INTERVAL)


RECIPES: dict[str, tuple[bool, Recipe]] = {
    "short_frame": (WORDS > 1 and LINK.has(Role.START), _short_frame),
    "missing_start": (LINK.has(Role.START), _flag(Role.START, 0, 0)),
    "valid_gap": (WORDS > 1, _valid_gap),
    "last_early": (WORDS > 1 and LINK.has(Role.LAST), _flag(Role.LAST, MIDDLE - (MIDDLE == WORDS - 1), 1)),
    "last_missing": (LINK.has(Role.LAST), _last_missing),
    "orbit_without_start": (
        WORDS > 1 and LINK.has(Role.START_OF_ORBIT),
        _flag(Role.START_OF_ORBIT, MIDDLE, 1),
    ),
    "links_out_of_step": (LAYOUT.n_links_in > 1, _out_of_step),
    "output_stalled": (LINK.has(Role.READY), _output_stalled),
    "output_cut": (LAYOUT.words_out > WORDS and not CLEAR, _output_cut),
    "event_off_grid": (CLEAR > WORDS + 1, _too_early),
    "event_too_soon": (CLEAR > WORDS, _too_early),
}


@cocotb.test(skip=not LAYOUT.errors, **TEST)
async def framing_errors(dut: Any) -> None:
    """Each framing error raises its sticky bit, and no event before or after it changes or moves."""
    player = Player(dut, LINK)
    await player.start()
    unknown = [error.name for error in LAYOUT.errors if error.name not in RECIPES]
    assert not unknown, f"the bench does not know how to cause {unknown}"
    for error in LAYOUT.errors:
        possible, recipe = RECIPES[error.name]
        if not possible:
            dut._log.info("%s cannot happen with this layout", error.name)
            continue
        traffic = Traffic().event(1).event(2)
        good = list(traffic.sent)
        recipe(traffic)
        traffic.pad()
        broken = [s for s in traffic.sent if s not in good]
        for number in (4, 5, 6, 7):
            traffic.event(number)
        samples = await player.play(traffic.drain().rows)
        raised = errors(samples[-1])
        assert error.name in raised, f"{error.name} was caused; raised are {raised or 'none'}"
        assert not errors(samples[broken[0].clock]), f"{error.name}: raised before it was caused"
        try:
            check_after_error(error.name, list(LINK.packets(samples)), traffic.sent, broken)
        except AssertionError as failure:
            raise AssertionError(f"{error.name}: {failure}") from None
        await player.play([LINK.idle()] * 2, reset=[0])
        traffic = Traffic().event(8).drain()
        samples = await player.play(traffic.rows)
        check(list(LINK.packets(samples)), traffic.sent)
        assert not errors(samples[-1]), f"{error.name}: still raised after reset: {errors(samples[-1])}"
    assert not player.unresolved, player.unresolved[:3]


def check_after_error(name: str, packets: list[Packet], sent: list[Sent], broken: list[Sent]) -> None:
    """A broken event may be missing or exact, one that is refused is missing; no other may differ.

    A gap may delay the broken one, a cut shorten it.
    """
    good = [s for s in sent if s not in broken]
    late = [p for p in packets if p.clock == broken[0].clock + LATENCY + 1]
    if name == "valid_gap" and late:
        check(late, [Sent(broken[0].clock + 1, broken[0].event)])
        packets = [p for p in packets if p is not late[0]]
    if name == "output_cut":
        packets = [p for p in packets if p.clock != broken[0].clock + LATENCY]
    check(packets, good, optional=[s for s in broken if not s.refused])
