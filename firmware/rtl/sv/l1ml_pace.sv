// SPDX-License-Identifier: Apache-2.0
//
// Lets the beats of a stream leave at least Spacing clocks apart: those that come closer together wait in a
// small memory. A beat with none in its way leaves 2 clocks after it came.
// start_i empties the memory, so an event always leaves as if it were alone; beats of an event that was cut
// short are lost with it. After a reset beats are ignored until a start. Depth beats are held, as many as
// wait at the same time in an event whose beats come at their clocks.

`default_nettype none

module l1ml_pace #(
  parameter int unsigned Width   = 1, // bits of a beat
  parameter int unsigned Spacing = 2, // least clocks between two beats at the output, at least 2
  parameter int unsigned Depth   = 2  // beats
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

  if (Spacing < 2 || Depth == 0 || Width == 0) begin : gen_check
    $error("l1ml_pace: Spacing must be at least 2, Depth and Width at least 1");
  end

  localparam int unsigned PlaceBits = (Depth > 1) ? $clog2(Depth) : 1;
  localparam int unsigned CountBits = $clog2(Depth + 1);
  localparam int unsigned WaitBits  = $clog2(Spacing);
  localparam logic [PlaceBits-1:0] Top = PlaceBits'(Depth - 1);

  logic [Width-1:0] memory[Depth];
  logic [PlaceBits-1:0] write_q; // where the next beat is written
  logic [PlaceBits-1:0] read_q; // the next beat that leaves
  logic [CountBits-1:0] count_q; // beats that wait
  logic [WaitBits-1:0] wait_q; // clocks until one may leave
  logic open_q; // an event has begun since the reset
  logic first_q; // the next one that leaves is the first of its event
  logic put;
  logic take;

  assign put  = valid_i & (start_i | open_q);
  assign take = (count_q != '0) && (wait_q == '0);

  always_ff @(posedge clk_i) begin
    if (put) begin
      memory[write_q] <= data_i;
      write_q         <= (write_q == Top) ? '0 : write_q + 1'b1;
    end
    if (take) data_o <= memory[read_q];
    start_o <= first_q;
    valid_o <= take & ~rst_i;
    if (valid_i && start_i) begin
      read_q  <= write_q;
      wait_q  <= '0;
      first_q <= 1'b1;
    end else begin
      if (take) begin
        read_q  <= (read_q == Top) ? '0 : read_q + 1'b1;
        first_q <= 1'b0;
      end
      if (take) wait_q <= WaitBits'(Spacing - 1);
      else if (wait_q != '0) wait_q <= wait_q - 1'b1;
    end
    if (valid_i && start_i) count_q <= CountBits'(1);
    else if (put != take) count_q <= put ? count_q + 1'b1 : count_q - 1'b1;
    if (valid_i && start_i) open_q <= 1'b1;
    if (rst_i) begin
      open_q  <= 1'b0;
      write_q <= '0;
      read_q  <= '0;
      count_q <= '0;
      wait_q  <= '0;
    end
  end

endmodule

`default_nettype wire
