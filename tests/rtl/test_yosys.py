# SPDX-License-Identifier: Apache-2.0
"""Synthesis with Yosys: figures of known circuits, cache, limits, errors."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

from l1ml.errors import ToolError
from l1ml.synth import yosys
from l1ml.synth.yosys import packages_first, synthesize

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("pyosys") is None, reason="pyosys is not installed"),
]

PACKAGE = "package demo_pkg;\n  localparam int unsigned Width = 12;\nendpackage\n"
TOP = """
module demo (
    input wire logic clk_i,
    input wire logic signed [demo_pkg::Width-1:0] a_i, b_i, c_i,
    output logic signed [demo_pkg::Width+1:0] y_o
);
  logic signed [demo_pkg::Width:0] s0;
  logic signed [demo_pkg::Width-1:0] c0;
  always_ff @(posedge clk_i) begin
    s0 <= a_i + b_i;
    c0 <= c_i;
    y_o <= s0 - c0;
  end
endmodule
"""


@pytest.fixture
def demo(tmp_path: Path) -> list[Path]:
    top, package = tmp_path / "a top.sv", tmp_path / "z pkg.sv"  # the package sorts last; blanks in the names
    top.write_text(TOP)
    package.write_text(PACKAGE)
    return [top, package]


def test_two_adders_with_registers(demo, tmp_path):
    result = synthesize(demo, "demo", tmp_path / "build")
    assert result.ff == 13 + 12 + 14
    assert 25 <= result.lut <= 27
    assert result.sites == result.lut  # every LUT drives a carry chain
    assert result.carry4 == 4 + 4
    assert result.dsp == result.bram == 0
    assert 3 <= result.depth <= 6
    log = tmp_path / "build" / result.digest[:16] / yosys.LOG_FILE
    assert "synth_xilinx" in log.read_text()


def test_multiplier_takes_a_dsp_and_memory_a_bram(tmp_path):
    source = tmp_path / "big.sv"
    source.write_text(
        "module big(input wire logic clk_i, input wire logic [17:0] a_i, b_i, input wire logic [9:0] at_i,\n"
        " output logic [35:0] y_o, output logic [31:0] q_o);\n"
        " logic [31:0] memory [1024];\n"
        " always_ff @(posedge clk_i) begin\n"
        "  y_o <= a_i * b_i; q_o <= memory[at_i]; memory[a_i[9:0]] <= {b_i[13:0], a_i};\n end\n"
        "endmodule\n"
    )
    result = synthesize([source], "big", tmp_path / "build")
    assert result.dsp >= 1
    assert result.bram >= 1


def test_cache_returns_the_stored_result_and_notices_changes(demo, tmp_path, monkeypatch):
    build = tmp_path / "build"
    first = synthesize(demo, "demo", build)
    monkeypatch.setattr(yosys, "_run", lambda *_: pytest.fail("must come from the cache"))
    assert synthesize(list(reversed(demo)), "demo", build) == first
    monkeypatch.undo()
    demo[1].write_text(PACKAGE.replace("12", "9"))
    assert synthesize(demo, "demo", build).lut < first.lut


def test_damaged_cache_is_made_again(demo, tmp_path):
    first = synthesize(demo, "demo", tmp_path)
    stored = tmp_path / first.digest[:16] / yosys.RESULT_FILE
    stored.write_text(json.dumps(first.to_dict())[:-20])
    assert synthesize(demo, "demo", tmp_path).lut == first.lut


def test_syntax_error_is_named_with_the_log(tmp_path):
    source = tmp_path / "bad.sv"
    source.write_text("module bad(input wire logic a_i;\nendmodule\n")
    with pytest.raises(ToolError, match="syntax error") as caught:
        synthesize([source], "bad", tmp_path / "build")
    assert Path(caught.value.where[0]).exists()
    assert not list((tmp_path / "build").glob("*/result.json"))


def test_limits_are_kept(demo, tmp_path):
    with pytest.raises(ToolError, match="no result after 0 s"):
        synthesize(demo, "demo", tmp_path / "time", timeout_s=0.2)
    with pytest.raises(ToolError, match="could not synthesize"):
        synthesize(demo, "demo", tmp_path / "memory", memory_bytes=60 << 20)
    assert not [path for path in (tmp_path / "time").iterdir() if path.name.startswith(".run")]


def test_missing_top_and_strange_names(demo, tmp_path):
    with pytest.raises(ToolError, match="nowhere"):
        synthesize(demo, "nowhere", tmp_path)
    with pytest.raises(ToolError, match="no plain name"):
        synthesize(demo, "demo; shell id", tmp_path)


def test_packages_come_before_their_readers(demo):
    assert [path.name for path in packages_first(demo)] == ["z pkg.sv", "a top.sv"]
