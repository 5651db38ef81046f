# SPDX-License-Identifier: Apache-2.0
"""The command line, with a stand-in for the flow: options, output, exit codes, errors without tracebacks."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from l1ml import cli
from l1ml.config import ProjectConfig, default_mapping, read_yaml, write_yaml
from l1ml.errors import ModelError, ToolError
from l1ml.types.timing import Latency

MANIFEST = {
    "top_module": "l1ml_emp",
    "core_module": "l1ml_core",
    "target": {"part": "xcvu13p", "clock_mhz": 360.71, "tmux": 1},
    "estimate": {"lut": 7000.4, "ff": 3000},
}


BUG = (
    "\n  This is a bug in l1ml, not a mistake of yours. Run the command again with --debug"
    "\n  and report what it prints."
)


FREE = "fix free some space, or choose a folder elsewhere"


class Verdict:
    def __init__(self, passed: bool) -> None:
        self.passed = passed

    def __str__(self) -> str:
        return "PASS" if self.passed else "FAIL"


class Flow:
    """Stands for ``l1ml.project``: remembers the calls, answers as told."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, Any]] = []
        self.answer: Any = None
        self.Project = SimpleNamespace(load=self._load)
        self.root = Path("prj")
        self.manifest = MANIFEST
        self.latency = Latency(4, 8, 1, 360.71, 3, 1)
        self.interval_cycles = 9
        self.no_hardware = None
        self.precision = None

    def _note(self, name: str, *args: Any, **options: Any) -> Any:
        self.calls.append((name, (*args, options)))
        if isinstance(self.answer, BaseException):
            raise self.answer
        return self.answer

    def _load(self, root: str) -> Flow:
        self._note("load", root)
        return self

    def config_from_model(self, model: str, weights: str | None, **options: Any) -> dict[str, Any]:
        self._note("config_from_model", model, weights, **options)
        return {**default_mapping(), "model": model, **options}

    def convert(self, model: str, *, config: dict[str, Any], preprocess: Any = None) -> Flow:
        self._note("convert", model, config=config)
        return self

    def __getattr__(self, name: str) -> Any:
        return lambda *args, **options: self._note(name, *args, **options)


@pytest.fixture
def flow(monkeypatch: pytest.MonkeyPatch) -> Flow:
    import l1ml

    stand_in = Flow()
    monkeypatch.setitem(sys.modules, "l1ml.project", stand_in)
    monkeypatch.setattr(l1ml, "project", stand_in, raising=False)
    return stand_in


def test_config_writes_every_option(flow: Flow, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "cfg.yml"
    line = (
        "config --model m.h5 --weights w.h5 --dir prj --interface axis --clock-mhz 240.47 --tmux 6 --events e"
    )
    assert cli.main([*line.split(), "--input-type", "fixed<14,4>", "--output", str(file)]) == 0
    options = {"output_dir": "prj", "interface": "axis", "clock_mhz": 240.47, "tmux": 6, "events": "e"}
    assert flow.calls == [("config_from_model", ("m.h5", "w.h5", {**options, "input_type": "fixed<14,4>"}))]
    assert read_yaml(file).items() >= options.items()
    assert capsys.readouterr().out == (
        f"{file} holds every option; edit it, then run: l1ml convert --config {file}\n"
    )


def test_input_types_by_name(flow: Flow, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = ["config", "--model", "m", "--dir", "d", "--output", str(tmp_path / "c.yml")]
    assert cli.main([*line, "--input-type", "a=fixed<14,4>", "--input-type", "b=fixed<8,1>"]) == 0
    assert flow.calls[0][1][-1]["input_type"] == {"a": "fixed<14,4>", "b": "fixed<8,1>"}
    assert cli.main([*line, "--input-type", "fixed<14,4>", "--input-type", "b=fixed<8,1>"]) == 2
    assert (
        "--input-type is given 2 times, as fixed<14,4>, b=fixed<8,1>\n  fix give one"
        in capsys.readouterr().err
    )


def test_convert(flow: Flow, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_yaml(tmp_path / "c.yml", {"model": "m.h5", "output_dir": "prj", "tmux": 6})
    assert cli.main(["convert", "--config", str(tmp_path / "c.yml")]) == 0
    config = ProjectConfig(model="m.h5", output_dir="prj", tmux=6).to_mapping()
    assert flow.calls == [("convert", ("m.h5", {"config": config}))]
    assert capsys.readouterr().out == (
        "prj: l1ml_emp around l1ml_core, xcvu13p at 360.71 MHz\n"
        "  latency  13 clocks = 36.0 ns = 2 BX (collect 4 + compute 8 + emit 1)\n"
        "  interval 9 clocks (an event every 1 BX)\n"
        "  estimate 7,000 LUT, 3,000 FF (measure: l1ml build --synth)\n"
    )


def test_convert_tells_of_another_clock(
    flow: Flow, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_yaml(tmp_path / "c.yml", {"model": "m.h5", "output_dir": "prj", "clock_mhz": 360.0})
    assert cli.main(["convert", "--config", str(tmp_path / "c.yml")]) == 0
    assert "the link is locked to the LHC: 360 MHz is taken as 360.71" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "chosen"),
    [(["--all"], {"lint", "emulate", "cosim", "synth"}), (["--lint", "--synth"], {"lint", "synth"})],
)
def test_build(flow: Flow, options: list[str], chosen: set[str], capsys: pytest.CaptureFixture[str]) -> None:
    flow.answer = {"lint": {"warnings": 0, "log": ["long"]}, "cosim": "built in 12 s"}
    assert cli.main(["build", "--project", "prj", *options]) == 0
    name, (steps,) = flow.calls[-1]
    assert name == "build"
    assert {step for step, on in steps.items() if on} == chosen
    assert capsys.readouterr().out == "lint: warnings 0\ncosim: built in 12 s\n"


def test_build_of_nothing(flow: Flow, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(["build", "--project", "prj"])
    assert caught.value.code == 2
    assert (
        "say what to build: --all, or any of --lint, --emulate, --cosim, --synth" in capsys.readouterr().err
    )
    assert flow.calls == []


def test_emulate(flow: Flow) -> None:
    flow.answer = {"events": 10}
    assert cli.main(["emulate", "--project", "prj", "--events", "e.h5", "--output", "o.h5"]) == 0
    assert flow.calls[-1] == ("emulate", ("e.h5", "o.h5", {}))


@pytest.mark.parametrize(("passed", "code"), [(True, 0), (False, 1)])
def test_a_verdict_is_the_exit_code(
    flow: Flow, passed: bool, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    flow.answer = Verdict(passed)
    line = "replay --project prj --events e.h5 --max-events 7 --bench cocotb --self-test"
    assert cli.main(line.split()) == code
    assert flow.calls[-1] == ("replay", ("e.h5", {"max_events": 7, "bench": "cocotb", "self_test": True}))
    assert cli.main(["gate", "--project", "prj", "--budget", "b.yml", "--junit", "j.xml"]) == code
    assert flow.calls[-1] == ("gate", ("b.yml", {"junit": "j.xml"}))
    assert capsys.readouterr().out == ("PASS\nPASS\n" if passed else "FAIL\nFAIL\n")


def test_report_lists_its_files(flow: Flow, capsys: pytest.CaptureFixture[str]) -> None:
    flow.answer = [Path("prj/report.md"), Path("prj/roc.png")]
    assert cli.main(["report", "--project", "prj"]) == 0
    assert capsys.readouterr().out == "prj/report.md\nprj/roc.png\n"


@pytest.mark.parametrize(
    "line", ["-q replay --project p --events e", "replay --project p --events e --quiet"]
)
def test_quiet(
    flow: Flow, line: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TQDM_DISABLE", "0")
    flow.answer = Verdict(False)
    assert cli.main(line.split()) == 1
    assert capsys.readouterr() == ("", "")
    assert os.environ["TQDM_DISABLE"] == "1"


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (
            ModelError("2 layers are not supported", where=("m.h5",)),
            2,
            "2 layers are not supported\n  in  m.h5",
        ),
        (
            ToolError("no simulator", fix="pip install 'l1ml[sim]'"),
            2,
            "no simulator\n  fix pip install 'l1ml[sim]'",
        ),
        (KeyboardInterrupt(), 130, "interrupted"),
        (
            OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "prj/x"),
            2,
            f"the disk is full: {os.strerror(errno.ENOSPC)}\n  in  prj/x\n  {FREE}",
        ),
        (
            PermissionError(errno.EACCES, "Permission denied", b"prj/x"),
            2,
            "a file could not be used: Permission denied",
        ),
        (MemoryError(), 2, "out of memory\n  fix take fewer events (--max-events), or a larger machine"),
        (KeyError("lut"), 2, "KeyError: 'lut'" + BUG),
        (RuntimeError(), 2, "RuntimeError: no message" + BUG),
    ],
    ids=lambda value: type(value).__name__,
)
def test_errors_are_told_not_thrown(
    flow: Flow, error: BaseException, code: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    flow.answer = error
    assert cli.main(["report", "--project", "prj"]) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == f"l1ml report: {message}\n"
    assert cli.main(["report", "--project", "prj", "--debug"]) == code
    assert "Traceback (most recent call last)" in capsys.readouterr().err


@pytest.mark.parametrize(
    "line",
    [
        "",
        "paint",
        "replay --project p",
        "replay --project p --events e --max-events 0",
        "replay --project p --events e --max-events x",
        "replay --project p --events e --max 3",
        "replay --project p --events e --bench fast",
        "config --model m --dir d --output o --clock-mhz fast",
    ],
)
def test_wrong_usage(flow: Flow, line: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(line.split())
    assert caught.value.code == 2
    assert "usage: l1ml" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["config", "convert", "build", "emulate", "replay", "gate", "report"])
def test_help_teaches(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main([command, "--help"])
    assert caught.value.code == 0
    text = capsys.readouterr().out
    assert f"example:\n  l1ml {command} " in text
    assert "exit codes: 0 passed, 1 failed" in text


def test_defaults_in_help_are_those_of_the_configuration(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["config", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    for key in ("interface", "clock_mhz", "part", "name", "hardware"):
        assert f"(default {getattr(ProjectConfig(), key)})" in text


def test_real_errors_as_a_user_meets_them(tmp_path: Path) -> None:
    """In a process of its own: nothing on stdout, one paragraph on stderr, exit code 2."""
    (tmp_path / "c.yml").write_text("model: m.h5\noutput_dir: prj\nclock_mz: 3\n")
    done = subprocess.run(
        [sys.executable, "-m", "l1ml", "convert", "--config", "c.yml"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": str(Path(cli.__file__).parents[1])},
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("l1ml convert: unknown key 'clock_mz': did you mean clock_mhz?")
    assert "Traceback" not in done.stderr


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out.startswith("l1ml ")
