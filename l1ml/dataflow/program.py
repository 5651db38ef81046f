# SPDX-License-Identifier: Apache-2.0
"""A combinational integer program: inputs, steps, outputs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from l1ml.dataflow.op import Constant, Op
from l1ml.types.arrays import IntArray
from l1ml.types.intrange import IntType


@dataclass(frozen=True)
class Step:
    """Wire made by ``op`` from earlier wires.

    Args:
        op: the operation.
        ins: wires it reads.
        type: proven range; a part of ``op.infer(...)``, often smaller, since the linear form behind a
            wire says more than its two operands.
        layer: index of the layer it belongs to, in `Dataflow.layers`.
    """

    op: Op
    ins: tuple[int, ...]
    type: IntType
    layer: int


@dataclass(frozen=True)
class Port:
    """An observable element: ``±wire * 2**zeros + offset``, on the grid and range of ``type``.

    Outputs have neither sign nor offset; layers inside may, where the next layer takes care of them.
    """

    wire: int
    zeros: int
    type: IntType
    negated: bool = False
    offset: int = 0

    def code(self, value: IntArray) -> IntArray:
        """Return the element's code for values of the wire."""
        moved = value << self.zeros
        return np.asarray((-moved if self.negated else moved) + self.offset)


@dataclass(frozen=True)
class Dataflow:
    """Wires 0..len(inputs)-1 are the inputs; step ``k`` makes wire ``len(inputs) + k``.

    Args:
        inputs: range of every input wire.
        steps: in order.
        outputs: the output elements.
        layers: names of the layers.
        marks: for every layer whose values can be observed, (layer index, its elements).
    """

    inputs: tuple[IntType, ...]
    steps: tuple[Step, ...]
    outputs: tuple[Port, ...]
    layers: tuple[str, ...]
    marks: tuple[tuple[int, tuple[Port, ...]], ...] = ()

    def defined(self) -> Iterator[tuple[int, Step]]:
        """Yield (wire, step)."""
        return enumerate(self.steps, start=len(self.inputs))

    def type_of(self, wire: int) -> IntType:
        """Return the range of a wire."""
        first = len(self.inputs)
        return self.inputs[wire] if wire < first else self.steps[wire - first].type

    def verify(self) -> None:
        """Check the rules every pass relies on."""
        for wire, step in self.defined():
            assert all(0 <= i < wire for i in step.ins), f"step {wire} reads a later wire: {step.ins}"
            full = step.op.infer(*(self.type_of(i) for i in step.ins))
            assert full.lo <= step.type.lo <= step.type.hi <= full.hi, (
                f"wire {wire}: {step.type} outside {full}"
            )
            assert 0 <= step.layer < len(self.layers)
            assert isinstance(step.op, Constant) or step.type.lo < step.type.hi, f"wire {wire} is a constant"
        wires = len(self.inputs) + len(self.steps)
        for port in self.outputs:
            assert 0 <= port.wire < wires
            assert not port.negated
            assert port.offset == 0
            kind = self.type_of(port.wire)
            assert port.type.lo <= kind.lo << port.zeros <= kind.hi << port.zeros <= port.type.hi, (
                "output range"
            )

    def emulate(self, inputs: Sequence[IntArray]) -> list[IntArray]:
        """Return the values of all wires, one step at a time: checks the lowering alone, slow.

        Args:
            inputs: one array (events,) per input wire.
        """
        wires = list(inputs)
        for wire, step in self.defined():
            value = step.op.emulate(*(wires[i] for i in step.ins))
            low, high = int(value.min(initial=step.type.lo)), int(value.max(initial=step.type.hi))
            assert step.type.lo <= low <= high <= step.type.hi, f"wire {wire} leaves its range"
            wires.append(value)
        return wires

    def read(self, wires: Sequence[IntArray], ports: Sequence[Port]) -> IntArray:
        """Return the codes of ports, (events, ports), from the values of all wires."""
        columns = np.broadcast_arrays(wires[0], *(p.code(wires[p.wire]) for p in ports))[1:]
        return np.stack(columns, axis=-1)

    def __str__(self) -> str:
        lines = [f"%{wire} = input {kind}" for wire, kind in enumerate(self.inputs)]
        for wire, step in self.defined():
            reads = ", ".join(f"%{i}" for i in step.ins)
            lines.append(f"%{wire} = {step.op}({reads}) : {step.type}  ; {self.layers[step.layer]}")
        return "\n".join([*lines, "outputs " + ", ".join(f"%{o.wire}<<{o.zeros}" for o in self.outputs)])


def live_wires(flow: Dataflow) -> set[int]:
    """Return the wires that outputs depend on."""
    live = {port.wire for port in flow.outputs}
    for wire, step in reversed(list(flow.defined())):
        if wire in live:
            live.update(step.ins)
    return live


def remove_dead_steps(flow: Dataflow) -> Dataflow:
    """Drop every step no output depends on.  Inputs stay: they are ports of the block."""
    live = live_wires(flow)
    first = len(flow.inputs)
    kept = [wire for wire in range(first + len(flow.steps)) if wire < first or wire in live]
    new = {old: position for position, old in enumerate(kept)}
    steps = tuple(
        replace(step, ins=tuple(new[i] for i in step.ins)) for wire, step in flow.defined() if wire in live
    )

    def moved(port: Port) -> Port:
        # What no output depends on has no wire any more (-1): hardware cannot show it.
        return replace(port, wire=new.get(port.wire, -1))

    return replace(
        flow,
        steps=steps,
        outputs=tuple(moved(port) for port in flow.outputs),
        marks=tuple((layer, tuple(moved(port) for port in ports)) for layer, ports in flow.marks),
    )
