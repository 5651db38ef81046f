// SPDX-License-Identifier: Apache-2.0
//
// Delays a stream by exactly Latency clocks, so that it meets another one beat by beat. Only valid_o is
// reset; data and start mean nothing while it is low.

`default_nettype none

module l1ml_beat_delay #(
  parameter int unsigned Width   = 1, // bits of a beat
  parameter int unsigned Latency = 1  // clocks, at least 1
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

  logic [Latency-1:0] valid_q; // oldest at the top

  if (Latency == 1) begin : gen_one
    always_ff @(posedge clk_i) valid_q <= valid_i & ~rst_i;
  end else begin : gen_many
    always_ff @(posedge clk_i) valid_q <= rst_i ? '0 : {valid_q[Latency-2:0], valid_i};
  end

  assign valid_o = valid_q[Latency-1];

  l1ml_delay #(
    .Width(Width + 1),
    .Latency(Latency)
  ) beat_delay (
    .clk_i(clk_i),
    .data_i({start_i, data_i}),
    .data_o({start_o, data_o})
  );

endmodule

`default_nettype wire
