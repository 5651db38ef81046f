# SPDX-License-Identifier: Apache-2.0
"""Upsample in simulation: every beat in its clock, whatever comes; every mutant is found."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from l1ml.plan.upsample import UpsampleEngine

sys.path.insert(0, str(Path(__file__).parents[1] / "unit"))
sys.path.insert(0, str(Path(__file__).parent))
import engine_bench as eb
from test_plan_upsample import SHAPES
from upsample_clocks import play

pytestmark = pytest.mark.sim

ENGINES = {f"u{number}": UpsampleEngine(*shape) for number, shape in enumerate(SHAPES)}
MUTANTS = {
    "whole": ("write_q == CountBits'(Beats);", "write_q == CountBits'(Beats - 1);"),
    "ready": ("(old_q | (next < write_q))", "(old_q | (next <= write_q))"),
    "old": ("(old_q | (next < write_q))", "(next < write_q)"),
    "cut": ("| (begins & ~old) // cut short", ""),
    "over": ("(place >= base_q)", "(place > base_q)"),
    "waits": ("begins | (reading_q & old_q)", "begins"),
    "row": ("row_ends & (row_time_q ==", "beat_ends & (row_time_q =="),
    "base": ("base_q + CountBits'(RowBeats);", "base_q + CountBits'(RowBeats - 1);"),
    "start": ("(next == '0) & (row_time_q == '0)", "(next == '0)"),
    "reset": ("if (rst_i) reading_q <= 1'b0;", ""),
}
MUTATED = {f"m_{name}": ("u3", change) for name, change in MUTANTS.items()}


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> eb.Bench:
    made = eb.Bench(tmp_path_factory.mktemp("upsample"))
    for name, one in ENGINES.items():
        made.cases[name] = eb.Case(one.MODULE, one.parameters(), one.width, one.width)
    for name, (of, change) in MUTATED.items():
        one = ENGINES[of]
        made.cases[name] = eb.Case(one.MODULE, one.parameters(), one.width, one.width, change)
    made.build()
    return made


def drive(one: UpsampleEngine, seed: int, kinds: list[eb.Kind], resets: float = 0.0) -> eb.Traffic:
    interval = one.busy(np.arange(one.beats))
    return eb.traffic(
        seed, one.beats, interval, one.width, kinds, resets=resets, tail=len(one.order()) + one.beats + 4
    )


def expected(one: UpsampleEngine, given: eb.Traffic) -> eb.Result:
    return eb.between_resets(
        given, lambda part: eb.Result(play(one, part.valid.tolist(), part.start.tolist(), part.data))
    )


def test_back_to_back(bench: eb.Bench) -> None:
    """The twin says what comes out, and when."""
    given = {name: drive(one, 2, [eb.whole] * 30) for name, one in ENGINES.items()}
    found = bench.play(given)
    for name, one in ENGINES.items():
        arrivals, wanted = np.arange(one.beats), {}
        for event in range(30):
            first = event * one.busy(arrivals)
            for k, (at, beat) in enumerate(zip(one.times(arrivals), one.order(), strict=True)):
                wanted[first + int(at)] = (k == 0, given[name].data[first + int(beat)])
        assert found[name].beats == wanted, name


@pytest.mark.parametrize("resets", [0.0, 0.02])
def test_whatever_comes(bench: eb.Bench, resets: float) -> None:
    rng = np.random.default_rng(5)
    for seed in range(2):
        kinds = [eb.KINDS[k] for k in rng.integers(0, len(eb.KINDS), 80)]
        given = {name: drive(one, seed, kinds, resets) for name, one in ENGINES.items()}
        found = bench.play(given, seed=seed + 1)
        for name, one in ENGINES.items():
            wanted = expected(one, given[name])
            assert found[name].beats == wanted.beats, f"{name}, seed {seed}"
            assert len(wanted.beats) > 20


def test_every_mutant_is_found(bench: eb.Bench) -> None:
    given = {name: drive(ENGINES[of], 7, [*eb.KINDS] * 6, 0.02) for name, (of, _) in MUTATED.items()}
    found = bench.play(given)
    for name, (of, _) in MUTATED.items():
        assert found[name].beats != expected(ENGINES[of], given[name]).beats, name
