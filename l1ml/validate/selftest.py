# SPDX-License-Identifier: Apache-2.0
"""The self-test: known faults are put into RTL and golden, and the comparison must find every one.

A comparison that cannot fail proves nothing.  The faults go into a copy of the core; the project is not touched.
A fault that no event of the sample shows is tried again elsewhere, a few times.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from l1ml.errors import ToolError
from l1ml.types.arrays import IntArray, RealArray
from l1ml.validate.compare import Comparison, Field, compare, output_fields
from l1ml.validate.core import CoreRun, CoreSimulation, core_sources
from l1ml.validate.locate import first_wrong_layer
from l1ml.validate.mutate import Core, Mutation
from l1ml.validate.subject import facts_of
from l1ml.validate.verdict import Check, Verdict

KINDS = ("weight_bit", "adder", "pipeline_register")
TRIES = 6
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
        kinds: of faults in the RTL.

    Returns:
        A verdict of kind ``self-test``: passed when every fault was found, and the RTL without fault agrees.

    Raises:
        ToolError: the simulator is missing or failed.
    """
    n = min(len(codes), EVENTS)
    codes, expected = codes[:n], expected[:n]
    trace = {name: np.asarray(values)[:n] for name, values in trace.items()}
    fields = output_fields(manifest)
    checks = [_golden_check(expected if golden is None else golden[:n], expected, fields, seed)]
    file = next(p for p in core_sources(manifest, root) if p.stem == manifest["core_module"])
    core = Core(_read(file), manifest["layers"])
    with tempfile.TemporaryDirectory(prefix="l1ml-selftest-") as work:
        builds = Path(work)
        clean = _simulate(manifest, root, file, None, builds)
        checks.insert(0, _clean_check(clean, codes, expected, trace, fields))
        if checks[0].passed:
            checks += [_mutation_check(k, core, manifest, root, file, builds, codes, expected, trace, seed) for k in kinds]
    return Verdict(kind="self-test", checks=tuple(checks), **facts_of(manifest))


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except OSError as error:
        raise ToolError(f"cannot read {file.name}: {error.strerror}", where=(file.name,), fix="run l1ml convert") from None


def _simulate(manifest: Mapping[str, Any], root: Path, file: Path, rtl: str | None, builds: Path) -> CoreSimulation:
    """Compile the core, with other text where ``rtl`` is given."""
    if rtl is None:
        return CoreSimulation(manifest, root, builds, probes=True, fast="-O0")
    copy = Path(tempfile.mkdtemp(dir=builds))
    for source in core_sources(manifest, root):
        target = copy / source.relative_to(root)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(rtl if source == file else _read(source), encoding="utf-8")
    return CoreSimulation(manifest, copy, builds, probes=True, fast="-O0")


def _judge(result: CoreRun, expected: IntArray, fields: Sequence[Field]) -> tuple[Comparison, bool]:
    comparison = compare("RTL against emulator", expected, result.codes, fields)
    return comparison, comparison.passed and bool(result.on_time.all()) and not result.spurious


def _clean_check(
    core: CoreSimulation, codes: IntArray, expected: IntArray, trace: Mapping[str, RealArray], fields: Sequence[Field]
) -> Check:
    result = core.run(codes)
    comparison, passed = _judge(result, expected, fields)
    layer = first_wrong_layer(core, result, trace)
    probes = sum(len(la.get("probes", ())) for la in core.manifest["layers"])
    passed = passed and layer is None and probes > 0
    detail = f"{comparison}; {probes} signals at layer borders " + (f"differ first in {layer}" if layer else "agree")
    return Check("no_fault", passed, detail, "self-test")


def _golden_check(golden: RealArray | IntArray, expected: IntArray, fields: Sequence[Field], seed: int) -> Check:
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


def _mutation_check(
    kind: str,
    core: Core,
    manifest: Mapping[str, Any],
    root: Path,
    file: Path,
    builds: Path,
    codes: IntArray,
    expected: IntArray,
    trace: Mapping[str, RealArray],
    seed: int,
) -> Check:
    fields = output_fields(manifest)
    silent = 0
    for mutation in core.mutations(kind, seed):
        simulation = _simulate(manifest, root, file, mutation.rtl, builds)
        result = simulation.run(codes)
        comparison, passed = _judge(result, expected, fields)
        if passed:
            silent += 1
            if silent < TRIES:
                continue
            detail = f"{silent} faults, none changed an output of {len(codes)} events; last: {mutation.text}"
            return Check(kind, False, detail, "self-test")
        return _found(mutation, comparison, first_wrong_layer(simulation, result, trace), silent)
    return Check(kind, False, "the core has no place for this fault", "self-test")


def _found(mutation: Mutation, comparison: Comparison, layer: str | None, silent: int) -> Check:
    right = layer in mutation.layers
    wanted = " or ".join(sorted(mutation.layers))
    named = f"layer named: {layer}" + ("" if right else f", EXPECTED {wanted}")
    shown = f"{comparison.bad_events:,} of {comparison.events:,} events differ"
    tries = f" ({silent} faults before it changed nothing)" if silent else ""
    return Check(mutation.kind, right, f"{mutation.text}; {shown}; {named}{tries}", "self-test")
