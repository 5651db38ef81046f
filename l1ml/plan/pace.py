# SPDX-License-Identifier: Apache-2.0
"""Pace: beats that come in bursts leave a fixed number of clocks apart.

Behind a pooling layer the beats of a row come close together, and nothing comes while the next rows are summed.  An
engine that takes many clocks per beat can use that time, if the burst waits in a small memory.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from l1ml.errors import ConfigError
from l1ml.plan.arrivals import check_positive, checked_arrivals
from l1ml.types.arrays import IntArray

LATENCY = 2
"""Clocks from a beat to the same beat at the output, where none before it is in the way."""


@dataclass(frozen=True)
class PaceEngine:
    """A buffer of computed depth: it has no flags and cannot overflow.

    Args:
        width: bits of a beat.
        beats: of an event.
        spacing: least clocks between two beats at the output, at least 2.
        depth: beats that the memory holds.

    Raises:
        ConfigError: a number out of its range.
    """

    MODULE: ClassVar[str] = "l1ml_pace"

    width: int
    beats: int
    spacing: int
    depth: int

    def __post_init__(self) -> None:
        check_positive("Pace", width=self.width, beats=self.beats, spacing=self.spacing, depth=self.depth)
        if self.spacing < 2:
            raise ConfigError(
                "Pace: beats 1 clock apart need none", fix="give a spacing of at least 2 clocks"
            )

    @classmethod
    def between(cls, width: int, arrivals: IntArray, spacing: int) -> PaceEngine:
        """Return the engine that spaces given beats.

        Args:
            width: bits of a beat.
            arrivals: clock of every beat of a lone event, (beats,), ascending.
            spacing: least clocks between two beats at the output, at least 2.
        """
        one = cls(width, len(arrivals), spacing, 1)
        clocks, left = checked_arrivals("Pace", arrivals, len(arrivals)), one.times(arrivals)
        # A beat takes its place from its own clock to the one in which it is read, one before it leaves.
        held = [int(((clocks <= at) & (left > at)).sum()) for at in clocks]
        return cls(width, len(arrivals), spacing, max(held))

    def parameters(self) -> dict[str, int]:
        """Return the parameters of the SystemVerilog module."""
        return {"Width": self.width, "Spacing": self.spacing, "Depth": self.depth}

    def times(self, arrivals: IntArray) -> IntArray:
        """Return the clock of every output beat of a lone event.

        Args:
            arrivals: clock of every beat of an event, (`beats`,), ascending.

        Raises:
            ConfigError: not one clock per beat, or two beats in one clock.
        """
        clocks = checked_arrivals("Pace", arrivals, self.beats)
        # Without its own share of the spacing every beat leaves when the latest so far allows it.
        share = np.arange(self.beats, dtype=np.int64) * self.spacing
        return np.asarray(np.maximum.accumulate(clocks + LATENCY - share) + share)

    def busy(self, arrivals: IntArray) -> int:
        """Return the least clocks between two events: those of the beats at the output.

        Args:
            arrivals: clock of every beat of an event, (`beats`,), ascending.

        Raises:
            ConfigError: not one clock per beat, or two beats in one clock.
        """
        left = self.times(arrivals)
        return int(left[-1] - left[0]) + self.spacing

    def emulate(self, beats: IntArray) -> IntArray:
        """Return what comes in."""
        return beats
