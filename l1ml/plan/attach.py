# SPDX-License-Identifier: Apache-2.0
"""Attach: constants that differ by position travel beside the beats of a stream, a word for every beat."""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from operator import or_
from typing import ClassVar

import numpy as np

from l1ml.errors import ConfigError, DataError
from l1ml.plan.arrivals import checked_arrivals
from l1ml.plan.fold import ROM_BITS
from l1ml.plan.tables import literal, width
from l1ml.types.arrays import IntArray

BLOCK_WORDS = 256
"""Words from which on a memory is a block RAM."""


@dataclass(frozen=True, eq=False)
class AttachEngine:
    """Every beat of an event gives the word of that beat, one clock later; what the beat holds does not matter.

    The words are read one after the other; the first beat of an event always gives the first.

    Args:
        codes: constants, (beats, lanes, elements).
        widths: bits of every element, (elements,), two's complement for one that is negative anywhere; 0 for one that
            is always 0.

    Raises:
        ConfigError: codes that do not fit their bits, no bits at all, or more than a memory holds.
    """

    MODULE: ClassVar[str] = "l1ml_attach"

    codes: IntArray
    widths: tuple[int, ...]

    def __post_init__(self) -> None:
        shape = self.codes.shape
        if len(shape) != 3 or not self.codes.size or shape[2] != len(self.widths):
            raise ConfigError(
                f"Attach: codes of shape {shape} with {len(self.widths)} widths",
                fix="give codes (beats, lanes, elements) and a width for each element",
            )
        if min(self.widths) < 0 or not any(self.widths):
            raise ConfigError(
                f"Attach: widths {self.widths}", fix="give bits of every element, not all of them 0"
            )
        least, most = self.codes.min(axis=(0, 1)), self.codes.max(axis=(0, 1))
        needed = [width(int(lo), int(hi), signed=bool(lo < 0)) for lo, hi in zip(least, most, strict=True)]
        if any(own > bits for own, bits in zip(needed, self.widths, strict=True)):
            raise ConfigError(
                f"Attach: constants need {needed} bits, the elements have {list(self.widths)}",
                fix="give widths that hold all codes",
            )
        if self.word_bits * self.beats > ROM_BITS:
            raise ConfigError(
                f"Attach: {self.beats} words of {self.word_bits} bits are more than {ROM_BITS} bits of ROM",
                fix="gather the event, or give its constants fewer bits",
            )

    @property
    def beats(self) -> int:
        """Beats of an event, and words."""
        return int(self.codes.shape[0])

    @property
    def word_bits(self) -> int:
        """Bits of a word: all lanes."""
        return int(self.codes.shape[1]) * sum(self.widths)

    @property
    def rom(self) -> str:
        """Where the words lie: ``lut`` or ``block`` (RAM)."""
        return "block" if self.beats >= BLOCK_WORDS else "lut"

    def rom_words(self) -> list[int]:
        """Return the words, the first beat's first; in a word lane 0 has the lowest bits, in a lane element 0."""
        words = []
        for beat in self.codes:
            word, low = 0, 0
            for lane in beat:
                for code, bits in zip(lane, self.widths, strict=True):
                    word |= (int(code) & ((1 << bits) - 1)) << low
                    low += bits
            words.append(word)
        return words

    def live_bits(self) -> int:
        """Return how many bits of a word are not the same in all words."""
        first, *others = self.rom_words()
        return reduce(or_, (first ^ word for word in others), 0).bit_count()

    def parameters(self) -> dict[str, int]:
        """Return the parameters of the SystemVerilog module that are plain numbers; the words: see `literals`."""
        return {"Beats": self.beats, "WordBits": self.word_bits, "BlockRom": int(self.rom == "block")}

    def literals(self) -> dict[str, str]:
        """Return the parameters that are wider than an integer, as SystemVerilog."""
        bits = self.word_bits
        value = sum(word << (bits * at) for at, word in enumerate(self.rom_words()))
        return {"Constants": literal(value, bits * self.beats)}

    def times(self, arrivals: IntArray) -> IntArray:
        """Return the clock of every word, (`beats`,): one behind its beat.

        Args:
            arrivals: clock of every beat of an event, (`beats`,), ascending.

        Raises:
            ConfigError: not one clock per beat, or two beats in one clock.
        """
        return checked_arrivals("Attach", arrivals, self.beats) + 1

    def busy(self, arrivals: IntArray) -> int:
        """Return the least clocks between two events: the next may begin right behind the last beat."""
        clocks = checked_arrivals("Attach", arrivals, self.beats)
        return int(clocks[-1] - clocks[0]) + 1

    def emulate(self, beats: IntArray) -> IntArray:
        """Return the constants.

        Args:
            beats: anything, (events, `beats`, ...).

        Returns:
            Codes, (events, `beats`, lanes, elements).

        Raises:
            DataError: another number of beats.
        """
        if beats.ndim < 2 or beats.shape[1] != self.beats:
            raise DataError(
                f"Attach: codes of shape {beats.shape} are no events of {self.beats} beats",
                fix=f"expected is (events, {self.beats}, lanes, elements)",
            )
        return np.broadcast_to(self.codes, (len(beats), *self.codes.shape)).astype(np.int64)
