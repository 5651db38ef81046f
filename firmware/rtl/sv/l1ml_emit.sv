// SPDX-License-Identifier: Apache-2.0
//
// Sends an event as a packet of Words words, one per clock; word 0 comes the clock after valid_i.
// Between packets data_o is zero, but for what a reset cuts off: reset clears valid_o and the marks, not
// data, so the rest of that packet runs out beside valid_o = 0.
//
// An event that comes before the previous packet is finished cuts it short (cut_o) and is itself
// sent whole and in time: latency is the contract. Broken input frames can cause that, and a source
// that sends faster than it may.

`default_nettype none

module l1ml_emit #(
  parameter int unsigned Words = 1, // words of a packet
  parameter int unsigned Width = 64 // bits of a word
) (
  input  wire logic                   clk_i,
  input  wire logic                   rst_i,
  input  wire logic                   valid_i, // data_i holds an event
  input  wire logic                   start_of_orbit_i,
  input  wire logic [Words*Width-1:0] data_i, // word 0 in the lowest bits
  output logic      [Width-1:0]       data_o,
  output logic                        valid_o,
  output logic                        start_o,
  output logic                        last_o,
  output logic                        start_of_orbit_o,
  output logic                        cut_o // this clock: the packet before is cut short
);

  if (Words == 1) begin : gen_one

    assign cut_o = 1'b0;

    always_ff @(posedge clk_i) begin
      data_o           <= valid_i ? data_i : '0;
      valid_o          <= valid_i & ~rst_i;
      start_o          <= valid_i & ~rst_i;
      last_o           <= valid_i & ~rst_i;
      start_of_orbit_o <= valid_i & start_of_orbit_i & ~rst_i;
    end

  end else begin : gen_many

    localparam int unsigned LeftBits = $clog2(Words);
    localparam logic [LeftBits-1:0] One = LeftBits'(1);

    logic [LeftBits-1:0] left_q; // words that still wait
    logic [(Words-1)*Width-1:0] rest_q; // they, the next in the lowest bits; zeros follow

    assign cut_o = valid_i & (left_q != '0);

    always_ff @(posedge clk_i) begin
      if (valid_i) begin
        {rest_q, data_o} <= data_i;
        left_q           <= LeftBits'(Words - 1);
      end else begin
        {rest_q, data_o} <= {{Width{1'b0}}, rest_q};
        left_q           <= (left_q == '0) ? '0 : left_q - One;
      end
      valid_o          <= valid_i | (left_q != '0);
      start_o          <= valid_i;
      last_o           <= ~valid_i & (left_q == One);
      start_of_orbit_o <= valid_i & start_of_orbit_i;
      if (rst_i) begin
        left_q           <= '0;
        valid_o          <= 1'b0;
        start_o          <= 1'b0;
        last_o           <= 1'b0;
        start_of_orbit_o <= 1'b0;
      end
    end

  end

endmodule

`default_nettype wire
