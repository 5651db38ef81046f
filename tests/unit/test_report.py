# SPDX-License-Identifier: Apache-2.0
"""The report of a hand-made project: complete, deterministic, honest about what is missing."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from l1ml.errors import DataError
from l1ml.report.ranges import from_manifest, range_stats, top_exponent
from l1ml.report.render import RocInput, write_report
from l1ml.synth.result import SynthesisResult
from l1ml.validate.verdict import Check, Verdict

WEIGHTS = {"lo": -31, "hi": 29, "frac": 5, "zeros": 768, "count": 1024}


def manifest() -> dict[str, Any]:
    """Return facts of a small block as `convert` writes them."""
    kinds = [("fc1", "Dense", 5200, 2200), ("relu1", "Activation", 900, 384), ("out", "Dense", 700, 80)]
    return {
        "schema": "l1ml-manifest/1",
        "l1ml_version": "0.1.0",
        "name": "jets",
        "core_module": "jets_core", "top_module": "jets_emp", "package": "jets_pkg",
        "inputs": [], "outputs": [], "ports": {"core": [], "top": []}, "approximations": [], "best_clock_mhz": 400.0,
        "link": {
            "interface": "emp", "clock_mhz": 360.71, "tmux": 1, "words_per_bx": 9, "word_bits": 64,
            "out_word_bits": 64, "frame_words": 9, "words_out": 1, "link_cycles": 9, "n_links_in": 1,
            "n_links_out": 1, "in_fields": [], "out_fields": [], "emit_cycles": 1, "reset_active_low": False,
            "beat_count": 0, "beat_words": 0, "beat_fields": 0, "grid_cycles": 1, "clear_cycles": 0,
            "committed_word": 0, "needed_word": 0,
            "ports": [], "errors": [],
        },
        "digest": {"network": "ab" * 32, "rtl": "cd" * 32},
        "target": {
            "part": "xcvu13p-flga2577-2-e", "family": "usp-2", "clock_mhz": 360.71, "tmux": 1,
            "interface": "emp",
        },
        "latency": {
            "cycles": 15, "ns": 41.6, "bx": 2, "collect_cycles": 3, "compute_cycles": 11, "emit_cycles": 1,
            "gathered_cycles": 3, "last_cycles": 16, "last_ns": 44.4, "tail_cycles": 12, "tail_ns": 33.3,
            "tail_last_cycles": 13,
        },
        "interval": {"cycles": 9, "core_cycles": 1, "link_cycles": 9, "grid_cycles": 1},
        "layers": [
            {
                "name": name, "hdl": name, "kind": kind, "probes": [], "ops": 12, "lut": lut, "ff": ff,
                "stage_first": 2 * k, "stage_last": 2 * k + 1,
                "weights": WEIGHTS if kind == "Dense" else {},
                "range": {"lo": 0, "hi": 63, "frac": 4, "type": "ufixed<6,2>"},
            }
            for k, (name, kind, lut, ff) in enumerate(kinds)
        ],
        "stages": [
            {"index": k, "delay_ns": 2.1 + 0.05 * k, "registers_bits": 300 + k, "ops": 4,
             "worst": f"fc1[{k}]"}
            for k in range(11)
        ],
        "estimate": {"lut": 6800, "ff": 2664, "dsp": 0, "bram": 0, "method": "model"},
        "files": [{"path": "firmware/rtl/jets_core.sv", "sha256": "ef" * 32}],
        "tools": {"alkaid": "0.8.2"},
    }  # fmt: skip


def verdict(passed: bool, digest: dict[str, str] | None = None) -> Verdict:
    first = None if passed else {"event": 3, "text": "event 3, layer fc1: expected 7, found 8"}
    comparison = {
        "name": "RTL against emulator", "events": 10_000, "values": 50_000, "mismatches": int(not passed),
        "bad_events": int(not passed), "passed": passed, "first": first,
    }  # fmt: skip
    return Verdict(
        kind="replay",
        checks=(Check("rtl_equals_emulator", passed, "50,000 values"),),
        subject={"digest": digest or manifest()["digest"]},
        comparisons=(comparison,),
        throughput={"emulator_events_per_s": 6.1e6, "cosim_events_per_s": 4.5e5},
    )


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "manifest.json").write_text(json.dumps(manifest()))
    return tmp_path


def sample() -> RocInput:
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 3, 500)
    logits = rng.normal(size=(500, 3)) + 1.5 * np.eye(3)[labels]
    return RocInput(labels, logits, logits + rng.normal(0, 0.3, logits.shape), classes=("g", "q", "<t>"))


def activations() -> dict[str, Any]:
    values = np.clip(np.round(np.random.default_rng(2).normal(0, 1, 1000) * 16) / 16, 0, 63 / 16)
    return {"relu1": range_stats(values, lo=0, hi=63 / 16, lsb=1 / 16, type="ufixed<6,2>")}


def test_full_report(project):
    (project / "reports").mkdir()
    verdict(True).write_json(project / "reports" / "verdict.json")
    synthesis = SynthesisResult(
        top="jets_core", lut=7000, sites=6100, ff=2700, dsp=0, bram=0, carry4=900, depth=19, seconds=20.0,
        digest="0" * 64, tool="pyosys 0.70",
    )  # fmt: skip
    (project / "reports" / "synth.json").write_text(json.dumps(synthesis.to_dict()))
    written = write_report(project, activations=activations(), roc=sample())
    names = ["report.md", "report.json", "pipeline.png", "resources.png", "ranges.png", "roc.png"]
    assert [path.name for path in written] == names
    assert all(path.stat().st_size > 500 for path in written)
    text = written[0].read_text()
    for part in (
        "**PASS**",
        "15 clocks = 41.6 ns = 2 BX",
        "50,000",
        "6,100 k",
        "7,000",
        "6,100",
        "AUC",
        "`" + "ab" * 32 + "`",
    ):
        assert part in text, part
    assert "\\<t\\>" in text  # a name is never markup
    facts = json.loads(written[1].read_text())
    assert facts["passed"] is True
    assert facts["timing"]["worst_stage_ns"] == pytest.approx(2.6)
    assert facts["timing"]["fastest_clock_mhz"] == pytest.approx(1e3 / 2.6, rel=1e-3)
    assert set(facts["auc"]["emulator"]) == {"g", "q", "<t>"}
    assert facts["auc"]["emulator"]["g"] > facts["auc"]["reference"]["g"] - 0.05
    assert "/" not in "".join(facts["plots"].values())


def test_without_replay_and_synthesis(project):
    written = write_report(project)
    text = written[0].read_text()
    assert "not replayed yet" in text
    assert "PASS" not in text
    assert "roc.png" not in {path.name for path in written}
    assert json.loads(written[1].read_text())["passed"] is None


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"labels": np.zeros(500, dtype=int)}, "500 signal and 0 background events"),
        ({"labels": np.arange(500) % 9}, "labels 3, 4, 5, 6, 7 for 3 classes"),
        ({"reference": np.ones((500, 2))}, r"the float model gives (500, 2), the emulator (500, 3)"),
    ],
)
def test_without_roc_where_sample_and_network_do_not_fit(
    project: Path, change: dict[str, Any], reason: str
) -> None:
    written = write_report(project, roc=replace(sample(), **change))
    assert reason in written[0].read_text().replace("\\", "")
    assert "AUC" not in written[0].read_text()
    assert reason in json.loads(written[1].read_text())["auc_missing"]
    assert "roc.png" not in {path.name for path in written}


def test_failed_verdict_is_shown_with_its_place(project):
    verdict(False).write_json(project / "reports" / "verdict.json")
    text = write_report(project)[0].read_text()
    assert "**FAIL**" in text
    assert "event 3, layer fc1" in text


def test_verdict_of_other_rtl_is_not_shown(project):
    other = {"network": "00" * 32, "rtl": "00" * 32}
    verdict(True, other).write_json(project / "reports" / "verdict.json")
    text = write_report(project)[0].read_text()
    assert "PASS" not in text
    assert "earlier conversion" in text


def test_same_facts_give_the_same_bytes(project):
    first = {
        path.name: path.read_bytes()
        for path in write_report(project, activations=activations(), roc=sample())
    }
    second = {
        path.name: path.read_bytes()
        for path in write_report(project, activations=activations(), roc=sample())
    }
    assert first == second


def test_missing_or_damaged_facts(tmp_path):
    with pytest.raises(DataError, match="no complete project"):
        write_report(tmp_path)
    (tmp_path / "manifest.json").write_text('{"name": "x"')
    with pytest.raises(DataError, match="cannot be read"):
        write_report(tmp_path)
    (tmp_path / "manifest.json").write_text('{"schema": "l1ml-manifest/1", "name": "x"}')
    with pytest.raises(DataError, match="digest is missing"):
        write_report(tmp_path)


def test_range_stats_count_zeros_limits_and_bits():
    stats = range_stats([0, 0.25, -0.5, 1.75, 1.75], lo=-2, hi=1.75, lsb=0.25, type="fixed<4,2>")
    assert (stats.lsb_exponent, stats.top_exponent) == (-2, 1)
    assert (stats.zero_share, stats.at_limit_share) == (0.2, 0.4)
    assert stats.unused_top_bits == 0
    assert range_stats([0.25, 0.5], lo=0, hi=3.75, lsb=0.25, type="t").unused_top_bits == 3
    assert range_stats([0.0], lo=0, hi=3.75, lsb=0.25, type="t").log2_max is None
    with pytest.raises(DataError, match="finite"):
        range_stats([np.inf], lo=0, hi=1, lsb=1, type="t")


def test_ranges_from_the_manifest():
    stats = from_manifest({"lo": -32, "hi": 31, "frac": 5, "zeros": 1, "count": 4})
    assert stats is not None
    assert (stats.lsb_exponent, stats.top_exponent, stats.log2_max, stats.zero_share) == (-5, 0, 0.0, 0.25)
    assert from_manifest({}) is None
    assert [top_exponent(0, v) for v in (0, 0.9, 1, 1.1)] == [0, 0, 0, 1]
