# SPDX-License-Identifier: Apache-2.0
"""Repeat: the twin and its times."""

from __future__ import annotations

import numpy as np
import pytest

from l1ml.errors import ConfigError, DataError
from l1ml.plan.repeat import RepeatEngine


def test_every_beat_is_the_one_that_came() -> None:
    one = RepeatEngine(5, 12)
    codes = np.random.default_rng(1).integers(-8, 8, (3, 1, 1, 4))
    made = one.emulate(codes)
    assert made.shape == (3, 5, 1, 4)
    assert np.array_equal(made, codes[:, [0] * 5])
    assert one.times(np.array([7])).tolist() == [8, 9, 10, 11, 12]
    assert one.busy(np.array([7])) == 5
    assert one.parameters() == {"Beats": 5, "Width": 12}


def test_what_has_no_meaning_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"^Repeat: beats = 0, width = 0; at least 1 is needed"):
        RepeatEngine(0, 0)
    with pytest.raises(DataError, match=r"codes of shape \(1, 2, 1, 1\) are no events of one beat"):
        RepeatEngine(2, 1).emulate(np.zeros((1, 2, 1, 1), dtype=np.int64))
    with pytest.raises(ConfigError, match="an event has 1 input beat"):
        RepeatEngine(2, 1).times(np.arange(2))
