# SPDX-License-Identifier: Apache-2.0
"""Fold proven by induction for small shapes: every valid, start and data bit, in every clock."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from l1ml.plan.fold import FoldEngine

sys.path.insert(0, str(Path(__file__).parent))
from prove import behind, inside, proven, source_of

pytest.importorskip("pyosys")

# The beat is kept as it came, and its inputs are picked out by number; `phase`, `result` and `place` count what the
# engine finds in one address.  `open`: the event goes on; `work`: a slice is taken in this clock.
BOOKS = """
  logic open, work, again, broken;
  logic [3:0] place, phase, result; // of the slice in work, or of the last one
  logic [Inputs*InputBits-1:0] beat;
  logic final_slice, final_beat;
  assign final_slice = place == Slices - 1;
  assign final_beat = phase == Phases - 1 && result == Results - 1;
  assign again = valid_i & ~start_i & open & ~final_beat & (~work | final_slice);
  assign broken = valid_i & ~start_i & open & ~final_beat & work & ~final_slice;
  always_ff @(posedge clk_i) begin
    work <= work & ~final_slice & ~broken;
    place <= place + 4'd1;
    if (broken) open <= 1'b0;
    if (valid_i & start_i) begin
      {open, work, place, phase, result} <= {2'b11, 12'd0};
      beat <= data_i;
    end else if (again) begin
      {open, work, place} <= {2'b11, 4'd0};
      phase <= (phase == Phases - 1) ? 4'd0 : phase + 4'd1;
      result <= (phase == Phases - 1) ? result + 4'd1 : result;
      beat <= data_i;
    end
    if (rst_i) {open, work} <= '0;
  end

  // The products of the slice, by number; the weights of a place in the cascades lie together.
  localparam int unsigned First = PerClock - (Chain - 1) * Ends;
  logic signed [AccBits-1:0] sum;
  logic signed [AccBits-1:0] product [Phases*Slices*PerClock];
  for (genvar p = 0; p < Phases; p++) begin : gen_phase
    for (genvar s = 0; s < Slices; s++) begin : gen_slice
      for (genvar k = 0; k < PerClock; k++) begin : gen_product
        localparam int unsigned Place = (k < First) ? 0 : 1 + (k - First) / Ends;
        localparam int unsigned Base = (Place == 0) ? 0 : First + (Place - 1) * Ends;
        localparam int unsigned Size = (Place == 0) ? First : Ends;
        localparam int unsigned At = Base * Words + (p * Slices + s) * Size + k - Base; // of its weight
        if (s * PerClock + k < KeptInputs) begin : gen_input
          logic signed [AccBits-1:0] x;
          logic signed [WeightBits-1:0] weight;
          assign x = InputSigned ? $signed(beat[Kept[(s*PerClock+k)*16+:16]*InputBits+:InputBits]) :
              $signed({1'b0, beat[Kept[(s*PerClock+k)*16+:16]*InputBits+:InputBits]});
          assign weight = $signed(Weights[At*WeightBits+:WeightBits]);
          assign product[(p*Slices+s)*PerClock+k] = (Ternary && weight == -1) ? ~x : x * weight;
        end else begin : gen_zero
          assign product[(p*Slices+s)*PerClock+k] = '0;
        end
      end
    end
  end
  always_comb begin
    sum = '0;
    for (int p = 0; p < Phases; p++)
      for (int s = 0; s < Slices; s++)
        for (int k = 0; k < PerClock; k++)
          if (phase == p && place == s) sum = sum + product[(p*Slices+s)*PerClock+k];
  end

  // They and what they are go through as many registers.
  logic [Depth:0] work_at, first_at, last_at, fresh_at;
  logic signed [AccBits-1:0] sum_at [Depth+1];
  assign work_at[0] = work;
  assign first_at[0] = phase == 0 && place == 0;
  assign last_at[0] = phase == Phases - 1 && final_slice;
  assign fresh_at[0] = result == 0;
  assign sum_at[0] = sum;
  for (genvar k = 1; k <= Depth; k++) begin : gen_at
    always_ff @(posedge clk_i) begin
      work_at[k] <= work_at[k-1] & ~rst_i;
      {first_at[k], last_at[k], fresh_at[k]} <= {first_at[k-1], last_at[k-1], fresh_at[k-1]};
      sum_at[k] <= sum_at[k-1];
    end
  end
  logic begun, done, done_fresh; // begun: a result has been, since reset
  logic signed [AccBits-1:0] total;
  always_ff @(posedge clk_i) begin
    if (work_at[Depth]) begin
      total <= (first_at[Depth] ? $signed(Initial) : total) + sum_at[Depth];
      begun <= begun | first_at[Depth];
    end
    if (rst_i) begun <= 1'b0;
    done <= work_at[Depth] & last_at[Depth] & ~rst_i;
    done_fresh <= work_at[Depth] & last_at[Depth] & fresh_at[Depth] & ~rst_i;
  end

  logic begins_before;
  logic [7:0] count; // beats behind the last accepted
  logic [7:0] at; // word in front
  assign count = (Phases * Results - 1) - (result * Phases + phase);
  assign at = phase * Slices + place;
  always_comb begin
    begins_before = begun;
    for (int k = Depth; k > 0; k--) begin
      assert (!work_at[k] || first_at[k] || begins_before);
      begins_before = begins_before | (work_at[k] & first_at[k]);
    end
    assert (!work || first_at[0] || begins_before);
    assert (!open || work || begins_before);
    assert (!open || (phase < Phases && result < Results));
    assert (!work || (open && place < Slices));
    assert (left_q == (open ? count : 0));
    assert (open_q == (left_q != 0));
    assert (active_q == work);
    assert (more_q == (work && !final_slice));
    assert (!work || after_q == Slices - 1 - place);
    assert (!work || (first_q == first_at[0] && last_q == last_at[0] && fresh_q == fresh_at[0]));
    assert (!work || address_q == (at == Words - 1 ? 0 : at + 1));
    assert (!open || work || fresh_q == (result == 0 && phase != Phases - 1));
    assert (!open || work || address_q == (phase == Phases - 1 ? 0 : (phase + 1) * Slices));
    assert (!(open | work) || (zero_q == (address_q == 0) && wrap_q == (address_q == Words - 1)));
    for (int p = 0; p < Phases; p++)
      for (int s = 0; s < Slices; s++)
        assert (!work || Chain > 1 || phase != p || place != s || word == Weights[(p*Slices+s)*WordBits+:WordBits]);
    for (int s = 0; s < Slices; s++)
      for (int k = s * PerClock; k < KeptInputs; k++)
        assert (!work || place != s || inputs_q[(k-s*PerClock)*InputBits+:InputBits] ==
                beat[Kept[k*16+:16]*InputBits+:InputBits]);
    for (int s = 0; s < Slices; s++)
      for (int k = KeptInputs; k < Slices * PerClock; k++)
        assert (!work || place != s || inputs_q[(k-s*PerClock)*InputBits+:InputBits] == 0);
    assert (valid_o == done);
    assert (start_o == done_fresh);
    assert (!begun || data_o == total);
    assert (!done || begun);
  end
"""

# Two banks of weights, which begin alike: an event has those that were there when it began.
BANKS = """
  logic [Words*WordBits-1:0] mine, banks [2];
  logic now, asked; // bank in use; the other is wanted
  initial for (int b = 0; b < 2; b++) banks[b] = Weights;
  assign mine = now ? banks[1] : banks[0];
  always_ff @(posedge clk_i) begin
    for (int b = 0; b < 2; b++)
      for (int k = 0; k < Words; k++)
        if (weights_we_i && now != b && weights_address_i == k) banks[b][k*WordBits+:WordBits] <= weights_i;
    if (valid_i & start_i & asked) now <= ~now;
    asked <= weights_swap_i | (asked & ~(valid_i & start_i));
    if (rst_i) {now, asked} <= 2'b00;
  end
  always_comb begin
    assume (!weights_we_i || !(asked | rst_i));
    assert (bank_q == now);
    assert (gen_banks.swap_q == asked);
    for (int b = 0; b < 2; b++)
      for (int k = 0; k < Words; k++)
        assert (flat[((b << AddressBits)+k)*WordBits+:WordBits] == banks[b][k*WordBits+:WordBits]);
    assume (!bias_we_i); // biases stay as they were
    for (int b = 0; b < 2; b++) assert (flat_bias[2*b*Outputs*AccBits+:Outputs*AccBits] == Initial);
    assert (initials == Initial);
  end
"""
# The memory as one vector, which the properties can see.
FLAT = {
    "l1ml_fold": (
        (
            "  logic bank_q; // of the weights\n",
            "  logic [2*(1<<AddressBits)*WordBits-1:0] flat;\n  logic [4*Outputs*AccBits-1:0] flat_bias;\n",
        ),
        ("      .we_i(weights_we_i),\n", "      .flat_o(flat),\n"),
        ("      .we_i(bias_we_i),\n", "      .flat_o(flat_bias),\n"),
    ),
    "l1ml_weights": (
        (
            "  output logic      [WordBits-1:0]    data_o,\n",
            "  output logic [2*(1<<AddressBits)*WordBits-1:0] flat_o,\n",
        ),
        (
            '(* ram_style = "distributed" *) logic [WordBits-1:0] words[2*Bank];\n',
            "      for (genvar k = 0; k < 2 * Bank; k++) assign flat_o[k*WordBits+:WordBits] = words[k];\n",
        ),
    ),
}


def engine(
    shape: tuple[int, int], per_clock: int, registers: tuple[int, int], *, high: int = 3, **more: Any
) -> FoldEngine:
    weights = np.random.default_rng(4).integers(-high - (high > 1), high + 1, (*shape, 1))
    weights[0] = np.where(np.arange(shape[1]) % 2, high, -high - (high > 1))[:, None]
    weights[:, more.pop("dead", [])] = 0
    signed = bool(per_clock % 2)
    spare = 2 if more.get("reloadable") else 1
    return FoldEngine(
        weights, 2, signed, high.bit_length() + 1, FoldEngine.least_acc_bits(weights, 2, signed) + spare, per_clock,
        multiplier_stages=registers[0], tree_stages=registers[1], **more,
    )  # fmt: skip


ENGINES = (
    engine((1, 1), 1, (0, 0)),
    engine((1, 3), 1, (0, 0), results=2),
    engine((2, 3), 2, (1, 1), results=2),
    engine((3, 2), 1, (2, 0), dead=[1], results=2),
    engine((2, 3), 3, (1, 0), high=1),
    engine((3, 3), 1, (1, 0)),
    engine((2, 4), 2, (1, 0), style="dsp", chain=2, results=2),
    engine((1, 5), 3, (1, 1), style="dsp", chain=2, results=2),
    engine((2, 3), 3, (2, 0), style="dsp", chain=3, high=2),
    engine((2, 2), 2, (3, 0)),
)
RELOADED = (
    engine((1, 1), 1, (0, 0), results=2, reloadable=True),
    engine((2, 2), 1, (1, 0), reloadable=True),
)
RELOAD_MUTANTS = (
    ("bank_q ^ (begins & swap_q)", "bank_q ^ swap_q"),
    (
        ".we_bank_i(~bank_q),\n      .we_address_i(weights_address_i)",
        ".we_bank_i(bank_q),\n      .we_address_i(weights_address_i)",
    ),
    ("(swap_q & ~begins)", "swap_q"),
    (".bank_i(bank)", ".bank_i(bank_q)"),
)
MUTANTS = (
    ("SliceBits'(Slices - 1) :", "SliceBits'(Slices - 2) :"),
    ("LeftBits'(Beats - 1);", "LeftBits'(Beats - 2);"),
    ("open_q <= left_q != LeftBits'(1);", "open_q <= left_q != '0;"),
    ("step & (after_q != SliceBits'(1))", "step & (after_q != '0)"),
    ("begins ? AddressBits'(Words != 1) : wrap_q", "wrap_q"),
    ("begins ? Words <= 2 : wrap_q", "wrap_q"),
    ("    end else if (early) begin\n      left_q <= '0;\n      open_q <= 1'b0;\n", ""),
    ("take | (more_q & ~early)", "take | more_q"),
    ("valid_i & open_q & ~more_q", "valid_i & ~more_q"),
    ("else if (active_q & last_q) fresh_q <= 1'b0;", ""),
    ("add_q <= rst_i ? '0 : {", "add_q <= {"),
    ("inputs_q >> (PerClock * InputBits)", "inputs_q >> InputBits"),
)


CHAIN_MUTANTS = (
    ("gen_place[j-1].address", "address_i"),
    ("first   <= gen_place[j-1].first", "first   <= first_i"),
    (".Latency(j)", ".Latency(1)"),
)
FOLD = "l1ml_fold"
CELLS = tuple(f"l1ml_{name}" for name in ("delay", "tree", "multiply", "cascade", "cascades", "weights"))


def prove(folder: Path, one: FoldEngine, mutation: tuple[str, str] | None = None, of: str = FOLD) -> bool:
    texts = {name: source_of(name, mutation if name == of else None) for name in (*CELLS, FOLD)}
    books = BANKS + BOOKS.replace("Weights[", "mine[") if one.reloadable else BOOKS
    texts[FOLD] = inside(texts[FOLD], books)
    if one.reloadable:
        texts |= {module: behind(texts[module], pieces) for module, pieces in FLAT.items()}
    given = {**one.parameters(), **one.literals()}
    parameters = ", ".join(f".{key}({value})" for key, value in given.items())
    words = one.phases * one.slices
    ports = {
        "weights_we_i": 1, "weights_address_i": max(1, (words - 1).bit_length()),
        "weights_i": one.n_out * one.per_clock * one.weight_bits, "weights_swap_i": 1, "bias_we_i": 1,
        "bias_i": one.n_out * one.acc_bits,
    }  # fmt: skip
    more = "".join(f", input wire logic [{bits - 1}:0] {port}" for port, bits in ports.items())
    tied = "".join(f", .{port}({value})" for port, value in one.ties().items())
    texts["prove"] = (
        "module prove (input wire logic clk_i, rst_i, valid_i, start_i,"
        f" input wire logic [{one.n_in * one.input_bits - 1}:0] data_i{more if one.reloadable else ''});\n"
        f"  {one.MODULE} #({parameters}) engine (.*, .valid_o(), .start_o(), .data_o()"
        f"{'' if one.reloadable else tied});\nendmodule\n"
    )
    return proven(folder, texts, "prove", clocks=14 if mutation else 6, bounded=mutation is not None)


@pytest.mark.parametrize("one", ENGINES, ids=range(len(ENGINES)))
def test_every_clock(one: FoldEngine, tmp_path: Path) -> None:
    assert prove(tmp_path, one)


@pytest.mark.parametrize("mutation", MUTANTS, ids=range(len(MUTANTS)))
def test_a_mutant_is_refuted(mutation: tuple[str, str], tmp_path: Path) -> None:
    assert not prove(tmp_path, ENGINES[2], mutation)


@pytest.mark.parametrize("mutation", CHAIN_MUTANTS, ids=range(len(CHAIN_MUTANTS)))
def test_a_mutant_of_the_cascade_is_refuted(mutation: tuple[str, str], tmp_path: Path) -> None:
    assert not prove(tmp_path, ENGINES[8], mutation, "l1ml_cascades")


@pytest.mark.parametrize("one", RELOADED, ids=range(len(RELOADED)))
def test_every_clock_while_weights_are_written(one: FoldEngine, tmp_path: Path) -> None:
    assert prove(tmp_path, one)


@pytest.mark.parametrize("mutation", RELOAD_MUTANTS, ids=range(len(RELOAD_MUTANTS)))
def test_a_mutant_of_the_banks_is_refuted(mutation: tuple[str, str], tmp_path: Path) -> None:
    assert not prove(tmp_path, RELOADED[1], mutation)
