# SPDX-License-Identifier: Apache-2.0
"""The gate: a project and its last verdict against the budget of a trigger system.

A budget is a YAML file of upper limits, each optional, at least one::

    latency:   {cycles: 30, ns: 80, bx: 4}
    interval:  {cycles: 9}
    resources: {lut: 20000, ff: 10000, dsp: 0, bram: 0}
    mismatches: 0
    golden: required        # the replay must have had the framework's answers to compare with
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from l1ml.config import read_yaml
from l1ml.errors import ConfigError, nearest
from l1ml.validate.subject import facts_of
from l1ml.validate.verdict import Check, Verdict

REQUIRED = "required"
_UNITS = {
    "cycles": "clocks", "ns": "ns", "bx": "BX", "last_cycles": "clocks", "last_ns": "ns", "tail_cycles": "clocks",
    "tail_ns": "ns", "lut": "LUT", "ff": "FF", "dsp": "DSP", "bram": "BRAM",
}  # fmt: skip
_KEYS: dict[str, tuple[str, ...]] = {
    "latency": ("cycles", "ns", "bx", "last_cycles", "last_ns", "tail_cycles", "tail_ns"),
    "interval": ("cycles",),
    "resources": ("lut", "ff", "dsp", "bram"),
}


@dataclass(frozen=True)
class Budget:
    """Upper limits, inclusive.

    Args:
        limits: by (group, key), for example ``("latency", "ns")``.
        mismatches: most mismatching values of the last replay; None does not ask for a replay.
        golden: whether that must have compared the emulator with the framework's answers.
        source: where it was read from, for messages.
    """

    limits: Mapping[tuple[str, str], float]
    mismatches: int | None = None
    golden: bool = False
    source: str = "budget"

    @classmethod
    def from_mapping(cls, data: Mapping[str, Any], source: str = "budget") -> Budget:
        """Check a plain mapping; all that is wrong is named at once.

        Raises:
            ConfigError: unknown keys, limits that are no numbers, or no limit at all.
        """
        problems: list[str] = []
        limits: dict[tuple[str, str], float] = {}
        mismatches, golden = None, False
        for group, content in data.items():
            if group == "mismatches":
                mismatches = _limit(content, "mismatches", problems)
            elif group == "golden":
                golden = content == REQUIRED
                if not golden:
                    problems.append(f"golden must be {REQUIRED}, or left out, found {str(content)[:60]!r}")
            elif group not in _KEYS:
                problems.append(_unknown(str(group), [*_KEYS, "mismatches", "golden"]))
            elif not isinstance(content, Mapping):
                allowed = " or ".join(_KEYS[group])
                problems.append(f"{group} must be a mapping with {allowed}, found {str(content)[:60]!r}")
            else:
                for key, value in content.items():
                    if key not in _KEYS[group]:
                        problems.append(_unknown(str(key), _KEYS[group], f"{group}."))
                        continue
                    limit = _limit(value, f"{group}.{key}", problems)
                    if limit is not None:
                        limits[group, key] = limit
        if not problems and not limits and mismatches is None and not golden:
            problems.append("a budget without a limit: nothing could fail")
        if problems:
            several = "\n".join(["the budget is wrong:", *(f"  - {problem}" for problem in problems)])
            raise ConfigError(problems[0] if len(problems) == 1 else several, where=(source,))
        return cls(limits, None if mismatches is None else int(mismatches), golden, source)


def _unknown(key: str, known: Sequence[str], prefix: str = "") -> str:
    return f"unknown key {prefix + key[:80]!r}: {nearest(key[:80], known)}"


def _limit(value: object, name: str, problems: list[str]) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
        problems.append(f"{name} must be a number of at least 0, found {value!r:.60}")
        return None
    return value


def read_budget(path: Path) -> Budget:
    """Read a budget file.

    Raises:
        ConfigError: not readable, not YAML, unknown keys, or no limit.
    """
    return Budget.from_mapping(read_yaml(path), str(path))


def gate(
    manifest: Mapping[str, Any],
    verdict: Verdict | None,
    budget: Budget,
    measured: Mapping[str, Any] | None = None,
) -> Verdict:
    """Judge a project against a budget.

    Args:
        manifest: of the project.
        verdict: of its last replay; None when there was none.  One of other RTL proves nothing and fails.
        budget: the limits.
        measured: resources that a synthesis found, with ``method``; they replace the estimate.
    """
    if measured is not None:
        manifest = {**manifest, "estimate": measured}
    subject = facts_of(manifest)
    values: dict[tuple[str, str], Any] = {
        **{("latency", key): manifest["latency"].get(key) for key in _KEYS["latency"]},
        ("interval", "cycles"): manifest["interval"]["cycles"],
        **{("resources", key): manifest["estimate"].get(key) for key in _KEYS["resources"]},
    }
    checks = []
    for (group, key), limit in budget.limits.items():
        found = values[group, key]
        unit = _UNITS[key]
        if found is None:
            checks.append(
                Check(f"{group}_{key}", False, f"{unit} is not known, allowed are {limit:g}", "budget")
            )
            continue
        words = f"{found:g} {unit}, allowed are {limit:g}" + _headroom(float(found), float(limit))
        checks.append(Check(f"{group}_{key}", bool(found <= limit), words, "budget"))
    if budget.mismatches is not None:
        checks += _replay_checks(manifest, verdict, budget.mismatches)
    if budget.golden:
        checks.append(_golden_check(manifest, verdict, budget.mismatches or 0))
    judged = Verdict(kind="gate", checks=tuple(checks), **subject)
    if verdict is None or verdict.subject.get("digest") != manifest["digest"]:
        return judged
    return replace(
        judged,
        latency={**judged.latency, **_measured(verdict)},
        comparisons=verdict.comparisons,
        throughput=verdict.throughput,
    )


def _headroom(found: float, limit: float) -> str:
    if found > limit:
        return f" ({found - limit:g} too many)"
    return f" ({100 * (1 - found / limit):.0f} % left)" if limit else ""


def _measured(verdict: Verdict) -> dict[str, Any]:
    return {k: v for k, v in verdict.latency.items() if k.startswith("measured_")}


def _golden_check(manifest: Mapping[str, Any], verdict: Verdict | None, allowed: int) -> Check:
    """Return whether the last replay of this RTL had the framework's answers, and the emulator gave them."""
    ours = verdict is not None and verdict.subject.get("digest") == manifest["digest"]
    comparisons = verdict.comparisons if verdict is not None and ours else ()
    golden = [c for c in comparisons if str(c.get("name")).startswith("emulator")]
    found = [int(c["events"]) for c in golden]
    wrong = sum(int(c["mismatches"]) for c in golden)
    if not any(found):
        words = "no replay of this RTL compared the emulator with the framework: replay events with golden/<output>"
        return Check("golden_compared", False, words, "budget")
    words = f"{min(found):,} events were compared with the framework, {wrong:,} values differ"
    return Check("golden_compared", wrong <= allowed, words, "budget")


def _replay_checks(manifest: Mapping[str, Any], verdict: Verdict | None, allowed: int) -> list[Check]:
    if verdict is None:
        return [Check("replayed", False, "no replay was run, so mismatches are not known", "budget")]
    same = manifest["digest"] == verdict.subject.get("digest")
    other = "the last replay ran on other RTL; replay again"
    ran = f"{verdict.events:,} events were replayed on this RTL"
    found = f"{verdict.mismatches:,} mismatching values in {verdict.events:,} events, allowed are {allowed:,}"
    compared = {"rtl_equals_emulator", "emulator_equals_golden", "core_back_to_back"}
    others = [c.name for c in verdict.failed_checks if c.name not in compared]
    rest = f"the replay failed {', '.join(others)}" if others else "every other check of the replay passed"
    return [
        Check("replayed", same and verdict.events > 0, ran if same else other, "budget"),
        Check("mismatches", verdict.mismatches <= allowed and verdict.events > 0, found, "budget"),
        Check("replay_checks", not others, rest, "budget"),
    ]
