# SPDX-License-Identifier: Apache-2.0
"""HGQ2's recurrent layers, unrolled over their time steps: QSimpleRNN, QGRU.

Source:
    ``hgq/layers/rnn/simple_rnn.py`` and ``gru.py``: what goes through which quantizer is said there alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from l1ml.frontends.common import UnsupportedError
from l1ml.frontends.hgq2.parts import Parts, arguments
from l1ml.graph.functions import Offset, Scale
from l1ml.graph.model import Concat, Constant, Dense, Merge, Reshape, Take
from l1ml.types.arrays import RealArray

MAX_STEPS = 256
CELL = "cell"


@dataclass(frozen=True)
class _Cell:
    """What all steps of a layer share: quantized constants, and the layer they are for."""

    parts: Parts
    units: int
    kernel: RealArray
    recurrent: RealArray
    bias: RealArray | None

    def typed(self, part: str, source: str, which: str) -> str:
        """Append one of the quantizers of the cell."""
        return self.parts.quantize(part, source, f"{CELL}/{which}", self.parts.options.raw(f"{which}_conf"))

    def dense(self, part: str, source: str, kernel: RealArray, bias: RealArray | None) -> str:
        """Append a product with constants."""
        return self.parts.add(
            Dense(self.parts.name(part), (source,), kernel, bias, quantizers=tuple(self.parts.texts))
        )

    def merge(self, part: str, kind: str, *sources: str) -> str:
        """Append a sum or product of tensors."""
        return self.parts.add(Merge(self.parts.name(part), sources, kind))

    def cut(self, part: str, source: str, start: int, stop: int) -> str:
        """Append a slice of a vector."""
        return self.parts.add(Take(self.parts.name(part), (source,), np.arange(start, stop), "Slice"))


Step = Callable[[_Cell, str, str, str], str]
"""Appends one time step: (cell, its name, input, state before) -> state behind."""


def recurrent(gates: int, step: Step, reset_after: bool = False) -> Callable[[Parts], str]:
    """Return what a recurrent layer is made of.

    Args:
        gates: columns of the kernel per unit.
        step: one time step.
        reset_after: the layer has the option of that name, with a second bias.
    """

    def body(parts: Parts) -> str:
        arguments(parts.step)
        options, source = parts.options, parts.step.input
        shape = parts.shape(source)
        for key in ("return_state", "stateful", "enable_oq"):
            if options.flag(key, False):
                raise UnsupportedError(f"option {key}")
        if len(shape) != 2 or shape[0] > MAX_STEPS:
            raise UnsupportedError(
                f"an input of {shape}; (time, features) with up to {MAX_STEPS} steps are supported"
            )
        units = options.integer("units")
        two = reset_after and options.flag("reset_after", True)
        wide = gates * units
        biased = [("bias", (2, wide) if two else (wide,))] if options.flag("use_bias", True) else []
        raw = parts.weights(CELL, ("kernel", (shape[1], wide)), ("recurrent_kernel", (units, wide)), *biased)
        kernel = parts.constant(f"{CELL}/kq", options.raw("kq_conf"), raw["kernel"], "kernel")
        matrix = parts.constant(f"{CELL}/rkq", options.raw("rkq_conf"), raw["recurrent_kernel"])
        bias = parts.constant(f"{CELL}/bq", options.raw("bq_conf"), raw["bias"], "bias") if biased else None
        cell = _Cell(parts, units, kernel, matrix, bias)
        if options.flag("enable_iq", True):
            source = cell.typed("iq", source, "iq")
        state = parts.add(Constant(parts.name("start"), (), np.zeros(units)))
        states = []
        order = range(shape[0])[:: -1 if options.flag("go_backwards", False) else 1]
        for time in order:
            x = cell.cut(f"t{time}.x", source, time * shape[1], (time + 1) * shape[1])
            state = step(cell, f"t{time}.", x, state)
            states.append(state)
        if not options.flag("return_sequences", False):
            return state
        rows = [
            parts.add(Reshape(parts.name(f"{s.rsplit('.', 2)[-2]}.row"), (s,), (1, units))) for s in states
        ]
        return parts.add(Concat(parts.name("sequence"), tuple(rows), 0)) if len(rows) > 1 else rows[0]

    return body


def simple_rnn(cell: _Cell, t: str, x: str, state: str) -> str:
    """QSimpleRNN: the sum of both products is quantized, then activated; that is the next state."""
    if cell.parts.options.flag("enable_sq", False):
        state = cell.typed(f"{t}sq", state, "sq")
    elif cell.parts.stored(f"{CELL}/sq"):
        raise UnsupportedError(
            "a state quantizer, which HGQ2 0.2 forgets at loading; train it with enable_sq=False"
        )
    own = cell.dense(f"{t}own", x, cell.kernel, cell.bias)
    total = cell.merge(f"{t}sum", "add", own, cell.dense(f"{t}past", state, cell.recurrent, None))
    total = cell.typed(f"{t}paq", total, "paq")
    return cell.parts.activate(total, part=f"{t}state")


def gru(cell: _Cell, t: str, x: str, state: str) -> str:
    """QGRU: gates z and r, candidate, and their mixture."""
    parts, u = cell.parts, cell.units
    after = parts.options.flag("reset_after", True)
    first, second = cell.bias, None
    if cell.bias is not None and after:
        first, second = cell.bias[0], cell.bias[1]
    h = cell.typed(f"{t}sq", state, "sq")
    own = cell.dense(f"{t}own", x, cell.kernel, first)
    columns = 3 * u if after else 2 * u
    past = cell.dense(f"{t}past", h, cell.recurrent[:, :columns], second)
    first_two = cell.cut(f"{t}own.zr", own, 0, 2 * u), cell.cut(f"{t}past.zr", past, 0, 2 * u)
    gates = parts.activate(
        cell.merge(f"{t}gates", "add", *first_two), "recurrent_activation", f"{t}gates.activation"
    )
    gates = cell.typed(f"{t}praq", gates, "praq")
    z, r = cell.cut(f"{t}z", gates, 0, u), cell.cut(f"{t}r", gates, u, 2 * u)
    if after:
        inside = cell.typed(f"{t}rhq", cell.cut(f"{t}past.h", past, 2 * u, 3 * u), "rhq")
        inside = cell.merge(f"{t}inside", "mul", r, inside)
    else:
        inside = cell.typed(f"{t}rhq", cell.merge(f"{t}reset", "mul", r, h), "rhq")
        inside = cell.dense(f"{t}inside", inside, cell.recurrent[:, 2 * u :], None)
    new = cell.merge(f"{t}sum", "add", cell.cut(f"{t}own.h", own, 2 * u, 3 * u), inside)
    new = cell.typed(f"{t}paq", parts.activate(new, part=f"{t}sum.activation"), "paq")
    rest = parts.map(
        f"{t}rest", z, Scale(np.asarray(-1, np.float32)), Offset(np.asarray(1, np.float32)), text="1 - z"
    )
    return cell.merge(
        f"{t}state", "add", cell.merge(f"{t}kept", "mul", z, h), cell.merge(f"{t}taken", "mul", rest, new)
    )
