// SPDX-License-Identifier: Apache-2.0
//
// A dense layer that takes PerClock inputs a clock, times their weights for all outputs, into one accumulator
// per output. A beat takes Slices = ceil(KeptInputs / PerClock) clocks; a result takes Phases beats, each
// with weights of its own, and comes Slices + MultiplierStages + TreeStages + Chain clocks after the last.
// An event has Phases * Results beats. data_o holds results only beside valid_o.
//
// Ternary: weights are -1, 0 or 1, and -1 takes ~x for -x. Initial has the ones that are missing then.
//
// Chain: so many products are added by the DSP blocks that make them (l1ml_cascades), the tree adds their sums.
//
// start_i begins a new event, whatever came before. Beats behind the last one and before the first start are
// ignored. A beat without start that comes less than Slices clocks after the one before ends the event: it
// gives no more results. Only control is reset.
//
// Reloadable: weights_we_i writes a word (one slice of one phase) into the bank that is not in use, bias_we_i
// what the accumulators begin with there (Initial, in both banks at first). weights_swap_i asks for the banks
// to be swapped; that happens with the next start_i in a later clock, and until then nothing should be
// written. Reset goes back to the first bank, as it was last written.

`default_nettype none

module l1ml_fold #(
  parameter int unsigned Inputs           = 1, // of a beat
  parameter int unsigned Outputs          = 1, // of a result
  parameter int unsigned InputBits        = 1,
  parameter bit          InputSigned      = 1'b0,
  parameter int unsigned WeightBits       = 2, // two's complement
  parameter int unsigned AccBits          = 4, // two's complement, of an output
  parameter int unsigned PerClock         = 1, // inputs taken in one clock
  parameter int unsigned Phases           = 1, // beats of a result
  parameter int unsigned Results          = 1, // of an event
  parameter int unsigned KeptInputs       = 1, // inputs that have weights
  parameter bit          Ternary          = 1'b0,
  parameter bit          Dsp              = 1'b0, // multiply in DSP blocks, or in LUTs
  parameter bit          BlockRom         = 1'b0, // weights in block RAM, or in LUTs
  parameter int unsigned MultiplierStages = 0, // 1 behind multipliers; 2 before, too; more in them
  parameter int unsigned TreeStages       = 0, // registers in the tree over a slice
  parameter int unsigned Chain            = 1, // see l1ml_cascades; 1: none
  parameter bit          Reloadable       = 1'b0,
  parameter logic [KeptInputs*16-1:0] Kept = '0, // their numbers, as they are taken
  parameter logic [Outputs*AccBits-1:0] Initial = '0, // of the accumulators
  localparam int unsigned Slices = (KeptInputs + PerClock - 1) / PerClock,
  localparam int unsigned Words = Phases * Slices,
  localparam int unsigned AddressBits = (Words > 1) ? $clog2(Words) : 1,
  localparam int unsigned WordBits = Outputs * PerClock * WeightBits,
  parameter logic [Words*WordBits-1:0] Weights = '0 // [slice][output][input]; or l1ml_cascades'
) (
  input  wire logic                        clk_i,
  input  wire logic                        rst_i,
  input  wire logic                        valid_i,
  input  wire logic                        start_i,
  input  wire logic [Inputs*InputBits-1:0] data_i, // input 0 in the lowest bits
  output logic                             valid_o,
  output logic                             start_o,
  output logic      [Outputs*AccBits-1:0]  data_o, // output 0 in the lowest bits
  input  wire logic                        weights_we_i, // these six: 0 without Reloadable
  input  wire logic [AddressBits-1:0]      weights_address_i,
  input  wire logic [WordBits-1:0]         weights_i,
  input  wire logic                        bias_we_i,
  input  wire logic [Outputs*AccBits-1:0]  bias_i, // output 0 in the lowest bits
  input  wire logic                        weights_swap_i
);

  localparam int unsigned SliceBits = (Slices > 1) ? $clog2(Slices) : 1;
  localparam int unsigned Beats = Phases * Results;
  localparam logic [AddressBits-1:0] Last = AddressBits'(Words - 1);
  localparam int unsigned LeftBits = (Beats > 1) ? $clog2(Beats) : 1;
  localparam int unsigned Depth = MultiplierStages + TreeStages + Chain - 1; // to the accumulator
  localparam int unsigned Ends = (PerClock + Chain - 1) / Chain; // sums that the tree adds
  localparam int unsigned ProductStages =
    (MultiplierStages < 2) ? MultiplierStages : MultiplierStages - 1;
  localparam int unsigned Grows = Ternary ? (InputSigned ? 0 : 1) : WeightBits;
  localparam int unsigned TermBits = InputBits + Grows;
  localparam int unsigned Grown = TermBits + $clog2(PerClock);
  localparam int unsigned SumBits = (Grown < AccBits) ? Grown : AccBits;

  if (Chain > 1 && Reloadable) begin : gen_check
    $error("l1ml_fold: Chain must be 1 with Reloadable");
  end

  // Sequence.
  logic begins; // first beat of an event
  logic take; // the beat belongs to an event and comes in time
  logic early; // it comes too early
  logic step; // a slice is taken in the next clock
  logic active_q; // a slice is taken in this clock
  logic [SliceBits-1:0] after_q; // slices behind it
  logic more_q; // there are some
  logic [LeftBits-1:0] left_q; // beats that are still to come, 0: none is expected
  logic open_q; // it is not 0
  logic [AddressBits-1:0] address_q; // word of the next slice
  logic zero_q; // it is the first of a result; flags keep comparisons off the paths of a beat
  logic wrap_q; // it is the last
  logic first_q; // the slice is the first of a result
  logic last_q; // it is the last
  logic fresh_q; // no result of the event is complete

  assign begins  = valid_i & start_i;
  assign take    = begins | (valid_i & open_q & ~more_q);
  assign early   = valid_i & ~start_i & open_q & more_q;
  assign step    = take | (more_q & ~early);

  always_ff @(posedge clk_i) begin
    active_q <= step;
    after_q  <= take ? SliceBits'(Slices - 1) : after_q - SliceBits'(1);
    more_q   <= take ? Slices != 1 : step & (after_q != SliceBits'(1));
    first_q  <= begins | zero_q;
    last_q   <= begins ? Words == 1 : wrap_q;
    if (step) begin
      address_q <= begins ? AddressBits'(Words != 1) : wrap_q ? '0 : address_q + AddressBits'(1);
      zero_q    <= begins ? Words == 1 : wrap_q;
      wrap_q    <= begins ? Words <= 2 : wrap_q ? Words == 1 : address_q + AddressBits'(1) == Last;
    end
    if (begins) begin
      left_q <= LeftBits'(Beats - 1);
      open_q <= Beats != 1;
    end else if (early) begin
      left_q <= '0;
      open_q <= 1'b0;
    end else if (take) begin
      left_q <= left_q - LeftBits'(1);
      open_q <= left_q != LeftBits'(1);
    end
    if (begins) fresh_q <= 1'b1;
    else if (active_q & last_q) fresh_q <= 1'b0;
    if (rst_i) begin
      active_q <= 1'b0;
      more_q   <= 1'b0;
      left_q   <= '0;
      open_q   <= 1'b0;
    end
  end

  // What the slices are taken from: the next is at the low end of the inputs, with its word.
  logic [Slices*PerClock*InputBits-1:0] given; // the inputs that are kept, filled up with zeros
  logic [Slices*PerClock*InputBits-1:0] inputs_q;
  logic [PerClock*InputBits-1:0] slice;
  logic [WordBits-1:0] word;
  logic bank_q; // of the weights
  logic [Outputs*AccBits-1:0] initials; // what the accumulators of the slice there begin with
  logic [Outputs*Ends*SumBits-1:0] terms; // products, or the sums of cascades
  logic unused_inputs; // those that have no weight

  assign unused_inputs = ^data_i;

  for (genvar k = 0; k < Slices * PerClock; k++) begin : gen_kept
    if (k < KeptInputs) begin : gen_input
      assign given[k*InputBits+:InputBits] = data_i[Kept[k*16+:16]*InputBits+:InputBits];
    end else begin : gen_zero
      assign given[k*InputBits+:InputBits] = '0;
    end
  end

  if (Slices == 1) begin : gen_load
    always_ff @(posedge clk_i) inputs_q <= given;
  end else begin : gen_shift
    always_ff @(posedge clk_i) inputs_q <= take ? given : inputs_q >> (PerClock * InputBits);
  end

  // Operands of the multipliers, which share 3x.
  logic [PerClock*(InputBits+2)-1:0] slice_triples;
  logic [PerClock*InputBits-1:0] x;
  logic [PerClock*(InputBits+2)-1:0] triples;
  logic [WordBits-1:0] w;

  if (Reloadable) begin : gen_banks

    logic swap_q; // the next event begins with the other bank
    logic bank;

    assign bank = bank_q ^ (begins & swap_q);

    always_ff @(posedge clk_i) begin
      bank_q <= bank & ~rst_i;
      swap_q <= (weights_swap_i | (swap_q & ~begins)) & ~rst_i;
    end

    l1ml_weights #(
      .Words(Words),
      .WordBits(WordBits),
      .AddressBits(AddressBits),
      .BlockRom(BlockRom),
      .Reloadable(1'b1),
      .Weights(Weights)
    ) weights (
      .clk_i(clk_i),
      .bank_i(bank),
      .first_i(begins),
      .address_i(address_q),
      .data_o(word),
      .we_i(weights_we_i),
      .we_bank_i(~bank_q),
      .we_address_i(weights_address_i),
      .we_data_i(weights_i)
    );

    // The bank of the slice whose sum reaches the accumulators in the next clock.
    logic sum_bank;

    if (Depth == 0) begin : gen_now
      assign sum_bank = bank;
    end else begin : gen_later
      l1ml_delay #(
        .Width(1),
        .Latency(Depth)
      ) banks (
        .clk_i(clk_i),
        .data_i(bank),
        .data_o(sum_bank)
      );
    end

    l1ml_weights #(
      .Words(1),
      .WordBits(Outputs * AccBits),
      .Reloadable(1'b1),
      .Weights(Initial)
    ) biases (
      .clk_i(clk_i),
      .bank_i(sum_bank),
      .first_i(1'b1),
      .address_i(1'b0),
      .data_o(initials),
      .we_i(bias_we_i),
      .we_bank_i(~bank_q),
      .we_address_i(1'b0),
      .we_data_i(bias_i)
    );

  end else if (Chain == 1) begin : gen_rom

    logic unused;

    assign unused =
      ^{weights_we_i, weights_address_i, weights_i, bias_we_i, bias_i, weights_swap_i};
    assign bank_q = 1'b0;
    assign initials = Initial;

    l1ml_weights #(
      .Words(Words),
      .WordBits(WordBits),
      .AddressBits(AddressBits),
      .BlockRom(BlockRom),
      .Weights(Weights)
    ) weights (
      .clk_i(clk_i),
      .bank_i(bank_q),
      .first_i(begins),
      .address_i(address_q),
      .data_o(word),
      .we_i(1'b0),
      .we_bank_i(1'b0),
      .we_address_i('0),
      .we_data_i('0)
    );

  end else begin : gen_cascades

    logic unused;

    assign unused = ^{
      weights_we_i, weights_address_i, weights_i, bias_we_i, bias_i, weights_swap_i, bank_q,
      x, triples, w
    };
    assign bank_q = 1'b0;
    assign initials = Initial;
    assign word = '0;

    l1ml_cascades #(
      .Outputs(Outputs),
      .InputBits(InputBits),
      .InputSigned(InputSigned),
      .WeightBits(WeightBits),
      .PerClock(PerClock),
      .Chain(Chain),
      .Words(Words),
      .AddressBits(AddressBits),
      .BlockRom(BlockRom),
      .Stages(MultiplierStages),
      .SumBits(SumBits),
      .Weights(Weights)
    ) cascades (
      .clk_i(clk_i),
      .first_i(begins),
      .address_i(address_q),
      .x_i(slice),
      .sums_o(terms)
    );

  end

  assign slice = inputs_q[PerClock*InputBits-1:0];

  for (genvar k = 0; k < PerClock; k++) begin : gen_triple

    logic [InputBits+1:0] one;

    if (InputSigned) begin : gen_signed
      assign one = (InputBits + 2)'($signed(slice[k*InputBits+:InputBits]));
    end else begin : gen_unsigned
      assign one = {2'b00, slice[k*InputBits+:InputBits]};
    end

    assign slice_triples[k*(InputBits+2)+:InputBits+2] = one + (one << 1);

  end

  if (MultiplierStages > 1) begin : gen_operands_q
    always_ff @(posedge clk_i) begin
      x       <= slice;
      triples <= slice_triples;
      w       <= word;
    end
  end else begin : gen_operands
    assign x       = slice;
    assign triples = slice_triples;
    assign w       = word;
  end

  // The marks of the slice whose sum reaches the accumulators.
  logic add;
  logic add_first;
  logic add_last;
  logic add_fresh;

  if (Depth == 0) begin : gen_now
    assign {add, add_first, add_last, add_fresh} = {active_q, first_q, last_q, fresh_q};
  end else begin : gen_later

    logic [Depth-1:0] add_q;

    if (Depth == 1) begin : gen_one
      always_ff @(posedge clk_i) add_q <= active_q & ~rst_i;
    end else begin : gen_many
      always_ff @(posedge clk_i) add_q <= rst_i ? '0 : {add_q[Depth-2:0], active_q};
    end

    l1ml_delay #(
      .Width(3),
      .Latency(Depth)
    ) marks (
      .clk_i(clk_i),
      .data_i({first_q, last_q, fresh_q}),
      .data_o({add_first, add_last, add_fresh})
    );

    assign add = add_q[Depth-1];

  end

  always_ff @(posedge clk_i) begin
    valid_o <= add & add_last & ~rst_i;
    start_o <= add & add_last & add_fresh & ~rst_i;
  end

  for (genvar o = 0; o < Outputs; o++) begin : gen_output

    logic [SumBits-1:0] sum;
    logic [AccBits-1:0] acc_q;

    for (genvar k = 0; k < PerClock && Chain == 1; k++) begin : gen_term

      logic [TermBits-1:0] term;
      logic unused_bits; // those above the accumulator's

      assign unused_bits = ^term;

      l1ml_multiply #(
        .InputBits(InputBits),
        .InputSigned(InputSigned),
        .WeightBits(WeightBits),
        .Ternary(Ternary),
        .Dsp(Dsp),
        .Stages(ProductStages),
        .TermBits(TermBits)
      ) multiply (
        .clk_i(clk_i),
        .x_i(x[k*InputBits+:InputBits]),
        .triple_i(triples[k*(InputBits+2)+:InputBits+2]),
        .w_i(w[(o*PerClock+k)*WeightBits+:WeightBits]),
        .term_o(term)
      );

      assign terms[(o*Ends+k)*SumBits+:SumBits] = SumBits'($signed(term));

    end

    l1ml_tree #(
      .Terms(Ends),
      .Width(SumBits),
      .Stages(TreeStages)
    ) tree (
      .clk_i(clk_i),
      .data_i(terms[o*Ends*SumBits+:Ends*SumBits]),
      .data_o(sum)
    );

    always_ff @(posedge clk_i) begin
      if (add) begin
        acc_q <= (add_first ? initials[o*AccBits+:AccBits] : acc_q) + AccBits'($signed(sum));
      end
    end

    assign data_o[o*AccBits+:AccBits] = acc_q;

  end

endmodule

`default_nettype wire
