# SPDX-License-Identifier: Apache-2.0
"""Streams: tensors of an event that travel as beats, some positions per clock."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from l1ml.graph.tensor import TensorType
from l1ml.types.arrays import IntArray


@dataclass(frozen=True)
class Raster:
    """The positions of an event and how they share beats; a row begins with a new beat.

    Args:
        rows: rows of an image; 1 for particles, time steps and whole events.
        columns: positions of a row.
        lanes: positions per beat; those past the end of a row mean nothing.
    """

    rows: int = 1
    columns: int = 1
    lanes: int = 1

    def __post_init__(self) -> None:
        assert min(self.rows, self.columns, self.lanes) > 0
        assert self.lanes <= self.columns

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
        """Beats of an event."""
        return self.rows * self.beats_per_row

    @property
    def whole(self) -> bool:
        """The event is one beat with one position: all of it at once."""
        return self.positions == 1

    def slots(self) -> IntArray:
        """Return the position in every lane of every beat, (beats, lanes); -1 past the end of a row."""
        column = np.arange(self.beats_per_row * self.lanes, dtype=np.int64)
        row = np.where(column < self.columns, column, -self.positions)
        grid = np.arange(self.rows, dtype=np.int64)[:, None] * self.columns + row
        return np.maximum(grid, -1).reshape(self.beats, self.lanes)

    def filled(self) -> IntArray:
        """Return `slots` where lanes past the end of a row repeat its last position."""
        return np.asarray(np.maximum.accumulate(self.slots(), axis=1))

    def __str__(self) -> str:
        if self.whole:
            return "whole event"
        shape = f"{self.rows}x{self.columns}" if self.rows > 1 else f"{self.columns}"
        return f"{shape} positions, {self.lanes} per beat"


WHOLE = Raster()


@dataclass(frozen=True, eq=False)
class Stream:
    """What flows between two engines.

    Args:
        raster: the positions and their beats.
        type: of the elements of a position, (elements,); the same in every lane.
        groups: positions that lie side by side in a beat: the lanes, but for windows, whose beats hold the
            neighbourhood of their lanes.
    """

    raster: Raster
    type: TensorType
    groups: int = 0

    def __post_init__(self) -> None:
        assert len(self.type.shape) == 1
        if not self.groups:
            object.__setattr__(self, "groups", self.raster.lanes)

    @property
    def elements(self) -> int:
        """Elements of a position."""
        return self.type.size

    @property
    def widths(self) -> list[int]:
        """Bits of every element of a position; 0 for what is always zero."""
        return [self.type.at(k).width for k in range(self.elements)]

    @property
    def position_bits(self) -> int:
        """Bits of a position."""
        return sum(self.widths)

    @property
    def bits(self) -> int:
        """Bits of a beat."""
        return self.groups * self.position_bits

    def beat_type(self) -> TensorType:
        """Return the type of a whole beat, (groups, elements)."""
        shape = (self.groups, self.elements)
        return TensorType(*(np.broadcast_to(a, shape) for a in (self.type.lo, self.type.hi, self.type.frac)))

    def __str__(self) -> str:
        return f"{self.raster}, {self.elements} elements, {self.bits} bits per beat"


def same_in_all_lanes(kind: TensorType) -> TensorType:
    """Return one type per element that holds for every lane of (lanes, elements)."""
    frac = kind.frac.max(axis=0)
    up = frac - kind.frac
    return TensorType((kind.lo << up).min(axis=0), (kind.hi << up).max(axis=0), frac)
