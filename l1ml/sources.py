# SPDX-License-Identifier: Apache-2.0
"""Where the events of an action come from: a file or arrays, brought to the names of a network's ports."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from l1ml.errors import DataError
from l1ml.events.hdf5 import EventFile, open_events
from l1ml.events.sample import EventSample, consecutive
from l1ml.types.fixed import Overflow, Rounding

if TYPE_CHECKING:
    from l1ml.project import Project

EVENTS_PER_CHUNK = 50_000
LOGITS = "logits"
"""Golden dataset of a file that knows one output only."""


def is_file(events: Any) -> bool:
    """Tell whether events are given as a path."""
    return isinstance(events, str | os.PathLike)


def open_for(project: Project, path: Path, golden: str | None = None) -> EventFile:
    """Open an event file with the types and the TMUX of a project.

    Raises:
        DataError: not an event file, or an input of the network is missing.
    """
    types = {
        port.name: port.quantizer.type
        for port in project.program.inputs
        if (port.quantizer.rounding, port.quantizer.overflow) == (Rounding.TRN, Overflow.WRAP)
    }
    # An input whose type rounds and saturates takes any real value: the emulator converts it.
    free = [port.name for port in project.program.inputs if port.name not in types]
    tmux = int(project.manifest["target"]["tmux"])
    options = {} if golden is None else {"golden": golden}
    return open_events(path, types={} if free else types, step_bx=tmux, **options)


def samples(project: Project, events: Any) -> Iterator[EventSample]:
    """Yield events in chunks, with inputs and golden outputs under the names of the network's ports.

    Args:
        project: whose network it is.
        events: path of an event file, or what `Project.predict` takes.

    Raises:
        DataError: the file or an array does not fit the network; files name the dataset.
    """
    if not is_file(events):
        arrays = dict(
            zip(
                (p.name for p in project.program.inputs), map(np.asarray, project.arrays(events)), strict=True
            )
        )
        count = len(next(iter(arrays.values())))
        bx, orbit = consecutive(count, step_bx=int(project.manifest["target"]["tmux"]))
        yield EventSample(inputs=arrays, bx=bx, orbit=orbit)
        return
    with open_for(project, Path(events)) as file:
        golden = _golden_names(project, file)
        for sample in file.chunks(EVENTS_PER_CHUNK):
            inputs = _inputs(project, sample.inputs, Path(events))
            _refuse_probabilities(project, sample, golden, Path(events))
            yield replace(
                sample, inputs=inputs, golden={new: sample.golden[old] for old, new in golden.items()}
            )


def count(events: Any, most: int | None) -> int | None:
    """Return how many events will come, for a progress bar; None where only reading tells."""
    if not is_file(events):
        return None
    with open_events(Path(events)) as file:
        return len(file) if most is None else min(len(file), most)


def first(chunks: Iterator[EventSample], events: int) -> EventSample:
    """Return the first events of a source.

    Raises:
        DataError: there are none.
    """
    for sample in chunks:
        keep = slice(0, min(events, len(sample)))
        return EventSample(
            inputs={name: values[keep] for name, values in sample.inputs.items()},
            bx=sample.bx[keep],
            orbit=sample.orbit[keep],
            golden={name: values[keep] for name, values in sample.golden.items()},
            label=None if sample.label is None else sample.label[keep],
            first=sample.first,
        )
    raise DataError("there are no events", fix="give a file or an array with at least one event")


def _inputs(project: Project, given: Mapping[str, Any], path: Path) -> dict[str, Any]:
    ports = project.program.inputs
    if len(ports) == len(given) == 1:
        return {ports[0].name: next(iter(given.values()))}
    lost = [port.name for port in ports if port.name not in given]
    if lost:
        raise DataError(
            f"the network reads {', '.join(lost)}; the file has {', '.join(sorted(given)) or 'no inputs'}",
            where=(str(path), "inputs"),
            fix=f"store it as inputs/{lost[0]}",
        )
    return {port.name: given[port.name] for port in ports}


def _refuse_probabilities(
    project: Project, sample: EventSample, golden: Mapping[str, str], path: Path
) -> None:
    """Refuse golden answers from behind a softmax that the block leaves out."""
    kinds = {name: project.program.type_of(tensor) for name, tensor in project.program.outputs}
    left_out = {port["name"] for port in project.manifest["outputs"] if port.get("softmax")}
    for stored, output in golden.items():
        values = np.asarray(sample.golden[stored], dtype=np.float64)
        if output not in left_out or not values.size or values.ndim < 2:
            continue
        frac = kinds[output].frac
        on_grid = values.shape[1:] == frac.shape and bool((np.ldexp(values, frac) % 1 == 0).all())
        if not on_grid and (values >= 0).all() and np.allclose(values.sum(axis=-1), 1.0, atol=1e-3):
            raise DataError(
                f"these are probabilities, and the block gives logits: the softmax behind {output} is left out",
                where=(str(path), f"golden/{stored}"),
                fix=f"store what the framework gives in front of its softmax, as golden/{LOGITS}",
            )


def _golden_names(project: Project, file: EventFile) -> dict[str, str]:
    """Return {dataset: output} of the golden values that belong to this network's outputs."""
    outputs = [name for name, _ in project.program.outputs]
    named = {name: name for name in file.golden if name in outputs}
    if named or not file.golden:
        return named
    if len(outputs) == 1 and LOGITS in file.golden:
        return {LOGITS: outputs[0]}
    if len(outputs) == len(file.golden) == 1:
        return {next(iter(file.golden)): outputs[0]}
    raise DataError(
        f"golden holds {', '.join(file.golden)}, the network gives {', '.join(outputs)}",
        where=(str(file.path), "golden"),
        fix=f"name the golden datasets after the outputs, or {LOGITS} for the only one",
    )
