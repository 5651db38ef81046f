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
"""How far a clock may be from a multiple of the LHC's and still mean that multiple."""


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
        return max(1, math.floor(self.mhz / LHC_MHZ + 1e-3))

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

    ``collect_cycles`` waits for the last input word the event needs, ``compute_cycles`` is the
    core's pipeline, ``emit_cycles`` the way from the core's output to the first word on the link.
    """

    collect_cycles: int
    compute_cycles: int
    emit_cycles: int
    clock_mhz: float

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
        whole = Clock(self.clock_mhz).lhc_multiple
        if whole is not None:  # 18 clocks of 360.71 MHz are 2 BX, although 360.71 is not quite 9 x 40.0789
            return -(-self.cycles // whole)
        return math.ceil(self.ns / BX_NS - 1e-9)

    def __str__(self) -> str:
        return (
            f"{self.cycles} clocks = {self.ns:.1f} ns = {self.bx} BX "
            f"(collect {self.collect_cycles} + compute {self.compute_cycles} + emit {self.emit_cycles})"
        )
