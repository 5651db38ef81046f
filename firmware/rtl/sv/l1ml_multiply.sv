// SPDX-License-Identifier: Apache-2.0
//
// An input times a weight, Stages clocks later. There is no reset.
//
// Ternary: the weight is -1, 0 or 1, and -1 gives ~x, one less than -x. In LUTs every two bits of the weight
// choose 0, x, 2x or 3x, which goes into the LUTs of the adder; the top two choose 0, x, -2x or -x. This is
// not written as a product, since tools put products into DSP blocks. The registers stand behind such rows,
// evenly spread, one of them behind the last; in DSP blocks behind the product, where the tool takes them in.

`default_nettype none

module l1ml_multiply #(
  parameter int unsigned InputBits   = 1,
  parameter bit          InputSigned = 1'b0,
  parameter int unsigned WeightBits  = 2, // two's complement
  parameter bit          Ternary     = 1'b0,
  parameter bit          Dsp         = 1'b0, // in a DSP block, or in LUTs
  parameter int unsigned Stages      = 0, // at most 1 for Ternary, 2 for Dsp, and the rows in LUTs
  parameter int unsigned TermBits    = 3 // InputBits + WeightBits; Ternary: bits of -x
) (
  input  wire logic                  clk_i,
  input  wire logic [InputBits-1:0]  x_i,
  input  wire logic [InputBits+1:0]  triple_i, // 3x, for products in LUTs
  input  wire logic [WeightBits-1:0] w_i,
  output logic      [TermBits-1:0]   term_o // two's complement
);

  localparam int unsigned XBits = InputBits + (InputSigned ? 0 : 1); // two's complement

  localparam int unsigned Digits = (WeightBits + 1) / 2;
  localparam int unsigned Rows = Ternary ? 1 : Dsp ? 2 : Digits;

  logic [XBits-1:0] x;
  logic [TermBits-1:0] term;

  if (Stages > Rows) begin : gen_check
    $error("l1ml_multiply: more Stages than rows");
  end

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

    logic [2*Digits-1:0] w;

    assign w = (2 * Digits)'($signed(w_i));

    for (genvar k = 0; k < Digits; k++) begin : gen_digit

      logic [XBits-1:0] x_here;
      logic [InputBits+1:0] triple_here;
      logic [2*Digits-1:0] w_here;
      logic one;
      logic two;
      logic [XBits+1:0] single;
      logic [XBits+1:0] choice;
      logic [XBits+2*k+1:0] upto; // of the digits so far
      logic [XBits+2*k+1:0] made_upto;

      if (k == 0) begin : gen_given
        assign {x_here, triple_here, w_here} = {x, triple_i, w};
      end else if (k * Stages / Digits != (k - 1) * Stages / Digits) begin : gen_later
        always_ff @(posedge clk_i) begin
          x_here      <= gen_digit[k-1].x_here;
          triple_here <= gen_digit[k-1].triple_here;
          w_here      <= gen_digit[k-1].w_here;
        end
      end else begin : gen_now
        assign x_here      = gen_digit[k-1].x_here;
        assign triple_here = gen_digit[k-1].triple_here;
        assign w_here      = gen_digit[k-1].w_here;
      end

      assign one = w_here[2*k];
      assign two = w_here[2*k+1];
      assign single = (XBits + 2)'($signed(x_here));

      if (k < Digits - 1) begin : gen_low

        logic [XBits+1:0] triple;

        if (InputSigned) begin : gen_signed
          assign triple = triple_here;
        end else begin : gen_unsigned
          assign triple = {1'b0, triple_here};
        end

        assign choice = two ? (one ? triple : single << 1) : (one ? single : '0);

        if (k == 0) begin : gen_first
          assign made_upto = choice;
        end else begin : gen_next
          assign made_upto = {
            (XBits + 2)'($signed(gen_digit[k-1].upto[XBits+2*k-1:2*k])) + choice,
            gen_digit[k-1].upto[2*k-1:0]
          };
        end

      end else begin : gen_top

        logic [XBits+2:0] below;
        logic [XBits+2:0] made; // its lowest bit is there for the carry
        logic unused; // it; all of 3x; the bits of lower rows

        assign unused = ^{made[0], triple_here, w_here};
        assign choice = two ? ~(one ? single : single << 1) : (one ? single : '0);
        assign made   = below + {choice, two};

        if (k == 0) begin : gen_only
          assign below = (XBits + 3)'(1);
          assign made_upto = made[XBits+2:1];
        end else begin : gen_next
          assign below = {(XBits + 2)'($signed(gen_digit[k-1].upto[XBits+2*k-1:2*k])), 1'b1};
          assign made_upto = {made[XBits+2:1], gen_digit[k-1].upto[2*k-1:0]};
        end

      end

      if ((k + 1) * Stages / Digits != k * Stages / Digits) begin : gen_register
        always_ff @(posedge clk_i) upto <= made_upto;
      end else begin : gen_wire
        assign upto = made_upto;
      end

    end

    logic unused; // bits above the product's

    assign unused = ^gen_digit[Digits-1].upto;
    assign term = gen_digit[Digits-1].upto[TermBits-1:0];

  end

  if (Stages == 0 || !(Ternary || Dsp)) begin : gen_wire
    logic unused;
    assign unused = clk_i;
    assign term_o = term;
  end else begin : gen_registers

    logic [Stages*TermBits-1:0] terms_q; // the newest in the lowest bits

    if (Stages == 1) begin : gen_one
      always_ff @(posedge clk_i) terms_q <= term;
    end else begin : gen_many
      always_ff @(posedge clk_i) terms_q <= {terms_q[(Stages-1)*TermBits-1:0], term};
    end

    assign term_o = terms_q[(Stages-1)*TermBits+:TermBits];

  end

endmodule

`default_nettype wire
