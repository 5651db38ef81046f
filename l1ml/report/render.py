# SPDX-License-Identifier: Apache-2.0
"""Writes the report of a project: ``reports/report.md``, ``report.json`` and the plots."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from l1ml.errors import DataError
from l1ml.report import precision
from l1ml.report.facts import Facts, read_facts
from l1ml.report.markdown import code, number, table, text
from l1ml.report.ranges import RangeStats, from_manifest
from l1ml.rtl.project import REPORT
from l1ml.synth.estimate import ERROR_NOTE
from l1ml.validate.physics import RocCurve, roc_per_class

SCHEMA = "l1ml-report/1"


@dataclass(frozen=True, eq=False)
class RocInput:
    """What ROC curves are made of.

    Args:
        labels: class index (events,) or one-hot (events, classes).
        emulated: the emulator's logits (events, classes).
        reference: outputs of the float model on the same events, if known.
        reference_is_probability: the reference has been through softmax.
        reference_name: what the reference is.
        classes: names of the classes.
    """

    labels: ArrayLike
    emulated: ArrayLike
    reference: ArrayLike | None = None
    reference_is_probability: bool = False
    reference_name: str = "float model"
    classes: tuple[str, ...] | None = None

    def curves(self) -> tuple[tuple[RocCurve, ...], tuple[RocCurve, ...]]:
        """Return (reference, emulator) curves; the first empty without a reference.

        Raises:
            DataError: labels, outputs and reference do not fit together, or a class has no events.
        """
        emulated = roc_per_class(self.emulated, self.labels, self.classes)
        if self.reference is None:
            return (), emulated
        shapes = np.shape(self.reference), np.shape(self.emulated)
        if shapes[0] != shapes[1]:
            raise DataError(f"the {self.reference_name} gives {shapes[0]}, the emulator {shapes[1]}")
        probable = self.reference_is_probability
        return roc_per_class(self.reference, self.labels, self.classes, probabilities=probable), emulated


def write_report(
    project_dir: Path, *, activations: Mapping[str, RangeStats] | None = None, roc: RocInput | None = None
) -> list[Path]:
    """Write Markdown, JSON and plots into ``project_dir/reports``.

    Args:
        project_dir: project folder with ``manifest.json``; verdict and synthesis are used if they are there.
        activations: measured ranges per layer; without them only the types' proven ranges are shown.
        roc: outputs and labels for ROC curves; left out without them.

    Returns:
        The files written, Markdown first.

    Raises:
        DataError: a file of the project is missing or damaged.  What is wrong with ``roc`` is said in the report.
        ToolError: matplotlib is missing.
    """
    facts = read_facts(project_dir)
    folder = project_dir / "reports"
    folder.mkdir(exist_ok=True)
    groups = _range_groups(facts, activations)
    curves, lost = _curves(roc)
    plots = _draw(facts, groups, curves, roc, folder)
    lines = _title(facts)
    lines += _verdict(facts)
    lines += _timing(facts)
    lines += _pipeline(facts, plots)
    lines += _resources(facts, plots)
    lines += _numbers(groups, plots)
    chosen, drawn = precision.section(project_dir, folder)
    lines += chosen
    lines += _physics(curves, roc, plots, lost)
    lines += _provenance(facts)
    markdown, data = (folder / name for name in REPORT)
    markdown.write_text("\n".join(lines).rstrip() + "\n", encoding="utf-8")
    content = _json(facts, groups, curves, plots) | ({"auc_missing": lost} if lost else {})
    data.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    return [markdown, data, *plots.values(), *drawn]


def _curves(roc: RocInput | None) -> tuple[tuple[tuple[RocCurve, ...], tuple[RocCurve, ...]], str]:
    """Return the curves, or none of them and why."""
    try:
        return ((), ()) if roc is None else roc.curves(), ""
    except DataError as error:
        return ((), ()), error.what


def _draw(
    facts: Facts,
    groups: Mapping[str, Mapping[str, RangeStats]],
    curves: tuple[Sequence[RocCurve], Sequence[RocCurve]],
    roc: RocInput | None,
    folder: Path,
) -> dict[str, Path]:
    """Draw all plots whose facts are there; return them by name."""
    from l1ml.report import plots

    made: dict[str, Path] = {}
    stages, layers = facts.manifest["stages"], facts.manifest["layers"]
    if stages:
        period = 1e3 / facts.clock_mhz
        made["pipeline"] = plots.pipeline(
            stages, period_ns=period, overhead_ns=facts.overhead_ns, path=folder / "pipeline.png"
        )
    if any(layer.get("lut") or layer.get("ff") for layer in layers):
        made["resources"] = plots.resources(layers, folder / "resources.png")
    if any(groups.values()):
        made["ranges"] = plots.ranges(groups, folder / "ranges.png")
    if roc is not None and curves[1]:
        made["roc"] = plots.roc(curves[0], curves[1], folder / "roc.png", reference=roc.reference_name)
    return made


def _range_groups(
    facts: Facts, activations: Mapping[str, RangeStats] | None
) -> dict[str, dict[str, RangeStats]]:
    """Return ranges of weights and activations per layer; measured ones win over proven ones."""
    weights: dict[str, RangeStats] = {}
    proven: dict[str, RangeStats] = {}
    for layer in facts.manifest["layers"]:
        name = str(layer["name"])
        if (stats := from_manifest(layer.get("weights") or {})) is not None:
            weights[name] = stats
        if (stats := from_manifest(layer.get("range") or {})) is not None:
            proven[name] = stats
    return {"weights": weights, "activations": {**proven, **(activations or {})}}


def _title(facts: Facts) -> list[str]:
    manifest = facts.manifest
    target, latency, interval = manifest["target"], manifest["latency"], manifest["interval"]
    interface, part = text(target.get("interface", "link")), text(target["part"])
    passed = "not replayed yet"
    if facts.verdict is not None:
        passed = "**PASS**" if facts.verdict.passed else "**FAIL**"
    total = f"{latency['cycles']} clocks = {latency['ns']:.1f} ns = {latency['bx']} BX"
    clock = f"{target['clock_mhz']:g} MHz, TMUX {target['tmux']}"
    return [
        f"# {text(manifest['name'])}: {interface} block for {part}",
        "",
        f"{passed} | latency **{total}** | interval **{interval['cycles']} clocks** | {clock}",
        "",
    ]


def _verdict(facts: Facts) -> list[str]:
    lines = ["## Verdict", ""]
    if facts.stale:
        lines += [
            f"{', '.join(map(code, facts.stale))} belongs to an earlier conversion and is not shown.",
            "",
        ]
    verdict = facts.verdict
    if verdict is None:
        return [*lines, f"No events were replayed yet: run {code('l1ml replay')}.", ""]
    compared = [
        [
            text(c["name"]),
            number(c["events"]),
            number(c["values"]),
            number(c["mismatches"]),
            _passed(c["passed"]),
        ]
        for c in verdict.comparisons
    ]
    if compared:
        lines += table(["comparison", "events", "values", "different", ""], compared, "lrrrl")
    if verdict.first_divergence:
        lines += [f"First divergence: {text(verdict.first_divergence.get('text', ''))}", ""]
    speeds = [
        [label, f"{verdict.throughput[key] / 1e3:,.0f} k"]
        for label, key in (("emulator", "emulator_events_per_s"), ("co-simulation", "cosim_events_per_s"))
        if verdict.throughput.get(key)
    ]
    if speeds:
        lines += table(["speed", "events per second"], speeds, "lr")
    checks = [[text(check.name), _passed(check.passed), text(check.detail)] for check in verdict.checks]
    return [*lines, *table(["check", "", "found"], checks)]


def _passed(passed: object) -> str:
    return "pass" if passed else "**FAIL**"


def _timing(facts: Facts) -> list[str]:
    latency, interval, clock = facts.manifest["latency"], facts.manifest["interval"], facts.clock_mhz
    whole = latency["gathered_cycles"]
    streamed = latency["collect_cycles"] < whole
    parts = [
        (f"collect: until {'the first beat' if streamed else 'the last input word'} is in", "collect_cycles")
    ]
    parts += [
        (
            f"compute: {'from the first beat to the output' if streamed else 'the pipeline'} of the core",
            "compute_cycles",
        ),
        ("emit: to the first output word", "emit_cycles"),
    ]
    rows = [[name, *_clocks(latency[key], clock), ""] for name, key in parts]
    total = "**total: first input word to first output word**"
    rows.append([total, f"**{latency['cycles']}**", f"**{latency['ns']:.1f}**", f"**{latency['bx']}**"])
    others = [
        ("first input word to last output word", "last_cycles"),
        ("last input word needed to first output word", "tail_cycles"),
        ("last input word needed to last output word", "tail_last_cycles"),
    ]
    rows += [[name, *_clocks(latency[key], clock), ""] for name, key in others]
    lines = ["## Latency and interval", "", *table(["", "clocks", "ns", "BX"], rows, "lrrr")]
    if streamed:
        collect = number(latency["collect_cycles"])
        first = f"The core reads the event while it arrives: collecting takes {collect} clocks"
        lines += [f"{first}; to collect the whole event first would take {number(whole)}.", ""]
    link = interval.get("link_cycles")
    rate = f"One event every {interval['cycles']} clocks ({clock / interval['cycles']:.2f} M events/s)"
    brings = f"; the link brings one every {link}" if link and link != interval["cycles"] else ""
    core = f"The core itself takes one every {number(interval.get('core_cycles'))}"
    return [*lines, f"{rate}{brings}. {core}. The latency is the same for every event.", ""]


def _clocks(cycles: int, clock_mhz: float) -> list[str]:
    return [number(cycles), f"{cycles * 1e3 / clock_mhz:.1f}"]


def _pipeline(facts: Facts, plots: Mapping[str, Path]) -> list[str]:
    stages = facts.manifest["stages"]
    if not stages:
        return []
    worst = max(stages, key=lambda stage: float(stage["delay_ns"]))
    lines = ["## Pipeline", "", *_picture(plots, "pipeline", "worst path of every stage")]
    slowest = f"Slowest is stage {worst['index']} with {float(worst['delay_ns']):.2f} ns"
    allows = f"the delay model allows **{1e3 / facts.worst_stage_ns:.1f} MHz**"
    lines += [f"{slowest}: {allows}; {facts.clock_mhz:g} MHz are asked for.", ""]
    if facts.family is not None:
        lines += [
            f"Delays of {code(facts.family.name)}: {text(facts.family.source)}. See docs/timing.md.",
            "",
        ]
    rows = [
        [
            number(s["index"]), f"{float(s['delay_ns']):.2f}", number(s["ops"]), number(s["registers_bits"]),
            text(s.get("worst") or ""),
        ]
        for s in stages
    ]  # fmt: skip
    head = ["stage", "worst ns", "operations", "register bits", "worst path ends at"]
    return [*lines, *_folded("All stages", table(head, rows, "rrrrl"))]


def _resources(facts: Facts, plots: Mapping[str, Path]) -> list[str]:
    estimate, synthesis = facts.manifest["estimate"], facts.synthesis
    keys = ("lut", "sites", "ff", "dsp", "bram", "depth")
    titles = ["", "LUT", "LUT sites", "FF", "DSP", "BRAM", "logic depth"]
    rows = [["estimate (" + text(ERROR_NOTE) + ")", *(number(estimate.get(key)) for key in keys)]]
    if synthesis is not None:
        tool = f"{text(synthesis.tool)}, {code(synthesis.top)}"
        rows.append([tool, *(number(getattr(synthesis, key)) for key in keys)])
    lines = [
        "## Resources",
        "",
        *table(titles, rows, "lrrrrrr"),
        *_picture(plots, "resources", "LUT and FF per layer"),
    ]
    layers = [
        [
            text(layer["name"]), text(layer.get("kind", "")), number(layer.get("ops")),
            number(layer.get("lut")), number(layer.get("ff")),
            f"{number(layer.get('stage_first'))} to {number(layer.get('stage_last'))}",
        ]
        for layer in facts.manifest["layers"]
    ]  # fmt: skip
    return [*lines, *table(["layer", "kind", "operations", "LUT", "FF", "stages"], layers, "llrrrr")]


def _numbers(groups: Mapping[str, Mapping[str, RangeStats]], plots: Mapping[str, Path]) -> list[str]:
    rows = []
    for group, stats in groups.items():
        for name, kind in stats.items():
            largest = "-" if kind.log2_max is None else f"{2.0**kind.log2_max:.4g}"
            measured = bool(kind.log2_quantiles)
            limit = f"{100 * kind.at_limit_share:.2f} %" if measured else "-"
            zeros = f"{100 * kind.zero_share:.1f} %" if kind.count else "-"
            rows.append(
                [text(name), group, code(kind.type), largest, str(kind.unused_top_bits), zeros, limit]
            )
    if not rows:
        return []
    head = ["layer", "", "type", "largest magnitude", "unused top bits", "zeros", "at the type's limit"]
    return [
        "## Numbers and types",
        "",
        *_picture(plots, "ranges", "magnitudes against types"),
        *table(head, rows, "lllrrrr"),
    ]


def _physics(
    curves: tuple[Sequence[RocCurve], Sequence[RocCurve]],
    roc: RocInput | None,
    plots: Mapping[str, Path],
    lost: str,
) -> list[str]:
    if roc is None:
        return []
    if lost:
        return ["## Physics", "", f"No ROC curves: {text(lost)}.", ""]
    reference = {curve.name: curve.auc for curve in curves[0]}
    rows = [
        [text(c.name), f"{c.auc:.4f}", f"{reference[c.name]:.4f}", f"{c.auc - reference[c.name]:+.4f}"]
        if c.name in reference
        else [text(c.name), f"{c.auc:.4f}", "-", "-"]
        for c in curves[1]
    ]
    head = ["class", "AUC emulator", f"AUC {text(roc.reference_name)}", "difference"]
    note = (
        "Curves cut on the softmax of the block's logits, taken in float64, as the float model's do. "
        "A cut on a single logit in firmware is another, usually weaker, discriminant."
    )
    return ["## Physics", "", note, "", *_picture(plots, "roc", "ROC per class"), *table(head, rows, "lrrr")]


def _provenance(facts: Facts) -> list[str]:
    manifest = facts.manifest
    rows = [[f"digest of the {text(name)}", code(value)] for name, value in manifest["digest"].items()]
    rows.append(["l1ml", code(manifest.get("l1ml_version", ""))])
    rows += [[text(tool), code(version)] for tool, version in (manifest.get("tools") or {}).items()]
    files = [[code(file["path"]), code(file["sha256"][:16])] for file in manifest.get("files", [])]
    lines = ["## Provenance", "", *table(["", ""], rows)]
    return [*lines, *_folded("Files", table(["file", "SHA-256, first 16 digits"], files))] if files else lines


def _picture(plots: Mapping[str, Path], name: str, title: str) -> list[str]:
    return [f"![{title}]({plots[name].name})", ""] if name in plots else []


def _folded(title: str, lines: list[str]) -> list[str]:
    return ["<details>", f"<summary>{title}</summary>", "", *lines, "</details>", ""]


def _json(
    facts: Facts,
    groups: Mapping[str, Mapping[str, RangeStats]],
    curves: tuple[Sequence[RocCurve], Sequence[RocCurve]],
    plots: Mapping[str, Path],
) -> dict[str, Any]:
    """Return the report's facts; what the manifest holds is repeated only where a reader looks first."""
    manifest = facts.manifest
    return {
        "schema": SCHEMA,
        "name": manifest["name"],
        "digest": manifest["digest"],
        "passed": None if facts.verdict is None else facts.verdict.passed,
        "target": manifest["target"],
        "latency": manifest["latency"],
        "interval": manifest["interval"],
        "timing": {
            "worst_stage_ns": facts.worst_stage_ns,
            "period_ns": round(1e3 / facts.clock_mhz, 4),
            "fastest_clock_mhz": round(1e3 / facts.worst_stage_ns, 2) if facts.worst_stage_ns else None,
        },
        "resources": {
            "estimate": manifest["estimate"],
            "estimate_error": ERROR_NOTE,
            "synthesis": facts.synthesis.to_dict() if facts.synthesis else None,
        },
        "ranges": {
            group: {name: kind.to_dict() for name, kind in stats.items()} for group, stats in groups.items()
        },
        "auc": {
            "emulator": {curve.name: curve.auc for curve in curves[1]},
            "reference": {curve.name: curve.auc for curve in curves[0]},
        },
        "plots": {name: path.name for name, path in plots.items()},
    }
