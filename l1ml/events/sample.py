# SPDX-License-Identifier: Apache-2.0
"""A run of events: inputs, when they happened, and what is known about them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from l1ml.errors import DataError
from l1ml.types.arrays import IntArray, RealArray
from l1ml.types.timing import BX_PER_ORBIT


@dataclass(frozen=True, eq=False)
class EventSample:
    """N consecutive events of a file or a generator.

    Args:
        inputs: values per input name, float64, (events, *shape).
        bx: bunch crossing, 0..3563, (events,).
        orbit: number of the orbit, (events,).
        golden: the framework's own outputs per name, float64, (events, *shape); empty if none are known.
        label: class index per event, (events,); None if unknown.
        first: number of the first event in its file.
    """

    inputs: Mapping[str, RealArray]
    bx: IntArray
    orbit: IntArray
    golden: Mapping[str, RealArray] = field(default_factory=dict)
    label: IntArray | None = None
    first: int = 0

    def __len__(self) -> int:
        return len(self.bx)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, EventSample):
            return NotImplemented
        mine, theirs = self._columns(), other._columns()
        return (
            self.first == other.first
            and mine.keys() == theirs.keys()
            and all(np.array_equal(mine[key], theirs[key]) for key in mine)
        )

    __hash__ = None  # type: ignore[assignment]  # arrays inside: equal, but not hashable

    def __str__(self) -> str:
        shapes = ", ".join(f"{key} {array.shape[1:]}" for key, array in self._columns().items())
        return f"events {self.first}..{self.first + len(self) - 1}: {shapes}"

    def verify(self) -> None:
        """Check that all columns have the same number of events and the bunch crossings exist.

        Raises:
            DataError: they do not; names the column.
        """
        if not self.inputs:
            raise DataError("a sample needs at least one input")
        for name, column in self._columns().items():
            if len(column) != len(self):
                raise DataError(f"{name} has {len(column)} events, bx has {len(self)}", where=(name,))
        if len(self) and not (self.bx.min() >= 0 and self.bx.max() < BX_PER_ORBIT):
            raise DataError(
                f"bx {self.bx.min()}..{self.bx.max()}; allowed are 0 to {BX_PER_ORBIT - 1}", where=("bx",)
            )

    def _columns(self) -> dict[str, NDArray[Any]]:
        columns: dict[str, NDArray[Any]] = {f"inputs/{name}": array for name, array in self.inputs.items()}
        columns |= {f"golden/{name}": array for name, array in self.golden.items()}
        columns |= {"bx": self.bx, "orbit": self.orbit}
        return columns if self.label is None else {**columns, "label": self.label}


def consecutive(events: int, *, first: int = 0, step_bx: int = 1) -> tuple[IntArray, IntArray]:
    """Return (bx, orbit) of events that follow each other every ``step_bx`` bunch crossings.

    Args:
        events: how many.
        first: number of the first event; event 0 is at BX 0 of orbit 0.
        step_bx: bunch crossings from one event to the next, the TMUX of the board.

    Example:
        >>> [a.tolist() for a in consecutive(3, first=3562)]
        [[3562, 3563, 0], [0, 0, 1]]
    """
    crossing = (first + np.arange(events, dtype=np.int64)) * step_bx
    return crossing % BX_PER_ORBIT, crossing // BX_PER_ORBIT
