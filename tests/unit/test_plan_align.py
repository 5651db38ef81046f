# SPDX-License-Identifier: Apache-2.0
"""Align's computed depth against a memory of that depth, for every small pattern of arrivals."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from l1ml.errors import ConfigError
from l1ml.plan.align import AlignEngine

sys.path.insert(0, str(Path(__file__).parent))
import align_clocks
from align_clocks import KINDS, Pattern

PATTERNS = tuple(align_clocks.patterns(beats=3, step=3, offset=3))


def right(engine: AlignEngine, given: align_clocks.Traffic) -> bool:
    found = align_clocks.play(engine, given)
    return all(found[read] == write for read, write in given.expected.items())


def test_every_pattern_back_to_back() -> None:
    assert len(PATTERNS) > 150
    for pattern in PATTERNS:
        given = align_clocks.traffic(pattern, np.random.default_rng(1), ["whole"] * 6)
        assert len(given.expected) == 6 * len(pattern.writes)
        assert right(pattern.engine, given), pattern


@pytest.mark.parametrize("seed", range(2))
def test_an_exact_event_behind_any_other(seed: int) -> None:
    rng = np.random.default_rng(seed)
    for pattern in PATTERNS:
        kinds = [kind for k in rng.permutation(len(KINDS)) for kind in (KINDS[k], "whole")]
        given = align_clocks.traffic(pattern, rng, kinds)
        assert right(pattern.engine, given), pattern
        assert len(given.expected) >= len(KINDS) * len(pattern.writes)


def test_a_smaller_depth_or_another_offset_is_found() -> None:
    pattern = Pattern((0, 1, 2, 3, 4, 5), (2, 6, 7, 8, 9, 10))  # the second waits 5 clocks
    one = pattern.engine
    assert (one.offset, one.depth) == (2, 6)
    rng = np.random.default_rng(3)
    given = align_clocks.traffic(pattern, rng, [*KINDS, "whole", "long", "whole"] * 6)
    assert right(one, given)
    assert right(
        replace(one, depth=5), given
    )  # one more, so that no place is read in the clock it is written
    assert not right(replace(one, depth=4), given)
    assert not right(replace(one, offset=1), given)
    assert not right(replace(one, offset=3), given)


def test_what_cannot_be_aligned_is_refused() -> None:
    with pytest.raises(ConfigError, match="before it has been written"):
        AlignEngine.between(1, np.array([0, 4]), np.array([1, 4]))
    with pytest.raises(ConfigError, match="at least 1"):
        AlignEngine(0, 1, 2)
    assert AlignEngine.between(3, np.array([5, 6]), np.array([7, 11])) == AlignEngine(3, 2, 6)
    assert AlignEngine(3, 2, 6).parameters() == {"Width": 3, "Offset": 2, "Depth": 6}
