# SPDX-License-Identifier: Apache-2.0
"""Functions of single elements that only ONNX and QONNX have, in the float32 arithmetic of the reference."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from l1ml.graph.functions import Array, Function
from l1ml.graph.reals import to_integers
from l1ml.types.arrays import IntArray, RealArray
from l1ml.types.fixed import Rounding, round_codes

ROUNDINGS = {
    "ROUND": Rounding.RND_CONV,
    "HALF_EVEN": Rounding.RND_CONV,
    "FLOOR": Rounding.TRN,
    "DOWN": Rounding.TRN_ZERO,
    "HALF_UP": Rounding.RND_INF,
    "HALF_DOWN": Rounding.RND_ZERO,
}
"""QONNX's names; note that HALF_UP there is "ties away from zero"."""

MORE_ROUNDINGS: dict[str, Callable[[RealArray], RealArray]] = {
    "CEIL": np.ceil,
    "UP": lambda x: np.copysign(np.ceil(np.abs(x)), x),
}
"""Modes that no fixed-point type has: away from zero, and upwards."""

MODES = (*ROUNDINGS, *MORE_ROUNDINGS)


def rounded(x: RealArray, mode: str) -> RealArray:
    """Round to whole numbers in one of QONNX's modes.

    Example:
        >>> [rounded(np.array([-2.5, 0.2, 1.5]), mode).tolist() for mode in ("ROUND", "HALF_UP", "UP")]
        [[-2.0, 0.0, 2.0], [-3.0, 0.0, 2.0], [-3.0, 1.0, 2.0]]
    """
    if mode in MORE_ROUNDINGS:
        return np.asarray(MORE_ROUNDINGS[mode](x), dtype=np.float64)
    return round_codes(x, ROUNDINGS[mode])


@dataclass(frozen=True, eq=False)
class Codes(Function):
    """``round(clip(x, lo, hi)) - zero``: what a quantizer makes of the quotient of value and scale.

    Args:
        lo: smallest code, whole; minus infinity for none.
        hi: largest code.
        zero: subtracted from the code; on a binary grid.
        mode: QONNX's name of the rounding.
    """

    lo: Array
    hi: Array
    zero: Array
    mode: str = "ROUND"

    @property
    def frac(self) -> int | IntArray | None:
        """Fraction bits of the zero point."""
        return max(0, to_integers(np.asarray(self.zero, dtype=np.float64), "a zero point")[1])

    @property
    def increasing(self) -> bool:
        """Always."""
        return True

    def __call__(self, x: Array) -> Array:
        """Clip, round, subtract."""
        clipped = np.minimum(np.maximum(x.astype(np.float64), self.lo), self.hi)
        return np.asarray(rounded(clipped, self.mode) - self.zero, dtype=np.float32)


@dataclass(frozen=True, eq=False)
class Whole(Function):
    """Floor, Ceil, Round, and the truncation of a Cast: whole numbers of any size."""

    mode: str

    @property
    def frac(self) -> int | IntArray | None:
        """None are needed."""
        return 0

    @property
    def increasing(self) -> bool:
        """Always."""
        return True

    def __call__(self, x: Array) -> Array:
        """Round."""
        return np.asarray(rounded(x.astype(np.float64), self.mode), dtype=np.float32)


@dataclass(frozen=True, eq=False)
class Signum(Function):
    """-1, 0 or 1."""

    @property
    def frac(self) -> int | IntArray | None:
        """None are needed."""
        return 0

    @property
    def increasing(self) -> bool:
        """Always."""
        return True

    def __call__(self, x: Array) -> Array:
        """Compare with 0."""
        return np.asarray(np.sign(x), dtype=np.float32)


_TESTS: dict[str, Callable[[Array, Array], Array]] = {
    ">=": np.greater_equal, ">": np.greater, "<=": np.less_equal, "<": np.less,
    "==": np.equal, "!=": np.not_equal,
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Step(Function):
    """1 where ``x kind value`` holds, else 0."""

    kind: str
    value: Array

    @property
    def frac(self) -> int | IntArray | None:
        """None are needed."""
        return 0

    @property
    def increasing(self) -> bool:
        """As long as it asks for more."""
        return self.kind in (">=", ">")

    @property
    def monotone(self) -> bool:
        """Unless it asks for equality."""
        return self.kind not in ("==", "!=")

    def __call__(self, x: Array) -> Array:
        """Compare."""
        return np.asarray(_TESTS[self.kind](x, np.asarray(self.value, np.float32)), dtype=np.float32)


@dataclass(frozen=True, eq=False)
class Thresholds(Function):
    """How many thresholds ``x`` reaches.

    Args:
        which: row of each element.
        rows: thresholds of each row, ascending.
    """

    which: IntArray
    rows: tuple[tuple[float, ...], ...]

    @property
    def frac(self) -> int | IntArray | None:
        """None are needed."""
        return 0

    @property
    def increasing(self) -> bool:
        """Always."""
        return True

    def __call__(self, x: Array) -> Array:
        """Count."""
        counts = np.zeros(np.broadcast_shapes(x.shape, np.shape(self.which)), dtype=np.float32)
        for number, row in enumerate(self.rows):
            own = np.searchsorted(np.array(row, dtype=np.float32), x, side="right")
            counts = np.where(np.asarray(self.which) == number, own, counts)
        return counts.astype(np.float32)


@dataclass(frozen=True, eq=False)
class Bound(Function):
    """A Clip with one bound: ``max(x, value)``, or ``min(x, value)`` for an upper one."""

    value: float
    upper: bool = False

    @property
    def increasing(self) -> bool:
        """Always."""
        return True

    def __call__(self, x: Array) -> Array:
        """Bound."""
        return np.asarray((np.minimum if self.upper else np.maximum)(x, np.float32(self.value)))


@dataclass(frozen=True, eq=False)
class HardSwish(Function):
    """``x * clip(slope * x + shift, 0, 1)``."""

    slope: float = 1.0 / 6.0
    shift: float = 0.5

    def __call__(self, x: Array) -> Array:
        """Evaluate."""
        line = x * np.float32(self.slope) + np.float32(self.shift)
        return np.asarray(x * np.minimum(np.maximum(line, np.float32(0)), np.float32(1)), dtype=np.float32)

    @property
    def ulps(self) -> float:
        """Spread among implementations: the slope is rounded, or 6 is divided by."""
        return 2.0


@dataclass(frozen=True, eq=False)
class Quotient(Function):
    """``dividend / x``."""

    dividend: Array

    def __call__(self, x: Array) -> Array:
        """Divide."""
        with np.errstate(all="ignore"):
            return np.asarray(np.asarray(self.dividend, dtype=np.float32) / x, dtype=np.float32)
