# SPDX-License-Identifier: Apache-2.0
"""Events that a streamed block cannot take at their clock: the wrapper refuses them and says so.

Engines rely on the clocks between two events.  A link may break that: packets of AXI4-Stream follow each other at
once although the block needs longer; a frame is cut short when an engine already has all that the network reads of it,
and the next begins; a shared recurrent cell keeps its latency only for events whole multiples of ``grid_cycles`` apart.
Such an event would harm others, so it is dropped as a broken frame is.
"""

from __future__ import annotations

from dataclasses import replace

from l1ml.links.layout import LinkLayout, Port
from l1ml.links.spec import ErrorBit, Role

OFF_GRID = "event_off_grid"
TOO_SOON = "event_too_soon"
NAMES = (OFF_GRID, TOO_SOON)
CELL = "l1ml_admit"
"""Cell of the library that refuses them."""


def guarded(
    layout: LinkLayout, *, interval: int, grid: int, last_cycles: int, committed: int = 0, needed: int = 0
) -> LinkLayout:
    """Return the link with a check of the clocks between events, where it can bring events that the core cannot take.

    Args:
        layout: the link.
        interval: least clocks between two events at the core.
        grid: clocks of which events in flight start whole multiples apart; 1 where they need not.
        last_cycles: clocks from the first input word of an event to its last output word: no event is in the block
            so many clocks after the start of the last one.
        committed: of an event that is read in beats: the first with which some engine has all that it reads.
        needed: the last one that the outputs wait for.
    """
    word = layout.last_word_needed
    if layout.beat_count:
        word, last = ((beat + 1) * layout.beat_words - 1 for beat in (committed, needed))
        layout = layout if word >= last else replace(layout, needed_word=last)
    guard = replace(layout, committed_word=word)
    if grid > 1:
        text = f"an event did not start a multiple of {grid} clocks after one in flight; it is dropped"
        clear = max(last_cycles, interval, grid)  # a cell rests until its interval is over, though empty
        return _with_error(replace(guard, grid_cycles=grid, clear_cycles=clear), OFF_GRID, text)
    if interval > word + 1:
        text = f"an event came less than {interval} clocks after the one before; it is dropped"
        return _with_error(replace(guard, clear_cycles=interval), TOO_SOON, text)
    return layout


def _with_error(layout: LinkLayout, name: str, text: str) -> LinkLayout:
    errors = (*layout.errors, ErrorBit(name, len(layout.errors), text))
    ports = [replace(p, width=len(errors)) if p.role is Role.ERROR else p for p in layout.ports]
    if not layout.errors:
        ports.append(Port("error_o", "out", len(errors), Role.ERROR))
    return replace(layout, errors=errors, ports=tuple(ports))
