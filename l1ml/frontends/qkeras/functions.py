# SPDX-License-Identifier: Apache-2.0
"""QKeras' quantizers on data, as functions of single float32 values.

Every function recomputes the integer code from the formula of ``qkeras/quantizers.py`` and returns the code's
value; what the framework's straight-through sum ``x + (xq - x)`` adds for large ``x`` is an artefact of training.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from l1ml.graph.functions import Array, Function
from l1ml.graph.named import Named
from l1ml.types.arrays import IntArray

_TANH = Named("tanh")
_SIGMOID = Named("sigmoid")


def module_sigmoid(x: Array, kind: str) -> Array:
    """Return QKeras' own sigmoid: hard, smooth or real."""
    if kind == "real":
        return _SIGMOID(x)
    slope = np.float32(0.1875 if kind == "smooth" else 0.5)
    return np.asarray(np.clip(slope * x + np.float32(0.5), np.float32(0), np.float32(1)))


def exact(x: Array) -> np.ndarray:
    """Return float32 values as float64, in which the rest is exact."""
    return x.astype(np.float64)


@dataclass(frozen=True, eq=False)
class ModuleSigmoid(Function):
    """QKeras' plain ``hard_sigmoid``, ``smooth_sigmoid``, or ``2 * sigmoid - 1`` of one of them (``tanh``)."""

    kind: str = "hard"
    tanh: bool = False

    @property
    def increasing(self) -> bool:
        """Always."""
        return True

    @property
    def ulps(self) -> float:
        """Only the real sigmoid differs among implementations."""
        return 8.0 if self.kind == "real" else 0.0

    def __call__(self, x: Array) -> Array:
        """Evaluate."""
        p = module_sigmoid(x, self.kind)
        return np.asarray(np.float32(2) * p - np.float32(1) if self.tanh else p, dtype=np.float32)


@dataclass(frozen=True, eq=False)
class LeakyRelu(Function):
    """``quantized_relu`` with a slope, a power of two: both sides are rounded on their own.

    Args:
        bits: without the sign bit that the slope takes.
        integer: bits above the binary point.
        slope: of the negative side; that side saturates at ``-slope * 2**integer``.
    """

    bits: int
    integer: int
    slope: float

    @property
    def frac(self) -> int | IntArray | None:
        """The LSB of the positive side, or finer where the lower bound is off it."""
        grid = self.bits - self.integer
        lowest = self.integer + int(np.log2(self.slope))  # the bound is -2**lowest
        return max(grid, -lowest)

    @property
    def increasing(self) -> bool:
        """Always."""
        return True

    def __call__(self, x: Array) -> Array:
        """Round, clip, add."""
        n, top = self.bits, 2.0**self.bits
        scaled = np.ldexp(exact(x), n - self.integer)
        above = np.clip(np.rint(scaled) / top, 0.0, 1.0 - 1.0 / top)
        below = self.slope * np.clip(np.rint(scaled * self.slope) / (self.slope * top), -1.0, 0.0)
        return np.asarray(np.ldexp(above + below, self.integer), dtype=np.float32)


@dataclass(frozen=True, eq=False)
class SigmoidRelu(Function):
    """``quantized_relu`` with ``use_sigmoid``: ``2 * sigmoid(x / 2**integer) - 1``, rounded, at least 0."""

    bits: int
    integer: int
    kind: str = "hard"

    @property
    def frac(self) -> int | IntArray | None:
        """One bit coarser than plain: twice a rounded number."""
        return self.bits - self.integer

    @property
    def increasing(self) -> bool:
        """Always."""
        return True

    @property
    def ulps(self) -> float:
        """Of the sigmoid inside."""
        return 8.0 if self.kind == "real" else 0.0

    def __call__(self, x: Array) -> Array:
        """Evaluate."""
        m = np.float32(2.0**self.bits)
        p = module_sigmoid(np.asarray(x / np.float32(2.0**self.integer), dtype=np.float32), self.kind) * m
        y = 2.0 * np.rint(exact(p)) / 2.0**self.bits - 1.0
        return np.asarray(np.ldexp(np.clip(y, 0.0, 1.0 - 2.0**-self.bits), self.integer), dtype=np.float32)


@dataclass(frozen=True, eq=False)
class Upper(Function):
    """``min(x, bound)`` behind a quantizer: ``relu_upper_bound``.

    Args:
        bound: the bound.
        grid: fraction bits of what comes in.
    """

    bound: float
    grid: int

    @property
    def frac(self) -> int | IntArray | None:
        """Both grids."""
        from l1ml.graph.reals import to_integers

        return max(self.grid, to_integers(np.array([self.bound]), "relu_upper_bound")[1])

    @property
    def increasing(self) -> bool:
        """Always."""
        return True

    def __call__(self, x: Array) -> Array:
        """Clip."""
        return np.minimum(x, np.float32(self.bound))


@dataclass(frozen=True, eq=False)
class Ternary(Function):
    """``scale * sign(x)`` where ``|x| >= threshold``, else 0."""

    threshold: float = 0.33
    scale: float = 1.0

    @property
    def frac(self) -> int | IntArray | None:
        """That of the scale."""
        from l1ml.graph.reals import to_integers

        return to_integers(np.array([self.scale]), "alpha")[1]

    @property
    def increasing(self) -> bool:
        """With a positive scale."""
        return self.scale >= 0

    @property
    def monotone(self) -> bool:
        """Always."""
        return True

    def __call__(self, x: Array) -> Array:
        """Compare."""
        on = np.abs(x) >= np.float32(self.threshold)
        return np.asarray(np.where(on, np.sign(x), np.float32(0)) * np.float32(self.scale), dtype=np.float32)


@dataclass(frozen=True, eq=False)
class Tanh(Function):
    """``quantized_tanh``: of ``2 * sigmoid(x) - 1``, or of the real tanh."""

    bits: int
    symmetric: bool = False
    real: bool = False
    kind: str = "hard"

    @property
    def frac(self) -> int | IntArray | None:
        """Bits without the sign."""
        return self.bits - 1

    @property
    def increasing(self) -> bool:
        """Always."""
        return True

    @property
    def ulps(self) -> float:
        """Of the function inside."""
        return 8.0 if self.real or self.kind == "real" else 0.0

    def bounds(self, low: Array, high: Array) -> tuple[Array, Array]:
        """Widen what is rounded."""
        return self._code(self._inner(low), -1.0), self._code(self._inner(high), 1.0)

    def _inner(self, x: Array) -> Array:
        if self.real:
            return _TANH(x)
        return np.asarray(np.float32(2) * module_sigmoid(x, self.kind) - np.float32(1), dtype=np.float32)

    def _code(self, p: Array, direction: float) -> Array:
        m = 2.0 ** (self.bits - 1)
        near = exact(p) + direction * self.ulps * 2.0**-24 * (np.abs(exact(p)) > 0)
        code = np.rint(np.asarray(near * m))
        return np.asarray(np.clip(code / m, -1.0 + self.symmetric / m, 1.0 - 1.0 / m), dtype=np.float32)

    def __call__(self, x: Array) -> Array:
        """Evaluate."""
        return self._code(self._inner(x), 0.0)


@dataclass(frozen=True, eq=False)
class Sigmoid(Function):
    """``quantized_sigmoid``: unsigned."""

    bits: int
    symmetric: bool = False
    kind: str = "hard"

    @property
    def frac(self) -> int | IntArray | None:
        """All bits."""
        return self.bits

    @property
    def increasing(self) -> bool:
        """Always."""
        return True

    @property
    def ulps(self) -> float:
        """Of the function inside."""
        return 8.0 if self.kind == "real" else 0.0

    def bounds(self, low: Array, high: Array) -> tuple[Array, Array]:
        """Widen what is rounded."""
        return self._code(module_sigmoid(low, self.kind), -1.0), self._code(
            module_sigmoid(high, self.kind), 1.0
        )

    def _code(self, p: Array, direction: float) -> Array:
        m = 2.0**self.bits
        near = exact(p) + direction * self.ulps * 2.0**-24 * (exact(p) != 0.5)
        return np.asarray(np.clip(np.rint(near * m) / m, self.symmetric / m, 1.0 - 1.0 / m), dtype=np.float32)

    def __call__(self, x: Array) -> Array:
        """Evaluate."""
        return self._code(module_sigmoid(x, self.kind), 0.0)


@dataclass(frozen=True, eq=False)
class PowerOfTwo(Function):
    """``quantized_po2`` and ``quantized_relu_po2``: the nearest power of two on a logarithmic scale, never 0.

    Args:
        lowest: smallest exponent.
        highest: largest exponent.
        max_value: clips the magnitude first; None for none.
        signed: negative values keep their sign (``po2``); else they become the smallest power.
        slope: of the negative side of ``relu_po2``.
        quadratic: exponents are even, and the range of the exponent holds for half of it.
        floor: round exponents down.
    """

    lowest: int
    highest: int
    max_value: float | None = None
    signed: bool = True
    slope: float = 0.0
    quadratic: bool = False
    floor: bool = False

    @property
    def frac(self) -> int | IntArray | None:
        """The smallest power."""
        return -self.lowest * (2 if self.quadratic else 1)

    @property
    def monotone(self) -> bool:
        """Not below the smallest power, where small numbers of both signs are mapped."""
        return False

    def __call__(self, x: Array) -> Array:
        """Round the logarithm."""
        magnitude = exact(np.abs(x))
        if not self.signed:
            magnitude = np.where(x < 0, magnitude * self.slope, magnitude)
        if self.max_value is not None:
            magnitude = np.minimum(magnitude, float(np.float32(self.max_value)))
        tiny = magnitude < float(np.float32(1e-7))
        log = np.log2(np.where(tiny, 1.0, magnitude)) * (0.5 if self.quadratic else 1.0)
        # The framework's float32 logarithm cannot tell the neighbours of 2**(k + 1/2) from a tie, which goes to even.
        tie = np.floor(log) + 0.5
        log = np.where(np.abs(log - tie) < 4e-7 * np.maximum(1.0, np.abs(log)), tie, log)
        power = np.clip(np.floor(log) if self.floor else np.rint(log), self.lowest, self.highest)
        value = np.exp2(np.where(tiny, self.lowest, power * (2 if self.quadratic else 1)))
        sign = np.where(x < 0, -1.0, 1.0) if self.signed or self.slope else 1.0
        return np.asarray(sign * value, dtype=np.float32)


@dataclass(frozen=True, eq=False)
class ULaw(Function):
    """``quantized_ulaw``: rounded, then bent by a logarithm: its results lie on no binary grid."""

    bits: int
    integer: int = 0
    symmetric: bool = False
    u: float = 255.0
    kind: str = "hard"

    @property
    def increasing(self) -> bool:
        """Always."""
        return True

    @property
    def ulps(self) -> float:
        """Of the logarithm."""
        return 4.0

    def __call__(self, x: Array) -> Array:
        """Evaluate."""
        m = np.float32(2.0 ** (self.bits - 1))
        p = module_sigmoid(np.asarray(x / np.float32(2.0**self.integer), dtype=np.float32), self.kind) * m
        rp = (np.float32(2) * (np.rint(p) / m) - np.float32(1)).astype(np.float32)
        bent = np.sign(rp) * np.log(1.0 + self.u * np.abs(exact(rp))) / np.log(1.0 + self.u)
        y = np.clip(bent, -1.0 + self.symmetric / float(m), 1.0 - 1.0 / float(m))
        return np.asarray(y * 2.0**self.integer, dtype=np.float32)


@dataclass(frozen=True, eq=False)
class HardSwish(Function):
    """``x * min(relu(x + shift), bound) / bound``: what ``quantized_hswish`` quantizes."""

    shift: float = 3.0
    bound: float = 6.0

    def __call__(self, x: Array) -> Array:
        """Evaluate."""
        moved = (x + np.float32(self.shift)).astype(np.float32)
        relu = np.minimum(np.maximum(moved, np.float32(0)), np.float32(self.bound))
        return np.asarray((x * relu) / np.float32(self.bound), dtype=np.float32)
