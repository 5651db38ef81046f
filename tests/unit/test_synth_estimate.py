# SPDX-License-Identifier: Apache-2.0
"""The rules of the quick estimate, operation by operation."""

from __future__ import annotations

import pytest

from l1ml.dataflow.op import Clip, Constant, Floor, Negate, RoundUp, ShiftAdd
from l1ml.synth.estimate import lut_estimate
from l1ml.synth.result import Resources, SynthesisResult
from l1ml.types.fixed import Rounding
from l1ml.types.intrange import IntType

S8, U8, S4 = IntType(-128, 127), IntType(0, 255), IntType(-8, 7)


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
    ],
)
def test_rules(op, ins, expected):
    assert luts(op, *ins) == expected


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
