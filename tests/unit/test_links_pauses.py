# SPDX-License-Identifier: Apache-2.0
"""Pauses inside frames lie where they are asked for, and nothing else moves."""

from __future__ import annotations

import numpy as np
import pytest

from l1ml.errors import DataError
from l1ml.links.fields import Element
from l1ml.links.layout import LinkLayout
from l1ml.links.pauses import lateness, lost, pause_role, paused
from l1ml.links.resolve import resolve
from l1ml.links.spec import Role
from l1ml.links.words import encode
from l1ml.types.timing import Clock


def layout_of(interface: str, beats: tuple[int, ...] = (), **options: int) -> LinkLayout:
    ins, outs = [Element(f"x[{k}]", 32, True) for k in range(6)], [Element("y[0]", 9, True)]
    return resolve(interface, ins, outs, clock=Clock(360.71), tmux=1, options=options, beats=beats)


@pytest.mark.parametrize(("interface", "role"), [("emp", Role.STROBE), ("axis", Role.VALID)])
def test_the_words_are_those_without_pauses(interface: str, role: Role) -> None:
    layout = layout_of(interface)
    rng = np.random.default_rng(1)
    plain = encode(layout, rng.integers(-99, 99, (20, 6)), tail_cycles=5)
    pauses = rng.integers(0, 3, (20, layout.frame_words)) * (np.arange(layout.frame_words) > 0)
    longer = paused(layout, plain, pauses)
    assert pause_role(layout) is role and len(longer.rows) == len(plain.rows) + pauses.sum()
    word = longer.rows[:, layout.column("in", Role.VALID)].astype(bool)
    word &= longer.rows[:, layout.column("in", role)].astype(bool)
    assert np.array_equal(longer.rows[word], plain.rows[plain.rows[:, layout.column("in", Role.VALID)] == 1])
    words = np.flatnonzero(word).reshape(20, -1)
    assert np.array_equal(longer.first_word_cycle, words[:, 0])
    late = words[:, layout.last_word_needed] - words[:, 0] - layout.last_word_needed
    assert np.array_equal(lateness(layout, pauses), late) and not lost(layout, pauses).any()


def test_only_pauses_before_the_last_word_needed_lose_an_event() -> None:
    layout = layout_of("emp", beats=(2, 2, 2))
    pauses = np.zeros((4, layout.frame_words), dtype=np.int64)
    pauses[1, layout.last_word_needed], pauses[2, layout.last_word_needed + 1] = 1, 1
    assert lost(layout, pauses).tolist() == [False, True, False, False]


@pytest.mark.parametrize("wrong", [np.ones((3, 4)), np.zeros((2, 4)), -np.eye(3, 4, 1)])
def test_impossible_pauses_are_refused(wrong: np.ndarray) -> None:
    layout = layout_of("axis", words_in=4)
    with pytest.raises(DataError, match="pauses"):
        paused(layout, encode(layout, np.zeros((3, 6), dtype=np.int64)), wrong)
