# SPDX-License-Identifier: Apache-2.0
"""How far into an event the engines read it: what a link must know of frames that are cut short.

A frame that is cut short ends its event, and the next one may begin at once: engines drop what is not complete.  But
where a network does not read the last pixels, an engine further on may have a whole event before the frame is
through.  That event lives on, the next one must keep its distance, and another branch may lack the rest of it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from l1ml.plan.network import EngineNode, MapNode, ScanNode
from l1ml.plan.timing import Timed
from l1ml.types.arrays import IntArray

FAR = 1 << 32
"""Clocks between beats, far more than any engine takes: the clock of a beat then tells which input it waited for."""


@dataclass(frozen=True)
class Reach:
    """Beats of the input.

    Args:
        committed: the first one with which some engine has all that it reads of an event.
        needed: the last one that the outputs wait for.
    """

    committed: int
    needed: int


def reach(timed: Timed) -> Reach:
    """Return how far the engines read an event.

    Args:
        timed: the engines; how long something waits does not matter.
    """
    network = timed.network
    clocks: dict[int, IntArray] = {0: np.arange(network.streams[0].raster.beats, dtype=np.int64) * FAR}
    whole = [int(clocks[0][-1])]
    for number, node in enumerate(network.nodes):
        made = np.max([clocks[s] for s in node.inputs], axis=0)
        if not isinstance(node, MapNode):
            whole.append(int(made[-1]))
        if isinstance(node, EngineNode):
            pace = timed.waits[number][0].pace
            made = node.engine.times(made if pace is None else pace.times(made))
        elif isinstance(node, ScanNode) and len(timed.times[node.outputs[0]]) == 1:
            made = made[-1:]  # of a sequence the first results come first, or all of them with the last beat
        for stream in node.outputs:
            clocks[stream] = made
    needed = max(int(clocks[stream][-1]) for stream in network.outputs)
    return Reach(min(whole) // FAR, needed // FAR)
