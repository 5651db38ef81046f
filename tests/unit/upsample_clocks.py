# SPDX-License-Identifier: Apache-2.0
"""Upsample, clock by clock: a model that keeps whole events, where the hardware keeps one memory."""

from __future__ import annotations

from collections.abc import Sequence

from l1ml.plan.upsample import UpsampleEngine


class _Event:
    def __init__(self) -> None:
        self.beats: list[int] = []
        self.sent = 0


def play(
    engine: UpsampleEngine, valid: Sequence[int], start: Sequence[int], data: Sequence[int]
) -> dict[int, tuple[bool, int]]:
    """Return {clock: (start, beat)} of what comes out."""
    order = engine.order().tolist()
    per_row = len(order) // engine.rows
    out: dict[int, tuple[bool, int]] = {}
    writing: _Event | None = None
    reading: _Event | None = None
    for clock, (is_valid, is_start, beat) in enumerate(zip(valid, start, data, strict=True)):
        begins = bool(is_valid and is_start)
        ended = False
        row = 0 if reading is None else reading.sent // per_row  # that goes out in this clock
        if reading is not None and order[reading.sent] < len(reading.beats):
            out[clock + 1] = reading.sent == 0, reading.beats[order[reading.sent]]
            reading.sent += 1
            ended = reading.sent == len(order)
        if begins:
            if reading is not None and reading is writing and len(reading.beats) < engine.beats:
                ended = True
            writing = _Event()
        if is_valid and writing is not None and len(writing.beats) < engine.beats:
            place = len(writing.beats)
            writing.beats.append(beat)
            if reading is not None and reading is not writing and place >= row * engine.row_beats:
                ended = True
        if reading is None or ended:
            fresh = writing is not None and writing is not reading and (begins or writing.sent == 0)
            waiting = reading is not None or begins
            reading = writing if fresh and waiting else None
    return out
