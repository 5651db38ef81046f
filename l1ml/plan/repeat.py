# SPDX-License-Identifier: Apache-2.0
"""Repeat: a whole event beside every beat of a stream, such as a sum over all particles that every particle reads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from l1ml.errors import DataError
from l1ml.plan.arrivals import check_positive, checked_arrivals
from l1ml.types.arrays import IntArray


@dataclass(frozen=True)
class RepeatEngine:
    """One beat becomes `beats` equal ones, one per clock, the first one clock later.

    A beat that comes before the last copy of the one before it has gone cuts that one short and is itself sent
    whole and in time.

    Args:
        beats: copies.
        width: bits of a beat.

    Raises:
        ConfigError: a number below 1.
    """

    MODULE: ClassVar[str] = "l1ml_repeat"

    beats: int
    width: int

    def __post_init__(self) -> None:
        check_positive("Repeat", beats=self.beats, width=self.width)

    def parameters(self) -> dict[str, int]:
        """Return the parameters of the SystemVerilog module."""
        return {"Beats": self.beats, "Width": self.width}

    def times(self, arrivals: IntArray) -> IntArray:
        """Return the clock of every copy, (`beats`,).

        Args:
            arrivals: clock of the beat, (1,).

        Raises:
            ConfigError: not one clock.
        """
        return checked_arrivals("Repeat", arrivals, 1)[0] + 1 + np.arange(self.beats, dtype=np.int64)

    def busy(self, arrivals: IntArray) -> int:
        """Return the least clocks between two events: `beats`."""
        checked_arrivals("Repeat", arrivals, 1)
        return self.beats

    def emulate(self, beats: IntArray) -> IntArray:
        """Return the copies.

        Args:
            beats: codes, (events, 1, groups, elements).

        Returns:
            Codes, (events, `beats`, groups, elements).

        Raises:
            DataError: more than one beat.
        """
        codes = np.asarray(beats, dtype=np.int64)
        if codes.ndim != 4 or codes.shape[1] != 1:
            raise DataError(
                f"Repeat: codes of shape {codes.shape} are no events of one beat",
                fix="expected is (events, 1, groups, elements)",
            )
        return np.repeat(codes, self.beats, axis=1)
