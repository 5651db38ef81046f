// SPDX-License-Identifier: Apache-2.0
//
// Delays a sideband (orbit mark, tag) by exactly Latency clocks. There is no reset: what comes out
// means something only beside the valid of the event it went in with.

`default_nettype none

module l1ml_delay #(
  parameter int unsigned Width   = 1, // bits
  parameter int unsigned Latency = 1  // clocks from data_i to data_o, at least 1
) (
  input  wire logic             clk_i,
  input  wire logic [Width-1:0] data_i,
  output logic      [Width-1:0] data_o
);

  if (Latency == 0) begin : gen_check
    $error("l1ml_delay: Latency must be at least 1");
  end

  logic [Latency*Width-1:0] data_q; // oldest at the top

  if (Latency == 1) begin : gen_one
    always_ff @(posedge clk_i) data_q <= data_i;
  end else begin : gen_many
    always_ff @(posedge clk_i) data_q <= {data_q[(Latency-1)*Width-1:0], data_i};
  end

  assign data_o = data_q[Latency*Width-1:(Latency-1)*Width];

endmodule

`default_nettype wire
