// SPDX-License-Identifier: Apache-2.0
//
// Takes events of Steps beats through a recurrent cell. The cell stands beside this module: pipelined,
// {x, state} in, {y, next state} out CellLatency clocks later, one step per clock. The first step enters it
// two clocks after beat number Lead (all beats, if GoBackwards), the others Slot clocks apart; y leaves the
// clock it leaves the cell, of the last step or of every step. With Burst the results of all steps are kept
// and leave one per clock, the last two clocks after it leaves the cell: without, those of several events
// would mix.
//
// Ring: every event in flight has a token that comes by every Slot clocks and says which step is due. A
// clock without one is free for the event that waits. Events at multiples of Interval never find their clock
// taken, if Interval / gcd(Interval, Slot) >= Steps. Others wait for a free one, in order; starts of events
// are at least Interval clocks apart. Beats wait in a RAM of Buffers events; an event that finds it full is
// ignored (not at multiples of Interval).
//
// start_i always begins a new event: an event that is not complete then loses its token, and so gives no more
// results. A token that comes before its beat (a gap) is dropped: that event begins again when it is
// complete. Beats behind the last one and before the first start are ignored. Only control is reset.

`default_nettype none

module l1ml_scan #(
  parameter int unsigned Steps           = 2, // beats of an event
  parameter int unsigned Slot            = 1, // clocks from step to step, at least CellLatency
  parameter int unsigned CellLatency     = 1, // clocks from cell_data_o to cell_data_i
  parameter int unsigned XBits           = 1, // bits of a beat
  parameter int unsigned StateBits       = 1,
  parameter int unsigned YBits           = 1,
  parameter int unsigned Buffers         = 2, // events whose beats are kept
  parameter int unsigned Lead            = 1, // beats there before the first step
  parameter int unsigned Interval        = 2, // least clocks between two events in the cell
  parameter bit          ReturnSequences = 1'b0, // results of all steps
  parameter bit          GoBackwards     = 1'b0, // last beat first; Lead is Steps then
  parameter bit          BlockRam        = 1'b0, // where beats are kept: block RAM or LUTs
  parameter bit          Burst           = 1'b0, // results of all steps, one per clock
  parameter int unsigned BurstStep       = 1, // step with which the clock of a burst starts
  parameter int unsigned BurstDelay      = 1, // clocks from there until the first result is read
  parameter logic [StateBits-1:0] InitialState = '0
) (
  input  wire logic                       clk_i,
  input  wire logic                       rst_i,
  input  wire logic                       valid_i,
  input  wire logic                       start_i,
  input  wire logic [XBits-1:0]           data_i,
  output logic                            valid_o,
  output logic                            start_o,
  output logic      [YBits-1:0]           data_o,
  output logic                            cell_valid_o,
  output logic      [XBits+StateBits-1:0] cell_data_o, // {x, state}
  input  wire logic                       cell_valid_i,
  input  wire logic [YBits+StateBits-1:0] cell_data_i // {y, next state}
);

  localparam int unsigned StepBits = (Steps > 1) ? $clog2(Steps) : 1;
  localparam int unsigned CountBits = $clog2(Steps + 1);
  localparam int unsigned BufferBits = (Buffers > 1) ? $clog2(Buffers) : 1;
  localparam int unsigned UsedBits = $clog2(Buffers + 1);
  localparam int unsigned CoolBits = (Interval > 1) ? $clog2(Interval) : 1;
  localparam int unsigned Words = Buffers << StepBits;

  if (Slot < CellLatency || Slot == 0 || Steps == 0) begin : gen_check_slot
    $error("l1ml_scan: Slot must be at least CellLatency and 1");
  end
  if (Lead == 0 || Lead > Steps || (GoBackwards && Lead != Steps)) begin : gen_check_lead
    $error("l1ml_scan: Lead must be 1 to Steps, and Steps if GoBackwards");
  end

  if (Burst && (!ReturnSequences || BurstStep == 0 || BurstDelay == 0)) begin : gen_check_burst
    $error("l1ml_scan: Burst needs ReturnSequences, BurstStep and BurstDelay");
  end

  // The newest event: the only one whose beats may be incomplete.
  logic open_q; // it is incomplete
  logic ready_q; // it may begin
  logic [CountBits-1:0] count_q; // its beats so far
  logic [BufferBits-1:0] newest_q; // its buffer

  logic [UsedBits-1:0] used_q; // buffers taken
  logic [UsedBits-1:0] waiting_q; // events without a token; if any, the newest is one of them
  logic [BufferBits-1:0] next_q; // buffer of the oldest of them
  logic free_q; // the event before began long enough ago
  logic [CoolBits-1:0] cool_q; // clocks until then, while it is not free

  // Input: what becomes of the beat.
  logic fresh; // first beat of an event with a new buffer
  logic abandon; // first beat of an event that takes over the newest, incomplete one's buffer
  logic follow;
  logic [CountBits-1:0] count_d;
  logic [BufferBits-1:0] write_buffer;
  logic [StepBits-1:0] write_step;

  assign fresh   = valid_i & start_i & ~open_q & (used_q != UsedBits'(Buffers));
  assign abandon = valid_i & start_i & open_q;
  assign follow  = valid_i & ~start_i & open_q;
  assign count_d = start_i ? CountBits'(1) : count_q + CountBits'(1);
  assign write_buffer = ~fresh ? newest_q :
      (newest_q == BufferBits'(Buffers - 1)) ? '0 : newest_q + BufferBits'(1);
  assign write_step = GoBackwards ? StepBits'(CountBits'(Steps) - count_d) :
      StepBits'(count_d - CountBits'(1));

  // Ring of tokens; [Slot-1] is the one that comes by.
  logic [Slot-1:0] token_q;
  logic [Slot-1:0] mark_q; // it is the newest event's
  logic [Slot*BufferBits-1:0] buffers_q;
  logic [Slot*StepBits-1:0] steps_q;

  logic due; // a token comes by
  logic missing; // its beat does not, or not every beat that must be there
  logic at_burst; // it begins the burst of its event, which has to be complete
  logic enter; // an event begins
  logic issue; // a step is taken
  logic back; // the newest event had a token and has lost it
  logic last;
  logic token_d;
  logic mark_d;
  logic [BufferBits-1:0] buffer;
  logic [StepBits-1:0] step;

  assign due     = token_q[Slot-1];
  assign buffer  = due ? buffers_q[Slot*BufferBits-1-:BufferBits] : next_q;
  assign step    = due ? steps_q[Slot*StepBits-1-:StepBits] : '0;
  assign at_burst = Burst & due & (step == StepBits'(BurstStep));
  assign missing = due & mark_q[Slot-1] & open_q & ((CountBits'(step) >= count_q) | at_burst);
  assign enter   = ~due & (waiting_q != '0) & ((waiting_q != UsedBits'(1)) | ready_q) & free_q;
  assign issue   = enter | (due & ~missing);
  assign last    = step == StepBits'(Steps - 1);
  assign mark_d  = enter ? waiting_q == UsedBits'(1) : mark_q[Slot-1];
  assign token_d = issue & ~last;
  assign back    = missing | (abandon & ((waiting_q == '0) | (enter & mark_d)));

  logic [Slot-1:0] token_next; // a step further
  logic [Slot-1:0] mark_next;
  logic [Slot*BufferBits-1:0] buffers_next;
  logic [Slot*StepBits-1:0] steps_next;

  if (Slot == 1) begin : gen_ring_of_one
    assign token_next   = token_d;
    assign mark_next    = mark_d;
    assign buffers_next = buffer;
    assign steps_next   = step + StepBits'(1);
  end else begin : gen_ring
    assign token_next   = {token_q[Slot-2:0], token_d};
    assign mark_next    = {mark_q[Slot-2:0], mark_d};
    assign buffers_next = {buffers_q[(Slot-1)*BufferBits-1:0], buffer};
    assign steps_next   = {steps_q[(Slot-1)*StepBits-1:0], step + StepBits'(1)};
  end

  always_ff @(posedge clk_i) begin
    buffers_q <= buffers_next;
    steps_q   <= steps_next;
    token_q   <= token_next & ~(mark_next & {Slot{abandon}});
    mark_q    <= mark_next & ~{Slot{fresh}};

    if (fresh | abandon | follow) begin
      count_q  <= count_d;
      open_q   <= count_d != CountBits'(Steps);
      newest_q <= write_buffer;
    end
    if ((fresh | abandon | follow) & (count_d == CountBits'(Lead) || count_d == CountBits'(Steps)))
      ready_q <= 1'b1;
    else if (fresh | abandon | missing) ready_q <= 1'b0;

    used_q <= used_q + UsedBits'(fresh) - UsedBits'(issue & last);
    waiting_q <= waiting_q + UsedBits'(fresh) + UsedBits'(back) - UsedBits'(enter);
    if (back) next_q <= newest_q;
    else if (enter) begin
      next_q <= (next_q == BufferBits'(Buffers - 1)) ? '0 : next_q + BufferBits'(1);
    end
    if (back) free_q <= 1'b1;
    else if (enter) begin
      cool_q <= CoolBits'(Interval - 1);
      free_q <= Interval == 1;
    end else begin
      cool_q <= cool_q - CoolBits'(1);
      free_q <= free_q | (cool_q == CoolBits'(1));
    end

    if (rst_i) begin
      token_q   <= '0;
      mark_q    <= '0;
      open_q    <= 1'b0;
      ready_q   <= 1'b0;
      used_q    <= '0;
      waiting_q <= '0;
      newest_q  <= BufferBits'(Buffers - 1);
      next_q    <= '0;
      free_q    <= 1'b1;
    end
  end

  // Beats of the events in flight.
  logic [XBits-1:0] x_q;

  if (BlockRam) begin : gen_block
    (* ram_style = "block" *) logic [XBits-1:0] beats[Words];
    always_ff @(posedge clk_i) begin
      if (fresh | abandon | follow) beats[{write_buffer, write_step}] <= data_i;
      x_q <= beats[{buffer, step}];
    end
  end else begin : gen_luts
    (* ram_style = "distributed" *) logic [XBits-1:0] beats[Words];
    always_ff @(posedge clk_i) begin
      if (fresh | abandon | follow) beats[{write_buffer, write_step}] <= data_i;
      x_q <= beats[{buffer, step}];
    end
  end

  // The cell.
  logic [StateBits-1:0] state;

  always_ff @(posedge clk_i) cell_valid_o <= issue & ~rst_i;

  assign cell_data_o = {x_q, state};

  if (Slot == CellLatency) begin : gen_direct
    logic first_q; // the first step of an event is in front of the cell
    always_ff @(posedge clk_i) first_q <= enter;
    assign state = first_q ? InitialState : cell_data_i[StateBits-1:0];
  end else begin : gen_stored
    logic [StateBits-1:0] stored;
    logic [StateBits-1:0] state_q;
    if (Slot == CellLatency + 1) begin : gen_now
      assign stored = cell_data_i[StateBits-1:0];
    end else begin : gen_later
      l1ml_delay #(
        .Width(StateBits),
        .Latency(Slot - CellLatency - 1)
      ) state_delay (
        .clk_i(clk_i),
        .data_i(cell_data_i[StateBits-1:0]),
        .data_o(stored)
      );
    end
    always_ff @(posedge clk_i) state_q <= due ? stored : InitialState;
    assign state = state_q;
  end

  // Results.
  logic [YBits-1:0] y;

  assign y = cell_data_i[YBits+StateBits-1:StateBits];

  if (Burst) begin : gen_burst

    logic [BufferBits-1:0] made_buffer; // of the result that leaves the cell
    logic [StepBits-1:0] made_step;
    logic [BurstDelay-1:0] begin_q;
    logic begins; // a burst
    logic [BufferBits-1:0] begin_buffer;
    logic active_q; // results of the burst remain
    logic [BufferBits-1:0] read_buffer_q;
    logic [StepBits-1:0] read_step_q;
    logic [BufferBits-1:0] read_buffer;
    logic [StepBits-1:0] read_step;

    l1ml_delay #(
      .Width(BufferBits + StepBits),
      .Latency(CellLatency + 1)
    ) made_delay (
      .clk_i(clk_i),
      .data_i({buffer, step}),
      .data_o({made_buffer, made_step})
    );

    l1ml_delay #(
      .Width(BufferBits),
      .Latency(BurstDelay)
    ) begin_delay (
      .clk_i(clk_i),
      .data_i(buffer),
      .data_o(begin_buffer)
    );

    if (BurstDelay == 1) begin : gen_begin_now
      always_ff @(posedge clk_i) begin_q <= at_burst & ~missing & ~rst_i;
    end else begin : gen_begin_later
      always_ff @(posedge clk_i)
        begin_q <= rst_i ? '0 : {begin_q[BurstDelay-2:0], at_burst & ~missing};
    end

    assign begins      = begin_q[BurstDelay-1];
    assign read_buffer = begins ? begin_buffer : read_buffer_q;
    assign read_step   = begins ? '0 : read_step_q;

    always_ff @(posedge clk_i) begin
      read_buffer_q <= read_buffer;
      read_step_q   <= read_step + StepBits'(1);
      active_q      <= (begins | active_q) & (read_step != StepBits'(Steps - 1)) & ~rst_i;
      valid_o       <= (begins | active_q) & ~rst_i;
      start_o       <= begins & ~rst_i;
    end

    if (BlockRam) begin : gen_block
      (* ram_style = "block" *) logic [YBits-1:0] results[Words];
      always_ff @(posedge clk_i) begin
        if (cell_valid_i) results[{made_buffer, made_step}] <= y;
        data_o <= results[{read_buffer, read_step}];
      end
    end else begin : gen_luts
      (* ram_style = "distributed" *) logic [YBits-1:0] results[Words];
      always_ff @(posedge clk_i) begin
        if (cell_valid_i) results[{made_buffer, made_step}] <= y;
        data_o <= results[{read_buffer, read_step}];
      end
    end

  end else begin : gen_direct_out

    logic first_out;
    logic last_out;

    l1ml_delay #(
      .Width(2),
      .Latency(CellLatency + 1)
    ) marks_delay (
      .clk_i(clk_i),
      .data_i({enter, last}),
      .data_o({first_out, last_out})
    );

    assign data_o  = y;
    assign valid_o = cell_valid_i & (ReturnSequences | last_out);
    assign start_o = cell_valid_i & (ReturnSequences ? first_out : last_out);

  end

endmodule

`default_nettype wire
