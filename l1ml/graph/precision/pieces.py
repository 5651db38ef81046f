# SPDX-License-Identifier: Apache-2.0
"""Piecewise linear functions of a float model with constants on a grid: exact integers, no table.

The normalizations, means, LeakyReLU and hard sigmoids of a float model become these.  Its constants are kept
finer than the type that follows can tell.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from l1ml.graph.functions import Clip, Divide, Function, HardSigmoid, Offset, Rectify, Relu, Scale
from l1ml.graph.layers.base import Layer
from l1ml.graph.net import Net, T
from l1ml.types.arrays import RealArray
from l1ml.types.fixed import Quantizer, Rounding, round_codes

GUARD_BITS = 2
"""Significant bits of a factor beyond the width of the result: its error stays below a quarter of an LSB."""

GUARD_FRACTION = 4
"""Fraction bits of a term beyond those of the result."""

Step = tuple[str, RealArray]


@dataclass(frozen=True, eq=False)
class Pieces(Layer):
    """Linear pieces, one after the other.

    Args:
        steps: (``mul``, ``add``, ``max`` or ``min``, constants broadcastable to the tensor), or (``leaky``,
            slopes): slopes times x below 0.
        text: what it was, for reports.
    """

    steps: tuple[Step, ...]
    text: str = ""

    def emit(self, net: Net[T], *xs: T) -> T:
        """Combine with constants."""
        (x,) = xs
        for kind, values in self.steps:
            constant = net.constant(values)
            if kind != "leaky":
                x = net.combine(kind, x, constant)
            elif bool(((values >= 0) & (values <= 1)).all()):
                x = net.combine("max", x, net.combine("mul", x, constant))
            else:
                zero = net.constant(np.zeros(()))
                below = net.combine("mul", net.combine("min", x, zero), constant)
                x = net.combine("add", net.combine("max", x, zero), below)
        return x

    def on_grid(self, result: Quantizer) -> Pieces:
        """Return the layer with constants as fine as a result of this type can tell."""
        made: list[Step] = []
        for kind, values in self.steps:
            if kind in ("mul", "leaky"):
                made.append((kind, significant(values, result.type.width + GUARD_BITS)))
            else:
                frac = result.type.frac + (GUARD_FRACTION if kind == "add" else 0)
                made.append((kind, np.ldexp(round_codes(np.ldexp(values, frac), Rounding.RND_CONV), -frac)))
        return Pieces(self.name, self.inputs, tuple(made), self.text)


def significant(values: RealArray, bits: int) -> RealArray:
    """Round every number to so many significant bits, but no finer than 2**-24 of the largest.

    Example:
        >>> significant(np.array([0.3, -5.0]), 3).tolist()
        [0.3125, -5.0]
    """
    values = np.asarray(values, dtype=np.float64)
    _, exponent = np.frexp(values)
    finest = int(exponent[values != 0].max(initial=0)) - 24
    shift = np.maximum(exponent - bits, finest)
    return np.asarray(np.ldexp(np.rint(np.ldexp(values, -shift)), shift))


def linear_steps(functions: Sequence[Function]) -> tuple[Step, ...] | None:
    """Return the linear pieces of a chain of functions; None where one of them is no such function."""
    steps: list[Step] = []
    for function in functions:
        match function:
            case Scale():
                steps.append(("mul", _real(function.factor)))
            case Divide():
                steps.append(("mul", 1.0 / _real(function.divisor)))
            case Offset():
                steps.append(("add", _real(function.offset)))
            case Relu():
                steps.append(("max", np.zeros(())))
            case Clip():
                steps += [("max", _real(function.lo)), ("min", _real(function.hi))]
            case HardSigmoid():
                steps += [("mul", _real(function.slope)), ("add", _real(function.shift))]
                steps += [("max", np.zeros(())), ("min", np.ones(()))]
            case Rectify(threshold=0.0):
                slope = _real(function.slope)
                steps.append(("leaky", slope) if slope.any() else ("max", np.zeros(())))
                if function.max_value is not None:
                    steps.append(("min", _real(function.max_value)))
            case _:
                return None
    return tuple(steps)


def _real(values: object) -> RealArray:
    return np.asarray(values, dtype=np.float32).astype(np.float64)
