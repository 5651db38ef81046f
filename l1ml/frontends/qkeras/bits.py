# SPDX-License-Identifier: Apache-2.0
"""The options of QKeras quantizers, read and checked.

Source:
    ``qkeras/quantizers.py`` of QKeras 0.9 and of its successors, which agree bit for bit.  Traps minded
    here: ``bits`` counts the sign and ``integer`` does not; a numeric ``alpha`` multiplies the result, it
    does not divide the input; ``alpha=None`` of a *kernel* means ``auto_po2``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from l1ml.errors import RangeError
from l1ml.frontends.common import Options, UnsupportedError
from l1ml.frontends.spelling import Call
from l1ml.types.arrays import RealArray
from l1ml.types.fixed import FixedType, Overflow, Quantizer, Rounding
from l1ml.types.intrange import MAX_WIDTH


@dataclass(frozen=True)
class Bits:
    """``quantized_bits``, with the names of the QKeras documentation (whose ranges are wrong)."""

    bits: int
    integer: int
    symmetric: bool
    keep_negative: bool
    alpha: float | RealArray | str | None
    min_po2_exponent: int | None = None
    max_po2_exponent: int | None = None
    post_training_scale: RealArray | None = None

    @classmethod
    def of(cls, call: Call, source: str) -> Bits:
        """Read the options of a ``quantized_bits``."""
        options = Options(call.options, call.name, source)
        refuse_noise(options)
        if options.raw("elements_per_scale") is not None:
            raise UnsupportedError("quantized_bits with elements_per_scale")
        if options.raw("scale_axis") not in (None, -1):
            raise UnsupportedError(f"quantized_bits with scale_axis={options.raw('scale_axis')!r}")
        scale = options.raw("post_training_scale")
        return cls(
            bits=options.integer("bits", 8),
            integer=integer_bits(options),
            symmetric=options.flag("symmetric", False),
            keep_negative=options.flag("keep_negative", True),
            alpha=alpha(options),
            min_po2_exponent=optional(options, "min_po2_exponent"),
            max_po2_exponent=optional(options, "max_po2_exponent"),
            post_training_scale=None if scale is None else numbers(scale, "post_training_scale"),
        )

    @property
    def unsigned_bits(self) -> int:
        """Bits without the sign."""
        return self.bits - self.keep_negative

    @property
    def binary(self) -> bool:
        """One bit with sign: -1 and +1."""
        return self.unsigned_bits == 0

    @property
    def quantizer(self) -> Quantizer:
        """The same conversion as a fixed-point type, for a numeric alpha of 1."""
        kind = fixed_type(self.keep_negative, self.bits, self.integer + self.keep_negative)
        overflow = Overflow.SAT_SYM if self.symmetric and self.keep_negative else Overflow.SAT
        return Quantizer(kind, Rounding.RND_CONV, overflow)

    def __str__(self) -> str:
        alpha = "per channel" if isinstance(self.alpha, np.ndarray) else self.alpha
        if isinstance(alpha, float) and alpha.is_integer():
            alpha = int(alpha)
        negative = "" if self.keep_negative else ",keep_negative=False"
        return f"quantized_bits({self.bits},{self.integer},{int(self.symmetric)}{negative},alpha={alpha!r})"


def fixed_type(signed: bool, width: int, integer: int) -> FixedType:
    """Return a fixed-point type of an allowed size."""
    if not 1 <= width <= MAX_WIDTH:
        raise UnsupportedError(f"{width} bits; supported are 1 to {MAX_WIDTH}")
    try:
        return FixedType(signed, width, integer)
    except RangeError as error:
        raise UnsupportedError(error.what) from None


def refuse_noise(options: Options) -> None:
    """Refuse settings of training that would mix quantized and real values."""
    noise = options.number("qnoise_factor", 1.0)
    if noise not in (None, 1.0):
        raise UnsupportedError(
            f"{options.owner} with qnoise_factor={noise:g}: a mixture of quantized and real values"
        )


def integer_bits(options: Options) -> int:
    """Return ``integer``, within bounds."""
    integer = options.integer("integer", 0)
    if abs(integer) > MAX_WIDTH:
        raise UnsupportedError(f"{options.owner} with integer={integer}; supported are +-{MAX_WIDTH}")
    return integer


def optional(options: Options, key: str) -> int | None:
    """Return an exponent, or None."""
    if options.raw(key) is None:
        return None
    exponent = options.integer(key)
    if abs(exponent) > MAX_WIDTH:
        raise options.wrong(key, f"a whole number within +-{MAX_WIDTH}")
    return exponent


def alpha(options: Options) -> float | RealArray | str | None:
    """Return the scale as a number, an array, a text or None."""
    alpha = options.raw("alpha")
    if alpha is None or isinstance(alpha, str):
        if alpha not in (None, "auto", "auto_po2"):
            raise UnsupportedError(f"{options.owner} with alpha={alpha[:40]!r}")
        return alpha
    if isinstance(alpha, list):
        return numbers(alpha, "alpha")
    return options.number("alpha")


def numbers(value: Any, what: str) -> RealArray:
    """Return an array of finite numbers."""
    try:
        array = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        raise UnsupportedError(f"{what} is not an array of numbers") from None
    if not array.size or not np.isfinite(array).all():
        raise UnsupportedError(f"{what} is empty or holds values that are not finite")
    return array
