// SPDX-License-Identifier: Apache-2.0
//
// Follows the frames of one link and checks their marks: start with word 0, last with word
// FrameWords - 1, no gap between them. take_o and index_o belong to the word of the same clock.
//
// strobe_i = 0: there is no word this clock, whatever the other inputs say. Flags beside
// valid_i = 0 mean nothing. A link with strobe_i or valid_i tied to 0 is an idle link: no error.
//
// After reset and behind an error the rest of a frame that cannot be used is passed over in silence:
// until last or start, and never for more words than the frame had left. The next word without start
// is an error again, so a link that never marks its frames is seen within two frames.

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
  localparam logic [IndexBits-1:0] One = IndexBits'(1);
  localparam bit HasRest = FrameWords > 1; // a frame has words behind its first

  logic open_q; // a frame is in progress
  logic skip_q; // the words are the rest of a frame that cannot be used
  logic [IndexBits-1:0] next_q; // number of the next word, of the frame or of the rest

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
      skip_q <= error_o[LastEarly] | (error_o[LastMissing] & HasRest);
      next_q <= final_word ? One : index_o + One;
    end else if (word) begin
      // Outside any frame: the rest of one, or one whose start is missing and whose rest follows.
      skip_q <= ~last_i & (skip_q ? next_q != Final : HasRest);
      next_q <= skip_q ? next_q + One : One;
    end else if (error_o[ValidGap]) begin
      open_q <= 1'b0;
      skip_q <= 1'b1;
    end
    if (rst_i) begin
      // The words may be those of a frame whose first is gone.
      open_q <= 1'b0;
      skip_q <= HasRest;
      next_q <= One;
    end
  end

endmodule

`default_nettype wire
