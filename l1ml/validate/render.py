# SPDX-License-Identifier: Apache-2.0
"""Views of a verdict: text for the terminal, Markdown for a page, JUnit XML for a CI server."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape, quoteattr

from l1ml.validate.verdict import Verdict, write_text

_TITLES = {"replay": "Replay", "contract": "Contract bench", "gate": "Budget gate", "self-test": "Self-test"}


def text(verdict: Verdict) -> str:
    """Return the verdict for the terminal: what was compared, what it costs, what failed."""
    lines = [f"{'PASS' if verdict.passed else 'FAIL'}  {_title(verdict)}"]
    lines += [f"  {name:<12}{value}" for name, value in facts(verdict)]
    if not verdict.checks:
        lines.append("  nothing was checked")
    for check in verdict.checks:
        lines.append(f"  {'ok  ' if check.passed else 'FAIL'} {check.name}: {check.detail}")
    return "\n".join(lines)


def _title(verdict: Verdict) -> str:
    kind = _TITLES.get(verdict.kind, verdict.kind)
    name = verdict.subject.get("top_module")
    return f"{kind} of {name}" if name else kind


def facts(verdict: Verdict) -> Iterator[tuple[str, str]]:
    """Yield (name, value) of the facts a reader looks for first."""
    if verdict.comparisons:
        yield "events", f"{verdict.events:,} compared, {verdict.mismatches:,} mismatching values"
    if verdict.first_divergence:
        yield "first", str(verdict.first_divergence["text"])
    if verdict.latency:
        yield "latency", _latency(verdict.latency)
        if "last_cycles" in verdict.latency:
            yield "last word", _last_word(verdict.latency)
            yield "tail", _tail(verdict.latency)
    if verdict.interval:
        yield "interval", _interval(verdict)
    if verdict.resources:
        yield "resources", _resources(verdict.resources)
    if verdict.throughput:
        yield "throughput", _throughput(verdict.throughput)
    digest = verdict.subject.get("digest")
    if isinstance(digest, Mapping):
        yield (
            "digest",
            f"network {str(digest.get('network', ''))[:16]}, RTL {str(digest.get('rtl', ''))[:16]}",
        )


def _latency(latency: Mapping[str, Any]) -> str:
    parts = "collect {collect_cycles} + compute {compute_cycles} + emit {emit_cycles}".format_map(latency)
    line = f"{latency['cycles']} clocks = {latency['ns']:.1f} ns = {latency['bx']} BX ({parts})"
    return line + _measured(latency.get("measured_cycles"))


def _measured(span: Sequence[int] | None) -> str:
    if not span:
        return ""
    low, high = span
    return f", measured {low} on every event" if low == high else f", MEASURED {low} to {high}"


def _last_word(latency: Mapping[str, Any]) -> str:
    line = f"{latency['last_cycles']} clocks = {latency['last_ns']:.1f} ns to the last output word"
    return line + _measured(latency.get("measured_last_cycles"))


def _tail(latency: Mapping[str, Any]) -> str:
    first, last = latency["tail_cycles"], latency["tail_last_cycles"]
    return (
        f"{first} clocks = {latency['tail_ns']:.1f} ns from the last input word needed to the first output word"
        + (f", {last} to the last" if last != first else "")
    )


def _interval(verdict: Verdict) -> str:
    target = verdict.subject.get("target", {})
    clock = f" at {target['clock_mhz']:g} MHz" if "clock_mhz" in target else ""
    tmux = f", TMUX {target['tmux']}" if "tmux" in target else ""
    return f"{verdict.interval['cycles']} clocks between events{clock}{tmux}"


def _resources(resources: Mapping[str, Any]) -> str:
    numbers = [
        f"{int(resources[key]):,} {key.upper()}" for key in ("lut", "ff", "dsp", "bram") if key in resources
    ]
    method = resources.get("method")
    return "about " + ", ".join(numbers) + (f" (by {method})" if method else "")


def _throughput(throughput: Mapping[str, Any]) -> str:
    parts = []
    for key, label in (("emulator", "emulator"), ("cosim", "co-simulation")):
        rate = throughput.get(f"{key}_events_per_s")
        if rate:
            threads = throughput.get(f"{key}_threads")
            parts.append(
                f"{label} {_si(float(rate))} events/s" + (f" ({threads} threads)" if threads else "")
            )
    return ", ".join(parts)


def _si(rate: float) -> str:
    for limit, unit in ((1e6, "M"), (1e3, "k")):
        if rate >= limit:
            return f"{rate / limit:.3g} {unit}"
    return f"{rate:.3g}"


def markdown(verdict: Verdict) -> str:
    """Return the verdict as a Markdown page."""
    lines = [f"# {'PASS' if verdict.passed else 'FAIL'}: {_title(verdict)}", ""]
    rows = list(facts(verdict))
    if rows:
        lines += [
            "| fact | value |",
            "|---|---|",
            *(f"| {name} | {_cell(value)} |" for name, value in rows),
            "",
        ]
    lines += ["| check | result | found |", "|---|---|---|"]
    lines += [
        f"| {c.group}.{c.name} | {'pass' if c.passed else '**FAIL**'} | {_cell(c.detail)} |"
        for c in verdict.checks
    ]
    if not verdict.checks:
        lines.append("| none | **FAIL** | nothing was checked |")
    return "\n".join([*lines, ""])


def _cell(value: str) -> str:
    return value.replace("|", "\\|").replace("\n", "<br>")


def junit(verdict: Verdict) -> str:
    """Return the verdict as JUnit XML: one test case per check."""
    cases = list(verdict.checks)
    failures = sum(not check.passed for check in cases) + (not cases)
    suite = quoteattr(f"l1ml.{verdict.kind}")
    lines = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        f'<testsuites><testsuite name={suite} tests="{max(1, len(cases))}" failures="{failures}" errors="0">',
    ]
    for check in cases:
        head = (
            f"  <testcase classname={quoteattr(f'l1ml.{check.group}')} name={quoteattr(_clean(check.name))}"
        )
        detail = _clean(check.detail)
        if check.passed:
            lines.append(f"{head}><system-out>{escape(detail)}</system-out></testcase>")
        else:
            first = quoteattr(detail.splitlines()[0] if detail else "failed")
            lines.append(f"{head}><failure message={first}>{escape(detail)}</failure></testcase>")
    if not cases:
        failure = '<failure message="nothing was checked"/>'
        lines.append(f'  <testcase classname={suite} name="any_check">{failure}</testcase>')
    return "\n".join([*lines, "</testsuite></testsuites>", ""])


def _clean(value: str) -> str:
    """Drop the characters XML 1.0 cannot hold."""
    return re.sub(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "?", value)


def write_reports(verdict: Verdict, folder: Path, junit_path: Path | None = None) -> list[Path]:
    """Write ``verdict.json``, ``verdict.md`` and ``junit.xml`` into a project's ``reports`` folder.

    Args:
        verdict: what to write.
        folder: the folder; made where it is missing.
        junit_path: another place for the JUnit XML.

    Returns:
        The files written.

    Raises:
        DataError: a file cannot be written.
    """
    files = [folder / "verdict.json", folder / "verdict.md", junit_path or folder / "junit.xml"]
    verdict.write_json(files[0])
    write_text(files[1], markdown(verdict))
    write_text(files[2], junit(verdict))
    return files
