# SPDX-License-Identifier: Apache-2.0
"""What engines are made of, alone: every input times every weight; trees of every size and depth."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from l1ml import assets
from l1ml.cosim.build import Wire
from l1ml.cosim.harness import build
from l1ml.cosim.lint import lint

pytestmark = pytest.mark.sim

X_BITS, W_BITS, TERMS, TERM_BITS = 4, 6, 9, 5
PRODUCTS = [
    (input_bits, signed, weight_bits, dsp)
    for input_bits, signed, weight_bits, dsp in itertools.product(
        (1, 3, X_BITS), (0, 1), (2, 3, 5, W_BITS), (0, 1)
    )
]
TERNARY = list(itertools.product((1, X_BITS), (0, 1)))
TREES = [
    (terms, kind, signed, stages)
    for terms, kind, signed in itertools.product((1, 2, 3, 5, 8, TERMS), (0, 1, 2), (0, 1))
    for stages in range((terms - 1).bit_length() + 1)
    if kind or not signed
]


def two_complement(codes: np.ndarray, bits: int) -> np.ndarray:
    sign = 1 << (bits - 1)
    return ((codes & (2 * sign - 1)) ^ sign) - sign


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """Every (x, weight) and words of random terms, and what each cell made of them."""
    folder = tmp_path_factory.mktemp("cells")
    body, outs = [], []
    for n, (input_bits, signed, weight_bits, dsp) in enumerate(PRODUCTS):
        x = f"x_i[{input_bits - 1}:0]"
        wide = f"{input_bits + 2}'({'$signed' if signed else ''}({x}))"
        body.append(
            f"l1ml_multiply #(.InputBits({input_bits}), .InputSigned({signed}), .WeightBits({weight_bits}),"
            f" .Dsp({dsp}), .TermBits({input_bits + weight_bits})) m{n} (.clk_i, .x_i({x}),"
            f" .triple_i({input_bits + 2}'({wide} + ({wide} << 1))), .w_i(w_i[{weight_bits - 1}:0]),"
            f" .term_o(p{n}));"
        )
        outs.append(Wire(f"p{n}", input_bits + weight_bits))
    for n, (input_bits, signed) in enumerate(TERNARY):
        bits = input_bits + 1 - signed
        body.append(
            f"l1ml_multiply #(.InputBits({input_bits}), .InputSigned({signed}), .Ternary(1), .TermBits({bits}),"
            f" .Stages(1)) n{n} (.clk_i, .x_i(x_i[{input_bits - 1}:0]), .triple_i('0), .w_i(w_i[1:0]),"
            f" .term_o(q{n}));"
        )
        outs.append(Wire(f"q{n}", bits))
    for n, (terms, kind, signed, stages) in enumerate(TREES):
        body.append(
            f"l1ml_tree #(.Terms({terms}), .Width({TERM_BITS}), .Kind({kind}), .Signed({signed}),"
            f" .Stages({stages})) t{n} (.clk_i, .data_i(terms_i[{terms * TERM_BITS - 1}:0]), .data_o(r{n}));"
        )
        outs.append(Wire(f"r{n}", TERM_BITS))
    ins = [Wire("x_i", X_BITS), Wire("w_i", W_BITS), Wire("terms_i", TERMS * TERM_BITS)]
    ports = ["input wire logic clk_i", "input wire logic rst_i"]
    ports += [f"input wire logic [{wire.width - 1}:0] {wire.name}" for wire in ins]
    ports += [f"output logic [{wire.width - 1}:0] {wire.name}" for wire in outs]
    top = folder / "cells.sv"
    body.append("logic unused; assign unused = rst_i;")
    top.write_text("\n".join([f"module cells ({', '.join(ports)});", *body, "endmodule", ""]))
    sources = [assets.path("firmware", "rtl", "sv", f"l1ml_{name}.sv") for name in ("multiply", "tree")]
    lint([*sources, top], "cells", folder / "lint.log")
    harness = build([*sources, top], "cells", ins, outs, folder / "cache", fast="-O0")
    rng = np.random.default_rng(1)
    x, w = (grid.ravel() for grid in np.meshgrid(np.arange(1 << X_BITS), np.arange(1 << W_BITS)))
    terms = rng.integers(0, 1 << (TERMS * TERM_BITS), len(x))
    inputs = np.stack([x, w, terms], axis=1)
    out = harness.run(inputs.astype(np.uint64)).astype(np.int64)
    return inputs[:, :2], terms, {wire.name: out[:, harness.column(wire.name)][:, 0] for wire in outs}


def test_every_input_times_every_weight(
    outputs: tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]],
) -> None:
    inputs, _, found = outputs
    for n, (input_bits, signed, weight_bits, _) in enumerate(PRODUCTS):
        x = inputs[:, 0] & ((1 << input_bits) - 1)
        wanted = (two_complement(x, input_bits) if signed else x) * two_complement(inputs[:, 1], weight_bits)
        made = two_complement(found[f"p{n}"], input_bits + weight_bits)
        np.testing.assert_array_equal(made, wanted, err_msg=str(PRODUCTS[n]))


def test_ternary_weights_choose(outputs: tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]) -> None:
    inputs, _, found = outputs
    for n, (input_bits, signed) in enumerate(TERNARY):
        x = inputs[:, 0] & ((1 << input_bits) - 1)
        x = two_complement(x, input_bits) if signed else x
        w = two_complement(inputs[:, 1], 2)
        wanted = np.where(w == 1, x, np.where(w == -1, ~x, 0))
        made = two_complement(found[f"q{n}"], input_bits + 1 - signed)
        used = w[:-1] != -2  # no ternary weight; the register delays by one
        np.testing.assert_array_equal(made[1:][used], wanted[:-1][used], err_msg=str(TERNARY[n]))


def test_trees_combine_all_their_terms(
    outputs: tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]],
) -> None:
    _, words, found = outputs
    for n, (terms, kind, signed, stages) in enumerate(TREES):
        codes = words[:, None] >> (TERM_BITS * np.arange(terms)) & ((1 << TERM_BITS) - 1)
        codes = two_complement(codes, TERM_BITS) if signed else codes
        wanted = (np.sum, np.max, np.min)[kind](codes, axis=1) & ((1 << TERM_BITS) - 1)
        made = found[f"r{n}"][stages:]
        np.testing.assert_array_equal(made, wanted[: len(made)], err_msg=str(TREES[n]))
        if stages and terms > 1:  # and not a clock earlier
            assert (found[f"r{n}"][stages - 1 : -1] != wanted[: len(made)]).any()
