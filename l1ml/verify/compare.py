# SPDX-License-Identifier: Apache-2.0
"""The emulator's layers against a framework's: equal, snapped to the grid, uncertain in float32, or different.

A value is *snapped* when the framework's float32 lies within its own rounding errors of the exact result: the sum of
a wide layer, or x + (-x + q) of QKeras for a large x.  It is *uncertain* when these errors could have led a
quantizer to the framework's code; events that hold such a value are set aside for the layers behind, since the
framework goes on with another number.  All other values that are not equal are different, and fail.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from l1ml.graph import primitives
from l1ml.graph.program import TensorProgram
from l1ml.types.arrays import BoolArray, IntArray, RealArray
from l1ml.verify.slack import bounds


@dataclass(frozen=True)
class Difference:
    """The first value of a layer that differs.

    Args:
        layer: name.
        event: number in the sample.
        index: position in the tensor.
        expected: the framework's value.
        found: the emulator's.
        lsb: step of the element's type.
    """

    layer: str
    event: int
    index: tuple[int, ...]
    expected: float
    found: float
    lsb: float

    def __str__(self) -> str:
        steps = (self.found - self.expected) / self.lsb
        return (
            f"layer {self.layer!r}, event {self.event}, element {list(self.index)}: the framework gives "
            f"{self.expected!r}, the emulator {self.found!r}, {steps:+g} LSB"
        )


@dataclass
class LayerResult:
    """One layer, over all events so far.

    Args:
        name: of the layer.
        values: compared.
        snapped: within float32's rounding errors of the exact value.
        uncertain: codes that float32's errors before a quantizer explain.
        different: all others that are not equal.
        first: the first of these.
    """

    name: str
    values: int = 0
    snapped: int = 0
    uncertain: int = 0
    different: int = 0
    first: Difference | None = None


@dataclass
class Comparison:
    """All layers, in the order of the network.

    Args:
        outputs: names under which the outputs of the network are compared.
        layers: what was compared.
        missing: layers of the network that the framework does not show, with the reason.
        events: compared.
        set_aside: events in which float32 decided otherwise somewhere.
    """

    outputs: tuple[str, ...] = ()
    layers: dict[str, LayerResult] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    events: int = 0
    set_aside: int = 0

    @property
    def values(self) -> int:
        """Number of values compared."""
        return sum(layer.values for layer in self.layers.values())

    @property
    def different(self) -> int:
        """Number of values that differ."""
        return sum(layer.different for layer in self.layers.values())

    @property
    def first(self) -> Difference | None:
        """The first difference: of the first layer that has one."""
        return next((layer.first for layer in self.layers.values() if layer.first is not None), None)

    @property
    def passed(self) -> bool:
        """All outputs were compared, at least in some events, and nothing differs."""
        return self.events > 0 and self.different == 0 and not self.not_shown

    @property
    def not_shown(self) -> list[str]:
        """Outputs of which no value was compared."""
        return [name for name in self.outputs if name not in self.layers or not self.layers[name].values]


class Comparator:
    """Compares a program with a framework, block by block.

    Args:
        program: the typed network.
    """

    def __init__(self, program: TensorProgram) -> None:
        self.program = program
        self._slack = bounds(program)
        self._steps = dict(program.numbered())
        named = {tensor: name for name, tensor in program.marks}
        outputs = tuple((named.get(tensor, name), tensor) for name, tensor in program.outputs)
        self._marks = tuple(dict.fromkeys((*program.marks, *outputs)))
        self.result = Comparison(tuple(name for name, _ in outputs))

    def add(self, inputs: list[IntArray], expected: Mapping[str, np.ndarray]) -> None:
        """Compare a block of events.

        Args:
            inputs: codes of the inputs.
            expected: the framework's layers by name.
        """
        marks = [(name, tensor) for name, tensor in self._marks if name in expected]
        needed = {tensor for _, tensor in marks} | {s for _, t in marks for s in self._source(t)}
        held = {t: codes for t, codes in self.program.walk(inputs) if t in needed}
        events = len(inputs[0])
        aside = np.zeros(events, dtype=bool)
        for name, _ in self._marks:
            if name not in expected:
                self.result.missing.setdefault(name, "the framework has no layer of this name")
        for name, tensor in marks:
            given = [expected[key] for key in (name, f"{name} [codes]") if key in expected]
            wanted = self._shaped(name, tensor, given, held[tensor])
            if wanted is not None:
                aside |= self._layer(name, tensor, held, wanted, aside)
        self.result.events += events
        self.result.set_aside += int(aside.sum())

    def _source(self, tensor: int) -> tuple[int, ...]:
        step = self._steps.get(tensor)
        return step.sources if step is not None and isinstance(step.op, primitives.Requantize) else ()

    def _shaped(
        self, name: str, tensor: int, given: Sequence[np.ndarray], codes: IntArray
    ) -> RealArray | None:
        """Return the framework's values in the unit, the shape and the order of axes of the emulator's."""
        forms: list[RealArray] = []
        for values in (array.astype(np.float64) for array in given if array.size == codes.size):
            forms.append(values.reshape(codes.shape))
            if values.ndim > 2:  # channels first there, last here
                forms.append(np.moveaxis(values, 1, -1).reshape(codes.shape))
        if not forms:
            shape = self.program.type_of(tensor).shape
            self.result.missing.setdefault(name, f"shape {given[0].shape[1:]} there, {shape} here")
            return None
        real = self._real(tensor, codes)
        return min(forms, key=lambda form: int((form != real).sum()))

    def _real(self, tensor: int, codes: IntArray) -> RealArray:
        return np.ldexp(codes.astype(np.float64), -self.program.type_of(tensor).frac)

    def _layer(
        self, name: str, tensor: int, held: Mapping[int, IntArray], wanted: RealArray, aside: BoolArray
    ) -> BoolArray:
        """Compare one layer; return the events in which float32 decided otherwise."""
        result = self.result.layers.setdefault(name, LayerResult(name))
        kind = self.program.type_of(tensor)
        found = self._real(tensor, held[tensor])
        lsb = np.ldexp(1.0, -kind.frac)
        use = ~aside
        unequal = (found != wanted) & use.reshape(-1, *(1,) * (found.ndim - 1))
        result.values += int(use.sum()) * kind.size
        if not unequal.any():
            return np.zeros(len(found), dtype=bool)
        near = np.abs(found - wanted) <= self._slack[tensor]
        if self._source(tensor):
            near |= np.abs(found - wanted) < lsb / 2  # x + (-x + q) of QKeras, off the grid by a little
        snapped = unequal & near
        rest = unequal & ~near
        uncertain = rest & self._explained(tensor, held, wanted) if rest.any() else rest
        different = rest & ~uncertain
        result.snapped += int(snapped.sum())
        result.uncertain += int(uncertain.sum())
        result.different += int(different.sum())
        if different.any() and result.first is None:
            at = tuple(int(i) for i in np.argwhere(different)[0])
            step = float(np.broadcast_to(lsb, kind.shape)[at[1:]])
            result.first = Difference(
                name, self.result.events + at[0], at[1:], float(wanted[at]), float(found[at]), step
            )
        return np.asarray(uncertain.reshape(len(found), -1).any(axis=1))

    def _explained(self, tensor: int, held: Mapping[int, IntArray], wanted: RealArray) -> BoolArray:
        """Tell where float32's errors before a quantizer lead to the framework's value."""
        source = self._source(tensor)
        if not source:
            return np.zeros(wanted.shape, dtype=bool)
        step = self._steps[tensor]
        assert isinstance(step.op, primitives.Requantize)
        kind, out = self.program.type_of(source[0]), self.program.type_of(tensor)
        x = self._real(source[0], held[source[0]])
        slack = self._slack[source[0]]
        ends = [np.floor(np.ldexp(x - slack, kind.frac)), np.ceil(np.ldexp(x + slack, kind.frac))]
        low, high = (self._real(tensor, step.op.emulate([end.astype(np.int64)], [kind])) for end in ends)
        ulp = np.spacing(np.maximum(np.abs(x) + slack, 2.0**-100).astype(np.float32)).astype(np.float64)
        margin = np.where(np.ldexp(ulp, out.frac) >= 1, ulp, 0.0)  # x + (-x + q) for a large x
        return np.asarray((wanted >= low - margin) & (wanted <= high + margin))


def to_dict(result: Comparison) -> dict[str, Any]:
    """Return plain data for JSON."""
    first = result.first
    return {
        "passed": result.passed,
        "events": result.events,
        "values": result.values,
        "set_aside": result.set_aside,
        "layers": [
            {
                "name": layer.name, "values": layer.values, "snapped": layer.snapped, "uncertain": layer.uncertain,
                "different": layer.different, "first": None if layer.first is None else _plain(layer.first),
            }
            for layer in result.layers.values()
        ],
        "missing": result.missing,
        "outputs_not_compared": result.not_shown,
        "first": None if first is None else {**_plain(first), "text": str(first)},
    }  # fmt: skip


def _plain(difference: Difference) -> dict[str, Any]:
    return {
        "layer": difference.layer, "event": difference.event, "index": list(difference.index),
        "expected": difference.expected, "found": difference.found, "lsb": difference.lsb,
    }  # fmt: skip
