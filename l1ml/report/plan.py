# SPDX-License-Identifier: Apache-2.0
"""The plan of a streamed block for people: engine by engine, and what other latencies would cost."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from l1ml.report.markdown import number

HEAD = (
    "", "engine", "layers", "shared", "multiplier", "weights", "first", "last", "busy", "LUT", "FF", "DSP", "BRAM",
)  # fmt: skip


def rows(manifest: Mapping[str, Any]) -> list[list[str]]:
    """Return a row per engine of the manifest's plan; clocks count from the first beat of an event."""
    out = []
    for k, node in enumerate(manifest["plan"]):
        used = node["resources"]
        shared = node.get("parameters", {})
        clocks = ""
        if node["engine"] == "fold":
            clocks = f"{-(-int(shared['KeptInputs']) // int(shared['PerClock']))} clocks a beat"
            clocks += ", paced" if "pace" in node else ""
        elif node["stages"]:
            clocks = f"{node['stages']} stages"
        weights = node.get("weights")
        out.append(
            [
                str(k), str(node["engine"]), ", ".join(str(name) for name in node["layers"]), clocks,
                multiplier(node), "" if weights is None else memory(weights),
                number(node["first_cycle"]), number(node["last_cycle"]), number(node["busy_cycles"]),
                *(number(round(used[key])) for key in ("lut", "ff", "dsp", "bram")),
            ]
        )  # fmt: skip
    return out


def multiplier(node: Mapping[str, Any]) -> str:
    """Return what multiplies in an engine, and how many products a cascade of DSP blocks adds."""
    chain = int(node.get("parameters", {}).get("Chain", 1))
    return str(node.get("multiplier", "")) + (f" x{chain}" if chain > 1 else "")


def memory(weights: Mapping[str, Any]) -> str:
    """Return where weights lie, in a few words."""
    kind = str(weights["memory"])
    if kind == "constants":
        return kind
    return f"{kind} {weights['words']} x {weights['word_bits']}"


def plain(manifest: Mapping[str, Any]) -> str:
    """Return the plan as text in columns."""
    latency, interval, total = manifest["latency"], manifest["interval"], manifest["estimate"]
    parts = " + ".join(f"{key} {latency[f'{key}_cycles']}" for key in ("collect", "compute", "emit"))
    used = ", ".join(f"{total[key]:,.0f} {key.upper()}" for key in ("lut", "ff", "dsp", "bram"))
    lines = [
        f"{manifest['core_module']}: latency {latency['cycles']} clocks = {latency['ns'] / 1e3:.3f} us ({parts})",
        *_around(latency),
        f"interval {interval['cycles']} clocks on the link, the engines need {interval['core_cycles']}",
        "",
        *columns([HEAD, *rows(manifest)]),
        "",
        f"together {used} by the plan's model (measure: l1ml build --synth)",
        *(f"note: {text}" for text in notes(manifest)),
    ]
    return "\n".join(lines)


def notes(manifest: Mapping[str, Any]) -> list[str]:
    """Return what the user of a streamed block should know of its plan: where events are gathered, what is guessed."""
    out = []
    plan = manifest["plan"]
    for k, node in enumerate(plan):
        if node["engine"] != "collect":
            continue
        shape = node["parameters"]
        bits = shape["Rows"] * shape["Columns"] * shape["PositionBits"]
        behind = next((n for n in plan[k + 1 :] if n["engine"] == "map"), None)
        costs = "" if behind is None else f", {number(round(behind['resources']['lut']))} LUT"
        out.append(
            f"engine {k} gathers the event in front of {', '.join(node['layers'])} ({number(bits)} bits): "
            f"what follows takes all of it at once{costs}"
        )
    passed = manifest["hardware"]["passed"]
    if passed:
        lanes = manifest["choices"]["raster"][2]
        beat = f"a beat has {lanes} positions" if lanes > 1 else "the event is taken at once"
        out.append(f"{beat}, since fewer do not fit (plan.lanes asks for a number): {passed[0]}")
    part, known = str(manifest["target"]["part"]), str(manifest["estimate"]["weighed_as"])
    if not part.lower().startswith(known):
        out.append(f"what {part} has is not listed: LUT, FF, DSP and BRAM were weighed as those of a {known}")
    return out


def _around(latency: Mapping[str, Any]) -> list[str]:
    """Return what collecting costs, and what is left of the latency once the event is there."""
    collect, whole = latency["collect_cycles"], latency["gathered_cycles"]
    beats = f"{collect} clocks until the first beat is in; a whole event would take {whole}"
    tail = f"{latency['tail_cycles']} clocks from the last input word to the first output word"
    return [
        f"collect {beats if collect < whole else f'{collect} clocks: the core takes whole events'}",
        f"tail {tail}, {latency['tail_last_cycles']} to the last",
    ]


def front_text(points: Sequence[Mapping[str, float]]) -> str:
    """Return the trade-off curve as text in columns, and what it is a curve of."""
    head = ("latency / us", "clocks", "LUT", "FF", "DSP", "BRAM")
    body = [
        [
            f"{p['latency_ns'] / 1e3:.3f}",
            *(number(round(p[key])) for key in ("cycles", "lut", "ff", "dsp", "bram")),
        ]
        for p in points
    ]
    what = (
        "at other latencies, on this link with these positions per beat and the nets of this design; "
        "a budget of its own may give other registers, or more positions per beat"
    )
    return "\n".join([*columns([head, *body]), *textwrap.wrap(what, 110)])


def columns(table: Sequence[Sequence[str]]) -> list[str]:
    """Return rows with aligned columns; numbers to the right."""
    widths = [max(len(row[k]) for row in table) for k in range(len(table[0]))]
    out = []
    for row in table:
        cells = [
            cell.rjust(width) if cell[:1].isdigit() else cell.ljust(width)
            for cell, width in zip(row, widths, strict=True)
        ]
        out.append("  ".join(cells).rstrip())
    return out


def draw(points: Sequence[Mapping[str, float]], chosen: Mapping[str, float], folder: Path) -> Path:
    """Draw the trade-off curve into a folder."""
    from l1ml.report import plots

    folder.mkdir(parents=True, exist_ok=True)
    return plots.trade_off(points, chosen, folder / "plan.png")
