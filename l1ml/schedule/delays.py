# SPDX-License-Identifier: Apache-2.0
"""How long each operation takes on a device family, and how many LUTs deep it is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import singledispatch

from l1ml.dataflow.op import (
    AtLeast,
    Bitwise,
    Clip,
    Compare,
    Increment,
    Lookup,
    Multiply,
    Negate,
    NonZero,
    Op,
    RoundUp,
    Select,
    ShiftAdd,
)
from l1ml.dataflow.tables import columns
from l1ml.schedule.delay import Family
from l1ml.types.fixed import Rounding
from l1ml.types.intrange import IntType

_LUT_INPUTS = 6


@singledispatch
def op_ns(op: Op, ins: Sequence[IntType], out: IntType, family: Family) -> float:
    """Return the delay of one operation in ns, the net in front of it included; wiring alone takes none."""
    return 0.0


@op_ns.register
def _add(op: ShiftAdd, ins: Sequence[IntType], out: IntType, family: Family) -> float:
    return family.add_ns(adder_bits(op, ins, out))


@op_ns.register
def _negate(op: Negate, ins: Sequence[IntType], out: IntType, family: Family) -> float:
    return family.add_ns(out.width)


@op_ns.register
def _round_up(op: RoundUp, ins: Sequence[IntType], out: IntType, family: Family) -> float:
    if op.rounding is Rounding.RND:
        return 0.0  # the highest dropped bit itself
    return family.reduce_ns(min(op.drop, ins[0].width) + 1)


@op_ns.register
def _increment(op: Increment, ins: Sequence[IntType], out: IntType, family: Family) -> float:
    return family.add_ns(out.width)


@op_ns.register
def _clip(op: Clip, ins: Sequence[IntType], out: IntType, family: Family) -> float:
    outside = ins[0].width - out.width
    if outside < _LUT_INPUTS:
        return family.mux_ns  # overflow bits and the bit itself in one LUT
    return family.reduce_ns(outside) + family.mux_ns


@op_ns.register
def _at_least(op: AtLeast, ins: Sequence[IntType], out: IntType, family: Family) -> float:
    return family.compare_ns(ins[0].width)


@op_ns.register
def _multiply(op: Multiply, ins: Sequence[IntType], out: IntType, family: Family) -> float:
    wide, narrow = sorted((a.width for a in ins), reverse=True)
    blocks = op.blocks(*ins)
    if blocks:
        return family.multiply_ns + math.ceil(math.log2(blocks)) * family.add_ns(out.width)
    row = family.mux_ns if narrow < 2 else family.add_ns(out.width)
    return row + family.fanout_ns(wide)  # every bit of the narrow operand masks the wide one


@op_ns.register
def _compare(op: Compare, ins: Sequence[IntType], out: IntType, family: Family) -> float:
    a, b = ins
    return family.compare_ns(max(a.width + max(-op.shift, 0), b.width + max(op.shift, 0)))


@op_ns.register
def _select(op: Select, ins: Sequence[IntType], out: IntType, family: Family) -> float:
    return family.mux_ns + family.fanout_ns(-(-out.width // 2))  # two bits share a LUT with two outputs


@op_ns.register
def _lookup(op: Lookup, ins: Sequence[IntType], out: IntType, family: Family) -> float:
    bits = columns(op, ins[0], out.width)
    inputs = max((len(bit.inputs) for bit in bits), default=0)
    if inputs < 2:
        return 0.0  # wires, perhaps inverted
    return family.lut_ns_for(inputs) + family.fanout_ns(sum(bit.luts for bit in bits))


@op_ns.register
def _bitwise(op: Bitwise, ins: Sequence[IntType], out: IntType, family: Family) -> float:
    return 0.0 if op.joins(ins) else family.reduce_ns(sum(a.lo != a.hi for a in ins))


@op_ns.register
def _nonzero(op: NonZero, ins: Sequence[IntType], out: IntType, family: Family) -> float:
    return family.reduce_ns(ins[0].width)


def adder_bits(op: ShiftAdd, ins: Sequence[IntType], out: IntType) -> int:
    """Return the bits of the carry chain: low bits that only one operand has pass by it."""
    a = ins[0]
    if op.negate_a:
        return out.width
    if not op.negate_b and not a.signed and a.width <= op.shift:
        return 0  # the operands do not overlap: wires only
    return max(0, out.width - op.shift)
