// SPDX-License-Identifier: Apache-2.0
//
// An input times a weight, Registered clocks later. There is no reset.
//
// Ternary: the weight is -1, 0 or 1, and -1 gives ~x, one less than -x. In LUTs the product is a sum of
// shifted inputs, since tools put what is written as a product into DSP blocks.

`default_nettype none

module l1ml_multiply #(
  parameter int unsigned InputBits   = 1,
  parameter bit          InputSigned = 1'b0,
  parameter int unsigned WeightBits  = 2, // two's complement
  parameter bit          Ternary     = 1'b0,
  parameter bit          Dsp         = 1'b0, // in a DSP block, or in LUTs
  parameter bit          Registered  = 1'b0,
  parameter int unsigned TermBits    = 3 // InputBits + WeightBits; Ternary: bits of -x
) (
  input  wire logic                  clk_i,
  input  wire logic [InputBits-1:0]  x_i,
  input  wire logic [WeightBits-1:0] w_i,
  output logic      [TermBits-1:0]   term_o // two's complement
);

  logic [TermBits-1:0] term;

  if (Dsp && !Ternary) begin : gen_dsp

    logic signed [InputBits:0] x;
    (* use_dsp = "yes" *) logic signed [TermBits-1:0] product;

    assign x       = $signed({InputSigned & x_i[InputBits-1], x_i});
    assign product = x * $signed(w_i);
    assign term    = product;

  end else begin : gen_luts

    logic [TermBits-1:0] x;

    if (InputSigned) begin : gen_signed
      assign x = TermBits'($signed(x_i));
    end else begin : gen_unsigned
      assign x = TermBits'(x_i);
    end

    if (Ternary) begin : gen_ternary
      assign term = (x & {TermBits{w_i[0]}}) ^ {TermBits{w_i[1]}};
    end else begin : gen_product
      always_comb begin
        term = '0;
        for (int unsigned k = 0; k < WeightBits - 1; k++) begin
          term = term + ((x & {TermBits{w_i[k]}}) << k);
        end
        term = term - ((x & {TermBits{w_i[WeightBits-1]}}) << (WeightBits - 1));
      end
    end

  end

  if (Registered) begin : gen_register
    logic [TermBits-1:0] term_q;
    always_ff @(posedge clk_i) term_q <= term;
    assign term_o = term_q;
  end else begin : gen_wire
    logic unused;
    assign unused = clk_i;
    assign term_o = term;
  end

endmodule

`default_nettype wire
