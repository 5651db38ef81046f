# SPDX-License-Identifier: Apache-2.0
"""What a replay must show besides equal values: count, latency, flags, errors, and the RTL that was meant."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from l1ml.links.layout import LinkLayout
from l1ml.links.words import Decoded, PortTraffic
from l1ml.types.arrays import IntArray
from l1ml.validate.compare import Comparison
from l1ml.validate.verdict import Check


@dataclass
class Tally:
    """Sums over the chunks of a replay.

    Args:
        latency: declared, in clocks, to the first output word.
        last: declared, in clocks, to the last output word.

    ``located`` names what makes a streamed block late, once it is found.
    """

    latency: int
    last: int
    events: int = 0
    packets: int = 0
    wrong_packets: int = 0
    stray_words: int = 0
    off_time: int = 0
    last_off_time: int = 0
    measured: tuple[int, int] | None = None
    measured_last: tuple[int, int] | None = None
    wrong_orbit: int = 0
    orbit_flags: int = 0
    has_orbit: bool = False
    errors: dict[str, int] = field(default_factory=dict)
    core_runs: int = 0
    core_spurious: int = 0
    located: str = ""

    def add(self, traffic: PortTraffic, decoded: Decoded, layout: LinkLayout) -> None:
        """Add one chunk."""
        events, packets = len(traffic.first_word_cycle), len(decoded.first_word_cycle)
        self.packets += packets
        self.wrong_packets += int(np.count_nonzero(~decoded.ok))
        self.stray_words += decoded.stray_words
        if packets == events and events:
            took = decoded.first_word_cycle - traffic.first_word_cycle
            self.measured = _widened(self.measured, took)
            self.off_time += int(np.count_nonzero(took != self.latency))
            whole = decoded.last_word_cycle >= 0
            took = decoded.last_word_cycle - traffic.first_word_cycle
            self.measured_last = _widened(self.measured_last, took[whole])
            self.last_off_time += int(np.count_nonzero(~whole | (took != self.last)))
        else:
            due = np.isin(traffic.first_word_cycle + self.latency, decoded.first_word_cycle)
            self.off_time += int(np.count_nonzero(~due))
            due = np.isin(traffic.first_word_cycle + self.last, decoded.last_word_cycle)
            self.last_off_time += int(np.count_nonzero(~due))
        self.has_orbit = any(port.role.value == "start_of_orbit" for port in layout.data_ports("out"))
        if self.has_orbit:
            sent = traffic.first_word_cycle[traffic.starts_orbit] + self.latency
            seen = decoded.first_word_cycle[decoded.starts_orbit]
            self.wrong_orbit += len(np.setxor1d(sent, seen))
            self.orbit_flags += len(sent)
        for name in decoded.errors:
            self.errors.setdefault(name, self.events)
        self.events += events

    def core(self, spurious: int) -> None:
        """Add one run of the bare core."""
        self.core_runs += 1
        self.core_spurious += spurious


def _widened(span: tuple[int, int] | None, took: IntArray) -> tuple[int, int] | None:
    """Return the fewest and most clocks, those of another chunk taken in."""
    ends = [*(span or ()), *((int(took.min()), int(took.max())) if len(took) else ())]
    return (min(ends), max(ends)) if ends else None


def checks_of(
    manifest: Mapping[str, Any],
    root: Path,
    tally: Tally,
    comparisons: Sequence[Comparison],
    gaps: Sequence[Check] = (),
) -> tuple[Check, ...]:
    """Return the checks of a replay, in the order in which a reader asks."""
    checks = [_compared(comparison) for comparison in comparisons]
    if not any(c.name.startswith("RTL") for c in comparisons):
        checks.append(Check("rtl_equals_emulator", False, "no event was replayed"))
    if not any(c.name.startswith("emulator") for c in comparisons):
        words = "the sample has no golden values: nothing was compared with the framework"
        checks.insert(0, Check("golden_not_compared", True, words))
    n = tally.events
    whole = tally.packets == n and not tally.wrong_packets and not tally.stray_words and n > 0
    detail = f"{n:,} events in, {tally.packets:,} packets out"
    if tally.wrong_packets or tally.stray_words:
        detail += f"; {tally.wrong_packets:,} broken packets, {tally.stray_words:,} words outside any packet"
    checks.append(Check("every_event_once", whole, detail))
    checks.append(Check("constant_latency", n > 0 and not tally.off_time, _first(tally)))
    checks.append(Check("constant_last_word", n > 0 and not tally.last_off_time, _last(tally)))
    if tally.has_orbit:
        good = f"{tally.orbit_flags:,} start_of_orbit flags came out with their events"
        bad = (
            f"{tally.wrong_orbit:,} of {tally.orbit_flags:,} start_of_orbit flags are missing or out of place"
        )
        checks.append(Check("start_of_orbit", not tally.wrong_orbit, bad if tally.wrong_orbit else good))
    found = ", ".join(f"{name} (first after event {event:,})" for name, event in tally.errors.items())
    checks.append(Check("no_framing_errors", not tally.errors, found or "no sticky error bit is set"))
    if tally.core_runs:
        words = f"valid_o of the bare core rose {tally.core_spurious:,} times without an event"
        checks.append(Check("no_spurious_valid", not tally.core_spurious, words))
    checks += gaps
    checks.append(_digest(manifest, root))
    return tuple(checks)


def _compared(comparison: Comparison) -> Check:
    name = {
        "emulator against golden": "emulator_equals_golden",
        "RTL against emulator": "rtl_equals_emulator",
    }
    return Check(name.get(comparison.name, "core_back_to_back"), comparison.passed, str(comparison))


def _first(tally: Tally) -> str:
    line = _clocks(tally, tally.measured, tally.latency, tally.off_time, "first")
    return line + (f"; first wrong layer: {tally.located}" if tally.located else "")


def _last(tally: Tally) -> str:
    return _clocks(tally, tally.measured_last, tally.last, tally.last_off_time, "last")


def _clocks(tally: Tally, span: tuple[int, int] | None, declared: int, off: int, word: str) -> str:
    """Say when a word of the packets came, counted from the first input word."""
    if not tally.events:
        return "no event was replayed"
    if span is None:
        return f"{off:,} of {tally.events:,} events have no {word} word after {declared} clocks"
    least, most = span
    found = f"{least} clocks" if least == most else f"{least} to {most} clocks"
    if off and (least != declared or most != declared):
        return f"{word} word after {found}, declared are {declared}; {off:,} events differ"
    if off:
        return f"{word} word after {found} where it comes at all; {off:,} events have none"
    return f"{word} word after {found} on every event, declared are {declared}"


def _digest(manifest: Mapping[str, Any], root: Path) -> Check:
    """Check that the RTL which ran is the RTL the manifest speaks of."""
    changed = []
    for file in manifest["files"]:
        path = root / str(file["path"])
        content = path.read_bytes() if path.is_file() else b""
        if hashlib.sha256(content).hexdigest() != file["sha256"]:
            changed.append(path.name)
    detail = f"{len(manifest['files'])} files have the digests of the manifest"
    if changed:
        detail = f"changed since the conversion: {', '.join(changed[:5])}"
    return Check("rtl_is_the_manifests", not changed and bool(manifest["files"]), detail)
