// SPDX-License-Identifier: Apache-2.0
//
// Admits the events that the core behind it can take and refuses the others. The start of an event is admitted
//   - a whole multiple of Grid clocks after the one that was admitted last (Grid 0: there are no such clocks),
//   - Clear clocks or more after it, and multiples of Grid count from there on,
//   - whenever free_i says that the event admitted last came to nothing and is not in the way,
// and after a reset. A refused event changes nothing for later ones.
// admit_o and refuse_o belong to start_i of the same clock.

`default_nettype none

module l1ml_admit #(
  parameter int unsigned Grid  = 0, // clocks; 0, or at least 2
  parameter int unsigned Clear = 2  // clocks, at least 1
) (
  input  wire logic clk_i,
  input  wire logic rst_i,
  input  wire logic start_i,
  input  wire logic free_i,
  output logic      admit_o,
  output logic      refuse_o
);

  localparam int unsigned LeftBits = $clog2(Clear + 1);

  if (Clear == 0 || Grid == 1) begin : gen_check
    $error("l1ml_admit: Clear must be at least 1, Grid 0 or at least 2");
  end

  logic clear_q; // any start is admitted
  logic [LeftBits-1:0] left_q; // clocks until then, while it is not
  logic turn; // this clock is on the grid

  assign admit_o  = start_i & (clear_q | turn | free_i);
  assign refuse_o = start_i & ~(clear_q | turn | free_i);

  always_ff @(posedge clk_i) begin
    if (admit_o) begin
      left_q  <= LeftBits'(Clear - 1);
      clear_q <= Clear == 1;
    end else begin
      left_q  <= left_q - LeftBits'(1);
      clear_q <= clear_q | (left_q == LeftBits'(1));
    end
    if (rst_i) clear_q <= 1'b1;
  end

  if (Grid == 0) begin : gen_any
    assign turn = 1'b0;
  end else begin : gen_grid
    localparam int unsigned PlaceBits = $clog2(Grid);
    logic turn_q;
    logic [PlaceBits-1:0] place_q; // clocks until the next one on the grid
    assign turn = turn_q;
    always_ff @(posedge clk_i) begin
      place_q <= (admit_o | (place_q == '0)) ? PlaceBits'(Grid - 1) : place_q - PlaceBits'(1);
      turn_q  <= ~admit_o & (place_q == PlaceBits'(1));
      if (rst_i) begin
        place_q <= '0;
        turn_q  <= 1'b0;
      end
    end
  end

endmodule

`default_nettype wire
