# SPDX-License-Identifier: Apache-2.0
"""Transcendental functions by name.

They are evaluated in float64 and rounded to float32 once; frameworks differ from that by a few units in
the last place, which `Function.bounds` takes into account: where that could change a code, the
conversion says so.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from l1ml.errors import ModelError, nearest
from l1ml.graph.functions import Array, Function

_erf = np.vectorize(math.erf, otypes=[np.float64])


def _sigmoid(x: Array) -> Array:
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * x)))


def _softplus(x: Array) -> Array:
    return np.asarray(np.logaddexp(0.0, x))


def _elu(x: Array, alpha: float = 1.0) -> Array:
    return np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0)))


def _selu(x: Array, alpha: float = 1.6732632423543772, gamma: float = 1.0507009873554805) -> Array:
    return gamma * _elu(x, alpha)


def _celu(x: Array, alpha: float = 1.0) -> Array:
    return np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0) / alpha))


def _gelu(x: Array, approximate: float = 0.0) -> Array:
    if approximate:
        return np.asarray(0.5 * x * (1.0 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))))
    return np.asarray(0.5 * x * (1.0 + _erf(x / math.sqrt(2.0))))


def _power(x: Array, exponent: float = 1.0) -> Array:
    return np.asarray(np.power(x, exponent))


def _round(x: Array) -> Array:
    return np.rint(x)


# name: (function, never falls, units in the last place)
_TABLE: dict[str, tuple[Callable[..., Array], bool, float]] = {
    "sigmoid": (_sigmoid, True, 4),
    "tanh": (np.tanh, True, 4),
    "exp": (np.exp, True, 4),
    "log": (np.log, True, 4),
    "log1p": (np.log1p, True, 4),
    "expm1": (np.expm1, True, 4),
    "sqrt": (np.sqrt, True, 0),
    "rsqrt": (lambda x: 1.0 / np.sqrt(x), False, 4),
    "reciprocal": (np.reciprocal, False, 0),
    "softplus": (_softplus, True, 4),
    "softsign": (lambda x: x / (1.0 + np.abs(x)), True, 2),
    "elu": (_elu, True, 4),
    "selu": (_selu, True, 4),
    "celu": (_celu, True, 4),
    "gelu": (_gelu, False, 8),
    "silu": (lambda x: x * _sigmoid(x), False, 4),
    "mish": (lambda x: x * np.tanh(_softplus(x)), False, 8),
    "erf": (_erf, True, 4),
    "sin": (np.sin, False, 4),
    "cos": (np.cos, False, 4),
    "atan": (np.arctan, True, 4),
    "abs": (np.abs, False, 0),
    "square": (np.square, False, 0),
    "floor": (np.floor, True, 0),
    "ceil": (np.ceil, True, 0),
    "round": (_round, True, 0),
    "pow": (_power, False, 4),
}

NAMES = tuple(_TABLE)


@dataclass(frozen=True, eq=False)
class Named(Function):
    """A function of `NAMES` with its parameters, for example ``Named("elu", (1.0,))``."""

    name: str
    params: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if self.name not in _TABLE:
            raise ModelError(f"no function called {self.name!r}: {nearest(self.name, _TABLE)}")

    @property
    def increasing(self) -> bool:
        """As the table says; a negative parameter may turn a function around."""
        return _TABLE[self.name][1] and all(p >= 0 for p in self.params)

    @property
    def ulps(self) -> float:
        """Spread among implementations."""
        return _TABLE[self.name][2]

    def bounds(self, low: Array, high: Array) -> tuple[Array, Array]:
        """Widen by the spread, but not where every implementation is exact.

        That is at 0, where ELU is the identity, and where the sum in softsign is exact: a quotient has one rounding.
        """
        least, most = super().bounds(low, high)
        exact = (low == 0) | ((low > 0) & (self.name in ("elu", "celu")))
        if self.name == "softsign":
            exact = exact | (
                (np.float32(1) + np.abs(low)).astype(np.float64) == 1.0 + np.abs(low.astype(np.float64))
            )
        exact = exact & (low == high)
        value = self(low)
        return np.where(exact, value, least), np.where(exact, value, most)

    def __call__(self, x: Array) -> Array:
        """Evaluate in float64, round to float32 once."""
        with np.errstate(all="ignore"):
            wide = _TABLE[self.name][0](x.astype(np.float64), *self.params)
            return np.asarray(wide, dtype=np.float64).astype(np.float32)
