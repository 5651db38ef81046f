// SPDX-License-Identifier: Apache-2.0
//
// Sends every row of an image RowTimes times, and every beat of it BeatTimes times: nearest neighbours.
// A beat goes out two clocks behind its input beat, or one behind the beat before it if that is later.
//
// start_i begins a new event, whatever came before. One that is complete goes on beside the next, until
// that would write over a row that is still needed; one that is cut short ends. Beats behind the last one
// and before the first start are ignored. Only control is reset.

`default_nettype none

module l1ml_upsample #(
  parameter int unsigned Rows      = 1, // of the image
  parameter int unsigned RowBeats  = 1, // beats of a row
  parameter int unsigned Width     = 1, // bits of a beat
  parameter int unsigned RowTimes  = 1,
  parameter int unsigned BeatTimes = 1
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

  localparam int unsigned Beats = Rows * RowBeats;
  localparam int unsigned CountBits = $clog2(Beats + 1);
  localparam int unsigned PlaceBits = (Beats > 1) ? $clog2(Beats) : 1;
  localparam int unsigned ColumnBits = $clog2(RowBeats + 1);
  localparam int unsigned RowTimeBits = $clog2(RowTimes + 1);
  localparam int unsigned BeatTimeBits = $clog2(BeatTimes + 1);

  logic [Width-1:0] memory[Beats];

  // Writing; before the first start nothing is read of it.
  logic begins;
  logic take; // the beat belongs to an event
  logic whole; // the newest event is complete
  logic [CountBits-1:0] write_q; // beats of the newest event so far
  logic [CountBits-1:0] place;

  assign begins = valid_i & start_i;
  assign whole  = write_q == CountBits'(Beats);
  assign take   = valid_i & (start_i | ~whole);
  assign place  = start_i ? '0 : write_q;

  always_ff @(posedge clk_i) begin
    if (take) begin
      memory[PlaceBits'(place)] <= data_i;
      write_q                   <= place + CountBits'(1);
    end
  end

  // Reading.
  logic reading_q; // an event is going out
  logic old_q; // it is not the newest, which goes out next
  logic [CountBits-1:0] base_q; // first beat of its row
  logic [ColumnBits-1:0] column_q;
  logic [RowTimeBits-1:0] row_time_q;
  logic [BeatTimeBits-1:0] beat_time_q;
  logic [CountBits-1:0] next; // the beat that goes out next
  logic ready; // it is there
  logic beat_ends;
  logic row_ends;
  logic row_done;
  logic old; // what goes out is not the newest, in this clock
  logic gone; // and ends with it

  assign next      = base_q + CountBits'(column_q);
  assign ready     = reading_q & (old_q | (next < write_q));
  assign beat_ends = beat_time_q == BeatTimeBits'(BeatTimes - 1);
  assign row_ends  = beat_ends & (column_q == ColumnBits'(RowBeats - 1));
  assign row_done  = row_ends & (row_time_q == RowTimeBits'(RowTimes - 1));
  assign old       = old_q | (begins & whole);
  assign gone      = (ready & row_done & (base_q == CountBits'(Beats - RowBeats))) // complete
                   | (begins & ~old) // cut short
                   | (take & old & (place >= base_q)); // written over

  always_ff @(posedge clk_i) begin
    if (!reading_q || gone) begin
      reading_q   <= begins | (reading_q & old_q);
      old_q       <= 1'b0;
      base_q      <= '0;
      column_q    <= '0;
      row_time_q  <= '0;
      beat_time_q <= '0;
    end else begin
      old_q <= old;
      if (ready) begin
        beat_time_q <= beat_ends ? '0 : beat_time_q + BeatTimeBits'(1);
        if (row_ends) column_q <= '0;
        else if (beat_ends) column_q <= column_q + ColumnBits'(1);
        if (row_done) row_time_q <= '0;
        else if (row_ends) row_time_q <= row_time_q + RowTimeBits'(1);
        if (row_done) base_q <= base_q + CountBits'(RowBeats);
      end
    end
    if (ready) data_o <= memory[PlaceBits'(next)];
    valid_o <= ready & ~rst_i;
    start_o <= ready & (next == '0) & (row_time_q == '0) & (beat_time_q == '0) & ~rst_i;
    if (rst_i) reading_q <= 1'b0;
  end

endmodule

`default_nettype wire
