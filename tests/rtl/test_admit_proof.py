# SPDX-License-Identifier: Apache-2.0
"""The admission of events proven by induction for small parameters: every start is admitted by its clock alone."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from prove import behind, inside, proven, source_of

pytest.importorskip("pyosys")

# `age` counts clocks since the last event that was admitted, as far as they matter; `place` those modulo Grid.
PROPERTIES = """
  int age, place;
  logic allowed;
  assign allowed = age == int'(Clear) || free_i || (Grid != 0 && place == 0 && age < int'(Clear));
  always_ff @(posedge clk_i) begin
    age   <= rst_i ? int'(Clear) : admit_o ? 1 : age < int'(Clear) ? age + 1 : int'(Clear);
    place <= admit_o ? 1 : place + 1 == int'(Grid) ? 0 : place + 1;
    if (rst_i || Grid == 0) place <= 1;
  end
  always_comb begin
    assert (1 <= age && age <= int'(Clear));
    assert (0 <= place && (place < int'(Grid) || Grid == 0));
    assert (admit_o == (start_i & allowed));
    assert (refuse_o == (start_i & ~allowed));
    assert (clear_q == (age == int'(Clear)));
    assert (clear_q || int'(left_q) == int'(Clear) - age);
  end
"""
IN_TURN = """
    always_comb assert (clear_q || (turn_q == (place == 0) && int'(place_q) == (place == 0 ? 0 : int'(Grid) - place)));
"""
TOP = """
module prove (input wire logic clk_i, rst_i, start_i, free_i);
  logic admit_o, refuse_o;
  l1ml_admit #(.Grid({grid}), .Clear({clear})) admission (.*);
endmodule
"""
MUTANTS = (
    ("clear_q | (left_q == LastClock)", "clear_q | (left_q == '0)"),
    ("left_q  <= LeftBits'(Clear - 1)", "left_q  <= LeftBits'(Clear)"),
    ("turn_q  <= ~admit_o & (place_q == One)", "turn_q  <= place_q == One"),
    ("start_i & ~(clear_q | turn | free_i)", "start_i & ~(clear_q | turn)"),
)


def prove(folder: Path, grid: int, clear: int, mutation: tuple[str, str] | None = None) -> bool:
    text = inside(source_of("l1ml_admit", mutation), PROPERTIES)
    text = behind(text, [("    assign turn = turn_q;\n", IN_TURN)])
    texts = {"l1ml_admit": text, "prove": TOP.format(grid=grid, clear=clear)}
    return proven(folder, texts, "prove", clocks=12)


@pytest.mark.parametrize(("grid", "clear"), [(0, 1), (0, 2), (0, 7), (2, 1), (2, 5), (3, 7), (4, 4), (5, 12)])
def test_every_clock(grid: int, clear: int, tmp_path: Path) -> None:
    assert prove(tmp_path, grid, clear)


@pytest.mark.parametrize("mutation", MUTANTS, ids=["late", "one more", "twice", "free refused"])
def test_no_proof_for_a_mutant(mutation: tuple[str, str], tmp_path: Path) -> None:
    assert not prove(tmp_path, 3, 7, mutation)
