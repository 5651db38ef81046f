# SPDX-License-Identifier: Apache-2.0
"""Split, Collect and Repeat in simulation: every beat in its clock, whatever comes; every mutant is found."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from l1ml.plan.regroup import CollectEngine, SplitEngine
from l1ml.plan.repeat import RepeatEngine

sys.path.insert(0, str(Path(__file__).parent))
import engine_bench as eb

pytestmark = pytest.mark.sim

Engine = SplitEngine | CollectEngine | RepeatEngine

SHAPES = (
    (1, 1, 1, 3), (1, 2, 1, 1), (1, 5, 1, 4), (1, 5, 2, 7), (1, 6, 3, 40), (1, 7, 7, 2), (3, 1, 1, 5),
    (2, 2, 2, 33), (2, 5, 2, 3), (3, 4, 3, 9), (3, 7, 4, 65),
)  # fmt: skip
ENGINES: dict[str, Engine] = {
    f"{kind.NAME.lower()}{number}": kind(*shape)
    for kind in (SplitEngine, CollectEngine)
    for number, shape in enumerate(SHAPES)
}
LARGEST = len(SHAPES) - 1
ENGINES |= {
    f"repeat{number}": RepeatEngine(*shape) for number, shape in enumerate(((1, 3), (2, 1), (5, 70), (8, 4)))
}
SPLIT_MUTANTS = {
    "count": ("LeftBits'(Beats - 1);", "LeftBits'(Beats - 2);"),
    "start": ("take = valid_i & start_i", "take = valid_i"),
    "begin": ("      start_o <= take;", "      start_o <= take & (left_q == '0);"),
    "reset": ("        left_q  <= '0;\n", ""),
    "row": ("data_i[row*RowBits+:RowBits]", "data_i[0+:RowBits]"),
}
COLLECT_MUTANTS = {
    "count": ("LeftBits'(Beats - 1) :", "LeftBits'(Beats - 2) :"),
    "start": ("start_i ? LeftBits'(Beats - 1)", "(start_i & (left_q == '0)) ? LeftBits'(Beats - 1)"),
    "armed": ("(start_i | (left_q != '0));", "1'b1;"),
    "reset": ("if (rst_i) left_q <= '0;", ""),
    "valid": ("last & ~rst_i", "last"),
    "row": ("beats_q[row*RowBeats*BeatBits+:RowBits]", "beats_q[0+:RowBits]"),
}
REPEAT_MUTANTS = {
    "count": ("LeftBits'(Beats - 1);", "LeftBits'(Beats - 2);"),
    "start": ("take = valid_i & start_i", "take = valid_i"),
    "begin": ("start_o <= take &", "start_o <= take & ~more &"),
    "reset": ("      if (rst_i) left_q <= '0;\n", ""),
    "hold": ("if (take) data_o <= data_i", "if (valid_i) data_o <= data_i"),
}
MUTANTS = {
    f"m_{kind}_{name}": (f"{kind}{number}", change)
    for kind, number, changes in (
        ("split", LARGEST, SPLIT_MUTANTS),
        ("collect", LARGEST, COLLECT_MUTANTS),
        ("repeat", 3, REPEAT_MUTANTS),
    )
    for name, change in changes.items()
}


def sizes(one: Engine) -> tuple[int, int, int]:
    """Return bits of an input beat, of an output beat, and input beats."""
    if isinstance(one, RepeatEngine):
        return one.width, one.width, 1
    beat, whole = one.lanes * one.position_bits, one.positions * one.position_bits
    return (whole, beat, 1) if isinstance(one, SplitEngine) else (beat, whole, one.beats)


def case(one: Engine, mutation: tuple[str, str] | None = None) -> eb.Case:
    ins, outs, _ = sizes(one)
    return eb.Case(one.MODULE, one.parameters(), ins, outs, mutation)


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> eb.Bench:
    made = eb.Bench(tmp_path_factory.mktemp("regroup"))
    made.cases |= {name: case(one) for name, one in ENGINES.items()}
    made.cases |= {name: case(ENGINES[of], change) for name, (of, change) in MUTANTS.items()}
    made.build()
    return made


def positions(word: int, count: int, bits: int) -> np.ndarray:
    """Return the bits of every position in a word, (count, bits)."""
    flat = [word >> k & 1 for k in range(count * bits)]
    return np.array(flat, dtype=np.int64).reshape(count, bits)


def word(codes: np.ndarray) -> int:
    return int("".join(map(str, codes.ravel()[::-1])), 2)


def twin(one: Engine, beats: list[int]) -> list[int]:
    """Return the words of an event's output beats, by the twin."""
    if isinstance(one, RepeatEngine):
        return [word(beat) for beat in one.emulate(positions(beats[0], 1, one.width)[None, None])[0]]
    lanes = one.positions if isinstance(one, SplitEngine) else one.lanes
    codes = np.stack([positions(b, lanes, one.position_bits) for b in beats])
    return [word(beat) for beat in one.emulate(codes[None])[0]]


def expected(one: Engine, given: eb.Traffic) -> eb.Result:
    """Say what comes out: whole events by the twin, the output cut where a new event begins to leave."""
    _, _, wanted = sizes(one)
    out: dict[int, tuple[bool, int]] = {}
    open_, event, arrivals = False, [], []
    for clock in np.flatnonzero(given.valid).tolist():
        if given.start[clock]:
            open_, event, arrivals = True, [], []
        if not open_:
            continue
        event.append(given.data[clock])
        arrivals.append(clock)
        if len(event) == wanted:
            open_ = False
            clocks = one.times(np.array(arrivals)).tolist()
            out = {c: beat for c, beat in out.items() if c < clocks[0]}
            words = twin(one, event)
            out |= {c: (k == 0, w) for k, (c, w) in enumerate(zip(clocks, words, strict=True))}
    return eb.Result(out)


def drive(one: Engine, seed: int, kinds: list[eb.Kind], resets: float = 0.0) -> eb.Traffic:
    bits, _, beats = sizes(one)
    interval = one.busy(np.arange(beats))
    return eb.traffic(seed, beats, interval, bits, kinds, resets=resets, tail=one.beats + 2)


def test_back_to_back(bench: eb.Bench) -> None:
    given = {name: drive(one, 2, [eb.whole] * 40) for name, one in ENGINES.items()}
    found = bench.play(given)
    for name, one in ENGINES.items():
        _, _, beats = sizes(one)
        wanted = {}
        for event in range(40):
            clocks = event * one.busy(np.arange(beats)) + np.arange(beats)
            words = twin(one, [given[name].data[c] for c in clocks])
            out = one.times(clocks).tolist()
            wanted |= {c: (k == 0, w) for k, (c, w) in enumerate(zip(out, words, strict=True))}
        assert found[name].beats == wanted, name


@pytest.mark.parametrize("resets", [0.0, 0.03])
def test_whatever_comes(bench: eb.Bench, resets: float) -> None:
    rng = np.random.default_rng(5)
    for seed in range(2):
        kinds = [eb.KINDS[k] for k in rng.integers(0, len(eb.KINDS), 80)]
        given = {name: drive(one, seed, kinds, resets) for name, one in ENGINES.items()}
        found = bench.play(given, seed=seed + 1)
        for name, one in ENGINES.items():
            wanted = eb.between_resets(given[name], lambda part, one=one: expected(one, part))
            assert found[name].beats == wanted.beats, f"{name}, seed {seed}"
            assert len(wanted.beats) > 20


def test_every_mutant_is_found(bench: eb.Bench) -> None:
    kinds = [*eb.KINDS] * 5
    given = {name: drive(ENGINES[of], 7, kinds, 0.02) for name, (of, _) in MUTANTS.items()}
    found = bench.play(given)
    for name, (of, _) in MUTANTS.items():
        one = ENGINES[of]
        wanted = eb.between_resets(given[name], lambda part, one=one: expected(one, part))
        assert found[name].beats != wanted.beats, name
