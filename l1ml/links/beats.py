# SPDX-License-Identifier: Apache-2.0
"""Events that are read while they arrive: beats of some positions, each as soon as its words are there.

A beat takes the same number of words on every link, and its elements the same bits in each beat: the wrapper needs
no more than one set of registers, whatever the size of the event.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from l1ml.errors import InterfaceError
from l1ml.links.fields import MAX_LINKS, Element, Place, pack, words_used
from l1ml.links.layout import Field


@dataclass(frozen=True, slots=True)
class Beats:
    """How the fields of an event make beats.

    Args:
        count: beats of an event.
        words: words of a beat, on every link.
        fields: fields of the first beat, which has all lanes; it is the pattern of the others.
    """

    count: int
    words: int
    fields: int


def pack_beats(elements: Sequence[Element], sizes: Sequence[int], word_bits: int, links: int) -> list[Place]:
    """Place the elements beat by beat, each beat from a new word on.

    Args:
        elements: in order.
        sizes: elements of every beat; the first has as many as any.
        word_bits: bits of a word.
        links: links side by side.
    """
    pattern = pack(elements[: sizes[0]], word_bits, links)
    words = words_used(pattern)
    return [
        Place(place.link, place.word + beat * words, place.lsb, place.width)
        for beat, size in enumerate(sizes)
        for place in pattern[:size]
    ]


def links_for(elements: Sequence[Element], sizes: Sequence[int], word_bits: int, room: int) -> int:
    """Return the fewest links on which all beats fit ``room`` words; `MAX_LINKS` + 1 where none do."""
    for links in range(1, MAX_LINKS + 1):
        words = words_used(pack(elements[: sizes[0]], word_bits, links))
        if words * len(sizes) <= room:
            return links
        if words == 1:
            break
    return MAX_LINKS + 1


def beats_of(fields: Sequence[Field], sizes: Sequence[int], interface: str) -> Beats:
    """Return the beats that placed fields make.

    Args:
        fields: by element.
        sizes: elements of every beat.
        interface: for messages.

    Raises:
        InterfaceError: the fields of some beat do not lie as those of the first; names it.
    """
    first = fields[: sizes[0]]
    words = 1 + max(field.word for field in first)
    at = 0
    for beat, size in enumerate(sizes):
        for field, pattern in zip(fields[at : at + size], first, strict=False):
            wanted = (pattern.link, pattern.word + beat * words, pattern.lsb, pattern.width)
            if (field.link, field.word, field.lsb, field.width) != wanted:
                raise InterfaceError(
                    f"{field} does not lie where its beat needs it: link {wanted[0]} word {wanted[1]}, bit {wanted[2]}",
                    where=("links", interface, "fields"),
                    fix=f"repeat the places of the first beat every {words} words, or set hardware: parallel",
                )
        at += size
    return Beats(len(sizes), words, sizes[0])
