# SPDX-License-Identifier: Apache-2.0
"""Puts types into a marked model: constants on their grids, quantizers for markers."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace

import numpy as np

from l1ml.errors import RangeError
from l1ml.graph.layers.base import Weighted
from l1ml.graph.model import Concat, Embedding, Layer, Model, Quantize, Recurrent, Reshape, Softmax, Take
from l1ml.graph.precision.pieces import Pieces
from l1ml.graph.precision.slots import CONSTANTS, INNER, TABLES, Slot, Structure
from l1ml.types.arrays import RealArray
from l1ml.types.fixed import FixedType, Overflow, Quantizer, Rounding, quantize

MAX_BIAS_BITS = 18
"""A longer bias would be added as frameworks do it, in float32; see `l1ml.graph.typed`."""

_FINE = Quantizer(FixedType(True, 24, 12), Rounding.RND_CONV, Overflow.SAT)
"""How finely constants are kept that no type of the user follows."""


def _field(layer: Layer, key: str) -> str:
    return "table" if isinstance(layer, Embedding) else CONSTANTS[key]


def constants_of(structure: Structure, slot: Slot) -> RealArray:
    """Return the values of a place of constants."""
    layer = structure.model.layer(slot.step)
    return np.asarray(getattr(layer, _field(layer, slot.key)), dtype=np.float64)


def with_constants(structure: Structure, types: Mapping[Slot, Quantizer]) -> Model:
    """Return the marked model with its constants on their grids.

    Raises:
        RangeError: constants do not fit their types; all places are named, each with a type that fits.
    """
    by_step: dict[str, list[Slot]] = {}
    for slot in structure.slots:
        if slot.constant and slot in types:
            by_step.setdefault(slot.step, []).append(slot)
    problems: list[tuple[Slot, str, str]] = []
    layers: list[Layer] = []
    behind = _types_behind(structure, types)
    for layer in structure.model.layers:
        changes: dict[str, object] = {}
        for slot in by_step.get(layer.name, ()):
            values = np.asarray(getattr(layer, _field(layer, slot.key)), dtype=np.float64)
            problem = _misfit(values, types[slot], slot)
            if problem is None:
                changes[_field(layer, slot.key)] = quantize(values, types[slot])
            else:
                problems.append((slot, *problem))
        if changes:
            changes["exact"] = True
        if changes and isinstance(layer, Weighted):
            own = {"kernel": "weight"}
            kept = tuple((own.get(k, k), text) for k, text in layer.quantizers)
            changes["quantizers"] = (*kept, *((s.key, str(types[s])) for s in by_step[layer.name]))
        if isinstance(layer, Pieces):
            layers.append(layer.on_grid(behind.get(layer.name, _FINE)))
        else:
            layers.append(replace(layer, **changes) if changes else layer)  # type: ignore[arg-type]
    if problems:
        texts = [f"{what} of {slot.layer!r}: {text}" for slot, what, text in problems]
        slot, _, _ = problems[0]
        fits = _misfit_type(constants_of(structure, slot), types[slot])
        raise RangeError(
            f"{len(problems)} {'set of constants does' if len(problems) == 1 else 'sets of constants do'} not fit: "
            + "; ".join(texts),
            where=(structure.source.source, *slot.where),
            fix=f"use {fits} for it, or auto, which takes the integer bits that the constants need",
        )
    return replace(structure.model, layers=tuple(layers))


def _misfit(values: RealArray, kind: Quantizer, slot: Slot) -> tuple[str, str] | None:
    """Say why constants do not fit a type: (what they are, what is wrong), or None."""
    lsb = 2.0**-kind.type.frac
    outside = (values < kind.lo * lsb - lsb) | (values > kind.type.hi * lsb + lsb)
    if outside.any():
        peak = float(np.abs(values).max())
        return slot.key, (
            f"{int(outside.sum())} of {values.size} do not fit {kind.type}: they reach {peak:g}, which takes "
            f"{_misfit_type(values, kind)}"
        )
    if slot.key in ("bias", "recurrent_bias") and kind.type.width > MAX_BIAS_BITS:
        return slot.key, f"{kind.type} is wider than the {MAX_BIAS_BITS} bits that are supported"
    return None


def _misfit_type(values: RealArray, kind: Quantizer) -> str:
    peak = float(np.abs(values).max(initial=0.0))
    integer = (math.floor(math.log2(peak)) + 1 if peak > 0 else 0) + kind.type.signed
    more = max(1, integer - kind.type.integer)
    return f"{'' if kind.type.signed else 'u'}fixed<{kind.type.width + more},{kind.type.integer + more}>"


def finish(structure: Structure, types: Mapping[Slot, Quantizer]) -> Model:
    """Return the network with types: what `l1ml.graph.build` turns into integers.

    Raises:
        RangeError: constants do not fit their types.
    """
    marked = {
        (slot.step, slot.key): types[slot] for slot in structure.slots if not slot.constant and slot in types
    }
    layers: list[Layer] = []
    for layer in with_constants(structure, types).layers:
        match layer:
            case Quantize(declared=True) if found := _own(structure, types, layer.name):
                layers.append(replace(layer, quantizer=found))
            case Recurrent() if layer.types is not None and (layer.name, "output") in marked:
                output = marked[layer.name, "output"]
                inner = tuple(marked.get((layer.name, key), output) for key in INNER)
                layers.append(replace(layer, types=inner))  # type: ignore[arg-type]
            case Softmax() if (layer.name, TABLES[0]) in marked:
                tables = tuple(marked[layer.name, key] for key in TABLES)
                layers.append(replace(layer, tables=tables))  # type: ignore[arg-type]
            case _:
                layers.append(layer)
    return replace(structure.model, layers=tuple(layers))


def _own(structure: Structure, types: Mapping[Slot, Quantizer], step: str) -> Quantizer | None:
    return next((types[s] for s in structure.slots if s.step == step and not s.constant and s in types), None)


def _types_behind(structure: Structure, types: Mapping[Slot, Quantizer]) -> dict[str, Quantizer]:
    """Return the type that the result of each step is converted into next, where it is one."""
    found: dict[str, Quantizer] = {}
    for layer in reversed(structure.model.layers):
        own = _own(structure, types, layer.name) if isinstance(layer, Quantize) and layer.declared else None
        passed = found.get(layer.name) if isinstance(layer, Reshape | Take | Concat) else own
        for name in layer.inputs if passed is not None else ():
            found[name] = passed  # type: ignore[assignment]
    return found


def summary(slots: Iterable[Slot], types: Mapping[Slot, Quantizer]) -> dict[str, dict[str, str]]:
    """Return the types by name of layer and key, as ``precision: {name: ...}`` states them."""
    out: dict[str, dict[str, str]] = {}
    for slot in slots:
        if slot in types:
            out.setdefault(slot.layer, {})[slot.key] = str(types[slot])
    return out
