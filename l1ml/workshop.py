# SPDX-License-Identifier: Apache-2.0
"""Pipelines the bodies of a streamed network, with nets as long as the whole design has them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import numpy as np

from l1ml.config import ProjectConfig
from l1ml.dataflow.program import Dataflow
from l1ml.graph.primitives.move import Concat, Move
from l1ml.graph.program import TensorProgram
from l1ml.lowering.lower import lower
from l1ml.plan.cost import Resources
from l1ml.plan.paths import late_ns
from l1ml.schedule.delay import family_of
from l1ml.schedule.pipeline import pipeline
from l1ml.synth import estimate


class _Wires:
    """A body that computes nothing: no register, no LUT."""

    stages = 0


WIRES = _Wires()


class Workshop:
    """Pipelines bodies, each only once.

    Args:
        config: part and clock.
    """

    def __init__(self, config: ProjectConfig) -> None:
        self.config = config
        self.luts = 0
        """Of the design, for the length of its nets; those of a body alone where it has more."""
        self._flows: dict[str, Dataflow] = {}
        self._made: dict[tuple[str, int, float], Any] = {}
        self._resources: dict[int, Resources] = {}

    def measure(self, program: TensorProgram, ahead: Sequence[object] = ()) -> Any:
        """Return the pipeline of a body.

        Args:
            program: what it computes.
            ahead: engines whose outputs it reads, with no register between.
        """
        if all(isinstance(step.op, Move | Concat) for step in program.steps):
            return WIRES
        digest = fingerprint(program)
        late = max((late_ns(one, family_of(self.config.part, self.luts)) for one in ahead), default=0.0)
        key = digest, self.luts, late
        if key not in self._made:
            if digest not in self._flows:
                self._flows[digest] = lower(program)
            flow = self._flows[digest]
            luts = max(self.luts, int(estimate.of_dataflow(flow)["lut"]))
            pipe = pipeline(flow, family_of(self.config.part, luts), self.config.clock_mhz, late_ns=late)
            self._made[key] = pipe
            found = estimate.of_pipeline(pipe)[1]
            self._resources[id(pipe)] = Resources(found["lut"], found["ff"], found["dsp"], found["bram"])
        return self._made[key]

    def resources(self, pipe: object) -> Resources:
        """Return what a pipelined body takes."""
        return self._resources.get(id(pipe), Resources())


def fingerprint(program: TensorProgram) -> str:
    """Return a digest of a body: types, primitives and constants."""
    state = hashlib.sha256()
    for port in program.inputs:
        for array in (port.type.lo, port.type.hi, port.type.frac):
            state.update(repr(array.shape).encode() + np.ascontiguousarray(array).tobytes())
    for step in program.steps:
        state.update(f"{type(step.op).__name__}{step.sources}".encode())
        for field in fields(step.op):
            value = getattr(step.op, field.name)
            if isinstance(value, np.ndarray):
                state.update(repr(value.shape).encode() + np.ascontiguousarray(value).tobytes())
            else:
                state.update(repr(value).encode())
    state.update(repr([tensor for _, tensor in program.outputs]).encode())
    return state.hexdigest()
