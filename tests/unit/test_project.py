# SPDX-License-Identifier: Apache-2.0
"""The public names: convert, config, predict, trace, and a folder that is whole or not there."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fixtures_models as files
import numpy as np
import pytest

import l1ml
from l1ml import actions
from l1ml.rtl import project as folder


def _config() -> dict[str, Any]:
    return files.sequential(
        files.qdense("fc1", 5),
        files.layer("QActivation", "relu1", activation=files.relu(4)),
        files.qdense("fc2", 3),
        files.layer("Activation", "softmax", activation="softmax"),
    )


def _weights(seed: int = 1) -> files.Weights:
    return files.weights_of(np.random.default_rng(seed), fc1=(4, 5), fc2=(5, 3))


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return files.write_h5(tmp_path / "model.h5", _config(), _weights())


@pytest.fixture
def prj(model: Path, tmp_path: Path) -> l1ml.Project:
    return l1ml.convert(model, output_dir=tmp_path / "prj", input_type="fixed<8,3>")


def _x(events: int = 200) -> np.ndarray:
    return np.random.default_rng(7).integers(-128, 128, (events, 4)) / 32


def test_predict_and_trace_equal_a_forward_pass_in_float64(prj: l1ml.Project, model: Path) -> None:
    from l1ml.frontends import read_model

    network = read_model(model)
    seen = files.forward(network, **{network.inputs[0].name: _x()})
    np.testing.assert_array_equal(prj.predict(_x()), seen["fc2"])
    for name, values in prj.trace(_x()).items():
        np.testing.assert_array_equal(values, seen[name], err_msg=name)
    probabilities = prj.predict(_x(), softmax=True)
    assert isinstance(probabilities, np.ndarray)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)


def test_facts_of_a_project(prj: l1ml.Project) -> None:
    latency, manifest = prj.latency, prj.manifest
    assert (
        latency.cycles
        == manifest["latency"]["cycles"]
        == sum(manifest["latency"][f"{part}_cycles"] for part in ("collect", "compute", "emit"))
    )
    assert latency.ns == pytest.approx(latency.cycles * 1e3 / 360.71)
    assert prj.interval_cycles == 9
    assert (manifest["core_module"], manifest["top_module"]) == ("l1ml_core", "l1ml_emp")
    rtl = {p.name for p in (prj.root / "firmware" / "rtl").iterdir()}
    assert {Path(f["path"]).name for f in manifest["files"]} == rtl
    assert "Project(" in repr(prj)


def test_three_containers_of_one_network_give_identical_rtl(tmp_path: Path) -> None:
    config, weights = _config(), _weights()
    renamed = json.loads(json.dumps(config).replace('"sequential"', '"another"'))
    made = [
        l1ml.convert(
            files.write_h5(tmp_path / "a.h5", config, weights),
            output_dir=tmp_path / "a",
            input_type="fixed<8,3>",
        ),
        l1ml.convert(
            files.write_json(tmp_path / "b.json", renamed),
            weights=files.write_weights(tmp_path / "b.h5", weights),
            output_dir=tmp_path / "b",
            input_type="fixed<8,3>",
        ),
        l1ml.convert(
            files.write_keras(tmp_path / "c.keras", config, weights),
            output_dir=tmp_path / "c",
            input_type="fixed<8,3>",
        ),
    ]
    texts = [{f.name: f.read_bytes() for f in sorted((p.root / "firmware").rglob("*.sv"))} for p in made]
    assert texts[0] == texts[1] == texts[2]
    assert len({p.manifest["digest"]["rtl"] for p in made}) == 1
    other = l1ml.convert(
        files.write_h5(tmp_path / "d.h5", config, _weights(2)),
        output_dir=tmp_path / "d",
        input_type="fixed<8,3>",
    )
    assert other.manifest["digest"]["network"] != made[0].manifest["digest"]["network"]


def test_config_is_a_plain_mapping_that_can_be_edited(model: Path, tmp_path: Path) -> None:
    config = l1ml.config_from_model(model, clock_mhz=240.47)
    assert type(config) is dict
    assert config["clock_mhz"] == 240.47
    config["name"], config["interface"] = "jets", "parallel"
    made = l1ml.convert(model, config=config, output_dir=tmp_path / "p", input_type="fixed<8,3>")
    assert made.manifest["top_module"] == "jets_parallel"
    assert made.config.clock_mhz == 240.47
    assert made.interval_cycles == 1
    with pytest.raises(l1ml.ConfigError, match="did you mean clock_mhz"):
        l1ml.config_from_model(model, clock_mz=1)


def test_an_input_without_type_is_asked_for(model: Path, tmp_path: Path) -> None:
    with pytest.raises(l1ml.ModelError, match="is not known"):
        l1ml.convert(model, output_dir=tmp_path / "p")
    assert not (tmp_path / "p").exists()


def test_stages_and_clock_are_inputs(model: Path, tmp_path: Path) -> None:
    def made(**options: Any) -> l1ml.Project:
        return l1ml.convert(model, output_dir=tmp_path / "p", input_type="fixed<8,3>", **options)

    few = made(clock_mhz=80.16).latency.compute_cycles
    many = made(clock_mhz=480.0).latency.compute_cycles
    assert few < many
    assert made(stages=many + 2).latency.compute_cycles == many + 2
    with pytest.raises(l1ml.TimingError, match="are needed"):
        made(stages=1, clock_mhz=480.0)
    with pytest.raises(l1ml.TimingError, match="latency"):
        made(latency_budget_ns=5.0)


@pytest.mark.parametrize(("interface", "found"), [("emp", 360.71), ("parallel", 360.0)])
def test_a_rounded_link_clock_means_the_multiple_of_the_lhcs(
    model: Path, tmp_path: Path, interface: str, found: float
) -> None:
    made = l1ml.convert(
        model, output_dir=tmp_path / "p", input_type="fixed<8,3>", interface=interface, clock_mhz=360
    )
    assert made.manifest["target"]["clock_mhz"] == found


def test_a_folder_with_other_files_is_left_alone(model: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("x")
    with pytest.raises(l1ml.ConfigError, match=r"thesis\.tex"):
        l1ml.convert(model, output_dir=tmp_path / "mine", input_type="fixed<8,3>")
    assert [p.name for p in (tmp_path / "mine").iterdir()] == ["thesis.tex"]


def test_a_project_is_replaced_whole_and_deterministic(prj: l1ml.Project, model: Path) -> None:
    def content() -> dict[str, bytes]:
        return {
            str(f.relative_to(prj.root)): f.read_bytes() for f in sorted(prj.root.rglob("*")) if f.is_file()
        }

    before = content()
    (prj.root / "firmware" / "rtl" / "old.sv").write_text("module old; endmodule")
    l1ml.convert(model, output_dir=prj.root, input_type="fixed<8,3>")
    assert content() == before
    assert str(prj.root) not in (prj.root / "manifest.json").read_text()


def test_an_interrupted_conversion_leaves_nothing_that_looks_whole(
    prj: l1ml.Project, model: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    replace: Callable[..., Path] = Path.replace

    def full(self: Path, target: Any) -> Path:
        if Path(target).name == folder.MANIFEST:
            raise OSError(28, os.strerror(28), str(target))
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", full)
    for root in (prj.root, tmp_path / "fresh"):
        with pytest.raises(OSError, match="No space"):
            l1ml.convert(model, output_dir=root, input_type="fixed<8,3>")
        with pytest.raises(l1ml.DataError, match="no complete project"):
            l1ml.Project.load(root)
    assert not (tmp_path / "fresh").exists()


@pytest.mark.parametrize("damage", ["{", "[]", '{"schema": "other"}', ""])
def test_a_damaged_manifest_is_refused(prj: l1ml.Project, damage: str) -> None:
    (prj.root / "manifest.json").write_text(damage)
    with pytest.raises(l1ml.DataError):
        l1ml.Project.load(prj.root)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"latency": {"cycles": 1}}, "latency.ns is missing"),
        ({"latency": {"gathered_cycles": [1]}}, r"latency.gathered_cycles is \[1\]"),
        ({"interval": {"grid_cycles": "1"}}, "interval.grid_cycles is '1'"),
        ({"layers": [3]}, r"layers\[0\] must be a mapping, found 3"),
        ({"best_clock_mhz": float("nan")}, "best_clock_mhz is nan"),
        ({"core_module": True}, "core_module is True"),
        ({"files": [{"path": "../secret.sv", "sha256": ""}]}, "'../secret.sv' leads out of the project"),
        ({"files": [{"path": "/etc/passwd", "sha256": ""}]}, "'/etc/passwd' leads out of the project"),
        ({"hardware": {"kind": "none"}}, "hardware.reason is missing"),
        ({"hardware": {"kind": "streamed"}}, "plan is missing"),
        ({"plan": [{"engine": "Map"}]}, r"plan\[0\].layers is missing"),
        ({"plan": []}, "choices is missing"),
        ({"hardware": {"kind": "asic"}}, "hardware is 'asic'"),
    ],
)
def test_a_manifest_that_lacks_something_is_refused(
    prj: l1ml.Project, change: dict[str, Any], reason: str
) -> None:
    (prj.root / "manifest.json").write_text(json.dumps(prj.manifest | change))
    with pytest.raises(l1ml.DataError, match=reason):
        l1ml.Project.load(prj.root)


def test_a_network_of_another_conversion_is_refused(prj: l1ml.Project) -> None:
    text = (prj.root / "network.json").read_text()
    (prj.root / "network.json").write_text(text.replace('"matrix":[[', '"matrix":[[1', 1))
    with pytest.raises(l1ml.DataError, match="not the network"):
        l1ml.Project.load(prj.root).predict(_x())


def test_several_inputs_and_outputs_go_by_name(tmp_path: Path) -> None:
    config = files.functional(
        [
            (files.keras_input("a", 4), []),
            (files.keras_input("b", 3), []),
            (files.qdense("fa", 2), ["a"]),
            (files.qdense("fb", 2), ["b"]),
        ],
        inputs=["a", "b"],
        outputs=["fa", "fb"],
    )
    weights = files.weights_of(np.random.default_rng(3), fa=(4, 2), fb=(3, 2))
    path = files.write_h5(tmp_path / "two.h5", config, weights)
    made = l1ml.convert(path, output_dir=tmp_path / "p", input_type={"a": "fixed<6,2>", "b": "ufixed<4,2>"})
    a, b = _x()[:, :4] * 0 + 0.25, np.full((200, 3), 0.5)
    answer = made.predict({"a": a, "b": b})
    assert isinstance(answer, dict)
    assert sorted(answer) == ["fa", "fb"]
    assert answer["fa"].shape == (200, 2)
    with pytest.raises(l1ml.DataError, match="given are"):
        made.predict({"a": a, "c": b})
    with pytest.raises(l1ml.DataError, match="2 inputs"):
        made.predict(a)


def test_options_may_be_a_file(tmp_path: Path) -> None:
    model = files.write_h5(tmp_path / "m.h5", _config(), _weights())
    (tmp_path / "cfg.yml").write_text("input_type: fixed<8,3>\nclock_mhz: 240.47\n")
    made = l1ml.convert(model, config=tmp_path / "cfg.yml", output_dir=tmp_path / "p", clock_mhz=320.63)
    assert (made.config.input_type, made.config.clock_mhz) == ("fixed<8,3>", 320.63)
    with pytest.raises(l1ml.ConfigError, match="cannot read the file"):
        l1ml.convert(model, config=str(tmp_path / "none.yml"), output_dir=tmp_path / "q")
    with pytest.raises(l1ml.ConfigError, match="config must be a mapping or the path"):
        l1ml.convert(model, config=[("clock_mhz", 200)], output_dir=tmp_path / "q")
    assert not (tmp_path / "q").exists()


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"interface": "empp"}, "empp"),
        ({"part": "foo"}, "foo"),
        ({"events": "missing.h5"}, "there is no such file"),
        ({"calibration": "missing.h5"}, "there is no such file"),
    ],
)
def test_what_cannot_be_converted_is_no_configuration(
    model: Path, options: dict[str, Any], text: str
) -> None:
    with pytest.raises(l1ml.L1mlError, match=text):
        l1ml.config_from_model(model, **options)


def test_outputs_in_a_folder_that_is_missing_are_refused_by_name(prj: l1ml.Project, tmp_path: Path) -> None:
    missing = tmp_path / "nowhere" / "out.xml"
    with pytest.raises(l1ml.DataError, match=r"(?s)folder of the output.*nowhere/out\.xml"):
        prj.gate(tmp_path / "budget.yml", junit=missing)
    with pytest.raises(l1ml.DataError, match=r"(?s)folder of the output.*nowhere/out\.xml"):
        actions.show_plan(prj, front=False, json=missing)
    assert not missing.parent.exists()
