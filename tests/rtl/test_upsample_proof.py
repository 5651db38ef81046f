# SPDX-License-Identifier: Apache-2.0
"""Upsample proven by induction for small shapes: what goes out is the next beat of one event, never written over."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from l1ml.plan.upsample import UpsampleEngine

sys.path.insert(0, str(Path(__file__).parent))
from prove import inside, proven, source_of

pytest.importorskip("pyosys")

# Whole events are kept beside the one memory; `sent` counts the beats of the event that goes out.
BOOKS = """
  logic [Width-1:0] newest [Beats];
  logic [Width-1:0] before [Beats];
  logic [Width-1:0] wanted;
  logic [7:0] sent;
  logic going, first, torn;
  for (genvar k = 0; k < Beats; k++) begin : gen_books
    always_ff @(posedge clk_i) begin
      if (begins && !(reading_q && old_q && !gone)) before[k] <= newest[k];
      if (take && place == k) newest[k] <= data_i;
    end
    always_comb begin
      assert (!reading_q || k >= write_q || memory[k] == newest[k]);
      assert (!reading_q || !old_q || k < base_q || memory[k] == before[k]);
    end
  end
  always_ff @(posedge clk_i) begin
    if (!reading_q || gone) sent <= 8'd0;
    else if (ready) sent <= sent + 8'd1;
    if (ready) wanted <= old_q ? before[next] : newest[next];
    going <= ready & ~rst_i;
    first <= sent == 0;
    torn <= begins & reading_q & ~old_q & ~whole;
  end
  always_comb begin
    assert (!reading_q || (write_q >= 1 && write_q <= Beats));
    assert (!reading_q || !old_q || write_q <= base_q);
    assert (!reading_q || (base_q % RowBeats == 0 && base_q < Beats));
    assert (!reading_q || (column_q < RowBeats && row_time_q < RowTimes && beat_time_q < BeatTimes));
    assert (!reading_q || sent == ((base_q / RowBeats * RowTimes + row_time_q) * RowBeats + column_q) * BeatTimes
            + beat_time_q);
    assert (!torn || sent == 0); // the rest of what was cut short does not follow
    assert (valid_o == going);
    assert (start_o == (going & first));
    assert (!going || data_o == wanted);
  end
"""
SHAPES = ((1, 2, 1, 1, 3), (2, 2, 1, 2, 2), (3, 1, 2, 2, 1))
MUTANTS = {
    "over": ("(place >= base_q)", "(place > base_q)"),
    "cut": ("| (begins & ~old) // cut short", ""),
    "row": ("base_q + CountBits'(RowBeats);", "base_q + CountBits'(1);"),
    "ready": ("(next < write_q)", "(next <= write_q)"),
}


def prove(folder: Path, shape: tuple[int, ...], mutation: tuple[str, str] | None = None) -> bool:
    one = UpsampleEngine(*shape)
    parameters = ", ".join(f".{key}({value})" for key, value in one.parameters().items())
    top = (
        "module prove (input wire logic clk_i, rst_i, valid_i, start_i,"
        f" input wire logic [{one.width - 1}:0] data_i);\n"
        f"  {one.MODULE} #({parameters}) engine (.clk_i, .rst_i, .valid_i, .start_i, .data_i, .valid_o(), .start_o(),"
        " .data_o());\nendmodule\n"
    )
    texts = {one.MODULE: inside(source_of(one.MODULE, mutation), BOOKS), "prove": top}
    return proven(folder, texts, "prove", clocks=6)


@pytest.mark.parametrize("shape", SHAPES)
def test_every_clock(shape: tuple[int, ...], tmp_path: Path) -> None:
    assert prove(tmp_path, shape)


@pytest.mark.parametrize("mutation", MUTANTS)
def test_no_proof_for_a_mutant(mutation: str, tmp_path: Path) -> None:
    assert not prove(tmp_path, (2, 2, 1, 2, 2), MUTANTS[mutation])
