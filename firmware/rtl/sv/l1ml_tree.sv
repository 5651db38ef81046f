// SPDX-License-Identifier: Apache-2.0
//
// Combines Terms numbers into one, level by level: their sum (modulo 2^Width), maximum or minimum.
// data_o follows data_i by exactly Stages clocks; the registers stand behind levels, evenly spread, one
// of them behind the last. There is no reset.

`default_nettype none

module l1ml_tree #(
  parameter int unsigned Terms  = 1,
  parameter int unsigned Width  = 1, // bits of a term and of the result
  parameter int unsigned Kind   = 0, // 0 sum, 1 maximum, 2 minimum
  parameter bit          Signed = 1'b0, // how maximum and minimum compare
  parameter int unsigned Stages = 0 // at most the levels, $clog2(Terms)
) (
  input  wire logic                   clk_i,
  input  wire logic [Terms*Width-1:0] data_i, // term 0 in the lowest bits
  output logic      [Width-1:0]       data_o
);

  localparam int unsigned Levels = $clog2(Terms);

  if (Terms == 0 || Kind > 2) begin : gen_check_terms
    $error("l1ml_tree: Terms must be at least 1, Kind at most 2");
  end
  if (Stages > Levels) begin : gen_check_stages
    $error("l1ml_tree: more Stages than levels");
  end

  for (genvar level = 0; level <= Levels; level++) begin : gen_level

    localparam int unsigned Count = (Terms + (1 << level) - 1) >> level; // terms behind this level

    logic [Count*Width-1:0] terms;

    if (level == 0) begin : gen_first
      assign terms = data_i;
    end else begin : gen_next

      localparam int unsigned Before = (Terms + (1 << (level - 1)) - 1) >> (level - 1);

      logic [Count*Width-1:0] made;

      for (genvar k = 0; k < Count; k++) begin : gen_pair
        if (2 * k + 1 == Before) begin : gen_odd
          assign made[k*Width+:Width] = gen_level[level-1].terms[2*k*Width+:Width];
        end else begin : gen_two
          logic [Width-1:0] a;
          logic [Width-1:0] b;
          assign a = gen_level[level-1].terms[2*k*Width+:Width];
          assign b = gen_level[level-1].terms[(2*k+1)*Width+:Width];
          if (Kind == 0) begin : gen_sum
            assign made[k*Width+:Width] = a + b;
          end else begin : gen_choice
            logic less; // a is less than b
            if (Signed) begin : gen_signed
              assign less = $signed(a) < $signed(b);
            end else begin : gen_unsigned
              assign less = a < b;
            end
            assign made[k*Width+:Width] = (less ^ (Kind == 2)) ? b : a;
          end
        end
      end

      if (level * Stages / Levels != (level - 1) * Stages / Levels) begin : gen_register
        always_ff @(posedge clk_i) terms <= made;
      end else begin : gen_wire
        assign terms = made;
      end

    end

  end

  assign data_o = gen_level[Levels].terms;

  if (Stages == 0) begin : gen_no_clock
    logic unused;
    assign unused = clk_i;
  end

endmodule

`default_nettype wire
