# SPDX-License-Identifier: Apache-2.0
"""Engines once more through cocotb: chains behind a Split at the times that add up."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from l1ml import assets
from l1ml.cosim.bench import run_bench
from l1ml.plan.align import AlignEngine
from l1ml.plan.fold import FoldEngine
from l1ml.plan.reduce import ReduceEngine
from l1ml.plan.regroup import CollectEngine, SplitEngine
from l1ml.plan.scan import ScanEngine
from l1ml.plan.window import WindowEngine

sys.path.insert(0, str(Path(__file__).parent))
import engine_bench as eb

pytestmark = pytest.mark.sim

STEPS, INTERVAL, LATENCY = 5, 7, 2
SPLIT = SplitEngine(1, STEPS, 1, 8)
COLLECT = CollectEngine(1, STEPS, 1, 8)
SCAN = ScanEngine(
    steps=STEPS, slot=ScanEngine.smallest_slot(LATENCY, STEPS, INTERVAL), cell_latency=LATENCY, x_bits=8,
    state_widths=(12,), y_bits=12, initial=(100,), interval=INTERVAL,
)  # fmt: skip
REDUCE = ReduceEngine(1, STEPS, 1, 1, 8, False, "max", 8)
FOLD = FoldEngine(
    np.random.default_rng(9).integers(-32, 32, (STEPS, 1, 3)), input_bits=8, input_signed=False, weight_bits=6,
    acc_bits=16, per_clock=1, multiplier_stages=1,
)  # fmt: skip
WINDOW = WindowEngine(1, STEPS, 1, 8, (1, 3), padding=((0, 0), (1, 1)))
READS = WINDOW.times(SPLIT.times(np.array([0])))
ALIGN = AlignEngine.between(8, SPLIT.times(np.array([0])), READS)

TOP = """
module chain (
  input wire logic clk_i, rst_i, valid_i, start_i, input wire logic [39:0] data_i,
  output logic beats_valid, beats_start, output logic [7:0] beats_data,
  output logic whole_valid, whole_start, output logic [39:0] whole_data,
  output logic sum_valid, sum_start, output logic [11:0] sum_data,
  output logic max_valid, max_start, output logic [7:0] max_data,
  output logic dense_valid, dense_start, output logic [47:0] dense_data,
  output logic window_valid, window_start, output logic [23:0] window_data,
  output logic kept_valid, kept_start, output logic [7:0] kept_data
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
  l1ml_reduce #({reduce}) reduce (.clk_i, .rst_i, .valid_i(beats_valid), .start_i(beats_start),
    .data_i(beats_data), .valid_o(max_valid), .start_o(max_start), .data_o(max_data));
  l1ml_fold #({fold}) fold (.clk_i, .rst_i, .valid_i(beats_valid), .start_i(beats_start),
    .data_i(beats_data), .valid_o(dense_valid), .start_o(dense_start), .data_o(dense_data){tied});
  l1ml_window #({window}) window (.clk_i, .rst_i, .valid_i(beats_valid), .start_i(beats_start),
    .data_i(beats_data), .valid_o(window_valid), .start_o(window_start), .data_o(window_data));
  l1ml_align #({align}) align (.clk_i, .rst_i, .write_valid_i(beats_valid), .write_data_i(beats_data),
    .read_valid_i(window_valid), .read_start_i(window_start), .data_o(kept_data));
  logic unused_delayed;
  l1ml_beat_delay beat_delay (.clk_i, .rst_i, .valid_i(window_valid), .start_i(window_start),
    .data_i(1'b0), .valid_o(kept_valid), .start_o(kept_start), .data_o(unused_delayed));
endmodule
"""


def test_a_chain_of_engines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [str(Path(__file__).parent), *sys.path])
    engines = {"split": SPLIT, "collect": COLLECT, "scan": SCAN, "reduce": REDUCE, "fold": FOLD}
    engines |= {"window": WINDOW, "align": ALIGN}
    given = {name: {**e.parameters(), **getattr(e, "literals", dict)()} for name, e in engines.items()}
    top = tmp_path / "chain.sv"
    top.write_text(
        TOP.format(
            **{n: ", ".join(f".{k}({v})" for k, v in values.items()) for n, values in given.items()},
            tied="".join(f", .{port}({value})" for port, value in FOLD.ties().items()),
        )
    )
    modules = (*(f"l1ml_{name}" for name in engines), "l1ml_beat_delay", *eb.CELLS)
    sources = [*(assets.path("firmware", "rtl", "sv", f"{m}.sv") for m in modules), top]
    x = np.random.default_rng(8).integers(0, 256, (40, STEPS))
    beats = SPLIT.emulate(x.reshape(40, 1, 1, STEPS))
    sums = SCAN.emulate(beats, lambda x, state: (state + x, state + x)).ravel()
    np.testing.assert_array_equal(sums, 100 + x.sum(axis=1))
    arrivals = SPLIT.times(np.array([0]))
    times = {"beats": arrivals, "whole": COLLECT.times(arrivals), "sum": SCAN.times(arrivals)}
    times |= {"max": REDUCE.times(arrivals), "dense": FOLD.times(arrivals)}
    times |= {"window": WINDOW.times(arrivals), "kept": READS + 1}
    maxima, dense = REDUCE.emulate(beats).ravel(), FOLD.emulate(beats)[:, 0, 0]
    np.testing.assert_array_equal(maxima, x.max(axis=1))
    np.testing.assert_array_equal(dense, x @ FOLD.weights[:, 0])
    words = {
        "sum": sums.tolist(),
        "whole": eb.words(x, 8),
        "max": maxima.tolist(),
        "dense": eb.words(dense, 16),
        "window": eb.words(WINDOW.emulate(beats).reshape(-1, 3), 8),
        "kept": x.ravel().tolist(),
    }
    expected = {
        "top_module": "chain", "interval": INTERVAL, "times": {n: t.tolist() for n, t in times.items()},
        "words": words,
    }  # fmt: skip
    results = run_bench(expected, sources, x, sums, tmp_path / "b", seeds=(1,), bench="engines_cocotb")
    assert [(r.name, r.passed, r.message) for r in results] == [("every_result_in_its_clock", True, "")]
    expected["times"]["sum"][0] += 1
    (late,) = run_bench(expected, sources, x, sums, tmp_path / "b", seeds=(1,), bench="engines_cocotb")
    assert not late.passed
