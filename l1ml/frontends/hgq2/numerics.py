# SPDX-License-Identifier: Apache-2.0
"""HGQ2's quantizers in the framework's own float32 arithmetic.

Constants are quantized with it, so that they come out as they do there, roundings of float32 included.
Data has it only for quantizers that are no fixed-point conversion: reflecting overflow, and minifloats.

Source:
    ``quantizers/fixed_point/_fixed_point_ops.py`` and ``quantizers/minifloat/_float_point_ops.py`` of
    quantizers 1.2.2.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from l1ml.graph.functions import Array, Function
from l1ml.types.arrays import IntArray
from l1ml.types.fixed import Overflow, Rounding

HALF = np.float32(0.5)
MINIFLOAT_EPSILON = np.float32(1e-7)


def power(exponent: Array) -> Array:
    """Return ``2**exponent`` in float32, exactly."""
    return np.asarray(np.ldexp(np.float32(1), exponent.astype(np.int32)), dtype=np.float32)


def rounded(x: Array, mode: Rounding) -> Array:
    """Round to whole numbers as HGQ2 writes it, in float32."""
    match mode:
        case Rounding.TRN:
            y = np.floor(x)
        case Rounding.RND:
            y = np.floor(x + HALF)
        case Rounding.RND_CONV:
            y = np.rint(x)
        case Rounding.TRN_ZERO:
            y = np.floor(np.abs(x)) * np.sign(x)
        case Rounding.RND_ZERO:
            y = -np.floor(HALF - np.abs(x)) * np.sign(x)
        case Rounding.RND_MIN_INF:
            y = -np.floor(HALF - x)
        case Rounding.RND_INF:
            y = np.floor(np.abs(x) + HALF) * np.sign(x)
    return np.asarray(y, dtype=np.float32)


def on_grid(x: Array, f: Array, mode: Rounding) -> Array:
    """Round to multiples of ``2**-f``."""
    scale = power(f)
    return np.asarray(rounded(x * scale, mode) / scale, dtype=np.float32)


def fixed(x: Array, k: Array, i: Array, f: Array, mode: Rounding, overflow: Overflow) -> Array:
    """Convert into a fixed-point type: clip and round, or round and wrap around; no bits give 0."""
    bits = k + i + f
    i = np.maximum(i, -f)
    if overflow is Overflow.WRAP:
        span, start = power(i + k), k * power(i + k - 1)
        y = (on_grid(x, f, mode) + start) % span - start
    else:
        top = power(i) - power(-f)
        bottom = -k * (top if overflow is Overflow.SAT_SYM else power(i))
        y = on_grid(np.clip(x, bottom.astype(np.float32), top), f, mode)
    return np.asarray(np.where(bits > 0, y, 0), dtype=np.float32)


@dataclass(frozen=True, eq=False)
class Reflected(Function):
    """A fixed-point type whose values run back and forth beyond its ends: overflow mode WRAP_SM.

    Args:
        k: 1 for signed, else 0.
        i: integer bits without sign.
        f: fraction bits.
        rounding: RND or RND_CONV.
    """

    k: Array
    i: Array
    f: Array
    rounding: Rounding

    @property
    def frac(self) -> int | IntArray | None:
        """The fraction bits."""
        return np.asarray(self.f, dtype=np.int64)

    def __call__(self, x: Array) -> Array:
        """Round, then fold."""
        k, f = self.k, self.f
        i = np.maximum(self.i, -f)
        lsb, high, span = power(-f), power(i) - power(-f), power(i + k)
        low = -(high + lsb) * k
        one, two = np.float32(1), np.float32(2)
        turned = ((x / span) % two >= one) & (np.abs(x) > lsb / two)
        folded = ((x + lsb / two) / (span / two)) % two >= one
        y = (on_grid(x, f, self.rounding) - high - lsb) % span + low
        y = np.where(folded, -y - lsb, y)
        y = np.where(turned, -y - lsb, y)
        return np.asarray(np.where(k + self.i + f > 0, y, 0), dtype=np.float32)


@dataclass(frozen=True, eq=False)
class Minifloat(Function):
    """A floating-point type with subnormal numbers, without infinity and NaN.

    Args:
        m: mantissa bits without the hidden one.
        e: exponent bits.
        e0: offset of the exponent.
    """

    m: Array
    e: Array
    e0: Array

    @property
    def _reach(self) -> tuple[Array, Array]:
        """Smallest and largest exponent."""
        half = np.maximum(power(self.e - 1), np.float32(1)).astype(np.int64)
        return -half + self.e0 + 1, half + self.e0 - 1

    @property
    def frac(self) -> int | IntArray | None:
        """The grid of the smallest exponent holds all values."""
        return np.asarray(self.m - self._reach[0], dtype=np.int64)

    @property
    def increasing(self) -> bool:
        """With at least the hidden bit."""
        return bool((self.m >= 0).all())

    def __call__(self, x: Array) -> Array:
        """Round half to even at the exponent of the value."""
        least, most = self._reach
        exponent = np.clip(np.floor(np.log2(np.abs(x) + MINIFLOAT_EPSILON)), least, most).astype(np.int64)
        scale = power(exponent - self.m)
        top = power(self.m + 1) - (exponent == most)
        return np.asarray(np.clip(np.rint(x / scale), -top, top) * scale, dtype=np.float32)
