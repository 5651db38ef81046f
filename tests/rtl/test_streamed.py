# SPDX-License-Identifier: Apache-2.0
"""Streamed blocks behind their links: every plan gives the emulator's codes, always in the same clock."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest

from l1ml import flow, streamed
from l1ml.config import ProjectConfig, read_yaml
from l1ml.cosim.build import Wire
from l1ml.cosim.harness import build
from l1ml.cosim.lint import lint
from l1ml.graph.emulate import Emulator
from l1ml.graph.program import loads
from l1ml.links.layout import LinkLayout
from l1ml.links.spec import Role
from l1ml.links.words import decode
from l1ml.rtl.project import read_manifest
from l1ml.validate import streamed_selftest
from l1ml.validate.core import rtl_sources
from l1ml.validate.replay import LinkSimulation, flat, replay
from l1ml.validate.streamed_selftest import run_streamed_selftest
from l1ml.validate.verdict import Verdict

sys.path.insert(0, str(Path(__file__).parent))
from small_project import Small
from streamed_networks import NETWORKS

pytestmark = pytest.mark.sim

VECTORS = Path(__file__).parents[1] / "vectors"

FOLDED = {
    "part": "xcku115-flvb2104-2-e",
    "plan": {
        "lanes": 1,
        "layers": {"conv4": {"reuse_factor": 6}, "fc7": {"reuse_factor": 2, "multiplier": "dsp"}},
    },
}
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "a pixel per word": ("cnn", {"plan": {"lanes": 1}}),
    "folded and paced": ("cnn", {"plan": {"lanes": 1, "layers": {"conv4": {"reuse_factor": 6}}}}),
    "two pixels per word, padded": ("cnn same", {"plan": {"lanes": 2}}),
    "a row per word": ("strided", {"plan": {"lanes": 8}}),
    "a pixel in two words": ("cnn", {"plan": {"lanes": 1}, "links": {"word_bits": 8}}),
    "on EMP links": ("sequence", {"interface": "emp", "plan": {"lanes": 1}}),
    "skip connection": ("skip", {"plan": {"lanes": 1}}),
    "skip connection, slow clock": ("skip", {"plan": {"lanes": 2}, "clock_mhz": 160.32}),
    "particles": ("deep sets", {"plan": {"lanes": 2}}),
    "two outputs": ("two heads", {"plan": {"lanes": 1}}),
    "rnn, scanned": ("rnn", {"plan": {"lanes": 1}}),
    "lstm, scanned": ("lstm", {"plan": {"lanes": 1}}),
    "lstm, half as often": ("lstm", {"plan": {"lanes": 1, "interval": 14}}),
    "lstm, unrolled": ("lstm", {"plan": {"lanes": 1, "layers": {"lstm1": {"strategy": "latency"}}}}),
    "gru, backwards": ("gru backwards", {"plan": {"lanes": 1}}),
    "lstm, every step": ("lstm sequences", {"plan": {"lanes": 1}}),
    "a layer of zeros": ("dead layer", {"plan": {"lanes": 1, "layers": {"dead": {"reuse_factor": 3}}}}),
    "cropped and upsampled": ("cropped", {"plan": {"lanes": 1}}),
    "edges of a graph": ("edge conv", {"plan": {"lanes": 1, "interval": 18}}),
    "edges of a graph, three at a time": ("edge conv", {"plan": {"lanes": 1, "interval": 6}}),
    "interaction network": ("interaction", {"plan": {"lanes": 1, "interval": 12}}),
    "a frame longer than its beats": (  # what is behind them must not be paced, too
        "deep sets",
        {
            "interface": "emp",
            "hardware": "streamed",
            "tmux": 6,
            "plan": {"lanes": 1, "layers": {"fc1": {"reuse_factor": 3}}},
        },
    ),
    "a packet longer than its beats": (
        "deep sets",
        {
            "plan": {"lanes": 1, "interval": 30, "layers": {"fc1": {"reuse_factor": 3}}},
            "links": {"words_in": 20},
        },
    ),
    "adjacency matrix": ("adjacency", {"plan": {"lanes": 1}}),
    "sum beside every particle": ("linear interaction", {"plan": {"lanes": 2}}),
    "garnet": ("garnet", {"plan": {"lanes": 1}}),
    "particles on EMP": ("deep sets", {"interface": "emp", "hardware": "streamed", "tmux": 2}),
    "whole events, split": ("deep sets", {"interface": "parallel", "plan": {"interval": 3}}),
    "whole events, folded": ("dense", {"interface": "emp", "hardware": "streamed", "tmux": 3}),
    "block RAM and DSP blocks": (
        "cnn",
        {
            "plan": {
                "lanes": 1,
                "layers": {"fc7": {"weights": "block_rom", "multiplier": "dsp"}},
            }
        },
    ),
    "folded at a slow clock": ("cnn", {**FOLDED, "clock_mhz": 100.0}),
    "folded at a fast clock": ("cnn", {**FOLDED, "clock_mhz": 360.0}),
    "element by element": (
        "scaled",
        {
            "interface": "emp",
            "hardware": "streamed",
            "tmux": 4,
            "plan": {"layers": {"fc4": {"reuse_factor": 12}}},
        },
    ),
    "constants by pixel": ("by pixel", {"plan": {"lanes": 2}}),
    "whole images": ("cnn", {"interface": "parallel", "plan": {"interval": 40}}),
}


def block(case: str, folder: Path) -> Small:
    name, options = CASES[case]
    given = {"interface": "axis", "input_type": "fixed<5,2>", "clock_mhz": 240.47, **options}
    return Small(folder, events=40, net=NETWORKS[name][0], **given)


@pytest.fixture(scope="module")
def builds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("builds")


@pytest.mark.parametrize("case", CASES)
def test_rtl_gives_the_codes_of_the_emulator_in_its_clock(case: str, tmp_path: Path, builds: Path) -> None:
    made = block(case, tmp_path / "project")
    facts = made.manifest
    assert facts["hardware"]["kind"] == "streamed"
    assert bool(facts["hardware"]["passed"]) == (case in ("whole events, split", "whole images"))
    assert facts["interval"]["core_cycles"] <= facts["interval"]["link_cycles"]
    lint(list(rtl_sources(facts, made.root)), facts["top_module"], tmp_path / "lint.log")
    verdict = replay(facts, made.root, made.emulator, made.samples(), build_dir=builds)
    assert verdict.passed, str(verdict)
    assert verdict.latency["measured_cycles"] == [facts["latency"]["cycles"]] * 2
    assert verdict.latency["measured_last_cycles"] == [facts["latency"]["last_cycles"]] * 2
    assert {c["name"]: c["events"] for c in verdict.comparisons}["RTL against emulator"] == 40
    gaps = {"gaps_between_frames"} | ({"pauses_inside_frames"} if facts["link"]["frame_words"] > 1 else set())
    assert gaps <= {check.name for check in verdict.checks}


def test_a_faster_clock_gives_a_fold_more_registers(tmp_path: Path) -> None:
    found = {}
    for clock in ("slow", "fast"):
        made = block(f"folded at a {clock} clock", tmp_path / clock).manifest
        given = [node["parameters"] for node in made["plan"] if node["engine"] == "fold"]
        cascades = [int(p["Chain"] > 1) for p in given]
        found[clock] = [p["MultiplierStages"] + p["TreeStages"] for p in given]
        assert made["best_clock_mhz"] >= made["target"]["clock_mhz"]
        assert sum(stage["worst"].startswith("fold") for stage in made["stages"]) == len(given)
    assert len(found["slow"]) >= 2
    assert found["slow"] == cascades  # a cascade has a register of its own
    assert all(found["fast"])


@pytest.mark.parametrize(
    ("case", "last"), [("a frame longer than its beats", 5), ("a packet longer than its beats", 5)]
)
def test_words_behind_the_last_beat_are_no_beats(case: str, last: int, tmp_path: Path) -> None:
    """A Pace, or a memory in which beats wait, would take them for the event's."""
    made = block(case, tmp_path / "project")
    link = made.manifest["link"]
    assert link["frame_words"] > link["beat_count"] == last + 1
    wrapper = (made.root / "firmware" / "rtl" / f"{made.manifest['top_module']}.sv").read_text()
    assert re.search(rf"index(_q)? <= IndexBits'\({last}\)", wrapper)


@pytest.mark.parametrize("name", ["linear_interaction", "attention_of_particles", "linformer_of_particles"])
def test_hardware_gives_what_hgq2_gave(name: str, tmp_path: Path, builds: Path) -> None:
    """A particle per clock; answers of the framework itself."""
    config = ProjectConfig.from_mapping({
        "interface": "axis", "hardware": "streamed", "input_type": "fixed<9,3,RND,SAT>", "clock_mhz": 240.47,
        "plan": {"lanes": 1},
    })  # fmt: skip
    root = flow.convert(VECTORS / "hgq2" / f"{name}.keras", config, tmp_path / "project")
    facts = read_manifest(root)
    emulator = Emulator(loads((root / "network.json").read_text(), "network.json"))
    with np.load(VECTORS / "hgq2" / f"{name}.npz", allow_pickle=False) as file:
        inputs, golden = [file["input_0"].astype(np.float64)], file["output_0"].astype(np.float64)
    assert np.array_equal(emulator.values(inputs)[0], golden)
    traffic, found, _ = LinkSimulation(facts, root, builds).run(flat(emulator.input_codes(inputs)))
    assert np.array_equal(found.codes, flat(emulator.codes(inputs)))
    assert set(found.first_word_cycle - traffic.first_word_cycle) == {facts["latency"]["cycles"]}


def test_a_wrong_delay_between_branches_is_found(tmp_path: Path, builds: Path, root: Path) -> None:
    made = block("skip connection", tmp_path / "project")
    text = made.core_file.read_text()
    (offset,) = re.findall(r"\.Offset\((\d+)\)", text)
    made.core_file.write_text(text.replace(f".Offset({offset})", f".Offset({int(offset) - 1})"))
    verdict = replay(made.manifest, made.root, made.emulator, made.samples(), build_dir=builds)
    assert "rtl_equals_emulator" in {check.name for check in verdict.failed_checks}
    first = verdict.first_divergence
    assert first is not None and first["layer"] == "add, act9, conv10, act11"
    assert (first["fault"]["engine"], first["fault"]["waits"]) == (8, "align")
    schema = json.loads((root / "validation" / "schemas" / "verdict.schema.json").read_text())
    jsonschema.validate(json.loads(json.dumps(verdict.to_dict())), schema)


def test_a_wrong_delay_of_an_engine_is_found(tmp_path: Path, builds: Path) -> None:
    made = block("two outputs", tmp_path / "project")
    text = made.core_file.read_text()
    (delay,) = re.findall(r"l1ml_beat_delay #\(\n    \.Width\(\d+\),\n    \.Latency\((\d+)\)", text)
    made.core_file.write_text(
        text.replace(f".Latency({delay})\n  ) out_", f".Latency({int(delay) + 1})\n  ) out_")
    )
    assert made.core_file.read_text() != text
    verdict = replay(made.manifest, made.root, made.emulator, made.samples(), build_dir=builds)
    assert not verdict.passed
    assert "delay in front of engine 5 (output), event 0, beat 0" in str(verdict)


def test_what_makes_a_block_late_is_named_though_its_codes_are_right(tmp_path: Path, builds: Path) -> None:
    made = block("two outputs", tmp_path / "project")
    text = made.core_file.read_text()
    (width,) = re.findall(r"output logic (\[\d+:0\]) data_o", text)
    late = "  always_ff @(posedge clk_i) {valid_o, data_o} <= {late_valid, late_data};"
    for old, new in (
        ("  assign valid_o =", "  assign late_valid ="),
        ("  assign data_o =", "  assign late_data ="),
        ("\nendmodule", f"\n{late}\n\nendmodule"),
        (");\n\n", f");\n  logic late_valid;\n  logic {width} late_data;\n"),
    ):
        assert old in text
        text = text.replace(old, new, 1)
    made.core_file.write_text(text)
    verdict = replay(made.manifest, made.root, made.emulator, made.samples(), build_dir=builds)
    (check,) = [c for c in verdict.failed_checks if c.name == "constant_latency"]
    assert "first wrong layer: outputs, engine 5 (output), event 0, beat 0" in check.detail
    assert "rtl_equals_emulator" not in {c.name for c in verdict.failed_checks}


def test_a_broken_frame_leaves_the_others_exact(tmp_path: Path, builds: Path) -> None:
    """Frames cut short, with a gap, and too long: later events are right, in time, and the error is named."""
    made = block("skip connection", tmp_path / "project")
    link = LinkSimulation(made.manifest, made.root, builds)
    layout = link.layout
    traffic, whole, _ = link.run(made.codes[:8])
    assert np.array_equal(whole.codes, made.expected[:8])
    valid = layout.column("in", Role.VALID)
    last = layout.column("in", Role.LAST)
    first, words = int(traffic.first_word_cycle[3]), layout.frame_words
    broken = {
        "valid_gap": lambda rows: rows.__setitem__((first + 5, valid), 0),
        "last_early": lambda rows: rows.__setitem__((first + 7, last), 1),
    }
    for name, change in broken.items():
        rows = traffic.rows.copy()
        change(rows)
        if name == "last_early":  # the rest of the packet does not come
            rows[first + 8 : first + words, valid] = 0
        out = link.harness.run(rows, seed=3)
        found = decode(layout, out)
        assert name in found.errors
        kept = np.delete(np.arange(8), 3)
        assert np.array_equal(found.codes, made.expected[:8][kept]), (name, found.codes, made.expected[:8])
        latency = made.manifest["latency"]["cycles"]
        assert np.array_equal(found.first_word_cycle, traffic.first_word_cycle[kept] + latency)


@pytest.mark.parametrize(
    "case",
    ["folded and paced", "skip connection", "lstm, every step", "particles", "element by element"],
)
def test_every_beat_of_every_engine_comes_in_the_clock_that_was_planned(
    case: str, tmp_path: Path, builds: Path
) -> None:
    made = block(case, tmp_path / "project")
    config = ProjectConfig.from_mapping(read_yaml(made.root / "l1ml.yml"))
    ins, outs = flow.elements(made.program)
    timed = streamed.plan(made.program, config, ins, outs).plan.timed
    nodes = [k for k in range(len(timed.network.nodes)) if f" n{k}_valid;" in made.core_file.read_text()]
    layout = LinkLayout.from_dict(made.manifest["link"])
    width, interval, events = layout.beat_width, layout.link_cycles, 5
    starts = [Wire("start_i", 1)] if len(timed.times[0]) > 1 else []
    files = [f for f in rtl_sources(made.manifest, made.root) if f.stem != made.manifest["top_module"]]
    harness = build(
        [f for f in files if f.stem not in ("l1ml_framing", "l1ml_emit", "l1ml_admit")],
        made.manifest["core_module"],
        [Wire("valid_i", 1), *starts, Wire("data_i", width)],
        [Wire("valid_o", 1)],
        builds,
        probes=[Wire(f"n{k}_valid", 1) for k in nodes],
        fast="-O0",
    )
    clocks = events * interval + timed.latency + 8
    rows = np.random.default_rng(1).integers(0, 1 << 63, (clocks, harness.in_chunks), dtype=np.uint64)
    rows[:, : 1 + len(starts)] = 0
    for event in range(events):
        at = timed.times[0] + event * interval
        rows[at, 0] = 1
        if starts:
            rows[at[0], 1] = 1
    out = harness.run(rows)
    assert len(nodes) >= 3
    for k in nodes:
        planned = timed.times[timed.network.nodes[k].outputs[0]]
        due = np.sort(np.concatenate([planned + event * interval for event in range(events)]))
        seen = np.flatnonzero(out[:, harness.column(f"n{k}_valid")][:, 0])
        assert np.array_equal(seen, due), f"engine {k}"


def selftest(made: Small, **options: Any) -> Verdict:
    return run_streamed_selftest(made.manifest, made.root, made.codes, made.expected, **options)


SELFTESTS = {
    "two pixels per word, padded": (
        ["map_adder", "map_register", "fold_weight", "delay", "pace", "window_shape"], "align, reduce, scan"
    ),
    "two outputs": (
        ["map_adder", "map_register", "delay", "reduce"], "fold_weight, align, pace, window_shape, scan"
    ),
}  # fmt: skip
"""Kinds of faults that a block has a place for, and those that it has none for."""


@pytest.mark.parametrize("case", SELFTESTS)
def test_the_self_test_finds_a_fault_of_every_kind(case: str, tmp_path: Path) -> None:
    made, (kinds, missing) = block(case, tmp_path / "project"), SELFTESTS[case]
    told: list[str] = []
    verdict = selftest(made, progress=told.append)
    assert verdict.passed, str(verdict)
    assert [check.name for check in verdict.checks] == ["no_fault", "golden_value", *kinds, "no_place_for"]
    assert verdict.checks[-1].detail == f"{missing}: not in this block"
    assert len(told) >= 1 + len(kinds)


def test_a_fault_that_cannot_be_built_has_shown_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One kind breaks the syntax, another changes nothing: neither counts as found."""
    made = block("two outputs", tmp_path / "project")
    core = made.core_file.name

    def finder(change: str) -> Any:
        return lambda files, *_: iter([(core, files[core] + change, f"appends {change!r}")])

    kinds = {"broken": finder("endmodule"), "dead": finder("// nothing")}
    monkeypatch.setattr(streamed_selftest, "_KINDS", kinds)
    verdict = selftest(made)
    assert {check.name for check in verdict.failed_checks} == {"broken", "dead"}
    found = {check.name: check.detail for check in verdict.checks}
    assert "cannot be built (" in found["broken"] and found["dead"].endswith("no output changed")


def test_the_self_test_fails_where_the_comparison_is_blind(tmp_path: Path) -> None:
    """The comparison of a block that is wrong already can show nothing: no fault is tried."""
    made = block("two outputs", tmp_path / "project")
    verdict = run_streamed_selftest(made.manifest, made.root, made.codes[:4], made.expected[:4] + 1)
    assert "no_fault" in {check.name for check in verdict.failed_checks}
    assert {check.name for check in verdict.checks} <= {"no_fault", "golden_value", "no_place_for"}
