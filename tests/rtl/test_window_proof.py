# SPDX-License-Identifier: Apache-2.0
"""Window proven by induction for small shapes: every valid, start and data bit, in every clock.

Beside the engine stand whole images and, for every beat of windows, the number of the advance that completes it.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from l1ml.plan.window import WindowEngine

sys.path.insert(0, str(Path(__file__).parent))
from prove import behind, inside, proven, source_of

pytest.importorskip("pyosys")

# `older`: complete, windows are to come; it advances every clock. `newer`: beats are to come.
BOOKS = """
  localparam int LastNeed = ((OutRows - 1) * StrideRows - PadTop + ReachRows) * RowBeats +
      ((OutBeats - 1) * Step * Lanes - PadLeft + RegionColumns - 1) / Lanes;
  localparam int Advances = (LastNeed < Beats) ? Beats : LastNeed + 1; // of an event
  localparam int RegionBits = KernelRows * RegionColumns * PixelBits;

  logic older, newer, takes;
  logic [7:0] older_at, newer_at, at; // advances so far
  logic [Beats*BeatBits-1:0] older_image, newer_image, image;
  assign takes = valid_i & (start_i | newer);
  assign at = start_i ? 8'd0 : newer_at;
  always_comb begin
    image = newer_image;
    for (int k = 0; k < Beats; k++) if (at == k) image[k*BeatBits+:BeatBits] = data_i;
  end
  always_ff @(posedge clk_i) begin
    older_at <= older_at + 8'd1;
    older <= older & (older_at + 1 < Advances);
    if (takes) begin
      newer_at <= at + 8'd1;
      newer_image <= image;
      newer <= at + 1 < Beats;
      if (at + 1 == Beats && Advances > Beats) begin
        older <= 1'b1;
        older_at <= 8'(Beats);
        older_image <= image;
      end
    end else if (older) newer <= 1'b0; // a gap beside ticks
    if (rst_i) {older, newer} <= 2'b00;
  end

  logic [OutRows*OutBeats-1:0] from_older, from_newer; // which beat of windows
  logic [OutRows*OutBeats*RegionBits-1:0] region, seen; // seen: not don't-care
  for (genvar r = 0; r < OutRows; r++) begin : gen_books_row
    for (genvar b = 0; b < OutBeats; b++) begin : gen_books_beat
      localparam int Number = r * OutBeats + b;
      localparam int Row = int'(r * StrideRows) - int'(PadTop);
      localparam int Column = int'(b * Step * Lanes) - int'(PadLeft);
      localparam int Need = (Row + int'(ReachRows)) * int'(RowBeats) + (Column + int'(RegionColumns) - 1) / int'(Lanes);
      assign from_older[Number] = older && older_at == Need;
      assign from_newer[Number] = takes && at == Need;
      for (genvar i = 0; i < KernelRows; i++) begin : gen_books_i
        for (genvar j = 0; j < RegionColumns; j++) begin : gen_books_j
          localparam int Low = Number * RegionBits + (i * RegionColumns + j) * PixelBits;
          localparam int Y = Row + i * int'(DilationRows);
          localparam int X = Column + j;
          localparam bit Care = Y < 0 || Y >= int'(Rows) || X < int'(Columns) || PadRight > 0;
          assign seen[Low+:PixelBits] = {PixelBits{Care}};
          if (Y < 0 || Y >= int'(Rows) || X < 0 || X >= int'(Columns)) begin : gen_outside
            assign region[Low+:PixelBits] = '0;
          end else begin : gen_pixel_books
            localparam int Beat = Y * int'(RowBeats) + X / int'(Lanes);
            localparam int At = Beat * int'(BeatBits) + X % int'(Lanes) * int'(PixelBits);
            assign region[Low+:PixelBits] = older ? older_image[At+:PixelBits] : image[At+:PixelBits];
          end
        end
      end
    end
  end
  logic [OutRows*OutBeats-1:0] number_q; // one bit, or none
  logic [RegionBits-1:0] region_d, seen_d, region_q, seen_q;
  always_comb begin
    region_d = '0;
    seen_d = '0;
    for (int k = 0; k < OutRows * OutBeats; k++)
      if (from_older[k] | from_newer[k]) begin
        region_d = region_d | region[k*RegionBits+:RegionBits];
        seen_d = seen_d | seen[k*RegionBits+:RegionBits];
      end
  end
  always_ff @(posedge clk_i) begin
    number_q <= (from_older | from_newer) & ~{(OutRows*OutBeats){rst_i}};
    region_q <= region_d;
    seen_q <= seen_d;
  end
  always_comb begin
    assert (!(|from_older) || !(|from_newer)); // one output is enough
    assert (!older || !takes || at + 1 < Beats || older_at + 1 >= Advances);
    assert (valid_o == |number_q);
    assert (start_o == number_q[0]);
    assert (!valid_o || ((data_o ^ region_q) & seen_q) == '0);
  end
"""
# What holds the proof together: registers of the engine by the number of the advance.
COUNTERS = """
  logic [7:0] run_at;
  logic running;
  assign run_at = older ? older_at : newer_at;
  assign running = (older || newer) && run_at > Base && run_at <= Final;
  always_comb begin
    assert (!older || (older_at >= Beats && older_at < Advances && Advances > Beats));
    assert (!newer || (newer_at >= 1 && newer_at < Beats));
    assert (!older || !newer || older_at >= Beats + newer_at);
    assert (active_q == running);
    for (int k = Base + 1; k <= Final; k++)
      assert (!running || run_at != k || (
        beat_q == (k - Base) % RowBeats && step_q == (k - Base) % RowBeats % Step &&
        skip_q == (k - Base) / RowBeats % StrideRows &&
        row_q == ((k - Base) / RowBeats + StrideRows - 1) / StrideRows &&
        out_q == ((k - Base) / RowBeats % StrideRows != 0 ? 0 :
                  ((k - Base) % RowBeats + Step - 1) / Step > OutBeats ? OutBeats :
                  ((k - Base) % RowBeats + Step - 1) / Step)));
    assert (!running || ends_q == (beat_q == RowBeats - 1));
    assert (!running || due_q == (skip_q == 0 && step_q == 0 && out_q != OutBeats));
    assert (!running || last_q == (due_q && row_q == OutRows - 1 && out_q == OutBeats - 1));
  end
"""
LEFT = """
  always_comb begin
    assert (gen_beats.left_q == (newer ? Beats - newer_at : 0));
    assert (gen_beats.open_q == newer);
    assert (gen_beats.final_q == (newer && newer_at == Beats - 1));
  end
"""
FLUSH = """
  always_comb begin
    assert (gen_flush.flush_q == (older ? Advances - older_at : 0));
    assert (gen_flush.flushing_q == older);
    assert (first_tick == (Base >= Beats && older && older_at == Base));
  end
"""
WAIT = """
  always_comb begin
    assert (!newer || gen_wait.wait_q == (newer_at > Base ? 0 : Base + 1 - newer_at));
    assert (newer || gen_wait.wait_q == 0 || !older || gen_wait.wait_q > Advances - older_at);
    assert (gen_wait.near_q == (gen_wait.wait_q == 1));
  end
"""
# `ago[j]`: the beat that stood at the input j advances ago; `behind`: advances since reset, as far as they count.
HISTORY = """
  localparam int Reach = (KernelRows - 1) * {depth} + Held;
  logic [BeatBits-1:0] ago [Reach+1];
  logic [7:0] behind;
  assign ago[0] = data_i;
  always_ff @(posedge clk_i) begin
    if (takes | older) begin
      behind <= (behind == Reach) ? behind : behind + 8'd1;
      for (int j = 1; j <= Reach; j++) ago[j] <= ago[j-1];
    end
    if (rst_i) behind <= 8'd0;
  end
  always_comb begin
    assert (behind <= Reach);
    assert (!newer || behind == Reach || behind >= newer_at);
    assert (!older || behind == Reach || behind >= older_at);
    for (int n = 0; n < Beats; n++)
      for (int j = 1; j <= Reach; j++) begin
        assert (!newer || newer_at != n + j || ago[j] == newer_image[n*BeatBits+:BeatBits]);
        assert (!older || older_at != n + j || ago[j] == older_image[n*BeatBits+:BeatBits]);
      end
    for (int k = 0; k < KernelRows; k++)
      for (int j = 1; j <= Held; j++)
        assert (behind < j + k * {depth} || held_q[(k*Held+j-1)*BeatBits+:BeatBits] == ago[j+k*{depth}]);
  end
"""
WAITING = """
  always_comb begin
    for (int r = 1; r < KernelRows; r++)
      assert (behind < r * {depth} || gen_rows.waiting_q[(r-1)*BeatBits+:BeatBits] == ago[r*{depth}]);
  end
"""
MEMORY = """
  always_comb begin
    assert (gen_rows.gen_memory.place_q < {depth});
    for (int place = 0; place < {depth}; place++)
      for (int j = 1; j <= {depth}; j++)
        for (int r = 0; r < KernelRows - 1; r++)
          assert (behind < j + r * {depth} || gen_rows.gen_memory.place_q != (place + j) % {depth} ||
                  gen_rows.gen_memory.flat[(place*(KernelRows-1)+r)*BeatBits+:BeatBits] == ago[j+r*{depth}]);
  end
"""
# The memory as one vector, which the properties can see.
FLAT = (
    (
        "      logic [PlaceBits-1:0] place_q; // where this advance is written\n",
        "      logic [Depth*WaitingBits-1:0] flat;\n",
    ),
    (
        "begin : gen_auto\n        logic [WaitingBits-1:0] memory[Depth];\n",
        "        for (genvar k = 0; k < Depth; k++) assign flat[k*WaitingBits+:WaitingBits] = memory[k];\n",
    ),
)

SAME = ((1, 1), (1, 1))
SHAPES = {
    "same": WindowEngine(3, 3, 1, 1, (3, 3), padding=SAME),
    "valid": WindowEngine(3, 3, 1, 2, (2, 2)),
    "two lanes": WindowEngine(3, 4, 2, 1, (3, 3), padding=SAME),
    "ragged": WindowEngine(2, 5, 2, 1, (2, 3), padding=((0, 1), (1, 0))),
    "pool": WindowEngine(4, 4, 1, 1, (2, 2), (2, 2)),
    "row": WindowEngine(1, 4, 1, 2, (1, 3), padding=((0, 0), (1, 1))),
    "wide": WindowEngine(1, 4, 1, 1, (1, 5), padding=((0, 0), (2, 2))),
    "row stride": WindowEngine(1, 6, 2, 1, (1, 3), (1, 2), padding=((0, 0), (1, 1))),
    "dilated": WindowEngine(5, 2, 1, 1, (2, 2), dilation=(2, 1), padding=((1, 1), (1, 0))),
    "whole row": WindowEngine(3, 2, 2, 1, (3, 1), padding=((1, 1), (0, 0))),
    "skip": WindowEngine(3, 4, 1, 1, (1, 1), (2, 3)),
    "one": WindowEngine(1, 2, 2, 1, (1, 1)),
    "below": WindowEngine(2, 2, 1, 1, (3, 1), padding=((0, 1), (0, 0))),
    "right": WindowEngine(1, 3, 1, 1, (1, 5), padding=((0, 0), (0, 2))),
}
MUTANTS = {
    "flush": ("row", "flush_q    <= FlushBits'(Flush);", "flush_q    <= FlushBits'(Flush - 1);"),
    "tick": ("row", "take | flushing;", "take;"),
    "spoiled": ("wide", "rst_i | spoiled", "rst_i"),
    "wait": ("valid", "wait_q <= WaitBits'(Base);", "wait_q <= WaitBits'(Base - 1);"),
    "cut": ("valid", "(active_q & advance & (~cut | flushing))", "(active_q & advance)"),
    "kill": ("valid", "    end else if (cut && !flushing) begin\n      active_q <= 1'b0;\n", ""),
    "count": (
        "valid",
        "left_q  <= start_i ? LeftBits'(Beats - 1)",
        "left_q  <= start_i ? LeftBits'(Beats - 2)",
    ),
    "place": ("same", "? '0 : place_q + PlaceBits'(1)", "? PlaceBits'(1) : place_q + PlaceBits'(1)"),
    "start": ("row", "start_o <= emit & first;", "start_o <= emit;"),
    "step": ("pool", "(step == '0) & ", ""),
    "first tick": ("below", "Flush + Beats - Base", "Flush + Beats - Base - 1"),
}


def depth(one: WindowEngine) -> int:
    return one.dilation[0] * one.beats_per_row


def prove(folder: Path, one: WindowEngine, mutation: tuple[str, str] | None = None, clocks: int = 3) -> bool:
    """Prove a shape for ever; or look for a trace of so many clocks that refutes a mutant."""
    books = BOOKS
    if mutation is None:
        rows = one.kernel[0] > 1
        books += COUNTERS + HISTORY
        books += LEFT if one.beats > 1 else ""
        books += FLUSH if one.flush else ""
        books += WAIT if 0 < one.base < one.beats else ""
        books += WAITING if rows else ""
        books += MEMORY if rows and depth(one) > 1 else ""
    text = inside(source_of(one.MODULE, mutation), books.replace("{depth}", str(depth(one))))
    text = behind(text, FLAT)
    parameters = ", ".join(f".{key}({value})" for key, value in one.parameters().items())
    top = (
        "module prove (input wire logic clk_i, rst_i, valid_i, start_i,"
        f" input wire logic [{one.lanes * one.pixel_bits - 1}:0] data_i);\n"
        f"  {one.MODULE} #({parameters}) engine (.*, .valid_o(), .start_o(), .data_o());\nendmodule\n"
    )
    return proven(
        folder, {one.MODULE: text, "prove": top}, "prove", clocks=clocks, bounded=mutation is not None
    )


@pytest.mark.parametrize("name", SHAPES)
def test_every_clock(name: str, tmp_path: Path) -> None:
    assert prove(tmp_path, SHAPES[name])


@pytest.mark.parametrize("name", MUTANTS)
def test_a_mutant_is_refuted(name: str, tmp_path: Path) -> None:
    shape, *mutation = MUTANTS[name]
    assert not prove(tmp_path, SHAPES[shape], (mutation[0], mutation[1]), clocks=20)
