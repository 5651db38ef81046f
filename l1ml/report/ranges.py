# SPDX-License-Identifier: Apache-2.0
"""How well numbers use the bits of their type, in powers of two."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from l1ml.errors import DataError
from l1ml.types.intrange import IntType

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


@dataclass(frozen=True)
class RangeStats:
    """The magnitudes of one layer's numbers, and the type that holds them.

    Args:
        type: the type as text, for example ``ufixed<6,2>``; of the widest element where they differ.
        lsb_exponent: the type's smallest step is ``2**lsb_exponent``.
        top_exponent: all magnitudes of the type are at most ``2**top_exponent``.
        count: numbers looked at.
        zero_share: share of them that is zero.
        at_limit_share: share that sits on the type's smallest (if negative) or largest value.
        log2_quantiles: 5, 25, 50, 75 and 95 % quantiles of log2 of the non-zero magnitudes; empty
            if all are zero or only the extremes are known.
        log2_max: log2 of the largest magnitude; None if all are zero.
    """

    type: str
    lsb_exponent: int
    top_exponent: int
    count: int
    zero_share: float
    at_limit_share: float
    log2_quantiles: tuple[float, ...]
    log2_max: float | None

    @property
    def unused_top_bits(self) -> int:
        """Return how many of the type's top bits no number used."""
        if self.log2_max is None:
            return self.top_exponent - self.lsb_exponent
        return max(0, self.top_exponent - math.ceil(self.log2_max - 1e-12))

    def to_dict(self) -> dict[str, Any]:
        """Return all fields by name."""
        return asdict(self)


def range_stats(values: ArrayLike, *, lo: float, hi: float, lsb: float, type: str) -> RangeStats:
    """Summarize numbers against the type that holds them.

    Args:
        values: any shape, in the tensor's units; finite.
        lo: smallest value of the type.
        hi: largest value of the type.
        lsb: step of the type, a power of two.
        type: the type as text.

    Raises:
        DataError: there are no values, or one is not finite.
    """
    flat = np.asarray(values, dtype=np.float64).ravel()
    if flat.size == 0 or not np.isfinite(flat).all():
        raise DataError(
            f"range of {type}: {int((~np.isfinite(flat)).sum())} of {flat.size} numbers are not finite"
            if flat.size
            else f"range of {type}: no numbers"
        )
    logs = np.log2(np.abs(flat[flat != 0]))
    limit = (flat >= hi) | ((flat <= lo) if lo < 0 else np.zeros(flat.shape, dtype=bool))
    return RangeStats(
        type=type,
        lsb_exponent=round(math.log2(lsb)),
        top_exponent=top_exponent(lo, hi),
        count=flat.size,
        zero_share=float((flat == 0).mean()),
        at_limit_share=float(limit.mean()),
        log2_quantiles=tuple(float(q) for q in np.quantile(logs, QUANTILES)) if logs.size else (),
        log2_max=float(logs.max()) if logs.size else None,
    )


def top_exponent(lo: float, hi: float) -> int:
    """Return the smallest power of two that no magnitude in ``lo..hi`` exceeds; 0 for the constant zero."""
    largest = max(abs(lo), abs(hi))
    return math.ceil(math.log2(largest)) if largest > 0 else 0


def type_text(lo: int, hi: int, frac: int) -> str:
    """Return the narrowest fixed-point type that holds the codes ``lo..hi``.

    Example:
        >>> type_text(-25, 18, 5)
        'fixed<6,1>'
    """
    kind = IntType(lo, hi, frac)
    return f"{'' if kind.signed else 'u'}fixed<{kind.width},{kind.width - frac}>"


def from_manifest(facts: Mapping[str, Any]) -> RangeStats | None:
    """Return what a manifest's ``range`` or ``weights`` entry tells: type and extremes, no quantiles.

    ``lo`` and ``hi`` are codes; one LSB is ``2**-frac``.  None if the entry is empty or has no codes.
    """
    lo, hi, frac = facts.get("lo"), facts.get("hi"), facts.get("frac")
    if not isinstance(lo, int) or not isinstance(hi, int) or not isinstance(frac, int):
        return None
    lsb = 2.0**-frac
    count = int(facts.get("count") or 0)
    largest = max(abs(lo), abs(hi))
    return RangeStats(
        type=str(facts.get("type") or type_text(lo, hi, frac)),
        lsb_exponent=-frac,
        top_exponent=top_exponent(lo * lsb, hi * lsb),
        count=count,
        zero_share=float(facts.get("zeros") or 0) / count if count else 0.0,
        at_limit_share=0.0,
        log2_quantiles=(),
        log2_max=math.log2(largest * lsb) if largest else None,
    )
