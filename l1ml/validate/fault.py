# SPDX-License-Identifier: Apache-2.0
"""The first beat of a streamed block that is not the plan's: engine, event, beat and clock."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Fault:
    """The first beat that is not the plan's.

    Args:
        layer: whose engine it is; several, joined by commas, where one engine holds them.
        engine: number of the engine; one past the last for the outputs.
        kind: ``map``, ``window``, ...; ``output`` behind the last engine.
        waits: ``delay``, ``align`` or ``pace``, where the beat has waited in front of the engine and is wrong before
            it is read; empty where the engine itself made it.
        stream: number of the stream.
        event: number in the sample.
        beat: number in the event.
        clock: from the first beat of its event on.
        place: (position in the beat, element), None where the beat itself is missing or should not be there.  An
            output of the core is one position.
        expected: its code, None for no beat; without a place of a beat that is there, its start mark.
        found: the code in its place, None for no beat.
    """

    layer: str
    engine: int
    kind: str
    waits: str
    stream: int
    event: int
    beat: int
    clock: int
    place: tuple[int, int] | None
    expected: int | None
    found: int | None

    def __str__(self) -> str:
        where = f"{self.waits} in front of engine {self.engine}" if self.waits else f"engine {self.engine}"
        when = f"event {self.event}, beat {self.beat}, clock {self.clock}"
        if self.place is None:
            what = "there is none" if self.found is None else "there is one that should not be"
            if self.found is not None and self.expected is not None:
                what = f"start expected {self.expected}, found {self.found}"
            return f"{where} ({self.kind}), {when}: {what}"
        position, element = self.place
        codes = f"expected {self.expected}, found {self.found}"
        return f"{where} ({self.kind}), {when}, position {position} element {element}: {codes}"

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for ``verdict.json``."""
        return {
            "layer": self.layer,
            "engine": self.engine,
            "kind": self.kind,
            "waits": self.waits or None,
            "stream": self.stream,
            "event": self.event,
            "beat": self.beat,
            "clock": self.clock,
            "position": None if self.place is None else self.place[0],
            "element": None if self.place is None else self.place[1],
            "expected": self.expected,
            "found": self.found,
            "text": str(self),
        }
