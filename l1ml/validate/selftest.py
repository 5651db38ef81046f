# SPDX-License-Identifier: Apache-2.0
"""The self-test: known faults are put into RTL and golden, and the comparison must find every one.

A comparison that cannot fail proves nothing.  The faults go into a copy of the core; the project is not
touched.  Some faults change no output of any event, so there are several of each kind, in different places.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from l1ml.errors import ToolError
from l1ml.types.arrays import IntArray, RealArray
from l1ml.validate.compare import Comparison, Field, compare, output_fields
from l1ml.validate.core import CoreRun, CoreSimulation, core_sources
from l1ml.validate.locate import UNSEEN, first_wrong_layer
from l1ml.validate.mutate import KINDS, SELECTOR, Core, Mutation
from l1ml.validate.subject import facts_of
from l1ml.validate.verdict import Check, Verdict

FAULTS = 6
"""Of each kind.  One build holds all of them, and an input switches them on one at a time."""
EVENTS = 512
"""Enough to show nearly every fault, few enough for an unoptimized model."""


def run_selftest(
    manifest: Mapping[str, Any],
    root: Path,
    codes: IntArray,
    expected: IntArray,
    trace: Mapping[str, RealArray],
    *,
    golden: RealArray | None = None,
    seed: int = 1,
    kinds: Sequence[str] = KINDS,
) -> Verdict:
    """Mutate RTL and golden, and check that the comparison fails and names the right layer.

    Args:
        manifest: of the project.
        root: project folder.
        codes: input codes of some events, (events, elements); the first `EVENTS` are used.
        expected: the emulator's output codes for them.
        trace: the emulator's values of every layer for them, ``{layer: (events, ...)}``.
        golden: golden outputs in LSBs (`compare.golden_codes`), if there are any.
        seed: chooses the places of the faults.
        kinds: of faults in the RTL; those that the core has no place for are left out.

    Returns:
        A verdict of kind ``self-test``: passed when every fault was found, and the RTL without fault agrees.

    Raises:
        ToolError: the simulator is missing or failed.
    """
    n = min(len(codes), EVENTS)
    codes, expected = codes[:n], expected[:n]
    trace = {name: np.asarray(values)[:n] for name, values in trace.items()}
    fields = output_fields(manifest)
    checks = [golden_check(expected if golden is None else golden[:n], expected, fields, seed)]
    file = next(p for p in core_sources(manifest, root) if p.stem == manifest["core_module"])
    core = Core(_read(file), manifest["layers"])
    faults = choose(core, kinds, seed)
    with tempfile.TemporaryDirectory(prefix="l1ml-selftest-") as work:
        simulation = _simulation(manifest, root, file, core.switched(faults), Path(work))
        checks.insert(0, _clean_check(simulation, codes, expected, trace, fields))
        if checks[0].passed:
            trials = [_try(simulation, n, f, codes, expected, trace, fields) for n, f in enumerate(faults, 1)]
            present = [kind for kind in kinds if any(fault.kind == kind for fault in faults)] or kinds
            checks += [_judged(kind, [t for t in trials if t.fault.kind == kind]) for kind in present]
    return Verdict(kind="self-test", checks=tuple(checks), **facts_of(manifest))


def choose(core: Core, kinds: Sequence[str], seed: int) -> list[Mutation]:
    """Return up to `FAULTS` faults of each kind, none touching the line or register of another."""
    chosen: list[Mutation] = []
    for kind in kinds:
        count = 0
        for fault in core.mutations(kind, seed):
            if count == FAULTS:
                break
            if all(fault.line != other.line and fault.old != other.old for other in chosen):
                chosen.append(fault)
                count += 1
    return chosen


@dataclass(frozen=True)
class Trial:
    """One fault and what came of it: events that differ, and the layer that was named."""

    fault: Mutation
    events: int
    layer: str | None

    @property
    def right(self) -> bool:
        """The layer named is one of those the fault lies in."""
        return self.layer in self.fault.layers


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except OSError as error:
        raise ToolError(
            f"cannot read {file.name}: {error.strerror}", where=(file.name,), fix="run l1ml convert"
        ) from None


def _simulation(manifest: Mapping[str, Any], root: Path, file: Path, rtl: str, work: Path) -> CoreSimulation:
    """Compile a copy of the core with other text."""
    for source in core_sources(manifest, root):
        target = work / source.relative_to(root)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(rtl if source == file else _read(source), encoding="utf-8")
    return CoreSimulation(manifest, work, work / "build", probes=True, fast="-O0", selector=SELECTOR)


def _judge(result: CoreRun, expected: IntArray, fields: Sequence[Field]) -> tuple[Comparison, bool]:
    comparison = compare("RTL against emulator", expected, result.codes, fields)
    return comparison, comparison.passed and bool(result.on_time.all()) and not result.spurious


def _clean_check(
    core: CoreSimulation,
    codes: IntArray,
    expected: IntArray,
    trace: Mapping[str, RealArray],
    fields: Sequence[Field],
) -> Check:
    result = core.run(codes)
    comparison, passed = _judge(result, expected, fields)
    layer = first_wrong_layer(core, result, trace)
    probes = sum(len(la.get("probes", ())) for la in core.manifest["layers"])
    passed = passed and layer is None and probes > 0
    detail = f"{comparison}; {probes} signals at layer borders " + (
        f"differ first in {layer}" if layer else "agree"
    )
    return Check("no_fault", passed, detail, "self-test")


def golden_check(
    golden: RealArray | IntArray, expected: IntArray, fields: Sequence[Field], seed: int
) -> Check:
    """Check that one changed golden value is found, and where."""
    rng = np.random.default_rng(seed)
    event, column = int(rng.integers(len(expected))), int(rng.integers(len(fields)))
    wrong = np.array(golden, dtype=np.float64)
    wrong[event, column] += 1
    before = compare("emulator against golden", golden, expected, fields)
    after = compare("emulator against golden", wrong, expected, fields)
    first = after.first
    named = first is not None and (first.event, first.field) == (event, fields[column])
    found = before.passed and not after.passed and after.mismatches == 1 and named
    where = f"event {event}, {fields[column].name}: one LSB added"
    detail = f"{where}; found: {first}" if found else f"{where}; the comparison says: {after}"
    return Check("golden_value", found, detail, "self-test")


def _try(
    simulation: CoreSimulation,
    number: int,
    fault: Mutation,
    codes: IntArray,
    expected: IntArray,
    trace: Mapping[str, RealArray],
    fields: Sequence[Field],
) -> Trial:
    result = simulation.run(codes, selected=number)
    comparison, passed = _judge(result, expected, fields)
    layer = None if passed else first_wrong_layer(simulation, result, trace) or UNSEEN
    return Trial(fault, comparison.bad_events, layer)


def _judged(kind: str, trials: Sequence[Trial]) -> Check:
    """Pass when at least one fault of a kind changed an output, and the layer of every such one is named."""
    live = [trial for trial in trials if trial.events]
    wrong = [trial for trial in live if not trial.right]
    if not trials:
        return Check(kind, False, "the core has no place for this fault", "self-test")
    if not live:
        detail = f"none of {len(trials)} faults changed an output; last: {trials[-1].fault.text}"
        return Check(kind, False, detail, "self-test")
    shown = (wrong or live)[0]
    wanted = f", EXPECTED {' or '.join(sorted(shown.fault.layers))}" if wrong else ""
    detail = (
        f"{len(live)} of {len(trials)} faults changed outputs, {len(live) - len(wrong)} in the layer named; "
        f"e.g. {shown.fault.text}: {shown.events:,} events differ, first wrong layer: {shown.layer}{wanted}"
    )
    return Check(kind, not wrong, detail, "self-test")
