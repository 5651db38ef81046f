# SPDX-License-Identifier: Apache-2.0
"""Repeat proven by induction for small shapes: every valid, start and data bit, in every clock."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from prove import proven, source_of

pytest.importorskip("pyosys")

# The event is kept as it came; `age` counts clocks since then.
TOP = """
module prove #(parameter int Beats = {beats}, Width = 2) (
  input wire logic clk_i, rst_i, valid_i, start_i,
  input wire logic [Width-1:0] data_i
);
  logic valid_o, start_o;
  logic [Width-1:0] data_o;
  l1ml_repeat #(.Beats(Beats), .Width(Width)) engine (.*);
  int age;
  logic [Width-1:0] event_q;
  always_ff @(posedge clk_i) begin
    if (rst_i) age <= Beats;
    else if (valid_i & start_i) age <= 0;
    else if (age < Beats) age <= age + 1;
    if (valid_i & start_i) event_q <= data_i;
  end
  always_comb begin
    assert (0 <= age && age <= Beats);
    assert (valid_o == (age < Beats));
    assert (start_o == (age == 0));
    assert (age == Beats || data_o == event_q);
  end
endmodule
"""
MUTANTS = (("left_q - LeftBits'(1)", "left_q - LeftBits'(2)"), ("if (take) data_o", "if (valid_i) data_o"))


def prove(folder: Path, beats: int, mutation: tuple[str, str] | None = None) -> bool:
    texts = {"l1ml_repeat": source_of("l1ml_repeat", mutation), "prove": TOP.format(beats=beats)}
    return proven(folder, texts, "prove", clocks=12)


@pytest.mark.parametrize("beats", [1, 2, 5, 8])
def test_every_clock(beats: int, tmp_path: Path) -> None:
    assert prove(tmp_path, beats)


@pytest.mark.parametrize("mutation", MUTANTS, ids=["count", "hold"])
def test_no_proof_for_a_mutant(mutation: tuple[str, str], tmp_path: Path) -> None:
    assert not prove(tmp_path, 5, mutation)
