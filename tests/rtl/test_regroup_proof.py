# SPDX-License-Identifier: Apache-2.0
"""Split and Collect proven by induction for small shapes: every valid, start and data bit, in every clock."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from prove import proven, source_of

pytest.importorskip("pyosys")

PORTS = """
module prove #(parameter int Rows = {rows}, Columns = {columns}, Lanes = {lanes}, PositionBits = 2) (
  input wire logic clk_i, rst_i, valid_i, start_i,
  input wire logic [{inputs}*PositionBits-1:0] data_i
);
  localparam int RowBeats = (Columns + Lanes - 1) / Lanes;
  localparam int Beats = Rows * RowBeats;
  logic valid_o, start_o;
  logic [{outputs}*PositionBits-1:0] data_o;
  {module} #(.Rows(Rows), .Columns(Columns), .Lanes(Lanes), .PositionBits(PositionBits)) engine (.*);
"""

# The event is kept as it came; `age` counts clocks since then.
SPLIT = """
  int age;
  logic [Rows*Columns*PositionBits-1:0] event_q;
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
  end
  for (genvar beat = 0; beat < Beats; beat++) begin : gen_beat
    for (genvar lane = 0; lane < Lanes; lane++) begin : gen_lane
      localparam int Column = (beat % RowBeats) * Lanes + lane;
      localparam int Position = (beat / RowBeats) * Columns + Column;
      if (Column < Columns) begin : gen_real
        always_comb
          assert (age != beat ||
                  data_o[lane*PositionBits+:PositionBits] == event_q[Position*PositionBits+:PositionBits]);
      end else begin : gen_past
        always_comb assert (age != beat || data_o[lane*PositionBits+:PositionBits] == 0);
      end
    end
  end
endmodule
"""

# Beats go to their place in `event_q`; `beat` is the next one's number, Beats where none is expected.
COLLECT = """
  int beat;
  logic done;
  logic [Beats*Lanes*PositionBits-1:0] event_q;
  int place;
  assign place = start_i ? 0 : beat;
  always_ff @(posedge clk_i) begin
    done <= 0;
    if (rst_i) beat <= Beats;
    else if (valid_i && place < Beats) begin
      beat <= place + 1;
      done <= place == Beats - 1;
    end
    for (int k = 0; k < Beats; k++)
      if (valid_i && place == k) event_q[k*Lanes*PositionBits+:Lanes*PositionBits] <= data_i;
  end
  always_comb begin
    assert (0 < beat && beat <= Beats);
    assert (!done || beat == Beats);
    assert (valid_o == done);
    assert (start_o == done);
  end
  for (genvar row = 0; row < Rows; row++) begin : gen_row
    always_comb
      assert (!done || data_o[row*Columns*PositionBits+:Columns*PositionBits] ==
              event_q[row*RowBeats*Lanes*PositionBits+:Columns*PositionBits]);
  end
endmodule
"""

SHAPES = ((1, 1, 1), (1, 4, 1), (1, 5, 2), (2, 2, 2), (2, 3, 2), (3, 1, 1))
MUTANTS = {
    "l1ml_split": ("left_q - LeftBits'(1)", "left_q - LeftBits'(2)"),
    "l1ml_collect": ("(start_i | (left_q != '0));", "1'b1;"),
}


def prove(
    folder: Path, module: str, shape: tuple[int, int, int], mutation: tuple[str, str] | None = None
) -> bool:
    rows, columns, lanes = shape
    wide, narrow = rows * columns, lanes
    inputs, outputs = (wide, narrow) if module == "l1ml_split" else (narrow, wide)
    head = PORTS.format(
        rows=rows, columns=columns, lanes=lanes, inputs=inputs, outputs=outputs, module=module
    )
    texts = {
        module: source_of(module, mutation),
        "prove": head + (SPLIT if module == "l1ml_split" else COLLECT),
    }
    return proven(folder, texts, "prove", clocks=12, bounded=mutation is not None)


@pytest.mark.parametrize("module", MUTANTS)
@pytest.mark.parametrize("shape", SHAPES)
def test_every_clock(module: str, shape: tuple[int, int, int], tmp_path: Path) -> None:
    assert prove(tmp_path, module, shape)


@pytest.mark.parametrize("module", MUTANTS)
def test_a_mutant_is_refuted(module: str, tmp_path: Path) -> None:
    assert not prove(tmp_path, module, (2, 3, 2), MUTANTS[module])
