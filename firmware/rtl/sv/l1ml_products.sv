// SPDX-License-Identifier: Apache-2.0
//
// The sum of Terms products, modulo 2^SumBits, Stages + TreeStages + Chain - 1 clocks later. Products are
// made each for itself and added in a tree; or, with Chain > 1, in cascades of up to Chain DSP blocks, and the
// tree adds their ends. There are Ends cascades, and the products are laid out in Chain places of Ends each,
// but for the first, which has what is left; operands of place k must come k clocks later. There is no reset.

`default_nettype none

module l1ml_products #(
  parameter int unsigned Terms       = 1,
  parameter int unsigned InputBits   = 1,
  parameter bit          InputSigned = 1'b0,
  parameter int unsigned WeightBits  = 2, // two's complement
  parameter bit          Ternary     = 1'b0, // as in l1ml_multiply
  parameter bit          Dsp         = 1'b0, // in DSP blocks, or in LUTs
  parameter int unsigned Stages      = 0, // registers of a product
  parameter int unsigned TreeStages  = 0,
  parameter int unsigned Chain       = 1, // more than 1: with Dsp and 1 or 2 Stages
  parameter int unsigned SumBits     = 3
) (
  input  wire logic                           clk_i,
  input  wire logic [Terms*InputBits-1:0]     x_i, // product 0 in the lowest bits
  input  wire logic [Terms*(InputBits+2)-1:0] triples_i, // 3x, for products in LUTs
  input  wire logic [Terms*WeightBits-1:0]    w_i,
  output logic      [SumBits-1:0]             sum_o // two's complement
);

  localparam int unsigned Ends = (Terms + Chain - 1) / Chain;
  localparam int unsigned First = Terms - (Chain - 1) * Ends; // products of place 0
  localparam int unsigned Grows = Ternary ? (InputSigned ? 0 : 1) : WeightBits;
  localparam int unsigned TermBits = InputBits + Grows;

  if (Chain > 1 && (!Dsp || Ternary || Stages == 0)) begin : gen_check_chain
    $error("l1ml_products: Chain needs Dsp and Stages, and no Ternary");
  end
  if (Chain == 0 || (Chain - 1) * Ends >= Terms) begin : gen_check_places
    $error("l1ml_products: a smaller Chain leaves as many sums");
  end

  logic [Ends*SumBits-1:0] sums;

  if (Chain == 1) begin : gen_products

    for (genvar k = 0; k < Terms; k++) begin : gen_term

      logic [TermBits-1:0] term;
      logic unused_bits; // those above the sum's

      assign unused_bits = ^term;

      l1ml_multiply #(
        .InputBits(InputBits),
        .InputSigned(InputSigned),
        .WeightBits(WeightBits),
        .Ternary(Ternary),
        .Dsp(Dsp),
        .Stages(Stages),
        .TermBits(TermBits)
      ) multiply (
        .clk_i(clk_i),
        .x_i(x_i[k*InputBits+:InputBits]),
        .triple_i(triples_i[k*(InputBits+2)+:InputBits+2]),
        .w_i(w_i[k*WeightBits+:WeightBits]),
        .term_o(term)
      );

      assign sums[k*SumBits+:SumBits] = SumBits'($signed(term));

    end

  end else begin : gen_cascades

    logic unused;

    assign unused = ^triples_i;

    for (genvar k = 0; k < Ends; k++) begin : gen_end

      localparam int unsigned Length = (k < First) ? Chain : Chain - 1; // it may begin in place 1

      logic [Length*InputBits-1:0] x;
      logic [Length*WeightBits-1:0] w;

      for (genvar j = 0; j < Length; j++) begin : gen_operand
        localparam int unsigned Place = Chain - Length + j;
        localparam int unsigned At = ((Place == 0) ? 0 : First + (Place - 1) * Ends) + k;
        assign x[j*InputBits+:InputBits] = x_i[At*InputBits+:InputBits];
        assign w[j*WeightBits+:WeightBits] = w_i[At*WeightBits+:WeightBits];
      end

      l1ml_cascade #(
        .Length(Length),
        .InputBits(InputBits),
        .InputSigned(InputSigned),
        .WeightBits(WeightBits),
        .Stages(Stages),
        .SumBits(SumBits)
      ) cascade (
        .clk_i(clk_i),
        .x_i(x),
        .w_i(w),
        .sum_o(sums[k*SumBits+:SumBits])
      );

    end

  end

  l1ml_tree #(
    .Terms(Ends),
    .Width(SumBits),
    .Stages(TreeStages)
  ) tree (
    .clk_i(clk_i),
    .data_i(sums),
    .data_o(sum_o)
  );

endmodule

`default_nettype wire
