# SPDX-License-Identifier: Apache-2.0
"""Attach: the twin, its words and its times."""

from __future__ import annotations

import numpy as np
import pytest

from l1ml.errors import ConfigError, DataError
from l1ml.plan.attach import AttachEngine
from l1ml.plan.cost import Resources, of_engine
from l1ml.plan.fold import ROM_BITS

CODES = np.array([[[3, -2], [0, 1]], [[1, -4], [2, 3]], [[2, 3], [3, 0]]])
ONE = AttachEngine(CODES, (2, 3))


def test_every_beat_gets_its_own_word() -> None:
    made = ONE.emulate(np.zeros((4, 3, 1, 7), dtype=np.int64))
    assert made.shape == (4, 3, 2, 2)
    assert np.array_equal(made, [CODES] * 4)
    assert ONE.times(np.array([2, 5, 6])).tolist() == [3, 6, 7]
    assert ONE.busy(np.array([2, 5, 6])) == 5


def test_words_hold_the_elements_of_lane_0_first() -> None:
    assert (ONE.beats, ONE.word_bits) == (3, 10)
    assert ONE.rom_words() == [0b001_00_110_11, 0b011_10_100_01, 0b000_11_011_10]
    assert ONE.parameters() == {"Beats": 3, "WordBits": 10, "BlockRom": 0}
    assert ONE.literals() == {"Constants": f"30'h{0b000_11_011_10_011_10_100_01_001_00_110_11:x}"}
    assert AttachEngine(CODES[..., :1] * 0 + [[5]], (3,)).live_bits() == 0


def test_the_memory_follows_the_words() -> None:
    codes = np.arange(256).reshape(-1, 1, 1)
    assert AttachEngine(codes, (8,)).rom == "block"
    assert AttachEngine(codes[:-1], (8,)).rom == "lut"
    assert of_engine(AttachEngine(codes, (8,))).bram == 0.5
    assert of_engine(AttachEngine(codes[:60], (9,))) == Resources(6 + 17, 6 + 17)  # three bits are always 0


def test_what_has_no_meaning_is_refused() -> None:
    for codes, widths, why in (
        (CODES[0], (2, 3), r"codes of shape \(2, 2\) with 2 widths"),
        (CODES, (2,), "with 1 widths"),
        (CODES * 0, (0, 0), r"widths \(0, 0\)"),
        (CODES, (1, 3), r"constants need \[2, 3\] bits, the elements have \[1, 3\]"),
        (CODES, (2, 2), r"constants need \[2, 3\] bits"),
        (np.ones((ROM_BITS // 8 + 1, 1, 1), dtype=np.int64), (8,), f"are more than {ROM_BITS} bits of ROM"),
    ):
        with pytest.raises(ConfigError, match=f"^Attach: .*{why}"):
            AttachEngine(codes, widths)
    with pytest.raises(ConfigError, match="an event has 3 input beats"):
        ONE.times(np.arange(2))
    with pytest.raises(DataError, match=r"codes of shape \(1, 2, 1, 1\) are no events of 3 beats"):
        ONE.emulate(np.zeros((1, 2, 1, 1), dtype=np.int64))
