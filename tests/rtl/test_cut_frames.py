# SPDX-License-Identifier: Apache-2.0
"""Frames cut after any of their words, the next one right behind, in networks that do not read all pixels.

An engine further on may have a whole event when its frame is cut.  Then the next event, which comes too soon after
it, is dropped with its error bit; every other one is exact and in time.  The event that was cut comes only if all that
the network reads of it came.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from small_project import Small
from unread_networks import joined, padded

from l1ml.graph.model import Model
from l1ml.links.spacing import TOO_SOON
from l1ml.links.spec import Role
from l1ml.links.words import decode, encode
from l1ml.validate.replay import LinkSimulation

pytestmark = pytest.mark.sim

EVENTS, CUT = 8, 3


@pytest.mark.parametrize(
    ("make", "interface", "committed", "needed"),
    [(joined, "axis", 20, 59), (padded, "axis", 33, 33), (joined, "emp", 20, 59)],
)
def test_cut_after_any_word(
    make: Callable[[], Model], interface: str, committed: int, needed: int, tmp_path: Path
) -> None:
    made = Small(
        tmp_path / "p", interface, events=EVENTS, net=make(), input_type="fixed<5,2>", clock_mhz=240.47,
        hardware="streamed", plan={"lanes": 1},
    )  # fmt: skip
    link = LinkSimulation(made.manifest, made.root, tmp_path / "b", fast="-O0")
    layout, latency = link.layout, made.manifest["latency"]["cycles"]
    assert layout.committed_word == committed
    sent = encode(layout, made.codes, tail_cycles=2 * latency + 50)
    first, last = sent.first_word_cycle, layout.column("in", Role.LAST)
    refused = set()
    for words in range(1, layout.last_word_needed + 1):
        rows = np.concatenate(
            [sent.rows[: first[CUT]], sent.rows[first[CUT] : first[CUT] + words], sent.rows[first[CUT + 1] :]]
        )
        rows[first[CUT] + words - 1, last] = 1
        begin = first - np.where(np.arange(EVENTS) > CUT, first[CUT + 1] - first[CUT] - words, 0)
        found = decode(layout, link.harness.run(rows, seed=3))
        lost = {CUT} | ({CUT + 1} if TOO_SOON in found.errors else set())
        if TOO_SOON in found.errors:
            refused.add(words)
        due = {int(clock) + latency: event for event, clock in enumerate(begin)}
        came = [due[int(clock)] for clock in found.first_word_cycle]  # none at any other clock
        assert set(range(EVENTS)) - lost <= set(came), words
        assert np.array_equal(found.codes, made.expected[came]), words
        assert found.ok.all() and not found.stray_words
        assert CUT + 1 not in came or CUT + 1 not in lost
        assert (CUT in came) == (words > needed), words
    assert refused == set(range(committed + 1, layout.last_word_needed + 1))
