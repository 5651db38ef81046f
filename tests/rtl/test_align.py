# SPDX-License-Identifier: Apache-2.0
"""Align and the delay of a beat in simulation: every small pattern, whatever comes; every mutant is found."""

from __future__ import annotations

import sys
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from l1ml.plan.align import AlignEngine

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parent.parent / "unit"))
import align_clocks
import engine_bench as eb
from align_clocks import KINDS, WIDTH, Pattern

pytestmark = pytest.mark.sim

PATTERNS: dict[AlignEngine, list[Pattern]] = defaultdict(list)
for pattern in align_clocks.patterns(beats=3, step=3, offset=3):
    PATTERNS[pattern.engine].append(pattern)
DENSE = Pattern(
    (0, 1, 2, 3, 4, 5), (2, 6, 7, 8, 9, 10)
)  # the second beat waits longest, and another comes every clock
PATTERNS[DENSE.engine].append(DENSE)
ENGINES = {f"a{one.offset}_{one.depth}": one for one in PATTERNS}
MUTANTS = {
    "m_write": ("(write_q >= Top) ? '0", "(write_q >= Top) ? PlaceBits'(1)"),
    "m_read": ("(read >= Top) ? '0 : read + 1'b1", "(read_q >= Top) ? '0 : read_q + 1'b1"),
    "m_offset": (".Latency(Offset)", ".Latency(Offset + 1)"),
    "m_begin": ("read_start_i ? begin_place : read_q", "read_start_i ? write_q : read_q"),
    "m_depth": ("PlaceBits'(Depth - 1)", "PlaceBits'(Depth - 3)"),
}
LATENCIES = (1, 2, 5)
DELAY_MUTANTS = {
    "m_later": ("{valid_q[Latency-2:0], valid_i}", "{valid_q[Latency-2:0], valid_q[0]}"),
    "m_reset": ("rst_i ? '0 : {valid_q[Latency-2:0], valid_i}", "{valid_q[Latency-2:0], valid_i}"),
    "m_data": (".Latency(Latency)\n", ".Latency(Latency - 1)\n"),
}
CLOCKED = """
  always_ff @(posedge clk_i) {name}_valid_q <= {name}_in[8] & ~(rst_i | {name}_rst);
  assign {name}_start_q = 1'b0;
"""
PORTS = (
    ".clk_i(clk_i), .rst_i(rst_i | {name}_rst), .write_valid_i({name}_valid), .write_data_i({name}_in[7:0]),"
    " .read_valid_i({name}_in[8]), .read_start_i({name}_start), .data_o({name}_out)"
)


def align_case(one: AlignEngine, mutation: tuple[str, str] | None = None) -> eb.Case:
    return eb.Case(one.MODULE, one.parameters(), WIDTH + 1, WIDTH, mutation, CLOCKED, all_ports=PORTS)


def delay_case(latency: int, mutation: tuple[str, str] | None = None) -> eb.Case:
    return eb.Case("l1ml_beat_delay", {"Width": WIDTH, "Latency": latency}, WIDTH, WIDTH, mutation)


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> eb.Bench:
    made = eb.Bench(tmp_path_factory.mktemp("align"))
    made.cases |= {name: align_case(one) for name, one in ENGINES.items()}
    made.cases |= {name: align_case(DENSE.engine, change) for name, change in MUTANTS.items()}
    made.cases["shallow"] = align_case(replace(DENSE.engine, depth=DENSE.engine.depth - 2))
    made.cases |= {f"d{latency}": delay_case(latency) for latency in LATENCIES}
    made.cases |= {name: delay_case(LATENCIES[-1], change) for name, change in DELAY_MUTANTS.items()}
    made.build()
    return made


def drive(given: list[align_clocks.Traffic], rng: np.random.Generator) -> tuple[eb.Traffic, dict[int, int]]:
    """Return all traffic behind each other, a reset between, and the data of every read that must be right."""
    write, read, start, reset, expected = [], [], [], [], {}
    for one in given:
        begin = len(write)
        expected |= {r + begin: w + begin for r, w in one.expected.items()}
        write += one.write.tolist()
        read += one.read.tolist()
        start += one.start.tolist()
        reset += [0] * len(one.write)
        write[-1], read[-1], start[-1], reset[-1] = 1, 0, 1, 1
    data = rng.integers(0, 1 << WIDTH, len(write))
    rows = (data | np.array(read) << WIDTH).tolist()
    traffic = eb.Traffic(np.array(reset), np.array(write), np.array(start), rows)
    return traffic, {r + 1: int(data[w]) for r, w in expected.items()}


def right(found: eb.Result, wanted: dict[int, int]) -> bool:
    return all(found.beats[clock][1] == word for clock, word in wanted.items())


@pytest.mark.parametrize("seed", range(2))
def test_every_pattern(bench: eb.Bench, seed: int) -> None:
    rng = np.random.default_rng(seed)
    given, wanted = {}, {}
    for name, one in ENGINES.items():
        traffic = [
            align_clocks.traffic(pattern, rng, kinds)
            for pattern in PATTERNS[one]
            for kinds in (
                ["whole"] * 6,
                [kind for k in rng.permutation(len(KINDS)) for kind in (KINDS[k], "whole")],
            )
        ]
        given[name], wanted[name] = drive(traffic, rng)
    found = bench.play(given, seed=seed + 1)
    assert sum(map(len, wanted.values())) > 10000
    for name, words in wanted.items():
        assert right(found[name], words), name


def test_every_mutant_of_align_is_found(bench: eb.Bench) -> None:
    rng = np.random.default_rng(7)
    kinds = [*KINDS, "whole", "long", "whole"] * 6
    given, wanted = drive([align_clocks.traffic(DENSE, rng, kinds) for _ in range(3)], rng)
    name = next(name for name, one in ENGINES.items() if one == DENSE.engine)
    found = bench.play(dict.fromkeys((name, "shallow", *MUTANTS), given))
    assert right(found[name], wanted)
    for each in ("shallow", *MUTANTS):
        assert not right(found[each], wanted), each


def delayed(latency: int, given: eb.Traffic) -> dict[int, tuple[bool, int]]:
    """Say what leaves the delay of a beat."""
    clocks = len(given.valid)
    return {
        clock + latency: (bool(given.start[clock]), given.data[clock])
        for clock in np.flatnonzero(given.valid).tolist()
        if clock + latency < clocks and not given.reset[clock : clock + latency].any()
    }


def test_delay_of_a_beat(bench: eb.Bench) -> None:
    kinds = [*eb.KINDS] * 8
    given = {
        name: eb.traffic(number, 4, 5, WIDTH, kinds, resets=0.03, tail=8)
        for number, name in enumerate([*(f"d{latency}" for latency in LATENCIES), *DELAY_MUTANTS])
    }
    found = bench.play(given)
    for latency in LATENCIES:
        wanted = delayed(latency, given[f"d{latency}"])
        assert len(wanted) > 100
        assert found[f"d{latency}"].beats == wanted
    for name in DELAY_MUTANTS:
        assert found[name].beats != delayed(LATENCIES[-1], given[name]), name
