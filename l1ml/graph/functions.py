# SPDX-License-Identifier: Apache-2.0
"""Real-valued functions of one variable, exactly as a framework computes them in float32.

They never become hardware as such: together with the quantizer behind them they are a table from input
code to output code (`l1ml.graph.unary`).  Array parameters broadcast to the shape of the tensor.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any, TypeVar

import numpy as np

from l1ml.types.arrays import IntArray, RealArray
from l1ml.types.grid import Grid

Array = np.ndarray
F = TypeVar("F", bound="Function")


@dataclass(frozen=True, eq=False)
class Function(ABC):
    """An elementwise function of float32 arrays.

    Attributes:
        frac: fraction bits of the grid on which all results lie, None for real results.
        monotone: the function never changes direction.
        increasing: the function never falls.
        ulps: units in the last place by which frameworks may differ from ``__call__``.
    """

    @property
    def frac(self) -> int | IntArray | None:
        """Fraction bits of the results, or None."""
        return None

    @property
    def increasing(self) -> bool:
        """Tell whether the function never falls."""
        return False

    @property
    def monotone(self) -> bool:
        """Tell whether the function never changes direction."""
        return self.increasing

    @property
    def ulps(self) -> float:
        """Last places by which another implementation may differ."""
        return 0.0

    @abstractmethod
    def __call__(self, x: Array) -> Array:
        """Return the results, float32, for float32 ``x`` of shape (..., *shape)."""

    def bounds(self, low: Array, high: Array) -> tuple[Array, Array]:
        """Return the smallest and largest result that a framework may give between two arguments."""
        a, b = self(low), self(high)
        low, high = np.minimum(a, b), np.maximum(a, b)
        if self.ulps:
            margin = np.float32(self.ulps) * np.spacing(np.maximum(np.abs(low), np.abs(high)))
            low, high = low - margin, high + margin
        return low, high


def moved(function: F, shape: tuple[int, ...], move: Callable[[Array], Array]) -> F:
    """Return a function for a tensor of ``shape`` whose elements are rearranged by ``move``."""
    changes: dict[str, Any] = {}
    for field in fields(function):
        value = getattr(function, field.name)
        if isinstance(value, np.ndarray):
            changes[field.name] = move(np.broadcast_to(value, shape)) if value.ndim else value
        elif isinstance(value, Grid):
            changes[field.name] = value.moved(
                lambda array: move(np.broadcast_to(array, shape)) if array.ndim else array
            )
    return replace(function, **changes)


def parameters(function: Function) -> list[Array]:
    """Return the arrays a function holds, those of a grid included."""
    out: list[Array] = []
    for field in fields(function):
        value = getattr(function, field.name)
        if isinstance(value, np.ndarray):
            out.append(value)
        elif isinstance(value, Grid):
            out += [value.lo, value.hi, value.frac]
    return out


@dataclass(frozen=True, eq=False)
class Scale(Function):
    """``float32(x * factor)``."""

    factor: Array

    @property
    def increasing(self) -> bool:
        """A factor of at least 0 keeps the order."""
        return bool((np.asarray(self.factor) >= 0).all())

    @property
    def monotone(self) -> bool:
        """Per element it is always so."""
        return True

    def __call__(self, x: Array) -> Array:
        """Multiply."""
        return np.asarray(x * np.asarray(self.factor, dtype=np.float32), dtype=np.float32)


@dataclass(frozen=True, eq=False)
class SumScale(Function):
    """The real scale of an integer sum that the framework summed in float32, in an order of its own.

    Args:
        factor: real value of one code, float64.
        slack: bound on the framework's rounding errors, in units of the result.
    """

    factor: RealArray
    slack: RealArray

    @property
    def increasing(self) -> bool:
        """A factor of at least 0 keeps the order."""
        return bool((np.asarray(self.factor) >= 0).all())

    @property
    def monotone(self) -> bool:
        """Per element it is always so."""
        return True

    def __call__(self, x: Array) -> Array:
        """Multiply in float64, round once."""
        return np.asarray(x.astype(np.float64) * self.factor, dtype=np.float32)

    def bounds(self, low: Array, high: Array) -> tuple[Array, Array]:
        """Widen by the slack."""
        a, b = (n.astype(np.float64) * self.factor for n in (low, high))
        least = (np.minimum(a, b) - self.slack).astype(np.float32)
        most = (np.maximum(a, b) + self.slack).astype(np.float32)
        return np.nextafter(least, np.float32(-np.inf)), np.nextafter(most, np.float32(np.inf))


@dataclass(frozen=True, eq=False)
class Divide(Function):
    """``float32(x / divisor)``."""

    divisor: Array

    @property
    def increasing(self) -> bool:
        """A positive divisor keeps the order."""
        return bool((np.asarray(self.divisor) > 0).all())

    @property
    def monotone(self) -> bool:
        """Per element it is always so."""
        return True

    def __call__(self, x: Array) -> Array:
        """Divide."""
        return np.asarray(x / np.asarray(self.divisor, dtype=np.float32), dtype=np.float32)


@dataclass(frozen=True, eq=False)
class Offset(Function):
    """``float32(x + offset)``."""

    offset: Array

    @property
    def increasing(self) -> bool:
        """Always."""
        return True

    def __call__(self, x: Array) -> Array:
        """Add."""
        return np.asarray(x + np.asarray(self.offset, dtype=np.float32), dtype=np.float32)


@dataclass(frozen=True, eq=False)
class Relu(Function):
    """``max(x, 0)``."""

    @property
    def increasing(self) -> bool:
        """Always."""
        return True

    def __call__(self, x: Array) -> Array:
        """Clip at 0."""
        return np.maximum(x, np.float32(0))


@dataclass(frozen=True, eq=False)
class Clip(Function):
    """``min(max(x, lo), hi)``."""

    lo: Array
    hi: Array

    @property
    def increasing(self) -> bool:
        """Always."""
        return True

    def __call__(self, x: Array) -> Array:
        """Clip."""
        return np.minimum(np.maximum(x, np.float32(self.lo)), np.float32(self.hi))


@dataclass(frozen=True, eq=False)
class Rectify(Function):
    """The ReLU family: ``slope * (x - threshold)`` below the threshold, ``x`` above, at most ``max_value``.

    LeakyReLU, PReLU (a slope per element), ThresholdedReLU (slope 0) and Keras' general ReLU.
    """

    slope: Array
    max_value: Array | None = None
    threshold: float = 0.0

    @property
    def increasing(self) -> bool:
        """With slopes of at least 0."""
        return bool((np.asarray(self.slope) >= 0).all())

    def __call__(self, x: Array) -> Array:
        """Evaluate."""
        zero = np.float32(self.threshold)
        below = np.asarray(self.slope, dtype=np.float32) * (x - zero)
        y = np.where(x >= zero if self.threshold == 0 else x > zero, x, below)
        return np.asarray(
            y if self.max_value is None else np.minimum(y, np.float32(self.max_value)), np.float32
        )


@dataclass(frozen=True, eq=False)
class HardSigmoid(Function):
    """``clip(slope * x + shift, 0, 1)``; 0.2 and 0.5 in Keras 2, 1/6 and 0.5 in Keras 3, 0.5 and 0.5 in QKeras."""

    slope: float = 0.2
    shift: float = 0.5

    @property
    def increasing(self) -> bool:
        """Always."""
        return self.slope >= 0

    def __call__(self, x: Array) -> Array:
        """Evaluate."""
        line = x * np.float32(self.slope) + np.float32(self.shift)
        return np.minimum(np.maximum(line, np.float32(0)), np.float32(1))


@dataclass(frozen=True, eq=False)
class ToGrid(Function):
    """A quantizer: round and overflow."""

    grid: Grid

    @property
    def frac(self) -> int | IntArray | None:
        """Those of the grid."""
        return self.grid.frac

    @property
    def increasing(self) -> bool:
        """All but those that wrap around."""
        return self.grid.overflow.value in ("SAT", "SAT_SYM")

    def __call__(self, x: Array) -> Array:
        """Convert; values beyond float64 count as the largest."""
        return self.grid.values(np.nan_to_num(x.astype(np.float64))).astype(np.float32)


@dataclass(frozen=True, eq=False)
class Sign(Function):
    """``scale`` where ``x >= 0`` (or ``x > 0``), else ``-scale`` (or ``low``)."""

    scale: float = 1.0
    low: float | None = None
    at_zero: bool = True

    @property
    def frac(self) -> int | IntArray | None:
        """The coarsest grid that holds both values."""
        from l1ml.graph.reals import to_integers

        low = -self.scale if self.low is None else self.low
        return to_integers(np.array([self.scale, low]), "a sign")[1]

    @property
    def increasing(self) -> bool:
        """With a positive scale."""
        return self.scale >= (-self.scale if self.low is None else self.low)

    @property
    def monotone(self) -> bool:
        """Always."""
        return True

    def __call__(self, x: Array) -> Array:
        """Compare."""
        low = -self.scale if self.low is None else self.low
        return np.where(x >= 0 if self.at_zero else x > 0, np.float32(self.scale), np.float32(low))
