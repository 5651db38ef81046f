# SPDX-License-Identifier: Apache-2.0
"""Fold in synthesis: multipliers and weights go where they are asked to go."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from l1ml import assets
from l1ml.plan import cost
from l1ml.plan.fold import FoldEngine
from l1ml.synth.result import SynthesisResult
from l1ml.synth.yosys import synthesize

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("pyosys") is None, reason="pyosys is not installed"),
]

OUTPUTS, INPUTS, INPUT_BITS = 3, 8, 8


def engine(phases: int = 1, per_clock: int = 1, high: int = 31, **more: Any) -> FoldEngine:
    weights = np.random.default_rng(2).integers(-high - (high > 1), high + 1, (phases, INPUTS, OUTPUTS))
    return FoldEngine(weights, INPUT_BITS, False, high.bit_length() + 1, 24, per_clock, **more)


def synthesized(one: FoldEngine, folder: Path, family: str = "xcup") -> SynthesisResult:
    folder.mkdir(exist_ok=True)
    given = {**one.parameters(), **one.literals()}
    word = f"[{one.word_bits - 1}:0]"
    address = f"[{max(1, (one.words - 1).bit_length()) - 1}:0]"
    if one.reloadable:
        writes = "".join(f", .{port}" for port in one.ties())
        ports = f", input wire logic [{one.n_out * one.acc_bits - 1}:0] bias_i"
        ports += (
            f", input wire logic bias_we_i, weights_we_i, weights_swap_i, input wire logic {word} weights_i"
        )
        ports += f", input wire logic {address} weights_address_i"
    else:
        ports, writes = "", "".join(f", .{port}({value})" for port, value in one.ties().items())
    top = folder / "top.sv"
    top.write_text(
        f"module top (input wire logic clk_i, rst_i, valid_i, start_i{ports},\n"
        f"  input wire logic [{one.n_in * one.input_bits - 1}:0] data_i,\n"
        f"  output logic valid_o, start_o, output logic [{one.n_out * one.acc_bits - 1}:0] data_o);\n"
        f"  l1ml_fold #({', '.join(f'.{key}({value})' for key, value in given.items())}) engine (\n"
        f"    .clk_i, .rst_i, .valid_i, .start_i, .data_i, .valid_o, .start_o, .data_o{writes});\nendmodule\n"
    )
    names = ("delay", "tree", "multiply", "cascade", "cascades", "weights", "fold")
    sources = [assets.path("firmware", "rtl", "sv", f"l1ml_{name}.sv") for name in names]
    return synthesize([*sources, top], "top", folder / "build", part_family=family)


def test_products_go_into_luts(tmp_path: Path) -> None:
    made = synthesized(engine(per_clock=2), tmp_path)
    assert (made.dsp, made.bram) == (0, 0)


def test_products_go_into_dsp_blocks(tmp_path: Path) -> None:
    made = synthesized(engine(per_clock=2, style="dsp", multiplier_stages=1), tmp_path)
    assert (made.dsp, made.bram) == (2 * OUTPUTS, 0)


@pytest.mark.parametrize("family", ["xcup", "xc7"])
def test_registers_go_into_dsp_blocks(tmp_path: Path, family: str) -> None:
    """Product, accumulator and its start value."""
    made = synthesized(engine(style="dsp", multiplier_stages=1), tmp_path, family)
    assert made.dsp == OUTPUTS
    shift_register, word = INPUTS * INPUT_BITS, OUTPUTS * 6
    assert made.ff < shift_register + word + 24  # an accumulator alone has 24 bits


def test_adders_of_a_cascade_go_into_its_dsp_blocks(tmp_path: Path) -> None:
    given = {"phases": 2, "per_clock": 4, "style": "dsp", "multiplier_stages": 1}
    plain, chained = (synthesized(engine(**given, chain=chain), tmp_path / str(chain)) for chain in (1, 4))
    assert chained.dsp == plain.dsp == 4 * OUTPUTS
    sums = 3 * OUTPUTS * (INPUT_BITS + 6)
    assert chained.lut < plain.lut - sums // 2  # the tool takes an adder of two by itself
    late = INPUT_BITS * (1 + 2 + 2)  # inputs of the places; long delays are LUTs
    assert chained.ff < plain.ff + late + 8 * 4


def test_weights_go_into_block_ram(tmp_path: Path) -> None:
    made = synthesized(engine(phases=128, style="dsp", rom="block"), tmp_path)
    assert (made.dsp, made.bram) == (OUTPUTS, 1)  # 1024 words of 18 bits


def test_weights_stay_in_luts_when_asked(tmp_path: Path) -> None:
    made = synthesized(engine(phases=8, high=1, rom="lut"), tmp_path)
    assert (made.dsp, made.bram) == (0, 0)


@pytest.mark.parametrize(("rom", "brams"), [("lut", 0), ("block", 1)])
def test_weights_that_change_are_memory_too(tmp_path: Path, rom: str, brams: int) -> None:
    made = synthesized(engine(phases=16, style="dsp", rom=rom, reloadable=True), tmp_path)
    assert (made.dsp, made.bram) == (OUTPUTS, brams)


def of_shape(
    shape: tuple[int, int, int], per_clock: int, input_bits: int, weight_bits: int, **more: Any
) -> FoldEngine:
    """Return an engine whose results have as many bits as they need."""
    half = 1 << weight_bits - 1
    weights = np.random.default_rng(2).integers(-half, half, shape)
    signed = more.pop("signed", False)
    ends = (np.full(shape, -half), np.full(shape, half - 1)) if more.get("reloadable") else (weights,)
    least = max(FoldEngine.least_acc_bits(w, input_bits, signed) for w in ends)
    return FoldEngine(weights, input_bits, signed, weight_bits, least, per_clock, **more)


SHAPES = {
    "a dense layer": of_shape((1, 64, 32), 1, 6, 6),
    "four inputs per clock": of_shape((1, 64, 32), 4, 6, 6),
    "with all registers": of_shape((1, 64, 32), 4, 6, 6, multiplier_stages=2, tree_stages=1),
    "signed": of_shape((1, 32, 16), 2, 8, 8, signed=True, multiplier_stages=1),
    "wide words": of_shape((1, 32, 8), 2, 16, 12, signed=True, multiplier_stages=1),
    "wide words, DSP": of_shape((1, 32, 8), 2, 16, 12, signed=True, multiplier_stages=1, style="dsp"),
    "wide words, cascade": of_shape(
        (1, 32, 8), 2, 16, 12, signed=True, multiplier_stages=1, style="dsp", chain=2
    ),
    "four inputs, cascade": of_shape((1, 64, 32), 4, 6, 6, multiplier_stages=2, style="dsp", chain=4),
    "cascades, block ROM": of_shape(
        (16, 24, 10), 6, 5, 6, multiplier_stages=1, tree_stages=1, style="dsp", rom="block", chain=3
    ),
    "flattened": of_shape((16, 24, 10), 1, 5, 6),
    "flattened, block ROM": of_shape((16, 24, 10), 1, 5, 6, rom="block"),
    "flattened, many": of_shape((64, 16, 12), 1, 4, 8),
    "flattened, many, block ROM": of_shape((64, 16, 12), 1, 4, 8, rom="block"),
    "reloadable, block RAM": of_shape((1, 32, 16), 2, 6, 6, reloadable=True, rom="block"),
}
"""Those of the table in docs/streams.md; Yosys' LUTs do not count LUTs used as memory."""


@pytest.mark.parametrize("name", SHAPES)
def test_the_plan_knows_what_an_engine_takes(name: str, tmp_path: Path) -> None:
    one = SHAPES[name]
    made, planned = synthesized(one, tmp_path), cost.of_engine(one)
    if one.reloadable:
        planned += cost.Resources(-cost.of_port(one).lut, one.n_out * one.acc_bits - cost.of_port(one).ff)
    assert planned.lut == pytest.approx(made.lut, rel=0.16)
    assert planned.ff == pytest.approx(made.ff, rel=0.08)
    assert (planned.dsp, planned.bram) == (made.dsp, made.bram)
