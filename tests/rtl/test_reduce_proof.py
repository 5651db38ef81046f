# SPDX-License-Identifier: Apache-2.0
"""Reduce proven by induction for small shapes: every valid, start and data bit, in every clock."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from l1ml.plan.reduce import ReduceEngine

sys.path.insert(0, str(Path(__file__).parent))
from prove import inside, proven, source_of

pytest.importorskip("pyosys")

# `row` and `beat` are the place of the next beat, `expects` says whether one is due.  What the lanes of a beat come to
# is written as a loop, and goes beside the tree through as many registers.
BOOKS = """
  logic expects, taken, begun;
  logic [3:0] row, beat, row_now, beat_now;
  logic signed [ResultBits-1:0] lanes, made;
  logic signed [ResultBits-1:0] element [Lanes];
  assign taken = valid_i & (start_i | expects);
  assign row_now = start_i ? 4'd0 : row;
  assign beat_now = start_i ? 4'd0 : beat;
  for (genvar k = 0; k < Lanes; k++) begin : gen_element
    if (Signed) begin : gen_signed
      assign element[k] = $signed(data_i[k*ElementBits+:ElementBits]);
    end else begin : gen_unsigned
      assign element[k] = data_i[k*ElementBits+:ElementBits];
    end
  end
  function automatic logic signed [ResultBits-1:0] both(input logic signed [ResultBits-1:0] a, b);
    if (Kind == 0) both = a + b;
    else if (Kind == 1) both = {greater} ? a : b;
    else both = {greater} ? b : a;
  endfunction
  always_comb begin
    lanes = element[0];
    for (int k = 1; k < Lanes; k++)
      if (beat_now * Lanes + k < Columns) lanes = both(lanes, element[k]);
  end
  logic [TreeStages:0] taken_at, start_at, last_at, opens_at; // the group opens its event
  logic signed [ResultBits-1:0] lanes_at [TreeStages+1];
  assign taken_at[0] = taken;
  assign start_at[0] = row_now % Rows == 0 && beat_now == 0;
  assign last_at[0] = row_now % Rows == Rows - 1 && beat_now == RowBeats - 1;
  assign opens_at[0] = row_now < Rows;
  assign lanes_at[0] = lanes;
  for (genvar k = 1; k <= TreeStages; k++) begin : gen_at
    always_ff @(posedge clk_i) begin
      taken_at[k] <= taken_at[k-1] & ~rst_i;
      start_at[k] <= start_at[k-1];
      last_at[k] <= last_at[k-1];
      opens_at[k] <= opens_at[k-1];
      lanes_at[k] <= lanes_at[k-1];
    end
  end
  logic done, opens;
  always_ff @(posedge clk_i) begin
    if (taken) begin
      expects <= ~(last_at[0] && row_now == Groups * Rows - 1);
      beat <= (beat_now == RowBeats - 1) ? 4'd0 : beat_now + 4'd1;
      row <= (beat_now == RowBeats - 1) ? row_now + 4'd1 : row_now;
    end
    if (rst_i) expects <= 1'b0;
    if (taken_at[TreeStages]) begin
      made <= start_at[TreeStages] ? lanes_at[TreeStages] : both(made, lanes_at[TreeStages]);
      begun <= begun | start_at[TreeStages];
    end
    if (rst_i) begun <= 1'b0;
    done <= taken_at[TreeStages] & last_at[TreeStages] & ~rst_i;
    opens <= opens_at[TreeStages];
  end
  // A result is begun, or its first beat is in the tree, whenever a beat is expected.
  logic begins_in_tree;
  always_comb begin
    begins_in_tree = begun;
    for (int k = TreeStages; k > 0; k--) begin
      assert (!taken_at[k] || start_at[k] || begins_in_tree);
      begins_in_tree = begins_in_tree | (taken_at[k] & start_at[k]);
    end
    assert (!expects || begins_in_tree);
    assert (!expects || (row < Groups * Rows && beat < RowBeats && (row != 0 || beat != 0)));
    assert (valid_o == done);
    assert (start_o == (done & opens));
    assert (!begun || data_o == made);
    assert (!done || begun);
  end
  {state}
"""
STATE = """
  always_comb assert (expects ? gen_many.left_q == Beats - (row * RowBeats + beat) : gen_many.left_q == 0);
"""
GROUP_STATE = """
  always_comb begin
    assert (!expects || gen_many.gen_groups.beat_q == (row % Rows) * RowBeats + beat);
    assert (!expects || gen_many.gen_groups.begins_q == (row < Rows));
  end
"""
ROW_STATE = """
  always_comb assert (!expects || gen_row_end.place_q == beat);
"""

ENGINES = (
    ReduceEngine(1, 1, 1, 1, 2, False, "sum", 2),
    ReduceEngine(1, 3, 1, 1, 2, True, "sum", 4),
    ReduceEngine(2, 3, 2, 1, 2, True, "sum", 5, 1),
    ReduceEngine(2, 3, 2, 1, 2, False, "min", 3),
    ReduceEngine(1, 5, 3, 1, 2, True, "max", 2, 2),
    ReduceEngine(3, 2, 2, 1, 3, False, "max", 3, 1),
    ReduceEngine(1, 3, 1, 1, 2, True, "sum", 4, groups=3),
    ReduceEngine(2, 3, 2, 1, 2, False, "max", 2, 1, groups=2),
)
MUTANTS = (
    ("LeftBits'(Beats - 1) :", "LeftBits'(Beats - 2) :"),
    ("(start_i | (left_q != '0));", "1'b1;"),
    ("start_i ? '0 : place_q", "place_q"),
    ("lane >= LastLanes", "lane > LastLanes"),
    ("take_q <= take & ~rst_i", "take_q <= take"),
    ("(first_tree ? '0 : result_q)", "result_q"),
)


def prove(folder: Path, one: ReduceEngine, mutation: tuple[str, str] | None = None) -> bool:
    state = (STATE if one.beats > 1 else "") + (ROW_STATE if one.columns % one.lanes else "")
    state += GROUP_STATE if one.groups > 1 else ""
    greater = "a > b" if one.signed else "$unsigned(a) > $unsigned(b)"
    books = BOOKS.replace("{state}", state).replace("{greater}", greater)
    texts = {name: source_of(name) for name in ("l1ml_delay", "l1ml_tree")}
    texts[one.MODULE] = inside(source_of(one.MODULE, mutation), books)
    parameters = ", ".join(f".{key}({value})" for key, value in one.parameters().items())
    texts["prove"] = (
        "module prove (input wire logic clk_i, rst_i, valid_i, start_i,"
        f" input wire logic [{one.lanes * one.element_bits - 1}:0] data_i);\n"
        f"  {one.MODULE} #({parameters}) engine (.clk_i, .rst_i, .valid_i, .start_i, .data_i,"
        " .valid_o(), .start_o(), .data_o());\nendmodule\n"
    )
    return proven(folder, texts, "prove", clocks=14 if mutation else 6, bounded=mutation is not None)


@pytest.mark.parametrize("one", ENGINES, ids=range(len(ENGINES)))
def test_every_clock(one: ReduceEngine, tmp_path: Path) -> None:
    assert prove(tmp_path, one)


def test_no_proof_for_a_group_that_ends_late(tmp_path: Path) -> None:
    assert not prove(
        tmp_path, ENGINES[-1], ("BeatPlaceBits'(GroupBeats - 1)", "BeatPlaceBits'(GroupBeats - 2)")
    )


@pytest.mark.parametrize("mutation", MUTANTS, ids=range(len(MUTANTS)))
def test_a_mutant_is_refuted(mutation: tuple[str, str], tmp_path: Path) -> None:
    assert not prove(tmp_path, ENGINES[2], mutation)
