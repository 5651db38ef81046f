// SPDX-License-Identifier: Apache-2.0
//
// An input times a weight, Registered clocks later. There is no reset.
//
// Ternary: the weight is -1, 0 or 1, and -1 gives ~x, one less than -x. In LUTs every two bits of the weight
// choose 0, x, 2x or 3x, which goes into the LUTs of the adder; the top two choose 0, x, -2x or -x. This is
// not written as a product, since tools put products into DSP blocks.

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
  input  wire logic [InputBits+1:0]  triple_i, // 3x, for products in LUTs
  input  wire logic [WeightBits-1:0] w_i,
  output logic      [TermBits-1:0]   term_o // two's complement
);

  localparam int unsigned XBits = InputBits + (InputSigned ? 0 : 1); // two's complement

  logic [XBits-1:0] x;
  logic [TermBits-1:0] term;

  if (InputSigned) begin : gen_signed
    assign x = x_i;
  end else begin : gen_unsigned
    assign x = {1'b0, x_i};
  end

  if (Ternary) begin : gen_ternary

    logic unused;

    assign unused = ^triple_i;
    assign term = (x & {XBits{w_i[0]}}) ^ {XBits{w_i[1]}};

  end else if (Dsp) begin : gen_dsp

    (* use_dsp = "yes" *) logic signed [TermBits-1:0] product;
    logic unused;

    assign unused  = ^triple_i;
    assign product = $signed(x) * $signed(w_i);
    assign term    = product;

  end else begin : gen_luts

    localparam int unsigned Digits = (WeightBits + 1) / 2;

    logic [2*Digits-1:0] w;

    assign w = (2 * Digits)'($signed(w_i));

    for (genvar k = 0; k < Digits; k++) begin : gen_digit

      logic one;
      logic two;
      logic [XBits+1:0] single;
      logic [XBits+1:0] choice;
      logic [XBits+2*k+1:0] upto; // of the digits so far

      assign one = w[2*k];
      assign two = w[2*k+1];
      assign single = (XBits + 2)'($signed(x));

      if (k < Digits - 1) begin : gen_low

        logic [XBits+1:0] triple;

        if (InputSigned) begin : gen_signed
          assign triple = triple_i;
        end else begin : gen_unsigned
          assign triple = {1'b0, triple_i};
        end

        assign choice = two ? (one ? triple : single << 1) : (one ? single : '0);

        if (k == 0) begin : gen_first
          assign upto = choice;
        end else begin : gen_next
          assign upto = {
            (XBits + 2)'($signed(gen_digit[k-1].upto[XBits+2*k-1:2*k])) + choice,
            gen_digit[k-1].upto[2*k-1:0]
          };
        end

      end else begin : gen_top

        logic [XBits+2:0] below;
        logic [XBits+2:0] made; // its lowest bit is there for the carry
        logic unused;

        assign unused = made[0];
        assign choice = two ? ~(one ? single : single << 1) : (one ? single : '0);
        assign made   = below + {choice, two};

        if (k == 0) begin : gen_only
          assign below = (XBits + 3)'(1);
          assign upto = made[XBits+2:1];
        end else begin : gen_next
          assign below = {(XBits + 2)'($signed(gen_digit[k-1].upto[XBits+2*k-1:2*k])), 1'b1};
          assign upto = {made[XBits+2:1], gen_digit[k-1].upto[2*k-1:0]};
        end

      end

    end

    logic unused; // bits above the product's; all of 3x, where a weight has two bits only

    assign unused = ^{triple_i, gen_digit[Digits-1].upto};
    assign term = gen_digit[Digits-1].upto[TermBits-1:0];

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
