# SPDX-License-Identifier: Apache-2.0
"""Replay through real RTL: it passes where it must, and every kind of fault fails with the right name."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest

from l1ml.errors import DataError, RangeError
from l1ml.validate import selftest
from l1ml.validate.locate import OUTSIDE
from l1ml.validate.mutate import Core
from l1ml.validate.replay import replay
from l1ml.validate.verdict import Verdict

sys.path.insert(0, str(Path(__file__).parent))
from small_project import Sample, Small

pytestmark = pytest.mark.sim


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Small:
    return Small(tmp_path_factory.mktemp("small") / "project")


@pytest.fixture(scope="module")
def builds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("builds")


def run(small: Small, builds: Path, **options: Any) -> Verdict:
    samples = options.pop("samples", None) or small.samples(golden=options.pop("golden", None))
    return replay(small.manifest, small.root, small.emulator, samples, build_dir=builds, **options)


@pytest.fixture
def changed(small: Small) -> Iterator[Any]:
    """Change a file of the project for one test."""
    before = {file: file.read_text() for file in (small.core_file, small.top_file)}

    def change(file: Path, text: str) -> None:
        assert text != before[file], "the change changes nothing"
        file.write_text(text)

    yield change
    for file, text in before.items():
        file.write_text(text)


def failed(verdict: Verdict) -> set[str]:
    return {check.name for check in verdict.failed_checks}


def test_everything_agrees(small: Small, builds: Path, root: Path) -> None:
    seen: list[int] = []
    verdict = run(small, builds, progress=seen.append, threads=2)
    assert verdict.passed, str(verdict)
    assert seen == [2000, 3000]
    assert (verdict.events, verdict.mismatches) == (3000, 0)
    assert verdict.latency["measured_cycles"] == [small.manifest["latency"]["cycles"]] * 2
    assert {c["name"]: c["events"] for c in verdict.comparisons} == {
        "emulator against golden": 3000,
        "RTL against emulator": 3000,
        "core back to back against emulator": 3000,
    }
    schema = json.loads((root / "validation" / "schemas" / "verdict.schema.json").read_text())
    jsonschema.validate(json.loads(json.dumps(verdict.to_dict())), schema)


def test_threads_and_chunks_change_nothing(small: Small, builds: Path) -> None:
    one = run(small, builds, threads=1, samples=small.samples(3000))
    many = run(small, builds, threads=3, samples=small.samples(700))
    assert one.passed and many.passed and one.events == many.events == 3000


def test_max_events_stops_inside_a_chunk(small: Small, builds: Path) -> None:
    verdict = run(small, builds, max_events=2100)
    assert verdict.passed and verdict.events == 2100


def test_no_events_is_a_fail(small: Small, builds: Path) -> None:
    verdict = replay(small.manifest, small.root, small.emulator, [], build_dir=builds)
    assert failed(verdict) >= {"rtl_equals_emulator", "every_event_once", "constant_latency"}


def test_one_wrong_golden_value_is_found(small: Small, builds: Path) -> None:
    golden = small.golden.copy()
    golden[2222, 1] += 2.0**-20
    verdict = run(small, builds, golden=golden)
    assert failed(verdict) == {"emulator_equals_golden"} and verdict.mismatches == 1
    first = verdict.first_divergence
    assert first is not None and first["event"] == 2222 and first["index"] == [1]


@pytest.mark.parametrize("kind", ["weight_bit", "adder", "pipeline_register"])
def test_one_fault_in_the_core_is_found_in_its_layer(
    small: Small, builds: Path, kind: str, changed: Any
) -> None:
    core = Core(small.core_file.read_text(), small.manifest["layers"])
    fault = next(core.mutations(kind, seed=3))
    changed(small.core_file, core.mutated(fault))
    verdict = run(small, builds)
    assert failed(verdict) >= {"core_back_to_back", "rtl_is_the_manifests"}, fault.text
    first = verdict.first_divergence
    assert first is not None and first["layer"] in fault.layers, (fault.text, first)
    assert "first wrong layer" in str(verdict)
    if kind != "pipeline_register":  # events nine clocks apart cannot show that one
        assert "rtl_equals_emulator" in failed(verdict)


def test_a_fault_in_the_wrapper_is_not_blamed_on_a_layer(small: Small, builds: Path, changed: Any) -> None:
    text = small.top_file.read_text()
    changed(small.top_file, text.replace("assign y_1 = core_data[", "assign y_1 = ~core_data[", 1))
    verdict = run(small, builds)
    assert failed(verdict) == {"rtl_equals_emulator", "rtl_is_the_manifests"}
    first = verdict.first_divergence
    assert first is not None and (first["layer"], first["field"]) == (OUTSIDE, "fc2[1]")


def test_a_clock_less_is_a_wrong_latency(small: Small, builds: Path, changed: Any) -> None:
    text, last = small.core_file.read_text(), small.manifest["latency"]["compute_cycles"] - 1
    changed(small.core_file, text.replace(f"valid_o = valid_q[{last}]", f"valid_o = valid_q[{last - 1}]"))
    verdict = run(small, builds)
    assert "constant_latency" in failed(verdict)
    cycles = small.manifest["latency"]["cycles"]
    assert verdict.latency["measured_cycles"] == [cycles - 1, cycles - 1]


# What makes the second word of a packet late by a clock, in the cell that sends packets.
WAIT = (
    ("end else begin\n        {rest_q,", "end else if (!start_o) begin\n        {rest_q,"),
    ("<= valid_i | (left_q != '0);", "<= valid_i | (left_q != '0 && !start_o);"),
    ("<= ~valid_i & (left_q == One);", "<= ~valid_i & (left_q == One) & ~start_o;"),
)


def test_a_second_word_that_is_late_is_seen(tmp_path: Path, builds: Path) -> None:
    """The first word of every packet is in time: only the clock of the last one shows it."""
    made = Small(tmp_path / "project", "axis", events=300, links={"word_bits": 16})
    facts = made.manifest["latency"]
    assert facts["last_cycles"] > facts["cycles"]
    good = run(made, builds)
    assert good.passed, str(good)
    assert good.latency["measured_last_cycles"] == [facts["last_cycles"]] * 2
    file = made.root / "firmware" / "rtl" / "l1ml_emit.sv"
    text = file.read_text()
    for old, new in WAIT:
        assert text.count(old) == 1
        text = text.replace(old, new)
    file.write_text(text)
    bad = run(made, builds)
    assert "constant_last_word" in failed(bad) and "constant_latency" not in failed(bad)
    assert bad.latency["measured_cycles"] == [facts["cycles"]] * 2
    assert bad.latency["measured_last_cycles"] == [facts["last_cycles"] + 1] * 2
    assert f"last word after {facts['last_cycles'] + 1} clocks, declared are {facts['last_cycles']}" in str(
        bad
    )


def test_a_block_that_takes_words_without_strobe_is_found(small: Small, builds: Path, changed: Any) -> None:
    text = small.top_file.read_text()
    changed(small.top_file, text.replace(".strobe_i(rx0_strobe_i)", ".strobe_i(1'b1)"))
    verdict = run(small, builds, max_events=100)
    assert failed(verdict) == {"pauses_inside_frames", "rtl_is_the_manifests"}


def test_a_lost_event_is_missed(small: Small, builds: Path, changed: Any) -> None:
    text = small.top_file.read_text()
    lost = text.replace(
        "core_valid_q <= complete &", "core_valid_q <= complete & (rx0_data_i[6:0] != 7'h3f) &", 1
    )
    changed(small.top_file, lost)
    verdict = run(small, builds)
    assert failed(verdict) >= {"every_event_once", "constant_latency", "rtl_equals_emulator"}
    first = verdict.first_divergence
    assert first is not None and first["found"] is None


def test_state_that_reset_forgets_shows(small: Small, builds: Path, changed: Any) -> None:
    text = small.top_file.read_text()
    changed(small.top_file, text.replace("      error_o      <= '0;\n", ""))
    verdict = run(small, builds)  # uninitialised state starts at random, so the bits nobody clears show
    assert failed(verdict) == {"no_framing_errors", "rtl_is_the_manifests"}


def test_a_value_off_the_range_names_its_event(small: Small, builds: Path) -> None:
    name = small.program.inputs[0].name
    bad = small.inputs[0].copy()
    bad[1500, 2] = 1e9
    with pytest.raises(RangeError, match=r"1000000000\.0 at index \(500, 2\)") as caught:
        run(small, builds, samples=[Sample({name: bad[:1000]}), Sample({name: bad[1000:]})])
    assert "from event 1000 on" in str(caught.value)


def test_a_sample_without_the_input_is_refused(small: Small, builds: Path) -> None:
    with pytest.raises(DataError, match="the sample has no input x_in; it has other"):
        run(small, builds, samples=[Sample({"other": small.inputs[0]})])


def test_self_test_finds_every_fault(small: Small) -> None:
    verdict = selftest.run_selftest(
        small.manifest, small.root, small.codes, small.expected, {k: v[:512] for k, v in small.trace.items()}
    )
    assert verdict.passed and verdict.kind == "self-test", str(verdict)
    assert [c.name for c in verdict.checks] == [
        "no_fault",
        "golden_value",
        "weight_bit",
        "adder",
        "select",
        "pipeline_register",
    ]


def test_self_test_fails_where_the_comparison_is_blind(small: Small) -> None:
    few = slice(0, 1)  # one event, all zero: hardly a fault shows
    trace = {name: np.asarray(values)[few] for name, values in small.trace.items()}
    blind = dict(small.manifest, layers=[{**layer, "probes": []} for layer in small.manifest["layers"]])
    verdict = selftest.run_selftest(blind, small.root, small.codes[few], small.expected[few], trace)
    assert failed(verdict) == {"no_fault"}
