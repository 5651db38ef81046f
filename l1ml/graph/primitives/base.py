# SPDX-License-Identifier: Apache-2.0
"""What all primitives have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import ClassVar

import numpy as np

from l1ml.errors import ModelError, RangeError
from l1ml.graph.tensor import MAX_FRAC, TensorType
from l1ml.types.arrays import IntArray, RealArray

MAX_MAGNITUDE = 2.0**61
MAX_CONSTANT = 1 << 62

Shape = tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Primitive(ABC):
    """One operation on tensors of integer codes; every subclass registers itself in ``PRIMITIVES``.

    Fields are int, str, enumerations, integer arrays, or tuples of these: that is what ``network.json``
    stores.  Constants broadcast to the trailing axes of a tensor.  Arrays are read-only afterwards.
    """

    PRIMITIVES: ClassVar[dict[str, type[Primitive]]] = {}

    def __init_subclass__(cls) -> None:
        if not cls.__name__.startswith("_"):
            Primitive.PRIMITIVES[cls.__name__] = cls

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.type == "IntArray":
                array = np.array(value, dtype=np.int64)
                array.setflags(write=False)
                object.__setattr__(self, field.name, array)
                if peak(array) > float(MAX_CONSTANT):
                    raise RangeError(f"a constant of {type(self).__name__} needs more than 62 bits")
                value = array
            if field.name == "frac" and int(np.abs(value).max(initial=0)) > MAX_FRAC:
                raise RangeError(f"{type(self).__name__} has more than {MAX_FRAC} fraction bits")

    @abstractmethod
    def infer(self, *types: TensorType) -> TensorType:
        """Return the exact type of the result.

        Raises:
            RangeError: it needs more than 62 bits.
            ModelError: the shapes do not fit.
        """

    @abstractmethod
    def emulate(self, codes: Sequence[IntArray], types: Sequence[TensorType]) -> IntArray:
        """Return the codes of the result for ``codes``, one array (events, *shape) per operand."""

    def shape_of(self, *shapes: Shape) -> Shape:
        """Return the shape of the result; by default that of the first operand, to which constants broadcast.

        Raises:
            ModelError: the shapes do not fit.
        """
        (shape,) = shapes
        for field in fields(self):
            if field.type == "IntArray" and not broadcasts(getattr(self, field.name).shape, shape):
                given = getattr(self, field.name).shape
                raise ModelError(f"{type(self).__name__}: {field.name} of shape {given} for a tensor {shape}")
        return shape

    def work(self, *shapes: Shape) -> int:
        """Return about how many integers `infer` looks at; reading a file is refused beyond a limit."""
        return int(np.prod(self.shape_of(*shapes), dtype=np.float64))


def broadcasts(shape: Shape, into: Shape) -> bool:
    """Tell whether constants of one shape broadcast to the trailing axes of another."""
    if len(shape) > len(into):
        return False
    return all(n in (1, m) for n, m in zip(shape[::-1], into[::-1], strict=False))


def spread(values: IntArray, shape: Shape) -> IntArray:
    """Return constants in the shape of a tensor."""
    return np.broadcast_to(np.asarray(values, dtype=np.int64), shape)


def peak(values: IntArray) -> float:
    """Return the largest magnitude of integers; ``abs`` of the smallest int64 would be negative."""
    return max(float(values.max(initial=0)), -float(values.min(initial=0)))


def bounded(magnitudes: RealArray, what: str) -> None:
    """Refuse results that int64 arithmetic could not hold.

    Args:
        magnitudes: the largest ones, float64, computed before the integers are.
        what: the operation, for messages.
    """
    if not float(np.max(magnitudes, initial=0.0)) < MAX_MAGNITUDE:
        raise RangeError(f"{what} needs more than 62 bits", fix="quantize its inputs to fewer bits")


def magnitude(x: TensorType) -> RealArray:
    """Return the largest magnitude of every element, in its own LSBs, float64."""
    return np.maximum(np.abs(x.lo.astype(np.float64)), np.abs(x.hi.astype(np.float64)))


def shifted(codes: IntArray, up: IntArray) -> IntArray:
    """Append zeros to codes; the ranges have been checked."""
    return np.asarray(codes << up)


def to_grid(x: TensorType, frac: IntArray, what: str) -> tuple[IntArray, IntArray]:
    """Return ``(lo, hi)`` in LSBs of ``2**-frac``, which is at least as fine as the type's own."""
    bounded(np.ldexp(magnitude(x), np.asarray(frac - x.frac)), what)
    return shifted(x.lo, frac - x.frac), shifted(x.hi, frac - x.frac)


def live_frac(x: TensorType) -> IntArray:
    """Return the fraction bits of every element; one that is always 0 needs none, so it has the fewest."""
    zero = (x.lo == 0) & (x.hi == 0)
    live = x.frac[~zero]
    return np.where(zero, int(live.min()) if live.size else 0, x.frac)


def product(a: IntArray, b: IntArray, bound: float) -> IntArray:
    """Return ``a @ b``.

    Args:
        a: integers.
        b: integers.
        bound: no sum of magnitudes is larger; below 2**53 the fast float64 product is exact.
    """
    if bound < 2.0**53:
        return np.asarray(a.astype(np.float64) @ b.astype(np.float64)).astype(np.int64)
    return np.asarray(a @ b)
