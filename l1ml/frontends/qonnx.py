# SPDX-License-Identifier: Apache-2.0
"""QONNX quantizers: Quant, IntQuant and BipolarQuant, on weights and on data.

Source:
    ``qonnx/custom_op/general/intquant.py`` and ``bipolar_quant.py`` of qonnx: clamp, then round; with whole
    bounds that equals round, then clamp.  Note that HALF_UP there is "ties away from zero".
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from l1ml.errors import RangeError
from l1ml.frontends.common import UnsupportedError, power_of_two, whole
from l1ml.graph.model import Layer, Quantize, Sign
from l1ml.types.arrays import RealArray
from l1ml.types.fixed import FixedType, Overflow, Quantizer, Rounding, round_codes
from l1ml.types.intrange import MAX_WIDTH

DOMAINS = (
    "qonnx.custom_op.general",
    "finn.custom_op.general",
    "onnx.brevitas",
    "qonnx",
    "finn",
    "brevitas",
)
"""Names that the exporters have given to the domain of these operators over the years."""

ROUNDINGS = {
    "ROUND": Rounding.RND_CONV,
    "HALF_EVEN": Rounding.RND_CONV,
    "FLOOR": Rounding.TRN,
    "DOWN": Rounding.TRN_ZERO,
    "HALF_UP": Rounding.RND_INF,
    "HALF_DOWN": Rounding.RND_ZERO,
}

CONSTANT_ROUNDINGS: dict[str, Callable[[RealArray], RealArray]] = {
    "CEIL": np.ceil,
    "UP": lambda scaled: np.copysign(np.ceil(np.abs(scaled)), scaled),
}
"""Modes that no fixed-point type has: on constants they are done at import, on data they are refused."""


@dataclass(frozen=True, eq=False)
class Quant:
    """A Quant operator with its constant inputs.

    Args:
        scale: one LSB, any shape that broadcasts to the data.
        bits: total width.
        signed: as in the file.
        narrow: drops the lowest code if signed, the highest if unsigned.
        rounding: mode name of the file.
    """

    scale: RealArray
    bits: int
    signed: bool
    narrow: bool
    rounding: str

    @classmethod
    def of(
        cls,
        scale: np.ndarray,
        zero: np.ndarray,
        bits: np.ndarray,
        *,
        signed: bool,
        narrow: bool,
        rounding: str,
    ) -> Quant:
        """Check the constant inputs.

        Raises:
            UnsupportedError: the result would not be on a binary grid.
        """
        if np.any(zero != 0):
            raise UnsupportedError("a zero point other than 0")
        width = whole(float(np.ravel(bits)[0])) if np.size(bits) == 1 else None
        if width is None or not 1 <= width <= MAX_WIDTH:
            raise UnsupportedError(
                f"a bit width of {str(bits)[:40]}; it must be one whole number from 1 to {MAX_WIDTH}"
            )
        real = np.asarray(scale, dtype=np.float64)
        bad = [float(s) for s in np.ravel(real) if not power_of_two(float(s))]
        if bad or not real.size:
            raise UnsupportedError(
                f"a scale that is not a power of two ({', '.join(f'{s:g}' for s in bad[:3])})"
            )
        mode = rounding.upper()
        known = (*ROUNDINGS, *CONSTANT_ROUNDINGS)
        if mode not in known:
            raise UnsupportedError(f"rounding mode {mode[:20]}; supported are {', '.join(known)}")
        return cls(real, width, signed, narrow, mode)

    @property
    def binary(self) -> bool:
        """One signed bit means -1 and +1, whatever the other options say."""
        return self.signed and self.bits == 1

    def __str__(self) -> str:
        scales = sorted(set(np.ravel(self.scale).tolist()))
        scale = f"{scales[0]:g}" if len(scales) == 1 else "per channel"
        flags = f"signed={int(self.signed)},narrow={int(self.narrow)}"
        return f"Quant(scale={scale},bits={self.bits},{flags},{self.rounding})"

    def values(self, raw: np.ndarray) -> RealArray:
        """Quantize constants.

        Args:
            raw: real numbers, any shape.

        Returns:
            The quantized values, exact in float64.

        Raises:
            UnsupportedError: the scale does not fit the shape.
        """
        try:
            scale = np.broadcast_to(self.scale, raw.shape)
        except ValueError:
            raise UnsupportedError(
                f"a scale of shape {self.scale.shape} for constants of shape {raw.shape}"
            ) from None
        x = raw.astype(np.float64)
        if self.binary:
            return np.where(x >= 0, scale, -scale)
        top = 2.0 ** (self.bits - self.signed) - 1
        lo = -top - (not self.narrow) if self.signed else 0.0
        hi = top - (self.narrow and not self.signed)
        scaled = np.clip(x / scale, lo, hi)
        if self.rounding in CONSTANT_ROUNDINGS:
            codes = CONSTANT_ROUNDINGS[self.rounding](scaled)
        else:
            codes = round_codes(scaled, ROUNDINGS[self.rounding])
        return np.asarray(codes * scale, dtype=np.float64)

    def layer(self, name: str, source: str) -> Layer:
        """Return the layer that does this to data.

        Raises:
            UnsupportedError: it has no single fixed-point type.
        """
        scales = np.unique(self.scale)
        if len(scales) != 1:
            raise UnsupportedError("a scale per channel on data; one scale is supported")
        if self.binary:
            return Sign(name, (source,), scale=float(scales[0]))
        if self.rounding not in ROUNDINGS:
            raise UnsupportedError(
                f"rounding mode {self.rounding} on data; supported there are {', '.join(ROUNDINGS)}"
            )
        if self.narrow and not self.signed:
            raise UnsupportedError(
                "unsigned and narrow: its highest code is missing, no fixed-point type has that"
            )
        exponent = math.frexp(float(scales[0]))[1] - 1
        try:
            kind = FixedType(self.signed, self.bits, self.bits + exponent)
        except RangeError as error:
            raise UnsupportedError(error.what) from None
        overflow = Overflow.SAT_SYM if self.narrow else Overflow.SAT
        return Quantize(name, (source,), Quantizer(kind, ROUNDINGS[self.rounding], overflow))


def bipolar_scale(scale: np.ndarray) -> float:
    """Return the one scale of a BipolarQuant.

    Raises:
        UnsupportedError: there are several, or it is not a power of two.
    """
    scales = np.unique(np.asarray(scale, dtype=np.float64))
    if len(scales) != 1 or not power_of_two(float(scales[0])):
        raise UnsupportedError("a scale that is not one power of two")
    return float(scales[0])
