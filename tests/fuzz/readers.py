# SPDX-License-Identifier: Apache-2.0
"""What is done with a damaged file: every reader of the tool, and a little work with what it gives."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np

from l1ml import frontends
from l1ml.config import ProjectConfig
from l1ml.events import arrays as array_files
from l1ml.events.hdf5 import open_events
from l1ml.graph.emulate import Emulator
from l1ml.graph.program import loads
from l1ml.links import spec
from l1ml.links.layout import LinkLayout
from l1ml.project import Project
from l1ml.report.facts import read_facts
from l1ml.report.plan import plain
from l1ml.validate.budget import read_budget
from l1ml.validate.verdict import read_verdict

EVENTS = 3


def model(path: Path, partner: Path | None) -> None:
    """Read a model, with its weights where they are apart."""
    frontends.read_model(path, weights=partner)


def weights(path: Path, partner: Path | None) -> None:
    """Read a good architecture with damaged weights."""
    assert partner is not None
    frontends.read_model(partner, weights=path)


def config(path: Path, _: Path | None) -> None:
    """Read the options of a project."""
    ProjectConfig.read(path)


def budget(path: Path, _: Path | None) -> None:
    """Read a budget."""
    read_budget(path)


def interface(path: Path, _: Path | None) -> None:
    """Read the description of a link; its folder has the name of the link."""
    text = path.read_text(encoding="utf-8", errors="replace")
    name = next((link for link in ("parallel", "axis") if f"name: {link}" in text), "emp")
    folder = path.parent / name
    folder.mkdir(exist_ok=True)
    shutil.copy(path, folder / "interface.yaml")
    spec.read(folder / "interface.yaml")


def network(path: Path, _: Path | None) -> None:
    """Read a typed network, and run it on a few events."""
    program = loads(path.read_text(encoding="utf-8", errors="replace"), path.name)
    rng = np.random.default_rng(1)
    codes = [rng.integers(p.type.lo, p.type.hi + 1, (EVENTS, *p.shape)) for p in program.inputs]
    values = [
        np.ldexp(c.astype(np.float64), -p.type.frac) for c, p in zip(codes, program.inputs, strict=True)
    ]
    Emulator(program).values(values)


def manifest(path: Path, _: Path | None) -> None:
    """Open a project with a damaged manifest, and read its link, its plan and what the report shows."""
    folder = path.parent / "project"
    folder.mkdir(exist_ok=True)
    shutil.copy(path, folder / "manifest.json")
    project = Project(folder)
    repr(project)
    if project.no_hardware is None:
        LinkLayout.from_dict(project.manifest["link"])
        str(project.latency)
        read_facts(folder)
    if "plan" in project.manifest:
        plain(project.manifest)


def events(path: Path, _: Path | None) -> None:
    """Read every event of a file."""
    with open_events(path) as file:
        for _sample in file.chunks(32, stop=1 << 14):
            pass


def arrays(path: Path, _: Path | None) -> None:
    """Read calibration events in NumPy's own files."""
    array_files.read(path, 32)


def verdict(path: Path, _: Path | None) -> None:
    """Read a verdict, and print it."""
    str(read_verdict(path))


READERS: dict[str, Callable[[Path, Path | None], None]] = {
    f.__name__: f
    for f in (model, weights, config, budget, interface, network, manifest, events, arrays, verdict)
}
