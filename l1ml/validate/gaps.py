# SPDX-License-Identifier: Apache-2.0
"""Traffic that is not back to back: gaps between frames, and pauses inside them where the link has them.

What must come of it is the link's contract.  A gap between frames changes nothing.  A pause inside a frame makes an
event late by as many clocks where the core takes it as a whole, and loses it, and it alone, where the core reads it
while it arrives.  Blocks with a shared recurrent cell promise that to events a multiple of the interval apart
(``grid_cycles`` of the link): they get gaps that keep to it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from l1ml.links.pauses import lateness, lost, pause_role, paused
from l1ml.links.spec import Role
from l1ml.links.words import Decoded, encode
from l1ml.types.arrays import BoolArray, IntArray
from l1ml.validate.verdict import Check

if TYPE_CHECKING:
    from l1ml.validate.replay import LinkSimulation

CLOCKS = 16_384
"""Clocks of such traffic that a replay adds."""
LEAST, MOST = 8, 512
"""Events of it, whatever their length."""
PAUSED = 0.4
"""Share of the events with a pause."""


def check_gaps(link: LinkSimulation, codes: IntArray, expected: IntArray, *, seed: int = 1) -> list[Check]:
    """Send events with gaps and pauses at random places.

    Args:
        link: the block.
        codes: input codes, (events, elements); the first are sent.
        expected: the emulator's output codes for them.
        seed: of gaps, pauses and uninitialised state.

    Returns:
        ``gaps_between_frames``, and ``pauses_inside_frames`` where a frame has more than one word.
    """
    layout = link.layout
    count = min(len(codes), max(LEAST, min(MOST, CLOCKS // layout.link_cycles)))
    codes, expected = codes[:count], expected[:count]
    rng = np.random.default_rng(seed)
    choices = [0, 0, 1, 2, 3, 7, layout.words_out, link.latency]
    gaps = -(-rng.choice(choices, count) // link.grid) * link.grid
    traffic = encode(layout, codes, gaps=gaps, tail_cycles=link.drain)
    whole = np.ones(count, dtype=np.bool_)
    problem = _problem(link, link.play(traffic, seed=seed), traffic.first_word_cycle, expected, whole, set())
    good = f"{count:,} events with gaps of up to {int(gaps.max(initial=0))} clocks before them: equal and in time"
    checks = [Check("gaps_between_frames", not problem, problem or good)]
    if layout.frame_words == 1:
        return checks
    pauses = np.zeros((count, layout.frame_words), dtype=np.int64)
    some = np.flatnonzero(rng.random(count) < PAUSED)
    some = some if len(some) else np.array([0])
    for _ in range(2):
        pauses[some, rng.integers(1, layout.frame_words, len(some))] += rng.integers(1, 4, len(some))
    gaps = np.append(0, -pauses.sum(axis=1)[:-1] % link.grid)  # the next event keeps its turn
    traffic = paused(layout, encode(layout, codes, gaps=gaps, tail_cycles=link.drain), pauses)
    kept = ~lost(layout, pauses)
    tells = pause_role(layout) is Role.VALID or bool(layout.beat_count)
    begins = traffic.first_word_cycle + lateness(layout, pauses) * kept
    errors = {"valid_gap"} if tells else set()
    problem = _problem(link, link.play(traffic, seed=seed), begins, expected, kept, errors)
    what = (
        f"the {count - int(kept.sum()):,} with pauses are lost"
        if layout.beat_count
        else "late by their pauses"
    )
    told = ", and valid_gap is set" if tells else ""
    good = (
        f"{count:,} events, {len(some):,} with pauses between their words: {what}, all others in time{told}"
    )
    return [*checks, Check("pauses_inside_frames", not problem, problem or good)]


def _problem(
    link: LinkSimulation,
    found: Decoded,
    begins: IntArray,
    expected: IntArray,
    kept: BoolArray,
    errors: set[str],
) -> str:
    """Say what is not as it must be; nothing where all is."""
    due, numbers = begins[kept], np.flatnonzero(kept)
    if len(found.codes) != len(due):
        return f"{len(due):,} events must come out; {len(found.codes):,} packets did"
    for name, seen, wanted in (
        ("first", found.first_word_cycle, due + link.latency),
        ("last", found.last_word_cycle, due + link.last),
    ):
        if (seen != wanted).any():
            at = int(np.argmax(seen != wanted))
            return f"event {numbers[at]}: {name} word at clock {int(seen[at])}, due at {int(wanted[at])}"
    differ = (found.codes != expected[kept]).any(axis=1) | ~found.ok
    if differ.any():
        at = int(np.argmax(differ))
        return (
            f"event {numbers[at]}: expected {expected[kept][at].tolist()}, found {found.codes[at].tolist()}"[
                :300
            ]
        )
    if set(found.errors) != errors:
        return f"errors {sorted(found.errors) or 'none'}, expected {sorted(errors) or 'none'}"
    return ""
