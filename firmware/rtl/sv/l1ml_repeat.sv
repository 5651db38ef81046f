// SPDX-License-Identifier: Apache-2.0
//
// Sends the beat that comes with valid_i & start_i Beats times, one per clock; the first comes the clock
// after it.
//
// A beat that comes before the last copy of the one before it has gone cuts that one short and is itself
// sent whole and in time. A beat without start is no event and is ignored. Reset clears valid_o and
// start_o, not data.

`default_nettype none

module l1ml_repeat #(
  parameter int unsigned Beats = 1, // copies
  parameter int unsigned Width = 1  // bits of a beat
) (
  input  wire logic             clk_i,
  input  wire logic             rst_i,
  input  wire logic             valid_i,
  input  wire logic             start_i,
  input  wire logic [Width-1:0] data_i,
  output logic                  valid_o,
  output logic                  start_o,
  output logic      [Width-1:0] data_o
);

  logic take;
  logic more; // copies still wait

  assign take = valid_i & start_i;

  if (Beats == 1) begin : gen_one
    assign more = 1'b0;
  end else begin : gen_many

    localparam int unsigned LeftBits = $clog2(Beats);

    logic [LeftBits-1:0] left_q; // copies that still wait

    assign more = left_q != '0;

    always_ff @(posedge clk_i) begin
      if (take) left_q <= LeftBits'(Beats - 1);
      else if (more) left_q <= left_q - LeftBits'(1);
      if (rst_i) left_q <= '0;
    end

  end

  always_ff @(posedge clk_i) begin
    if (take) data_o <= data_i;
    valid_o <= (take | more) & ~rst_i;
    start_o <= take & ~rst_i;
  end

endmodule

`default_nettype wire
