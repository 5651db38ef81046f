# SPDX-License-Identifier: Apache-2.0
"""Split and Collect: whole events into beats of some positions, and beats into whole events.

Both see the positions as an image in raster order (particles and time steps: one row).  A row begins with a new
beat; the lanes past the end of a row are don't-care, `SplitEngine` sends zeros there.

The hardware is a shift register in both directions, so no bit passes a multiplexer that is wider than load or
shift, and there is no address.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from l1ml.errors import ConfigError, DataError
from l1ml.plan.arrivals import check_positive, checked_arrivals
from l1ml.types.arrays import IntArray


@dataclass(frozen=True)
class _Regroup:
    """The raster that both directions share.

    Args:
        rows: rows of an image; 1 for a sequence.
        columns: positions of a row.
        lanes: positions of a beat.
        position_bits: bits of a position, all its elements together.
    """

    rows: int
    columns: int
    lanes: int
    position_bits: int

    NAME: ClassVar[str]

    def __post_init__(self) -> None:
        check_positive(
            self.NAME,
            rows=self.rows,
            columns=self.columns,
            lanes=self.lanes,
            position_bits=self.position_bits,
        )
        if self.lanes > self.columns:
            raise ConfigError(
                f"{self.NAME}: {self.lanes} lanes, but a row has only {self.columns} positions",
                fix=f"give at most {self.columns} lanes",
            )

    @property
    def positions(self) -> int:
        """Positions of an event."""
        return self.rows * self.columns

    @property
    def beats_per_row(self) -> int:
        """Beats of a row."""
        return -(-self.columns // self.lanes)

    @property
    def beats(self) -> int:
        """Beats of an event on the narrow side."""
        return self.rows * self.beats_per_row

    def parameters(self) -> dict[str, int]:
        """Return the parameters of the SystemVerilog module."""
        return {
            "Rows": self.rows,
            "Columns": self.columns,
            "Lanes": self.lanes,
            "PositionBits": self.position_bits,
        }


@dataclass(frozen=True)
class SplitEngine(_Regroup):
    """One wide beat becomes `beats` beats, one per clock, the first one clock after the wide beat.

    The wide beat holds the positions of an event in raster order without gaps.  One that comes before the last
    beat of the event before it has gone cuts that event short and is itself sent whole and in time.

    Args:
        rows: rows of an image; 1 for a sequence.
        columns: positions of a row.
        lanes: positions of an output beat, at most ``columns``.
        position_bits: bits of a position, all its elements together.

    Raises:
        ConfigError: a number below 1, or more lanes than columns.
    """

    MODULE: ClassVar[str] = "l1ml_split"
    NAME: ClassVar[str] = "Split"

    def times(self, arrivals: IntArray) -> IntArray:
        """Return the clock of every output beat, (`beats`,).

        Args:
            arrivals: clock of the wide beat, (1,).

        Raises:
            ConfigError: not one clock.
        """
        clocks = checked_arrivals(self.NAME, arrivals, 1)
        return clocks[0] + 1 + np.arange(self.beats, dtype=np.int64)

    def busy(self, arrivals: IntArray) -> int:
        """Return the least clocks between two events: `beats`."""
        checked_arrivals(self.NAME, arrivals, 1)
        return self.beats

    def emulate(self, beats: IntArray) -> IntArray:
        """Return the output beats.

        Args:
            beats: codes, (events, 1, lanes, elements); the elements of all lanes together are those of the
                positions, lowest position first.

        Returns:
            Codes, (events, `beats`, lanes, elements of a position), zero past the end of a row.

        Raises:
            DataError: the elements do not divide among the positions.
        """
        codes = np.asarray(beats, dtype=np.int64)
        elements, rest = divmod(math.prod(codes.shape[1:]), self.positions)
        if codes.ndim < 3 or codes.shape[1] != 1 or rest:
            raise DataError(
                f"Split: codes of shape {codes.shape} are no wide beats of {self.positions} positions",
                fix="expected is (events, 1, lanes, elements) with a multiple of the positions as elements",
            )
        padded = np.zeros((len(codes), self.rows, self.beats_per_row * self.lanes, elements), dtype=np.int64)
        padded[:, :, : self.columns] = codes.reshape(len(codes), self.rows, self.columns, elements)
        return padded.reshape(len(codes), self.beats, self.lanes, elements)


@dataclass(frozen=True)
class CollectEngine(_Regroup):
    """All beats of an event become one wide beat, one clock after the last of them.

    The wide beat holds the positions in raster order without gaps.

    Args:
        rows: rows of an image; 1 for a sequence.
        columns: positions of a row.
        lanes: positions of an input beat, at most ``columns``.
        position_bits: bits of a position, all its elements together.

    Raises:
        ConfigError: a number below 1, or more lanes than columns.
    """

    MODULE: ClassVar[str] = "l1ml_collect"
    NAME: ClassVar[str] = "Collect"

    def times(self, arrivals: IntArray) -> IntArray:
        """Return the clock of the wide beat, (1,).

        Args:
            arrivals: clock of every input beat, (`beats`,), ascending.

        Raises:
            ConfigError: not one clock per beat, or two beats in one clock.
        """
        return checked_arrivals(self.NAME, arrivals, self.beats)[-1:] + 1

    def busy(self, arrivals: IntArray) -> int:
        """Return the least clocks between two events: the next may begin right behind the last beat."""
        clocks = checked_arrivals(self.NAME, arrivals, self.beats)
        return int(clocks[-1] - clocks[0]) + 1

    def emulate(self, beats: IntArray) -> IntArray:
        """Return the wide beats.

        Args:
            beats: codes, (events, `beats`, lanes, elements of a position); past the end of a row anything.

        Returns:
            Codes, (events, 1, positions, elements of a position).

        Raises:
            DataError: other numbers of beats or lanes.
        """
        codes = np.asarray(beats, dtype=np.int64)
        if codes.ndim != 4 or codes.shape[1:3] != (self.beats, self.lanes):
            raise DataError(
                f"Collect: codes of shape {codes.shape} are no events of {self.beats} beats, {self.lanes} lanes",
                fix=f"expected is (events, {self.beats}, {self.lanes}, elements)",
            )
        rows = codes.reshape(len(codes), self.rows, self.beats_per_row * self.lanes, codes.shape[3])
        return rows[:, :, : self.columns].reshape(len(codes), 1, self.positions, codes.shape[3])
