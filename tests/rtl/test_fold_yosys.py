# SPDX-License-Identifier: Apache-2.0
"""Fold in synthesis: multipliers and weights go where they are asked to go."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from l1ml import assets
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
        f"  input wire logic [{INPUTS * INPUT_BITS - 1}:0] data_i,\n"
        f"  output logic valid_o, start_o, output logic [{OUTPUTS * one.acc_bits - 1}:0] data_o);\n"
        f"  l1ml_fold #({', '.join(f'.{key}({value})' for key, value in given.items())}) engine (\n"
        f"    .clk_i, .rst_i, .valid_i, .start_i, .data_i, .valid_o, .start_o, .data_o{writes});\nendmodule\n"
    )
    names = ("delay", "tree", "multiply", "weights", "fold")
    sources = [assets.path("firmware", "rtl", "sv", f"l1ml_{name}.sv") for name in names]
    return synthesize([*sources, top], "top", folder / "build", part_family=family)


def test_products_go_into_luts(tmp_path: Path) -> None:
    made = synthesized(engine(per_clock=2), tmp_path)
    assert (made.dsp, made.bram) == (0, 0)


def test_products_go_into_dsp_blocks(tmp_path: Path) -> None:
    made = synthesized(engine(per_clock=2, style="dsp", multiplier_stages=1), tmp_path)
    assert (made.dsp, made.bram) == (2 * OUTPUTS, 0)


def test_registers_go_into_dsp_blocks(tmp_path: Path) -> None:
    """Product, accumulator and its start value; seen on 7 series, where Yosys looks for it."""
    made = synthesized(engine(style="dsp", multiplier_stages=1), tmp_path, "xc7")
    assert made.dsp == OUTPUTS
    shift_register, word = INPUTS * INPUT_BITS, OUTPUTS * 6
    assert made.ff < shift_register + word + 24  # an accumulator alone has 24 bits


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
