# SPDX-License-Identifier: Apache-2.0
"""The range of one wire: integers with a common weight."""

from __future__ import annotations

from dataclasses import dataclass

from l1ml.errors import RangeError

MAX_WIDTH = 62
"""Widest wire.  Two bits below int64, so that the difference of two wires never overflows it."""


@dataclass(frozen=True, slots=True)
class IntType:
    """Integers ``lo..hi`` (inclusive) that stand for ``n * 2**-frac``."""

    lo: int
    hi: int
    frac: int = 0

    def __post_init__(self) -> None:
        if self.lo > self.hi:
            raise RangeError(f"empty range: lo={self.lo} is above hi={self.hi}")
        if self.width > MAX_WIDTH:
            raise RangeError(
                f"range {self.lo}..{self.hi} needs {self.width} bits, at most {MAX_WIDTH} are supported",
                fix="quantize the inputs of this sum or split it",
            )

    @property
    def signed(self) -> bool:
        """Tell whether the wire carries a sign bit."""
        return self.lo < 0

    @property
    def width(self) -> int:
        """Bits on the wire, sign bit included; 0 for the constant zero."""
        return max(self.hi, ~self.lo).bit_length() + self.signed

    def __str__(self) -> str:
        return f"{'s' if self.signed else 'u'}{self.width}.{self.frac}[{self.lo}..{self.hi}]"
