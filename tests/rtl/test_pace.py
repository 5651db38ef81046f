# SPDX-License-Identifier: Apache-2.0
"""Pace in simulation: every beat in its clock, whatever comes; every mutant is found; its control is proven."""

from __future__ import annotations

import itertools
import re
import sys
from pathlib import Path

import numpy as np
import pytest

from l1ml.plan.pace import PaceEngine

sys.path.insert(0, str(Path(__file__).parent))
import engine_bench as eb
from prove import inside, proven, source_of

pytestmark = pytest.mark.sim

ENGINES = {
    "one": PaceEngine.between(3, np.arange(1), 2),
    "two": PaceEngine.between(5, np.arange(2), 2),
    "five": PaceEngine.between(7, np.arange(5), 3),
    "wide": PaceEngine.between(70, np.arange(9), 4),
    "slow": PaceEngine.between(4, np.arange(6), 11),
    "many": PaceEngine.between(9, np.arange(20), 2),
}
"""For beats that come one per clock, so no other arrival needs a deeper memory."""

LARGEST = "wide"
MUTANTS = {
    "m_spacing": ("WaitBits'(Spacing - 1)", "WaitBits'(Spacing - 2)"),
    "m_top": ("PlaceBits'(Depth - 1)", "PlaceBits'(Depth - 2)"),
    "m_empty": ("      read_q  <= write_q;", "      read_q  <= read_q;"),
    "m_hurry": ("      wait_q  <= '0;\n      first_q", "      first_q"),
    "m_first": ("        first_q <= 1'b0;\n", ""),
    "m_count": ("count_q <= CountBits'(1);", "count_q <= count_q + 1'b1;"),
    "m_open": ("valid_i & (start_i | open_q)", "valid_i"),
    "m_valid": ("valid_o <= take & ~rst_i;", "valid_o <= take;"),
    "m_reset": ("      count_q <= '0;\n", ""),
}


def case(one: PaceEngine, mutation: tuple[str, str] | None = None) -> eb.Case:
    return eb.Case(one.MODULE, one.parameters(), one.width, one.width, mutation)


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> eb.Bench:
    made = eb.Bench(tmp_path_factory.mktemp("pace"))
    made.cases |= {name: case(one) for name, one in ENGINES.items()}
    made.cases |= {name: case(ENGINES[LARGEST], change) for name, change in MUTANTS.items()}
    made.build()
    return made


def expected(one: PaceEngine, given: eb.Traffic) -> eb.Result:
    """Say what comes out: of every event the beats that have been read when the next one begins."""
    out: dict[int, tuple[bool, int]] = {}
    begun = [int(c) for c in np.flatnonzero(given.valid & given.start)]
    for start, end in itertools.pairwise([*begun, len(given.valid) + 10**6]):
        clocks = start + np.flatnonzero(given.valid[start:end])
        event = PaceEngine(one.width, len(clocks), one.spacing, one.depth)
        for k, (came, left) in enumerate(zip(clocks, event.times(clocks), strict=True)):
            if left - 1 <= end:  # the clock in which it is read
                out[int(left)] = (k == 0, given.data[came])
    return eb.Result(out)


def drive(one: PaceEngine, seed: int, kinds: list[eb.Kind], resets: float = 0.0) -> eb.Traffic:
    interval = one.busy(np.arange(one.beats))
    tail = one.beats * one.spacing + 2
    return eb.traffic(seed, one.beats, interval, one.width, kinds, resets=resets, tail=tail)


KINDS = [kind for kind in eb.KINDS if kind not in (eb.too_long, eb.noise)]
"""An event that is too long may overrun the memory; see the test of its own."""


def test_back_to_back(bench: eb.Bench) -> None:
    given = {name: drive(one, 2, [eb.whole] * 30) for name, one in ENGINES.items()}
    found = bench.play(given)
    for name, one in ENGINES.items():
        wanted = {}
        for event in range(30):
            clocks = event * one.busy(np.arange(one.beats)) + np.arange(one.beats)
            left = one.times(clocks).tolist()
            wanted |= {
                t: (k == 0, given[name].data[c]) for k, (t, c) in enumerate(zip(left, clocks, strict=True))
            }
        assert found[name].beats == wanted, name
        assert len(wanted) == 30 * one.beats


@pytest.mark.parametrize("resets", [0.0, 0.03])
def test_whatever_comes(bench: eb.Bench, resets: float) -> None:
    rng = np.random.default_rng(5)
    for seed in range(3):
        kinds = [KINDS[k] for k in rng.integers(0, len(KINDS), 60)]
        given = {name: drive(one, seed, kinds, resets) for name, one in ENGINES.items()}
        found = bench.play(given, seed=seed + 1)
        for name, one in ENGINES.items():
            wanted = eb.between_resets(given[name], lambda part, one=one: expected(one, part))
            assert found[name].beats == wanted.beats, f"{name}, seed {seed}"
            assert len(wanted.beats) > 20


def test_an_event_that_is_too_long_harms_no_other(bench: eb.Bench) -> None:
    kinds = [eb.too_long, eb.whole, eb.noise, eb.whole] * 10
    given = {name: drive(one, 11, kinds) for name, one in ENGINES.items()}
    found = bench.play(given)
    for name, one in ENGINES.items():
        wanted, traffic = expected(one, given[name]).beats, given[name]
        begun = [int(c) for c in np.flatnonzero(traffic.valid & traffic.start)]
        good = 0
        for start, end in itertools.pairwise([*begun, len(traffic.valid) + 10**6]):
            if int(traffic.valid[start:end].sum()) != one.beats:
                continue
            own = {c: v for c, v in wanted.items() if start + 2 <= c < end + 2}
            assert {c: v for c, v in found[name].beats.items() if start + 2 <= c < end + 2} == own, name
            good += 1
        assert good >= 10


def test_every_mutant_is_found(bench: eb.Bench) -> None:
    one = ENGINES[LARGEST]
    given = {name: drive(one, 7, KINDS * 6, 0.02) for name in MUTANTS}
    found = bench.play(given)
    for name in MUTANTS:
        wanted = eb.between_resets(given[name], lambda part: expected(one, part))
        assert found[name].beats != wanted.beats, name


# Seen from inside, for any inputs: beats leave at least Spacing clocks apart, but the first of an event, which always
# leaves 2 clocks after it came, with start and its data; nothing leaves before the first start.
PROPERTIES = """
  int since; // clocks since the last beat left, up to Spacing
  logic [1:0] begun; // an event began one clock ago, two clocks ago
  logic [1:0][Width-1:0] given;
  always_ff @(posedge clk_i) begin
    since <= rst_i ? int'(Spacing) : valid_o ? 1 : since < int'(Spacing) ? since + 1 : since;
    begun <= rst_i ? 2'b00 : {begun[0], valid_i & start_i};
    given <= {given[0], data_i};
  end
  int apart;
  assign apart = valid_o ? 0 : since;
  always_comb begin
    assert (0 < since && since <= int'(Spacing) && read_q < Depth && write_q < Depth);
    assert (open_q || (count_q == 0 && begun == 0 && !valid_o));
    assert (!open_q || first_q == begun[0]);
    assert (!begun[0] || (count_q == 1 && wait_q == 0 && memory[read_q] == given[0]));
    assert (begun[0] || int'(wait_q) == (apart < int'(Spacing) - 1 ? int'(Spacing) - 1 - apart : 0));
    // What users see:
    assert ((valid_o && start_o) == begun[1]);
    assert (!begun[1] || data_o == given[1]);
    assert (!(valid_o && !start_o) || since >= int'(Spacing));
  end
"""


def prove(folder: Path, spacing: int, depth: int, mutation: tuple[str, str] | None = None) -> bool:
    text = inside(source_of("l1ml_pace", mutation), PROPERTIES)
    for name, value in (("Width", 2), ("Spacing", spacing), ("Depth", depth)):
        text, found = re.subn(rf"(unsigned {name} +)= \d+", rf"\1= {value}", text)
        assert found == 1
    return proven(folder, {"l1ml_pace": text}, "l1ml_pace", clocks=10)


@pytest.mark.parametrize(("spacing", "depth"), [(2, 1), (2, 2), (3, 3), (5, 4)])
def test_first_beats_and_distances_are_proven(spacing: int, depth: int, tmp_path: Path) -> None:
    pytest.importorskip("pyosys")
    assert prove(tmp_path, spacing, depth)


@pytest.mark.parametrize("name", ["m_spacing", "m_hurry", "m_first", "m_empty"])
def test_no_proof_for_a_mutant(name: str, tmp_path: Path) -> None:
    pytest.importorskip("pyosys")
    assert not prove(tmp_path, 3, 3, MUTANTS[name])
