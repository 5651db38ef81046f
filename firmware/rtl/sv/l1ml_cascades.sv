// SPDX-License-Identifier: Apache-2.0
//
// All products of a slice, added in cascades of up to Chain DSP blocks: Ends sums for each output, which come
// Stages + Chain - 1 clocks after x_i, and that a clock after its address. Products lie in Chain places of Ends
// each, but for the first, which has what is left; a cascade takes one of every place. Operands of place k are
// k clocks late: its inputs are delayed, and it has a memory of its own, which is read so much later.

`default_nettype none

module l1ml_cascades #(
  parameter int unsigned Outputs     = 1,
  parameter int unsigned InputBits   = 1,
  parameter bit          InputSigned = 1'b0,
  parameter int unsigned WeightBits  = 2, // two's complement
  parameter int unsigned PerClock    = 2, // inputs of a slice
  parameter int unsigned Chain       = 2,
  parameter int unsigned Words       = 1, // slices that have weights of their own
  parameter int unsigned AddressBits = 1, // holds Words - 1
  parameter bit          BlockRom    = 1'b0,
  parameter int unsigned Stages      = 1, // of a product: 1 behind the adder, 2 before, 3 between
  parameter int unsigned SumBits     = 3,
  localparam int unsigned Ends = (PerClock + Chain - 1) / Chain,
  localparam int unsigned First = PerClock - (Chain - 1) * Ends, // products of place 0
  parameter logic [Words*Outputs*PerClock*WeightBits-1:0] Weights = '0 // place, slice, output...
) (
  input  wire logic                            clk_i,
  input  wire logic                            first_i, // word 0, whatever the address
  input  wire logic [AddressBits-1:0]          address_i,
  input  wire logic [PerClock*InputBits-1:0]   x_i, // input 0 in the lowest bits
  output logic      [Outputs*Ends*SumBits-1:0] sums_o // two's complement, modulo 2^SumBits
);

  if (Stages == 0 || Stages > 3) begin : gen_check_stages
    $error("l1ml_cascades: Stages must be 1, 2 or 3");
  end
  if (Chain < 2 || (Chain - 1) * Ends >= PerClock) begin : gen_check_places
    $error("l1ml_cascades: a smaller Chain leaves as many sums");
  end

  for (genvar j = 0; j < Chain; j++) begin : gen_place

    localparam int unsigned Size = (j == 0) ? First : Ends; // products of an output
    localparam int unsigned Base = (j == 0) ? 0 : First + (j - 1) * Ends; // those before
    localparam int unsigned WordBits = Outputs * Size * WeightBits;

    logic first;
    logic [AddressBits-1:0] address;
    logic [Size*InputBits-1:0] late;
    logic [WordBits-1:0] word;
    logic [Size*InputBits-1:0] x;
    logic [WordBits-1:0] w; // [output][input]

    if (j == 0) begin : gen_now
      assign first   = first_i;
      assign address = address_i;
      assign late    = x_i[0+:Size*InputBits];
    end else begin : gen_later
      always_ff @(posedge clk_i) begin
        first   <= gen_place[j-1].first;
        address <= gen_place[j-1].address;
      end
      l1ml_delay #(
        .Width(Size * InputBits),
        .Latency(j)
      ) inputs (
        .clk_i(clk_i),
        .data_i(x_i[Base*InputBits+:Size*InputBits]),
        .data_o(late)
      );
    end

    l1ml_weights #(
      .Words(Words),
      .WordBits(WordBits),
      .AddressBits(AddressBits),
      .BlockRom(BlockRom),
      .Weights(Weights[Base*Words*Outputs*WeightBits+:Words*WordBits])
    ) weights (
      .clk_i(clk_i),
      .bank_i(1'b0),
      .first_i(first),
      .address_i(address),
      .data_o(word),
      .we_i(1'b0),
      .we_bank_i(1'b0),
      .we_address_i('0),
      .we_data_i('0)
    );

    if (Stages > 1) begin : gen_operands_q
      always_ff @(posedge clk_i) begin
        x <= late;
        w <= word;
      end
    end else begin : gen_operands
      assign x = late;
      assign w = word;
    end

  end

  for (genvar o = 0; o < Outputs; o++) begin : gen_output
    for (genvar k = 0; k < Ends; k++) begin : gen_end

      localparam int unsigned From = (k < First) ? 0 : 1; // its first place
      localparam int unsigned Length = Chain - From;

      logic [Length*InputBits-1:0] x;
      logic [Length*WeightBits-1:0] w;

      for (genvar j = 0; j < Length; j++) begin : gen_operand
        localparam int unsigned Size = (From + j == 0) ? First : Ends;
        assign x[j*InputBits+:InputBits] = gen_place[From+j].x[k*InputBits+:InputBits];
        assign w[j*WeightBits+:WeightBits] = gen_place[From+j].w[(o*Size+k)*WeightBits+:WeightBits];
      end

      l1ml_cascade #(
        .Length(Length),
        .InputBits(InputBits),
        .InputSigned(InputSigned),
        .WeightBits(WeightBits),
        .Stages((Stages == 3) ? 2 : 1),
        .SumBits(SumBits)
      ) cascade (
        .clk_i(clk_i),
        .x_i(x),
        .w_i(w),
        .sum_o(sums_o[(o*Ends+k)*SumBits+:SumBits])
      );

    end
  end

endmodule

`default_nettype wire
