# SPDX-License-Identifier: Apache-2.0
"""Gives a model its post-training types, with the events that the user gives for it.

A conversion without ``precision``, ``layers`` and ``calibration`` passes through unchanged.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from l1ml.config import AUTO, ProjectConfig
from l1ml.errors import DataError, L1mlError, nearest
from l1ml.events import arrays as array_files
from l1ml.events.hdf5 import open_events
from l1ml.graph import build, precision
from l1ml.graph.model import Model
from l1ml.graph.precision import report
from l1ml.graph.program import TensorProgram
from l1ml.rtl.project import PRECISION
from l1ml.types.arrays import RealArray
from l1ml.types.fixed import FixedType, Overflow, Quantizer, Rounding, in_lsb

MAX_EVENTS = 10_000
"""More events tell little more about a range."""

INPUT_BITS = 24
"""Widest input type that is taken from a grid seen in the data."""


@dataclass(frozen=True, eq=False)
class Events:
    """Calibration events.

    Args:
        arrays: real values per input, (events, *shape).
        declared: types that the event file states.
    """

    arrays: list[RealArray]
    declared: Mapping[str, FixedType]


@dataclass(frozen=True, eq=False)
class Calibrated:
    """A model with types.

    Args:
        model: the network, ready for `l1ml.graph.build` but for the types of its inputs.
        config: the options with every type written out, so that the same network comes from them without events.
        structure: the places that got a type.
        types: by place.
        events: what was measured with, if anything.
        inputs: how the type of each input came about.
    """

    model: Model
    config: ProjectConfig
    structure: precision.Structure | None = None
    types: Mapping[precision.Slot, Quantizer] | None = None
    events: Events | None = None
    inputs: tuple[tuple[str, str, str], ...] = ()

    def report(self, program: TensorProgram) -> dict[str, Any] | None:
        """Return the errors and overflows of the program over the events; None without events."""
        if self.structure is None or self.types is None or self.events is None:
            return None
        marked, arrays = self.structure, self.events.arrays
        ranges = precision.measure(marked, arrays)
        _, counts = precision.simulate(
            marked, precision.with_constants(marked, self.types), self.types, arrays
        )
        found = report.errors(marked.source, program, arrays)
        data = report.report(marked, self.types, ranges, counts, found)
        inputs = [{"name": name, "type": kind, "from": source} for name, kind, source in self.inputs]
        return {**data, "events": len(arrays[0]), "inputs": inputs}

    def files(self, program: TensorProgram) -> dict[str, str]:
        """Return the report as a file of the project, if there is one."""
        data = self.report(program)
        return {} if data is None else {PRECISION: json.dumps(data, indent=1) + "\n"}


def calibrate(model: Model, config: ProjectConfig, given: Any = None) -> Calibrated:
    """Find the types of a model.

    Args:
        model: as read.
        config: the options.
        given: calibration events as an array, a sequence of arrays in the order of the inputs, or a mapping by
            input; else those that ``config.calibration`` names.

    Raises:
        L1mlError: the options or the events do not fit the model, or each other.
    """
    settings = precision.Settings.of(config.precision, config.layers)
    source = config.calibration if given is None else given
    if not settings and source is None:
        return Calibrated(model, config)
    events = None if source is None else read(source, model)
    structure = precision.structure(model, settings)
    ranges = None if events is None else precision.measure(structure, events.arrays)
    if settings.auto.max_error is not None and ranges is not None and events is not None:
        types = precision.narrowest(structure, settings.auto, ranges, events.arrays)
    else:
        types = precision.choose(structure, settings.auto, ranges)
    inputs = _inputs(model, config, events, settings)
    names = precision.summary(structure.slots, types)
    full = replace(
        config,
        precision={"name": names} if names else None,
        layers={},
        input_type={name: kind for name, kind, _ in inputs} if inputs else config.input_type,
    )
    return Calibrated(precision.finish(structure, types), full, structure, types, events, inputs)


def suggest(model: Model, config: ProjectConfig) -> ProjectConfig:
    """Return the options with a type written out for every place of a float model, for the user to edit.

    Weights get the integer bits that they need; tensors ``fixed<16,6>``, or what calibration events show.
    """
    wanted = config.precision
    if wanted is None and not config.layers:
        try:
            trial = precision.structure(model, precision.Settings.of(AUTO))
        except L1mlError:
            return config  # the conversion will say what is wrong with the model
        if not any(slot.constant for slot in trial.slots):
            return config
        wanted = (
            AUTO
            if config.calibration
            else {"model": {"default": "fixed<16,6>", **dict.fromkeys(_TRAINED, AUTO)}}
        )
    made = replace(config, precision=wanted)
    if wanted is None or (_has_auto(made) and config.calibration is None):
        return made
    return calibrate(model, made).config


_TRAINED = ("weight", "bias", "recurrent", "recurrent_bias")


def _has_auto(config: ProjectConfig) -> bool:
    """Tell whether a type of a tensor is to be found from data."""
    settings = precision.Settings.of(config.precision, config.layers)
    entries = [settings.model, *settings.type.values(), *settings.name.values()]
    return any(text == AUTO and key not in _TRAINED for entry in entries for key, text in entry.items())


def read(source: Any, model: Model) -> Events:
    """Return at most `MAX_EVENTS` calibration events in the order of the model's inputs.

    Raises:
        DataError: they do not fit the inputs.
    """
    declared: dict[str, FixedType] = {}
    if isinstance(source, str | os.PathLike):
        found, declared = _from_file(Path(os.fspath(source)))
    else:
        found = _named(source, model)
    names = [layer.name for layer in model.inputs]
    if len(names) == len(found) == 1:
        found, declared = (
            {names[0]: next(iter(found.values()))},
            dict.fromkeys(names, *declared.values()) if declared else {},
        )
    lost = [name for name in names if name not in found]
    if lost:
        raise DataError(f"there is no input {lost[0]!r}", where=("calibration",), fix=nearest(lost[0], found))
    arrays = []
    for layer in model.inputs:
        array = np.asarray(found[layer.name])
        if array.dtype.kind not in "iufb" or array.ndim == 0 or not len(array):
            raise DataError(f"input {layer.name!r} is {array.dtype} {array.shape}; expected numbers (events, ...)",
                            where=("calibration",))  # fmt: skip
        flat = int(np.prod(array.shape[1:], dtype=np.int64)) == int(np.prod(layer.shape, dtype=np.int64))
        if not flat:
            raise DataError(
                f"events of input {layer.name!r} have the shape {array.shape[1:]}; the network reads {layer.shape}",
                where=("calibration",),
            )
        real = array[:MAX_EVENTS].astype(np.float64).reshape(-1, *layer.shape)
        if not np.isfinite(real).all():
            raise DataError(f"a value of input {layer.name!r} is not a finite number", where=("calibration",))
        arrays.append(real)
    if len({len(a) for a in arrays}) > 1:
        raise DataError(f"inputs have {[len(a) for a in arrays]} events", where=("calibration",))
    return Events(arrays, declared)


def _from_file(path: Path) -> tuple[dict[str, Any], dict[str, FixedType]]:
    if path.suffix in array_files.SUFFIXES:
        return dict(array_files.read(path, MAX_EVENTS)), {}
    with open_events(path) as file:
        sample = file.read(0, MAX_EVENTS)
        return dict(sample.inputs), {n: c.type for n, c in file.inputs.items() if c.type is not None}


def _named(source: Any, model: Model) -> dict[str, Any]:
    names = [layer.name for layer in model.inputs]
    if isinstance(source, Mapping):
        return {str(name): values for name, values in source.items()}
    many = (isinstance(source, Sequence) and len(names) > 1) or (
        isinstance(source, list | tuple) and len(source) == 1
    )
    arrays: Sequence[ArrayLike] = source if many else [source]
    if len(arrays) != len(names):
        raise DataError(
            f"{len(arrays)} arrays are given, the inputs are {', '.join(names)}", where=("calibration",)
        )
    return dict(zip(names, arrays, strict=True))


def _inputs(
    model: Model, config: ProjectConfig, events: Events | None, settings: precision.Settings
) -> tuple[tuple[str, str, str], ...]:
    """Return (input, type, where it comes from) for every input; empty where the options already say all."""
    if isinstance(config.input_type, str):
        return ()
    given = dict(config.input_type or {})
    if all(layer.name in given for layer in model.inputs):
        return ()
    out = []
    for k, layer in enumerate(model.inputs):
        own = build.own_quantizer(model, layer)
        if layer.name in given:
            out.append((layer.name, given[layer.name], "input_type"))
        elif own is not None:
            out.append((layer.name, str(own), "the network"))
        elif events is not None and layer.name in events.declared:
            out.append((layer.name, str(events.declared[layer.name]), "the event file"))
        elif events is not None:
            kind, source = input_type(events.arrays[k], settings.auto.width)
            out.append((layer.name, str(kind), source))
        elif (text := settings.model.get("default", AUTO)) != AUTO:
            out.append((layer.name, str(precision.quantizer(text)), "precision of the model"))
        else:
            return ()
    return tuple(out)


def input_type(values: RealArray, width: int) -> tuple[Quantizer, str]:
    """Return the type of an input from its values, and how it was found.

    Values on a binary grid keep it; others are rounded to ``width`` bits.  Values beyond those seen saturate.
    """
    lo, hi = float(values.min()), float(values.max())
    signed = lo < 0
    for frac in range(-16, 40):
        scaled = in_lsb(values, frac)
        if np.array_equal(scaled, np.rint(scaled)):
            top = max(hi, -lo - 2.0**-frac, 0.0)
            bits = max(1, int(np.rint(np.ldexp(top, frac))).bit_length() + signed)
            if bits > INPUT_BITS:
                break
            kind = FixedType(signed, bits, bits - frac)
            return Quantizer(
                kind, Rounding.RND_CONV, Overflow.SAT
            ), f"the grid of the calibration events, 2**{-frac}"
    kind = precision.fitting(lo, hi, width, signed=signed)
    return Quantizer(kind, Rounding.RND_CONV, Overflow.SAT), "the range of the calibration events"


def explain(data: Mapping[str, Any]) -> str:
    """Return the report of a calibration as text for a terminal."""
    found = [f"  input {i['name']}: {i['type']}, from {i['from']}" for i in data["inputs"]]
    return "\n".join([*found, *report.lines(data)])
