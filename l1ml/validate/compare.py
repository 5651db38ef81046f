# SPDX-License-Identifier: Apache-2.0
"""Compares two sets of output values and names the first divergence by its place in detector and network.

A comparison of zero values has shown nothing and fails.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from l1ml.errors import DataError
from l1ml.types.arrays import BoolArray
from l1ml.validate.fault import Fault


@dataclass(frozen=True, slots=True)
class Field:
    """One output element: what it is in the network, and where it lies on the link.

    Args:
        output: name of the output tensor.
        index: position in the tensor, without the event axis.
        frac: fraction bits; one LSB is ``2**-frac``.
        width: bits on the link.
        name: the link layout's name of it, for example ``y[3]``.
        link: link number, None where the interface has no links.
        word: word of the frame.
        lsb: lowest bit in the word.
    """

    output: str
    index: tuple[int, ...]
    frac: int
    width: int
    name: str
    link: int | None = None
    word: int | None = None
    lsb: int | None = None

    @property
    def place(self) -> str:
        """Where the element lies, in words."""
        parts = []
        if self.link is not None:
            parts.append(f"link {self.link}")
        if self.word is not None:
            parts.append(f"word {self.word}")
        if self.lsb is not None:
            parts.append(f"bits {self.lsb + self.width - 1}..{self.lsb}")
        return " ".join([*parts, f"field {self.name}"])


def output_fields(manifest: Mapping[str, Any]) -> tuple[Field, ...]:
    """Return the output elements of a project in the order of the core's ``data_o``."""
    places = {int(f["element"]): f for f in manifest["link"].get("out_fields", ())}
    fields: list[Field] = []
    for port in manifest["outputs"]:
        for element in port["elements"]:
            index = tuple(int(i) for i in element["index"])
            place = places.get(len(fields), {})
            fields.append(
                Field(
                    output=str(port["name"]),
                    index=index,
                    frac=int(element["frac"]),
                    width=int(element["width"]),
                    name=str(place.get("name", f"{port['name']}[{','.join(map(str, index))}]")),
                    link=place.get("link"),
                    word=place.get("word"),
                    lsb=place.get("lsb"),
                )
            )
    return tuple(fields)


@dataclass(frozen=True, slots=True)
class Divergence:
    """The first value that differs.

    Args:
        event: number in the sample, from 0.
        field: which output element.
        expected: code in LSBs; a fraction when the expected value is off the output grid.
        found: code in LSBs; None when the event gave no output.
        bx: bunch crossing in the orbit, where the sample states it.
        orbit: orbit number, where the sample states it.
        layer: first layer whose values differ, once it is located.
        fault: the first wrong beat, where the block is streamed.
    """

    event: int
    field: Field
    expected: float
    found: float | None
    bx: int | None = None
    orbit: int | None = None
    layer: str | None = None
    fault: Fault | None = None

    def __str__(self) -> str:
        place = f"event {self.event}"
        if self.orbit is not None:
            place += f", orbit {self.orbit}"
        if self.bx is not None:
            place += f", BX {self.bx}"
        codes = f"expected {self._code(self.expected)}, found {self._code(self.found)}"
        text = f"{place}, {self.field.place}: {codes}"
        text += f"; first wrong layer: {self.layer}" if self.layer else ""
        return text + (f", {self.fault}" if self.fault else "")

    def _code(self, code: float | None) -> str:
        if code is None:
            return "nothing"
        if not np.isfinite(code):
            return str(code)
        if code != int(code):
            return f"{code * 2.0**-self.field.frac} (between two codes)"
        bits = int(code) & ((1 << self.field.width) - 1)
        return f"{int(code)} ({code * 2.0**-self.field.frac:g}, {bits:#0{2 + -(-self.field.width // 4)}x})"

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for ``verdict.json``."""
        scale = 2.0**-self.field.frac
        return {
            "event": self.event,
            "orbit": self.orbit,
            "bx": self.bx,
            "output": self.field.output,
            "index": list(self.field.index),
            "field": self.field.name,
            "link": self.field.link,
            "word": self.field.word,
            "lsb": self.field.lsb,
            "width": self.field.width,
            "layer": self.layer,
            "fault": None if self.fault is None else self.fault.to_dict(),
            "expected": _plain(self.expected),
            "found": _plain(self.found),
            "expected_value": _plain(self.expected * scale),
            "found_value": None if self.found is None else _plain(self.found * scale),
            "text": str(self),
        }


def _plain(code: float | None) -> float | int | str | None:
    if code is None:
        return None
    if not np.isfinite(code):
        return str(code)
    return int(code) if code == int(code) else float(code)


@dataclass(frozen=True, slots=True)
class Comparison:
    """How two sources of the same outputs agree.

    Args:
        name: for example ``RTL against emulator``.
        events: events compared.
        values: output elements compared.
        mismatches: values that differ.
        bad_events: events with at least one.
        first: the first of them.
    """

    name: str
    events: int = 0
    values: int = 0
    mismatches: int = 0
    bad_events: int = 0
    first: Divergence | None = None

    @property
    def passed(self) -> bool:
        """Something was compared, and nothing differs."""
        return self.values > 0 and self.mismatches == 0

    def __add__(self, later: Comparison) -> Comparison:
        """Join the comparison of later events; the earlier divergence stays the first."""
        assert self.name == later.name
        return Comparison(
            self.name,
            self.events + later.events,
            self.values + later.values,
            self.mismatches + later.mismatches,
            self.bad_events + later.bad_events,
            self.first or later.first,
        )

    def with_layer(self, layer: str | None, fault: Fault | None = None) -> Comparison:
        """Name the layer of the first divergence, and in a streamed block the first wrong beat."""
        if self.first is None:
            return self
        return replace(self, first=replace(self.first, layer=layer, fault=fault))

    def __str__(self) -> str:
        if not self.values:
            return f"{self.name}: nothing was compared"
        if not self.mismatches:
            return f"{self.name}: {self.events:,} of {self.events:,} events equal ({self.values:,} values)"
        return (
            f"{self.name}: {self.bad_events:,} of {self.events:,} events differ "
            f"({self.mismatches:,} of {self.values:,} values); first: {self.first}"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for ``verdict.json``."""
        return {
            "name": self.name,
            "events": self.events,
            "values": self.values,
            "mismatches": self.mismatches,
            "bad_events": self.bad_events,
            "passed": self.passed,
            "first": self.first.to_dict() if self.first else None,
        }


def compare(
    name: str,
    expected: ArrayLike,
    found: ArrayLike,
    fields: Sequence[Field],
    *,
    first_event: int = 0,
    bx: ArrayLike | None = None,
    orbit: ArrayLike | None = None,
    present: BoolArray | None = None,
) -> Comparison:
    """Compare codes, (events, elements), value by value; nothing is tolerated.

    Args:
        name: what is compared.
        expected: codes in LSBs; floats where they may lie off the grid (`golden_codes`).
        found: codes in LSBs.  Events it lacks at the end count as differing in every value.
        fields: the output elements.
        first_event: number of the first event in the sample.
        bx: bunch crossing of every event.
        orbit: orbit of every event.
        present: events that gave an output at all; the others differ in every value.

    Raises:
        DataError: the arrays do not have one column per element.

    Example:
        >>> field = Field("y", (0,), frac=2, width=4, name="y[0]", link=0, word=1, lsb=8)
        >>> print(compare("RTL against emulator", [[1], [2]], [[1], [-2]], [field], first_event=10).first)
        event 11, link 0 word 1 bits 11..8 field y[0]: expected 2 (0.5, 0x2), found -2 (-0.5, 0xe)
    """
    want, have = np.asarray(expected), np.asarray(found)
    for label, array in (("expected", want), ("found", have)):
        if array.ndim != 2 or array.shape[1] != len(fields):
            raise DataError(
                f"{name}: {label} values have shape {array.shape}; expected (events, {len(fields)})"
            )
    common = min(len(want), len(have))
    events = max(len(want), len(have))
    differ = np.ones((events, len(fields)), dtype=np.bool_)
    differ[:common] = want[:common] != have[:common]  # also true for NaN
    if present is not None:
        differ[: len(present)] |= ~present[:, None]
    bad = differ.any(axis=1)
    first = None
    if bad.any():
        event = int(np.argmax(bad))
        column = int(np.argmax(differ[event]))
        first = Divergence(
            event=first_event + event,
            field=fields[column],
            expected=want[event, column].item() if event < len(want) else float("nan"),
            found=have[event, column].item()
            if event < len(have) and (present is None or present[event])
            else None,
            bx=_at(bx, event),
            orbit=_at(orbit, event),
        )
    return Comparison(name, events, int(differ.size), int(differ.sum()), int(bad.sum()), first)


def _at(column: ArrayLike | None, event: int) -> int | None:
    values = None if column is None else np.asarray(column)
    return int(values[event]) if values is not None and event < len(values) else None


def golden_codes(values: Mapping[str, ArrayLike], fields: Sequence[Field], events: int) -> np.ndarray | None:
    """Return stored golden values in LSBs of the outputs, float64, (events, elements).

    A value off the output grid gives a fraction, which equals no code.

    Args:
        values: golden outputs by name, (events, ...).
        fields: the output elements.
        events: how many events there must be.

    Returns:
        None when the sample holds no golden values for these outputs.

    Raises:
        DataError: there are golden values, but of another shape.
    """
    names = list(dict.fromkeys(field.output for field in fields))
    if not values or not set(names) & set(values):
        if not values or len(names) > 1 or len(values) > 1:
            return None
        values = {names[0]: next(iter(values.values()))}  # one output, one golden array: names need not agree
    columns: list[np.ndarray] = []
    for name in names:
        count = sum(field.output == name for field in fields)
        if name not in values:
            raise DataError(f"the sample has golden values for {sorted(values)}, not for output {name!r}")
        array = np.asarray(values[name], dtype=np.float64)
        if array.shape[0] != events or array.reshape(events, -1).shape[1] != count:
            raise DataError(
                f"golden values of output {name!r} have shape {array.shape}; "
                f"expected {count} values for each of {events} events"
            )
        columns.append(array.reshape(events, -1))
    scale = np.array([2.0**field.frac for field in fields])
    return np.asarray(np.concatenate(columns, axis=1) * scale)
