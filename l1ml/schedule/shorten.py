# SPDX-License-Identifier: Apache-2.0
"""Takes apart what alone is longer than a clock: products into rows of adders, tables into smaller ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from l1ml.dataflow import logic
from l1ml.dataflow.build import Builder, Element
from l1ml.dataflow.op import ROW_BITS, Floor, Lookup, Multiply, Wrap
from l1ml.dataflow.program import Dataflow, Port, Step, remove_dead_steps
from l1ml.lowering import multiply
from l1ml.types.intrange import IntType

SMALL_TABLE = 8
"""Input bits of a table that is not cut any more: four LUTs and the slice's own multiplexers."""


def can_shorten(flow: Dataflow, step: Step) -> bool:
    """Tell whether an operation has a form of several shorter ones."""
    kinds = [flow.type_of(i) for i in step.ins]
    if isinstance(step.op, Multiply):
        return min(kind.width for kind in kinds) > ROW_BITS
    return isinstance(step.op, Lookup) and kinds[0].width > SMALL_TABLE


def shorten(flow: Dataflow, long: Sequence[int]) -> Dataflow:
    """Return the same program with each operation in ``long`` taken apart.

    Args:
        flow: the program.
        long: wires whose operation `can_shorten`.
    """
    build = Builder(flow.inputs, layers=list(flow.layers))
    made = list(range(len(flow.inputs)))
    chosen = frozenset(long)
    for wire, step in flow.defined():
        ins = tuple(made[i] for i in step.ins)
        ends = (step.type.lo, step.type.hi)
        if wire not in chosen:
            made.append(build.add(step.op, ins, step.layer, step.type.frac, ends))
            continue
        kind = IntType(*ends)
        if isinstance(step.op, Lookup):
            element = _halves(build, ins[0], step.op, step.layer)
        else:
            element = multiply.rows(build, *_wide_first(build, ins), step.layer)
        made.append(_exactly(build, element, kind, step.layer))

    def moved(port: Port) -> Port:
        return replace(port, wire=made[port.wire] if port.wire >= 0 else -1)

    out = Dataflow(
        inputs=flow.inputs,
        steps=tuple(build.tightened()),
        outputs=tuple(moved(port) for port in flow.outputs),
        layers=flow.layers,
        marks=tuple((layer, tuple(moved(port) for port in ports)) for layer, ports in flow.marks),
    )
    out = remove_dead_steps(out)
    out.verify()
    return out


def _wide_first(build: Builder, ins: tuple[int, ...]) -> tuple[int, int]:
    a, b = ins
    return (a, b) if build.type_of(a).width >= build.type_of(b).width else (b, a)


def _exactly(build: Builder, element: Element, kind: IntType, layer: int) -> int:
    """Return the wire of an element whose binary point must be 0."""
    element = build.within(build.positive(element, layer), kind, layer)
    if element.frac and not build.is_zero(element.wire):
        return build.add(Floor(element.frac), (element.wire,), layer, 0, (kind.lo, kind.hi))
    return element.wire


def _halves(build: Builder, wire: int, op: Lookup, layer: int) -> Element:
    """Return a table as a choice between two, for both values of the top input bit."""
    kind = build.type_of(wire)
    top = kind.width - 1
    upper = logic.bit(build, Element(wire, 0), top, layer)
    low = build.add(Wrap(top, signed=False), (wire,), layer, 0)
    size = 1 << top
    parts = []
    for bit in (1, 0):
        first = (-size if kind.signed else size) if bit else 0
        codes = (min(max(first + n, kind.lo), kind.hi) for n in range(size))
        table = [op.table[code - op.first] for code in codes]
        parts.append(logic.lookup(build, Element(low, 0), 0, table, 0, layer))
    return logic.select(build, upper, parts[0], parts[1], layer)
