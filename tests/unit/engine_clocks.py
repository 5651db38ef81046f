# SPDX-License-Identifier: Apache-2.0
"""Reduce and Fold clock by clock, from what their contract says and nothing of how they are built.

A clock is (valid, start); an answer is the clock of a result, whether it starts an event, and the clocks of its beats.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from l1ml.plan.fold import FoldEngine
from l1ml.plan.reduce import ReduceEngine


@dataclass(frozen=True)
class Answer:
    clock: int
    start: bool
    beats: tuple[int, ...]


def reduce_clocks(engine: ReduceEngine, clocks: Iterable[tuple[int, int]]) -> list[Answer]:
    """Play events; the next may begin in any clock."""
    answers: list[Answer] = []
    event: list[int] | None = None
    group = engine.beats // engine.groups
    for clock, (valid, start) in enumerate(clocks):
        if valid and start:
            event = []
        if valid and event is not None:
            event.append(clock)
            if len(event) % group == 0:
                done = clock + 1 + engine.tree_stages
                answers.append(Answer(done, len(event) == group, tuple(event[-group:])))
            if len(event) == engine.beats:
                event = None
    return answers


def fold_clocks(engine: FoldEngine, clocks: Iterable[tuple[int, int]]) -> list[Answer]:
    """Play events: a beat is worked off slice by slice; a beat that comes too early ends the event."""
    answers: list[Answer] = []
    event: list[int] | None = None  # clocks of its beats
    waiting = 0  # slices of the beat under work
    for clock, (valid, start) in enumerate(clocks):
        if waiting:  # the work of this clock
            waiting -= 1
            assert event is not None
            if waiting == 0 and len(event) % engine.phases == 0:
                done = clock + engine.multiplier_stages + engine.tree_stages + engine.chain
                answers.append(Answer(done, len(event) == engine.phases, tuple(event[-engine.phases :])))
            if waiting == 0 and len(event) == engine.beats:
                event = None
        if not valid:
            continue
        if start:
            event, waiting = [clock], engine.slices
        elif event is not None and len(event) < engine.beats:
            if waiting:
                event, waiting = None, 0
            else:
                event.append(clock)
                waiting = engine.slices
    return answers
