# SPDX-License-Identifier: Apache-2.0
"""One verification: events through the framework and through the emulator, compared layer by layer."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from l1ml.errors import ConfigError
from l1ml.graph.program import TensorProgram
from l1ml.types.arrays import IntArray
from l1ml.verify import child
from l1ml.verify.compare import Comparator, Comparison, to_dict
from l1ml.verify.stimuli import Coverage

SCHEMA = "l1ml-verify/1"
CHUNK_BYTES = 1 << 29
COMPARED_AT_ONCE = 64


@dataclass(frozen=True)
class Subject:
    """What is verified.

    Args:
        model: the model file.
        weights: its weights, where the model is architecture only.
        framework: the framework that runs it; None finds out.
        python: interpreter with that framework; None is this one.
    """

    model: Path
    weights: Path | None = None
    framework: str | None = None
    python: str | os.PathLike[str] | None = None


@dataclass(frozen=True, eq=False)
class Verification:
    """The result.

    Args:
        framework: what ran.
        versions: of it.
        digest: of the network.
        comparison: layer by layer.
        coverage: boundaries shown, where the events were generated for them.
    """

    framework: str
    versions: Mapping[str, str]
    digest: str
    comparison: Comparison
    coverage: Coverage | None = None

    @property
    def passed(self) -> bool:
        """All outputs were compared, and nothing differs."""
        return self.comparison.passed

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        totals = {} if self.coverage is None else self.coverage.totals()
        return {
            "schema": SCHEMA,
            "framework": self.framework,
            "versions": dict(self.versions),
            "digest": self.digest,
            **to_dict(self.comparison),
            "boundaries": {kind: {"shown": hit, "possible": of} for kind, (hit, of) in totals.items()},
        }

    def __str__(self) -> str:
        found = self.comparison
        with_what = ", ".join(f"{name} {version}" for name, version in self.versions.items())
        lines = [
            f"{'PASS' if self.passed else 'FAIL'}: {found.events:,} events, {found.values:,} values, {with_what}"
        ]
        if self.coverage is not None:
            shown = (f"{kind} {hit:,} of {of:,}" for kind, (hit, of) in self.coverage.totals().items())
            lines.append(f"  boundaries shown: {'; '.join(shown)}")
        names = max((len(name) for name in found.layers), default=0)
        for layer in found.layers.values():
            notes = [f"{layer.different:,} differ"] if layer.different else ["equal"]
            notes += [f"{layer.snapped:,} snapped to the grid"] if layer.snapped else []
            notes += [f"{layer.uncertain:,} uncertain in float32"] if layer.uncertain else []
            lines.append(f"  {layer.name.ljust(names)}  {layer.values:>12,} values  {', '.join(notes)}")
        if found.missing:
            lines.append(f"  not compared: {', '.join(found.missing)}")
        if found.set_aside:
            lines.append(f"  {found.set_aside:,} events set aside behind values that float32 does not decide")
        if found.first is not None:
            lines.append(f"  first difference: {found.first}")
        if found.not_shown:
            lines.append(f"  outputs that were not compared in any event: {', '.join(found.not_shown)}")
        return "\n".join(lines)


def verify(
    program: TensorProgram, inputs: Sequence[IntArray], subject: Subject, coverage: Coverage | None = None
) -> Verification:
    """Run events through the framework, and compare every layer that both have.

    Args:
        program: the typed network.
        inputs: codes of the inputs, (events, *shape).
        subject: the model file and its framework.
        coverage: what the events cover, for the report.

    Raises:
        ToolError: the framework is missing, or cannot run the model.
        ConfigError: there are no events.
    """
    events = len(inputs[0])
    if not events:
        raise ConfigError("there are no events to verify with", where=("events",))
    framework = child.framework_of(subject.model, subject.framework)
    elements = sum(step.type.size for step in program.steps) + sum(port.type.size for port in program.inputs)
    chunk = max(1, CHUNK_BYTES // (8 * elements))
    comparator = Comparator(program)
    versions: Mapping[str, str] = {}
    for first in range(0, events, chunk):
        part = [codes[first : first + chunk] for codes in inputs]
        real = [
            np.ldexp(codes.astype(np.float64), -port.type.frac)
            for codes, port in zip(part, program.inputs, strict=True)
        ]
        answer = child.run(framework, subject.model, subject.weights, real, python=subject.python)
        versions = answer.versions
        layers = _with_outputs(program, answer)
        for low in range(0, len(part[0]), COMPARED_AT_ONCE):
            block = slice(low, low + COMPARED_AT_ONCE)
            comparator.add([codes[block] for codes in part], {name: v[block] for name, v in layers.items()})
    return Verification(framework, versions, program.digest, comparator.result, coverage)


def _with_outputs(program: TensorProgram, answer: child.Answer) -> dict[str, np.ndarray]:
    """Return the framework's layers, its outputs under the names that the network gives them."""
    layers = {name: values for name, values in answer.layers.items() if values.ndim}
    marked = {tensor: name for name, tensor in program.marks}
    if len(answer.outputs) == len(program.outputs):
        for (name, tensor), values in zip(program.outputs, answer.outputs, strict=True):
            mark = marked.get(tensor, name)
            if mark not in layers and values[0].size == program.type_of(tensor).size and not _softmax(values):
                layers[mark] = values
    return layers


def _softmax(values: np.ndarray) -> bool:
    """Tell whether an output has been through the softmax that a block leaves out."""
    return (
        values.shape[-1] > 1
        and bool((values >= 0).all())
        and bool(np.allclose(values.sum(axis=-1), 1, atol=1e-4))
    )
