# SPDX-License-Identifier: Apache-2.0
"""Window, clock by clock: a model of its own, slow and plain."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from l1ml.plan.window import WindowEngine

Pixel = list[int]


class _Event:
    def __init__(self, engine: WindowEngine) -> None:
        self.engine, self.advance = engine, -1
        self.beats: list[list[int]] = []

    @property
    def complete(self) -> bool:
        return len(self.beats) == self.engine.beats

    def pixel(self, row: int, column: int) -> int | None:
        """Return a pixel, 0 outside of the image, None where it is don't-care."""
        one = self.engine
        if not 0 <= row < one.rows or column < 0:
            return 0
        if column >= one.columns:
            return 0 if one.padding[1][1] > 0 else None
        at = row * one.beats_per_row + column // one.lanes
        assert at < len(self.beats), "a window is out before its pixels are in"
        return self.beats[at][column % one.lanes]

    def region(self) -> list[int | None] | None:
        """Return the region that this advance completes, None for none."""
        one = self.engine
        (top, _), (left, _) = one.padding
        for row in range(one.out_rows):
            for beat in range(one.out_beats_per_row):
                first = beat * one.step * one.lanes - left
                last_row = row * one.strides[0] - top + (one.kernel[0] - 1) * one.dilation[0]
                last = first + one.region_columns - 1
                need = last_row * one.beats_per_row + last // one.lanes
                if need == self.advance:
                    return [
                        self.pixel(row * one.strides[0] - top + r * one.dilation[0], first + c)
                        for r in range(one.kernel[0])
                        for c in range(one.region_columns)
                    ]
        return None

    @property
    def first(self) -> bool:
        """Tell whether this advance completes the first region."""
        one = self.engine
        rows = (one.kernel[0] - 1) * one.dilation[0] - one.padding[0][0]
        last = one.region_columns - 1 - one.padding[1][0]
        return self.advance == rows * one.beats_per_row + last // one.lanes


def play(
    engine: WindowEngine, valid: Sequence[int], start: Sequence[int], beats: Sequence[list[int]]
) -> dict[int, tuple[bool, list[int | None]]]:
    """Return {clock: (start, pixels)} of what comes out; None is don't-care."""
    out: dict[int, tuple[bool, list[int | None]]] = {}
    old: _Event | None = None  # complete, windows to come
    new: _Event | None = None  # in progress
    for clock in range(len(valid)):
        begins = bool(valid[clock] and start[clock])
        if begins:
            new = _Event(engine)
        takes = bool(valid[clock]) and new is not None
        if takes and new is not None:
            new.beats.append(beats[clock])
        if not takes and old is None:
            continue
        if not takes:
            new = None  # a gap while another event still needs ticks: nothing may come of this one
        for event in (old, new):
            if event is None:
                continue
            event.advance += 1
            found = event.region()
            if found is not None:
                assert clock + 1 not in out, "two events at once"
                out[clock + 1] = event.first, found
        if old is not None and old.advance + 1 >= engine.beats + engine.flush:
            old = None
        if new is not None and new.complete:
            old, new = (new if engine.flush else None), None
    return out


def masked(pixels: list[int | None], bits: int) -> tuple[int, int]:
    """Return (word, mask of the bits that count)."""
    word = mask = 0
    for k, pixel in enumerate(pixels):
        if pixel is not None:
            word |= pixel << (k * bits)
            mask |= ((1 << bits) - 1) << (k * bits)
    return word, mask


def lanes_of(word: int, engine: WindowEngine) -> list[int]:
    """Return the pixels of an input beat."""
    return [word >> (k * engine.pixel_bits) & ((1 << engine.pixel_bits) - 1) for k in range(engine.lanes)]


def random_event(engine: WindowEngine, rng: np.random.Generator) -> np.ndarray:
    """Return codes of one event, (1, beats, lanes, 1)."""
    return rng.integers(0, 1 << engine.pixel_bits, (1, engine.beats, engine.lanes, 1), dtype=np.int64)
