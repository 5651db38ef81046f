# SPDX-License-Identifier: Apache-2.0
"""Scan's sequencing, whatever stands on valid, start and data.

By induction: no buffer is lost or taken twice, one token per event; every step is the next of its event, or its first,
with the event's own beat and the state that came of the step before; results leave with the cell's last step, in the
order of the events.  From reset for a number of clocks, which hold three events: where starts keep the interval and no
event has gaps, exactly the complete ones give results, in the clocks of the plan.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from l1ml.plan.scan import ScanEngine

sys.path.insert(0, str(Path(__file__).parent))
from prove import behind, inside, proven, source_of

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

# For every step that enters the cell, whatever stands on its ports, but for a valid that comes when it must.
STEPS = """
  localparam int Stages = CellLatency;
  // By buffer: beats of its event, its next step, and the state that left the cell last.
  logic [Steps-1:0] have [Buffers];
  logic [Steps*XBits-1:0] image [Buffers];
  logic [StateBits-1:0] left [Buffers];
  logic [7:0] due_step [Buffers];
  // By stage of the cell: what is in it.
  logic [Stages:0] made_at, last_at, first_at;
  logic [BufferBits-1:0] buffer_at [Stages+1];
  logic [StepBits-1:0] step_at [Stages+1];
  logic [XBits-1:0] x_given;
  logic [7:0] number, place; // of the beat; and where it goes
  assign number = follow ? 8'(count_q) : 8'd0;
  assign place = GoBackwards ? 8'(Steps - 1) - number : number;
  always_ff @(posedge clk_i) begin
    for (int b = 0; b < Buffers; b++) begin
      if (made_at[Stages] && buffer_at[Stages] == b) left[b] <= cell_data_i[StateBits-1:0];
      if (issue && buffer == b) begin
        due_step[b] <= 8'(step) + 8'd1;
        for (int k = 0; k < Steps; k++) if (step == k) x_given <= image[b][k*XBits+:XBits];
      end
      if (missing && buffer == b) due_step[b] <= 8'd0;
      if ((fresh | abandon | follow) && write_buffer == b) begin
        if (!follow) due_step[b] <= 8'd0;
        for (int k = 0; k < Steps; k++) begin
          have[b][k] <= (place == k) | (follow & have[b][k]);
          if (place == k) image[b][k*XBits+:XBits] <= data_i;
        end
      end
      if (rst_i) have[b] <= '0;
    end
    made_at[0] <= issue & ~rst_i;
    first_at[0] <= enter;
    last_at[0] <= last;
    buffer_at[0] <= buffer;
    step_at[0] <= step;
  end
  for (genvar k = 1; k <= Stages; k++) begin : gen_stage
    always_ff @(posedge clk_i) begin
      made_at[k] <= made_at[k-1] & ~rst_i;
      first_at[k] <= first_at[k-1];
      last_at[k] <= last_at[k-1];
      buffer_at[k] <= buffer_at[k-1];
      step_at[k] <= step_at[k-1];
    end
  end
  always_comb assume (cell_valid_i == made_at[Stages]);

  // Every step: of the event's own beat, behind the one before, with the state that came of it.
  logic [StateBits-1:0] state_given;
  always_comb begin
    state_given = '0;
    for (int b = 0; b < Buffers; b++) begin
      if (buffer_at[0] == b) state_given = left[b];
      assert (!issue || buffer != b || (8'(step) == due_step[b]));
      for (int k = 0; k < Steps; k++) assert (!issue || buffer != b || step != k || have[b][k]);
    end
    if (made_at[Stages] && buffer_at[Stages] == buffer_at[0] && Stages > 0) state_given = cell_data_i[StateBits-1:0];
    if (step_at[0] == 0) state_given = InitialState;
    assert (cell_valid_o == made_at[0]);
    assert (!cell_valid_o || cell_data_o == {x_given, state_given});
    assert (Burst || valid_o == (made_at[Stages] & (ReturnSequences | last_at[Stages])));
    assert (Burst || !valid_o || start_o == (ReturnSequences ? first_at[Stages] : last_at[Stages]));
    assert (Burst || !valid_o || data_o == cell_data_i[StateBits+YBits-1:StateBits]);
  end
"""
# What holds that together.
STEPS_INSIDE = """
  logic [7:0] rank [Buffers]; // 1 for the event that entered last, and so on
  logic [7:0] queue [Buffers]; // 0 for the one that enters next, and so on
  for (genvar b = 0; b < Buffers; b++) begin : gen_rank
    assign rank[b] = (next_q > b) ? 8'(next_q) - b : 8'(next_q) + Buffers - b;
    assign queue[b] = (next_q > b) ? 8'(b) + Buffers - next_q : 8'(b) - next_q;
  end
  logic [7:0] rank_at [Slot]; // of what is in the ring
  always_comb begin
    for (int k = 0; k < Slot; k++) begin
      rank_at[k] = '0;
      for (int b = 0; b < Buffers; b++) if (buffers_q[k*BufferBits+:BufferBits] == b) rank_at[k] = rank[b];
    end
  end
  logic [StateBits-1:0] stored_at [Slot+1]; // by position in the ring
  for (genvar k = 0; k <= Slot; k++) begin : gen_stored_at
    if (k <= Stages) begin : gen_in_cell
      assign stored_at[k] = cell_data_i[StateBits-1:0];
    end else begin : gen_behind
      always_ff @(posedge clk_i) stored_at[k] <= stored_at[k-1];
    end
  end
  always_comb begin
    assert (!open_q || !ready_q || 32'(count_q) >= Lead);
    assert (!due || !issue || !last || rank_at[Slot-1] == tokens); // the oldest ends first
    assert (step_at[0] != 0 || !made_at[0] || first_at[0]);
    assert (!first_at[0] || !made_at[0] || step_at[0] == 0);
    for (int b = 0; b < Buffers; b++) begin
      // Waiting: nothing done. Open: the beats so far. Else: all beats.
      if (queue[b] < waiting_q) begin
        assert (due_step[b] == 0);
        assert ((open_q && newest_q == b) || &have[b]);
      end
      for (int k = 0; k < Steps; k++)
        assert (!open_q || newest_q != b || have[b][k] == ((GoBackwards ? Steps - 1 - k : k) < count_q));
      for (int k = 0; k < Steps; k++)
        assert (!have[b][k] || flat[((b << StepBits)+k)*XBits+:XBits] == image[b][k*XBits+:XBits]);
    end
    for (int k = 0; k < Slot; k++) begin
      for (int b = 0; b < Buffers; b++)
        if (token_q[k] && buffers_q[k*BufferBits+:BufferBits] == b) begin
          assert (rank[b] <= tokens);
          assert (mark_q[k] == (waiting_q == 0 && newest_q == b));
          assert ((mark_q[k] && open_q) || &have[b]);
          assert (due_step[b] == steps_q[k*StepBits+:StepBits]);
          if (k <= Stages) begin
            assert (made_at[k] && buffer_at[k] == b && step_at[k] + 1 == steps_q[k*StepBits+:StepBits]);
          end else begin
            assert (stored_at[k] == left[b]);
          end
          for (int j = 0; j <= Stages; j++)
            assert (j >= k || !made_at[j] || buffer_at[j] != b);
        end
      assert (!token_q[k] || buffers_q[k*BufferBits+:BufferBits] < Buffers);
      assert (!GoBackwards || !token_q[k] || !mark_q[k] || !open_q);
      // The older, the nearer to its end.
      for (int j = 0; j < k; j++)
        assert (!token_q[k] || !token_q[j] ||
          ((rank_at[k] > rank_at[j]) ==
           (steps_q[k*StepBits+:StepBits] >= steps_q[j*StepBits+:StepBits])));
    end
    for (int b = 0; b < Buffers; b++)
      assert (!made_at[0] || buffer_at[0] != b || step_at[0] == 0 ||
              (Slot == Stages ? made_at[Stages] && buffer_at[Stages] == b : state == left[b]));
  end
"""
# The memory as one vector, which the properties can see.
FLAT = (
    ("  logic [XBits-1:0] x_q;\n", "  logic [Words*XBits-1:0] flat;\n"),
    (
        '(* ram_style = "distributed" *) logic [XBits-1:0] beats[Words];\n',
        "    for (genvar k = 0; k < Words; k++) assign flat[k*XBits+:XBits] = beats[k];\n",
    ),
)

# A beat is {number of its event, number of the beat}, which the cell gives back.
HARNESS = """
module prove (input wire logic clk_i, rst_i, valid_i, start_i);
  localparam int TagBits = 2, CountBits = 2, XBits = TagBits + CountBits;
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
  logic [{latency}-1:0] made_q;
  logic [{latency}*2*XBits-1:0] from_q;
  always_ff @(posedge clk_i) begin
    made_q <= rst_i ? '0 : {latency}'({{made_q, go}});
    from_q <= ({latency}*2*XBits)'({{from_q, to}});
  end
  assign made = made_q[{latency}-1];
  assign from = from_q[{latency}*2*XBits-1-:2*XBits];
"""
# Starts stand on a grid of the interval; beats come every clock, but an event may be short or long. `Delay`: from the
# last beat to the last result, which others come before, one per clock.
ON_TIME = """
  localparam int Delay = {delay}, Results = {results};
  logic [7:0] phase;
  logic every; // beats of this event so far came every clock
  logic [Delay:0] complete_at;
  logic [TagBits-1:0] tag_at [Delay+1];
  assign complete_at[0] = valid_i & (start_i | every) & (place == {steps} - 1);
  assign tag_at[0] = tag;
  always_ff @(posedge clk_i) begin
    phase <= (rst_i || phase == {interval} - 1) ? 8'd0 : phase + 8'd1;
    every <= ~rst_i & valid_i & (start_i | every);
  end
  for (genvar k = 1; k <= Delay; k++) begin : gen_at
    always_ff @(posedge clk_i) begin
      complete_at[k] <= complete_at[k-1] & ~rst_i;
      tag_at[k] <= tag_at[k-1];
    end
  end
  logic [Results-1:0] result; // which of an event is due
  always_comb begin
    assume (!(valid_i && start_i) || phase == 0);
    assume (!(valid_i && !start_i) || every || place == {steps});
    for (int k = 0; k < Results; k++) begin
      result[k] = complete_at[Delay-Results+1+k];
      assert (!result[k] || data_o == {{tag_at[Delay-Results+1+k],
          CountBits'({backwards} ? 0 : {steps} - Results + k)}});
    end
    assert (valid_o == |result);
    assert (start_o == result[0]);
  end
endmodule
"""


def engine(steps: int, latency: int, interval: int, slot: int, **more: object) -> ScanEngine:
    return ScanEngine(
        steps=steps, slot=slot, cell_latency=latency, x_bits=4, state_widths=(4,), y_bits=4, initial=(0,),
        interval=interval, **more,
    )  # fmt: skip


ENGINES = (
    engine(1, 1, 1, 1),
    engine(2, 1, 3, 2),
    engine(3, 2, 3, 2),
    engine(3, 1, 4, 3, lead=2),
    engine(2, 2, 3, 2, go_backwards=True),
    engine(2, 1, 2, 3, return_sequences=True),  # a burst: its first step must find all beats
    engine(2, 1, 3, 2, return_sequences=True),
)
BOOK_MUTANTS = (
    (2, "UsedBits'(fresh) + UsedBits'(back)", "UsedBits'(fresh)"),
    (2, "{Slot{abandon}}", "{Slot{1'b0}}"),
    (4, "(used_q != UsedBits'(Buffers))", "1'b1"),
)
"""With the number of the engine, as those below."""
STEP_MUTANTS = (
    (2, "{Slot{abandon}}", "{Slot{1'b0}}"),
    (2, "(CountBits'(step) >= count_q)", "1'b0"),
    (2, "step + StepBits'(1)};", "step + StepBits'(2)};"),
    (2, "token_d = issue & ~last;", "token_d = issue;"),
    (2, "first_q <= enter", "first_q <= 1'b0"),
    (3, ".Latency(Slot - CellLatency - 1)", ".Latency(Slot - CellLatency)"),
    (4, "StepBits'(CountBits'(Steps) - count_d)", "StepBits'(CountBits'(Steps - 1) - count_d)"),
)
TIME_MUTANTS = (
    (2, "last    = step == StepBits'(Steps - 1)", "last    = step == StepBits'(Steps - 2)"),
    (2, "{token_q[Slot-2:0], token_d}", "{token_q[Slot-2:0], issue}"),
    (3, "count_d == CountBits'(Lead) ||", "count_d == CountBits'(Lead + 1) ||"),
    (5, "BurstStep)", "BurstStep - 1)"),
    (5, "(read_step != StepBits'(Steps - 1))", "(read_step != StepBits'(Steps - 2))"),
)


def small(one: ScanEngine) -> ScanEngine:
    """Return the engine with beats, states and results of 2 bits."""
    return replace(one, x_bits=2, state_widths=(2,), y_bits=2, initial=(1,))


def prove(
    folder: Path, one: ScanEngine, properties: str, mutation: tuple[str, str] | None = None, clocks: int = 0
) -> bool:
    """Say whether properties inside the engine hold for ever, or for so many clocks."""
    given = {**one.parameters(), **one.literals()}
    parameters = ", ".join(f".{key}({value})" for key, value in given.items())
    top = (
        "module prove (input wire logic clk_i, rst_i, valid_i, start_i, cell_valid_i,"
        f" input wire logic [{one.x_bits - 1}:0] data_i,"
        f" input wire logic [{one.state_bits + one.y_bits - 1}:0] cell_data_i);\n"
        f"  l1ml_scan #({parameters}) engine (.*, .valid_o(), .start_o(), .data_o(), .cell_valid_o(),"
        " .cell_data_o());\nendmodule\n"
    )
    text = behind(inside(source_of(one.MODULE, mutation), properties), FLAT)
    texts = {"l1ml_delay": source_of("l1ml_delay"), "l1ml_scan": text, "prove": top}
    return proven(folder, texts, "prove", clocks=clocks or 6, bounded=clocks > 0)


def harness(
    folder: Path, one: ScanEngine, properties: str, clocks: int, mutation: tuple[str, str] | None = None
) -> bool:
    """Say whether properties hold for so many clocks from reset."""
    results = one.steps if one.return_sequences else 1
    top = (HARNESS + properties).format(
        parameters=", ".join(f".{key}({value})" for key, value in one.parameters().items()),
        steps=one.steps, latency=one.cell_latency, backwards=f"1'b{int(one.go_backwards)}",
        interval=one.interval, delay=delay(one), results=results,
    )  # fmt: skip
    texts = {
        "l1ml_delay": source_of("l1ml_delay"), "l1ml_scan": source_of(one.MODULE, mutation), "prove": top,
    }  # fmt: skip
    return proven(folder, texts, "prove", clocks=clocks, bounded=True)


def delay(one: ScanEngine) -> int:
    """Return the clocks from the last beat to the last result, where beats come every clock."""
    arrivals = np.arange(one.steps)
    return int(one.times(arrivals)[-1] - arrivals[-1])


def three_events(one: ScanEngine) -> int:
    """Return how many clocks those take from reset to the last result."""
    return 2 * one.interval + one.steps + delay(one) + 2


@pytest.mark.parametrize("mutant", BOOK_MUTANTS, ids=range(len(BOOK_MUTANTS)))
def test_a_mutant_is_refuted_by_its_books(mutant: tuple[int, str, str], tmp_path: Path) -> None:
    number, *mutation = mutant
    assert not prove(tmp_path, small(ENGINES[number]), BOOKS, (mutation[0], mutation[1]), clocks=24)


@pytest.mark.parametrize("one", ENGINES[:-1], ids=range(len(ENGINES) - 1))
def test_complete_events_and_no_others_give_results_in_time(one: ScanEngine, tmp_path: Path) -> None:
    assert harness(tmp_path, one, ON_TIME, three_events(one))


@pytest.mark.parametrize("mutant", TIME_MUTANTS, ids=range(len(TIME_MUTANTS)))
def test_a_mutant_is_refuted_by_its_results(mutant: tuple[int, str, str], tmp_path: Path) -> None:
    number, *mutation = mutant
    one = ENGINES[number]
    assert not harness(tmp_path, one, ON_TIME, three_events(one), (mutation[0], mutation[1]))


@pytest.mark.parametrize("one", ENGINES, ids=range(len(ENGINES)))
def test_every_step(one: ScanEngine, tmp_path: Path) -> None:
    assert prove(tmp_path, small(one), BOOKS + STEPS + STEPS_INSIDE)


@pytest.mark.parametrize("mutant", STEP_MUTANTS, ids=range(len(STEP_MUTANTS)))
def test_a_mutant_is_refuted_by_its_steps(mutant: tuple[int, str, str], tmp_path: Path) -> None:
    number, *mutation = mutant
    assert not prove(tmp_path, small(ENGINES[number]), STEPS, (mutation[0], mutation[1]), clocks=14)
