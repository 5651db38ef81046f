# SPDX-License-Identifier: Apache-2.0
"""One primitive on a whole tensor, as it is on the beats of a stream.

In a beat the streamed axes of a tensor are gone; an axis of lanes stands first instead.  A primitive that does the same
at every position keeps its meaning: its constants lose the streamed axes, too.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from l1ml.graph import primitives as p
from l1ml.graph.primitives import Primitive
from l1ml.types.arrays import IntArray

Shape = tuple[int, ...]
Axes = tuple[int, ...]

CONSTANTS: dict[type[Primitive], dict[str, int]] = {
    p.AddConst: {"constant": 0},
    p.MulConst: {"multiplier": 0},
    p.Requantize: {"lo": 0, "hi": 0, "frac": 0},
    p.Rescale: {"multiplier": 0, "offset": 0, "shift": 0, "lo": 0, "hi": 0},
    p.Steps: {"thresholds": 1, "base": 0, "jumps": 1},
    p.Lookup: {"first": 0, "which": 0},
    p.Constant: {"codes": 0, "frac": 0},
    p.Relu: {},
    p.Clip: {},
}
"""Primitives that act element by element: their arrays, and how many axes of each lie behind those of the tensor."""

ELEMENTWISE = (p.Combine, p.Compare, p.Select)
"""Primitives that act element by element on several tensors."""

ALONG_LAST = (p.ConstMatmul, p.Reduce, p.ArgMax)
"""Primitives that act along the last axis, the same for all others."""


def on_beats(op: Primitive, shape: Shape, axes: Axes) -> Primitive | None:
    """Return the primitive on beats, or None where it is not the same at every position.

    Args:
        op: reads tensors of ``shape`` after broadcasting.
        shape: of the operands, without the events.
        axes: the streamed ones.
    """
    if isinstance(op, ALONG_LAST):
        return None if len(shape) - 1 in axes else op
    if isinstance(op, p.Concat):
        if op.axis in axes:
            return None
        return p.Concat(1 + op.axis - sum(a < op.axis for a in axes))
    if isinstance(op, p.Contract):
        return op if not {len(shape) - 1, len(shape) - 2} & set(axes) else None
    if isinstance(op, ELEMENTWISE):
        return op
    arrays = CONSTANTS.get(type(op))
    if arrays is None:
        return None
    changed: dict[str, Any] = {}
    for name, behind in arrays.items():
        one = _one_position(getattr(op, name), shape, axes, behind)
        if one is None:
            return None
        changed[name] = one
    return replace(op, **changed) if changed else op


def _one_position(values: IntArray, shape: Shape, axes: Axes, behind: int) -> IntArray | None:
    """Return the constants of one position, None where positions differ."""
    own = values.ndim - behind
    for axis in axes:
        at = axis - (len(shape) - own)  # the axis in this array; negative where it is broadcast
        if at < 0:
            continue
        first = np.take(values, [0], axis=at)
        if not np.array_equal(np.broadcast_to(first, values.shape), values):
            return None
        values = first
    kept = [at for at in range(values.ndim) if at + (len(shape) - own) not in axes or at >= own]
    return values.reshape([values.shape[at] for at in kept])


def with_lanes(op: Primitive, lanes: int, inner: Shape) -> Primitive:
    """Give a constant its axis of lanes; others broadcast to it."""
    if isinstance(op, p.Constant):
        codes = np.broadcast_to(op.codes, (lanes, *inner))
        return p.Constant(codes, op.frac)
    return op
