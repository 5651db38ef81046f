# SPDX-License-Identifier: Apache-2.0
"""LHC time: bunch crossings, orbits, clocks and latencies.

Source:
    LHC bunch frequency 40.0789 MHz and 3564 bunch crossings per orbit; link clocks are its
    multiples (240.47, 320.63, 360.71 MHz).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from l1ml.errors import TimingError

LHC_MHZ = 40.0789
BX_NS = 1e3 / LHC_MHZ
BX_PER_ORBIT = 3564
MAX_MULTIPLE = 16
ROUNDED = 0.005
"""How far a clock may be from a multiple of the LHC's where a link is locked to that, and still mean the multiple."""
WRITTEN = 1e-4
"""How far it may be, with a few digits, and be that multiple: 240.47 is six times 40.0789, 240 is not."""


@dataclass(frozen=True, slots=True)
class Clock:
    """A clock of ``mhz`` megahertz, in fixed phase to the LHC when it is a multiple of 40.0789."""

    mhz: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.mhz) and 1.0 <= self.mhz <= 1500.0):
            raise TimingError(
                f"clock of {self.mhz} MHz; allowed are 1 to 1500 MHz", fix="set clock_mhz, e.g. 360.71"
            )

    @property
    def period_ns(self) -> float:
        """Return the period in ns."""
        return 1e3 / self.mhz

    @property
    def cycles_per_bx(self) -> int:
        """Return whole clock cycles in one bunch crossing (9 at 360.71 MHz, 6 at 240.47)."""
        return self.cycles_in(1)

    def cycles_in(self, crossings: int) -> int:
        """Return whole clock cycles in some bunch crossings, at least 1 (29 in six at 200 MHz, 30 at 200.39)."""
        return max(1, math.floor(crossings * self._per_bx + 1e-9))

    def crossings_of(self, cycles: int) -> int:
        """Return the bunch crossings that some clock cycles last, rounded up."""
        return math.ceil(cycles / self._per_bx - 1e-9)

    @property
    def _per_bx(self) -> float:
        ratio = self.mhz / LHC_MHZ
        return float(round(ratio)) if abs(ratio - round(ratio)) < WRITTEN * ratio else ratio

    @property
    def lhc_multiple(self) -> int | None:
        """Return the number of cycles in one bunch crossing if that is whole, within 0.5 %; else None.

        People write 360 or 360.71 for nine times 40.0789.
        """
        ratio = self.mhz / LHC_MHZ
        near = round(ratio)
        return near if 1 <= near <= MAX_MULTIPLE and abs(ratio - near) < ROUNDED * ratio else None


@dataclass(frozen=True, slots=True)
class Latency:
    """Clocks from the first input word accepted to the first output word, in its three parts.

    Args:
        collect_cycles: until the core can start: the last input word that the event needs is in, or the first beat
            of an event that is read while it arrives.
        compute_cycles: the core's pipeline, to its output.
        emit_cycles: from the core's output to the first word on the link.
        clock_mhz: clock of link and core.
        last_word: number of the last input word that the event needs, from 0.
        words_out: words of an output packet.
    """

    collect_cycles: int
    compute_cycles: int
    emit_cycles: int
    clock_mhz: float
    last_word: int
    words_out: int

    @property
    def cycles(self) -> int:
        """Return the total in clock cycles."""
        return self.collect_cycles + self.compute_cycles + self.emit_cycles

    @property
    def ns(self) -> float:
        """Return the total in ns."""
        return self.cycles * 1e3 / self.clock_mhz

    @property
    def bx(self) -> int:
        """Return the total in bunch crossings, rounded up: what a trigger menu must wait."""
        return Clock(self.clock_mhz).crossings_of(self.cycles)

    @property
    def last_cycles(self) -> int:
        """Return the clocks from the first input word to the last output word."""
        return self.cycles + self.words_out - 1

    @property
    def tail_cycles(self) -> int:
        """Return the clocks from the last input word needed to the first output word.

        It is what the event waits for once it is there: of a block that reads an event while it arrives, all that
        the network adds.  Negative where the output does not depend on the last words.
        """
        return self.cycles - self.last_word

    @property
    def tail_last_cycles(self) -> int:
        """Return the clocks from the last input word needed to the last output word."""
        return self.last_cycles - self.last_word

    @property
    def gathered_cycles(self) -> int:
        """Return what ``collect_cycles`` is where the core takes an event as a whole."""
        return self.last_word + 1

    def in_ns(self, cycles: int) -> float:
        """Return a number of clocks in ns."""
        return cycles * 1e3 / self.clock_mhz

    def __str__(self) -> str:
        return (
            f"{self.cycles} clocks = {self.ns:.1f} ns = {self.bx} BX "
            f"(collect {self.collect_cycles} + compute {self.compute_cycles} + emit {self.emit_cycles})"
        )
