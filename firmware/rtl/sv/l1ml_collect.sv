// SPDX-License-Identifier: Apache-2.0
//
// Gathers the beats of an event, Rows * ceil(Columns / Lanes) of them with Lanes positions each, into
// one wide beat. It comes the clock after the last of them; data_o stays until the next event begins.
// Lanes past the end of a row are dropped.
//
// start_i begins a new event, whatever came before; beats behind the last one and before the first
// start are ignored. Only control is reset.

`default_nettype none

module l1ml_collect #(
  parameter int unsigned Rows         = 1, // rows of an image, 1 for a sequence
  parameter int unsigned Columns      = 1, // positions of a row
  parameter int unsigned Lanes        = 1, // positions of an input beat, at most Columns
  parameter int unsigned PositionBits = 1  // bits of a position
) (
  input  wire logic                                 clk_i,
  input  wire logic                                 rst_i,
  input  wire logic                                 valid_i,
  input  wire logic                                 start_i,
  input  wire logic [Lanes*PositionBits-1:0]        data_i, // lane 0 in the lowest bits
  output logic                                      valid_o,
  output logic                                      start_o,
  output logic      [Rows*Columns*PositionBits-1:0] data_o // position 0 in the lowest bits
);

  localparam int unsigned RowBeats = (Columns + Lanes - 1) / Lanes;
  localparam int unsigned Beats = Rows * RowBeats;
  localparam int unsigned BeatBits = Lanes * PositionBits;
  localparam int unsigned RowBits = Columns * PositionBits;

  if (Lanes > Columns) begin : gen_check
    $error("l1ml_collect: Lanes must not exceed Columns");
  end

  logic take; // the beat belongs to an event
  logic last; // and completes it
  logic [Beats*BeatBits-1:0] beats_q; // the newest at the top

  assign start_o = valid_o;

  for (genvar row = 0; row < Rows; row++) begin : gen_row
    assign data_o[row*RowBits+:RowBits] = beats_q[row*RowBeats*BeatBits+:RowBits];
  end

  if (Beats == 1) begin : gen_one

    assign take = valid_i & start_i;
    assign last = 1'b1;

    always_ff @(posedge clk_i) if (take) beats_q <= data_i;

  end else begin : gen_many

    localparam int unsigned LeftBits = $clog2(Beats);

    logic [LeftBits-1:0] left_q; // beats that are still to come, 0: none is expected
    logic [LeftBits-1:0] left_d;

    assign take   = valid_i & (start_i | (left_q != '0));
    assign left_d = start_i ? LeftBits'(Beats - 1) : left_q - LeftBits'(1);
    assign last   = left_d == '0;

    always_ff @(posedge clk_i) begin
      if (take) begin
        beats_q <= {data_i, beats_q[Beats*BeatBits-1:BeatBits]};
        left_q  <= left_d;
      end
      if (rst_i) left_q <= '0;
    end

  end

  always_ff @(posedge clk_i) valid_o <= take & last & ~rst_i;

endmodule

`default_nettype wire
