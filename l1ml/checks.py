# SPDX-License-Identifier: Apache-2.0
"""How the values of options are checked: each check returns the value or says what is wrong with it."""

from __future__ import annotations

import contextlib
import copy
import math
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from l1ml.errors import L1mlError, nearest
from l1ml.types.fixed import FixedType, Quantizer
from l1ml.types.timing import Clock

AUTO = "auto"
"""Instead of a type: found from the trained constants and from calibration events."""


class WrongError(Exception):
    """What is wrong with one value; each text continues the option's name."""

    def __init__(self, *texts: str) -> None:
        self.texts = texts
        super().__init__(*texts)


def unknown(mapping: Mapping[str, object], allowed: Iterable[str]) -> list[str]:
    """Return a text for every key that is not allowed, with the nearest one that is."""
    known = tuple(allowed)
    lost = sorted((key for key in mapping if key not in known), key=str)
    return [f"unknown key {str(key)[:80]!r}: {nearest(str(key)[:80], known)}" for key in lost]


def one_or_all(problems: list[str]) -> str:
    """Return one text as it is, several as a list."""
    if len(problems) == 1:
        return problems[0]
    return "\n".join([f"{len(problems)} options are wrong:", *(f"  - {text}" for text in problems)])


def kind_of(value: object) -> str:
    """Return what a value is, for messages."""
    names = {
        bool: "true or false",
        str: "text",
        int: "a whole number",
        float: "a number",
        dict: "a mapping",
        list: "a list",
    }
    if value is None:
        return "nothing (null)"
    name = names.get(type(value), type(value).__name__)
    return f"{name} {value!r:.60}" if isinstance(value, (bool, str, int, float)) else name


def matching(pattern: str, allowed: str) -> Callable[[object], str]:
    """Return the check of a text by a regular expression; ``allowed`` says it in words."""

    def check(value: object) -> str:
        if not isinstance(value, str) or not re.fullmatch(pattern, value):
            raise WrongError(f" must be {allowed}, found {kind_of(value)}")
        return value

    return check


def one_of(words: Sequence[str]) -> Callable[[object], str]:
    """Return the check of one of some words."""
    return matching("|".join(words), " or ".join(words))


def path(value: object) -> str:
    """Return a path as text."""
    if not isinstance(value, (str, os.PathLike)) or not os.fspath(value) or "\0" in str(value):
        raise WrongError(f" must be a path, found {kind_of(value)}")
    return str(Path(value))


def whole(lowest: int, highest: int) -> Callable[[object], int]:
    """Return the check of a whole number in a range."""

    def check(value: object) -> int:
        if (
            isinstance(value, (int, np.integer))
            and not isinstance(value, bool)
            and lowest <= value <= highest
        ):
            return int(value)
        raise WrongError(f" must be a whole number from {lowest} to {highest}, found {kind_of(value)}")

    return check


def any_number(value: object) -> float:
    """Return a finite number."""
    if isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool):
        with contextlib.suppress(OverflowError):
            if math.isfinite(number := float(value)):
                return number
    raise WrongError(f" must be a number, found {kind_of(value)}")


def positive(value: object) -> float:
    """Return a number above 0."""
    number = any_number(value)
    if number <= 0:
        raise WrongError(f" must be above 0, found {number}")
    return number


def share(value: object) -> float:
    """Return a number from 0 to 0.5."""
    if not 0 <= (number := any_number(value)) <= 0.5:
        raise WrongError(f" must be from 0 to 0.5, found {number}")
    return number


def clock(value: object) -> float:
    """Return a clock in MHz."""
    number = any_number(value)
    try:
        return Clock(number).mhz
    except L1mlError as error:
        raise WrongError(f": {error.what}") from None


def yes_no(value: object) -> bool:
    """Return true or false."""
    if not isinstance(value, bool):
        raise WrongError(f" must be true or false, found {kind_of(value)}")
    return value


def type_text(value: object) -> str:
    """Return the text of a fixed-point type."""
    if not isinstance(value, str):
        raise WrongError(f" must be a type such as fixed<14,4>, found {kind_of(value)}")
    try:
        Quantizer.parse(value)
    except L1mlError as error:
        raise WrongError(f": {error.what}") from None
    return value


def plain_type(value: object) -> str:
    """Return the text of a fixed-point type without rounding and overflow."""
    text = type_text(value)
    try:
        FixedType.parse(text)
    except L1mlError as error:
        raise WrongError(f": {error.what}") from None
    return text


def input_type(value: object) -> str | dict[str, str]:
    """Return one type, or one per input."""
    return by_name(type_text)(value) if isinstance(value, Mapping) else type_text(value)


def raw_field(value: object) -> dict[str, Any]:
    """Return type and shape of a raw field."""
    if isinstance(value, (list, tuple)) and len(value) == 2:
        value = {"type": value[0], "shape": value[1]}
    entry = plain(value)
    if problems := [f": {text}" for text in unknown(entry, ("type", "shape"))]:
        raise WrongError(*problems)
    sizes = entry.get("shape")
    sizes = list(sizes) if isinstance(sizes, (list, tuple)) else [sizes]
    if not sizes or len(sizes) > 8:
        raise WrongError(".shape must be the shape of one event, e.g. [10, 3]")
    return {"type": type_text(entry.get("type")), "shape": [whole(1, 1 << 20)(n) for n in sizes]}


def plain(value: object) -> dict[str, Any]:
    """Return a mapping, copied."""
    if not isinstance(value, Mapping):
        raise WrongError(f" must be a mapping, found {kind_of(value)}")
    return copy.deepcopy(dict(value))


def type_or_auto(value: object) -> str:
    """Return a type, or `AUTO`."""
    return AUTO if value == AUTO else type_text(value)


def keyed(checks: Mapping[str, Callable[[object], Any]]) -> Callable[[object], dict[str, Any]]:
    """Return the check of a mapping that has some of these keys."""

    def check(value: object) -> dict[str, Any]:
        entry = plain(value)
        problems = [f": {text}" for text in unknown(entry, checks)]
        for key, each in checks.items():
            if key in entry:
                try:
                    entry[key] = each(entry[key])
                except WrongError as error:
                    problems += [f".{key}{text}" for text in error.texts]
        if problems:
            raise WrongError(*problems)
        return entry

    return check


def by_name(check: Callable[[object], Any]) -> Callable[[object], dict[str, Any]]:
    """Return the check of a mapping with names of the user as keys."""

    def each(value: object) -> dict[str, Any]:
        problems, checked = [], {}
        for name, entry in plain(value).items():
            try:
                checked[matching(r"[^\0]{1,500}", "text")(name)] = check(entry)
            except WrongError as error:
                problems += [f".{name}{text}" for text in error.texts]
        if problems:
            raise WrongError(*problems)
        return checked

    return each


def optional(check: Callable[[object], Any]) -> Callable[[object], Any]:
    """Return a check that lets None pass."""
    return lambda value: None if value is None else check(value)
