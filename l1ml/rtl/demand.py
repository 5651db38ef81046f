# SPDX-License-Identifier: Apache-2.0
"""Which bits of every wire are read, and where: registers and sums keep no others.

A sum that is only read modulo ``2**n`` is built ``n`` bits wide, and a register behind which only the
upper bits are read holds the upper bits.  Found by printing every expression once and noting what it reads.
"""

from __future__ import annotations

from l1ml.dataflow.op import Constant
from l1ml.dataflow.program import Port
from l1ml.rtl.expressions import MODULAR, expression
from l1ml.rtl.operands import Operand, literal
from l1ml.schedule.pipeline import Pipeline

Bits = tuple[int, int]


class Demand:
    """The bits of a pipelined program that matter, as bit masks.

    Attributes:
        constants: value of every constant wire.
        made: per wire the bits that anything reads, 0 if nothing does.
        held: per (wire, stage) the bits read from the register behind the stage or one further on.
    """

    def __init__(self, pipe: Pipeline) -> None:
        self._pipe, self._flow = pipe, pipe.flow
        self.constants = {w: s.op.value for w, s in pipe.flow.defined() if isinstance(s.op, Constant)}
        self.made = [0] * (len(pipe.flow.inputs) + len(pipe.flow.steps))
        read: dict[tuple[int, int], int] = {}
        for port in pipe.flow.outputs:
            operand = self._operand(port.wire)
            output_bits(port, operand)
            self._note(read, port.wire, pipe.stages, operand)
        for wire, step in reversed(list(pipe.flow.defined())):
            if wire in self.constants or not self.made[wire]:
                continue
            operands = [self._operand(i) for i in step.ins]
            expression(step.op, operands, self.computed(wire)[1])
            for source, operand in zip(step.ins, operands, strict=True):
                self._note(read, source, pipe.stage[wire], operand)
        self.held = self._registers(read)

    def _operand(self, wire: int) -> Operand:
        return Operand("", self._flow.type_of(wire), self.constants.get(wire))

    def _note(self, read: dict[tuple[int, int], int], wire: int, stage: int, operand: Operand) -> None:
        if operand.read:
            read[wire, stage] = read.get((wire, stage), 0) | operand.read
            self.made[wire] |= operand.read

    def computed(self, wire: int) -> Bits:
        """Return (lowest, one above highest) bit of the signal a step drives."""
        first = len(self._flow.inputs)
        if wire < first or not isinstance(self._flow.steps[wire - first].op, MODULAR):
            return 0, self._flow.type_of(wire).width
        return 0, self.made[wire].bit_length()

    def registered(self, wire: int, stage: int) -> Bits:
        """Return (lowest, one above highest) bit of the register of a wire behind a stage; none if nothing is read."""
        mask = self.held.get((wire, stage), 0)
        if not mask:
            return 0, 0
        return (mask & -mask).bit_length() - 1, mask.bit_length()

    def _registers(self, read: dict[tuple[int, int], int]) -> dict[tuple[int, int], int]:
        held: dict[tuple[int, int], int] = {}
        for (wire, stage), mask in read.items():
            for behind in range(self._pipe.stage[wire], stage):
                held[wire, behind] = held.get((wire, behind), 0) | mask
        return dict(sorted(held.items(), key=lambda item: (item[0][1], item[0][0])))

    @property
    def register_bits(self) -> list[int]:
        """Data register bits behind every stage."""
        out = [0] * self._pipe.stages
        for (_, stage), mask in self.held.items():
            out[stage] += mask.bit_count()
        return out


def unread(name: str, declared: Bits, mask: int) -> list[str]:
    """Return the declared bits of a signal that are not in ``mask``, as slices, low ones first."""
    out: list[str] = []
    bit, end = declared
    while bit < end:
        top = bit
        if mask >> bit & 1:
            bit += 1
            continue
        while top + 1 < end and not mask >> (top + 1) & 1:
            top += 1
        whole = (bit, top + 1) == declared == (0, 1)
        out.append(name if whole else f"{name}[{bit}]" if top == bit else f"{name}[{top}:{bit}]")
        bit = top + 1
    return out


def output_bits(port: Port, operand: Operand) -> str:
    """Return the bits of one output element: at least one, zeros appended below."""
    width = max(1, port.type.width)
    bits = operand.bits(0, width - port.zeros)
    return f"{{{bits}, {literal(0, port.zeros)}}}" if port.zeros else bits
