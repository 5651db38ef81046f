# SPDX-License-Identifier: Apache-2.0
"""Bad input through the whole tool: one paragraph, exit code 2, and no half project that looks whole."""

from __future__ import annotations

import errno
import json
import os
import re
from pathlib import Path

import pytest

from l1ml import cli
from l1ml.config import read_yaml, write_yaml


@pytest.fixture(scope="module")
def model(root: Path) -> Path:
    return root / "datasets" / "jets" / "jet_q6_pruned75.h5"


@pytest.fixture
def config(model: Path, tmp_path: Path) -> Path:
    """A good configuration, with everything in a folder of its own."""
    file = tmp_path / "jets.yml"
    types = ["--input-type", "fixed<14,4>"]
    assert (
        cli.main(
            ["config", "--model", str(model), *types, "--dir", str(tmp_path / "prj"), "--output", str(file)]
        )
        == 0
    )
    return file


def refused(line: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """Run a command that must be refused; return its one message."""
    capsys.readouterr()
    code = cli.main(line)
    captured = capsys.readouterr()
    assert code == 2
    assert captured.out == ""
    assert captured.err.startswith(f"l1ml {line[0]}: ")
    assert "Traceback" not in captured.err
    assert "bug in l1ml" not in captured.err
    assert captured.err.count("\n\n") == 0
    return captured.err


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"the file is empty"),
        (b"hello\n", r"neither a Keras model .* nor an ONNX model"),
        (b"\x89HDF\r\n\x1a\n and nothing more", r"cannot read the HDF5 file"),
        (b"PK\x03\x04 and nothing more", r"archive"),
        (b'{"class_name": "Sequential"', r"JSON"),
        (None, r"there is no file"),
    ],
    ids=["empty", "text", "broken-hdf5", "broken-zip", "broken-json", "missing"],
)
def test_model_files(
    content: bytes | None, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "model.bin"
    if content is not None:
        file.write_bytes(content)
    out = tmp_path / "cfg.yml"
    line = ["config", "--model", str(file), "--dir", str(tmp_path / "prj"), "--output", str(out)]
    text = refused(line, capsys)
    assert re.search(message, text)
    assert not out.exists()


def test_a_truncated_model(
    model: Path, config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "broken.h5"
    broken.write_bytes(model.read_bytes()[:20_000])
    write_yaml(config, {**read_yaml(config), "model": str(broken)})
    assert "truncated file" in refused(["convert", "--config", str(config)], capsys)
    assert not (tmp_path / "prj").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"interface": "aurora"}, r"aurora.*\n.*(emp|axis)"),
        ({"part": "xc9z"}, r"no delay model for part 'xc9z'"),
        ({"input_type": "fixed<4,40,RND"}, r"input_type: not a fixed-point type"),
        ({"input_type": {"jets": "fixed<14,4>"}}, r"jets"),
        ({"layers": {"fc9": {"weight": "fixed<6,1>"}}}, r"fc9"),
        ({"links": {"links_inn": 3}}, r"links_inn.*links_in"),
        ({"links": {"links_in": 0}}, r"links_in"),
        ({"clock_mhz": 1400}, r"1400"),
        ({"tmux": "six"}, r"tmux must be a whole number"),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else None,
)
def test_options(
    options: dict[str, object], message: str, config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_yaml(config, {**read_yaml(config), **options})
    text = refused(["convert", "--config", str(config)], capsys)
    assert re.search(message, text, re.S), text
    assert not (tmp_path / "prj").exists()


def test_a_folder_with_other_things(config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "prj").mkdir()
    (tmp_path / "prj" / "thesis.tex").write_text("years of work")
    assert "thesis.tex" in refused(["convert", "--config", str(config)], capsys)
    assert [file.name for file in (tmp_path / "prj").iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize("again", [False, True], ids=["new", "over-an-earlier-one"])
def test_a_disk_that_fills_up(
    again: bool,
    config: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    project = tmp_path / "prj"
    if again:
        assert cli.main(["-q", "convert", "--config", str(config)]) == 0
        before = (project / "manifest.json").read_bytes()
    write = Path.write_text

    def full(self: Path, *args: object, **options: object) -> int:
        if self.suffix == ".sv":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self))
        return write(self, *args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Path, "write_text", full)
    text = refused(["convert", "--config", str(config)], capsys)
    assert "the disk is full: No space left on device" in text
    if again:
        assert (project / "manifest.json").read_bytes() == before
    else:
        assert not project.exists()


@pytest.mark.parametrize(
    "command", ["build --all", "emulate --events e --output o", "replay --events e", "report"]
)
def test_a_folder_that_is_no_project(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name, *rest = command.split()
    assert "this is no complete project" in refused([name, "--project", str(tmp_path), *rest], capsys)


def test_a_project_that_was_tampered_with(
    config: Path, root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["-q", "convert", "--config", str(config)]) == 0
    project = tmp_path / "prj"
    events = str(root / "datasets" / "jets" / "jets_10k.h5")
    emulate = ["emulate", "--project", str(project), "--events", events, "--output", str(tmp_path / "out.h5")]
    network = project / "network.json"
    whole = network.read_text()
    network.write_text(whole[: len(whole) // 2])
    assert "network.json" in refused(emulate, capsys)
    network.unlink()
    assert "cannot read the network" in refused(emulate, capsys)
    network.write_text(whole)
    manifest = json.loads((project / "manifest.json").read_text())
    manifest["digest"]["network"] = "0" * 64
    (project / "manifest.json").write_text(json.dumps(manifest))
    assert "is not the network that this project's RTL was made from" in refused(emulate, capsys)
    (project / "manifest.json").write_text('{"schema": "l1ml-manifest/1"')
    assert "manifest.json cannot be read" in refused(emulate, capsys)
    assert not (tmp_path / "out.h5").exists()


def test_budgets(config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["-q", "convert", "--config", str(config)]) == 0
    budget = tmp_path / "b.yml"
    gate = ["gate", "--project", str(tmp_path / "prj"), "--budget", str(budget)]
    budget.write_text("latencies: {cycles: 3}\n")
    assert "unknown key 'latencies': did you mean latency?" in refused(gate, capsys)
    budget.write_text("")
    assert "a budget without a limit" in refused(gate, capsys)
    budget.write_text("latency: {cycles: 3}\n")
    assert cli.main(gate) == 1
    assert "FAIL latency_cycles" in capsys.readouterr().out


def test_a_configuration_never_replaces_its_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = tmp_path / "tagger.h5"
    model.write_bytes((Path(__file__).parents[2] / "datasets" / "jets" / "jet_q6_pruned75.h5").read_bytes())
    before = model.read_bytes()
    text = refused(
        [
            "config",
            "--model",
            str(model),
            "--dir",
            "prj",
            "--output",
            str(model),
            "--input-type",
            "fixed<14,4>",
        ],
        capsys,
    )
    assert "would replace the model" in text
    assert model.read_bytes() == before
