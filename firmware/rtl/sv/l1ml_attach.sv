// SPDX-License-Identifier: Apache-2.0
//
// Gives a word of constants for every beat of an event, one clock after the beat: word 0 with the beat that
// comes with start_i, then one after the other. What the beat holds does not matter.
//
// start_i begins a new event, whatever came before. Beats before the first start, and behind the last of an
// event, give nothing. Gaps between beats only delay. Reset clears valid_o, start_o and the counter.

`default_nettype none

module l1ml_attach #(
  parameter int unsigned Beats    = 1, // of an event
  parameter int unsigned WordBits = 1, // bits of a word
  parameter bit          BlockRom = 1'b0, // block RAM, or LUTs
  parameter logic [Beats*WordBits-1:0] Constants = '0 // the first beat's in the lowest bits
) (
  input  wire logic           clk_i,
  input  wire logic           rst_i,
  input  wire logic           valid_i,
  input  wire logic           start_i,
  output logic                valid_o,
  output logic                start_o,
  output logic [WordBits-1:0] data_o
);

  localparam int unsigned CountBits = (Beats > 1) ? $clog2(Beats) : 1;

  logic first;
  logic take;
  logic [CountBits-1:0] next_q; // beat that comes next; 0: none but the first of an event

  assign first = valid_i & start_i;
  assign take = first | (valid_i & (next_q != '0));

  always_ff @(posedge clk_i) begin
    if (first) next_q <= CountBits'(Beats > 1);
    else if (take) next_q <= (next_q == CountBits'(Beats - 1)) ? '0 : next_q + CountBits'(1);
    if (rst_i) next_q <= '0;
    valid_o <= take & ~rst_i;
    start_o <= first & ~rst_i;
  end

  l1ml_weights #(
    .Words(Beats), .WordBits(WordBits), .AddressBits(CountBits), .BlockRom(BlockRom),
    .Weights(Constants)
  ) memory (
    .clk_i(clk_i), .bank_i(1'b0), .first_i(first), .address_i(next_q), .data_o(data_o),
    .we_i(1'b0), .we_bank_i(1'b0), .we_address_i('0), .we_data_i('0)
  );

endmodule

`default_nettype wire
