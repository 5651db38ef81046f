# SPDX-License-Identifier: Apache-2.0
"""Networks that do not read all pixels: an engine has a whole event before its frame is through."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "unit"))
from streamed_maker import Maker

from l1ml.graph import model
from l1ml.graph.layers import shape as layers


def _crop(m: Maker, name: str, first: tuple[int, int], end: tuple[int, int]) -> str:
    m.add(layers.slice_(name, "x", (10, 6, 1), (*first, None), (*end, None), (None,) * 3))
    return m.last


def joined() -> model.Model:
    """One branch has all of its part early and makes more of it, the other reads the last rows."""
    m = Maker(10, 6, 1, seed=3)
    _crop(m, "top", (0, 0), (4, 3))
    m.add(layers.upsample("up", m.last, (4, 3, 1), (2, 2)))
    early = m.last
    m.add(model.Merge("add", (early, _crop(m, "rest", (2, 0), (10, 6))), "add"))
    m.act()
    m.add(model.GlobalPool("global", (m.last,), "sum"))
    m.dense(1, 2)
    return m.done()


def padded() -> model.Model:
    """The window behind the crop has flush clocks left when the crop is through."""
    m = Maker(10, 6, 1, seed=3)
    _crop(m, "top", (0, 0), (6, 4))
    m.conv((3, 3), 1, 2, pad=1)
    m.act()
    m.add(model.GlobalPool("global", (m.last,), "sum"))
    m.dense(2, 2)
    return m.done()
