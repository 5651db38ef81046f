# SPDX-License-Identifier: Apache-2.0
"""Upsample: every row of an image, and every beat of a row, several times: nearest neighbours.

A beat goes out as soon as it is there and the one before it is out.  The image waits in a memory, since its rows are
needed again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from l1ml.errors import DataError
from l1ml.plan.arrivals import check_positive, checked_arrivals
from l1ml.types.arrays import IntArray


@dataclass(frozen=True)
class UpsampleEngine:
    """Repeats beats and rows of beats.

    Args:
        rows: of the image; 1 for a sequence.
        row_beats: beats of a row.
        width: bits of a beat.
        row_times: how often a row goes out, one after the other.
        beat_times: how often a beat does within that.

    Raises:
        ConfigError: a number below 1.
    """

    MODULE: ClassVar[str] = "l1ml_upsample"

    rows: int
    row_beats: int
    width: int
    row_times: int = 1
    beat_times: int = 1

    def __post_init__(self) -> None:
        check_positive(
            "Upsample", rows=self.rows, row_beats=self.row_beats, width=self.width, row_times=self.row_times,
            beat_times=self.beat_times,
        )  # fmt: skip

    @property
    def beats(self) -> int:
        """Input beats of an event."""
        return self.rows * self.row_beats

    def parameters(self) -> dict[str, int]:
        """Return the parameters of the SystemVerilog module."""
        return {
            "Rows": self.rows,
            "RowBeats": self.row_beats,
            "Width": self.width,
            "RowTimes": self.row_times,
            "BeatTimes": self.beat_times,
        }

    def order(self) -> IntArray:
        """Return the number of the input beat that every output beat repeats."""
        numbers = np.arange(self.beats, dtype=np.int64).reshape(self.rows, 1, self.row_beats)
        rows = np.repeat(numbers, self.row_times, axis=1)
        return np.repeat(rows, self.beat_times, axis=2).ravel()

    def times(self, arrivals: IntArray) -> IntArray:
        """Return the clock of every output beat: two clocks behind its input beat or one behind the beat before it.

        Args:
            arrivals: clock of every input beat of an event, (`beats`,), ascending.

        Raises:
            ConfigError: not one clock per beat, or two beats in one clock.
        """
        there = checked_arrivals("Upsample", arrivals, self.beats)[self.order()] + 2
        number = np.arange(len(there), dtype=np.int64)
        return np.asarray(np.maximum.accumulate(there - number) + number)

    def busy(self, arrivals: IntArray) -> int:
        """Return the least clocks between two events: no row is written over before it has gone out.

        Args:
            arrivals: clock of every input beat of an event, (`beats`,), ascending.

        Raises:
            ConfigError: not one clock per beat, or two beats in one clock.
        """
        clocks, out = checked_arrivals("Upsample", arrivals, self.beats), self.times(arrivals)
        row_out = out.reshape(self.rows, -1)[:, -1]
        written = clocks.reshape(self.rows, -1)[:, 0]
        free = row_out - written
        free[-1] -= 1  # with its last beat the event is over
        return int(max(clocks[-1] - clocks[0] + 1, out[-1] - clocks[0] - 1, free.max()))

    def emulate(self, beats: IntArray) -> IntArray:
        """Return the output beats.

        Args:
            beats: codes, (events, `beats`, groups, elements).

        Returns:
            Codes, (events, output beats, groups, elements).

        Raises:
            DataError: another number of beats.
        """
        codes = np.asarray(beats, dtype=np.int64)
        if codes.ndim != 4 or codes.shape[1] != self.beats:
            raise DataError(
                f"Upsample: codes of shape {codes.shape} are no events of {self.beats} beats",
                fix=f"expected is (events, {self.beats}, groups, elements)",
            )
        return codes[:, self.order()]
