# SPDX-License-Identifier: Apache-2.0
"""Places the elements of an event in the words of a link: packed by default, or as the user says.

Default: in the order of the elements, lowest bit first, no element across two words.  Word 0 of
every link is filled before word 1 of any, so more links mean an earlier last word.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from l1ml.errors import InterfaceError, nearest
from l1ml.links.layout import Field, overlaps

MAX_WORDS = 10_000
MAX_LINKS = 128
MAX_BIT = 1 << 20
MAX_NAMED = 20
"""Problems of one layout that are written out; the rest are counted."""


@dataclass(frozen=True, slots=True)
class Element:
    """One element of the core's input or output vector.

    Args:
        name: as the user knows it, e.g. ``x[3]``.
        width: bits.
        signed: two's complement.
    """

    name: str
    width: int
    signed: bool


@dataclass(frozen=True, slots=True)
class Place:
    """Bits of one word."""

    link: int
    word: int
    lsb: int
    width: int


def pack(elements: Sequence[Element], word_bits: int, links: int) -> list[Place]:
    """Place elements by the default rule.

    Example:
        >>> [(p.link, p.word, p.lsb) for p in pack([Element(f"x[{k}]", 30, True) for k in range(5)], 64, 2)]
        [(0, 0, 0), (0, 0, 30), (1, 0, 0), (1, 0, 30), (0, 1, 0)]
    """
    places = []
    slot, low = 0, 0
    for element in elements:
        if low + element.width > word_bits:
            slot, low = slot + 1, 0
        places.append(Place(slot % links, slot // links, low, element.width))
        low += element.width
    return places


def words_used(places: Sequence[Place]) -> int:
    """Return one more than the number of the last word."""
    return 1 + max(place.word for place in places)


def fields(elements: Sequence[Element], places: Sequence[Place]) -> tuple[Field, ...]:
    """Join elements and their places."""
    out, low = [], 0
    for number, (element, place) in enumerate(zip(elements, places, strict=True)):
        out.append(
            Field(
                number,
                element.name,
                place.link,
                place.word,
                place.lsb,
                place.width,
                element.signed,
                element.width,
                low,
            )
        )
        low += element.width
    return tuple(out)


def overlapping(elements: Sequence[Element], places: Sequence[Place]) -> list[str]:
    """Name every pair of elements that share a bit."""
    return overlaps(fields(elements, places))


def parse(
    section: str, entries: object, elements: Sequence[Element], *, widen: bool
) -> tuple[list[Place | None], list[str]]:
    """Read a user's field layout.

    Args:
        section: ``inputs`` or ``outputs``, for messages.
        entries: ``{"x[0]": {"link": 0, "word": 1, "bits": "13:0"}, ...}``; ``link`` and ``word`` default
            to 0.
        elements: what must be placed.
        widen: a field may have more bits than its element.

    Returns:
        One place per element (None where it is missing or wrong) and all that is wrong.
    """
    problems: list[str] = []
    if not isinstance(entries, Mapping):
        return [None] * len(elements), [
            f"fields.{section} must be a mapping of field names, found {_short(entries)}"
        ]
    numbers = {element.name: number for number, element in enumerate(elements)}
    places: list[Place | None] = [None] * len(elements)
    given: set[str] = set()
    for key, entry in entries.items():
        name = re.sub(r"\s+", "", str(key)[:200])
        if name not in numbers:
            problems.append(f"{section}: unknown field {_short(key)}; {_nearest_few(name, numbers)}")
            continue
        if name in given:
            problems.append(f"{section}: {name} is given twice")
        given.add(name)
        number = numbers[name]
        place, wrong = _place(entry)
        problems += [f"{section}: {name}: {text}" for text in wrong]
        if place is None:
            continue
        width = elements[number].width
        if place.width < width or (place.width > width and not widen):
            need = f"at least {width}" if widen else str(width)
            problems.append(
                f"{section}: {name}: {place.width} bits given, the element has {width}; give {need}"
            )
            continue
        places[number] = place
    lost = [element.name for element in elements if element.name not in given]
    if lost:
        names = ", ".join(lost[:8]) + (f", ... ({len(lost)} in all)" if len(lost) > 8 else "")
        problems.append(f"{section}: no place is given for {names}")
    return places, problems


def refuse(problems: Sequence[str], interface: str, fix: str | None = None) -> None:
    """Raise one error that names all problems, if there are any."""
    if not problems:
        return
    lines = list(problems[:MAX_NAMED])
    if len(problems) > MAX_NAMED:
        lines.append(f"and {len(problems) - MAX_NAMED} more")
    listed = "\n".join([f"{len(problems)} things are wrong:", *(f"  - {line}" for line in lines)])
    raise InterfaceError(lines[0] if len(lines) == 1 else listed, where=("links", interface), fix=fix)


def _place(entry: object) -> tuple[Place | None, list[str]]:
    if not isinstance(entry, Mapping):
        return None, [f'must be {{link: 0, word: 1, bits: "13:0"}}, found {_short(entry)}']
    known = ("link", "word", "bits")
    wrong = [
        f"unknown key {_short(key)}; {nearest(str(key)[:40], known)}" for key in entry if key not in known
    ]
    values = {}
    for key, most in (("link", MAX_LINKS), ("word", MAX_WORDS)):
        value = entry.get(key, 0)
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < most:
            wrong.append(f"{key} must be a whole number from 0 to {most - 1}, found {_short(value)}")
        values[key] = value
    bits = entry.get("bits")
    match = (
        re.fullmatch(r"\s*(\d{1,7})\s*(?::\s*(\d{1,7})\s*)?", str(bits))
        if not isinstance(bits, bool)
        else None
    )
    if match is None:
        return None, [*wrong, f'bits must be "high:low" or one bit, found {_short(bits)}']
    high = int(match[1])
    low = int(match[2] or match[1])
    if not low <= high < MAX_BIT:
        return None, [*wrong, f"bits {high}:{low}: the higher bit comes first, at most {MAX_BIT - 1}"]
    return (None if wrong else Place(values["link"], values["word"], low, high - low + 1)), wrong


def _nearest_few(name: str, known: Mapping[str, int]) -> str:
    """Return the nearest names, without listing thousands of them."""
    if len(known) <= MAX_NAMED:
        return nearest(name, known)
    alike = difflib.get_close_matches(name, known, n=3)
    return (
        f"did you mean {alike[0]}?" if alike else f"{next(iter(known))}, ... are known ({len(known)} fields)"
    )


def _short(value: object) -> str:
    return f"{value!r:.60}"
