// SPDX-License-Identifier: Apache-2.0
//
// Sum, maximum or minimum of every channel over all positions of a group of Rows * ceil(Columns / Lanes)
// beats with Lanes positions each; an event has Groups of them. A result comes 1 + TreeStages clocks after
// the last beat of its group, start_o with the first. Lanes past the end of a row do not count.
//
// start_i begins a new event, whatever came before; beats behind the last one and before the first
// start are ignored. Only control is reset.

`default_nettype none

module l1ml_reduce #(
  parameter int unsigned Rows        = 1, // rows of an image, 1 for a sequence
  parameter int unsigned Columns     = 1, // positions of a row
  parameter int unsigned Lanes       = 1, // positions of a beat, at most Columns
  parameter int unsigned Channels    = 1, // elements of a position
  parameter int unsigned ElementBits = 1,
  parameter bit          Signed      = 1'b0, // elements and results are two's complement
  parameter int unsigned Kind        = 0, // 0 sum, 1 maximum, 2 minimum
  parameter int unsigned ResultBits  = 1, // of an element of the result, which must fit
  parameter int unsigned TreeStages  = 0, // registers in the tree over the lanes
  parameter int unsigned Groups      = 1 // results of an event
) (
  input  wire logic                                  clk_i,
  input  wire logic                                  rst_i,
  input  wire logic                                  valid_i,
  input  wire logic                                  start_i,
  input  wire logic [Lanes*Channels*ElementBits-1:0] data_i, // lane 0, channel 0 in the lowest bits
  output logic                                       valid_o,
  output logic                                       start_o,
  output logic      [Channels*ResultBits-1:0]        data_o // channel 0 in the lowest bits
);

  localparam int unsigned RowBeats = (Columns + Lanes - 1) / Lanes;
  localparam int unsigned GroupBeats = Rows * RowBeats;
  localparam int unsigned Beats = Groups * GroupBeats;
  localparam int unsigned LastLanes = Columns - (RowBeats - 1) * Lanes; // that count at a row's end
  localparam int unsigned Grown = ElementBits + $clog2(Lanes);
  localparam int unsigned SumBits = (Grown < ResultBits) ? Grown : ResultBits;
  localparam int unsigned TreeBits = (Kind == 0) ? SumBits : ElementBits;

  // What changes no result.
  localparam logic [ElementBits-1:0] Top = ElementBits'(1) << (ElementBits - 1);
  localparam logic [ElementBits-1:0] Lowest = Signed ? Top : '0;
  localparam logic [ElementBits-1:0] Neutral = (Kind == 0) ? '0 : (Kind == 1) ? Lowest : ~Lowest;

  if (Lanes > Columns) begin : gen_check_lanes
    $error("l1ml_reduce: Lanes must not exceed Columns");
  end
  if (ResultBits < ElementBits) begin : gen_check_bits
    $error("l1ml_reduce: ResultBits must not be below ElementBits");
  end

  // The beat in front.
  logic take; // it belongs to an event
  logic first; // and is the first of a group
  logic last; // and completes it
  logic begins; // the group is the first of its event
  logic row_end; // it is the last of a row

  if (Beats == 1) begin : gen_one

    assign take   = valid_i & start_i;
    assign first  = 1'b1;
    assign last   = 1'b1;
    assign begins = 1'b1;

  end else begin : gen_many

    localparam int unsigned LeftBits = $clog2(Beats);

    logic [LeftBits-1:0] left_q; // beats that are still to come, 0: none is expected
    logic [LeftBits-1:0] left_d;

    assign take   = valid_i & (start_i | (left_q != '0));
    assign left_d = start_i ? LeftBits'(Beats - 1) : left_q - LeftBits'(1);

    if (Groups == 1) begin : gen_event
      assign first  = start_i;
      assign last   = left_d == '0;
      assign begins = 1'b1;
    end else begin : gen_groups

      localparam int unsigned BeatPlaceBits = (GroupBeats > 1) ? $clog2(GroupBeats) : 1;

      logic [BeatPlaceBits-1:0] beat_q; // of the next beat in its group
      logic [BeatPlaceBits-1:0] beat;
      logic begins_q; // no group of the event is complete

      assign beat   = start_i ? '0 : beat_q;
      assign first  = beat == '0;
      assign last   = beat == BeatPlaceBits'(GroupBeats - 1);
      assign begins = start_i | begins_q;

      always_ff @(posedge clk_i) begin
        if (take) begin
          beat_q  <= last ? '0 : beat + BeatPlaceBits'(1);
          begins_q <= begins & ~last;
        end
      end

    end

    always_ff @(posedge clk_i) begin
      if (take) left_q <= left_d;
      if (rst_i) left_q <= '0;
    end

  end

  if (LastLanes == Lanes) begin : gen_full_rows
    assign row_end = 1'b0; // all lanes count everywhere
  end else begin : gen_row_end

    localparam int unsigned PlaceBits = $clog2(RowBeats);

    logic [PlaceBits-1:0] place_q; // of the next beat in its row
    logic [PlaceBits-1:0] place;

    assign place   = start_i ? '0 : place_q;
    assign row_end = place == PlaceBits'(RowBeats - 1);

    always_ff @(posedge clk_i) if (take) place_q <= row_end ? '0 : place + PlaceBits'(1);

  end

  // The same where the tree ends.
  logic take_tree;
  logic first_tree;
  logic last_tree;
  logic begins_tree;

  if (TreeStages == 0) begin : gen_now
    assign take_tree   = take;
    assign first_tree  = first;
    assign last_tree   = last;
    assign begins_tree = begins;
  end else begin : gen_later

    logic [TreeStages-1:0] take_q;

    if (TreeStages == 1) begin : gen_one_stage
      always_ff @(posedge clk_i) take_q <= take & ~rst_i;
    end else begin : gen_stages
      always_ff @(posedge clk_i) take_q <= rst_i ? '0 : {take_q[TreeStages-2:0], take};
    end

    l1ml_delay #(
      .Width(3),
      .Latency(TreeStages)
    ) marks (
      .clk_i(clk_i),
      .data_i({first, last, begins}),
      .data_o({first_tree, last_tree, begins_tree})
    );

    assign take_tree = take_q[TreeStages-1];

  end

  logic begins_out; // the result is the first of its event

  always_ff @(posedge clk_i) begin
    valid_o    <= take_tree & last_tree & ~rst_i;
    begins_out <= begins_tree;
  end

  assign start_o = valid_o & begins_out;

  for (genvar channel = 0; channel < Channels; channel++) begin : gen_channel

    logic [Lanes*TreeBits-1:0] terms;
    logic [TreeBits-1:0] combined;
    logic [ResultBits-1:0] term;
    logic [ResultBits-1:0] result_q;

    for (genvar lane = 0; lane < Lanes; lane++) begin : gen_lane

      logic [ElementBits-1:0] given;
      logic [ElementBits-1:0] element;

      assign given = data_i[(lane*Channels+channel)*ElementBits+:ElementBits];
      assign element = (row_end && lane >= LastLanes) ? Neutral : given;

      if (Signed) begin : gen_signed
        assign terms[lane*TreeBits+:TreeBits] = TreeBits'($signed(element));
      end else begin : gen_unsigned
        assign terms[lane*TreeBits+:TreeBits] = TreeBits'(element);
      end

    end

    l1ml_tree #(
      .Terms(Lanes),
      .Width(TreeBits),
      .Kind(Kind),
      .Signed(Signed),
      .Stages(TreeStages)
    ) tree (
      .clk_i(clk_i),
      .data_i(terms),
      .data_o(combined)
    );

    if (Signed) begin : gen_signed
      assign term = ResultBits'($signed(combined));
    end else begin : gen_unsigned
      assign term = ResultBits'(combined);
    end

    if (Kind == 0) begin : gen_sum
      always_ff @(posedge clk_i)
        if (take_tree) result_q <= (first_tree ? '0 : result_q) + term;
    end else begin : gen_choice
      logic less; // the term is less than the result so far
      if (Signed) begin : gen_compare_signed
        assign less = $signed(term) < $signed(result_q);
      end else begin : gen_compare_unsigned
        assign less = term < result_q;
      end
      always_ff @(posedge clk_i)
        if (take_tree & (first_tree | (less ^ (Kind == 1)))) result_q <= term;
    end

    assign data_o[channel*ResultBits+:ResultBits] = result_q;

  end

endmodule

`default_nettype wire
