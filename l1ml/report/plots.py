# SPDX-License-Identifier: Apache-2.0
"""The report's plots.  One style, no display, the same bytes for the same facts and matplotlib version."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle
from matplotlib.ticker import MaxNLocator, StrMethodFormatter

from l1ml.report.ranges import RangeStats
from l1ml.validate.physics import RocCurve

INK, MUTED, GRID = "#22303c", "#6b7a88", "#dde3e8"
BLUE, LIGHT_BLUE, ORANGE, RED, GREEN = "#2f6fb0", "#b9d2ea", "#d9822b", "#c23b3b", "#3d8f5f"
CLASS_COLORS = ("#2f6fb0", "#d9822b", "#3d8f5f", "#c23b3b", "#7d5ba6", "#1b9aaa", "#8c6d31", "#d16ba5")
_STYLE: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 9.5,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 10,
    "axes.labelcolor": INK,
    "axes.edgecolor": MUTED,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "text.color": INK,
    "xtick.color": MUTED,
    "ytick.color": INK,
    "grid.color": GRID,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "svg.hashsalt": "l1ml",
}


def style() -> AbstractContextManager[None]:
    """Return the context in which all figures are drawn; nothing outside it changes."""
    return mpl.rc_context(_STYLE)


def pipeline(
    stages: Sequence[Mapping[str, Any]], *, period_ns: float, overhead_ns: float, path: Path
) -> Path:
    """Draw the worst delay of every stage against the clock, and the register bits behind it.

    Args:
        stages: the manifest's ``stages``: ``index``, ``delay_ns`` (register overhead included),
            ``registers_bits``.
        period_ns: clock period.
        overhead_ns: clock to output, setup and uncertainty in every stage; 0 if not known.
        path: PNG to write.
    """
    with style():
        figure = Figure(figsize=(9.5, 1.7 + 0.27 * len(stages)), layout="constrained")
        left, right = figure.subplots(1, 2, sharey=True, width_ratios=[3, 1.25])
        index = [int(s["index"]) for s in stages]
        delay = [float(s["delay_ns"]) for s in stages]
        colors = [RED if d > period_ns + 1e-3 else BLUE for d in delay]
        left.barh(index, [min(overhead_ns, d) for d in delay], color=MUTED, height=0.68)
        starts = [min(overhead_ns, d) for d in delay]
        left.barh(
            index, [d - s for d, s in zip(delay, starts, strict=True)], left=starts, color=colors, height=0.68
        )
        for at, value in zip(index, delay, strict=True):
            inside = value > 0.2 * period_ns
            shift, color, side = (-0.012, "white", "right") if inside else (0.012, MUTED, "left")
            place = value + shift * period_ns
            left.text(place, at, f"{value:.2f}", va="center", ha=side, fontsize=8, color=color)
        left.axvline(period_ns, color=INK, lw=1.4)
        left.set_xlim(0, 1.06 * max([period_ns, *delay]))
        left.set_ylim(max(index, default=0) + 0.6, min(index, default=0) - 0.6)
        left.set_yticks(index)
        left.set_xlabel("worst path of the stage [ns]  (delay model)")
        left.set_ylabel("pipeline stage")
        left.grid(axis="x")
        handles: list[Any] = [Line2D([], [], color=INK, lw=1.4, label=f"clock period {period_ns:.3f} ns")]
        handles.append(Patch(facecolor=BLUE, label="nets and logic"))
        if overhead_ns:
            handles.append(Patch(facecolor=MUTED, label=f"register overhead {overhead_ns:.2f} ns"))
        _title(figure, "Pipeline stages against the clock")
        figure.legend(handles=handles, loc="outside lower center", ncols=3)
        bits = [int(s["registers_bits"]) for s in stages]
        most = max([1, *bits])
        right.barh(index, bits, color=LIGHT_BLUE, height=0.68)
        for at, value in zip(index, bits, strict=True):
            right.text(value + 0.02 * most, at, f"{value:,}", va="center", fontsize=8, color=MUTED)
        right.set_xlim(0, 1.25 * most)
        right.xaxis.set_major_locator(MaxNLocator(3, integer=True))
        right.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
        right.set_xlabel("register bits at its end")
        right.grid(axis="x")
        return _save(figure, path)


def _title(figure: Figure, text: str) -> None:
    figure.suptitle(text, x=0.01, ha="left", fontsize=11, fontweight="bold")


def resources(layers: Sequence[Mapping[str, Any]], path: Path) -> Path:
    """Draw LUTs and flip-flops of every layer.

    Args:
        layers: the manifest's ``layers``: ``name``, ``kind``, ``lut``, ``ff``.
        path: PNG to write.
    """
    shown = [layer for layer in layers if layer.get("lut") or layer.get("ff")]
    with style():
        figure = Figure(figsize=(9.5, 1.4 + 0.46 * max(1, len(shown))), layout="constrained")
        axes = figure.subplots()
        rows = range(len(shown))
        series = [("lut", BLUE, -0.19), ("ff", ORANGE, 0.19)]
        top = max([1, *(int(layer.get(key) or 0) for layer in shown for key, _, _ in series)])
        for key, color, offset in series:
            values = [int(layer.get(key) or 0) for layer in shown]
            total = sum(values)
            axes.barh(
                [r + offset for r in rows],
                values,
                height=0.36,
                color=color,
                label=f"{key.upper()}, {total:,} in total",
            )
            for row, value in zip(rows, values, strict=True):
                share = f"  {100 * value / total:.0f} %" if total else ""
                axes.text(
                    value + 0.008 * top,
                    row + offset,
                    f"{value:,}{share}",
                    va="center",
                    fontsize=8,
                    color=MUTED,
                )
        axes.set_yticks(list(rows), [f"{layer['name']}  ({layer.get('kind', '')})" for layer in shown])
        axes.set_ylim(len(shown) - 0.4, -0.6)
        axes.set_xlim(0, 1.16 * top)
        axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
        axes.set_xlabel("cells (estimate before synthesis)")
        axes.set_title("Resources per layer")
        axes.grid(axis="x")
        axes.legend(loc="lower right")
        return _save(figure, path)


def ranges(groups: Mapping[str, Mapping[str, RangeStats]], path: Path) -> Path:
    """Draw the magnitudes of weights and activations against the bits of their types.

    Args:
        groups: ``{"weights": {layer: stats}, "activations": {layer: stats}}``; empty groups are left out.
        path: PNG to write.
    """
    filled = {title: stats for title, stats in groups.items() if stats}
    with style():
        rows = sum(len(stats) for stats in filled.values())
        figure = Figure(figsize=(9.5, 1.9 + 0.36 * rows + 0.35 * len(filled)), layout="constrained")
        heights = [len(stats) + 0.6 for stats in filled.values()] or [1.0]
        panels = figure.subplots(len(heights), 1, sharex=True, squeeze=False, height_ratios=heights)[:, 0]
        low = min((s.lsb_exponent for group in filled.values() for s in group.values()), default=0)
        high = max((s.top_exponent for group in filled.values() for s in group.values()), default=1)
        for axes, (title, stats) in zip(panels, filled.items(), strict=False):
            for row, kind in enumerate(stats.values()):
                _range_row(axes, row, kind)
            axes.set_yticks(range(len(stats)), list(stats))
            axes.set_ylim(len(stats) - 0.35, -0.65)
            axes.set_xlim(low - 0.6, high + 0.6 + 0.16 * (high - low + 1))
            axes.set_title(title, fontsize=9.5, pad=4)
            axes.tick_params(axis="y", length=0)
            axes.grid(axis="x")
            for row, kind in enumerate(stats.values()):
                axes.text(high + 0.5, row, kind.type, va="center", fontsize=8, color=MUTED)
        step = max(1, (high - low) // 12)
        ticks = list(range(low, high + 1, step))
        panels[-1].set_xticks(ticks, [f"$2^{{{t}}}$" for t in ticks])
        panels[-1].set_xlabel("magnitude")
        _title(figure, "Numbers against the bits of their types")
        handles = [
            Patch(facecolor=LIGHT_BLUE, label="bits of the type, LSB to top"),
            Line2D([], [], color=BLUE, lw=5, label="middle half of the non-zero magnitudes"),
            Line2D([], [], color=BLUE, lw=1.3, label="5 to 95 %"),
            Line2D([], [], color=INK, lw=0, marker="|", ms=8, mew=1.6, label="largest"),
        ]
        figure.legend(handles=handles, loc="outside lower center", ncols=4)
        return _save(figure, path)


def _range_row(axes: Any, row: int, kind: RangeStats) -> None:
    width = max(kind.top_exponent - kind.lsb_exponent, 0.25)
    axes.add_patch(Rectangle((kind.lsb_exponent, row - 0.3), width, 0.6, facecolor=LIGHT_BLUE, lw=0))
    for bit in range(kind.lsb_exponent + 1, kind.top_exponent):
        axes.plot([bit, bit], [row - 0.3, row + 0.3], color="white", lw=0.8)
    if len(kind.log2_quantiles) == 5:
        least, first, middle, third, most = kind.log2_quantiles
        axes.plot([least, most], [row, row], color=BLUE, lw=1.3, solid_capstyle="butt")
        axes.plot([first, max(third, first + 0.06)], [row, row], color=BLUE, lw=6, solid_capstyle="butt")
        axes.plot([middle], [row], color="white", marker="|", ms=6, mew=1.4)
    if kind.log2_max is not None:
        axes.plot([kind.log2_max], [row], color=INK, marker="|", ms=9, mew=1.6)


def roc(
    floating: Sequence[RocCurve], emulated: Sequence[RocCurve], path: Path, *, reference: str = "float"
) -> Path:
    """Draw background against signal efficiency per class, the reference model dashed, the emulator solid.

    Args:
        floating: curves of the reference; may be empty.
        emulated: curves of the emulator, same classes.
        path: PNG to write.
        reference: what the dashed curves are.
    """
    with style():
        figure = Figure(figsize=(7.2, 5.6), layout="constrained")
        axes = figure.subplots()
        by_name = {curve.name: curve for curve in floating}
        for k, curve in enumerate(emulated):
            color = CLASS_COLORS[k % len(CLASS_COLORS)]
            other = by_name.get(curve.name)
            note = f"{curve.name}  AUC {curve.auc:.4f}" + (
                f"  ({reference} {other.auc:.4f})" if other else ""
            )
            axes.plot(curve.signal_efficiency, curve.background_efficiency, color=color, lw=1.7, label=note)
            if other:
                axes.plot(
                    other.signal_efficiency, other.background_efficiency, color=color, lw=1.1, ls=(0, (4, 2))
                )
        axes.set_yscale("log")
        floor = min(
            (float(b[b > 0].min()) for b in (c.background_efficiency for c in emulated) if (b > 0).any()),
            default=1e-3,
        )
        axes.set_ylim(max(floor, 1e-4), 1)
        axes.set_xlim(0, 1)
        axes.set_xlabel("signal efficiency")
        axes.set_ylabel("background efficiency")
        axes.set_title("ROC, each class against all others")
        axes.grid(which="major")
        first = axes.legend(loc="upper left")
        if floating:
            lines = [
                Line2D([], [], color=MUTED, lw=1.7, label="emulator"),
                Line2D([], [], color=MUTED, lw=1.1, ls=(0, (4, 2)), label=reference),
            ]
            axes.add_artist(first)
            axes.legend(handles=lines, loc="lower right")
        return _save(figure, path)


def trade_off(points: Sequence[Mapping[str, float]], chosen: Mapping[str, float], path: Path) -> Path:
    """Draw what a block costs at every latency.

    Args:
        points: plans by latency: ``latency_ns``, ``lut``, ``dsp``, ``bram``.
        chosen: the plan of the project, the same keys.
        path: PNG to write.
    """
    with style():
        figure = Figure(figsize=(9.5, 3.6), layout="constrained")
        axes = figure.subplots()
        xs = [p["latency_ns"] / 1e3 for p in points]
        axes.plot(xs, [p["lut"] for p in points], "o-", color=BLUE, markersize=4, label="LUT")
        axes.plot([chosen["latency_ns"] / 1e3], [chosen["lut"]], "D", color=ORANGE, label="this project")
        if any(p["dsp"] for p in points):
            right = axes.twinx()
            right.plot(xs, [p["dsp"] for p in points], "s--", color=MUTED, markersize=3, label="DSP")
            right.set_ylabel("DSP blocks")
            right.set_ylim(bottom=0)
        axes.set_xlabel("latency / us")
        axes.set_ylabel("LUT (estimate)")
        axes.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
        axes.set_ylim(bottom=0)
        axes.set_title("Resources against latency, at the same interval")
        axes.grid(axis="both")
        axes.legend(loc="upper right")
        return _save(figure, path)


def _save(figure: Figure, path: Path) -> Path:
    """Write a PNG without date or version in it."""
    FigureCanvasAgg(figure)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=144, metadata={"Software": None}, facecolor="white")
    return path
