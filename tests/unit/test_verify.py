# SPDX-License-Identifier: Apache-2.0
"""`l1ml verify` without any framework: interpreters that answer as a framework would."""

from __future__ import annotations

import json
import stat
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from l1ml import cli, convert, verification
from l1ml.errors import ConfigError, DataError, L1mlError, ToolError
from l1ml.graph.emulate import Emulator
from l1ml.verify import child, run, stimuli


def interpreter(folder: Path, body: str) -> Path:
    """Make a program that is called as Python is, with a job as its last argument."""
    file = folder / "python"
    file.write_text(
        f"#!{sys.executable} -SE\nimport json, shutil, sys\njob = json.load(open(sys.argv[-1]))\n{body}\n"
    )
    file.chmod(file.stat().st_mode | stat.S_IXUSR)
    return file


def answering(folder: Path, layers: dict[str, np.ndarray], output: np.ndarray) -> Path:
    """Make an interpreter whose framework gives what is given here, whatever the inputs."""
    np.savez(folder / "answers.npz", *layers.values(), output)
    answer = {"names": [*layers, "output 0"], "versions": {"pretended": "1.0"}, "outputs": 1}
    return interpreter(
        folder,
        f"shutil.copy({str(folder / 'answers.npz')!r}, job['results'])\n"
        f"json.dump({answer!r}, open(job['answer'], 'w'))",
    )


# ---- the framework's process


@pytest.fixture
def model(tmp_path: Path) -> Path:
    file = tmp_path / "model.onnx"
    file.write_bytes(b"a model")
    return file


def test_an_answer_comes_back(tmp_path: Path, model: Path) -> None:
    python = answering(tmp_path, {"a": np.arange(6.0).reshape(2, 3)}, np.ones((2, 1)))
    answer = child.run("onnx", model, None, [np.zeros((2, 4))], python=python)
    assert np.array_equal(answer.layers["a"], np.arange(6.0).reshape(2, 3))
    assert answer.outputs[0].shape == (2, 1)
    assert answer.versions == {"pretended": "1.0"}


BODIES = {
    "json.dump({'missing': 'qkeras: No module named qkeras'}, open(job['answer'], 'w'))": "is not installed there",
    "json.dump({'error': 'ValueError: bad layer'}, open(job['answer'], 'w'))": "cannot run the model: ValueError: bad",
    "print('it broke', file=sys.stderr); sys.exit(3)": "ended without an answer: exit code 3\nit broke",
    "open(job['answer'], 'w').write('no json')": "ended without an answer",
}


@pytest.mark.parametrize(("body", "text"), BODIES.items(), ids=["missing", "error", "crash", "nonsense"])
def test_a_process_that_fails_is_explained(tmp_path: Path, model: Path, body: str, text: str) -> None:
    with pytest.raises(ToolError) as error:
        child.run("qkeras", model, None, [np.zeros((1, 2))], python=interpreter(tmp_path, body))
    assert text in str(error.value)
    assert str(tmp_path / "python") in str(error.value)


def test_a_missing_framework_says_which_extra_installs_it(tmp_path: Path, model: Path) -> None:
    python = interpreter(tmp_path, "json.dump({'missing': 'x'}, open(job['answer'], 'w'))")
    extras = Path(__file__).parents[2].joinpath("pyproject.toml").read_text(encoding="utf-8")
    model.with_suffix(".keras").write_bytes(child.ZIP)
    for framework, file, extra in [
        ("qkeras", model, "qkeras"), ("qkeras", model.with_suffix(".keras"), "qkeras-v3"), ("keras", model, "keras"),
        ("hgq2", model, "hgq2"), ("onnx", model, "onnx-runtime"),
    ]:  # fmt: skip
        with pytest.raises(ToolError) as error:
            child.run(framework, file, None, [np.zeros((1, 2))], python=python)
        assert error.value.fix is not None
        assert f".[{extra}]" in error.value.fix
        assert f"\n{extra} = [" in extras


@pytest.mark.parametrize("framework", ["qkeras", "hgq2", "onnx"])
def test_the_real_runners_say_what_is_missing(tmp_path: Path, model: Path, framework: str) -> None:
    """This very interpreter has no framework: its modules are hidden from the runner."""
    hidden = "importlib.import_module = lambda name: (_ for _ in ()).throw(ImportError('hidden'))"
    python = interpreter(
        tmp_path,
        "import importlib, runpy\n"
        f"sys.path[:0] = {[x for x in sys.path if 'site-packages' in x]!r}\n"
        f"import numpy\n{hidden}\nscript = sys.argv[-2]\nsys.argv = sys.argv[-2:]\n"
        "runpy.run_path(script, run_name='__main__')",
    )
    with pytest.raises(ToolError, match=r"is not installed there: .*hidden"):
        child.run(framework, model, None, [np.zeros((1, 2))], python=python)


def test_a_wrong_interpreter_is_refused(tmp_path: Path, model: Path) -> None:
    with pytest.raises(ToolError, match=r"cannot start .*nowhere") as error:
        child.run("onnx", model, None, [np.zeros((1, 2))], python=tmp_path / "nowhere")
    assert error.value.fix == "name the interpreter: --python PATH"
    with pytest.raises(ToolError, match="ended without an answer: exit code 0"):
        child.run("onnx", model, None, [np.zeros((1, 2))], python="/bin/true")


def test_a_framework_that_hangs_is_ended(tmp_path: Path, model: Path) -> None:
    python = interpreter(tmp_path, "import time; time.sleep(60)")
    with pytest.raises(ToolError, match=r"more than 0\.5 s"):
        child.run("onnx", model, None, [np.zeros((1, 2))], python=python, timeout_s=0.5)


def test_the_framework_of_a_file_is_found(tmp_path: Path) -> None:
    contents = {
        "a.bin": (b"\x08\x07", "onnx"), "c.json": (b"{}", "keras"),
        "b.h5": (b'\x89HDF\r\n\x1a\n..."class_name": "QDense"...', "qkeras"),
        "d.json": (b'{"module": "qkeras.qlayers"}', "qkeras"),
    }  # fmt: skip
    for name, (data, framework) in contents.items():
        (tmp_path / name).write_bytes(data)
        assert child.framework_of(tmp_path / name) == framework
    with zipfile.ZipFile(tmp_path / "e.keras", "w") as archive:
        archive.writestr("config.json", '{"registered_name": "hgq>QDense"}')
    assert child.framework_of(tmp_path / "e.keras") == "hgq2"
    assert child.framework_of(tmp_path / "e.keras", "qkeras") == "qkeras"
    with pytest.raises(ConfigError, match="unknown framework 'hqg2'"):
        child.framework_of(tmp_path / "e.keras", "hqg2")
    (tmp_path / "f.h5").write_bytes(b'\x89HDF\r\n\x1a\n "HGQ>FixedPointQuantizer"')
    with pytest.raises(ConfigError, match="proxy model of HGQ 1"):
        child.framework_of(tmp_path / "f.h5")


# ---- the whole way


@pytest.fixture(scope="module")
def jets(root: Path) -> Path:
    return root / "datasets" / "jets" / "jet_q6_pruned75.h5"


@pytest.fixture(scope="module")
def network_of_jets(jets: Path) -> verification.Network:
    return verification.network(None, str(jets), None, "fixed<14,4>")


@pytest.fixture(scope="module")
def traced(network_of_jets: verification.Network) -> dict[str, np.ndarray]:
    """Return the layers of the 60 events that `--stimuli 60` makes."""
    program = network_of_jets.program
    codes, _ = stimuli.generate(program, 60)
    return Emulator(program).trace([np.ldexp(codes[0].astype(float), -program.inputs[0].type.frac)])


def arguments(jets: Path, python: Path) -> list[str]:
    return ["verify", "--model", str(jets), "--input-type", "fixed<14,4>", "--python", str(python)]


def test_verify_passes_from_the_command_line(
    jets: Path, traced: dict[str, np.ndarray], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    python = answering(tmp_path, traced, np.full((60, 5), 0.2))
    report = tmp_path / "verify.json"
    assert cli.main([*arguments(jets, python), "--stimuli", "60", "--json", str(report)]) == 0
    text = capsys.readouterr().out
    assert text.startswith("PASS: 60 events, ")
    assert "pretended 1.0" in text
    assert "boundaries shown: tie to even below" in text
    result = json.loads(report.read_text(encoding="utf-8"))
    assert result["schema"] == run.SCHEMA
    assert result["passed"] is True
    assert result["framework"] == "qkeras"
    assert result["boundaries"]["tie to even below"]["shown"] > 0
    assert {layer["name"] for layer in result["layers"]} == set(traced)


def test_verify_fails_with_layer_and_event(
    jets: Path, traced: dict[str, np.ndarray], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    altered = {name: values.copy() for name, values in traced.items()}
    altered["relu2"][41, 7] += 0.125
    python = answering(tmp_path, altered, np.full((60, 5), 0.2))
    assert cli.main([*arguments(jets, python), "--stimuli", "60"]) == 1
    text = capsys.readouterr().out
    assert text.startswith("FAIL")
    assert "first difference: layer 'relu2', event 41, element [7]" in text


def test_a_softmax_behind_the_network_does_not_count_as_its_output(
    jets: Path, traced: dict[str, np.ndarray], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    layers = {name: values for name, values in traced.items() if name != "output"}
    python = answering(tmp_path, layers, np.full((60, 5), 0.2))
    assert cli.main([*arguments(jets, python), "--stimuli", "60"]) == 1
    assert "outputs that were not compared in any event: output" in capsys.readouterr().out


def test_verify_says_when_nothing_can_be_run(
    jets: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main([*arguments(jets, tmp_path / "nowhere"), "--stimuli", "5"]) == 2
    assert "cannot start" in capsys.readouterr().err


def test_the_network_of_a_project_is_verified_not_the_file_of_today(
    jets: Path, traced: dict[str, np.ndarray], tmp_path: Path
) -> None:
    model = tmp_path / "model.h5"
    model.write_bytes(jets.read_bytes())
    project = convert(model, output_dir=tmp_path / "prj", input_type="fixed<14,4>", hardware="none")
    python = answering(tmp_path, traced, np.full((60, 5), 0.2))
    found = project.verify(stimuli=60, python=python)
    assert found.passed
    assert found.digest == project.program.digest
    other = jets.with_name("jet_q6.h5")
    found = verification.run(verification.network(project, str(other)), stimuli=60, python=python)
    assert found.passed, "the pretended framework gives the same, and the project's network is what counts"
    model.unlink()
    with pytest.raises(DataError, match="the model is not there"):
        project.verify(stimuli=60, python=python)


def test_options_that_contradict_are_refused(jets: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no model is given"):
        verification.network(None)
    project = convert(jets, output_dir=tmp_path / "prj", input_type="fixed<14,4>", hardware="none")
    with pytest.raises(ConfigError, match="a project has its input types"):
        verification.network(project, None, None, "fixed<14,4>")


def test_types_of_the_user_have_no_integers_to_compare_with(root: Path, tmp_path: Path) -> None:
    model = root / "tests" / "vectors" / "onnx" / "exported" / "torch_mlp_one.onnx"
    with pytest.raises(L1mlError, match="constants without a quantizer"):
        verification.network(None, str(model), None, "fixed<12,4>")
    options = {"input_type": "fixed<12,4>", "precision": "fixed<16,6>", "hardware": "none"}
    project = convert(model, output_dir=tmp_path / "prj", **options)
    with pytest.raises(ConfigError, match="are yours"):
        verification.network(project)
