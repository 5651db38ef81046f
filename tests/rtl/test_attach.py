# SPDX-License-Identifier: Apache-2.0
"""Attach in simulation: the word of every beat one clock behind it, whatever comes; every mutant is found."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from l1ml.plan.attach import AttachEngine

sys.path.insert(0, str(Path(__file__).parent))
import engine_bench as eb

pytestmark = pytest.mark.sim

SHAPES = (
    (1, 1, (3,)), (2, 1, (1,)), (3, 2, (4, 0, 5)), (5, 1, (33, 40)), (8, 3, (2,)), (21, 2, (16, 7)), (260, 1, (9,)),
)  # fmt: skip


def engine(beats: int, lanes: int, widths: tuple[int, ...]) -> AttachEngine:
    rng = np.random.default_rng(beats)
    codes = [rng.integers(0, 1 << bits, (beats, lanes)) for bits in widths]
    signed = codes[-1] - (1 << widths[-1] - 1)  # the last element has both signs
    return AttachEngine(np.stack([*codes[:-1], signed], axis=2), widths)


ENGINES = {f"attach{number}": engine(*shape) for number, shape in enumerate(SHAPES)}
MUTANTS = {
    "m_count": ("next_q + CountBits'(1)", "next_q + CountBits'(2)"),
    "m_last": ("CountBits'(Beats - 1)", "CountBits'(Beats - 2)"),
    "m_start": ("first = valid_i & start_i", "first = valid_i & start_i & (next_q == '0)"),
    "m_armed": ("(valid_i & (next_q != '0))", "valid_i"),
    "m_reset": ("    if (rst_i) next_q <= '0;\n", ""),
    "m_word": (".address_i(next_q)", ".address_i(next_q - CountBits'(1))"),
}
MUTATED = "attach5"


def case(one: AttachEngine, mutation: tuple[str, str] | None = None) -> eb.Case:
    ports = (
        ".clk_i(clk_i), .rst_i(rst_i | {name}_rst), .valid_i({name}_valid), .start_i({name}_start),"
        " .valid_o({name}_valid_q), .start_o({name}_start_q), .data_o({name}_out)"
    )
    given = {**one.parameters(), **one.literals()}
    body = "logic unused_{name}; assign unused_{name} = ^{name}_in;"
    return eb.Case(one.MODULE, given, 1, one.word_bits, mutation, body=body, all_ports=ports)


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> eb.Bench:
    made = eb.Bench(tmp_path_factory.mktemp("attach"))
    made.cases |= {name: case(one) for name, one in ENGINES.items()}
    made.cases |= {name: case(ENGINES[MUTATED], change) for name, change in MUTANTS.items()}
    made.build()
    return made


def expected(one: AttachEngine, given: eb.Traffic) -> eb.Result:
    words, out, at = one.rom_words(), {}, one.beats
    for clock in np.flatnonzero(given.valid).tolist():
        at = 0 if given.start[clock] else at + 1
        if at < one.beats:
            out[clock + 1] = (at == 0, words[at])
    return eb.Result(out)


def test_back_to_back(bench: eb.Bench) -> None:
    given = {
        name: eb.traffic(2, one.beats, one.beats, 1, [eb.whole] * 5, tail=3) for name, one in ENGINES.items()
    }
    found = bench.play(given)
    for name, one in ENGINES.items():
        twin = one.emulate(np.zeros((1, one.beats, 1, 1), dtype=np.int64))[0]
        words = AttachEngine(twin, one.widths).rom_words()
        clocks = one.times(np.arange(one.beats))
        interval = one.busy(np.arange(one.beats))
        wanted = {
            int(clock) + event * interval: (beat == 0, word)
            for event in range(5)
            for beat, (clock, word) in enumerate(zip(clocks, words, strict=True))
        }
        assert found[name].beats == wanted, name


@pytest.mark.parametrize("resets", [0.0, 0.03])
def test_whatever_comes(bench: eb.Bench, resets: float) -> None:
    kinds = [eb.KINDS[k] for k in np.random.default_rng(5).integers(0, len(eb.KINDS), 60)]
    given = {
        name: eb.traffic(3, one.beats, one.beats, 1, kinds, resets=resets, tail=3)
        for name, one in ENGINES.items()
    }
    found = bench.play(given, seed=4)
    for name, one in ENGINES.items():
        wanted = eb.between_resets(given[name], lambda part, one=one: expected(one, part))
        assert found[name].beats == wanted.beats, name
        assert len(wanted.beats) > 20


def test_every_mutant_is_found(bench: eb.Bench) -> None:
    one = ENGINES[MUTATED]
    given = eb.traffic(7, one.beats, one.beats, 1, [*eb.KINDS] * 5, resets=0.02, tail=3)
    found = bench.play(dict.fromkeys(MUTANTS, given))
    wanted = eb.between_resets(given, lambda part: expected(one, part))
    for name in MUTANTS:
        assert found[name].beats != wanted.beats, name
