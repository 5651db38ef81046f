# SPDX-License-Identifier: Apache-2.0
"""Window: a line buffer that gives the neighbourhood of every beat, in one or two dimensions.

An image arrives in raster order, ``lanes`` pixels per beat; a row begins with a new beat, lanes past its end are
don't-care.  An output beat holds the *region* under all windows of a beat: kernel rows times as many columns as they
cover together, pixels outside the image zero.

Times are counted in *advances*: input beats, and flush ticks behind the last one, one per clock, where windows reach
beyond the image.  The next event may begin meanwhile if its beats come every clock: then they are the ticks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from l1ml.errors import ConfigError, DataError
from l1ml.plan.arrivals import check_positive, checked_arrivals
from l1ml.types.arrays import IntArray

Pair = tuple[int, int]
RAMS = ("auto", "distributed", "block")
"""In the order of their numbers in the hardware."""


@dataclass(frozen=True)
class WindowEngine:
    """Windows over an image, or over a sequence of one row.

    Args:
        rows: rows of the image.
        columns: pixels of a row.
        lanes: pixels of an input beat; a multiple of the stride along the row, or 1.
        pixel_bits: bits of a pixel, all its channels together.
        kernel: taps (along the column, along the row), as all that follow.
        strides: step between windows.
        dilation: distance between taps.
        padding: pixels of zero ((above, below), (left, right)); below 0, so many rows or columns are cut off.
        ram: where rows wait: ``auto``, ``distributed`` or ``block``.

    Raises:
        ConfigError: a number out of its range, or a shape that the engine cannot give in time; says what it can.
    """

    MODULE: ClassVar[str] = "l1ml_window"

    rows: int
    columns: int
    lanes: int
    pixel_bits: int
    kernel: Pair
    strides: Pair = (1, 1)
    dilation: Pair = (1, 1)
    padding: tuple[Pair, Pair] = ((0, 0), (0, 0))
    ram: str = "auto"

    def __post_init__(self) -> None:
        check_positive(
            "Window", rows=self.rows, columns=self.columns, lanes=self.lanes, pixel_bits=self.pixel_bits,
            kernel=min(self.kernel), strides=min(self.strides), dilation=min(self.dilation),
        )  # fmt: skip
        if self.ram not in RAMS:
            raise ConfigError(f"Window: ram {self.ram!r}", fix=f"allowed are {', '.join(RAMS)}")
        if self.lanes > self.columns:
            raise ConfigError(
                f"Window: {self.lanes} lanes, but a row has only {self.columns} pixels",
                fix=f"give at most {self.columns} lanes",
            )
        stride = self.strides[1]
        if self.lanes != 1 and self.lanes % stride:
            raise ConfigError(
                f"Window: {self.lanes} pixels per beat and a stride of {stride}",
                fix=f"give 1 or a multiple of {stride} pixels per beat",
            )
        reach = [d * (k - 1) for k, d in zip(self.kernel, self.dilation, strict=True)]
        for (before, after), size, name in zip(self.padding, reach, ("column", "row"), strict=True):
            if before > size or after > size:
                raise ConfigError(
                    f"Window: padding ({before}, {after}) along the {name} of a window that reaches over {size}",
                    fix=f"give at most {size}, or cut off with a number below 0",
                )
        if min(self.out_rows, self.out_columns) < 1:
            raise ConfigError(
                f"Window: a kernel {self.kernel} in an image of {self.rows} x {self.columns} pixels"
            )
        busy = self.step * (self.out_beats_per_row - 1) + 1
        if busy > self.beats_per_row or self.flush > self.base:
            raise ConfigError(
                f"Window: {self.out_rows} rows of {self.out_beats_per_row} output beats do not fit the "
                f"{self.beats_per_row} beats of each of {self.rows} input rows",
                fix="give less padding, or fewer pixels per beat",
            )

    @property
    def out_rows(self) -> int:
        """Rows of windows."""
        return self._count(0, self.rows)

    @property
    def out_columns(self) -> int:
        """Windows of a row."""
        return self._count(1, self.columns)

    def _count(self, axis: int, size: int) -> int:
        reach = self.dilation[axis] * (self.kernel[axis] - 1)
        return (size + sum(self.padding[axis]) - reach - 1) // self.strides[axis] + 1

    @property
    def out_lanes(self) -> int:
        """Windows of an output beat."""
        return max(1, self.lanes // self.strides[1])

    @property
    def step(self) -> int:
        """Advances from one output beat of a row to the next."""
        return self.strides[1] if self.lanes == 1 else 1

    @property
    def region_columns(self) -> int:
        """Columns that the windows of an output beat cover."""
        return (self.out_lanes - 1) * self.strides[1] + (self.kernel[1] - 1) * self.dilation[1] + 1

    @property
    def beats_per_row(self) -> int:
        """Input beats of a row."""
        return -(-self.columns // self.lanes)

    @property
    def beats(self) -> int:
        """Input beats of an event."""
        return self.rows * self.beats_per_row

    @property
    def out_beats_per_row(self) -> int:
        """Output beats of a row."""
        return -(-self.out_columns // self.out_lanes)

    @property
    def lead(self) -> int:
        """Advances from the first beat of a row to the one that completes its first region."""
        return (self.region_columns - 1 - self.padding[1][0]) // self.lanes

    @property
    def base(self) -> int:
        """Number of the advance that completes the first region."""
        rows = (self.kernel[0] - 1) * self.dilation[0] - self.padding[0][0]
        return rows * self.beats_per_row + self.lead

    @property
    def flush(self) -> int:
        """Advances that windows need behind the last input beat."""
        return max(0, int(self._advances()[-1]) + 1 - self.beats)

    def _advances(self) -> IntArray:
        """Return the advance that completes every output beat."""
        rows = np.arange(self.out_rows, dtype=np.int64)[:, None] * self.strides[0] * self.beats_per_row
        columns = np.arange(self.out_beats_per_row, dtype=np.int64) * self.step
        return (self.base + rows + columns).ravel()

    def parameters(self) -> dict[str, int]:
        """Return the parameters of the SystemVerilog module."""
        (top, bottom), (left, right) = self.padding
        return {
            "Rows": self.rows,
            "Columns": self.columns,
            "Lanes": self.lanes,
            "PixelBits": self.pixel_bits,
            "KernelRows": self.kernel[0],
            "KernelColumns": self.kernel[1],
            "StrideRows": self.strides[0],
            "StrideColumns": self.strides[1],
            "DilationRows": self.dilation[0],
            "DilationColumns": self.dilation[1],
            "PadTop": top,
            "PadBottom": bottom,
            "PadLeft": left,
            "PadRight": right,
            "RamStyle": RAMS.index(self.ram),
        }

    def times(self, arrivals: IntArray) -> IntArray:
        """Return the clock of every output beat, one behind the advance that completes it.

        Args:
            arrivals: clock of every input beat of an event, (`beats`,), ascending.

        Raises:
            ConfigError: not one clock per beat, or two beats in one clock.
        """
        clocks = checked_arrivals("Window", arrivals, self.beats)
        advances = np.append(clocks, clocks[-1] + 1 + np.arange(self.flush, dtype=np.int64))
        return np.asarray(advances[self._advances()] + 1)

    def busy(self, arrivals: IntArray) -> int:
        """Return the least clocks between two events.

        Where beats come every clock, flush ticks and the beats of the next event are the same advances; else the
        next event waits for the flush, or the last windows would wait for it.

        Args:
            arrivals: clock of every input beat of an event, (`beats`,), ascending.

        Raises:
            ConfigError: not one clock per beat, or two beats in one clock.
        """
        clocks = checked_arrivals("Window", arrivals, self.beats)
        span = int(clocks[-1] - clocks[0]) + 1
        first = clocks[: self.flush + 1]
        gapless = len(first) < 2 or bool((np.diff(first) == 1).all())
        return span if gapless and len(first) > self.flush else span + self.flush

    def emulate(self, beats: IntArray) -> IntArray:
        """Return the regions.

        Args:
            beats: codes, (events, `beats`, lanes, elements); past the end of a row anything.

        Returns:
            Codes, (events, output beats, kernel rows * region columns, elements); pixels past the end of a row
            repeat its last one, where no window of the image sees them.

        Raises:
            DataError: other numbers of beats or lanes.
        """
        codes = np.asarray(beats, dtype=np.int64)
        if codes.ndim != 4 or codes.shape[1:3] != (self.beats, self.lanes):
            raise DataError(
                f"Window: codes of shape {codes.shape} are no events of {self.beats} beats, {self.lanes} lanes",
                fix=f"expected is (events, {self.beats}, {self.lanes}, elements)",
            )
        image = codes.reshape(len(codes), self.rows, -1, codes.shape[-1])[:, :, : self.columns]
        pads = [(max(0, before), max(0, after)) for before, after in self.padding]
        cut = [max(0, -before) for before, _ in self.padding]
        image = np.pad(image, ((0, 0), *pads, (0, 0)))
        last = cut[1] + (self.out_beats_per_row - 1) * self.step * self.lanes + self.region_columns
        more = max(0, last - image.shape[2])
        image = np.pad(image, ((0, 0), (0, 0), (0, more), (0, 0)), mode="edge")
        row = (
            np.arange(self.out_rows)[:, None] * self.strides[0] + np.arange(self.kernel[0]) * self.dilation[0]
        )
        row = row + cut[0]
        start = cut[1] + np.arange(self.out_beats_per_row)[:, None] * self.step * self.lanes
        column = start + np.arange(self.region_columns)
        taken = image[:, row[:, None, :, None], column[None, :, None, :]]
        beats_out = self.out_rows * self.out_beats_per_row
        return taken.reshape(len(codes), beats_out, self.kernel[0] * self.region_columns, codes.shape[-1])
