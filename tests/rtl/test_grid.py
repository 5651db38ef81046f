# SPDX-License-Identifier: Apache-2.0
"""Events at clocks that a streamed block cannot take: dropped and flagged, and in nobody's way."""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from l1ml.links.fields import Element
from l1ml.links.layout import LinkLayout
from l1ml.links.resolve import resolve
from l1ml.links.spacing import CELL, OFF_GRID, TOO_SOON, guarded
from l1ml.links.words import Decoded, decode, encode
from l1ml.rtl.wrapper import library_cells, render_wrapper
from l1ml.types.timing import Clock
from l1ml.validate.replay import LinkSimulation

sys.path.insert(0, str(Path(__file__).parent))
from small_project import Small
from streamed_networks import NETWORKS

pytestmark = pytest.mark.sim

GRID, WORDS, EVENTS = 9, 7, 16
"""The block takes an event every 9 clocks, and the link can bring one every 7."""
ODD = 6
"""The event that the streams below bring at another clock."""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Small:
    options = {"input_type": "fixed<5,2>", "clock_mhz": 240.47, "plan": {"lanes": 1, "interval": GRID}}
    return Small(tmp_path_factory.mktemp("lstm"), "axis", events=EVENTS, net=NETWORKS["lstm"][0], **options)


@pytest.fixture(scope="module")
def link(made: Small, tmp_path_factory: pytest.TempPathFactory) -> LinkSimulation:
    return LinkSimulation(made.manifest, made.root, tmp_path_factory.mktemp("builds"), fast="-O0")


def play(made: Small, link: LinkSimulation, spacing: np.ndarray) -> tuple[np.ndarray, Decoded]:
    """Play events with these clocks from the start of one to the next; return their starts and what came out.

    Args:
        made: the block.
        link: its simulation.
        spacing: clocks between starts, at least the words of a packet, (events - 1,).
    """
    close: LinkLayout = replace(link.layout, link_cycles=WORDS)
    gaps = np.append(0, spacing - WORDS)
    traffic = encode(close, made.codes, gaps=gaps, tail_cycles=2 * link.layout.clear_cycles)
    assert np.diff(traffic.first_word_cycle).tolist() == spacing.tolist()
    return traffic.first_word_cycle, decode(link.layout, link.harness.run(traffic.rows, seed=5))


def failures(made: Small, starts: np.ndarray, found: Decoded, kept: np.ndarray) -> list[str]:
    """Return what is wrong where the events ``kept`` must come out in time and no other may."""
    latency = made.manifest["latency"]["cycles"]
    wrong = []
    if found.first_word_cycle.tolist() != (starts[kept] + latency).tolist():
        wrong.append("latency")
    if not np.array_equal(found.codes, made.expected[kept]):
        wrong.append("codes")
    if found.stray_words or not found.ok.all():
        wrong.append("packets")
    if (OFF_GRID in found.errors) == (len(kept) == EVENTS) or set(found.errors) - {OFF_GRID}:
        wrong.append("errors")
    return wrong


def on_grid(seed: int) -> np.ndarray:
    """Return spacings of one to three intervals."""
    return GRID * np.random.default_rng(seed).integers(1, 4, EVENTS - 1)


def moved(spacing: np.ndarray, clocks: int) -> np.ndarray:
    """Return the spacings with the odd event so many clocks later, and no other."""
    spacing = spacing.copy()
    spacing[ODD - 1 : ODD + 1] += [clocks, -clocks]
    return spacing


STREAMS = {
    "back to back": np.full(EVENTS - 1, GRID),
    "gaps on the grid": on_grid(1),
}


def test_the_manifest_names_the_error_and_the_grid(made: Small) -> None:
    assert made.manifest["interval"]["grid_cycles"] == GRID
    assert [e["name"] for e in made.manifest["link"]["errors"]][-1] == OFF_GRID


@pytest.mark.parametrize("stream", STREAMS)
def test_events_on_the_grid_are_exact_and_in_time(stream: str, made: Small, link: LinkSimulation) -> None:
    starts, found = play(made, link, STREAMS[stream])
    assert failures(made, starts, found, np.arange(EVENTS)) == []


@pytest.mark.parametrize("clocks", [-2, 1, 2])
def test_an_event_off_the_grid_is_dropped_and_no_other(
    clocks: int, made: Small, link: LinkSimulation
) -> None:
    starts, found = play(made, link, moved(np.full(EVENTS - 1, GRID), clocks))
    assert failures(made, starts, found, np.delete(np.arange(EVENTS), ODD)) == []
    assert found.errors[OFF_GRID] == starts[ODD] + 1


def test_an_empty_block_takes_an_event_at_any_clock_and_counts_from_it(
    made: Small, link: LinkSimulation
) -> None:
    """One clock before the block is empty the event is off the grid, and from then on it is a new reference."""
    clear = link.layout.clear_cycles
    assert clear % GRID and (clear - 1) % GRID
    spacing = np.full(EVENTS - 1, GRID)
    spacing[ODD - 1] = clear
    starts, found = play(made, link, spacing)
    assert failures(made, starts, found, np.arange(EVENTS)) == []
    spacing[ODD - 1 : ODD + 1] = [clear - 1, GRID * -(-clear // GRID) - clear + 1 + GRID]
    starts, found = play(made, link, spacing)
    assert failures(made, starts, found, np.delete(np.arange(EVENTS), ODD)) == []


def test_a_wrapper_without_the_check_is_found(
    made: Small, link: LinkSimulation, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Events on the grid show nothing; one that is off it comes out, or moves or harms others."""
    before = made.top_file.read_text()
    open_ = re.sub(r"\.admit_o\(admit\)", ".admit_o()", before)
    open_ = open_.replace("  logic admit;", "  logic admit;\n  assign admit = begins;", 1)
    assert open_.count("assign admit = begins;") == 1 and ".admit_o(admit)" not in open_
    folder = tmp_path_factory.mktemp("open")
    try:
        made.top_file.write_text(open_)
        mutant = LinkSimulation(made.manifest, made.root, folder, fast="-O0")
        starts, found = play(made, mutant, STREAMS["back to back"])
        assert failures(made, starts, found, np.arange(EVENTS)) == []
        for clocks in (-2, 1, 2):
            starts, found = play(made, mutant, moved(STREAMS["back to back"], clocks))
            kept = np.delete(np.arange(EVENTS), ODD)
            assert {"latency", "codes"} & set(failures(made, starts, found, kept)), clocks
    finally:
        made.top_file.write_text(before)


def test_a_frame_off_the_grid_of_an_emp_block_is_dropped_and_no_other(tmp_path: Path) -> None:
    options = {"input_type": "fixed<5,2>", "clock_mhz": 240.47, "hardware": "streamed", "tmux": 3}
    made = Small(tmp_path / "made", "emp", events=6, net=NETWORKS["lstm"][0], **options)
    link = LinkSimulation(made.manifest, made.root, tmp_path / "builds", fast="-O0")
    grid, words = made.manifest["interval"]["grid_cycles"], link.layout.frame_words
    assert 1 < words < grid == link.layout.link_cycles
    latency, kept = made.manifest["latency"]["cycles"], [0, 1, 3, 4, 5]
    gaps = np.array([0, 0, 1, grid - 1, 0, 0])
    traffic = encode(link.layout, made.codes, gaps=gaps, tail_cycles=2 * link.layout.clear_cycles)
    found = decode(link.layout, link.harness.run(traffic.rows, seed=5))
    assert found.first_word_cycle.tolist() == (traffic.first_word_cycle[kept] + latency).tolist()
    assert np.array_equal(found.codes, made.expected[kept])
    assert set(found.errors) == {OFF_GRID}


def test_a_parallel_link_drops_an_event_that_comes_too_soon(tmp_path: Path) -> None:
    plan = {"interval": 4, "layers": {"fc3": {"reuse_factor": 4}}}
    options = {"input_type": "fixed<5,2>", "clock_mhz": 240.47, "hardware": "streamed", "plan": plan}
    made = Small(tmp_path / "made", "parallel", events=40, net=NETWORKS["dense"][0], **options)
    interval = made.manifest["interval"]["core_cycles"]
    assert interval == 4
    assert "Interval: 4 clocks." in made.top_file.read_text()
    link = LinkSimulation(made.manifest, made.root, tmp_path / "builds", fast="-O0")
    close = replace(link.layout, link_cycles=1)
    traffic = encode(close, made.codes, gaps=np.random.default_rng(2).integers(0, 5, 40), tail_cycles=80)
    kept, last = [], -interval
    for event, start in enumerate(traffic.first_word_cycle.tolist()):
        if start - last >= interval:
            kept.append(event)
            last = start
    assert 10 < len(kept) < 40
    found = decode(link.layout, link.harness.run(traffic.rows, seed=5))
    due = traffic.first_word_cycle[kept] + made.manifest["latency"]["cycles"]
    assert found.first_word_cycle.tolist() == due.tolist()
    assert np.array_equal(found.codes, made.expected[kept])
    assert set(found.errors) == {TOO_SOON}


@pytest.mark.parametrize("interface", ["axis", "emp", "parallel"])
def test_a_link_that_can_bring_no_such_event_has_nothing_of_the_check(interface: str) -> None:
    elements = [Element(f"x[{k}]", 14, True) for k in range(8)]
    layout = resolve(interface, elements, elements, clock=Clock(360.71), tmux=1, options={})
    names = {"core_module": "core", "package": "facts", "top_module": "top"}
    free = guarded(layout, interval=1, grid=1, last_cycles=40)
    assert free == layout
    assert "admit" not in render_wrapper(free, **names)
    assert CELL not in {path.stem for path in library_cells(free)}
    checked = guarded(layout, interval=99, grid=99, last_cycles=40)
    assert checked.clear_cycles == 99  # an empty cell rests all the same until its interval is over
    assert guarded(layout, interval=33, grid=33, last_cycles=40).clear_cycles == 40
    assert CELL in render_wrapper(checked, **names)
    assert CELL in {path.stem for path in library_cells(checked)}
