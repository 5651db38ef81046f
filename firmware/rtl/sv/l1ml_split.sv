// SPDX-License-Identifier: Apache-2.0
//
// Sends a whole event as beats of Lanes positions, one per clock; the first comes the clock after
// valid_i & start_i, there are Rows * ceil(Columns / Lanes). Lanes past the end of a row are zero.
//
// An event that comes before the last beat of the one before it has gone cuts that one short and is
// itself sent whole and in time. A beat without start is no event and is ignored. Reset clears
// valid_o and start_o, not data: what it cuts off runs out beside valid_o = 0.

`default_nettype none

module l1ml_split #(
  parameter int unsigned Rows         = 1, // rows of an image, 1 for a sequence
  parameter int unsigned Columns      = 1, // positions of a row
  parameter int unsigned Lanes        = 1, // positions of an output beat, at most Columns
  parameter int unsigned PositionBits = 1  // bits of a position
) (
  input  wire logic                                 clk_i,
  input  wire logic                                 rst_i,
  input  wire logic                                 valid_i,
  input  wire logic                                 start_i,
  input  wire logic [Rows*Columns*PositionBits-1:0] data_i, // position 0 in the lowest bits
  output logic                                      valid_o,
  output logic                                      start_o,
  output logic      [Lanes*PositionBits-1:0]        data_o // lane 0 in the lowest bits
);

  localparam int unsigned RowBeats = (Columns + Lanes - 1) / Lanes;
  localparam int unsigned Beats = Rows * RowBeats;
  localparam int unsigned BeatBits = Lanes * PositionBits;
  localparam int unsigned RowBits = Columns * PositionBits;

  if (Lanes > Columns) begin : gen_check
    $error("l1ml_split: Lanes must not exceed Columns");
  end

  logic take;
  logic [Beats*BeatBits-1:0] beats; // the event with every row filled up to whole beats

  assign take = valid_i & start_i;

  if (RowBeats * BeatBits == RowBits) begin : gen_whole
    assign beats = data_i;
  end else begin : gen_pad
    for (genvar row = 0; row < Rows; row++) begin : gen_row
      assign beats[row*RowBeats*BeatBits+:RowBeats*BeatBits] =
          {{(RowBeats * BeatBits - RowBits) {1'b0}}, data_i[row*RowBits+:RowBits]};
    end
  end

  if (Beats == 1) begin : gen_one

    always_ff @(posedge clk_i) begin
      data_o  <= beats;
      valid_o <= take & ~rst_i;
      start_o <= take & ~rst_i;
    end

  end else begin : gen_many

    localparam int unsigned LeftBits = $clog2(Beats);

    logic [LeftBits-1:0] left_q; // beats that still wait
    logic [(Beats-1)*BeatBits-1:0] rest_q; // they, the next in the lowest bits; zeros follow

    always_ff @(posedge clk_i) begin
      if (take) begin
        {rest_q, data_o} <= beats;
        left_q           <= LeftBits'(Beats - 1);
      end else begin
        {rest_q, data_o} <= {{BeatBits{1'b0}}, rest_q};
        left_q           <= (left_q == '0) ? '0 : left_q - LeftBits'(1);
      end
      valid_o <= take | (left_q != '0);
      start_o <= take;
      if (rst_i) begin
        left_q  <= '0;
        valid_o <= 1'b0;
        start_o <= 1'b0;
      end
    end

  end

endmodule

`default_nettype wire
