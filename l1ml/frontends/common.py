# SPDX-License-Identifier: Apache-2.0
"""What all readers share: typed access to untrusted mappings, and one message for all unsupported layers."""

from __future__ import annotations

import math
from collections.abc import Container, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, count
from typing import Any

import numpy as np

from l1ml.errors import ModelError

MAX_BYTES = 512 * 1024 * 1024
"""Largest file, archive member, or sum of arrays that is read.  A trigger network has kilobytes."""

MAX_LAYERS = 2_000
MAX_ELEMENTS = 1 << 24
"""Largest number of elements of one event in a tensor of the network."""

MAX_DEPTH = 100
LISTED = 100

Shape = tuple[int, ...]


def spreads(shape: Shape, over: Shape) -> bool:
    """Tell whether an array of a shape can be spread over another one, without making that larger.

    Example:
        >>> spreads((1, 3), (2, 3)), spreads((2, 3), (3,)), spreads((2,), (3,))
        (True, False, False)
    """
    return len(shape) <= len(over) and all(
        own in (1, n) for own, n in zip(reversed(shape), reversed(over), strict=False)
    )


DAMAGE = (
    OSError,
    RuntimeError,
    LookupError,
    ValueError,
    TypeError,
    AttributeError,
    ArithmeticError,
    MemoryError,
    EOFError,
    AssertionError,
)
"""What parsers of binary formats raise for damaged input.  Only calls into such parsers are guarded by it."""


class UnsupportedError(ModelError):
    """A layer, or an option of it, that has no exact form here.  Collected, then reported together."""


@contextmanager
def parsing(what: str, source: str) -> Iterator[None]:
    """Turn whatever a parser raises for a damaged file into a `ModelError`.

    Args:
        what: the thing that is read, e.g. ``"the HDF5 file"``.
        source: name of the file.
    """
    try:
        yield
    except DAMAGE as error:
        text = " ".join(str(error).split())[:200] or type(error).__name__
        raise ModelError(
            f"{what} cannot be read: {text}",
            where=(source,),
            fix="the file is damaged, incomplete or of another kind; save or copy it again",
        ) from error


@dataclass(frozen=True)
class Problem:
    """One layer that cannot be converted: its name, its class, and why (empty: the class itself)."""

    name: str
    kind: str
    reason: str = ""

    def __str__(self) -> str:
        return f"{self.name} ({self.kind}{': ' if self.reason else ''}{self.reason})"


def refuse(problems: list[Problem], source: str, supported: Iterable[str]) -> None:
    """Raise one error that names every unsupported layer; do nothing for an empty list.

    Raises:
        ModelError: there are problems.
    """
    if not problems:
        return
    shown = ", ".join(str(problem) for problem in problems[:LISTED])
    shown = "".join(sign if sign.isprintable() else "?" for sign in shown)
    more = f" and {len(problems) - LISTED} more" if len(problems) > LISTED else ""
    layers = "1 layer is" if len(problems) == 1 else f"{len(problems)} layers are"
    raise ModelError(
        f"{layers} not supported: {shown}{more}",
        where=(source,),
        fix=f"supported are {', '.join(sorted(supported))}; replace or remove the others",
    )


def unwrap(value: Any) -> Any:
    """Return the plain value inside the wrappers of Keras' JSON: tuples and NumPy values.

    Example:
        >>> unwrap({"class_name": "__tuple__", "items": [None, 16]})
        [None, 16]
    """
    if isinstance(value, Mapping):
        if value.get("class_name") == "__tuple__":
            return unwrap(value.get("items"))
        if value.get("class_name") == "__numpy__" and isinstance(value.get("config"), Mapping):
            return unwrap(value["config"].get("value"))
        if value.get("type") == "ndarray":
            return unwrap(value.get("value"))
        return value
    if isinstance(value, (list, tuple)):
        return [unwrap(item) for item in value]
    return value


def unique(name: str, taken: Container[str]) -> str:
    """Return ``name``, with a number behind it if it is taken already.

    Example:
        >>> unique("fc", {"fc", "fc_2"})
        'fc_3'
    """
    names = chain([name], (f"{name}_{n}" for n in count(2)))
    return next(candidate for candidate in names if candidate not in taken)


def is_name(text: str) -> bool:
    """Tell whether a text can stand for a layer in messages and files: 1 to 500 printable characters."""
    return 1 <= len(text) <= 500 and text.isprintable()


def whole(value: Any) -> int | None:
    """Return ``value`` as an int if it is a whole number of at most 2**53, else None."""
    if isinstance(value, (bool, np.bool_)):
        return int(value)
    if isinstance(value, (int, float, np.integer, np.floating)):
        real = float(value) if -(2**53) <= value <= 2**53 else math.nan
        return int(real) if real == real and real.is_integer() else None
    return None


class Options:
    """Typed reading of one layer's or quantizer's configuration, which comes from an untrusted file.

    Args:
        values: the mapping.
        owner: whose options they are, for messages, e.g. ``"layer 'fc1'"``.
        source: name of the file.
    """

    def __init__(self, values: Mapping[str, Any], owner: str, source: str) -> None:
        self.values, self.owner, self.source = values, owner, source

    def raw(self, key: str, default: Any = None) -> Any:
        """Return the plain value of ``key``, or ``default`` where it is absent."""
        return unwrap(self.values.get(key, default))

    def wrong(self, key: str, expected: str) -> ModelError:
        """Build the error for a value of the wrong kind."""
        text = repr(self.raw(key))
        return ModelError(
            f"{key} of {self.owner} is {text[:80]}{'...' if len(text) > 80 else ''}; expected {expected}",
            where=(self.source,),
        )

    def integer(self, key: str, default: int | None = None) -> int:
        """Return a whole number."""
        number = whole(self.raw(key, default))
        if number is None:
            raise self.wrong(key, "a whole number")
        return number

    def number(self, key: str, default: float | None = None) -> float | None:
        """Return a finite number, or None where the value is null."""
        value = self.raw(key, default)
        if value is None:
            return None
        if isinstance(value, (int, float, np.integer, np.floating)) and -1e300 < value < 1e300:
            return float(value)
        raise self.wrong(key, "a finite number")

    def flag(self, key: str, default: bool) -> bool:
        """Return a truth value; 0 and 1 count."""
        value = self.raw(key, default)
        number = whole(value)
        if value is not None and number not in (0, 1):
            raise self.wrong(key, "true or false")
        return bool(number)

    def integers(self, key: str) -> list[int] | None:
        """Return a list of whole numbers (one number counts as a list of one), or None where absent."""
        value = self.raw(key)
        if value is None:
            return None
        numbers = [whole(item) for item in (value if isinstance(value, list) else [value])]
        good = [number for number in numbers if number is not None]
        if len(good) != len(numbers):
            raise self.wrong(key, "a list of whole numbers")
        return good


def event_shape(dims: Any, owner: str, source: str) -> Shape:
    """Return the shape of one event from a shape with the batch axis first.

    Raises:
        ModelError: it is no shape, or an axis other than the batch has no size, or it is too large.

    Example:
        >>> event_shape([None, 16], "input 'x'", "model.h5")
        (16,)
    """
    dims = unwrap(dims)
    if not isinstance(dims, list) or not 2 <= len(dims) <= 8:
        raise ModelError(
            f"{owner} has the shape {str(dims)[:80]}; expected the batch axis and 1 to 7 more",
            where=(source,),
        )
    sizes = [whole(n) for n in dims[1:]]
    shape = tuple(n for n in sizes if n is not None and n >= 1)
    if len(shape) != len(sizes):
        raise ModelError(
            f"{owner} has the shape {str(dims)[:80]}; every axis but the batch needs a fixed size",
            where=(source,),
            fix="save the model with a fixed input shape",
        )
    return checked(shape, owner, source)


def checked(shape: Shape, owner: str, source: str) -> Shape:
    """Return ``shape`` if one event of it is not unreasonably large."""
    if math.prod(shape) > MAX_ELEMENTS:
        raise ModelError(
            f"{owner} has {math.prod(shape)} elements per event; at most {MAX_ELEMENTS} are supported",
            where=(source,),
        )
    return shape


def reshaped(before: Shape, sizes: list[int], owner: str, source: str) -> Shape:
    """Return the shape of one event after a reshape, its one -1 resolved.

    Args:
        before: shape of one event.
        sizes: the new shape without the batch axis; one may be -1.
        owner: the layer, for messages.
        source: name of the file.

    Raises:
        ModelError: the number of elements changes.

    Example:
        >>> reshaped((4, 6), [-1, 8], "layer 'r'", "m.h5")
        (3, 8)
    """
    total, rest = math.prod(before), math.prod(n for n in sizes if n != -1)
    fits = min(sizes) >= -1 and rest > 0 and sizes.count(-1) <= 1
    shape = tuple(total // rest if n == -1 else n for n in sizes) if fits else ()
    if not fits or math.prod(shape) != total:
        raise ModelError(
            f"{owner} cannot turn {total} elements of shape {before} into {tuple(sizes)}", where=(source,)
        )
    return shape


def power_of_two(value: float) -> bool:
    """Tell whether ``value`` is 2**n for a whole n that float32 holds.

    Example:
        >>> power_of_two(0.125), power_of_two(0.3), power_of_two(-2.0)
        (True, False, False)
    """
    return 2.0**-126 <= value <= 2.0**127 and math.frexp(value)[0] == 0.5
