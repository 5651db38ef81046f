// SPDX-License-Identifier: Apache-2.0
//
// The port by which weights are replaced while events run. A write carries 32 bits (a chunk) of a word of
// a region; the word goes to its memory with its last chunk, so chunks of a word are written in ascending
// order. It goes to the bank that is not in use. No event is disturbed.
//
// swap_i asks for all banks to be swapped: the first event whose first beat comes 3 clocks later, or after
// that, is the first to see the new weights, in all layers, and all events after it do. Layers see an event
// at different clocks: swap_o of an engine comes in the clock before the event reaches it (Starts clocks
// after its first beat), and the engine swaps with the start of an event. Until every engine has, busy_o
// is 1: writes and swaps are ignored then.
//
// error_o is sticky until reset: something came while busy_o was 1, or a write beside all regions.

`default_nettype none

module l1ml_reload #(
  parameter int unsigned AddressBits = 1, // of a chunk
  parameter int unsigned ChunkBits   = 0, // lowest of an address: the chunk in its word
  parameter int unsigned WordBits    = 1, // of the widest word
  parameter int unsigned WordAddressBits = 1, // of the region with the most words
  parameter int unsigned Regions     = 1,
  parameter int unsigned Engines     = 1,
  parameter logic [Regions*32-1:0] First  = '0, // word of the whole map that a region begins with
  parameter logic [Regions*32-1:0] Words  = '0, // of a region
  parameter logic [Regions*32-1:0] Chunks = '0, // of its words
  parameter logic [Engines*32-1:0] Starts = '0, // clocks from an event's first beat to an engine
  parameter int unsigned Latest = 0 // the largest of them
) (
  input  wire logic                       clk_i,
  input  wire logic                       rst_i,
  input  wire logic                       we_i,
  input  wire logic [AddressBits-1:0]     address_i,
  input  wire logic [31:0]                data_i,
  input  wire logic                       swap_i,
  output logic                            busy_o,
  output logic                            error_o,
  input  wire logic                       begins_i, // first beat of an event at the core
  input  wire logic [Engines-1:0]         starts_i, // first beat of an event at an engine
  output logic [Regions-1:0]              we_o,
  output logic [WordAddressBits-1:0]      address_o, // of a word in its region
  output logic [WordBits-1:0]             data_o,
  output logic [Engines-1:0]              swap_o
);

  localparam int unsigned WordChunks = (WordBits + 31) / 32;
  localparam int unsigned AgeBits = (Latest > 2) ? $clog2(Latest) : 1;

  // Writes, registered once.
  logic we_q;
  logic swap_q;
  logic [AddressBits-1:0] address_q;
  logic [31:0] data_q;
  logic [31:0] number; // of the word in the map
  logic [31:0] chunk; // of the word
  logic [Regions-1:0] hit;
  logic unused_data; // the upper bits, where all words are short

  assign unused_data = ^data_q;
  assign number = 32'(address_q[AddressBits-1:ChunkBits]);

  if (ChunkBits == 0) begin : gen_whole
    assign chunk = '0;
  end else begin : gen_chunk
    assign chunk = 32'(address_q[ChunkBits-1:0]);
  end

  always_ff @(posedge clk_i) begin
    we_q      <= we_i & ~busy_o & ~rst_i;
    swap_q    <= swap_i & ~busy_o & ~rst_i;
    address_q <= address_i;
    data_q    <= data_i;
  end

  for (genvar r = 0; r < Regions; r++) begin : gen_region

    localparam logic [31:0] Low = First[r*32+:32];
    localparam logic [31:0] High = Low + Words[r*32+:32] - 1;

    // Low is a multiple of a power of 2 that holds the region.
    assign hit[r] = ((number & ~(32'(1 << $clog2(Words[r*32+:32])) - 1)) == Low) & (number <= High)
        & (chunk < Chunks[r*32+:32]);

    logic store_q;

    always_ff @(posedge clk_i) begin
      store_q <= we_q & hit[r] & (chunk == Chunks[r*32+:32] - 1) & ~rst_i;
    end

    assign we_o[r] = store_q & ~rst_i; // nothing that was there before a reset is written in it

  end

  for (genvar c = 0; c < WordChunks; c++) begin : gen_data
    localparam int unsigned Bits = (c < WordChunks - 1) ? 32 : WordBits - c * 32;
    always_ff @(posedge clk_i) begin
      if (we_q & (chunk == c)) data_o[c*32+:Bits] <= data_q[Bits-1:0];
    end
  end

  always_ff @(posedge clk_i) address_o <= WordAddressBits'(number);

  // Swaps: from the request to the last engine.
  logic request_q; // as late as a write that came with it
  logic pending_q; // the next event is the first with the new weights
  logic takes; // it begins
  logic flying_q; // it has begun, and not all engines have been told
  logic [AgeBits-1:0] age_q; // clocks since it began
  logic [Engines-1:0] waiting_q; // an engine has been told, and no event has started there

  assign takes  = begins_i & pending_q;
  assign busy_o = swap_q | request_q | pending_q | flying_q | (|waiting_q);

  always_ff @(posedge clk_i) begin
    request_q <= swap_q & ~rst_i;
    pending_q <= (request_q | (pending_q & ~begins_i)) & ~rst_i;
    age_q     <= takes ? AgeBits'(1) : age_q + AgeBits'(1);
    error_o   <= (error_o | ((we_i | swap_i) & busy_o) | (we_q & ~(|hit))) & ~rst_i;
  end

  if (Latest < 2) begin : gen_at_once
    assign flying_q = 1'b0;
  end else begin : gen_flying
    always_ff @(posedge clk_i) begin
      flying_q <= (takes | (flying_q & (age_q != AgeBits'(Latest - 1)))) & ~rst_i;
    end
  end

  for (genvar e = 0; e < Engines; e++) begin : gen_engine

    localparam int unsigned Start = Starts[e*32+:32];

    if (Start == 0) begin : gen_first
      assign swap_o[e] = request_q;
    end else if (Start == 1) begin : gen_second
      assign swap_o[e] = takes;
    end else begin : gen_later
      assign swap_o[e] = flying_q & (age_q == AgeBits'(Start - 1));
    end

    always_ff @(posedge clk_i) begin
      waiting_q[e] <= (swap_o[e] | (waiting_q[e] & ~starts_i[e])) & ~rst_i;
    end

  end

endmodule

`default_nettype wire
