# SPDX-License-Identifier: Apache-2.0
"""Align, clock by clock: its patterns, traffic that keeps or breaks them, and a model of the memory."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from l1ml.plan.align import AlignEngine

WIDTH = 8


@dataclass(frozen=True)
class Pattern:
    """Clocks of the beats of a lone event.

    Args:
        writes: of every beat, the first at 0.
        reads: of every beat.
    """

    writes: tuple[int, ...]
    reads: tuple[int, ...]

    @property
    def engine(self) -> AlignEngine:
        """The buffer of computed depth."""
        return AlignEngine.between(WIDTH, np.array(self.writes), np.array(self.reads))

    @property
    def interval(self) -> int:
        """Clocks that neither stream can do without."""
        return max(self.writes[-1], self.reads[-1] - self.reads[0]) + 1


def patterns(beats: int, step: int, offset: int) -> Iterator[Pattern]:
    """Yield every pattern of up to so many beats, so far apart, with so many clocks between the streams."""
    for count in range(1, beats + 1):
        choices = [range(1, step + 1)] * (2 * (count - 1))
        for first, *steps in itertools.product(range(1, offset + 1), *choices):
            writes = tuple(itertools.accumulate(steps[: count - 1], initial=0))
            reads = tuple(itertools.accumulate(steps[count - 1 :], initial=first))
            if all(r > w for w, r in zip(writes, reads, strict=True)):
                yield Pattern(writes, reads)


@dataclass(frozen=True)
class Traffic:
    """What stands on the ports, one row per clock.

    Args:
        write: a beat is written.
        read: one is read.
        start: it is the first of its event; anything where none is read.
        expected: {clock of a read: clock of the write that it must find}; reads of broken events may find anything.
    """

    write: np.ndarray
    read: np.ndarray
    start: np.ndarray
    expected: dict[int, int]


KINDS = ("whole", "late", "long", "few writes", "few reads", "late write", "late read", "cut", "noise")
"""Broken or not, of one event; the next comes after the interval, later, or at once."""


def traffic(pattern: Pattern, rng: np.random.Generator, kinds: list[str]) -> Traffic:
    """Return events of these kinds, one after the other."""
    offset, beats = pattern.engine.offset, len(pattern.writes)
    clocks = (3 * pattern.interval + offset + 4) * (len(kinds) + 1) + pattern.reads[-1]
    write, read = np.zeros(clocks, dtype=np.int64), np.zeros(clocks, dtype=np.int64)
    start = rng.integers(0, 2, clocks)
    expected: dict[int, int] = {}
    begin = int(rng.integers(0, 4))
    write[:begin] = rng.integers(0, 2, begin)  # ignored: before the first start
    for kind in kinds:
        writes, reads = np.array(pattern.writes), np.array(pattern.reads)
        wait = pattern.interval
        if kind == "late":
            wait += int(rng.integers(1, 2 * pattern.interval + 2))
        elif kind in ("cut", "noise"):
            wait = int(rng.integers(1, pattern.interval + 1))
        elif beats > 1:
            at = int(rng.integers(1, beats))
            if kind == "few writes":
                writes = writes[:at]
            elif kind == "few reads":
                reads = reads[:at]
            elif kind == "late write":
                writes = writes + (np.arange(beats) >= at)
            elif kind == "late read":
                reads = reads + (np.arange(beats) >= at)
        exact = kind != "noise" and len(writes) == beats and np.array_equal(writes, pattern.writes)
        # An event ends where the next begins.
        expected = {r: w for r, w in expected.items() if r < begin + offset and w < begin}
        write[begin:], read[begin + offset :] = 0, 0
        write[begin + writes] = 1
        read[begin + reads] = 1
        start[begin + reads] = [1] + [0] * (len(reads) - 1)
        if kind == "noise":
            write[begin + 1 : begin + wait] = rng.integers(0, 2, wait - 1)
            read[begin + offset + 1 : begin + offset + wait] = rng.integers(0, 2, wait - 1)
            exact = False
        elif kind == "long":
            write[begin + writes[-1] + 1 : begin + writes[-1] + 1 + beats] = 1
            read[begin + reads[-1] + 1 : begin + reads[-1] + 1 + beats] = 1
            start[begin + reads[-1] + 1 : begin + reads[-1] + 1 + beats] = 0
            wait += int(rng.integers(0, beats + 1))
        if exact:
            ok = np.cumprod(reads == np.array(pattern.reads)[: len(reads)]).astype(bool)
            expected |= dict(
                zip((begin + reads[ok]).tolist(), (begin + writes[: len(reads)][ok]).tolist(), strict=True)
            )
        begin += wait
    return Traffic(write, read, np.where(read, start, rng.integers(0, 2, clocks)), expected)


def play(engine: AlignEngine, given: Traffic) -> dict[int, int | None]:
    """Return {clock of a read: clock of the write that it finds}, where beats lie in a memory of the engine's depth."""
    written: list[int] = []  # clocks of all writes
    before = [0] * (engine.offset + 1)  # how many there were, lately
    found: dict[int, int | None] = {}
    number = 0
    for clock in range(len(given.write)):
        before = [*before[1:], len(written)]
        if given.read[clock]:
            number = before[0] if given.start[clock] else number
            kept = max(0, len(written) - engine.depth) <= number < len(written)
            found[clock] = written[number] if kept else None
            number += 1
        if given.write[clock]:
            written.append(clock)
    return found
