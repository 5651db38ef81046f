# SPDX-License-Identifier: Apache-2.0
"""The rules of the quick estimate, operation by operation."""

from __future__ import annotations

import numpy as np
import pytest

from l1ml.dataflow.op import (
    AtLeast,
    Bitwise,
    Clip,
    Compare,
    Constant,
    Floor,
    Lookup,
    Multiply,
    Negate,
    NonZero,
    Not,
    RoundUp,
    Select,
    ShiftAdd,
)
from l1ml.dataflow.tables import lut_count
from l1ml.schedule.delay import family_of
from l1ml.schedule.delays import op_ns
from l1ml.synth.estimate import dsp_estimate, lut_estimate
from l1ml.synth.result import Resources, SynthesisResult
from l1ml.types.fixed import Rounding
from l1ml.types.intrange import IntType

S8, U8, S4, BIT = IntType(-128, 127), IntType(0, 255), IntType(-8, 7), IntType(0, 1)
S12, U18, S27 = IntType(-2048, 2047), IntType(0, (1 << 18) - 1), IntType(-(1 << 26), (1 << 26) - 1)
RANDOM = tuple(np.random.default_rng(0).integers(-8, 8, 256).tolist())

FAMILY = family_of("xcvu13p")


def luts(op, *ins: IntType) -> int:
    out = op.infer(*ins)
    return lut_estimate(op, ins, out, out.width)


@pytest.mark.parametrize(
    ("op", "ins", "expected"),
    [
        (ShiftAdd(0), (S8, S8), 8),  # the ninth bit's LUT is that of the eighth
        (ShiftAdd(0), (U8, U8), 8),  # the carry out needs none
        (ShiftAdd(3), (S8, S8), 8),  # three bits pass by, three are sign against value
        (ShiftAdd(3), (U8, U8), 5),  # a's missing bits are zeros: the carry cell takes b's directly
        (ShiftAdd(8), (U8, U8), 0),  # no overlap: wires
        (ShiftAdd(0), (S8, S4), 8),
        (Floor(2), (S8,), 0),
        (Constant(5), (), 0),
        (RoundUp(3, Rounding.RND), (S8,), 0),
        (RoundUp(3, Rounding.RND_CONV), (S8,), 1),
        (Clip(0, 15), (S8,), 4),
        (Negate(), (S8,), 0),  # inverters in front of a carry chain
        (Multiply(), (S8, BIT), 8),  # a mask
        (Multiply(), (S8, IntType(0, 3)), 16),  # two masked rows; one of them is in the adder's LUTs
        (Multiply(), (S8, S4), 0),  # DSP blocks
        (Compare(), (IntType(0, 7), IntType(0, 7)), 1),
        (Compare(), (S8, S8), 9),
        (Compare(), (S12, S12), 8),  # on a carry chain
        (Select(), (BIT, S8, S8), 8),
        (Select(0, 2), (BIT, S8, S4), 8),
        (Select(3), (BIT, U8, Constant(0).infer()), 8),  # zeros below need no LUT
        (AtLeast(0), (S8,), 0),  # the sign
        (AtLeast(32), (S8,), 1),  # three bits count
        (AtLeast(3), (S12,), 3),
        (Lookup(-128, RANDOM), (S8,), 16),  # four LUTs for each of four bits
        (Lookup(-128, tuple(n & -4 for n in RANDOM)), (S8,), 8),
        (Lookup(-8, tuple(n & 1 for n in range(16))), (S4,), 0),  # a wire
        (Lookup(-128, tuple(int(n > 5) for n in range(-128, 128))), (S8,), 1),
        (Bitwise("or", (0, 1, 2)), (BIT, BIT, BIT), 0),  # side by side
        (Bitwise("xor", (0,) * 6), (BIT,) * 6, 1),
        (Bitwise("xor", (0,) * 7), (BIT,) * 7, 2),
        (Bitwise("and"), (U8, IntType(0, 15)), 4),
        (Not(), (S8,), 0),
        (NonZero(), (S8,), 2),
    ],
)
def test_rules(op, ins, expected):
    assert luts(op, *ins) == expected


@pytest.mark.parametrize(
    ("ins", "blocks"),
    [((S8, S8), 1), ((S27, S8), 1), ((S27, U18), 2), ((U18, U18), 2), ((S8, IntType(0, 3)), 0)],
)
def test_dsp_blocks(ins, blocks):
    assert dsp_estimate(Multiply(), ins) == blocks
    assert (op_ns(Multiply(), ins, Multiply().infer(*ins), FAMILY) >= FAMILY.multiply_ns) == bool(blocks)


def test_a_table_is_counted_by_its_parts():
    rng = np.random.default_rng(1)
    random = int.from_bytes(rng.bytes(512), "little")
    assert lut_count(random & ((1 << 64) - 1), 6) == 1
    assert lut_count(random & ((1 << 256) - 1), 8) == 4
    assert lut_count(random & ((1 << 1024) - 1), 10) == 17
    assert lut_count(random, 12) == 69
    quarter = random & ((1 << 256) - 1)
    inverted = quarter ^ ((1 << 256) - 1)
    assert lut_count(quarter | inverted << 256 | quarter << 512, 10) == 5  # built once, and a multiplexer


def test_unread_top_bits_are_not_built():
    op = ShiftAdd(0)
    assert lut_estimate(op, [S8, S8], op.infer(S8, S8), 5) == 5


def test_resources_add_up():
    assert Resources(1, 2, 3, 4) + Resources(10, 20, 30, 40) == Resources(11, 22, 33, 44)


def test_synthesis_result_survives_json():
    result = SynthesisResult(
        top="t", lut=1, sites=2, ff=3, dsp=4, bram=5, carry4=6, depth=7, seconds=8.0, digest="d", tool="y"
    )
    assert SynthesisResult.from_dict(result.to_dict()) == result
    assert result.resources == Resources(1, 3, 4, 5)
