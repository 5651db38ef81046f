# SPDX-License-Identifier: Apache-2.0
"""Fold: the twin against plain loops, ROM against weights, times against a model that counts clocks."""

from __future__ import annotations

import itertools
import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from engine_clocks import fold_clocks

from l1ml.errors import ConfigError, DataError, TimingError
from l1ml.plan.fold import INDEX_BITS, ROM_BITS, FoldEngine
from l1ml.plan.tables import LITERAL_BITS

RNG_SEED = 6


def engine(
    phases: int = 1, n_in: int = 5, n_out: int = 3, per_clock: int = 2, *, low: int = -8, **changes: Any
) -> FoldEngine:
    weights = np.random.default_rng(RNG_SEED).integers(low, -low, (phases, n_in, n_out))
    weights[0, :, 0] = [low + k % 2 for k in range(n_in)]  # no input without a weight
    given = {"input_bits": 4, "input_signed": True, "weight_bits": 4, "acc_bits": 14}
    return FoldEngine(weights, per_clock=per_clock, **{**given, **changes})


def unpacked(literal: str, bits: int, signed: bool = True) -> list[int]:
    """Read the numbers of a SystemVerilog literal back, lowest bits first."""
    parts = re.findall(r"(\d+)'h([0-9a-f]+)", literal)
    text = ", ".join(f"{width}'h{digits}" for width, digits in parts)
    assert literal == (text if len(parts) == 1 else f"{{{text}}}")
    assert all(int(digits, 16) < 1 << int(width) <= 1 << LITERAL_BITS for width, digits in parts)
    width = sum(int(width) for width, _ in parts)
    value = int("".join(format(int(digits, 16), f"0{width}b") for width, digits in parts), 2)
    assert width % bits == 0
    codes = [value >> (at * bits) & ((1 << bits) - 1) for at in range(width // bits)]
    return [code - (1 << bits) if signed and code >> (bits - 1) else code for code in codes]


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize(("phases", "results"), [(1, 1), (1, 3), (3, 1), (2, 2)])
def test_results_are_those_of_plain_loops(phases: int, results: int, bias: bool) -> None:
    one = engine(phases, results=results, bias=np.array([5, -7, 100]) if bias else None)
    rng = np.random.default_rng(1)
    beats = rng.integers(-8, 8, (4, phases * results, 1, 5))
    expected = np.zeros((4, results, 3), dtype=object)
    for event, result, output in itertools.product(range(4), range(results), range(3)):
        total = int(one.bias[output]) if one.bias is not None else 0
        for phase, i in itertools.product(range(phases), range(5)):
            total += int(beats[event, result * phases + phase, 0, i]) * int(one.weights[phase, i, output])
        expected[event, result, output] = total
    found = one.emulate(beats)
    assert found.shape == (4, results, 1, 3)
    np.testing.assert_array_equal(found[:, :, 0], expected)
    np.testing.assert_array_equal(one.emulate(beats.reshape(4, -1, 5, 1)), found)  # lanes do not matter
    assert one.emulate(beats[:0]).shape == (0, results, 1, 3)


@pytest.mark.parametrize("low", [-8, -1])
@pytest.mark.parametrize("per_clock", [1, 2, 3, 5])
def test_the_rom_holds_every_weight_once(per_clock: int, low: int) -> None:
    """Sums made from the tables of the hardware, slice by slice, are those of the twin."""
    one = engine(2, 7, 4, per_clock, low=low, bias=np.array([1, -2, 3, 0]), acc_bits=15)
    one.weights[:, [1, 4]] = 0
    parameters, literals = one.parameters(), one.literals()
    assert one.ternary == (low == -1)
    assert parameters["WeightBits"] == (2 if low == -1 else 4)
    kept = unpacked(literals["Kept"], INDEX_BITS, signed=False)
    assert kept == [0, 2, 3, 5, 6]
    assert one.slices == -(-5 // per_clock)
    rom = unpacked(literals["Weights"], parameters["WeightBits"])
    assert len(rom) == one.words * 4 * per_clock
    x = np.random.default_rng(2).integers(-8, 8, (1, 2, 1, 7))
    totals = unpacked(literals["Initial"], one.acc_bits)
    for word, output, lane in itertools.product(range(one.words), range(4), range(per_clock)):
        phase, at = word // one.slices, word % one.slices * per_clock + lane
        code = int(x[0, phase, 0, kept[at]]) if at < len(kept) else 0  # zeros fill up
        weight = rom[(word * 4 + output) * per_clock + lane]
        totals[output] += ~code if one.ternary and weight == -1 else code * weight
    assert totals == one.emulate(x).ravel().tolist()


@pytest.mark.parametrize(("per_clock", "chain", "first"), [(4, 2, 2), (5, 2, 2), (7, 3, 1), (6, 6, 1)])
def test_every_place_of_a_cascade_has_a_rom_of_its_own(per_clock: int, chain: int, first: int) -> None:
    one = engine(2, 12, 2, per_clock, style="dsp", multiplier_stages=1, chain=chain)
    assert one.parameters()["Chain"] == chain
    rom = np.array(unpacked(one.literals()["Weights"], 4))
    plain = replace(one, chain=1)
    by_slice = np.array(unpacked(plain.literals()["Weights"], 4)).reshape(one.words, 2, per_clock)
    at = 0
    for base in [0, *range(first, per_clock, one.ends)]:
        size = first if base == 0 else one.ends
        place = by_slice[:, :, base : base + size]
        np.testing.assert_array_equal(rom[at : at + place.size].reshape(place.shape), place)
        at += place.size
    assert at == len(rom)
    assert one.rom_words() == plain.rom_words()


def test_a_cascade_takes_a_clock_for_each_block_behind_the_first() -> None:
    arrivals = np.arange(6) * 3
    for stages in (1, 2):
        plain = engine(3, 12, 3, 4, style="dsp", results=2, multiplier_stages=stages)
        chained = replace(plain, chain=4)
        np.testing.assert_array_equal(chained.times(arrivals), plain.times(arrivals) + 3)
        assert chained.busy(arrivals) == plain.busy(arrivals)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"style": "lut"}, "chain = 2, but only DSP blocks with registers add products"),
        ({"multiplier_stages": 0}, "chain = 2, but only DSP blocks with registers add products"),
        ({"reloadable": True, "acc_bits": 20}, "and only of weights that stay"),
        ({"low": -1}, "give chain 1, or style dsp and multiplier_stages of 1 or 2"),
        ({"chain": 0}, "chain = 0"),
        (
            {"chain": 4},
            "cascades of 4 for 5 inputs per clock\n  fix give chain 3, which makes as few of them",
        ),
        ({"chain": 6}, "give chain 5"),
        ({"chain": 3, "tree_stages": 2}, "2 registers in a tree of 2 terms"),
    ],
)
def test_a_chain_that_cannot_be_is_refused(changes: dict[str, Any], message: str) -> None:
    given = {"style": "dsp", "multiplier_stages": 1, "chain": 2}
    with pytest.raises(ConfigError, match=message):
        engine(1, 10, 3, 5, **{**given, **changes})


@pytest.mark.parametrize("registers", [(0, 0), (1, 0), (2, 1)])
@pytest.mark.parametrize(("phases", "results"), [(1, 1), (1, 3), (3, 1), (2, 2)])
def test_results_come_in_their_clock_at_the_least_interval(
    phases: int, results: int, registers: tuple[int, int]
) -> None:
    one = engine(phases, results=results, multiplier_stages=registers[0], tree_stages=registers[1])
    assert one.latency == 3 + 1 + sum(registers)
    beats = phases * results
    for arrivals in (np.arange(beats) * 3, np.cumsum(3 + np.arange(beats) % 2)):
        busy = one.busy(arrivals)
        events = [arrivals + busy * number for number in range(3)]
        clocks = [(0, 1)] * (int(events[-1][-1]) + 10)
        for event in events:
            for number, clock in enumerate(event):
                clocks[clock] = (1, int(number == 0))
        answers = fold_clocks(one, clocks)
        assert [a.clock for a in answers] == [int(c) for event in events for c in one.times(event)]
        assert [a.start for a in answers] == ([True] + [False] * (results - 1)) * 3
        assert [clock for a in answers for clock in a.beats] == np.concatenate(events).tolist()
        clocks.insert(int(events[0][-1]) + 1, (0, 0))  # a clock more between events changes nothing else
        assert len(fold_clocks(one, clocks)) == 3 * results
        clocks = [
            (1, 1) if k == int(events[0][-1]) + 2 else c for k, c in enumerate(clocks)
        ]  # one closer: lost
        assert len(fold_clocks(one, clocks)) < 3 * results


def test_beats_closer_than_their_slices_are_refused() -> None:
    one = engine(3)
    with pytest.raises(TimingError) as caught:
        one.times(np.array([0, 3, 5]))
    assert str(caught.value) == (
        "Fold: beat 2 comes at clock 5, beat 1 at clock 3, but a beat takes 3 clocks"
        "\n  fix let a beat take at most 2 clocks (reuse_factor), or take fewer positions per beat"
    )
    assert engine(3, per_clock=3).times(np.array([0, 3, 5])).tolist() == [8]
    with pytest.raises(TimingError):
        one.busy(np.array([0, 2, 5]))
    with pytest.raises(ConfigError, match="an event has 3 input beats"):
        one.check(np.arange(2))


@pytest.mark.parametrize("signed", [False, True])
def test_least_acc_bits_are_enough_and_not_more(signed: bool) -> None:
    rng = np.random.default_rng(3)
    inputs = [-4, -1, 0, 3] if signed else [0, 1, 7]
    for trial in range(60):
        weights = rng.integers(-3, 4, (1, 3, 2)) * int(rng.integers(0, 2) if trial % 3 else 1)
        bias = rng.integers(-20, 21, 2) if trial % 2 else None
        x = np.array(list(itertools.product(inputs, repeat=3)))
        sums = x @ weights[0] + (0 if bias is None else bias)
        least = FoldEngine.least_acc_bits(weights, 3, signed, bias)
        fits = [-(1 << w - 1) <= sums.min() and sums.max() < 1 << w - 1 for w in (least, max(1, least - 1))]
        assert fits[0]
        assert least == 1 or not fits[1]


def test_a_large_rom_is_put_together_from_numbers_that_simulators_read() -> None:
    weights = np.random.default_rng(5).integers(-32, 32, (2, 100, 60))
    one = FoldEngine(weights, 4, True, 6, 20, 1)
    literal = one.literals()["Weights"]
    assert literal.startswith(f"{{{one.words * one.word_bits - LITERAL_BITS}'h")
    found = np.array(unpacked(literal, 6)).reshape(2, 100, 60)
    np.testing.assert_array_equal(found, weights)


def test_reloadable_weights_have_room_and_drop_no_input() -> None:
    given = {"input_bits": 4, "input_signed": False, "weight_bits": 2, "per_clock": 1}
    weights = np.array([[[1], [0], [-1]]])
    fixed = FoldEngine(weights, acc_bits=5, **given)
    assert (fixed.kept.tolist(), fixed.ternary, fixed.slices) == ([0, 2], True, 2)
    free = FoldEngine(weights, acc_bits=8, reloadable=True, **given)
    assert (free.kept.tolist(), free.ternary, free.slices) == ([0, 1, 2], False, 3)
    assert unpacked(free.literals()["Initial"], 8) == [0]
    with pytest.raises(ConfigError, match=r"results need 8 bits, got acc_bits = 7"):  # 3 * 15 * -2 = -90
        FoldEngine(weights, acc_bits=7, reloadable=True, **given)


def test_a_layer_without_weights_gives_its_bias() -> None:
    one = FoldEngine(np.zeros((2, 3, 2), dtype=np.int64), 4, True, 2, 5, 1, bias=np.array([9, -9]))
    assert (one.kept.tolist(), one.slices, one.latency) == ([0], 1, 2)
    assert one.emulate(np.ones((1, 2, 1, 3), dtype=np.int64)).ravel().tolist() == [9, -9]


def test_narrow_integer_types_are_read_right() -> None:
    weights = np.array([[[-128]]], dtype=np.int8)
    one = FoldEngine(weights, 8, True, 8, 20, 1, bias=np.array([200], dtype=np.uint8))
    assert not one.ternary
    assert one.emulate(np.full((1, 1, 1, 1), -128)).ravel().tolist() == [128 * 128 + 200]


def test_what_has_no_meaning_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"weights of shape \(1, 2\) and type float64"):
        FoldEngine(np.zeros((1, 2)), 4, True, 4, 9, 1)
    with pytest.raises(ConfigError, match=r"^Fold: input_bits = 0, results = 0; at least 1 is needed"):
        engine(input_bits=0, results=0)
    with pytest.raises(ConfigError, match=r"style 'clb'\n  fix allowed are lut, dsp"):
        engine(style="clb")
    with pytest.raises(ConfigError, match=r"rom 'ultra'\n  fix allowed are lut, block"):
        engine(rom="ultra")
    with pytest.raises(ConfigError, match=r"multiplier_stages = 4\n  fix give 0 to 3"):
        engine(multiplier_stages=4)
    with pytest.raises(ConfigError, match="2 registers in a tree of 2 terms, which has 1 levels"):
        engine(tree_stages=2)
    with pytest.raises(ConfigError, match="6 inputs per clock, but only 5 of 5 have weights"):
        engine(per_clock=6)
    with pytest.raises(ConfigError, match=r"weights from -8 to .* in 3 bits"):
        engine(weight_bits=3)
    with pytest.raises(ConfigError, match=r"bias of shape \(2,\) .*\n  fix give 3 integer codes"):
        engine(bias=np.zeros(2, dtype=np.int64))
    with pytest.raises(ConfigError, match=r"results need \d+ bits, got acc_bits = 8"):
        engine(acc_bits=8)
    with pytest.raises(
        ConfigError, match=rf"more than {ROM_BITS} bits of ROM\n  fix split the layer into .* 32"
    ):
        FoldEngine(np.full((32, 64, 40), 3), 4, True, 4, 30, 1)
    with pytest.raises(DataError, match=r"codes of shape \(1, 1, 1, 4\) are no events of 1 beats, 5 inputs"):
        engine().emulate(np.zeros((1, 1, 1, 4), dtype=np.int64))
