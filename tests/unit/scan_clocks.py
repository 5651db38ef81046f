# SPDX-License-Identifier: Apache-2.0
"""Scan played clock by clock with events as objects: what the engine promises, written a second time."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from l1ml.plan.scan import ScanEngine


@dataclass(eq=False)
class Event:
    number: int
    beats: list[int] = field(default_factory=list)  # rows of the input table
    whole: bool = False  # it must be complete before it begins


@dataclass(frozen=True)
class Step:
    """A step that enters the cell: when, of which event, with the x of which row."""

    clock: int
    event: int
    step: int
    row: int


class ScanClocks:
    """Give it one beat after the other; it says which steps enter the cell."""

    def __init__(self, engine: ScanEngine) -> None:
        self.engine = engine
        self.waiting: deque[Event] = deque()
        self.tokens: dict[int, tuple[Event, int]] = {}
        self.newest: Event | None = None
        self.kept: list[Event] = []
        self.may_begin = 0
        self.refused: list[int] = []
        self.steps: list[Step] = []

    def run(self, beats: Sequence[tuple[bool, bool]], tail: int = 0) -> list[Step]:
        """Play rows of (valid, start) from clock 0, then ``tail`` idle clocks; rows with start number events."""
        events = 0
        for clock, (valid, start) in enumerate([*beats, *[(False, False)] * tail]):
            lost = self._cell(clock)
            if valid:
                self._beat(clock, start, events, lost)
                events += start
        return self.steps

    def _open(self) -> bool:
        return self.newest is not None and len(self.newest.beats) < self.engine.steps

    def _ready(self, event: Event) -> bool:
        enough = self.engine.steps if event.whole or self.engine.go_backwards else self.engine.lead
        return len(event.beats) >= enough

    def _cell(self, clock: int) -> Event | None:
        """Take the step of this clock; return an event that begins in it."""
        phase, steps = clock % self.engine.slot, self.engine.steps
        begins = None
        if phase in self.tokens:
            event, step = self.tokens.pop(phase)
            whole_now = self.engine.bursts and step == self.engine.burst_step
            if len(event.beats) < (steps if whole_now else step + 1):
                self._again(event)
                event.whole = True
                return None
        elif self.waiting and clock >= self.may_begin and self._ready(self.waiting[0]):
            event, step = self.waiting.popleft(), 0
            self.may_begin = clock + self.engine.interval
            begins = event
        else:
            return None
        at = steps - 1 - step if self.engine.go_backwards else step
        self.steps.append(Step(clock + 1, event.number, step, event.beats[at]))
        if step + 1 < steps:
            self.tokens[phase] = event, step + 1
        return begins

    def _again(self, event: Event) -> None:
        self.waiting.append(event)
        self.may_begin = 0

    def _beat(self, clock: int, start: bool, number: int, begun: Event | None) -> None:
        if start:
            if self._open():
                old = self.newest
                assert old is not None
                self.kept.remove(old)
                if old in self.waiting:
                    self.waiting.remove(old)
                else:
                    self.tokens = {p: token for p, token in self.tokens.items() if token[0] is not old}
                    self.may_begin = 0
            self._free(clock)
            if len(self.kept) == self.engine.buffers:
                self.refused.append(number)
                return
            self.newest = Event(number, [clock])
            self.kept.append(self.newest)
            self.waiting.append(self.newest)
        elif self._open():
            assert self.newest is not None
            self.newest.beats.append(clock)

    def _free(self, clock: int) -> None:
        """Forget events whose last step was taken before this clock."""
        done = {s.event for s in self.steps if s.step == self.engine.steps - 1 and s.clock <= clock}
        self.kept = [event for event in self.kept if event.number not in done]
