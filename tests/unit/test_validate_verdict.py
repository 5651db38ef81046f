# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest

from l1ml.errors import ConfigError, DataError
from l1ml.validate.budget import Budget, gate, read_budget
from l1ml.validate.compare import Field, compare
from l1ml.validate.fault import Fault
from l1ml.validate.render import junit, markdown, write_reports
from l1ml.validate.subject import facts_of
from l1ml.validate.verdict import Check, Verdict, read_verdict

FIELDS = (Field("y", (0,), frac=2, width=6, name="y[0]", link=0, word=1, lsb=8),)


@pytest.fixture
def manifest() -> dict[str, Any]:
    return {
        "name": "jets",
        "core_module": "jets_core",
        "top_module": "jets_emp",
        "l1ml_version": "0.1.0",
        "digest": {"network": "a" * 64, "rtl": "b" * 64},
        "target": {"part": "xcvu13p", "clock_mhz": 360.71, "tmux": 1, "interface": "emp"},
        "latency": {
            "cycles": 17,
            "ns": 47.129,
            "bx": 2,
            "collect_cycles": 4,
            "compute_cycles": 12,
            "emit_cycles": 1,
        },
        "interval": {"cycles": 9, "core_cycles": 1, "link_cycles": 9},
        "estimate": {"lut": 15000, "ff": 8000, "dsp": 0, "bram": 0, "method": "model"},
    }


FAULT = Fault("fc1", 2, "map", "", 3, event=0, beat=4, clock=12, place=(0, 1), expected=0, found=5)


def replayed(manifest: dict[str, Any], wrong: int = 0, fault: Fault | None = None) -> Verdict:
    expected = np.zeros((100, 1), dtype=np.int64)
    found = expected.copy()
    found[:wrong] = 5
    comparison = compare("RTL against emulator", expected, found, FIELDS).with_layer("fc1", fault)
    facts = facts_of(manifest)
    return Verdict(
        kind="replay",
        checks=(
            Check("rtl_equals_emulator", comparison.passed, str(comparison)),
            Check("other", True, "fine"),
        ),
        latency={**facts.pop("latency"), "measured_cycles": [17, 17]},
        comparisons=(comparison.to_dict(),),
        throughput={"emulator_events_per_s": 6.1e6, "cosim_events_per_s": 3.2e5, "cosim_threads": 2},
        **facts,
    )


def schema(root: Path) -> dict[str, Any]:
    return json.loads((root / "validation" / "schemas" / "verdict.schema.json").read_text())


@pytest.mark.parametrize(("wrong", "fault"), [(0, None), (3, None), (3, FAULT)])
def test_json_follows_the_schema_and_comes_back_equal(
    manifest: dict[str, Any], wrong: int, fault: Fault | None, root: Path, tmp_path: Path
) -> None:
    verdict = replayed(manifest, wrong, fault)
    files = write_reports(verdict, tmp_path / "reports")
    assert [file.name for file in files] == ["verdict.json", "verdict.md", "junit.xml"]
    jsonschema.validate(json.loads(files[0].read_text()), schema(root))
    assert read_verdict(files[0]) == verdict
    assert sorted(p.name for p in (tmp_path / "reports").iterdir()) == [
        "junit.xml",
        "verdict.json",
        "verdict.md",
    ]


@pytest.mark.parametrize("kind", ["contract", "self-test", "gate"])
def test_every_kind_follows_the_schema(manifest: dict[str, Any], kind: str, root: Path) -> None:
    jsonschema.validate(Verdict(kind=kind, checks=(), **facts_of(manifest)).to_dict(), schema(root))


def test_passed_means_all_checks_passed_and_there_was_one() -> None:
    good, bad = Check("a", True, ""), Check("b", False, "")
    assert Verdict("replay", (good,)).passed
    assert not Verdict("replay", (good, bad)).passed
    assert not Verdict("replay", ()).passed
    assert Verdict("replay", (good, bad)).failed_checks == (bad,)


def test_text_tells_what_both_readers_ask(manifest: dict[str, Any]) -> None:
    text = str(replayed(manifest, 3))
    for part in (
        "FAIL  Replay of jets_emp",
        "100 compared, 3 mismatching values",
        "17 clocks = 47.1 ns = 2 BX (collect 4 + compute 12 + emit 1), measured 17 on every event",
        "9 clocks between events at 360.71 MHz, TMUX 1",
        "about 15,000 LUT, 8,000 FF, 0 DSP, 0 BRAM (by model)",
        "emulator 6.1 M events/s, co-simulation 320 k events/s (2 threads)",
        "event 0, link 0 word 1 bits 13..8 field y[0]: expected 0 (0, 0x00), found 5 (1.25, 0x05)",
        "first wrong layer: fc1",
    ):
        assert part in text, text
    assert str(replayed(manifest)).startswith("PASS")
    assert "nothing was checked" in str(Verdict("replay", ()))


def test_markdown_holds_facts_and_checks(manifest: dict[str, Any]) -> None:
    page = markdown(replayed(manifest, 1))
    assert page.startswith("# FAIL: Replay of jets_emp\n")
    assert "| replay.rtl_equals_emulator | **FAIL** |" in page and "| replay.other | pass | fine |" in page


def test_the_first_wrong_beat_is_in_every_view(manifest: dict[str, Any]) -> None:
    verdict = replayed(manifest, 1, FAULT)
    place = "fc1, engine 2 (map), event 0, beat 4, clock 12, position 0 element 1: expected 0, found 5"
    assert place in markdown(verdict) and place in junit(verdict) and place in str(verdict)
    assert verdict.first_divergence is not None and verdict.first_divergence["fault"]["beat"] == 4


def test_junit_counts_and_escapes(manifest: dict[str, Any]) -> None:
    checks = (Check("a<b", True, "x & y"), Check("c", False, 'one "line"\x00\nand another'))
    suite = ElementTree.fromstring(junit(Verdict("replay", checks, subject=manifest)).encode()).find(
        "testsuite"
    )
    assert suite is not None and (suite.get("tests"), suite.get("failures")) == ("2", "1")
    failure = suite.findall("testcase")[1].find("failure")
    assert failure is not None and failure.get("message") == 'one "line"?'
    empty = ElementTree.fromstring(junit(Verdict("gate", ())).encode()).find("testsuite")
    assert empty is not None and (empty.get("tests"), empty.get("failures")) == ("1", "1")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", "not JSON"),
        (b"[]", "not a mapping"),
        (b"{}", "this is no verdict"),
        (b'{"schema": "other/1"}', "expected 'l1ml-verdict/1'"),
        (b"[" * 100_000, "not JSON"),
    ],
)
def test_a_damaged_verdict_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "v.json").write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_verdict(tmp_path / "v.json")


def test_a_verdict_that_cannot_be_shown_is_refused(manifest: dict[str, Any], tmp_path: Path) -> None:
    for change in (
        {"latency": {"cycles": 3}},
        {"comparisons": [{"events": float("inf"), "mismatches": 0, "first": None}]},
        {
            "comparisons": [{"events": 3, "mismatches": 1, "first": {"event": 2}}],
            "events": 3,
            "mismatches": 1,
        },
        {"subject": {"target": 3}},
    ):
        data = replayed(manifest, 0).to_dict() | change
        (tmp_path / "v.json").write_text(json.dumps(data))
        with pytest.raises(DataError, match="this is no verdict"):
            read_verdict(tmp_path / "v.json")


def test_a_verdict_that_was_edited_is_refused(manifest: dict[str, Any], tmp_path: Path) -> None:
    data = replayed(manifest, 2).to_dict()
    data["passed"] = True
    (tmp_path / "v.json").write_text(json.dumps(data))
    with pytest.raises(DataError, match="contradicts its own checks"):
        read_verdict(tmp_path / "v.json")


def test_a_missing_verdict_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot read the verdict: No such file"):
        read_verdict(tmp_path / "v.json")


def budget(**data: Any) -> Budget:
    return Budget.from_mapping(data)


def test_a_budget_that_fits_passes(manifest: dict[str, Any]) -> None:
    limits = budget(
        latency={"cycles": 17, "ns": 47.2, "bx": 2},
        interval={"cycles": 9},
        resources={"lut": 15000, "ff": 8000, "dsp": 0, "bram": 0},
        mismatches=0,
    )
    judged = gate(manifest, replayed(manifest), limits)
    assert judged.passed and judged.kind == "gate" and judged.events == 100
    assert len(judged.checks) == 11
    assert "17 clocks, allowed are 17 (0 % left)" in str(judged)


@pytest.mark.parametrize(
    ("limits", "failed"),
    [
        ({"latency": {"cycles": 16}}, "latency_cycles"),
        ({"latency": {"ns": 47.1}}, "latency_ns"),
        ({"latency": {"bx": 1}}, "latency_bx"),
        ({"interval": {"cycles": 8}}, "interval_cycles"),
        ({"resources": {"lut": 14999}}, "resources_lut"),
        ({"resources": {"ff": 7999}}, "resources_ff"),
    ],
)
def test_each_limit_can_fail(manifest: dict[str, Any], limits: dict[str, Any], failed: str) -> None:
    judged = gate(manifest, replayed(manifest), budget(**limits))
    assert [check.name for check in judged.failed_checks] == [failed]
    assert "too many" in judged.failed_checks[0].detail


def test_mismatches_need_a_replay_of_this_very_rtl(manifest: dict[str, Any]) -> None:
    assert [c.name for c in gate(manifest, None, budget(mismatches=0)).failed_checks] == ["replayed"]
    seen = replayed(manifest)
    manifest["digest"] = {"network": "a" * 64, "rtl": "c" * 64}
    judged = gate(manifest, seen, budget(mismatches=0))
    assert [c.name for c in judged.failed_checks] == ["replayed"] and judged.events == 0


def test_mismatches_may_be_allowed_but_no_other_failure(manifest: dict[str, Any]) -> None:
    assert not gate(manifest, replayed(manifest, 3), budget(mismatches=2)).passed
    assert gate(manifest, replayed(manifest, 3), budget(mismatches=3)).passed
    late = Verdict("replay", (Check("constant_latency", False, "x"),), subject=facts_of(manifest)["subject"])
    assert "replay_checks" in [c.name for c in gate(manifest, late, budget(mismatches=3)).failed_checks]


def test_a_budget_may_ask_for_the_frameworks_answers(manifest: dict[str, Any]) -> None:
    asked = budget(golden="required")
    seen = replayed(manifest)
    answers = compare("emulator against golden", np.zeros((70, 1), dtype=np.int64), np.zeros((70, 1)), FIELDS)
    known = replace(seen, comparisons=(*seen.comparisons, answers.to_dict()))
    assert gate(manifest, known, asked).passed
    assert "70 events were compared with the framework" in str(gate(manifest, known, asked))
    for without in (None, seen):
        assert [c.name for c in gate(manifest, without, asked).failed_checks] == ["golden_compared"]
    wrong = compare("emulator against golden", np.zeros((70, 1), dtype=np.int64), np.ones((70, 1)), FIELDS)
    lies = replace(seen, comparisons=(*seen.comparisons, wrong.to_dict()))
    assert [c.name for c in gate(manifest, lies, asked).failed_checks] == ["golden_compared"]
    assert "70 values differ" in str(gate(manifest, lies, asked))
    assert gate(
        manifest, lies, budget(golden="required", mismatches=70)
    ).passed  # so many are allowed by name
    other = {**manifest, "digest": {"network": "a" * 64, "rtl": "c" * 64}}
    assert not gate(other, known, asked).passed
    with pytest.raises(ConfigError, match="golden must be required, or left out"):
        budget(golden=True)


def test_all_mistakes_of_a_budget_are_named_at_once(tmp_path: Path) -> None:
    file = tmp_path / "b.yml"
    file.write_text("latncy: {cycles: 3}\nlatency: {cycle: 3, ns: -1}\nresources: 5\nmismatches: true\n")
    with pytest.raises(ConfigError) as caught:
        read_budget(file)
    text = str(caught.value)
    for part in (
        "did you mean latency",
        "did you mean cycles",
        "latency.ns must be",
        "resources must be",
        "mismatches",
    ):
        assert part in text, text
    assert "b.yml" in text


@pytest.mark.parametrize("data", [{}, {"latency": {}}])
def test_a_budget_without_a_limit_is_refused(data: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="nothing could fail"):
        Budget.from_mapping(data)
