# SPDX-License-Identifier: Apache-2.0
"""Pauses inside frames: clocks in which a link brings no word, as far as it has a way to say so.

A link with a strobe drops that; one without drops valid.  What then stands on the other ports means nothing: it is the
word to come, so that a block which takes it too early is found out.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike

from l1ml.errors import DataError
from l1ml.links.layout import LinkLayout
from l1ml.links.spec import Role
from l1ml.links.words import PortTraffic
from l1ml.types.arrays import BoolArray, IntArray


def pause_role(layout: LinkLayout) -> Role:
    """Return the role of the port that says that there is no word."""
    return Role.VALID if layout.column("in", Role.STROBE) is None else Role.STROBE


def paused(layout: LinkLayout, traffic: PortTraffic, pauses: ArrayLike) -> PortTraffic:
    """Insert clocks without a word in front of words inside frames; all links pause together.

    Args:
        layout: the link.
        traffic: what `encode` gave.
        pauses: clocks before every word, (events, frame words); none before the first, which would be a gap between
            frames.

    Returns:
        The longer traffic; every later event comes later by as much.

    Raises:
        DataError: the pauses have another shape, are negative or lie before a first word.
    """
    table = np.asarray(pauses, dtype=np.int64)
    shape = (len(traffic.first_word_cycle), layout.frame_words)
    if table.shape != shape or table.min(initial=0) < 0 or table[:, :1].any():
        raise DataError(
            f"pauses {table.shape}: expected clocks of 0 or more {shape}, and 0 before a first word"
        )
    words = traffic.first_word_cycle[:, None] + np.arange(layout.frame_words)
    copies = np.ones(len(traffic.rows), dtype=np.int64)
    copies[words] += table
    rows = np.repeat(traffic.rows, copies, axis=0)
    idle = np.ones(len(rows), dtype=np.bool_)
    idle[np.cumsum(copies) - 1] = False  # the last copy of a row is the row itself
    for link in range(layout.n_links_in):
        rows[idle, layout.column("in", pause_role(layout), link)] = 0
    before = np.cumsum(table.sum(axis=1)) - table.sum(axis=1)
    return replace(traffic, rows=rows, first_word_cycle=traffic.first_word_cycle + before)


def lateness(layout: LinkLayout, pauses: IntArray) -> IntArray:
    """Return the clocks by which every event has its last needed word later, (events,)."""
    return np.asarray(pauses[:, : layout.last_word_needed + 1].sum(axis=1))


def lost(layout: LinkLayout, pauses: IntArray) -> BoolArray:
    """Return the events that pauses lose, (events,): those whose beats must come at fixed clocks."""
    return np.asarray((lateness(layout, pauses) > 0) & bool(layout.beat_count))
