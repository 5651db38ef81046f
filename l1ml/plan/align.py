# SPDX-License-Identifier: Apache-2.0
"""Align: beats of one stream wait in a small memory for those of another, where no constant delay would do.

Beats come at their nominal clocks, so the first beat of an event is written a constant number of clocks before it is
read: that is how the memory knows where an event begins, whatever became of the events around it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from l1ml.errors import ConfigError
from l1ml.types.arrays import IntArray


@dataclass(frozen=True)
class AlignEngine:
    """A buffer of computed depth: it has no flags and cannot overflow.

    Args:
        width: bits of a beat.
        offset: clocks from the first beat of an event to the one that reads it.
        depth: beats that the memory holds.

    Raises:
        ConfigError: a number below 1, or a depth that is not enough.
    """

    MODULE: ClassVar[str] = "l1ml_align"

    width: int
    offset: int
    depth: int

    def __post_init__(self) -> None:
        if min(self.width, self.offset, self.depth) < 1:
            raise ConfigError(
                f"Align: width {self.width}, offset {self.offset}, depth {self.depth}; at least 1 each"
            )

    @classmethod
    def between(cls, width: int, writes: IntArray, reads: IntArray) -> AlignEngine:
        """Return the buffer between two streams.

        A beat could come every clock where events are cut short, so the memory holds as many as the longest wait.

        Args:
            width: bits of a beat.
            writes: clock of every beat of a lone event, (beats,).
            reads: clock at which each is read, later by at least 1, same shape.

        Raises:
            ConfigError: a beat is read before it has been written.
        """
        waits = np.asarray(reads, dtype=np.int64) - np.asarray(writes, dtype=np.int64)
        if len(waits) == 0 or int(waits.min()) < 1:
            raise ConfigError("Align: a beat is read before it has been written", fix="read it later")
        return cls(width, int(waits[0]), int(waits.max()) + 1)

    def parameters(self) -> dict[str, int]:
        """Return the parameters of the SystemVerilog module."""
        return {"Width": self.width, "Offset": self.offset, "Depth": self.depth}
