# SPDX-License-Identifier: Apache-2.0
"""Reads what a build left in a project folder: manifest, verdict, synthesis."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from l1ml.errors import DataError, L1mlError
from l1ml.rtl.project import read_manifest
from l1ml.schedule.delay import Family, family_of
from l1ml.synth.result import SynthesisResult
from l1ml.validate.verdict import Verdict, read_verdict

VERDICT, SYNTHESIS = "verdict.json", "synth.json"
_NEEDED = ("name", "digest", "target", "latency", "interval", "layers", "stages", "estimate")


@dataclass(frozen=True)
class Facts:
    """The facts of a project.

    Args:
        manifest: ``manifest.json``.
        verdict: ``reports/verdict.json``; None if nothing was replayed yet.
        synthesis: ``reports/synth.json``; None if nothing was synthesized yet.
        stale: the files among them that belong to another conversion; they are not used.
    """

    manifest: Mapping[str, Any]
    verdict: Verdict | None = None
    synthesis: SynthesisResult | None = None
    stale: tuple[str, ...] = ()

    @property
    def clock_mhz(self) -> float:
        """Return the target clock."""
        return float(self.manifest["target"]["clock_mhz"])

    @property
    def family(self) -> Family | None:
        """Return the delay model of the target part, None if the part is not known to this version."""
        try:
            return family_of(str(self.manifest["target"]["part"]))
        except L1mlError:
            return None

    @property
    def overhead_ns(self) -> float:
        """Return what registers take of every stage, 0 if the part is not known."""
        family = self.family
        return 0.0 if family is None else family.register_overhead_ns

    @property
    def worst_stage_ns(self) -> float:
        """Return the longest stage, register overhead included."""
        return max((float(stage["delay_ns"]) for stage in self.manifest["stages"]), default=0.0)


def read_facts(project: Path) -> Facts:
    """Read the facts of a project folder.

    A verdict about other RTL than the manifest's is reported as stale, not shown.

    Raises:
        DataError: the manifest is missing or damaged, or another file is damaged.
    """
    manifest = read_manifest(project)
    lost = [key for key in _NEEDED if key not in manifest]
    if lost:
        raise DataError(
            f"manifest.json lacks {', '.join(lost)}", where=(str(project),), fix="convert the model again"
        )
    reports = project / "reports"
    stale: list[str] = []
    verdict = read_verdict(reports / VERDICT) if (reports / VERDICT).exists() else None
    if verdict is not None and verdict.subject.get("digest") != manifest["digest"]:
        verdict = None
        stale.append(VERDICT)
    return Facts(manifest, verdict, read_synthesis(reports / SYNTHESIS), tuple(stale))


def read_synthesis(path: Path) -> SynthesisResult | None:
    """Read a stored synthesis result, None if there is none.

    Raises:
        DataError: the file is damaged.
    """
    if not path.exists():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise DataError("expected a JSON object", where=(str(path),), fix="synthesize again")
        return SynthesisResult.from_dict(content)
    except (OSError, ValueError) as error:
        raise DataError(f"cannot read: {error}", where=(str(path),), fix="synthesize again") from error
