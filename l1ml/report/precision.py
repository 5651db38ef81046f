# SPDX-License-Identifier: Apache-2.0
"""The part of the report on post-training types: ranges against types, what saturates, errors per layer."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from l1ml.errors import DataError
from l1ml.report.markdown import code, number, table, text
from l1ml.report.ranges import RangeStats, top_exponent
from l1ml.rtl.project import PRECISION

CONSTANTS = ("weight", "bias", "recurrent", "recurrent_bias")


def section(project_dir: Path, folder: Path) -> tuple[list[str], list[Path]]:
    """Return the lines of the report and the plots drawn for it; nothing for a project without such types.

    Args:
        project_dir: project folder.
        folder: where the plot goes.

    Raises:
        DataError: ``precision.json`` is damaged.
    """
    file = project_dir / PRECISION
    if not file.exists():
        return [], []
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
        groups, lines = _groups(data), _lines(data)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"cannot be read: {error!r:.200}", where=(str(file),), fix="run l1ml convert"
        ) from None
    drawn: list[Path] = []
    if any(groups.values()):
        from l1ml.report import plots

        drawn.append(plots.ranges(groups, folder / "precision.png"))
        lines[2:2] = ["![values of the float model against the chosen types](precision.png)", ""]
    return lines, drawn


def _groups(data: Mapping[str, Any]) -> dict[str, dict[str, RangeStats]]:
    groups: dict[str, dict[str, RangeStats]] = {"trained constants": {}, "tensors of the float model": {}}
    for place in data["types"]:
        group = "trained constants" if place["key"] in CONSTANTS else "tensors of the float model"
        name = place["layer"] if place["key"] == "output" else f"{place['layer']} {place['key']}"
        stats = _stats(place)
        if stats is not None:
            groups[group][name] = stats
    return groups


def _stats(place: Mapping[str, Any]) -> RangeStats | None:
    seen = place["data"]
    if seen is None:
        return None
    largest = max(abs(seen["lowest"]), abs(seen["highest"]))
    outside = place.get("saturated", place.get("wrapped", 0))
    return RangeStats(
        type=str(place["type"]),
        lsb_exponent=round(math.log2(place["lsb"])),
        top_exponent=top_exponent(place["lowest"], place["highest"]),
        count=int(seen["count"]),
        zero_share=seen["zeros"] / max(1, seen["count"]),
        at_limit_share=outside / max(1, place.get("values", 0)),
        log2_quantiles=tuple(seen["log2_quantiles"]),
        log2_max=math.log2(largest) if largest else None,
    )


def _lines(data: Mapping[str, Any]) -> list[str]:
    ends = []
    for end in data["outputs"]:
        agree = end.get("argmax_events")
        share = f"{100 * end['argmax_same'] / agree:.2f} %" if agree else "-"
        ends.append(
            [text(end["name"]), number(end["max_abs"]), number(end["rms"]), _percent(end["relative"]), share]
        )
    errors = {error["name"]: error for error in data["layers"]}
    rows = []
    for place in data["types"]:
        seen, error = place["data"], errors.get(place["layer"]) if place["key"] == "output" else None
        outside = place.get("saturated", place.get("wrapped"))
        rows.append([
            text(place["layer"]), place["key"].replace("_", " "), code(place["type"]),
            "-" if seen is None else f"{seen['lowest']:.4g} to {seen['highest']:.4g}",
            "-" if outside is None else f"{outside:,}" + (" wrap" if "wrapped" in place and outside else ""),
            "-" if error is None else number(error["max_abs"]), "-" if error is None else _percent(error["relative"]),
        ])  # fmt: skip
    inputs = [f"{text(i['name'])} {code(i['type'])} (from {text(i['from'])})" for i in data.get("inputs", [])]
    return [
        "## Post-training types",
        "",
        f"Measured over {number(data['events'])} calibration events, against the float model in float32.",
        "",
        *([f"Inputs: {', '.join(inputs)}.", ""] if inputs else []),
        *table(["output", "largest error", "rms error", "of the rms", "same largest element"], ends, "lrrrr"),
        *table(["layer", "", "type", "values", "outside", "largest error", "rms error"], rows, "lllrrrr"),
    ]


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.3g} %"


def write(project_dir: Path) -> list[Path]:
    """Write this part alone, for a project without hardware: ``reports/precision.md`` and its plot.

    Raises:
        DataError: the project has no such types, or no events to measure them.
    """
    folder = project_dir / "reports"
    folder.mkdir(exist_ok=True)
    lines, drawn = section(project_dir, folder)
    if not lines:
        raise DataError(
            "there is nothing to report: no hardware, and no errors of post-training types",
            where=(str(project_dir),),
            fix="convert with calibration events",
        )
    file = folder / "precision.md"
    file.write_text("\n".join(lines).rstrip() + "\n", encoding="utf-8")
    return [file, *drawn]
