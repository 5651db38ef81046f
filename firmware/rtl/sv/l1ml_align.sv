// SPDX-License-Identifier: Apache-2.0
//
// Keeps the beats of one stream until those of another come: data_o, the clock after read_valid_i, is the
// beat that belongs to it. An event's first beat is read exactly Offset clocks after it was written; where
// it was written then is where reading begins, so an event that was cut short moves no other.
// Depth beats are held: at least one more than the longest wait in clocks. They lie in LUTs used as memory,
// 64 beats per LUT and bit, as the plan reckons: a block RAM would be nearly empty.

`default_nettype none

module l1ml_align #(
  parameter int unsigned Width  = 1, // bits of a beat
  parameter int unsigned Offset = 1, // clocks from write to read of a first beat, at least 1
  parameter int unsigned Depth  = 2  // beats
) (
  input  wire logic             clk_i,
  input  wire logic             rst_i,
  input  wire logic             write_valid_i,
  input  wire logic [Width-1:0] write_data_i,
  input  wire logic             read_valid_i,
  input  wire logic             read_start_i, // the first beat of an event
  output logic      [Width-1:0] data_o
);

  if (Offset == 0 || Depth == 0 || Width == 0) begin : gen_check
    $error("l1ml_align: Offset, Depth and Width must be at least 1");
  end

  localparam int unsigned PlaceBits = (Depth > 1) ? $clog2(Depth) : 1;
  localparam logic [PlaceBits-1:0] Top = PlaceBits'(Depth - 1);

  (* ram_style = "distributed" *) logic [Width-1:0] memory[Depth];
  logic [PlaceBits-1:0] write_q; // where the next beat is written
  logic [PlaceBits-1:0] begin_place; // and was, Offset clocks ago
  logic [PlaceBits-1:0] read_q; // the next beat of the event that is being read
  logic [PlaceBits-1:0] read;

  l1ml_delay #(
    .Width(PlaceBits),
    .Latency(Offset)
  ) begin_delay (
    .clk_i(clk_i),
    .data_i(write_q),
    .data_o(begin_place)
  );

  assign read = read_start_i ? begin_place : read_q;

  always_ff @(posedge clk_i) begin
    if (write_valid_i) begin
      memory[write_q] <= write_data_i;
      write_q         <= (write_q >= Top) ? '0 : write_q + 1'b1;
    end
    if (read_valid_i) begin
      data_o <= memory[read];
      read_q <= (read >= Top) ? '0 : read + 1'b1;
    end
    if (rst_i) write_q <= '0;
  end

endmodule

`default_nettype wire
