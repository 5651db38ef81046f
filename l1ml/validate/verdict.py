# SPDX-License-Identifier: Apache-2.0
"""The verdict: pass or fail, with the evidence.

It is one frozen value.  ``verdict.json`` holds all of it (``validation/schemas/verdict.schema.json``);
text, Markdown and JUnit XML are views of the same checks (`l1ml.validate.render`).
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from l1ml.errors import DataError

SCHEMA = "l1ml-verdict/1"
MAX_BYTES = 8 << 20


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at.

    Args:
        name: stable name, for example ``rtl_equals_emulator``.
        passed: the answer.
        detail: one sentence with the numbers found and the numbers allowed.
        group: ``replay``, ``contract``, ``budget`` or ``self-test``.
    """

    name: str
    passed: bool
    detail: str
    group: str = "replay"


@dataclass(frozen=True)
class Verdict:
    """Pass or fail, with the evidence.

    Args:
        kind: what was judged: ``replay``, ``contract``, ``gate`` or ``self-test``.
        checks: everything that was looked at; none at all is a fail.
        subject: name, digests and target of the project.
        latency: ``cycles``, ``ns``, ``bx`` and the parts ``collect_cycles``, ``compute_cycles``,
            ``emit_cycles``; ``measured_cycles`` as (fewest, most) where it was measured.
        interval: ``cycles`` between two events on the link.
        resources: ``lut``, ``ff``, ``dsp``, ``bram`` and the ``method`` they were estimated with.
        comparisons: `Comparison.to_dict` of each pair of sources.
        throughput: events per second by source, and the threads they used.
    """

    kind: str
    checks: tuple[Check, ...]
    subject: Mapping[str, Any] = field(default_factory=dict)
    latency: Mapping[str, Any] = field(default_factory=dict)
    interval: Mapping[str, Any] = field(default_factory=dict)
    resources: Mapping[str, Any] = field(default_factory=dict)
    comparisons: tuple[Mapping[str, Any], ...] = ()
    throughput: Mapping[str, Any] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        """Every check passed, and there was at least one."""
        return bool(self.checks) and all(check.passed for check in self.checks)

    @property
    def failed_checks(self) -> tuple[Check, ...]:
        """The checks that did not pass."""
        return tuple(check for check in self.checks if not check.passed)

    @property
    def events(self) -> int:
        """Most events that any comparison saw."""
        return max((int(c["events"]) for c in self.comparisons), default=0)

    @property
    def mismatches(self) -> int:
        """Values that differ, over all comparisons."""
        return sum(int(c["mismatches"]) for c in self.comparisons)

    @property
    def first_divergence(self) -> Mapping[str, Any] | None:
        """The first divergence: event, BX, link, word, field, layer, expected and found code."""
        return next((c["first"] for c in self.comparisons if c["first"]), None)

    def __str__(self) -> str:
        from l1ml.validate.render import text  # the views know the verdict, not the other way round

        return text(self)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data, the content of ``verdict.json``."""
        return {
            "schema": SCHEMA,
            "kind": self.kind,
            "passed": self.passed,
            "subject": dict(self.subject),
            "events": self.events,
            "mismatches": self.mismatches,
            "first_divergence": dict(self.first_divergence) if self.first_divergence else None,
            "latency": dict(self.latency),
            "interval": dict(self.interval),
            "resources": dict(self.resources),
            "comparisons": [dict(c) for c in self.comparisons],
            "throughput": dict(self.throughput),
            "checks": [
                {"name": c.name, "group": c.group, "passed": c.passed, "detail": c.detail}
                for c in self.checks
            ],
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], where: str = "verdict.json") -> Verdict:
        """Read what `to_dict` wrote.

        Raises:
            DataError: it is no verdict of this version, or contradicts itself.
        """
        try:
            if data["schema"] != SCHEMA:
                raise DataError(f"schema is {data['schema']!r}; expected {SCHEMA!r}", where=(where,))
            checks = tuple(
                Check(str(c["name"]), c["passed"] is True, str(c["detail"]), str(c["group"]))
                for c in data["checks"]
            )
            verdict = cls(
                kind=str(data["kind"]),
                checks=checks,
                subject=dict(data["subject"]),
                latency=dict(data["latency"]),
                interval=dict(data["interval"]),
                resources=dict(data["resources"]),
                comparisons=tuple(dict(c) for c in data["comparisons"]),
                throughput=dict(data["throughput"]),
            )
            stated = (data["passed"], data["events"], data["mismatches"])
            if stated != (verdict.passed, verdict.events, verdict.mismatches):
                raise DataError(
                    "the verdict contradicts its own checks", where=(where,), fix="run l1ml replay again"
                )
            str(verdict)  # what a person will see must be there as well
        except (KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError) as error:
            raise DataError(
                f"this is no verdict: {error!r}", where=(where,), fix="run l1ml replay again"
            ) from None
        return verdict

    def write_json(self, path: Path) -> None:
        """Write ``verdict.json``; the file appears whole or not at all."""
        write_text(path, json.dumps(self.to_dict(), indent=2, allow_nan=False) + "\n")


def read_verdict(path: Path) -> Verdict:
    """Read ``verdict.json``.

    Raises:
        DataError: not readable, too large, not JSON, or no verdict.
    """
    where = str(path)
    try:
        with path.open("rb") as stream:
            raw = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise DataError(
            f"cannot read the verdict: {error.strerror}", where=(where,), fix="run l1ml replay"
        ) from None
    if len(raw) > MAX_BYTES:
        raise DataError(f"larger than {MAX_BYTES >> 20} MiB: this is no verdict", where=(where,))
    try:
        data = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise DataError(f"not JSON: {error}", where=(where,), fix="run l1ml replay again") from None
    if not isinstance(data, dict):
        raise DataError("this is no verdict: not a mapping", where=(where,))
    return Verdict.from_dict(data, where)


def write_text(path: Path, content: str) -> None:
    """Write a text file; it appears whole or not at all.

    Raises:
        DataError: the file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
        part = Path(name)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as stream:
                stream.write(content)
            part.chmod(0o644)
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise DataError(f"cannot write the file: {error.strerror}", where=(str(path),)) from None
