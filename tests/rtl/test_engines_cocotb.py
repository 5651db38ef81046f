# SPDX-License-Identifier: Apache-2.0
"""Split, Collect and Scan once more through cocotb: a chain of engines at the times that add up."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from l1ml import assets
from l1ml.cosim.bench import run_bench
from l1ml.plan.regroup import CollectEngine, SplitEngine
from l1ml.plan.scan import ScanEngine

pytestmark = pytest.mark.sim

STEPS, INTERVAL, LATENCY = 5, 7, 2
SPLIT = SplitEngine(1, STEPS, 1, 8)
COLLECT = CollectEngine(1, STEPS, 1, 8)
SCAN = ScanEngine(
    steps=STEPS, slot=ScanEngine.smallest_slot(LATENCY, STEPS, INTERVAL), cell_latency=LATENCY, x_bits=8,
    state_widths=(12,), y_bits=12, initial=(100,), interval=INTERVAL,
)  # fmt: skip

TOP = """
module chain (
  input wire logic clk_i, rst_i, valid_i, start_i, input wire logic [39:0] data_i,
  output logic beats_valid, beats_start, output logic [7:0] beats_data,
  output logic whole_valid, whole_start, output logic [39:0] whole_data,
  output logic sum_valid, sum_start, output logic [11:0] sum_data
);
  l1ml_split #({split}) split (.clk_i, .rst_i, .valid_i, .start_i, .data_i,
    .valid_o(beats_valid), .start_o(beats_start), .data_o(beats_data));
  l1ml_collect #({collect}) collect (.clk_i, .rst_i, .valid_i(beats_valid), .start_i(beats_start),
    .data_i(beats_data), .valid_o(whole_valid), .start_o(whole_start), .data_o(whole_data));
  logic go, go_q, made;
  logic [19:0] to;
  logic [11:0] sum_q, sum;
  always_ff @(posedge clk_i) begin // y = next state = state + x
    {{made, go_q}} <= rst_i ? '0 : {{go_q, go}};
    sum_q <= to[11:0] + 12'(to[19:12]);
    sum <= sum_q;
  end
  l1ml_scan #({scan}) scan (.clk_i, .rst_i, .valid_i(beats_valid), .start_i(beats_start),
    .data_i(beats_data), .valid_o(sum_valid), .start_o(sum_start), .data_o(sum_data),
    .cell_valid_o(go), .cell_data_o(to), .cell_valid_i(made), .cell_data_i({{sum, sum}}));
endmodule
"""


def test_a_chain_of_engines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [str(Path(__file__).parent), *sys.path])
    engines = {"split": SPLIT, "collect": COLLECT, "scan": SCAN}
    given = {name: {**e.parameters(), **getattr(e, "literals", dict)()} for name, e in engines.items()}
    top = tmp_path / "chain.sv"
    top.write_text(
        TOP.format(**{n: ", ".join(f".{k}({v})" for k, v in values.items()) for n, values in given.items()})
    )
    modules = ("l1ml_delay", "l1ml_split", "l1ml_collect", "l1ml_scan")
    sources = [*(assets.path("firmware", "rtl", "sv", f"{m}.sv") for m in modules), top]
    x = np.random.default_rng(8).integers(0, 256, (40, STEPS))
    beats = SPLIT.emulate(x.reshape(40, 1, 1, STEPS))
    sums = SCAN.emulate(beats, lambda x, state: (state + x, state + x)).ravel()
    np.testing.assert_array_equal(sums, 100 + x.sum(axis=1))
    arrivals = SPLIT.times(np.array([0]))
    times = {"beats": arrivals, "whole": COLLECT.times(arrivals), "sum": SCAN.times(arrivals)}
    expected = {
        "top_module": "chain", "interval": INTERVAL, "times": {n: t.tolist() for n, t in times.items()},
    }  # fmt: skip
    results = run_bench(expected, sources, x, sums, tmp_path / "b", seeds=(1,), bench="engines_cocotb")
    assert [(r.name, r.passed, r.message) for r in results] == [("every_result_in_its_clock", True, "")]
    expected["times"]["sum"][0] += 1
    (late,) = run_bench(expected, sources, x, sums, tmp_path / "b", seeds=(1,), bench="engines_cocotb")
    assert not late.passed
