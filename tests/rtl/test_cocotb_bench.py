# SPDX-License-Identifier: Apache-2.0
"""The contract bench on every link; and that each of its tests can fail."""

from __future__ import annotations

import copy
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from l1ml.cosim import bench, simulators
from l1ml.errors import ToolError
from l1ml.validate.contract import run_contract, zero_codes
from l1ml.validate.core import rtl_sources
from l1ml.validate.replay import flat
from l1ml.validate.verdict import Verdict

sys.path.insert(0, str(Path(__file__).parent))
from small_project import Small  # puts tests/unit on the path
from streamed_networks import NETWORKS
from unread_networks import joined

pytestmark = pytest.mark.sim

LSTM = {"net": NETWORKS["lstm"][0], "input_type": "fixed<5,2>", "plan": {"lanes": 1, "interval": 9}}
"""7 words, a grid of 9 clocks: packets of a legal stream can start off it."""
LINKS: dict[str, tuple[str, dict[str, Any]]] = {
    "emp": ("emp", {"links": {"links_in": 2}, "input_type": "fixed<14,4>"}),
    "emp_tmux6": ("emp", {"tmux": 6}),
    "axis": ("axis", {"links": {"word_bits": 16}}),
    "parallel": ("parallel", {}),
    "axis_lstm": ("axis", LSTM),
    "emp_unread": ("emp", {"net": joined(), "hardware": "streamed", "plan": {"lanes": 1}}),
    "emp_streamed": ("emp", {"net": NETWORKS["deep sets"][0], "hardware": "streamed", "tmux": 2}),
}
ALWAYS = {
    "latency_of_the_first_event_after_reset",
    "back_to_back_at_the_interval",
    "random_gaps_between_frames",
    "all_zero_data",
    "reset_in_flight",
}
FRAMED = ALWAYS | {"pauses_inside_frames", "orbit_boundary", "framing_errors"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bench")


def run(small: Small, folder: Path, manifest: dict[str, Any] | None = None) -> Verdict:
    codes = np.concatenate([zero_codes(small.manifest), small.codes[3:43]])
    lsb = 2.0 ** -small.manifest["inputs"][0]["elements"][0]["frac"]
    values = (codes * lsb).reshape(len(codes), *small.program.inputs[0].shape)
    expected = flat(small.emulator.codes([values]))
    return run_contract(manifest or small.manifest, small.root, codes, expected, build_dir=folder)


@pytest.mark.parametrize("name", LINKS)
def test_contract_holds_on_every_link(name: str, folder: Path) -> None:
    interface, options = LINKS[name]
    small = Small(folder / name, interface, events=50, **options)
    verdict = run(small, folder / "builds")
    assert verdict.passed and verdict.kind == "contract", str(verdict)
    wanted = {"parallel": ALWAYS, "axis": FRAMED}.get(interface, FRAMED | {"no_word_without_strobe"})
    assert {check.name for check in verdict.checks} == wanted
    assert all("2 seeds" in check.detail for check in verdict.checks)


@pytest.mark.parametrize(
    ("key", "said"), [("cycles", "a packet where none is due"), ("last_cycles", "the last word is at clock")]
)
def test_a_wrong_latency_fails_everywhere(key: str, said: str, folder: Path) -> None:
    small = Small(folder / key, "parallel", events=50)
    manifest = copy.deepcopy(small.manifest)
    manifest["latency"][key] += 1
    verdict = run(small, folder / "builds", manifest)
    assert {check.name for check in verdict.failed_checks} == ALWAYS
    assert said in str(verdict)


# What is broken in the HDL of an EMP block, and the tests that must notice.
FAULTS = {
    "no_reset": ("core", r"    if \(rst_i\) valid_q <= '0;\n", "", {"reset_in_flight"}),
    "zero_is_no_event": ("top", r"complete =\n", "complete = |rx0_data_i &\n", {"all_zero_data"}),
    "orbit_too_late": (
        "top",
        r"\.Latency\((\w+)::LATENCY\)",
        r".Latency(\1::LATENCY + 1)",
        {"orbit_boundary"},
    ),
    "error_is_not_seen": ("top", r"(error\[LastMissing\]) = .*;", r"\1 = 1'b0;", {"framing_errors"}),
    "wrong_bit": ("top", r"assign y_1 = core_data", "assign y_1 = ~core_data", FRAMED),
    "undriven_bit": ("top", r"assign y_1 = .*;", "initial begin end", FRAMED),
}


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
def test_the_bench_can_fail(fault: str, folder: Path) -> None:
    which, pattern, text, must_fail = FAULTS[fault]
    small = Small(folder / fault, "emp", events=50)
    file = small.core_file if which == "core" else small.top_file
    before = file.read_text()
    file.write_text(re.sub(pattern, text, before, count=1))
    assert file.read_text() != before
    verdict = run(small, folder / "builds")
    failed = {check.name for check in verdict.failed_checks}
    assert failed >= must_fail, str(verdict)
    if must_fail != FRAMED:
        assert "back_to_back_at_the_interval" not in failed or fault == "orbit_too_late", str(verdict)


def test_a_block_that_admits_every_event_fails(folder: Path) -> None:
    """An event at the wrong clock then moves or harms others, although its error is still raised."""
    interface, options = LINKS["axis_lstm"]
    small = Small(folder / "open", interface, events=50, **options)
    cell = small.root / "firmware" / "rtl" / "l1ml_admit.sv"
    before = cell.read_text()
    cell.write_text(re.sub(r"(admit_o +=) start_i .*;", r"\1 start_i;", before))
    assert cell.read_text() != before
    verdict = run(small, folder / "builds")
    assert {check.name for check in verdict.failed_checks} == {"framing_errors"}, str(verdict)


def test_a_bench_that_does_not_compile_says_why(folder: Path) -> None:
    small = Small(folder / "broken", "parallel", events=5)
    small.top_file.write_text("module broken (;")
    with pytest.raises(ToolError, match=r"building the cocotb simulation failed\n(.*\n)*.*%Error"):
        bench.run_bench(
            small.manifest,
            rtl_sources(small.manifest, small.root),
            small.codes,
            small.expected,
            folder / "bad",
        )
    assert not list((folder / "bad").iterdir())


def test_missing_make_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simulators.shutil, "which", lambda name: None if name == "make" else f"/bin/{name}")
    with pytest.raises(ToolError, match="make is not installed"):
        bench.run_bench({"top_module": "x"}, [], np.zeros((1, 1)), np.zeros((1, 1)), folder / "none")
