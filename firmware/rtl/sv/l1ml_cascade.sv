// SPDX-License-Identifier: Apache-2.0
//
// A sum of products in a cascade of DSP blocks: each adds its product to what the block before it had a clock
// ago. So the operands of product k come k clocks after those of product 0, and sum_o Stages clocks after the
// last. One stage is the register behind the adder, the other the one behind the multiplier. The sum is modulo
// 2^SumBits. There is no reset.

`default_nettype none

module l1ml_cascade #(
  parameter int unsigned Length      = 1, // products
  parameter int unsigned InputBits   = 1,
  parameter bit          InputSigned = 1'b0,
  parameter int unsigned WeightBits  = 2, // two's complement
  parameter int unsigned Stages      = 1, // 1 or 2
  parameter int unsigned SumBits     = 3
) (
  input  wire logic                         clk_i,
  input  wire logic [Length*InputBits-1:0]  x_i, // product 0 in the lowest bits
  input  wire logic [Length*WeightBits-1:0] w_i,
  output logic      [SumBits-1:0]           sum_o // two's complement
);

  localparam int unsigned XBits = InputBits + (InputSigned ? 0 : 1); // two's complement
  localparam int unsigned TermBits = XBits + WeightBits;

  if (Stages != 1 && Stages != 2) begin : gen_check
    $error("l1ml_cascade: Stages must be 1 or 2");
  end

  for (genvar k = 0; k < Length; k++) begin : gen_block

    logic [XBits-1:0] x;
    logic signed [TermBits-1:0] made;
    logic signed [TermBits-1:0] product;
    (* use_dsp = "yes" *) logic signed [SumBits-1:0] sum_q;
    logic unused; // bits of the product above the sum's

    if (InputSigned) begin : gen_signed
      assign x = x_i[k*InputBits+:InputBits];
    end else begin : gen_unsigned
      assign x = {1'b0, x_i[k*InputBits+:InputBits]};
    end

    assign made   = $signed(x) * $signed(w_i[k*WeightBits+:WeightBits]);
    assign unused = ^product;

    if (Stages == 2) begin : gen_product_q
      always_ff @(posedge clk_i) product <= made;
    end else begin : gen_product
      assign product = made;
    end

    if (k == 0) begin : gen_first
      always_ff @(posedge clk_i) sum_q <= SumBits'(product);
    end else begin : gen_next
      always_ff @(posedge clk_i) sum_q <= gen_block[k-1].sum_q + SumBits'(product);
    end

  end

  assign sum_o = gen_block[Length-1].sum_q;

endmodule

`default_nettype wire
