# SPDX-License-Identifier: Apache-2.0
"""Fold in simulation: every result in its clock, whatever comes; new weights; every mutant is found."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from l1ml.plan.fold import FoldEngine

sys.path.insert(0, str(Path(__file__).parents[1] / "unit"))
sys.path.insert(0, str(Path(__file__).parent))
import engine_bench as eb
from engine_clocks import fold_clocks

pytestmark = pytest.mark.sim


def engine(
    shape: tuple[int, int, int], per_clock: int, registers: tuple[int, int] = (0, 0), *, dead: Sequence[int] = (),
    high: int = 7, signed: bool = True, input_bits: int = 5, bias: bool = False, **more: Any,
) -> FoldEngine:  # fmt: skip
    """Return an engine whose weights go to both ends of their range."""
    rng = np.random.default_rng(shape[1])
    weights = rng.integers(-high - (high > 1), high + 1, shape)
    weights[0, :, 0] = np.where(np.arange(shape[1]) % 2, high, -high - (high > 1))
    weights[:, list(dead)] = 0
    given: dict[str, Any] = {
        "input_bits": input_bits, "input_signed": signed, "weight_bits": high.bit_length() + 1,
        "per_clock": per_clock, "multiplier_stages": registers[0], "tree_stages": registers[1],
        "bias": rng.integers(-40, 40, shape[2]) if bias else None, **more,
    }  # fmt: skip
    extremes = [weights] if not more.get("reloadable") else [np.full(shape, -high - 1), np.full(shape, high)]
    biases = (
        [given["bias"]] if not more.get("reloadable") else [np.full(shape[2], -40), np.full(shape[2], 40)]
    )
    least = max(FoldEngine.least_acc_bits(w, input_bits, signed, b) for w in extremes for b in biases)
    return FoldEngine(weights, acc_bits=least, **given)


ENGINES = {
    "one": engine((1, 1, 1), 1),
    "one_slice": engine((1, 4, 3), 4, (1, 2)),
    "every_beat": engine((1, 6, 2), 2, results=4),
    "late": engine((1, 5, 3), 1, (2, 0), signed=False, bias=True),
    "flatten": engine((5, 3, 2), 1, (1, 0), rom="block"),
    "flatten_wide": engine((4, 5, 3), 3, (2, 2), style="dsp", bias=True, dead=[2], rom="block"),
    "both": engine((3, 4, 2), 2, (0, 1), results=3, style="dsp", signed=False, bias=True),
    "padded": engine((2, 7, 2), 3, (0, 0), dead=[0, 6], signed=False, input_bits=1),
    "wide": engine((1, 9, 3), 5, (1, 3), high=127, input_bits=12, style="dsp"),
    "fast": engine((2, 5, 2), 2, (4, 1), high=127, input_bits=7, bias=True),
    "fast_rows": engine((1, 4, 2), 2, (5, 0), high=63, signed=False, results=2),
    "fast_dsp": engine((1, 4, 2), 2, (3, 1), signed=False, style="dsp", rom="block"),
    "phase_per_clock": engine((6, 2, 2), 2, (1, 1), results=2, high=3),
    "ternary": engine((2, 6, 3), 4, (1, 2), high=1, bias=True),
    "ternary_unsigned": engine((1, 7, 2), 2, (2, 0), high=1, signed=False, results=2),
    "cascade": engine((1, 8, 3), 4, (1, 0), style="dsp", chain=4, results=2, bias=True),
    "cascades": engine((3, 10, 2), 5, (1, 1), style="dsp", chain=3, results=2, signed=False),
    "cascades_late": engine((2, 14, 2), 7, (3, 2), style="dsp", chain=2, rom="block", bias=True),
    "cascade_of_constants": engine((1, 6, 2), 6, (2, 1), style="dsp", chain=3, results=3, signed=False),
    "cascade_wide": engine((1, 9, 3), 5, (1, 0), high=127, input_bits=12, style="dsp", chain=5),
    "empty": engine((2, 3, 2), 1, dead=[0, 1, 2], bias=True),
}
FREE = {
    "free": engine((2, 3, 2), 2, (1, 1), reloadable=True, bias=True),
    "free_one": engine((1, 2, 3), 2, (0, 0), reloadable=True, style="dsp", results=2, high=3),
    "free_fast": engine((1, 2, 2), 2, (1, 1), reloadable=True, high=3, bias=True),
    "free_block": engine((3, 4, 2), 1, (2, 0), reloadable=True, rom="block", high=3, signed=False),
}
"""With weights that change."""

MUTANTS = {
    "slices": ("SliceBits'(Slices - 1) :", "SliceBits'(Slices - 2) :"),
    "beats": ("LeftBits'(Beats - 1);", "LeftBits'(Beats - 2);"),
    "words": ("AddressBits'(1) == Last", "AddressBits'(2) == Last"),
    "wrap": ("begins ? Words <= 2 : wrap_q", "wrap_q"),
    "zero": ("begins ? Words == 1 : wrap_q;\n      wrap_q", "wrap_q;\n      wrap_q"),
    "last": (
        "last_q   <= begins ? Words == 1 : wrap_q",
        "last_q   <= begins ? Words == 1 : zero_q",
    ),
    "first": ("first_q  <= begins | zero_q", "first_q  <= begins"),
    "start": ("begins ? AddressBits'(Words != 1) : wrap_q", "wrap_q"),
    "armed": ("valid_i & open_q & ~more_q", "valid_i & ~more_q"),
    "open": ("open_q <= left_q != LeftBits'(1);", "open_q <= left_q != '0;"),
    "more": ("step & (after_q != SliceBits'(1))", "step & (after_q != '0)"),
    "early": ("    end else if (early) begin\n      left_q <= '0;\n      open_q <= 1'b0;\n", ""),
    "kill": ("take | (more_q & ~early)", "take | more_q"),
    "fresh": ("else if (active_q & last_q) fresh_q <= 1'b0;", ""),
    "stale": ("if (begins) fresh_q <= 1'b1;\n    else if", "if"),
    "reset": ("      active_q <= 1'b0;\n", ""),
    "more_reset": ("      more_q   <= 1'b0;\n", ""),
    "armed_reset": ("      open_q   <= 1'b0;\n    end\n", "    end\n"),
    "late_reset": ("add_q <= rst_i ? '0 : {", "add_q <= {"),
    "shift": ("inputs_q >> (PerClock * InputBits)", "inputs_q >> InputBits"),
    "kept": ("data_i[Kept[k*16+:16]*InputBits", "data_i[Kept[(KeptInputs-1-k)*16+:16]*InputBits"),
    "marks": (".Width(3),\n      .Latency(Depth)", ".Width(3),\n      .Latency(Depth - 1)"),
    "initial": ("initials[o*AccBits+:AccBits]", "initials[0+:AccBits]"),
}
CHAIN_MUTANTS = {
    "operands": (".Latency(j)", ".Latency((j > 1) ? j - 1 : j)"),
    "address": ("gen_place[j-1].address", "gen_place[0].address"),
    "first": ("first   <= gen_place[j-1].first", "first   <= first_i"),
    "outputs": ("w[(o*Size+k)*", "w[((o > 0 ? 0 : o)*Size+k)*"),
    "places": ("(k < First) ? 0 : 1;", "(k < First) ? 1 : 1;"),
}
"""In the cascades."""
FREE_MUTANTS = {
    "bank": ("bank_q ^ (begins & swap_q)", "bank_q"),
    "now": ("bank_q ^ (begins & swap_q)", "bank_q ^ swap_q"),
    "unswapped": ("(swap_q & ~begins)", "swap_q"),
    "same": (
        ".we_i(weights_we_i),\n      .we_bank_i(~bank_q)",
        ".we_i(weights_we_i),\n      .we_bank_i(bank_q)",
    ),
    "bank_reset": ("bank & ~rst_i", "bank"),
    "bias_now": (
        ".we_i(bias_we_i),\n      .we_bank_i(~bank_q)",
        ".we_i(bias_we_i),\n      .we_bank_i(bank_q)",
    ),
    "bias_lost": (".we_i(bias_we_i)", ".we_i(1'b0)"),
}
MUTATED = {f"m_{name}": ("mutant", change) for name, change in MUTANTS.items()}
MUTATED["m_add"] = ("phase_per_clock", ("if (add) begin", "if (1'b1) begin"))
MUTATED["m_depth"] = ("cascades", ("TreeStages + Chain - 1;", "TreeStages + Chain - 2;"))
CHAIN_MUTATED = {f"m_chain_{name}": ("cascades", change) for name, change in CHAIN_MUTANTS.items()}
FREE_MUTATED = {f"m_{name}": ("free", change) for name, change in FREE_MUTANTS.items()}
FREE_MUTATED["m_bias_bank"] = ("free_fast", (".bank_i(sum_bank)", ".bank_i(bank)"))
ENGINES["mutant"] = engine((3, 5, 2), 2, (2, 1), results=2, dead=[1], bias=True)


Tables = Mapping[int, tuple[np.ndarray, np.ndarray]]


def ends(one: FoldEngine) -> tuple[int, int]:
    return one.n_in * one.input_bits, one.n_out * one.acc_bits


def case(one: FoldEngine, mutation: tuple[str, str] | None = None, inside: str = "") -> eb.Case:
    tied = "".join(f", .{port}({value})" for port, value in one.ties().items())
    given = {**one.parameters(), **one.literals()}
    return eb.Case(one.MODULE, given, *ends(one), mutation, ports=tied, inside=inside)


def address_bits(one: FoldEngine) -> int:
    return max(1, (one.words - 1).bit_length())


def free_case(one: FoldEngine, mutation: tuple[str, str] | None = None) -> eb.Case:
    """Return a case with {bias, its write, swap, write, address, word} above the inputs."""
    inputs, outputs = ends(one)
    word = inputs + one.word_bits
    address = word + address_bits(one)
    ports = (
        f", .bias_we_i({{name}}_in[{address + 2}]), .bias_i({{name}}_in[{address + 2 + outputs}:{address + 3}])"
        f", .weights_swap_i({{name}}_in[{address + 1}]), .weights_we_i({{name}}_in[{address}]),"
        f" .weights_address_i({{name}}_in[{address - 1}:{word}]), .weights_i({{name}}_in[{word - 1}:{inputs}])"
    )
    given = {**one.parameters(), **one.literals()}
    return eb.Case(one.MODULE, given, address + 3 + outputs, outputs, mutation, ports=ports, beat_bits=inputs)


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> eb.Bench:
    made = eb.Bench(tmp_path_factory.mktemp("fold"))
    made.cases |= {name: case(one) for name, one in ENGINES.items()}
    made.cases |= {name: free_case(one) for name, one in FREE.items()}
    made.cases |= {name: case(ENGINES[of], change) for name, (of, change) in MUTATED.items()}
    made.cases |= {
        name: case(ENGINES[of], change, "l1ml_cascades") for name, (of, change) in CHAIN_MUTATED.items()
    }
    made.cases |= {name: free_case(FREE[of], change) for name, (of, change) in FREE_MUTATED.items()}
    made.build()
    return made


def result(one: FoldEngine, beats: Sequence[int]) -> int:
    """Return the word of a result, by the twin, from the words of its beats."""
    codes = eb.codes(beats, one.n_in, one.input_bits, one.input_signed)
    made = replace(one, results=1).emulate(codes[None, :, None])
    return eb.words(made.reshape(1, one.n_out), one.acc_bits)[0]


def expected(one: FoldEngine, given: eb.Traffic, tables: Tables | None = None) -> eb.Result:
    """Say what comes out; ``tables`` holds weights and bias of every event, by the word of its first beat."""
    out = {}
    for answer in fold_clocks(one, zip(given.valid.tolist(), given.start.tolist(), strict=True)):
        now = one
        if tables is not None:
            starts = np.flatnonzero((given.valid & given.start)[: answer.beats[0] + 1])
            weights, bias = tables[given.data[starts[-1]]]
            now = replace(one, weights=weights, bias=bias)
        out[answer.clock] = answer.start, result(now, [given.data[clock] for clock in answer.beats])
    return eb.Result(out)


def spread(kind: eb.Kind, by: int) -> eb.Kind:
    """Return a kind of traffic with that many clocks for each row."""

    def rows(rng: np.random.Generator, beats: int, interval: int) -> list[tuple[int, int]]:
        idle = [(0, int(rng.integers(0, 2))) for _ in range(by - 1)]
        return [one for row in kind(rng, beats, interval) for one in (row, *idle)]

    return rows


def drive(
    one: FoldEngine, seed: int, count: int, *, kinds: Sequence[eb.Kind] = eb.KINDS, spreads: Sequence[int] = (0,),
    resets: float = 0.0, bits: int = 0,
) -> eb.Traffic:  # fmt: skip
    """Return events with about the clocks that a beat takes from beat to beat."""
    rng = np.random.default_rng(seed)
    chosen = [
        spread(kinds[rng.integers(len(kinds))], max(1, one.slices + int(rng.choice(spreads))))
        for _ in range(count)
    ]
    bits = bits or ends(one)[0]
    return eb.traffic(seed, one.beats, one.beats, bits, chosen, resets=resets, tail=one.latency + 2)


ROUGH = (0, 0, 0, 1, -1, -9)
"""Spreads with beats that come too early."""


def test_back_to_back(bench: eb.Bench) -> None:
    """The twin says what comes out, and when."""
    given = {name: drive(one, 2, 30, kinds=[eb.whole]) for name, one in ENGINES.items()}
    found = bench.play(given)
    for name, one in ENGINES.items():
        arrivals = np.arange(one.beats) * one.slices
        rows = np.arange(30)[:, None] * one.busy(arrivals) + arrivals
        beats = [given[name].data[clock] for clock in rows.ravel()]
        codes = eb.codes(beats, one.n_in, one.input_bits, one.input_signed)
        made = one.emulate(codes.reshape(30, one.beats, 1, one.n_in)).reshape(-1, one.n_out)
        clocks = [(int(clock), k == 0) for event in rows for k, clock in enumerate(one.times(event))]
        words = eb.words(made, one.acc_bits)
        assert found[name].beats == {c: (start, w) for (c, start), w in zip(clocks, words, strict=True)}, name


@pytest.mark.parametrize("resets", [0.0, 0.02])
def test_whatever_comes(bench: eb.Bench, resets: float) -> None:
    for seed in range(3):
        given = {name: drive(one, seed, 60, spreads=ROUGH, resets=resets) for name, one in ENGINES.items()}
        found = bench.play(given, seed=seed + 1)
        for name, one in ENGINES.items():
            wanted = eb.between_resets(given[name], lambda part, one=one: expected(one, part))
            assert found[name].beats == wanted.beats, f"{name}, seed {seed}"
            assert len(wanted.beats) > 10, name


def test_largest_and_smallest_sums_fit(bench: eb.Bench) -> None:
    """Inputs at the ends of their range, one sign for each sign of a weight."""
    given = {}
    for name, one in ENGINES.items():
        low = -(1 << one.input_bits - 1) if one.input_signed else 0
        high = low + (1 << one.input_bits) - 1
        idle, rows, data = [(0, 0)] * (one.slices - 1), [], []
        for output in range(one.n_out):
            for most, least in ((high, low), (low, high)):
                inputs = np.where(one.weights[:, :, output] > 0, most, least)
                for beat in range(one.beats):
                    rows += [(1, int(beat == 0)), *idle]
                    data += eb.words(inputs[[beat % one.phases]], one.input_bits) + [0] * len(idle)
        rows += [(0, 0)] * (one.latency + 1)
        valid, start = np.array(rows).T
        data += [0] * (len(rows) - len(data))
        given[name] = eb.Traffic(np.zeros_like(valid), valid, start, data)
    found = bench.play(given)
    for name, one in ENGINES.items():
        wanted = expected(one, given[name])
        assert found[name].beats == wanted.beats, name
        assert len(wanted.beats) == 2 * one.n_out * one.results


def with_weights(one: FoldEngine, given: eb.Traffic, seed: int) -> tuple[eb.Traffic, Tables]:
    """Add writes and swaps to traffic; return the weights of every event, by the word of its first beat."""
    rng = np.random.default_rng(seed)
    inputs, word_at = ends(one)[0], ends(one)[0] + one.word_bits
    address_at = word_at + address_bits(one)
    rom, bias = one.rom_words(), np.zeros(one.n_out, np.int64) if one.bias is None else one.bias
    banks, bank, swap, data, tables, biases = [[*rom], [*rom]], 0, 0, [], {}, [bias, bias]
    for clock, word in enumerate(given.data):
        beat = word & (1 << address_at) - 1
        begins = given.valid[clock] and given.start[clock]
        idle = swap or clock == 0  # which stands on the ports in reset, before the bank is known
        write = int(not idle and rng.random() < 0.5)
        swaps = int(not write and rng.random() < 0.1)
        shifts, start = int(not idle and rng.random() < 0.2), rng.integers(-40, 40, one.n_out)
        (word_of_bias,) = eb.words(start[None], one.acc_bits)
        data.append(beat | write << address_at | swaps << address_at + 1 | shifts << address_at + 2)
        data[-1] |= word_of_bias << address_at + 3
        if write and (address := beat >> word_at) < one.words:
            banks[1 - bank][address] = beat >> inputs & (1 << one.word_bits) - 1
        if shifts:
            biases[1 - bank] = start
        if begins and swap:
            bank, swap = 1 - bank, 0
        if begins:
            tables[data[-1]] = unpacked(one, banks[bank]), biases[bank]
        swap |= swaps
        if given.reset[clock]:
            bank, swap = 0, 0
    return replace(given, data=data), tables


def unpacked(one: FoldEngine, rom: Sequence[int]) -> np.ndarray:
    """Return the weights in the words of a ROM, (phases, inputs, outputs)."""
    codes = eb.codes(rom, one.n_out * one.per_clock, one.weight_bits, signed=True)
    slices = codes.reshape(one.phases, one.slices, one.n_out, one.per_clock).transpose(0, 1, 3, 2)
    return slices.reshape(one.phases, -1, one.n_out)[:, : one.n_in]


def free_traffic(one: FoldEngine, seed: int) -> tuple[eb.Traffic, Tables]:
    bits = ends(one)[0] + one.word_bits + address_bits(one)
    return with_weights(one, drive(one, seed, 60, spreads=ROUGH, resets=0.01, bits=bits), seed)


def test_new_weights_count_from_the_next_event(bench: eb.Bench) -> None:
    for seed in range(2):
        made = {name: free_traffic(one, seed) for name, one in FREE.items()}
        found = bench.play({name: given for name, (given, _) in made.items()}, seed=seed + 1)
        for name, (given, tables) in made.items():
            wanted = eb.between_resets(
                given, lambda part, one=FREE[name], tables=tables: expected(one, part, tables)
            )
            assert found[name].beats == wanted.beats, f"{name}, seed {seed}"
            for k in range(2):
                assert len({table[k].tobytes() for table in tables.values()}) > 5
            assert len(wanted.beats) > 10


def test_every_mutant_is_found(bench: eb.Bench) -> None:
    alive = {**MUTATED, **CHAIN_MUTATED, **FREE_MUTATED}
    for seed in range(12):
        if not alive:
            break
        given, wanted = {}, {}
        for of in {of for of, _ in alive.values()}:
            one, tables = ENGINES.get(of) or FREE[of], None
            if of in FREE:
                given[of], tables = free_traffic(one, seed)
            else:
                given[of] = drive(one, seed, 60, spreads=ROUGH, resets=0.02)
            wanted[of] = eb.between_resets(
                given[of], lambda part, o=one, t=tables: expected(o, part, t)
            ).beats
        found = bench.play(given | {name: given[of] for name, (of, _) in alive.items()}, seed=seed + 1)
        assert {of: found[of].beats for of in given} == wanted
        alive = {name: entry for name, entry in alive.items() if found[name].beats == wanted[entry[0]]}
    assert not alive
