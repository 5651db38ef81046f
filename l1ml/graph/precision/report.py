# SPDX-License-Identifier: Apache-2.0
"""What types do to a float model: errors per layer, and what saturates or wraps around."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from l1ml.graph import build, real
from l1ml.graph.emulate import Emulator
from l1ml.graph.model import Model
from l1ml.graph.precision.apply import constants_of
from l1ml.graph.precision.run import Count, Key, Range
from l1ml.graph.precision.slots import Slot, Structure
from l1ml.graph.program import TensorProgram
from l1ml.types.fixed import Overflow, Quantizer, Rounding, quantize

SCHEMA = "l1ml-precision/1"


@dataclass
class Error:
    """How far the values of a layer are from those of the float model.

    Args:
        name: layer or output.
        values: compared.
        largest: largest absolute difference.
        squares: sum of squared differences.
        power: sum of squared float values.
        events: compared, for an output with classes.
        agreeing: events whose largest element is the same, None where the last axis has one element.
    """

    name: str
    values: int = 0
    largest: float = 0.0
    squares: float = 0.0
    power: float = 0.0
    events: int = 0
    agreeing: int | None = None

    def add(self, found: np.ndarray, wanted: np.ndarray, *, classes: bool) -> None:
        """Take a block of events into account."""
        difference = found.astype(np.float64) - wanted
        self.values += int(difference.size)
        self.largest = max(self.largest, float(np.abs(difference).max(initial=0.0)))
        self.squares += float(np.square(difference).sum())
        self.power += float(np.square(wanted.astype(np.float64)).sum())
        if classes and found.shape[-1] > 1:
            same = (found.argmax(axis=-1) == wanted.argmax(axis=-1)).reshape(len(found), -1).all(axis=1)
            self.agreeing = (self.agreeing or 0) + int(same.sum())
            self.events += len(found)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        made: dict[str, Any] = {
            "name": self.name,
            "values": self.values,
            "max_abs": self.largest,
            "rms": (self.squares / max(self.values, 1)) ** 0.5,
            "relative": (self.squares / self.power) ** 0.5 if self.power else None,
        }
        if self.agreeing is not None:
            made |= {"argmax_events": self.events, "argmax_same": self.agreeing}
        return made


def errors(
    model: Model, program: TensorProgram, inputs: Sequence[ArrayLike]
) -> tuple[list[Error], list[Error]]:
    """Compare a program with the float model it comes from, over events.

    Args:
        model: the float model.
        program: its integers.
        inputs: real values, converted into the input types as the hardware's owner would; the float model
            sees them as they are.

    Returns:
        Errors of the layers that both have, and of the outputs (logits, where a softmax ended the model).
    """
    kept = build.drop_final_softmax(model)
    named = list(zip((name for name, _ in program.outputs), kept.outputs, strict=True))
    emulator = Emulator(program)
    layers: dict[str, Error] = {}
    ends = {name: Error(name) for name, _ in named}
    for wanted, part in zip(real.blocks(kept, inputs), _parts(program, inputs), strict=True):
        found = emulator.trace(part)
        for name, values in found.items():
            if name in wanted and wanted[name].shape == values.shape:
                layers.setdefault(name, Error(name)).add(values, wanted[name], classes=False)
        for (name, end), values in zip(named, emulator.values(part), strict=True):
            ends[name].add(values, wanted[end], classes=True)
    return list(layers.values()), list(ends.values())


def _parts(program: TensorProgram, inputs: Sequence[ArrayLike]) -> Iterator[list[np.ndarray]]:
    """Yield events on the grids of the inputs, in the blocks of `l1ml.graph.real`."""
    kinds = [Quantizer(p.quantizer.type, Rounding.RND_CONV, Overflow.SAT) for p in program.inputs]
    arrays = [np.asarray(x) for x in inputs]
    for first in range(0, len(arrays[0]), real.EVENTS_PER_BLOCK):
        part = slice(first, first + real.EVENTS_PER_BLOCK)
        yield [quantize(x[part].astype(np.float64), kind) for x, kind in zip(arrays, kinds, strict=True)]


def report(
    structure: Structure,
    types: Mapping[Slot, Quantizer],
    ranges: Mapping[Slot, Range],
    counts: Mapping[Key, Count],
    found: tuple[list[Error], list[Error]],
) -> dict[str, Any]:
    """Return everything as plain data: ``precision.json``."""
    marked = {slot: key for key, slot in structure.marked().items()}
    places = []
    for slot, kind in types.items():
        if slot.constant:
            seen = Range()
            seen.add(constants_of(structure, slot))
            count = None
        else:
            seen, count = ranges.get(slot, Range()), counts.get(marked[slot])
        places.append({"layer": slot.layer, "key": slot.key, "type": str(kind), "chosen": slot.text,
                       **_type_facts(kind), "data": _range_facts(seen), **_count_facts(count)})  # fmt: skip
    own = [{"layer": step, **_count_facts(count)} for (step, number), count in counts.items() if number < 0]
    layers, outputs = found
    return {
        "schema": SCHEMA,
        "types": places,
        "model_quantizers": own,
        "layers": [error.to_dict() for error in layers],
        "outputs": [error.to_dict() for error in outputs],
    }


def _type_facts(kind: Quantizer) -> dict[str, Any]:
    lsb = 2.0**-kind.type.frac
    return {"lowest": kind.lo * lsb, "highest": kind.type.hi * lsb, "lsb": lsb}


def _range_facts(seen: Range) -> dict[str, Any] | None:
    if not seen.seen:
        return None
    return {
        "lowest": seen.lo, "highest": seen.hi, "count": seen.count, "zeros": seen.zeros,
        "log2_quantiles": list(seen.log2_quantiles),
    }  # fmt: skip


def _count_facts(count: Count | None) -> dict[str, Any]:
    if count is None:
        return {}
    return {"values": count.values, "wrapped" if count.wraps else "saturated": count.outside}


def lines(data: Mapping[str, Any]) -> list[str]:
    """Return a report as text for a terminal: one line per output and per layer."""
    events = data.get("events", 0)
    out = [f"  precision, over {events:,} events, against the float model:"]
    for end in data["outputs"]:
        text = f"    output {end['name']}: largest error {end['max_abs']:.4g}, rms {end['rms']:.3g}"
        if end["relative"] is not None:
            text += f" ({100 * end['relative']:.3g} %)"
        if "argmax_events" in end:
            text += f", same largest element in {100 * end['argmax_same'] / end['argmax_events']:.2f} % of the events"
        out.append(text)
    errors_of = {error["name"]: error for error in data["layers"]}
    shown = [place for place in data["types"] if place["key"] not in _CONSTANT_KEYS]
    rows = [("type", "of", "data", "outside", "rms error")]
    for place in shown:
        seen, error = place["data"], errors_of.get(place["layer"])
        outside = place.get("saturated", place.get("wrapped", 0))
        what = "wrap" if "wrapped" in place else "saturate"
        of = place["layer"] if place["key"] == "output" else f"{place['layer']}.{place['key']}"
        rows.append((
            place["type"], of, "" if seen is None else f"{seen['lowest']:.4g} .. {seen['highest']:.4g}",
            f"{outside:,} of {place['values']:,} {what}" if outside else "none",
            "" if error is None or place["key"] != "output" or error["relative"] is None else f"{100 * error['relative']:.3g} %",  # noqa: E501
        ))  # fmt: skip
    for own in data["model_quantizers"]:
        outside = own.get("wrapped", 0)
        if outside:  # saturation is what a quantizer of the model is for
            rows.append(("the model's own", own["layer"], "", f"{outside:,} of {own['values']:,} wrap", ""))
    widths = [max(len(row[k]) for row in rows) for k in range(5)]
    out += [
        "    " + "  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    return out if len(rows) > 1 else out[:-1]


_CONSTANT_KEYS = ("weight", "bias", "recurrent", "recurrent_bias")
