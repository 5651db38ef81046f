# SPDX-License-Identifier: Apache-2.0
"""The cells of `firmware/rtl/sv` that a network of engines is made of."""

from __future__ import annotations

from l1ml import assets
from l1ml.plan.network import EngineNode
from l1ml.plan.timing import Timed
from l1ml.rtl import parts, reload

ALIGN = "l1ml_align"
INSIDE = {
    "l1ml_attach": ("l1ml_weights",),
    "l1ml_fold": ("l1ml_cascade", "l1ml_cascades", "l1ml_multiply", "l1ml_tree", "l1ml_weights"),
    "l1ml_reduce": ("l1ml_tree",),
}
"""Cells that engines are made of, beside l1ml_delay."""


def cell_text(cell: str) -> str:
    """Return the source of a library cell."""
    return assets.path("firmware", "rtl", "sv", f"{cell}.sv").read_text(encoding="utf-8")


def used(timed: Timed) -> list[str]:
    """Return the library cells that a network instantiates."""
    found = {node.engine.MODULE for node in timed.network.nodes if isinstance(node, EngineNode)}
    found |= {engine.MODULE for engine in timed.scans.values()}
    waits = [w for each in (*timed.waits, timed.ends) for w in each]
    if any(w.buffer for w in waits):
        found |= {ALIGN, parts.BEAT_DELAY}
    if any(w.clocks for w in waits):
        found.add(parts.BEAT_DELAY)
    found |= {w.pace.MODULE for w in waits if w.pace is not None}
    if reload.folds(timed.network):
        found.add(reload.MODULE)
    found |= {cell for module in list(found) for cell in INSIDE.get(module, ())}
    return sorted(found | {"l1ml_delay"})
