# SPDX-License-Identifier: Apache-2.0
"""``make demo``, command by command, in this environment: the main job on real data, end to end."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.sim, pytest.mark.timeout(900)]

EVENTS = 10_000


def demo_commands(root: Path, out: Path) -> list[list[str]]:
    """Return the l1ml commands of the demo, as the Makefile has them."""
    done = subprocess.run(
        ["make", "--dry-run", "--always-make", "demo", f"DEMO={out}"],
        cwd=root,
        capture_output=True,
        text=True,
        check=True,
    )
    text = done.stdout.replace("\\\n", " ")
    return [shlex.split(line) for line in text.splitlines() if line.startswith(".venv/bin/l1ml ")]


@pytest.fixture(scope="module")
def demo(root: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Run the demo; return its folder and what it printed."""
    out = tmp_path_factory.mktemp("demo")
    printed = ""
    for command in demo_commands(root, out):
        done = subprocess.run(
            [sys.executable, "-m", "l1ml", *command[1:]],
            cwd=root,
            capture_output=True,
            text=True,
            timeout=600,
        )
        printed += done.stdout
        assert done.returncode == 0, f"{shlex.join(command)}\n{printed}\n{done.stderr}"
    return out, printed


def test_the_demo_takes_the_public_way(root: Path, tmp_path: Path) -> None:
    steps = [command[1] for command in demo_commands(root, tmp_path)]
    assert steps == ["config", "convert", "replay", "gate", "report"]


def test_all_events_are_equal(demo: tuple[Path, str]) -> None:
    out, _ = demo
    verdict = json.loads((out / "project" / "reports" / "verdict.json").read_text(encoding="utf-8"))
    assert verdict["passed"] is True
    assert (verdict["events"], verdict["mismatches"]) == (EVENTS, 0)
    assert verdict["latency"]["measured_cycles"] == [verdict["latency"]["cycles"]] * 2
    passed = {check["name"] for check in verdict["checks"] if check["passed"]}
    assert {"emulator_equals_golden", "rtl_equals_emulator", "constant_latency"} <= passed


def test_it_says_so_to_a_person(demo: tuple[Path, str]) -> None:
    _, printed = demo
    assert "PASS" in printed
    assert "FAIL" not in printed
    assert re.search(r"10[,_ ]?000", printed)
    assert "clocks" in printed
    assert "BX" in printed


def test_the_readme_shows_what_it_prints(root: Path, demo: tuple[Path, str]) -> None:
    """All but the commands, the path of the folder, and the throughput, which depends on the machine."""
    out, printed = demo
    (shown,) = re.findall(
        r"```text\n(\$ l1ml convert.*?)```", (root / "README.md").read_text(encoding="utf-8"), re.S
    )
    lines = [line for line in shown.splitlines() if line and not line.startswith(("$", "  throughput"))]
    lost = [line for line in lines if line.replace("build/demo", str(out)) not in printed.splitlines()]
    assert len(lines) > 40 and not lost, "\n".join(lost)


def test_it_leaves_a_report(demo: tuple[Path, str]) -> None:
    out, _ = demo
    reports = out / "project" / "reports"
    assert (reports / "report.md").is_file()
    assert list(reports.glob("*.png"))


def test_the_example_of_the_readme_runs(root: Path, tmp_path: Path) -> None:
    text = (root / "README.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```python\n(.*?)```", text, re.S)
    code = example.replace('"build/jets"', repr(str(tmp_path / "jets")))
    assert str(tmp_path) in code
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    assert "PASS" in done.stdout


def test_the_rtl_is_the_same_every_time(root: Path, demo: tuple[Path, str], tmp_path: Path) -> None:
    out, _ = demo
    config, convert, *_ = demo_commands(root, tmp_path)
    for command in (config, convert):
        subprocess.run(
            [sys.executable, "-m", "l1ml", *command[1:]], cwd=root, check=True, capture_output=True
        )
    first, second = out / "project" / "firmware", tmp_path / "project" / "firmware"
    names = sorted(file.relative_to(first) for file in first.rglob("*") if file.is_file())
    assert names == sorted(file.relative_to(second) for file in second.rglob("*") if file.is_file())
    assert all((first / name).read_bytes() == (second / name).read_bytes() for name in names)
