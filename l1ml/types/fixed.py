# SPDX-License-Identifier: Apache-2.0
"""Fixed-point types and the conversions between them: rounding and overflow.

A type says which numbers exist; rounding and overflow belong to the conversion into it.

Source:
    Modes as in Vitis HLS UG1399, "Arbitrary Precision Fixed-Point Data Types".  WRAP_SM is not
    offered: no framework read here writes it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import ArrayLike

from l1ml.errors import ConfigError, RangeError
from l1ml.types.arrays import IntArray, RealArray
from l1ml.types.intrange import MAX_WIDTH, IntType


class Rounding(Enum):
    """What happens to the part below one LSB."""

    TRN = "TRN"
    TRN_ZERO = "TRN_ZERO"
    RND = "RND"
    RND_ZERO = "RND_ZERO"
    RND_INF = "RND_INF"
    RND_MIN_INF = "RND_MIN_INF"
    RND_CONV = "RND_CONV"


class Overflow(Enum):
    """What happens to a value outside the range."""

    WRAP = "WRAP"
    SAT = "SAT"
    SAT_SYM = "SAT_SYM"
    SAT_ZERO = "SAT_ZERO"


_TEXT = re.compile(r"\s*(?:ap_|ac_)?(u?)fixed\s*<\s*([^<>]*)>\s*")


@dataclass(frozen=True, slots=True)
class FixedType:
    """``fixed<width, integer>`` or ``ufixed<width, integer>``; ``integer`` counts the sign bit.

    ``integer`` may be negative or exceed ``width`` (implied zeros), as in ap_fixed.
    """

    signed: bool
    width: int
    integer: int

    def __post_init__(self) -> None:
        if not 1 <= self.width <= MAX_WIDTH:
            raise RangeError(f"{self} has {self.width} bits; allowed are 1 to {MAX_WIDTH}")
        if abs(self.integer) > 2 * MAX_WIDTH:
            raise RangeError(f"{self} has {self.integer} integer bits; allowed are +-{2 * MAX_WIDTH}")

    @property
    def frac(self) -> int:
        """Bits below the binary point; one LSB is ``2**-frac``."""
        return self.width - self.integer

    @property
    def lo(self) -> int:
        """Smallest code."""
        return -(1 << (self.width - 1)) if self.signed else 0

    @property
    def hi(self) -> int:
        """Largest code."""
        return (1 << (self.width - self.signed)) - 1

    @property
    def int_type(self) -> IntType:
        """The range of a wire of this type."""
        return IntType(self.lo, self.hi, self.frac)

    def __str__(self) -> str:
        return f"{'' if self.signed else 'u'}fixed<{self.width},{self.integer}>"

    @classmethod
    def parse(cls, text: str) -> FixedType:
        """Read ``fixed<W,I>`` or ``ufixed<W,I>``; no modes.

        Example:
            >>> FixedType.parse("ufixed<6,0>")
            FixedType(signed=False, width=6, integer=0)
        """
        kind = Quantizer.parse(text)
        if (kind.rounding, kind.overflow) != (Rounding.TRN, Overflow.WRAP):
            raise ConfigError(
                f"type {text!r} has rounding or overflow modes; here only fixed<W,I> is allowed"
            )
        return kind.type


@dataclass(frozen=True, slots=True)
class Quantizer:
    """A conversion into ``type``: round first, then treat overflow."""

    type: FixedType
    rounding: Rounding = Rounding.TRN
    overflow: Overflow = Overflow.WRAP

    @property
    def lo(self) -> int:
        """Smallest code that can come out."""
        symmetric = self.overflow is Overflow.SAT_SYM and self.type.signed
        return self.type.lo + symmetric

    @property
    def int_type(self) -> IntType:
        """The range of codes that can come out."""
        return IntType(self.lo, self.type.hi, self.type.frac)

    def __str__(self) -> str:
        head = str(self.type)[:-1]
        return f"{head},{self.rounding.value},{self.overflow.value}>"

    @classmethod
    def parse(cls, text: str) -> Quantizer:
        """Read ``fixed<W,I[,rounding[,overflow]]>``; an ``AP_`` before a mode is accepted.

        Example:
            >>> str(Quantizer.parse("fixed<8, 3, RND_CONV, SAT>"))
            'fixed<8,3,RND_CONV,SAT>'
        """
        match = _TEXT.fullmatch(text)
        parts = [part.strip() for part in match.group(2).split(",")] if match else []
        if (
            match is None
            or not 2 <= len(parts) <= 4
            or not all(re.fullmatch(r"-?\d{1,4}", p) for p in parts[:2])
        ):
            raise ConfigError(
                f"not a fixed-point type: {text!r}", fix="write fixed<W,I> or ufixed<W,I>, e.g. fixed<14,4>"
            )
        modes = [part.upper().removeprefix("AP_").removeprefix("AC_") for part in parts[2:]]
        try:
            rounding = Rounding(modes[0]) if modes else Rounding.TRN
            overflow = Overflow(modes[1]) if len(modes) > 1 else Overflow.WRAP
        except ValueError as error:
            allowed = ", ".join(m.value for m in (*Rounding, *Overflow))
            raise ConfigError(f"unknown mode in {text!r}: {error}", fix=f"allowed are {allowed}") from None
        return cls(FixedType(match.group(1) == "", int(parts[0]), int(parts[1])), rounding, overflow)


def round_codes(scaled: RealArray, rounding: Rounding) -> RealArray:
    """Round numbers given in LSBs to whole LSBs; exact for every float64.

    Args:
        scaled: values divided by the LSB, any shape.
        rounding: treatment of the part below one LSB.
    """
    if rounding is Rounding.RND_CONV:
        return np.rint(scaled)
    if rounding is Rounding.TRN:
        return np.floor(scaled)
    whole = np.trunc(scaled)
    if rounding is Rounding.TRN_ZERO:
        return whole
    rest = scaled - whole  # exact, in (-1, 1); scaled - floor(scaled) is not, just above -0.5
    up = rest >= 0.5 if rounding in (Rounding.RND, Rounding.RND_INF) else rest > 0.5
    down = rest <= -0.5 if rounding in (Rounding.RND_MIN_INF, Rounding.RND_INF) else rest < -0.5
    return np.asarray(whole + up - down, dtype=np.float64)


def shift_codes(codes: IntArray, drop: int, rounding: Rounding) -> IntArray:
    """Drop ``drop`` low bits of integer codes with the given rounding; negative ``drop`` appends zeros.

    Example:
        >>> shift_codes(np.array([-5, -3, -1, 1, 3, 5]), 1, Rounding.RND_CONV)
        array([-2, -2,  0,  0,  2,  2])
    """
    if drop <= 0:
        return codes << -drop
    if drop > MAX_WIDTH:  # |code| < 2**62: everything is below half an LSB
        toward = {Rounding.TRN: np.where(codes < 0, -1, 0)}
        return np.asarray(toward.get(rounding, np.zeros_like(codes)), dtype=np.int64)
    floor: IntArray = codes >> drop
    rest = codes - (floor << drop)
    half = 1 << (drop - 1)
    if rounding is Rounding.TRN:
        return floor
    if rounding is Rounding.TRN_ZERO:
        return floor + ((codes < 0) & (rest > 0))
    if rounding is Rounding.RND:
        return floor + (rest >= half)
    if rounding is Rounding.RND_MIN_INF:
        return floor + (rest > half)
    if rounding is Rounding.RND_INF:
        return floor + np.where(codes >= 0, rest >= half, rest > half)
    if rounding is Rounding.RND_ZERO:
        return floor + np.where(codes >= 0, rest > half, rest >= half)
    return np.asarray(floor + ((rest > half) | ((rest == half) & ((floor & 1) == 1))), dtype=np.int64)


def overflow_codes(codes: IntArray, kind: FixedType, overflow: Overflow) -> IntArray:
    """Bring integer codes into ``kind.lo..kind.hi`` by the given overflow mode."""
    if overflow is Overflow.WRAP:
        span = np.int64(1) << np.int64(kind.width)
        return np.asarray((codes - kind.lo) % span + kind.lo, dtype=np.int64)
    if overflow is Overflow.SAT_ZERO:
        return np.where((codes < kind.lo) | (codes > kind.hi), 0, codes)
    lo = kind.lo + (overflow is Overflow.SAT_SYM and kind.signed)
    return np.asarray(np.clip(codes, lo, kind.hi), dtype=np.int64)


def requantize_codes(codes: IntArray, frac: int, into: Quantizer) -> IntArray:
    """Convert codes with ``frac`` fraction bits into codes of ``into``: round, then overflow."""
    append = into.type.frac - frac
    if append > 0 and into.overflow is not Overflow.WRAP:
        # Zeros appended to a code beyond this limit could leave int64; it overflows the type in any case.
        limit = max(1, (1 << MAX_WIDTH) >> append)
        codes = np.asarray(np.clip(codes, -limit, limit), dtype=np.int64)
        append = min(append, MAX_WIDTH)
        return overflow_codes(codes << append, into.type, into.overflow)
    return overflow_codes(shift_codes(codes, frac - into.type.frac, into.rounding), into.type, into.overflow)


def quantize(values: ArrayLike, into: Quantizer | str) -> RealArray:
    """Bring real values onto the grid of a type, with its rounding and overflow.

    Args:
        values: real numbers, any shape; finite.
        into: a quantizer, or its text, e.g. ``"fixed<14,4,RND_CONV,SAT>"``.

    Returns:
        float64 values on the grid, same shape.

    Raises:
        RangeError: a value is not finite.

    Example:
        >>> quantize([0.3, 9.0], "fixed<4,2,RND_CONV,SAT>")
        array([0.25, 1.75])
    """
    kind = Quantizer.parse(into) if isinstance(into, str) else into
    if hasattr(values, "__l1ml_quantize__"):  # an array of l1ml.preprocess that is being traced
        return values.__l1ml_quantize__(kind)
    lsb = 2.0**-kind.type.frac
    return quantize_codes(values, kind).astype(np.float64) * lsb


def quantize_codes(values: ArrayLike, into: Quantizer) -> IntArray:
    """Like `quantize`, but return the integer codes (int64)."""
    real = np.asarray(values, dtype=np.float64)
    if not np.isfinite(real).all():
        index = tuple(int(i) for i in np.argwhere(~np.isfinite(real))[0])
        raise RangeError(f"value {real[index]} at index {index} is not a finite number")
    rounded = round_codes(in_lsb(real, into.type.frac), into.rounding)
    if into.overflow is Overflow.WRAP:
        rounded = np.fmod(rounded, 2.0**into.type.width)  # exact for every float64
    bound = 2.0**MAX_WIDTH
    return overflow_codes(np.clip(rounded, -bound, bound).astype(np.int64), into.type, into.overflow)


def in_lsb(real: RealArray, frac: int) -> RealArray:
    """Divide finite values by the LSB, exactly.

    Beyond 2**+-700 only the sign matters, to rounding and to every overflow mode: such values are
    moved to that bound, so that the division neither overflows nor underflows.
    """
    magnitude = np.clip(np.abs(real), 2.0**-700, 2.0**700)
    return np.ldexp(np.where(real == 0, 0.0, np.copysign(magnitude, real)), frac)


def to_codes(values: ArrayLike, kind: FixedType) -> IntArray:
    """Express real values that lie on the grid of ``kind`` as integer codes; nothing is rounded.

    Returns:
        Codes, int64, same shape as ``values``, each in ``kind.lo..kind.hi``.

    Raises:
        RangeError: a value is not finite, off the grid, or out of range; names its index.

    Example:
        >>> to_codes([0.25, -1.5], FixedType(True, 8, 6))
        array([ 1, -6])
    """
    scaled = in_lsb(np.asarray(values, dtype=np.float64), kind.frac)
    # False for NaN.  hi + 1 is a power of two and exact; hi itself is rounded up by float64 above 53 bits.
    inside = (scaled >= kind.lo) & (scaled <= kind.hi) & (scaled < float(kind.hi + 1))
    bad = ~(inside & (scaled == np.rint(scaled)))
    if bad.any():
        index = tuple(int(i) for i in np.argwhere(bad)[0])
        value, lsb = float(np.asarray(values)[index]), 2.0**-kind.frac
        reason = "is off the grid of" if inside[index] else "is outside"
        raise RangeError(
            f"value {value!r} at index {index} {reason} {kind} ({kind.lo * lsb} to {kind.hi * lsb} "
            f"in steps of {lsb}); {int(bad.sum())} of {bad.size} values are not exact",
            fix=f'round them yourself: l1ml.quantize(x, "{str(kind)[:-1]},RND_CONV,SAT>"), or widen the type',
        )
    return scaled.astype(np.int64)
