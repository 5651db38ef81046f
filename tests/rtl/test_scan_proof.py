# SPDX-License-Identifier: Apache-2.0
"""Scan's sequencing, whatever stands on valid and start.

By induction: no buffer is lost or taken twice, one token per event.  From reset for a number of clocks: every
step gets its own beat, of the same event as the step before, and every event gives one result.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from l1ml.plan.scan import ScanEngine

sys.path.insert(0, str(Path(__file__).parent))
from prove import inside, proven, source_of

pytest.importorskip("pyosys")

BOOKS = """
  logic [UsedBits:0] tokens; // events in the ring
  logic [UsedBits:0] marked;
  always_comb begin
    tokens = '0;
    marked = '0;
    for (int k = 0; k < Slot; k++) begin
      tokens = tokens + (UsedBits+1)'(token_q[k]);
      marked = marked + (UsedBits+1)'(token_q[k] & mark_q[k]);
    end
    assert (used_q <= UsedBits'(Buffers));
    assert ((UsedBits+1)'(used_q) == (UsedBits+1)'(waiting_q) + tokens);
    assert (marked <= 1);
    assert (waiting_q == '0 || marked == '0);
    assert (!open_q || waiting_q != '0 || marked == 1);
    assert (!open_q || (count_q != '0 && count_q < CountBits'(Steps)));
    assert (waiting_q == '0 || open_q || ready_q);
    for (int k = 0; k < Slot; k++)
      assert (!token_q[k] || (steps_q[k*StepBits+:StepBits] != '0 &&
                              32'(steps_q[k*StepBits+:StepBits]) < Steps));
    assert (newest_q < BufferBits'(Buffers) || Buffers == 1 << BufferBits);
    assert (next_q < BufferBits'(Buffers) || Buffers == 1 << BufferBits);
    // Waiting events have the buffers from next_q to newest_q.
    assert ((32'(next_q) + 32'(waiting_q)) % Buffers == (32'(newest_q) + 1) % Buffers);
  end
"""

# A beat is {number of its event, number of the beat}; the cell counts steps.
END_TO_END = """
module prove (input wire logic clk_i, rst_i, valid_i, start_i);
  localparam int TagBits = 5, CountBits = 3, XBits = TagBits + CountBits;
  logic [TagBits-1:0] tag_q, tag;
  logic [CountBits-1:0] place_q, place;
  assign tag = tag_q + TagBits'(valid_i & start_i);
  assign place = start_i ? '0 : place_q;
  always_ff @(posedge clk_i) begin
    tag_q <= rst_i ? '0 : tag;
    if (valid_i) place_q <= (place == {steps}) ? {steps} : place + 1'b1;
    if (rst_i) place_q <= {steps};
  end
  logic valid_o, start_o, go, made;
  logic [XBits-1:0] data_o;
  logic [2*XBits-1:0] to, from;
  l1ml_scan #({parameters}, .InitialState('0)) engine (
    .clk_i, .rst_i, .valid_i, .start_i, .data_i({{tag, place}}), .valid_o, .start_o, .data_o,
    .cell_valid_o(go), .cell_data_o(to), .cell_valid_i(made), .cell_data_i(from)
  );
  logic [TagBits-1:0] x_tag, state_tag;
  logic [CountBits-1:0] x_place, state_step, due;
  assign {{x_tag, x_place, state_tag, state_step}} = to;
  assign due = {backwards} ? CountBits'({steps} - 1) - state_step : state_step;
  logic [{latency}-1:0] made_q;
  logic [{latency}*2*XBits-1:0] from_q;
  always_ff @(posedge clk_i) begin
    made_q <= rst_i ? '0 : {latency}'({{made_q, go}});
    from_q <= ({latency}*2*XBits)'({{from_q, x_tag, x_place, x_tag, CountBits'(state_step + 1'b1)}});
  end
  assign made = made_q[{latency}-1];
  assign from = from_q[{latency}*2*XBits-1-:2*XBits];
  logic some_q;
  logic [TagBits-1:0] before_q; // event of the last result
  always_ff @(posedge clk_i) begin
    if (valid_o) before_q <= data_o[XBits-1-:TagBits];
    some_q <= ~rst_i & (some_q | valid_o);
  end
  always_comb begin
    assert (!go || x_place == due);
    assert (!go || state_step == 0 || x_tag == state_tag);
    assert (start_o == valid_o);
    assert (!valid_o || data_o[CountBits-1:0] == ({backwards} ? 0 : {steps} - 1));
    assert (!valid_o || !some_q || TagBits'(data_o[XBits-1-:TagBits] - before_q) - 1 < 16);
  end
endmodule
"""


def engine(steps: int, latency: int, interval: int, slot: int, **more: object) -> ScanEngine:
    return ScanEngine(
        steps=steps, slot=slot, cell_latency=latency, x_bits=8, state_widths=(8,), y_bits=8, initial=(0,),
        interval=interval, **more,
    )  # fmt: skip


ENGINES = (
    engine(1, 1, 1, 1),
    engine(2, 1, 3, 2),
    engine(3, 2, 3, 2),
    engine(3, 1, 4, 3, lead=2),
    engine(2, 2, 3, 2, go_backwards=True),
    engine(3, 1, 4, 3, return_sequences=True),  # a burst: its first step must find all beats
)
BOOK_MUTANTS = (
    ("UsedBits'(fresh) + UsedBits'(back)", "UsedBits'(fresh)"),
    ("{Slot{abandon}}", "{Slot{1'b0}}"),
    ("(used_q != UsedBits'(Buffers))", "1'b1"),
)
END_MUTANTS = (
    ("{Slot{abandon}}", "{Slot{1'b0}}"),
    ("(CountBits'(step) >= count_q)", "1'b0"),
)


def books(folder: Path, one: ScanEngine, mutation: tuple[str, str] | None = None) -> bool:
    parameters = ", ".join(f".{key}({value})" for key, value in one.parameters().items())
    ports = (
        ".clk_i, .rst_i, .valid_i, .start_i, .data_i('0), .valid_o(), .start_o(), .data_o(), .cell_valid_o(),"
        " .cell_data_o(), .cell_valid_i('0), .cell_data_i('0)"
    )
    top = (
        "module prove (input wire logic clk_i, rst_i, valid_i, start_i);\n"
        f"  l1ml_scan #({parameters}) engine ({ports});\nendmodule\n"
    )
    scan = inside(source_of(one.MODULE, mutation), BOOKS)
    return proven(
        folder, {"l1ml_delay": source_of("l1ml_delay"), "l1ml_scan": scan, "prove": top}, "prove", clocks=6
    )


def end_to_end(folder: Path, one: ScanEngine, mutation: tuple[str, str] | None = None) -> bool:
    top = END_TO_END.format(
        parameters=", ".join(f".{key}({value})" for key, value in one.parameters().items()),
        steps=one.steps, latency=one.cell_latency, backwards=f"1'b{int(one.go_backwards)}",
    )  # fmt: skip
    texts = {
        "l1ml_delay": source_of("l1ml_delay"), "l1ml_scan": source_of(one.MODULE, mutation), "prove": top,
    }  # fmt: skip
    return proven(folder, texts, "prove", clocks=CLOCKS, bounded=True)


CLOCKS = 14
"""Long enough for three events, one of them broken or with a gap."""


@pytest.mark.parametrize("one", ENGINES, ids=range(len(ENGINES)))
def test_the_books_agree_for_ever(one: ScanEngine, tmp_path: Path) -> None:
    assert books(tmp_path, one)


@pytest.mark.parametrize("mutation", BOOK_MUTANTS, ids=range(len(BOOK_MUTANTS)))
def test_no_proof_for_a_mutant(mutation: tuple[str, str], tmp_path: Path) -> None:
    assert not books(tmp_path, ENGINES[2], mutation)


@pytest.mark.parametrize("one", ENGINES[:-1], ids=range(len(ENGINES) - 1))
def test_every_step_gets_its_beat(one: ScanEngine, tmp_path: Path) -> None:
    assert end_to_end(tmp_path, one)


@pytest.mark.parametrize("mutation", END_MUTANTS, ids=range(len(END_MUTANTS)))
def test_a_mutant_is_refuted(mutation: tuple[str, str], tmp_path: Path) -> None:
    assert not end_to_end(tmp_path, ENGINES[2], mutation)
