# SPDX-License-Identifier: Apache-2.0
"""Align and the delay of a beat proven by induction for small shapes: any writes, any reads, in every clock.

A read with start opens the event whose first beat was written Offset clocks ago, or is the next one written; every read
behind it takes the beat written next. It finds the beat if that was written before, at most Depth clocks ago.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from prove import inside, proven, source_of

pytest.importorskip("pyosys")

# Beats are numbered modulo a multiple of Depth; `told` is up to which the memory has been filled since reset.
BOOKS = """
  localparam int Numbers = Depth * 2;
  localparam logic [4:0] Last = 5'(Numbers - 1);
  logic [4:0] number; // of the next write
  logic [4:0] number_at [Offset+1]; // and so many clocks ago
  logic [Offset:0] known_at; // there was no reset since
  logic [4:0] told; // writes since reset, at most Depth
  logic [4:0] wanted, reading; // number that a read takes; and the next of this event
  logic reads_known; // the event began behind the reset
  logic known;
  logic [Width-1:0] beats [Depth]; // the last writes, the newest first
  logic [4:0] ago; // writes since the wanted beat, and itself
  logic [Width-1:0] beat;
  logic hit_q;
  logic [Width-1:0] beat_q;
  assign number_at[0] = number;
  assign known_at[0] = 1'b1;
  for (genvar k = 1; k <= Offset; k++) begin : gen_ago
    always_ff @(posedge clk_i) begin
      number_at[k] <= number_at[k-1];
      known_at[k] <= known_at[k-1] & ~rst_i;
    end
  end
  assign wanted = read_start_i ? number_at[Offset] : reading;
  assign known = read_start_i ? known_at[Offset] : reads_known;
  assign ago = (number >= wanted) ? number - wanted : number + 5'(Numbers) - wanted;
  always_comb begin
    beat = '0;
    for (int k = 0; k < Depth; k++) if (ago == k + 1) beat = beats[k];
  end
  always_ff @(posedge clk_i) begin
    if (write_valid_i) begin
      number <= (number == Last) ? 5'd0 : number + 5'd1;
      told <= (told == Depth) ? told : told + 5'd1;
      beats[0] <= write_data_i;
      for (int k = 1; k < Depth; k++) beats[k] <= beats[k-1];
    end
    if (read_valid_i) begin
      reading <= (wanted == Last) ? 5'd0 : wanted + 5'd1;
      reads_known <= known;
      beat_q <= beat;
    end
    hit_q <= read_valid_i & known & (ago != 0) & (ago <= told) & ~rst_i;
    if (rst_i) begin
      number <= 5'd0;
      told <= 5'd0;
      reads_known <= 1'b0;
    end
  end
  always_comb begin
    assert (!hit_q || data_o == beat_q);
    // No place is read in the clock it is written, but for a beat that comes too early or is the oldest of all.
    assert (!write_valid_i || !read_valid_i || !known || ago == 0 || ago >= Depth || read != write_q);
  end
"""
# What holds the proof together.
INSIDE = """
  function automatic logic [4:0] place_of(input logic [4:0] n);
    place_of = (n < Depth) ? n : n - 5'(Depth);
  endfunction
  logic [PlaceBits-1:0] place_at [Offset+1];
  assign place_at[0] = write_q;
  for (genvar k = 1; k <= Offset; k++) begin : gen_place_ago
    always_ff @(posedge clk_i) place_at[k] <= place_at[k-1];
  end
  always_comb begin
    assert (number < Numbers);
    assert (told <= Depth);
    assert (write_q <= Top);
    assert (write_q == place_of(number));
    assert (!reads_known || (reading < Numbers && read_q == place_of(reading)));
    for (int k = 1; k <= Offset; k++)
      assert (!known_at[k] || (number_at[k] < Numbers && place_at[k] == place_of(number_at[k])));
    assert (!known_at[Offset] || begin_place == place_at[Offset]); // by as many steps of induction
    for (int place = 0; place < Depth; place++)
      for (int k = 0; k < Depth; k++)
        assert (k >= told || write_q != (place + k + 1) % Depth || memory[place] == beats[k]);
  end
"""
SHAPES = ((1, 1), (1, 2), (2, 3), (3, 4), (4, 5))
"""Offset and Depth."""
MUTANTS = (
    ("(write_q >= Top) ? '0", "(write_q >= Top) ? PlaceBits'(1)"),
    ("(read >= Top) ? '0 : read + 1'b1", "(read_q >= Top) ? '0 : read_q + 1'b1"),
    (".Latency(Offset)", ".Latency(Offset + 1)"),
    ("read_start_i ? begin_place : read_q", "read_start_i ? write_q : read_q"),
    ("if (rst_i) write_q <= '0;", ""),
    ("PlaceBits'(Depth - 1)", "PlaceBits'(Depth - 2)"),
)


def prove(
    folder: Path, shape: tuple[int, int], mutation: tuple[str, str] | None = None, clocks: int = 6
) -> bool:
    """Prove a shape for ever; or look for a trace of so many clocks that refutes a mutant."""
    offset, depth = shape
    books = BOOKS + ("" if mutation else INSIDE)
    texts = {
        "l1ml_delay": source_of("l1ml_delay"),
        "l1ml_align": inside(source_of("l1ml_align", mutation), books),
        "prove": (
            "module prove (input wire logic clk_i, rst_i, write_valid_i, read_valid_i, read_start_i,"
            " input wire logic [1:0] write_data_i);\n"
            f"  l1ml_align #(.Width(2), .Offset({offset}), .Depth({depth})) engine (.*, .data_o());\nendmodule\n"
        ),
    }
    return proven(folder, texts, "prove", clocks=clocks, bounded=mutation is not None)


@pytest.mark.parametrize("shape", SHAPES)
def test_every_clock(shape: tuple[int, int], tmp_path: Path) -> None:
    assert prove(tmp_path, shape)


@pytest.mark.parametrize("mutation", MUTANTS, ids=range(len(MUTANTS)))
def test_a_mutant_is_refuted(mutation: tuple[str, str], tmp_path: Path) -> None:
    assert not prove(tmp_path, (2, 3), mutation, clocks=9)


DELAY = """
module prove (input wire logic clk_i, rst_i, valid_i, start_i, input wire logic [1:0] data_i);
  logic valid_o, start_o;
  logic [1:0] data_o;
  l1ml_beat_delay #(.Width(2), .Latency({latency})) engine (.*);
  logic [{latency}:0] valid_at;
  logic [2:0] beat_at [{latency}+1];
  assign valid_at[0] = valid_i;
  assign beat_at[0] = {{start_i, data_i}};
  for (genvar k = 1; k <= {latency}; k++) begin : gen_at
    always_ff @(posedge clk_i) begin
      valid_at[k] <= valid_at[k-1] & ~rst_i;
      beat_at[k] <= beat_at[k-1];
    end
  end
  always_comb begin
    assert (valid_o == valid_at[{latency}]);
    assert (!valid_o || {{start_o, data_o}} == beat_at[{latency}]);
  end
endmodule
"""
DELAY_MUTANTS = (
    ("{valid_q[Latency-2:0], valid_i}", "{valid_q[Latency-2:0], valid_q[0]}"),
    ("rst_i ? '0 : {valid_q[Latency-2:0], valid_i}", "{valid_q[Latency-2:0], valid_i}"),
    (".Latency(Latency)\n", ".Latency(Latency + 1)\n"),
)


def prove_delay(folder: Path, latency: int, mutation: tuple[str, str] | None = None) -> bool:
    texts = {
        "l1ml_delay": source_of("l1ml_delay"),
        "l1ml_beat_delay": source_of("l1ml_beat_delay", mutation),
        "prove": DELAY.format(latency=latency),
    }
    return proven(folder, texts, "prove", clocks=latency + 3, bounded=mutation is not None)


@pytest.mark.parametrize("latency", [1, 2, 5])
def test_every_clock_of_the_delay(latency: int, tmp_path: Path) -> None:
    assert prove_delay(tmp_path, latency)


@pytest.mark.parametrize("mutation", DELAY_MUTANTS, ids=range(len(DELAY_MUTANTS)))
def test_a_mutant_of_the_delay_is_refuted(mutation: tuple[str, str], tmp_path: Path) -> None:
    assert not prove_delay(tmp_path, 3, mutation)
