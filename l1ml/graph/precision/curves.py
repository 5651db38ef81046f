# SPDX-License-Identifier: Apache-2.0
"""Chains of functions as curves: sampled where the types of their inputs are decided."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from l1ml.graph.functions import Array, Function, moved, parameters
from l1ml.types.arrays import RealArray

MOST_ELEMENTS = 64


def evaluate(chain: Sequence[Function], x: RealArray) -> Array:
    """Return the values of a chain at points, (points, elements), float32.

    Parameters that differ per element give a curve each, at most `MOST_ELEMENTS` of them.
    """
    shape = np.broadcast_shapes(*(np.shape(a) for f in chain for a in parameters(f)))
    size = min(int(np.prod(shape, dtype=np.int64)), MOST_ELEMENTS)

    def first(array: Array) -> Array:
        return array.reshape(-1)[:size]

    y = np.broadcast_to(np.asarray(x, dtype=np.float32)[:, None], (len(x), size))
    with np.errstate(all="ignore"):
        for function in chain:
            y = moved(function, shape, first)(y)
    return y


def never_negative(chain: Sequence[Function]) -> bool:
    """Tell whether a chain gives no negative number, from its values at many points.

    Example:
        >>> from l1ml.graph.named import Named
        >>> never_negative([Named("sigmoid")]), never_negative([Named("tanh")])
        (True, False)
    """
    if not chain:
        return False
    ends = np.logspace(-6, 6, 400)
    values = evaluate(chain, np.concatenate([-ends, [0.0], ends]))
    return bool(np.nanmin(values) >= 0)
