// SPDX-License-Identifier: Apache-2.0
//
// Follows the frames of one link and checks their marks: start with word 0, last with word
// FrameWords - 1, no gap between them. take_o and index_o belong to the word of the same clock.
//
// strobe_i = 0: there is no word this clock, whatever the other inputs say. Flags beside
// valid_i = 0 mean nothing.
//
// Until the first start after reset, and behind an error until last or the next start, words are
// passed over in silence: they are the rest of a frame that cannot be used.

`default_nettype none

module l1ml_framing #(
  parameter int unsigned FrameWords = 9, // words of a frame, at least 1
  parameter int unsigned IndexBits  = 4  // bits of a word number, holds FrameWords - 1
) (
  input  wire logic            clk_i,
  input  wire logic            rst_i,
  input  wire logic            strobe_i,
  input  wire logic            valid_i,
  input  wire logic            start_i,
  input  wire logic            last_i,
  input  wire logic            start_of_orbit_i,
  output logic                 take_o,  // the word belongs to a frame without error so far
  output logic [IndexBits-1:0] index_o, // number of the word in its frame
  output logic [5:0]           error_o  // this clock; the bits are named below
);

  // Bits of error_o.
  localparam int unsigned ShortFrame        = 0; // start while a frame is in progress
  localparam int unsigned MissingStart      = 1; // a word outside any frame, without start
  localparam int unsigned ValidGap          = 2; // valid fell inside a frame
  localparam int unsigned LastEarly         = 3; // last before word FrameWords - 1
  localparam int unsigned LastMissing       = 4; // word FrameWords - 1 without last
  localparam int unsigned OrbitWithoutStart = 5; // start_of_orbit inside a frame

  localparam logic [IndexBits-1:0] Final = IndexBits'(FrameWords - 1);

  logic open_q; // a frame is in progress
  logic skip_q; // the words are the rest of a frame that cannot be used
  logic [IndexBits-1:0] next_q; // number of the next word

  logic word;
  logic begins;
  logic follows;
  logic final_word;

  assign word       = strobe_i & valid_i;
  assign begins     = word & start_i;
  assign follows    = word & ~start_i & open_q;
  assign index_o    = start_i ? '0 : next_q;
  assign final_word = index_o == Final;
  assign take_o     = begins | follows;

  assign error_o[ShortFrame]        = begins & open_q;
  assign error_o[MissingStart]      = word & ~start_i & ~open_q & ~skip_q;
  assign error_o[ValidGap]          = strobe_i & ~valid_i & open_q;
  assign error_o[LastEarly]         = take_o & last_i & ~final_word;
  assign error_o[LastMissing]       = take_o & ~last_i & final_word;
  assign error_o[OrbitWithoutStart] = follows & start_of_orbit_i;

  always_ff @(posedge clk_i) begin
    if (take_o) begin
      open_q <= ~(last_i | final_word);
      skip_q <= error_o[LastMissing];
      next_q <= index_o + 1'b1;
    end else if (word) begin
      // Outside any frame: passed over until its own last.
      skip_q <= ~last_i;
    end else if (error_o[ValidGap]) begin
      open_q <= 1'b0;
      skip_q <= 1'b1;
    end
    if (rst_i) begin
      open_q <= 1'b0;
      skip_q <= 1'b1;
    end
  end

endmodule

`default_nettype wire
