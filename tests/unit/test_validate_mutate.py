# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from l1ml.links.words import Decoded, PortTraffic
from l1ml.validate.checks import Tally
from l1ml.validate.locate import OUTSIDE, UNSEEN, around, first_wrong_layer, locate
from l1ml.validate.mutate import SELECTOR, Core
from l1ml.validate.replay import align

RTL = """\
module core (
  input  wire logic clk_i,
  input  wire logic rst_i, // clears valid only
  input  wire logic [7:0] data_i
);
  logic signed [7:0] x_0;
  logic signed [8:0] fc1_0_q0;
  logic signed [8:0] fc1_0_q1;
  always_ff @(posedge clk_i) begin : stage_0
    logic signed [8:0] fc1_0;
    if (valid_i) begin
      fc1_0 = {x_0, 2'd0} - {x_0[7], x_0}; // 4*x_0 - x_0
      fc1_0_q0 <= fc1_0;
    end
  end
  always_ff @(posedge clk_i) begin : stage_1
    if (valid_q[0]) begin
      fc1_0_q1 <= fc1_0_q0;
    end
  end
  always_ff @(posedge clk_i) begin : stage_2
    logic signed [9:0] relu1_0;
    if (valid_q[1]) begin
      // fc1_0_q1 and more
      relu1_0 = {fc1_0_q1[8], fc1_0_q1};
    end
  end
endmodule
"""
LAYERS: list[dict[str, Any]] = [{"name": "dense 1", "hdl": "fc1"}, {"name": "relu", "hdl": "relu1"}]


def only(kind: str, seed: int = 1) -> list[tuple[str, str, frozenset[str]]]:
    core = Core(RTL, LAYERS)
    return [(m.text, core.mutated(m), m.layers) for m in core.mutations(kind, seed)]


def test_an_adder_becomes_a_subtracter_in_its_layer() -> None:
    [(text, rtl, layers)] = only("adder")
    assert text == "line 12, fc1_0: - became +" and layers == {"dense 1"}
    assert rtl == RTL.replace("2'd0} - {", "2'd0} + {")


def test_a_weight_is_halved_with_its_sign() -> None:
    [(text, rtl, layers)] = only("weight_bit")
    assert text == "line 12, fc1_0: weight 4 of x_0 became 2" and layers == {"dense 1"}
    assert rtl == RTL.replace("{x_0, 2'd0}", "{x_0[7], x_0, 1'd0}")


def test_a_delay_register_is_dropped_and_its_readers_are_blamed() -> None:
    found = {text: (rtl, layers) for text, rtl, layers in only("pipeline_register")}
    rtl, layers = found["line 18, fc1_0_q1: register dropped, its readers take fc1_0_q0"]
    assert rtl == RTL.replace("{fc1_0_q1[8], fc1_0_q1}", "{fc1_0_q0[8], fc1_0_q0}") and layers == {"relu"}
    rtl, layers = found["line 13, fc1_0_q0: one more register behind it"]
    assert "fc1_0_q1 <= fc1_0_q0_more;" in rtl and layers == {"dense 1"}
    assert "always_ff @(posedge clk_i) fc1_0_q0_more <= fc1_0_q0;" in rtl


def test_faults_are_switched_by_an_input() -> None:
    core = Core(RTL, LAYERS)
    adder = next(core.mutations("adder", 1))
    registers = list(core.mutations("pipeline_register", 1))
    rtl = core.switched([adder, *registers])
    assert f"  input  wire logic [15:0] {SELECTOR},\n  input  wire logic rst_i, // clears" in rtl
    both = f"fc1_0 = ({SELECTOR} == 16'd1) ? ({adder.new}) : ({adder.old}); // 4*x_0 - x_0"
    assert both in rtl
    assert rtl.count("_fault = (") == 2
    assert "relu1_0 = {fc1_0_q1_fault[8], fc1_0_q1_fault};" in rtl


def test_order_of_faults_follows_the_seed() -> None:
    assert only("pipeline_register", 1) == only("pipeline_register", 1)


CHOICES = """\
  always_ff @(posedge clk_i) begin : stage_0
    logic [3:0] act_0;
    if (valid_i) begin
      act_s0 = $signed(x_0) >= $signed(x_1); // x_0 >= x_1
      act_s1 = Rom0123456789ab[x_0[5:0]]; // table of x_0
      act_s2 = act_s0 ^ act_s1; // act_s0 xor act_s1
      act_s3 = $signed(x_0) * $signed(x_1); // x_0 * x_1
      act_0 = act_s2 ? act_s3 : {3'd0, act_s1}; // act_s2 ? act_s3 : act_s1
      act_0_q0 <= act_0;
      act_s9 = act_s2 ? act_s3 : act_s3; // act_s3
    end
  end
  always_ff @(posedge clk_i) begin : stage_1
    if (valid_q[0]) begin
      late_0 = act_0_q0 + act_0_q0; // twice
    end
  end
"""


@pytest.mark.parametrize(
    ("kind", "new"),
    [
        ("compare", "act_s0 = $signed(x_0) < $signed(x_1); // x_0 >= x_1"),
        ("lookup", "act_s1 = ~Rom0123456789ab[x_0[5:0]]; // table of x_0"),
        ("parity", "act_s2 = act_s0 | act_s1; // act_s0 xor act_s1"),
        ("multiplier", "act_s3 = $signed(x_0) + $signed(x_1); // x_0 * x_1"),
        ("select", "act_0 = act_s2 ? {3'd0, act_s1} : act_s3; // act_s2 ? act_s3 : act_s1"),
    ],
)
def test_choices_tables_and_products_can_be_wrong(kind: str, new: str) -> None:
    core = Core(CHOICES, [{"name": "act", "hdl": "act"}])
    [fault] = core.mutations(kind, 1)
    changed = [line.strip() for line in core.mutated(fault).splitlines()]
    assert [line for line in changed if line not in CHOICES.replace("      ", "")] == [new]
    assert fault.layers == {"act"}


@pytest.mark.parametrize(
    ("probes", "named"),
    [
        ({"act": ["stage_0.act_0"], "late": ["stage_1.late_0"]}, {"act"}),
        ({"act": [], "late": ["stage_1.late_0"]}, {"late"}),  # nothing of the layer itself can be seen
        ({"act": ["stage_0.act_s3"], "late": ["stage_1.late_0"]}, {"late"}),  # nor what depends on it
        ({"act": ["stage_0.act_s3"], "late": []}, {UNSEEN}),
    ],
)
def test_the_layers_named_are_the_first_that_can_be_seen(
    probes: dict[str, list[str]], named: set[str]
) -> None:
    layers = [{"name": n, "hdl": n, "probes": [{"signal": s} for s in found]} for n, found in probes.items()]
    [fault] = Core(CHOICES, layers).mutations("lookup", 1)
    assert fault.layers == named


class FakeCore:
    """A core whose probe shows given codes."""

    def __init__(self, shown: dict[str, list[int]], codes: list[int]) -> None:
        probe = {"element": 0, "frac": 1}
        self.manifest = {"layers": [{"name": n, "probes": [{**probe, "signal": n}]} for n in shown]}
        self.shown, self.codes = shown, codes

    def run(self, codes: Any, spacing: int) -> Any:
        n = len(self.codes)
        return SimpleNamespace(
            codes=np.array(self.codes)[:, None], on_time=np.ones(n, dtype=bool), spurious=0
        )

    def probe(self, result: Any, probe: dict[str, Any]) -> Any:
        return np.array(self.shown[probe["signal"]])


TRACE = {"a": np.array([[0.5], [1.0]]), "b": np.array([[2.0], [3.0]])}


@pytest.mark.parametrize(
    ("shown", "codes", "answer"),
    [
        ({"a": [1, 3], "b": [9, 9]}, [7, 0], "a"),
        ({"a": [1, 2], "b": [4, 5]}, [7, 0], "b"),
        ({"a": [1, 2], "b": [4, 6]}, [7, 0], UNSEEN),
        ({"a": [1, 2], "b": [4, 6]}, [7, 8], OUTSIDE),
        ({}, [7, 0], UNSEEN),
    ],
)
def test_the_first_wrong_layer_is_named(shown: dict[str, list[int]], codes: list[int], answer: str) -> None:
    core: Any = FakeCore(shown, codes)
    expected = np.array([[7], [8]])
    assert locate(core, expected, TRACE, expected, spacings=(9, 1)) == answer


def test_layers_the_emulator_does_not_know_are_passed_over() -> None:
    core: Any = FakeCore({"other": [0, 0], "b": [0, 0]}, [0, 0])
    assert first_wrong_layer(core, core.run(None, 1), TRACE) == "b"


def test_around_stays_inside_the_sample() -> None:
    assert around(100, 3) == slice(0, 11) and around(100, 98) == slice(90, 100)


def traffic(rows: list[int]) -> PortTraffic:
    n = len(rows)
    return PortTraffic(np.zeros((1, 1), dtype=np.uint64), np.array(rows), np.zeros(n, int), np.zeros(n, bool))


def decoded(rows: list[int], ok: list[bool] | None = None, errors: dict[str, int] | None = None) -> Decoded:
    n = len(rows)
    return Decoded(
        codes=np.arange(n, dtype=np.int64)[:, None],
        first_word_cycle=np.array(rows, dtype=np.int64),
        last_word_cycle=np.array(rows, dtype=np.int64) + 1,
        ok=np.array(ok if ok is not None else [True] * n, dtype=bool),
        starts_orbit=np.zeros(n, dtype=bool),
        stray_words=0,
        errors=errors or {},
        error_links=(),
    )


def test_events_and_packets_of_one_number_belong_together_in_order() -> None:
    found, present = align(traffic([0, 9]), decoded([6, 15]), 5, np.zeros((2, 1), dtype=np.int64))
    assert found[:, 0].tolist() == [0, 1] and present.all()


def test_else_only_a_packet_at_its_clock_counts() -> None:
    found, present = align(traffic([0, 9, 18]), decoded([5, 23]), 5, np.zeros((3, 1), dtype=np.int64))
    assert present.tolist() == [True, False, True] and found[[0, 2], 0].tolist() == [0, 1]
    _, none = align(traffic([0, 9]), decoded([]), 5, np.zeros((2, 1), dtype=np.int64))
    assert not none.any()


def test_tally_counts_what_is_not_as_declared() -> None:
    layout: Any = SimpleNamespace(data_ports=lambda _: ())
    tally = Tally(5, 6)
    tally.add(traffic([0, 9]), decoded([5, 14]), layout)
    assert (tally.off_time, tally.last_off_time, tally.packets) == (0, 0, 2)
    assert (tally.measured, tally.measured_last) == ((5, 5), (6, 6))
    tally.add(traffic([0, 9]), decoded([5, 15], [True, False], {"valid_gap": 3}), layout)
    assert (tally.off_time, tally.last_off_time, tally.wrong_packets) == (1, 1, 1)
    assert (tally.measured, tally.measured_last) == ((5, 6), (6, 7))
    assert tally.errors == {"valid_gap": 2}
    tally.add(traffic([0, 9]), decoded([5]), layout)
    assert (tally.off_time, tally.last_off_time, tally.events, tally.packets) == (2, 2, 6, 5)


@pytest.mark.parametrize("last", [[6, 16], [6, -1], [7, 15]])
def test_only_the_last_word_may_be_off(last: list[int]) -> None:
    layout: Any = SimpleNamespace(data_ports=lambda _: ())
    tally = Tally(5, 6)
    tally.add(traffic([0, 9]), replace(decoded([5, 14]), last_word_cycle=np.array(last)), layout)
    assert (tally.off_time, tally.last_off_time) == (0, 1)
