# SPDX-License-Identifier: Apache-2.0
"""LUTs and flip-flops before synthesis: a count over the operations of a pipeline, in milliseconds.

Every operation has a rule for its LUTs (`lut_estimate`); flip-flops are the registers the printer makes.

Measured against Yosys 0.70 (xcup, abc) at 360.71 MHz: jets q6_pruned75 +0.2 % LUT, jets q6 -0.8 %,
qkeras_3layer -0.8 %; 1.6 to 1.9 % too many FF, since Yosys merges registers that hold the same.  LUTs are
cells; physical sites were 3.0 to 4.5 % fewer.  Tables, choices and products: within 25 % one by one
(``docs/timing.md``).  Against Vivado it is not measured.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import singledispatch
from typing import Any

from l1ml.dataflow.op import (
    AtLeast,
    Bitwise,
    Clip,
    Compare,
    Constant,
    Lookup,
    Multiply,
    NonZero,
    Op,
    RoundUp,
    Select,
    ShiftAdd,
)
from l1ml.dataflow.program import Dataflow
from l1ml.dataflow.tables import LUT_INPUTS, columns, compare_luts, tree_luts
from l1ml.rtl.demand import Demand
from l1ml.schedule.pipeline import Pipeline
from l1ml.types.fixed import Rounding
from l1ml.types.intrange import IntType

METHOD = "model"
ERROR_NOTE = "of the core, without its link; docs/timing.md sets such numbers beside Yosys"


@singledispatch
def lut_estimate(op: Op, ins: Sequence[IntType], out: IntType, width: int) -> int:
    """Return the LUTs of one operation.

    Args:
        op: the operation; what is only wiring costs nothing.
        ins: ranges of its operands.
        out: range of its result.
        width: low bits of the result that are read; the others are not built.
    """
    return 0


@lut_estimate.register
def _add(op: ShiftAdd, ins: Sequence[IntType], out: IntType, width: int) -> int:
    a, b = ins
    ends = sorted([(a.width, a.signed), (b.width + op.shift, b.signed)])
    (short, sign_extended), (long, _) = ends
    # A carry cell takes a bit without a LUT where the other operand has no bit; above both
    # operands the sign's LUT is there already.
    paired = min(long if sign_extended else short, width) - op.shift
    return max(0, paired)


@lut_estimate.register
def _round_up(op: RoundUp, ins: Sequence[IntType], out: IntType, width: int) -> int:
    if op.rounding is Rounding.RND:
        return 0
    return tree_luts(min(op.drop, ins[0].width) + 1)


@lut_estimate.register
def _clip(op: Clip, ins: Sequence[IntType], out: IntType, width: int) -> int:
    (a,) = ins
    outside = max(0, a.width - out.width)
    if (
        op.lo == 0 and a.hi <= op.hi
    ):  # a mask by the sign: about half of it ends in the LUTs of an adder behind
        return -(-min(out.width, width) // 2)
    conditions = (
        tree_luts(outside + 1) * ((a.hi > op.hi) + (a.lo < op.lo)) if outside >= LUT_INPUTS - 1 else 0
    )
    return min(out.width, width) + conditions


@lut_estimate.register
def _at_least(op: AtLeast, ins: Sequence[IntType], out: IntType, width: int) -> int:
    return compare_luts(ins[0].width, op.threshold)


@lut_estimate.register
def _compare(op: Compare, ins: Sequence[IntType], out: IntType, width: int) -> int:
    a, b = ins
    bits = max(a.width + max(-op.shift, 0), b.width + max(op.shift, 0))
    if 2 * bits <= LUT_INPUTS:
        return 1
    if bits <= 10 or op.shift:
        return bits + 1
    return -(-bits // 2) + 2  # a carry chain does two bits per LUT


@lut_estimate.register
def _select(op: Select, ins: Sequence[IntType], out: IntType, width: int) -> int:
    _, a, b = ins
    high = max(a.width + op.zeros_a, b.width + op.zeros_b)
    return sum(
        _constant_bit(a, bit - op.zeros_a) is None or _constant_bit(b, bit - op.zeros_b) is None
        for bit in range(min(width, high))
    )


def _constant_bit(kind: IntType, bit: int) -> int | None:
    """Return a bit of a wire that is always the same, else None."""
    if bit < 0:
        return 0
    return kind.lo >> bit & 1 if kind.lo == kind.hi else 0 if bit >= kind.width and not kind.signed else None


@lut_estimate.register
def _multiply(op: Multiply, ins: Sequence[IntType], out: IntType, width: int) -> int:
    wide, narrow = sorted((a.width for a in ins), reverse=True)
    return 0 if op.blocks(*ins) else min(wide, width) * narrow


@lut_estimate.register
def _lookup(op: Lookup, ins: Sequence[IntType], out: IntType, width: int) -> int:
    made = {(bit.inputs, bit.truth): bit for bit in columns(op, ins[0], width)}
    return sum(bit.luts for bit in made.values())


@lut_estimate.register
def _bitwise(op: Bitwise, ins: Sequence[IntType], out: IntType, width: int) -> int:
    if op.joins(ins):
        return 0
    spans = [
        (shift, shift + a.width, a.signed) for a, shift in zip(ins, op.shifts, strict=True) if a.lo != a.hi
    ]
    top = max((high for _, high, _ in spans), default=0)  # above, the sign's LUT is there already
    return sum(
        tree_luts(sum(low <= bit and (bit < high or signed) for low, high, signed in spans))
        for bit in range(min(width, top))
    )


@lut_estimate.register
def _nonzero(op: NonZero, ins: Sequence[IntType], out: IntType, width: int) -> int:
    return tree_luts(ins[0].width)


def dsp_estimate(op: Op, ins: Sequence[IntType]) -> int:
    """Return the DSP blocks of one operation: of a product of two operands of three bits and more."""
    return op.blocks(*ins) if isinstance(op, Multiply) else 0


def of_dataflow(flow: Dataflow) -> dict[str, Any]:
    """Return ``lut`` and ``method`` of a program before it is cut into stages: what its nets depend on."""
    total = dsp = 0
    for step in flow.steps:
        if not isinstance(step.op, Constant):
            ins = [flow.type_of(i) for i in step.ins]
            total += lut_estimate(step.op, ins, step.type, step.type.width)
            dsp += dsp_estimate(step.op, ins)
    return {"lut": total, "dsp": dsp, "method": METHOD}


def of_pipeline(pipe: Pipeline) -> tuple[list[int], dict[str, Any]]:
    """Return the LUTs of every layer of ``pipe.flow.layers`` and the resources of the whole core.

    Flip-flops are those of the data and one valid bit per stage.
    """
    flow, demand = pipe.flow, Demand(pipe)
    layers = [0] * len(flow.layers)
    dsp = 0
    for wire, step in flow.defined():
        if demand.made[wire] and wire not in demand.constants:
            low, high = demand.computed(wire)
            # Each bit has a LUT of its own, and those that nobody reads are not built.
            width = demand.made[wire].bit_count() if isinstance(step.op, Clip | Select) else high - low
            ins = [flow.type_of(i) for i in step.ins]
            layers[step.layer] += lut_estimate(step.op, ins, step.type, width)
            dsp += dsp_estimate(step.op, ins)
    registers = sum(demand.register_bits) + pipe.stages
    return layers, {"lut": sum(layers), "ff": registers, "dsp": dsp, "bram": 0, "method": METHOD}
