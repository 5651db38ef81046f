# SPDX-License-Identifier: Apache-2.0
"""Reduce: sum, maximum or minimum of every channel over all positions of an event, or over equal groups of them.

Positions come as an image in raster order (particles and time steps: one row).  A row begins with a new beat;
the lanes past the end of a row are don't-care.  A mean is a sum whose divisor goes into what follows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from l1ml.errors import ConfigError, DataError
from l1ml.plan.arrivals import check_positive, checked_arrivals
from l1ml.types.arrays import IntArray

KINDS = ("sum", "max", "min")
"""In the order of their numbers in the hardware."""


def check_tree_stages(engine: str, stages: int, terms: int) -> None:
    """Refuse more or fewer registers than an adder tree has levels.

    Args:
        engine: for the message.
        stages: registers from the terms to the result, one behind a level at most.
        terms: what is combined in one clock.

    Raises:
        ConfigError: names the most that the tree can hold.
    """
    levels = (terms - 1).bit_length()
    if not 0 <= stages <= levels:
        raise ConfigError(
            f"{engine}: {stages} registers in a tree of {terms} terms, which has {levels} levels",
            fix=f"give tree_stages from 0 to {levels}",
        )


@dataclass(frozen=True)
class ReduceEngine:
    """One accumulator per channel, one result per group of positions.

    Args:
        rows: rows of an image, of one group; 1 for a sequence.
        columns: positions of a row.
        lanes: positions of a beat, at most ``columns``.
        channels: elements of a position.
        element_bits: bits of every element.
        signed: whether elements, and so results, are two's complement.
        kind: ``sum``, ``max`` or ``min``.
        result_bits: bits of every result; all results must fit.
        tree_stages: registers in the tree that combines the lanes of a beat, 0 to its levels.
        groups: results of an event, one after the other, such as one per node over its edges.

    Raises:
        ConfigError: a number out of its range, an unknown kind, more lanes than columns, or too few result bits
            (names the fewest that hold every result).
    """

    MODULE: ClassVar[str] = "l1ml_reduce"

    rows: int
    columns: int
    lanes: int
    channels: int
    element_bits: int
    signed: bool
    kind: str
    result_bits: int
    tree_stages: int = 0
    groups: int = 1

    def __post_init__(self) -> None:
        check_positive(
            "Reduce", rows=self.rows, columns=self.columns, lanes=self.lanes, channels=self.channels,
            element_bits=self.element_bits, result_bits=self.result_bits, groups=self.groups,
        )  # fmt: skip
        if self.kind not in KINDS:
            raise ConfigError(f"Reduce: kind {self.kind!r}", fix=f"allowed are {', '.join(KINDS)}")
        if self.lanes > self.columns:
            raise ConfigError(
                f"Reduce: {self.lanes} lanes, but a row has only {self.columns} positions",
                fix=f"give at most {self.columns} lanes",
            )
        check_tree_stages("Reduce", self.tree_stages, self.lanes)
        least = self.least_result_bits(self.kind, self.rows * self.columns, self.element_bits, self.signed)
        if self.result_bits < least:
            raise ConfigError(
                f"Reduce: the {self.kind} of {self.rows * self.columns} elements of {self.element_bits} bits"
                f" does not fit {self.result_bits} bits",
                fix=f"give at least {least} result_bits",
            )
        if self.result_bits > 62:
            raise ConfigError(f"Reduce: result_bits = {self.result_bits}", fix="at most 62 are possible")

    @staticmethod
    def least_result_bits(kind: str, positions: int, element_bits: int, signed: bool) -> int:
        """Return the fewest bits that hold every result.

        Args:
            kind: ``sum``, ``max`` or ``min``.
            positions: of an event.
            element_bits: bits of an element.
            signed: whether elements are two's complement.

        Example:
            >>> ReduceEngine.least_result_bits("sum", 64, 8, True)
            14
        """
        if kind != "sum":
            return element_bits
        if signed:
            return ((positions << (element_bits - 1)) - 1).bit_length() + 1
        return (positions * ((1 << element_bits) - 1)).bit_length()

    @property
    def beats_per_row(self) -> int:
        """Beats of a row."""
        return -(-self.columns // self.lanes)

    @property
    def beats(self) -> int:
        """Beats of an event."""
        return self.groups * self.rows * self.beats_per_row

    @property
    def latency(self) -> int:
        """Clocks from the last beat of a group to its result."""
        return 1 + self.tree_stages

    def parameters(self) -> dict[str, int]:
        """Return the parameters of the SystemVerilog module."""
        return {
            "Rows": self.rows,
            "Columns": self.columns,
            "Lanes": self.lanes,
            "Channels": self.channels,
            "ElementBits": self.element_bits,
            "Signed": int(self.signed),
            "Kind": KINDS.index(self.kind),
            "ResultBits": self.result_bits,
            "TreeStages": self.tree_stages,
            "Groups": self.groups,
        }

    def times(self, arrivals: IntArray) -> IntArray:
        """Return the clock of every result, (`groups`,).

        Args:
            arrivals: clock of every beat of an event, (`beats`,), ascending.

        Raises:
            ConfigError: not one clock per beat, or two beats in one clock.
        """
        each = self.beats // self.groups
        return checked_arrivals("Reduce", arrivals, self.beats)[each - 1 :: each] + self.latency

    def busy(self, arrivals: IntArray) -> int:
        """Return the least clocks between two events: the next may begin right behind the last beat.

        Args:
            arrivals: clock of every beat of an event, (`beats`,), ascending.

        Raises:
            ConfigError: not one clock per beat, or two beats in one clock.
        """
        clocks = checked_arrivals("Reduce", arrivals, self.beats)
        return int(clocks[-1] - clocks[0]) + 1

    def emulate(self, beats: IntArray) -> IntArray:
        """Return the results.

        Args:
            beats: codes, (events, `beats`, lanes, channels); past the end of a row anything.

        Returns:
            Codes, (events, `groups`, 1, channels).

        Raises:
            DataError: other numbers of beats, lanes or channels.
        """
        codes = np.asarray(beats, dtype=np.int64)
        expected = (self.beats, self.lanes, self.channels)
        if codes.ndim != 4 or codes.shape[1:] != expected:
            raise DataError(
                f"Reduce: codes of shape {codes.shape} are no events of {self.beats} beats,"
                f" {self.lanes} lanes and {self.channels} channels",
                fix=f"expected is (events, {', '.join(map(str, expected))})",
            )
        lead = (len(codes), self.groups, self.rows)
        rows = codes.reshape(*lead, self.beats_per_row * self.lanes, self.channels)
        combine = {"sum": np.add, "max": np.maximum, "min": np.minimum}[self.kind]
        made: IntArray = combine.reduce(rows[:, :, :, : self.columns], axis=(2, 3))
        return made[:, :, None, :]
