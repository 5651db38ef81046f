# SPDX-License-Identifier: Apache-2.0
"""``l1ml plan``: the engines of a project, and what other latencies would cost on the same link."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from l1ml import actions, cli
from l1ml.errors import ConfigError
from l1ml.project import Project
from l1ml.report import plan as plan_report

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "rtl"))
from small_project import Small
from streamed_networks import NETWORKS


def project(folder: Path, **options: Any) -> Project:
    made = Small(
        folder, events=4, input_type="fixed<5,2>",
        **{"net": NETWORKS["cnn"][0], "interface": "axis", "clock_mhz": 240.47, **options},
    )  # fmt: skip
    return Project.load(made.root)


@pytest.fixture(scope="module")
def block(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A block of three lanes: an image of 9 columns has as many beats with four."""
    return project(tmp_path_factory.mktemp("block") / "project", plan={"lanes": 3})


def test_every_engine_has_a_row(block: Project, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["plan", "--project", str(block.root)]) == 0
    text = capsys.readouterr().out
    rows = [line.split() for line in text.splitlines() if line.split()[:1] and line.split()[0].isdigit()]
    assert [row[1] for row in rows] == [node["engine"] for node in block.manifest["plan"]]
    assert "not listed" not in text


def test_the_curve_is_of_the_same_raster_and_starts_at_the_fastest(block: Project, tmp_path: Path) -> None:
    text = actions.show_plan(block, front=True, json=tmp_path / "front.json")
    points = json.loads((tmp_path / "front.json").read_text())["front"]
    here = {key: block.manifest["estimate"][key] for key in ("lut", "ff", "dsp", "bram")}
    assert any({key: p[key] for key in here} == here for p in points), "the project is on its own curve"
    assert [p["cycles"] for p in points] == sorted(p["cycles"] for p in points)
    assert (block.root / "reports" / "plan.png").stat().st_size > 1000
    assert f"{points[0]['latency_ns'] / 1e3:.3f}" in text


def test_a_rounded_link_clock_means_the_same_in_project_and_curve(tmp_path: Path) -> None:
    block = project(
        tmp_path / "project", interface="emp", hardware="streamed", clock_mhz=240, plan={"lanes": 1}
    )
    actions.show_plan(block, front=True, json=tmp_path / "front.json")
    points = json.loads((tmp_path / "front.json").read_text())["front"]
    assert block.latency.ns in [pytest.approx(p["latency_ns"]) for p in points]


def test_a_part_that_is_not_listed_is_named(tmp_path: Path) -> None:
    block = project(tmp_path / "project", plan={"lanes": 1}, part="xczu7ev-ffvc1156-2-e")
    assert block.manifest["estimate"]["weighed_as"] == "xcvu9p"
    assert "xczu7ev-ffvc1156-2-e has is not listed" in actions.show_plan(block)


def test_cascades_of_dsp_blocks_are_named(tmp_path: Path) -> None:
    given = {"fc9": {"reuse_factor": 3, "multiplier": "dsp"}}
    block = project(tmp_path / "project", plan={"lanes": 1, "layers": given})
    (row,) = (row for row in plan_report.rows(block.manifest) if row[2] == "fc9" and row[1] == "fold")
    (node,) = (node for node in block.manifest["plan"] if node.get("multiplier") == "dsp")
    assert node["parameters"]["Chain"] > 1
    assert row[plan_report.HEAD.index("multiplier")] == f"dsp x{node['parameters']['Chain']}"


def test_a_block_that_is_built_at_once_has_no_plan(tmp_path: Path) -> None:
    block = project(tmp_path / "project", hardware="parallel", interface="parallel")
    with pytest.raises(ConfigError, match="nothing to plan"):
        actions.show_plan(block)


def test_what_is_gathered_is_named(tmp_path: Path) -> None:
    """A stride of two does not go with three pixels per beat."""
    block = project(tmp_path / "project", net=NETWORKS["strided"][0], plan={"lanes": 3})
    (note,) = plan_report.notes(block.manifest)
    assert "gathers the event in front of conv1 (" in note
    assert note in actions.show_plan(block)
