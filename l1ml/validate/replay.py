# SPDX-License-Identifier: Apache-2.0
"""Replay: every event of a sample through emulator and RTL, wrapper included, and all of it compared.

Three answers meet here: the golden output stored with the sample, the emulator, and the RTL.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike

from l1ml.cosim.build import ClockReset
from l1ml.cosim.harness import Harness, build
from l1ml.errors import DataError, RangeError
from l1ml.links.layout import LinkLayout
from l1ml.links.spec import Role
from l1ml.links.words import Decoded, PortTraffic, decode, encode
from l1ml.rtl.manifest import latency_of
from l1ml.types.arrays import BoolArray, IntArray, RealArray, WordArray
from l1ml.types.timing import BX_PER_ORBIT
from l1ml.validate.checks import Tally, checks_of
from l1ml.validate.compare import Comparison, compare, golden_codes, output_fields
from l1ml.validate.core import CoreSimulation, rtl_sources
from l1ml.validate.fault import Fault
from l1ml.validate.gaps import check_gaps
from l1ml.validate.locate import around, locate_in_project
from l1ml.validate.streamed_locate import locate_streamed
from l1ml.validate.subject import facts_of
from l1ml.validate.verdict import Check, Verdict

GOLDEN = "emulator against golden"
RTL = "RTL against emulator"
BACK_TO_BACK = "core back to back against emulator"
BACK_TO_BACK_EVENTS = 20_000
"""Events that also go through the bare core, one per clock."""


class EmulatorLike(Protocol):
    """What replay asks of the emulator; `l1ml.graph.emulate.Emulator` has it."""

    def input_codes(self, inputs: Sequence[ArrayLike]) -> list[IntArray]: ...  # noqa: D102

    def codes(self, inputs: Sequence[ArrayLike]) -> list[IntArray]: ...  # noqa: D102

    def trace(self, inputs: Sequence[ArrayLike]) -> dict[str, RealArray]: ...  # noqa: D102


class SampleLike(Protocol):
    """Some events; `l1ml.events.sample.EventSample` has it."""

    @property
    def inputs(self) -> Mapping[str, Any]: ...  # noqa: D102

    @property
    def bx(self) -> Any: ...  # noqa: D102

    @property
    def orbit(self) -> Any: ...  # noqa: D102

    @property
    def golden(self) -> Mapping[str, Any] | None: ...  # noqa: D102


class LinkSimulation:
    """The top module, link wrapper included, compiled.

    Args:
        manifest: of the project.
        root: project folder.
        build_dir: folder of the build cache.
        fast: optimization of the compiler; ``-O0`` builds quickest, for few events.

    Raises:
        ToolError: the simulator is missing or failed.
    """

    def __init__(
        self, manifest: Mapping[str, Any], root: Path, build_dir: Path, *, fast: str | None = None
    ) -> None:
        self.layout = layout = LinkLayout.from_dict(manifest["link"])
        latency = latency_of(manifest)
        self.latency, self.last = latency.cycles, latency.last_cycles
        self.grid = layout.grid_cycles
        outputs = layout.data_ports("out")
        self.harness: Harness = build(
            rtl_sources(manifest, root),
            str(manifest["top_module"]),
            layout.data_ports("in"),
            outputs,
            build_dir,
            pins=ClockReset(layout.clock_port, layout.reset_port, layout.reset_active_low),
            fast=fast,
        )
        self._sticky = [port.name for port in outputs if port.role in (Role.ERROR, Role.ERROR_LINK)]
        self.drain = self.latency + layout.words_out + layout.link_cycles + 8

    def run(
        self,
        codes: IntArray,
        *,
        bx: IntArray | None = None,
        first_bx: int = 0,
        threads: int = 1,
        seed: int = 1,
    ) -> tuple[PortTraffic, Decoded, float]:
        """Send events at the link's interval.

        Returns:
            What went in, what came out, and the seconds the simulation took.
        """
        traffic = encode(self.layout, codes, first_bx=first_bx, bx=bx, tail_cycles=self.drain)
        start = time.perf_counter()
        rows = self._simulate(traffic, threads, seed)
        seconds = time.perf_counter() - start
        return traffic, decode(self.layout, rows), seconds

    def play(self, traffic: PortTraffic, *, seed: int = 1) -> Decoded:
        """Send what was encoded, with ``drain`` idle clocks behind it; return what came out."""
        return decode(self.layout, self._simulate(traffic, 1, seed))

    def _simulate(self, traffic: PortTraffic, threads: int, seed: int) -> WordArray:
        return self.harness.run(
            traffic.rows,
            threads=threads,
            starts=traffic.first_word_cycle,
            warm_up=self.drain,
            sticky=self._sticky,
            seed=seed,
        )


def replay(
    manifest: Mapping[str, Any],
    root: Path,
    emulator: EmulatorLike,
    samples: Iterable[SampleLike],
    *,
    build_dir: Path,
    max_events: int | None = None,
    threads: int | None = None,
    back_to_back: bool = True,
    progress: Callable[[int], None] | None = None,
) -> Verdict:
    """Send a sample through emulator and RTL and judge everything that came out.

    Args:
        manifest: of the project.
        root: project folder.
        emulator: the software model of the same network.
        samples: the events in chunks, in order; only one chunk is held in memory.
        build_dir: folder of the simulation's build cache.
        max_events: stop after so many.
        threads: models that run at the same time; default all cores this process may use.
        back_to_back: send the first events through the bare core as well, one per clock: a link that is
            slower than that cannot show a register that is missing in the pipeline.
        progress: called with the number of events done so far.

    Returns:
        The verdict.  Divergences are located: the layer is named.

    Raises:
        RangeError: an input value is no code of its type; names the event.
        DataError: the sample lacks an input, or has golden values of another shape.
        ToolError: the simulator is missing or failed.
    """
    run = _Replay(manifest, root, emulator, build_dir, threads or len(os.sched_getaffinity(0)), back_to_back)
    for sample in samples:
        left = None if max_events is None else max_events - run.tally.events
        if left is not None and left <= 0:
            break
        run.chunk(sample, left)
        if progress:
            progress(run.tally.events)
    return run.verdict()


@dataclass(frozen=True)
class _Chunk:
    """One chunk of the sample: inputs as given and as codes, and the emulator's answer."""

    arrays: list[Any]
    codes: IntArray
    expected: IntArray
    first: int
    bx: IntArray | None
    orbit: IntArray | None


class _Replay:
    """A replay in progress."""

    def __init__(
        self,
        manifest: Mapping[str, Any],
        root: Path,
        emulator: EmulatorLike,
        build_dir: Path,
        threads: int,
        back_to_back: bool,
    ) -> None:
        self.manifest, self.root, self.emulator = manifest, root, emulator
        self.build_dir, self.threads = build_dir, threads
        self.link = LinkSimulation(manifest, root, build_dir)
        slow = (
            self.link.layout.link_cycles > 1 and "plan" not in manifest
        )  # beats are back to back as they are
        self.core = CoreSimulation(manifest, root, build_dir) if back_to_back and slow else None
        self.fields = output_fields(manifest)
        self.tally = Tally(self.link.latency, self.link.last)
        self.comparisons: dict[str, Comparison] = {}
        self.gaps: list[Check] = []
        self.emulator_s = self.cosim_s = 0.0
        self.start = time.perf_counter()
        self._first_bx = 0

    def chunk(self, sample: SampleLike, left: int | None) -> None:
        """Run one chunk, or its first ``left`` events, through everything."""
        chunk = self._emulate(sample, left)
        events = len(chunk.codes)
        given = {name: np.asarray(values)[:left] for name, values in (sample.golden or {}).items()}
        golden = golden_codes(given, self.fields, events)
        if golden is not None:
            self._compare(GOLDEN, golden, chunk.expected, chunk, None)
        traffic, decoded, seconds = self.link.run(
            chunk.codes, bx=chunk.bx, first_bx=self._first_bx, threads=self.threads
        )
        self.cosim_s += seconds
        found, present = align(traffic, decoded, self.link.latency, chunk.expected)
        self._compare(RTL, chunk.expected, found, chunk, present)
        part = slice(0, max(0, BACK_TO_BACK_EVENTS - chunk.first))
        if self.core is not None and chunk.first < BACK_TO_BACK_EVENTS:
            direct = self.core.run(chunk.codes[part], threads=self.threads)
            self.tally.core(direct.spurious)
            self._compare(BACK_TO_BACK, chunk.expected[part], direct.codes, chunk, direct.on_time)
        self.tally.add(traffic, decoded, self.link.layout)
        self._locate_late(chunk, traffic, decoded)
        if not chunk.first and self._good_so_far():
            self.gaps = check_gaps(self.link, chunk.codes, chunk.expected)
        self._first_bx = (self._first_bx + events * self.link.layout.tmux) % BX_PER_ORBIT

    def _good_so_far(self) -> bool:
        """Tell whether back-to-back traffic came out right: else there is nothing to learn from other traffic."""
        right = RTL in self.comparisons and self.comparisons[RTL].passed
        return right and not (self.tally.off_time or self.tally.last_off_time or self.tally.errors)

    def _emulate(self, sample: SampleLike, left: int | None) -> _Chunk:
        arrays = [np.asarray(values)[:left] for values in _inputs(sample, self.manifest)]
        try:
            codes = flat(self.emulator.input_codes(arrays))
        except RangeError as error:
            error.where = (f"the sample from event {self.tally.events} on", *error.where)
            raise
        start = time.perf_counter()
        answers = self.emulator.codes(arrays)
        self.emulator_s += time.perf_counter() - start
        bx, orbit = _column(sample.bx, len(codes)), _column(sample.orbit, len(codes))
        return _Chunk(arrays, codes, flat(answers), self.tally.events, bx, orbit)

    def _compare(
        self, name: str, expected: ArrayLike, found: IntArray, chunk: _Chunk, present: BoolArray | None
    ) -> None:
        """Compare, locate the first divergence of the RTL, and add it to what was compared before."""
        result = compare(
            name,
            expected,
            found,
            self.fields,
            first_event=chunk.first,
            bx=chunk.bx,
            orbit=chunk.orbit,
            present=present,
        )
        before = self.comparisons.get(name)
        if result.first and name != GOLDEN and not (before and before.first):
            result = result.with_layer(*self._locate(chunk, result.first.event - chunk.first))
        self.comparisons[name] = before + result if before else result

    def _locate(self, chunk: _Chunk, event: int) -> tuple[str, Fault | None]:
        """Return the first wrong layer around an event of a chunk, and of a streamed block the first wrong beat."""
        at = around(len(chunk.codes), event)
        if "plan" in self.manifest:
            return locate_streamed(
                self.manifest,
                self.root,
                self.build_dir,
                chunk.codes[at],
                chunk.expected[at],
                chunk.first + at.start,
            )
        trace = self.emulator.trace([array[at] for array in chunk.arrays])
        layer = locate_in_project(
            self.manifest, self.root, self.build_dir, chunk.codes[at], trace, chunk.expected[at]
        )
        return layer, None

    def _locate_late(self, chunk: _Chunk, traffic: PortTraffic, decoded: Decoded) -> None:
        """Find what makes a streamed block late where its codes are right."""
        tally, rtl = self.tally, self.comparisons[RTL]
        if "plan" in self.manifest and tally.off_time and rtl.passed and not tally.located:
            late = decoded.first_word_cycle - traffic.first_word_cycle != self.link.latency
            layer, fault = self._locate(chunk, int(np.argmax(late)))
            tally.located = f"{layer}, {fault}" if fault else layer

    def verdict(self) -> Verdict:
        """Return the verdict on everything that was run."""
        tally = self.tally
        measured = {"measured_cycles": tally.measured, "measured_last_cycles": tally.measured_last}
        facts = facts_of(self.manifest)
        return Verdict(
            kind="replay",
            checks=checks_of(self.manifest, self.root, tally, list(self.comparisons.values()), self.gaps),
            latency={**facts.pop("latency"), **{name: list(span) for name, span in measured.items() if span}},
            comparisons=tuple(comparison.to_dict() for comparison in self.comparisons.values()),
            throughput={
                "emulator_events_per_s": _rate(tally.events, self.emulator_s),
                "cosim_events_per_s": _rate(tally.events, self.cosim_s),
                "cosim_threads": self.threads,
                "replay_events_per_s": _rate(tally.events, time.perf_counter() - self.start),
            },
            **facts,
        )


def _rate(events: int, seconds: float) -> float | None:
    return round(events / seconds, 1) if events and seconds > 0 else None


def _inputs(sample: SampleLike, manifest: Mapping[str, Any]) -> list[Any]:
    names = [str(port["name"]) for port in manifest["inputs"]]
    missing = [name for name in names if name not in sample.inputs]
    if missing:
        raise DataError(
            f"the sample has no input {', '.join(missing)}; it has {', '.join(map(str, sample.inputs))}"
        )
    return [sample.inputs[name] for name in names]


def _column(values: Any, events: int) -> IntArray | None:
    return None if values is None else np.asarray(values, dtype=np.int64)[:events]


def flat(arrays: Sequence[IntArray]) -> IntArray:
    """Return several tensors, (events, ...) each, as one table (events, elements)."""
    return np.concatenate([np.asarray(a).reshape(len(a), -1) for a in arrays], axis=1)


def align(traffic: PortTraffic, decoded: Decoded, latency: int, like: IntArray) -> tuple[IntArray, BoolArray]:
    """Bring output packets and events together.

    As many packets as events belong together in order, whenever they came (the latency has a check of its
    own).  Otherwise only a packet at the very clock it is due is the event's.

    Args:
        traffic: what went in.
        decoded: what came out.
        latency: declared, in clocks.
        like: codes of the outputs, (events, elements): shape of the answer.

    Returns:
        Codes (events, elements), and which events have a packet, (events,).
    """
    events = len(traffic.first_word_cycle)
    if len(decoded.codes) == events:
        return decoded.codes, decoded.ok
    due = traffic.first_word_cycle + latency
    if not len(decoded.codes):
        return np.zeros_like(like), np.zeros(events, dtype=np.bool_)
    at = np.minimum(np.searchsorted(decoded.first_word_cycle, due), len(decoded.codes) - 1)
    present = (decoded.first_word_cycle[at] == due) & decoded.ok[at]
    return decoded.codes[at], present
