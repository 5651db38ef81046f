# SPDX-License-Identifier: Apache-2.0
"""Real constants as integers on a common grid."""

from __future__ import annotations

import numpy as np

from l1ml.errors import ModelError
from l1ml.types.arrays import IntArray, RealArray

MAX_BITS = 48


def to_integers(values: RealArray, what: str) -> tuple[IntArray, int]:
    """Express real constants as integers and the coarsest binary point that holds them all.

    Returns:
        ``(codes, frac)`` with ``values == codes * 2**-frac``.

    Raises:
        ModelError: the constants span more than 48 bits; they are no quantized weights.

    Example:
        >>> to_integers(np.array([0.75, -0.5]), "kernel")
        (array([ 3, -2]), 2)
    """
    values = np.asarray(values, dtype=np.float64)
    nonzero = values[values != 0]
    if not nonzero.size:
        return np.zeros(values.shape, dtype=np.int64), 0
    mantissa, exponent = np.frexp(nonzero)
    integer = (mantissa * 2.0**53).astype(np.int64)
    trailing = np.log2((integer & -integer).astype(np.float64)).astype(np.int64)
    frac = int((53 - exponent.astype(np.int64) - trailing).max())
    top = int(exponent.max()) + frac
    if top > MAX_BITS:
        raise ModelError(
            f"{what} holds constants that need {top} bits on a common grid; at most {MAX_BITS} are supported",
            fix="quantize these constants (a quantized layer, or a type in the configuration)",
        )
    return np.ldexp(values, frac).astype(np.int64), frac


def on_grid(values: RealArray) -> bool:
    """Tell whether constants fit a common grid of at most 48 bits."""
    try:
        to_integers(values, "")
    except ModelError:
        return False
    return True
