# SPDX-License-Identifier: Apache-2.0
"""The prover itself: what is false later is not proven, what holds for ever is, and reset may come again."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from prove import proven

pytest.importorskip("pyosys")

COUNTER = """
module prove (input wire logic clk_i, rst_i, go_i);
  logic [4:0] count_q;
  logic since_q; // some clocks without reset
  always_ff @(posedge clk_i) begin
    count_q <= rst_i ? '0 : (go_i && count_q != {end}) ? count_q + 1'b1 : count_q;
    since_q <= ~rst_i;
  end
  always_comb assert ({property});
endmodule
"""


def ask(folder: Path, end: int, what: str, clocks: int, *, bounded: bool = False) -> bool:
    text = COUNTER.replace("{end}", str(end)).replace("{property}", what)
    return proven(folder, {"prove": text}, "prove", clocks=clocks, bounded=bounded)


def test_what_fails_later_is_not_proven(tmp_path: Path) -> None:
    assert not ask(tmp_path, 31, "count_q != 20", 6)
    assert ask(tmp_path, 31, "count_q != 20", 20, bounded=True)
    assert not ask(tmp_path, 31, "count_q != 20", 22, bounded=True)


def test_what_holds_for_ever_is_proven(tmp_path: Path) -> None:
    assert ask(tmp_path, 12, "count_q <= 12", 2)
    assert not ask(tmp_path, 12, "count_q <= 11", 2)


def test_reset_may_come_again(tmp_path: Path) -> None:
    assert not ask(tmp_path, 12, "since_q || count_q == 1", 6)
    assert ask(tmp_path, 12, "since_q || count_q == 0", 6)
