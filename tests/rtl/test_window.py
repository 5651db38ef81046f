# SPDX-License-Identifier: Apache-2.0
"""Window in simulation: every region in its clock, whatever comes; every mutant is found."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from l1ml.plan.window import WindowEngine

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parent.parent / "unit"))
import engine_bench as eb
import window_clocks
from test_plan_window import SHAPES

pytestmark = pytest.mark.sim

ENGINES = {f"w{number}": one for number, one in enumerate(SHAPES.values())}
ENGINES["block"] = replace(SHAPES["same two lanes"], ram="block")
ENGINES["distributed"] = replace(SHAPES["valid"], ram="distributed")
NUMBER = {name: f"w{number}" for number, name in enumerate(SHAPES)}
MUTANTS = {
    "m_flush": ("same", ("flush_q    <= FlushBits'(Flush);", "flush_q    <= FlushBits'(Flush - 1);")),
    "m_tick": ("same", ("take | flushing;", "take;")),
    "m_spoiled": ("same", ("rst_i | spoiled", "rst_i")),
    "m_wait": ("valid", ("wait_q <= WaitBits'(Base);", "wait_q <= WaitBits'(Base - 1);")),
    "m_cut": ("valid", ("(active_q & advance & (~cut | flushing))", "(active_q & advance)")),
    "m_kill": ("same", ("    end else if (cut && !flushing) begin\n      active_q <= 1'b0;\n", "")),
    "m_count": (
        "same",
        ("left_q  <= start_i ? LeftBits'(Beats - 1)", "left_q  <= start_i ? LeftBits'(Beats - 2)"),
    ),
    "m_delay": ("same", ("? '0 : place_q + PlaceBits'(1)", "? PlaceBits'(1) : place_q + PlaceBits'(1)")),
    "m_top": (
        "same",
        (
            "32'(row_q) * StrideRows + Place >= unsigned'(PadTop)",
            "32'(row_q) * StrideRows + Place > unsigned'(PadTop)",
        ),
    ),
    "m_bottom": (
        "same",
        (
            "32'(row_q) * StrideRows + Place < Rows + unsigned'(PadTop)",
            "32'(row_q) * StrideRows + Place <= Rows + unsigned'(PadTop)",
        ),
    ),
    "m_left": (
        "same",
        (
            "32'(out_q) * Step * Lanes + Place >= unsigned'(PadLeft)",
            "32'(out_q) * Step * Lanes + Place > unsigned'(PadLeft)",
        ),
    ),
    "m_right": (
        "same two lanes",
        (
            "32'(out_q) * Step * Lanes + Place < Columns + unsigned'(PadLeft)",
            "32'(out_q) * Step * Lanes + Place <= Columns + unsigned'(PadLeft)",
        ),
    ),
    "m_top_first": ("same", ("first ? Place >= unsigned'(PadTop)", "first ? 1'b1")),
    "m_left_first": ("same", ("first ? Place >= unsigned'(PadLeft)", "first ? 1'b1")),
    "m_due": ("same", (": Step == 1 && OutBeats != 1) : due_d", ": 1'b0) : due_d")),
    "m_last": ("same", ("row == RowCount'(OutRows - 1)", "row == RowCount'(OutRows - 2)")),
    "m_near": ("valid", ("wait_q == WaitBits'(2)", "wait_q == WaitBits'(3)")),
    "m_tick_first": ("below", ("Flush + Beats - Base", "Flush + Beats - Base - 1")),
    "m_step": ("pool", ("(step == '0) & ", "")),
    "m_skip": ("column", ("(skip == '0) & ", "")),
    "m_crop": ("crop", ("(ReachRows - unsigned'(PadTop)) * RowBeats", "ReachRows * RowBeats")),
    "m_reset": ("valid", ("      active_q <= 1'b0;\n      valid_o  <= 1'b0;", "      valid_o  <= 1'b0;")),
    "m_start": ("same", ("start_o <= emit & first;", "start_o <= emit;")),
}


def case(one: WindowEngine, mutation: tuple[str, str] | None = None) -> eb.Case:
    out = one.kernel[0] * one.region_columns * one.pixel_bits
    return eb.Case(one.MODULE, one.parameters(), one.lanes * one.pixel_bits, out, mutation)


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> eb.Bench:
    made = eb.Bench(tmp_path_factory.mktemp("window"))
    made.cases |= {name: case(one) for name, one in ENGINES.items()}
    made.cases |= {name: case(SHAPES[of], change) for name, (of, change) in MUTANTS.items()}
    made.build()
    return made


def expected(one: WindowEngine, given: eb.Traffic) -> dict[int, tuple[bool, int, int]]:
    """Return {clock: (start, word, mask)} by the clock model, between resets."""
    out: dict[int, tuple[bool, int, int]] = {}
    first = 0
    for last in [*np.flatnonzero(given.reset).tolist(), len(given.valid)]:
        beats = [window_clocks.lanes_of(word, one) for word in given.data[first:last]]
        made = window_clocks.play(one, given.valid[first:last], given.start[first:last], beats)
        for clock, (start, pixels) in made.items():
            if clock + first <= last and clock + first < len(given.valid):
                out[clock + first] = (start, *window_clocks.masked(pixels, one.pixel_bits))
        first = last + 1
    return out


def same(found: eb.Result, wanted: dict[int, tuple[bool, int, int]]) -> bool:
    if found.beats.keys() != wanted.keys():
        return False
    return all(
        found.beats[clock] == (start, word | found.beats[clock][1] & ~mask)
        for clock, (start, word, mask) in wanted.items()
    )


def drive(one: WindowEngine, seed: int, kinds: list[eb.Kind], resets: float = 0.0) -> eb.Traffic:
    interval = one.busy(np.arange(one.beats)) + (0 if one.flush < one.beats else one.flush)
    bits = one.lanes * one.pixel_bits
    return eb.traffic(seed, one.beats, interval, bits, kinds, resets=resets, tail=one.flush + 3)


def test_back_to_back(bench: eb.Bench) -> None:
    given = {name: drive(one, 3, [eb.whole] * 8) for name, one in ENGINES.items()}
    found = bench.play(given)
    for name, one in ENGINES.items():
        wanted = expected(one, given[name])
        assert len(wanted) == 8 * one.out_rows * one.out_beats_per_row
        assert same(found[name], wanted), name


def legal(one: WindowEngine) -> list[eb.Kind]:
    """Return kinds of traffic after which the engine still promises something: none closer than it allows."""

    def spaced(kind: eb.Kind) -> eb.Kind:
        def play(rng: np.random.Generator, beats: int, interval: int) -> list[tuple[int, int]]:
            rest = [(0, 0)] * one.flush if one.flush >= one.beats else []
            return [*kind(rng, beats, interval), *rest]

        return play

    if one.flush >= one.beats:
        return [spaced(k) for k in (eb.whole, eb.late, eb.gaps, eb.too_long)]
    return [eb.whole, eb.late, eb.gaps, eb.stall, eb.hasty, eb.short, eb.too_long, eb.noise]


@pytest.mark.parametrize("resets", [0.0, 0.02])
def test_whatever_comes(bench: eb.Bench, resets: float) -> None:
    rng = np.random.default_rng(11)
    picks = rng.integers(0, 1 << 20, 20)
    given = {}
    for number, (name, one) in enumerate(ENGINES.items()):
        kinds = legal(one)
        given[name] = drive(one, number, [kinds[k % len(kinds)] for k in picks], resets)
    found = bench.play(given, seed=2)
    for name, one in ENGINES.items():
        wanted = expected(one, given[name])
        assert len(wanted) > 20, name
        assert same(found[name], wanted), name


def test_every_mutant_is_found(bench: eb.Bench) -> None:
    kinds = [*[*eb.KINDS] * 3, *[eb.whole, eb.gaps] * 4]
    given = {name: drive(SHAPES[of], 5, kinds, 0.01) for name, (of, _) in MUTANTS.items()}
    found = bench.play(given)
    for name, (of, _) in MUTANTS.items():
        assert not same(found[name], expected(SHAPES[of], given[name])), name
