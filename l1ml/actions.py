# SPDX-License-Identifier: Apache-2.0
"""What can be done with a converted project: build, emulate, replay, gate, report.

Each action reads the project folder, calls one package, and writes into ``reports``.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import ArrayLike
from tqdm import tqdm

from l1ml import flow, sources, streamed
from l1ml.cosim.lint import lint
from l1ml.errors import ConfigError, DataError
from l1ml.events.sample import EventSample
from l1ml.events.schema import EMULATED
from l1ml.events.writer import EventWriter
from l1ml.links.layout import LinkLayout
from l1ml.plan.kept import raster_of
from l1ml.report import plan as plan_report
from l1ml.report import precision
from l1ml.report.ranges import RangeStats, range_stats
from l1ml.report.render import RocInput, write_report
from l1ml.rtl.project import REPORT
from l1ml.synth.yosys import synthesize
from l1ml.validate import budget as budgets
from l1ml.validate.contract import run_contract, zero_codes
from l1ml.validate.core import rtl_sources
from l1ml.validate.render import write_reports
from l1ml.validate.replay import LinkSimulation, flat, replay
from l1ml.validate.selftest import run_selftest
from l1ml.validate.streamed_selftest import run_streamed_selftest
from l1ml.validate.verdict import Verdict, read_verdict, write_text

if TYPE_CHECKING:
    from l1ml.project import Project

BENCHES = ("bulk", "cocotb")
CONTRACT_EVENTS = 64
REPORT_EVENTS = 10_000
VERDICT = "verdict.json"
SYNTHESIS = "synth.json"


def build(project: Project, *, lint_rtl: bool, emulate: bool, cosim: bool, synth: bool) -> dict[str, Any]:
    """Run the tools that need more than the conversion.

    Returns:
        Facts by step name, for people and for ``--json``.
    """
    done: dict[str, Any] = {}
    rtl, top = list(rtl_sources(project.manifest, project.root)), str(project.manifest["top_module"])
    if lint_rtl:
        lint(rtl, top, _builds(project, "lint") / "lint.log")
        done["lint"] = {"warnings": 0, "files": len(rtl)}
    if emulate:
        done["emulate"] = _time_emulator(project)
    if cosim:
        start = time.perf_counter()
        LinkSimulation(project.manifest, project.root, _builds(project, "cosim"))
        done["cosim"] = {"seconds": round(time.perf_counter() - start, 1)}
    if synth:
        made = synthesize(rtl, top, _builds(project, "synth")).to_dict()
        _write_json(_reports(project) / SYNTHESIS, made)
        _write_json(_builds(project, "synth") / "of.json", {"rtl": project.manifest["digest"]["rtl"]})
        done["synth"] = made
    return done


def _time_emulator(project: Project) -> dict[str, Any]:
    """Run the emulator on random codes of the input types, as a check that it works and how fast."""
    rng = np.random.default_rng(1)
    arrays = []
    for port in project.program.inputs:
        codes = rng.integers(port.type.lo, port.type.hi + 1, (100_000, *port.shape))
        arrays.append(np.ldexp(codes.astype(np.float64), -port.type.frac))
    project.emulator.values([a[:1000] for a in arrays])
    start = time.perf_counter()
    project.emulator.values(arrays)
    rate = len(arrays[0]) / (time.perf_counter() - start)
    return {"engine": project.emulator.engine, "events_per_s": round(rate)}


def emulate(project: Project, events: Path, output: Path) -> dict[str, Any]:
    """Write the emulator's outputs for every event of a file into another, under ``emulated``.

    Raises:
        DataError: a file cannot be read or written, or an input is missing or has values off its type.
    """
    names = [name for name, _ in project.program.outputs]
    if output.exists() and output.samefile(events):
        raise ConfigError(
            "the output would replace the events it is made from",
            where=(str(output),),
            fix="name another file",
        )
    count = 0

    def answered() -> Iterator[EventSample]:
        nonlocal count
        for sample in _with_progress(sources.samples(project, events), "emulate"):
            arrays = [sample.inputs[port.name] for port in project.program.inputs]
            values = dict(zip(names, project.emulator.values(arrays), strict=True))
            count += len(sample)
            yield replace(sample, inputs=_on_grid(project, arrays), golden=values)

    types = {port.name: port.quantizer.type for port in project.program.inputs}
    with EventWriter(
        output,
        types=types,
        dtype="float64",
        answers=EMULATED,
        attributes={"digest": project.program.digest},
    ) as writer:
        for sample in answered():
            writer.append(sample)
    return {"events": count, "outputs": names}


def _on_grid(project: Project, arrays: list[Any]) -> dict[str, np.ndarray]:
    """Return the inputs as the block sees them: converted, where their type rounds and saturates."""
    codes = project.emulator.input_codes(arrays)
    return {
        port.name: np.ldexp(c.astype(np.float64), -port.type.frac)
        for port, c in zip(project.program.inputs, codes, strict=True)
    }


def replay_events(
    project: Project,
    events: str | os.PathLike[str] | ArrayLike,
    *,
    max_events: int | None,
    bench: str,
    self_test: bool,
) -> Verdict:
    """Compare golden, emulator and RTL; see `Project.replay`."""
    if bench not in BENCHES:
        raise ConfigError(f"unknown bench {bench!r}", where=("bench",), fix=f"use {' or '.join(BENCHES)}")
    if max_events is not None and max_events < 1:
        raise ConfigError(f"max_events is {max_events}; at least 1 event is needed", where=("max_events",))
    samples = sources.samples(project, events)
    manifest, root = project.manifest, project.root
    if self_test or bench == "cocotb":
        few = min(max_events or CONTRACT_EVENTS, 512) if self_test else CONTRACT_EVENTS
        sample = sources.first(samples, few)
        arrays = [sample.inputs[port.name] for port in project.program.inputs]
        codes, expected = flat(project.emulator.input_codes(arrays)), flat(project.emulator.codes(arrays))
        if self_test and "plan" in manifest:
            verdict = _streamed_selftest(project, codes, expected)
        elif self_test:
            verdict = run_selftest(manifest, root, codes, expected, project.emulator.trace(arrays))
        else:
            verdict = _contract(project, codes)
    else:
        bar = tqdm(
            total=sources.count(events, max_events),
            unit="event",
            desc="replay",
            disable=True if os.environ.get("TQDM_DISABLE") else None,
            unit_scale=True,
        )

        def progress(done: int) -> None:
            bar.update(done - bar.n)

        with bar:
            verdict = replay(
                manifest,
                root,
                project.emulator,
                samples,
                build_dir=_builds(project, "cosim"),
                max_events=max_events,
                progress=progress,
            )
        if sources.is_file(events):
            _write_json(
                _builds(project, "cosim") / "replayed.json",
                {"events": str(Path(os.fspath(cast("str", events))).resolve())},
            )
    return _keep(project, verdict)


def _streamed_selftest(project: Project, codes: np.ndarray, expected: np.ndarray) -> Verdict:
    bar = tqdm(desc="self-test", unit="build", disable=True if os.environ.get("TQDM_DISABLE") else None)

    def progress(text: str) -> None:
        bar.set_postfix_str(text[:60])
        bar.update()

    with bar:
        return run_streamed_selftest(project.manifest, project.root, codes, expected, progress=progress)


def _contract(project: Project, codes: np.ndarray) -> Verdict:
    table = np.concatenate([zero_codes(project.manifest), codes])
    ports = project.program.inputs
    ends = np.cumsum([port.type.size for port in ports])[:-1]
    parts = np.split(table, ends, axis=1)
    arrays = [
        np.ldexp(part.reshape(len(part), *port.shape).astype(np.float64), -port.type.frac)
        for part, port in zip(parts, ports, strict=True)
    ]
    expected = flat(project.emulator.codes(arrays))
    return run_contract(project.manifest, project.root, table, expected, build_dir=_builds(project, "cocotb"))


def gate(project: Project, budget: Path, junit: Path | None) -> Verdict:
    """Judge the project and its last replay against a budget file.

    Raises:
        DataError: the folder of ``junit`` is not there.
    """
    if junit is not None:
        _need_folder(junit)
    file = _reports(project) / VERDICT
    verdict = read_verdict(file) if file.exists() else None
    judged = budgets.gate(project.manifest, verdict, budgets.read_budget(budget), _synthesized(project))
    return _keep(project, judged, junit)


def _synthesized(project: Project) -> dict[str, Any] | None:
    """Return what Yosys measured on exactly this RTL, if it was run."""
    result, of = _reports(project) / SYNTHESIS, _builds(project, "synth") / "of.json"
    if not (result.is_file() and of.is_file()):
        return None
    if json.loads(of.read_text(encoding="utf-8")).get("rtl") != project.manifest["digest"]["rtl"]:
        return None
    found = json.loads(result.read_text(encoding="utf-8"))
    return {**{key: found[key] for key in ("lut", "ff", "dsp", "bram")}, "method": found["tool"]}


def show_plan(project: Project, *, front: bool = False, json: Path | None = None) -> str:
    """Return the plan of a streamed project as text, with the trade-off curve if it is asked for.

    Args:
        project: the project.
        front: plan for other latencies, too, and draw the curve into the project's reports.
        json: file to write both to.

    Raises:
        ConfigError: the block is not streamed.
    """
    if json is not None:
        _need_folder(json)
    manifest = project.manifest
    if "plan" not in manifest:
        raise ConfigError(
            "this block takes a whole event every clock: there is nothing to plan",
            where=(str(project.root),),
            fix="set hardware: streamed, or a tmux and a latency budget with it, and convert again",
        )
    text, data = plan_report.plain(manifest), {"plan": manifest["plan"]}
    if front:
        config = flow.with_link_clock(streamed.with_interface(project.config))
        layout, luts = LinkLayout.from_dict(manifest["link"]), int(manifest["choices"]["luts"])
        points = streamed.front(project.program, config, layout, raster_of(manifest), luts)
        here = {"latency_ns": float(manifest["latency"]["ns"]), **manifest["estimate"]}
        drawn = plan_report.draw(points, here, _reports(project))
        text += f"\n\n{plan_report.front_text(points)}\n\n{drawn}"
        data["front"] = points
    if json is not None:
        _write_json(json, data)
    return text


def write_project_report(project: Project) -> list[Path]:
    """Write the report; with events, measured ranges and ROC curves too."""
    if project.no_hardware is not None:
        return precision.write(project.root)
    events = _known_events(project)
    if events is None:
        return write_report(project.root)
    sample = sources.first(sources.samples(project, events), REPORT_EVENTS)
    arrays = [sample.inputs[port.name] for port in project.program.inputs]
    trace = project.emulator.trace(arrays)
    return write_report(project.root, activations=_ranges(project, trace), roc=_roc(project, sample, events))


def _known_events(project: Project) -> Path | None:
    """Return the event file of the configuration, or the one last replayed."""
    named = project.config.events
    note = project.root / "build" / "cosim" / "replayed.json"
    if named is None and note.exists():
        named = str(json.loads(note.read_text(encoding="utf-8"))["events"])
    if named is not None and not Path(named).is_file():
        raise DataError(
            "the event file for ranges and ROC curves is not there",
            where=(named,),
            fix="correct events in l1ml.yml (relative to the current folder), or replay another file",
        )
    return None if named is None else Path(named)


def _ranges(project: Project, trace: dict[str, np.ndarray]) -> dict[str, RangeStats]:
    out = {}
    for layer in project.manifest["layers"]:
        kind = layer["range"]
        lsb = 2.0 ** -int(kind["frac"])
        text = kind["type"] or f"{kind['lo'] * lsb:g}..{kind['hi'] * lsb:g}"
        out[layer["name"]] = range_stats(
            trace[layer["name"]], lo=kind["lo"] * lsb, hi=kind["hi"] * lsb, lsb=lsb, type=str(text)
        )
    return out


def _roc(project: Project, sample: EventSample, events: Path) -> RocInput | None:
    """Return what ROC curves need, if the sample has labels and the network one output of several classes.

    The reference is the float model's prediction, ``pred/float``, where the file has one.
    """
    outputs = project.program.outputs
    if sample.label is None or len(outputs) != 1 or len(project.program.type_of(outputs[0][1]).shape) != 1:
        return None
    arrays = [sample.inputs[port.name] for port in project.program.inputs]
    with sources.open_for(project, events, golden="pred") as file:
        reference = file.read(0, len(sample)).golden.get("float")
        classes = file.classes or None
    return RocInput(
        labels=sample.label,
        emulated=project.emulator.values(arrays)[0],
        reference=reference,
        reference_is_probability=True,
        classes=classes,
    )


def _keep(project: Project, verdict: Verdict, junit: Path | None = None) -> Verdict:
    """Write a verdict into ``reports``: a replay under the plain names, others under their kind's."""
    folder = _reports(project)
    if verdict.kind == "replay":
        for name in REPORT:  # of an earlier verdict
            (folder / name).unlink(missing_ok=True)
    else:
        folder = folder / verdict.kind
        folder.mkdir(exist_ok=True)
    write_reports(verdict, folder, junit)
    return verdict


def _reports(project: Project) -> Path:
    folder = project.root / "reports"
    folder.mkdir(exist_ok=True)
    return folder


def _builds(project: Project, name: str) -> Path:
    folder = project.root / "build" / name
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _need_folder(file: Path) -> None:
    """Refuse an output that the user named in a folder that is not there, before any work is done."""
    if not file.parent.is_dir():
        raise DataError(
            "the folder of the output is not there",
            where=(str(file),),
            fix=f"make the folder {file.parent}, or name another file",
        )


def _write_json(file: Path, data: dict[str, Any]) -> None:
    write_text(file, json.dumps(data, indent=1) + "\n")


def _bar(title: str, total: int | None = None) -> Any:
    """Return a progress bar: on a terminal only, and not under ``--quiet``."""
    hidden = True if os.environ.get("TQDM_DISABLE") else None
    return tqdm(total=total, unit="event", desc=title, disable=hidden, unit_scale=True)


def _with_progress(samples: Iterator[EventSample], title: str) -> Iterator[EventSample]:
    with _bar(title) as bar:
        for sample in samples:
            yield sample
            bar.update(len(sample))
