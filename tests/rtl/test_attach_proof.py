# SPDX-License-Identifier: Apache-2.0
"""Attach proven by induction for small shapes: every valid, start and data bit, in every clock."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from prove import inside, proven, source_of

pytest.importorskip("pyosys")

# `at` is the beat whose word leaves, `left` how many of the event have not come.
BOOKS = """
  int at, left;
  logic out;
  always_ff @(posedge clk_i) begin
    out <= ~rst_i & valid_i & (start_i | left != 0);
    if (valid_i & start_i) begin
      at <= 0;
      left <= Beats - 1;
    end else if (valid_i && left != 0) begin
      at <= at + 1;
      left <= left - 1;
    end
    if (rst_i) left <= 0;
  end
  always_comb begin
    assert (0 <= left && left < Beats);
    assert (left == 0 || left == Beats - 1 - at);
    assert (left == 0 ? next_q == 0 : next_q == Beats - left);
    assert (valid_o == out);
    assert (start_o == (out & at == 0));
    assert (!out || (0 <= at && at < Beats && data_o == Constants[at*WordBits+:WordBits]));
  end
"""
TOP = """
module prove (input wire logic clk_i, rst_i, valid_i, start_i);
  l1ml_attach #(.Beats({beats}), .WordBits(3), .Constants({constants})) engine (
    .clk_i, .rst_i, .valid_i, .start_i, .valid_o(), .start_o(), .data_o()
  );
endmodule
"""
MUTANTS = {
    "count": ("next_q + CountBits'(1)", "next_q + CountBits'(2)"),
    "last": ("CountBits'(Beats - 1)", "CountBits'(Beats - 2)"),
    "restart": (".first_i(first)", ".first_i(1'b0)"),
    "reset": ("    if (rst_i) next_q <= '0;\n", ""),
}


def prove(folder: Path, beats: int, mutation: tuple[str, str] | None = None) -> bool:
    constants = f"{3 * beats}'h{sum((3 * k + 1) % 8 << 3 * k for k in range(beats)):x}"
    texts = {
        "l1ml_attach": inside(source_of("l1ml_attach", mutation), BOOKS),
        "l1ml_weights": source_of("l1ml_weights"),
        "prove": TOP.format(beats=beats, constants=constants),
    }
    return proven(folder, texts, "prove", clocks=12)


@pytest.mark.parametrize("beats", [1, 2, 3, 5, 8])
def test_every_clock(beats: int, tmp_path: Path) -> None:
    assert prove(tmp_path, beats)


@pytest.mark.parametrize("mutation", MUTANTS.values(), ids=MUTANTS)
def test_no_proof_for_a_mutant(mutation: tuple[str, str], tmp_path: Path) -> None:
    assert not prove(tmp_path, 5, mutation)
