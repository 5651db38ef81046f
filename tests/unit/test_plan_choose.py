# SPDX-License-Identifier: Apache-2.0
"""Plans keep interval, budget and pins, cost less where they may be slower, and say what is in the way."""

from __future__ import annotations

import itertools
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from l1ml import flow, planned, streamed
from l1ml.config import ProjectConfig
from l1ml.errors import ConfigError, L1mlError, TimingError
from l1ml.plan import cost
from l1ml.plan.fold import FoldEngine
from l1ml.plan.making import Making
from l1ml.plan.network import EngineNode
from l1ml.plan.pinned import PARALLEL
from l1ml.plan.price import Price
from l1ml.streamed import Streamed

sys.path.insert(0, str(Path(__file__).parent))
from networks import program, random_codes
from streamed_maker import Maker
from streamed_networks import NETWORKS
from test_plan_layout import beats, wanted

PROGRAMS = {
    name: program(NETWORKS[name][0], "fixed<5,2>") for name in ("cnn", "deep sets", "lstm", "skip", "gram")
}


def plan(name: str, **options: Any) -> Streamed:
    config = ProjectConfig.from_mapping({"interface": "axis", "clock_mhz": 240.47, **options})
    return streamed.plan(PROGRAMS[name], config, *flow.elements(PROGRAMS[name]))


def folds(block: Streamed) -> dict[str, int]:
    nodes = block.plan.timed.network.nodes
    return {
        n.layer: n.engine.slices
        for n in nodes
        if isinstance(n, EngineNode) and n.engine.MODULE == "l1ml_fold"
    }


@pytest.mark.parametrize("name", [name for name in PROGRAMS if name != "gram"])
@pytest.mark.parametrize("options", [{}, {"plan": {"lanes": 1}}, {"tmux": 20}, {"latency_budget_ns": 700.0}])
def test_a_plan_changes_no_code(name: str, options: dict[str, Any]) -> None:
    of = PROGRAMS[name]
    block = plan(name, **options)
    codes = random_codes(of, 12)
    network = block.plan.timed.network
    found = network.emulate(beats(block.raster, codes[0]))
    for out, right in zip(found, wanted(of, codes), strict=True):
        assert np.array_equal(out.reshape(len(right), -1), right)
    assert block.plan.timed.interval <= block.layout.link_cycles
    budget = options.get("latency_budget_ns")
    assert budget is None or block.latency.ns <= budget


def test_slower_is_never_more() -> None:
    block = plan("cnn", plan={"lanes": 1})
    config = ProjectConfig.from_mapping({"interface": "axis", "clock_mhz": 240.47, "plan": {"lanes": 1}})
    points = streamed.front(PROGRAMS["cnn"], config, block.layout, block.raster, block.plan.goal.luts)
    assert len(points) >= 2
    for fast, slow in itertools.pairwise(points):
        assert fast["cycles"] < slow["cycles"]
        assert fast["lut"] + fast["ff"] > slow["lut"] + slow["ff"]
    tight = plan("cnn", plan={"lanes": 1}, latency_budget_ns=points[0]["latency_ns"])
    loose = plan("cnn", plan={"lanes": 1}, latency_budget_ns=points[-1]["latency_ns"])
    assert tight.plan.total.lut > loose.plan.total.lut
    assert tight.latency.cycles < loose.latency.cycles


def test_pins_are_kept() -> None:
    layer = "fc9"
    assert layer in folds(plan("cnn", plan={"lanes": 1, "layers": {layer: {"reuse_factor": 3}}}))
    assert folds(plan("cnn", plan={"lanes": 1, "layers": {layer: {"reuse_factor": 3}}}))[layer] == 3
    for given in ({"strategy": "latency"}, {"strategy": "Distributed_Arithmetic"}, {"reuse_factor": 1}):
        assert layer not in folds(plan("cnn", plan={"lanes": 1, "layers": {layer: given}}))
    unrolled = plan("lstm", plan={"lanes": 1, "layers": {"lstm1": {"strategy": "latency"}}})
    assert not unrolled.plan.timed.scans
    assert plan("lstm", plan={"lanes": 1}).plan.timed.scans


def fold(block: Streamed, layer: str) -> FoldEngine:
    (node,) = (n for n in block.plan.timed.network.nodes if isinstance(n, EngineNode) and n.layer == layer)
    assert isinstance(node.engine, FoldEngine)
    return node.engine


def test_multipliers_and_memories_are_those_asked_for() -> None:
    def made(**given: Any) -> FoldEngine:
        return fold(plan("cnn", plan={"lanes": 1, "layers": {"fc9": {"reuse_factor": 3, **given}}}), "fc9")

    assert (made().style, made().rom) == ("lut", "lut")  # short words, few of them
    for style in ("lut", "dsp"):
        for rom in ("lut_rom", "block_rom"):
            engine = made(multiplier=style, weights=rom)
            assert (engine.style, f"{engine.rom}_rom") == (style, rom)
    assert made(multiplier="dsp", reuse_factor=1).slices == 1  # a Fold all the same
    for given, memory in (({"multiplier": "lut"}, "lut_rom"), ({"weights": "block_rom"}, "block_rom")):
        block = plan("deep sets", plan={"interval": 20, "layers": {"fc9": given}}, interface="axis")
        entry = next(e for e in planned.describe(block) if e["layers"] == ["fc9"] and e["engine"] == "fold")
        assert (entry["multiplier"], entry["weights"]["memory"]) == ("lut", memory)


@pytest.mark.parametrize(
    ("part", "bits", "words", "way"),
    [
        ("xcvu13p", 6, 16, ("lut", "lut")),
        ("xcvu13p", 16, 16, ("dsp", "lut")),  # a DSP block is 0.008 % of the part, as are 141 LUTs
        ("xcku15p", 16, 16, ("lut", "lut")),  # 265
        ("xc7vx690t", 6, 300, ("lut", "block")),  # a block RAM is as much as 295 LUTs
        ("xcvu13p", 6, 300, ("lut", "lut")),  # 643
        ("xcvu13p", 28, 16, ("lut", "lut")),  # no DSP block takes 28 bits
    ],
)
def test_what_is_scarce_decides(part: str, bits: int, words: int, way: tuple[str, str]) -> None:
    weights = np.random.default_rng(1).integers(-1 << bits - 1, 1 << bits - 1, (1, words, 12))
    least = FoldEngine.least_acc_bits(weights, bits, True)
    engine = Making(price=Price(part)).made(FoldEngine(weights, bits, True, bits, least, 1))
    assert (engine.style, engine.rom) == way


def test_what_the_user_spares_counts_most() -> None:
    found = {kind: plan("cnn", plan={"lanes": 1, "spare": kind}).plan.total for kind in ("lut", "dsp")}
    assert found["lut"].lut < found["dsp"].lut
    assert found["lut"].dsp > found["dsp"].dsp == 0


def test_a_latency_strategy_may_share() -> None:
    given = {"strategy": "latency", "reuse_factor": 3}  # hls4ml honours the factor there, too
    assert folds(plan("cnn", plan={"lanes": 1, "layers": {"fc9": given}}))["fc9"] == 3


def test_a_pin_that_suits_more_lanes_finds_them() -> None:
    """Of a flattened sequence of 3 channels a beat of one position has 3 inputs, one of four has 12."""
    m = Maker(8, 3, seed=43)
    m.flatten(24)
    name = m.dense(24, 4)
    of = program(m.done(), "fixed<5,2>")
    given = {"interface": "axis", "clock_mhz": 240.47, "plan": {"layers": {name: {"reuse_factor": 4}}}}
    block = streamed.plan(of, ProjectConfig.from_mapping(given), *flow.elements(of))
    assert block.raster.lanes == 4
    assert folds(block) == {name: 4}


def product(per_clock: int, weight_bits: int = 5, **more: Any) -> FoldEngine:
    half = 1 << weight_bits - 1
    weights = np.random.default_rng(3).integers(-half, half, (1, 144, 16))
    return FoldEngine(weights, 6, False, weight_bits, 20, per_clock, **more)


@pytest.mark.parametrize(
    ("per_clock", "chain"), [(1, 1), (2, 2), (5, 5), (6, 6), (7, 4), (9, 5), (16, 6), (36, 6), (48, 6)]
)
def test_cascades_take_adders_and_no_more_dsp_blocks(per_clock: int, chain: int) -> None:
    one = Making("dsp").made(product(per_clock))
    alone = Making("dsp", chain=1).made(product(per_clock))
    assert (one.chain, alone.chain) == (chain, 1)
    used, before = cost.of_engine(one), cost.of_engine(alone)
    assert used.dsp == before.dsp == 16 * per_clock
    assert used.lut <= before.lut - 16 * 11 * (per_clock - one.ends) // 2  # terms have 11 bits
    assert Price().of(used) < Price().of(before) or chain == 1


def test_only_dsp_blocks_with_weights_that_stay_make_cascades() -> None:
    assert Making("lut").made(product(8)).chain == 1
    assert Making("dsp").made(product(8, reloadable=True)).chain == 1
    ternary = FoldEngine(np.ones((1, 8, 2), dtype=np.int64), 16, True, 2, 20, 8)
    assert Making().made(ternary).chain == 1


def test_a_short_budget_leaves_no_time_for_cascades() -> None:
    options: dict[str, Any] = {"lanes": 1, "layers": {"fc9": {"reuse_factor": 3, "multiplier": "dsp"}}}
    loose = plan("cnn", plan=options)
    config = ProjectConfig.from_mapping({"interface": "axis", "clock_mhz": 240.47, "plan": options})
    points = streamed.front(PROGRAMS["cnn"], config, loose.layout, loose.raster, loose.plan.goal.luts)
    fastest = points[0]["latency_ns"]
    assert fold(loose, "fc9").chain > 1
    assert fold(plan("cnn", plan=options, latency_budget_ns=fastest + 0.1), "fc9").chain > 1
    tight = plan("cnn", plan=options, latency_budget_ns=fastest - 4.0)
    assert fold(tight, "fc9").chain == 1
    assert tight.latency.ns <= fastest - 4.0
    with pytest.raises(TimingError, match="the fastest plan takes"):
        plan("cnn", plan=options, latency_budget_ns=fastest / 2)


def test_products_of_two_tensors_are_shared_if_there_is_time() -> None:
    def modules(block: Streamed) -> set[str]:
        return {n.engine.MODULE for n in block.plan.timed.network.nodes if isinstance(n, EngineNode)}

    given = {"interface": "parallel", "hardware": "streamed"}
    loose = plan("gram", **given, plan={"interval": 8})
    assert "l1ml_repeat" in modules(loose)
    budget = (loose.latency.cycles - 4) * 1e3 / 240.47
    tight = plan("gram", **given, plan={"interval": 8}, latency_budget_ns=budget)
    assert "l1ml_repeat" not in modules(tight)
    assert tight.latency.ns <= budget
    assert tight.plan.total.lut > 3 * loose.plan.total.lut


def test_the_same_input_gives_the_same_plan() -> None:
    assert plan("skip").plan.slices == plan("skip").plan.slices
    assert PARALLEL == 0


def test_clock_and_tmux_plan_again() -> None:
    fast, slow = plan("cnn", tmux=12), plan("cnn", tmux=24)
    assert (fast.layout.link_cycles, slow.layout.link_cycles) == (72, 144)
    assert slow.plan.total.lut <= fast.plan.total.lut
    few, many = plan("cnn", clock_mhz=120.24, tmux=12), plan("cnn", clock_mhz=360.71, tmux=12)
    assert (few.layout.link_cycles, many.layout.link_cycles) == (36, 108)


@pytest.mark.parametrize(
    ("name", "options", "kind", "texts"),
    [
        (
            "cnn", {"latency_budget_ns": 20.0, "plan": {"lanes": 1}}, TimingError,
            ("the fastest plan takes", "clocks from the first beat", "raise the budget by"),
        ),
        (
            "cnn", {"latency_budget_ns": 20.0, "plan": {"lanes": 1, "layers": {"fc9": {"reuse_factor": 3}}}},
            TimingError, ("the fastest plan takes", "lower the reuse_factor of fc9"),
        ),
        (
            "cnn", {"latency_budget_ns": 1.0}, TimingError,
            ("no way to stream this network fits", "whole event", "collecting the first beat and sending the result"),
        ),
        ("cnn", {"plan": {"lanes": 99}}, TimingError, ("99 positions per beat", "possible are 1 to 9")),
        (
            "cnn", {"plan": {"layers": {"fc8": {"reuse_factor": 2}}}}, ConfigError,
            ("fc8: no product that can be folded", "did you mean"),
        ),
        (
            "cnn", {"plan": {"layers": {"fc8": {"multiplier": "dsp"}}}}, ConfigError,
            ("fc8: multiplier and weights are those of a product", "did you mean"),
        ),
        (
            "deep sets", {"plan": {"lanes": 1, "layers": {"fc1": {"weights": "block_rom", "reuse_factor": 1}}}},
            ConfigError, ("fc1", "weights: block_rom", "a reuse_factor of 2 or more"),
        ),
        (
            "lstm", {"plan": {"lanes": 1, "layers": {"lstm1": {"weights": "block_rom"}}}}, ConfigError,
            ("lstm1: multiplier and weights", "a recurrent layer has none"),
        ),
        (
            "cnn", {"plan": {"layers": {"fc9": {"multiplier": "dsp", "strategy": "distributed_arithmetic"}}}},
            ConfigError, ("shifts and adds", "fc9", "strategy: resource"),
        ),
        (
            "cnn", {"plan": {"layers": {"fc9": {"multiplier": "bram"}}}}, ConfigError,
            ("plan.layers.fc9.multiplier must be auto or lut or dsp",),
        ),
        (
            "cnn", {"plan": {"layers": {"fc9": {"reuse_factor": 50}}}}, ConfigError,
            ("fc9: a reuse factor of 50 does not divide its 6 inputs per beat; the nearest that do are 6",),
        ),
        (
            "cnn", {"plan": {"lanes": 1, "layers": {"conv4": {"reuse_factor": 7}}}}, ConfigError,
            ("conv4: a reuse factor of 7 does not divide its 12 inputs per beat; the nearest that do are 6 and 12",),
        ),
        (
            "cnn", {"plan": {"layers": {"fc9": {"reuse_factor": 3, "strategy": "distributed_arithmetic"}}}},
            ConfigError, ("builds all products at once, and reuse_factor: 3", "fc9"),
        ),
        (
            "lstm", {"plan": {"lanes": 1, "layers": {"lstm1": {"reuse_factor": 2}}}}, ConfigError,
            ("lstm1: a reuse factor of 2", "share one cell", "strategy: latency"),
        ),
        (
            "lstm", {"plan": {"lanes": 1, "interval": 7}, "links": {"word_bits": 8}}, TimingError,
            ("an interval of 7 clocks", "a frame lasts 14"),
        ),
        (
            "cnn", {"plan": {"lanes": 1, "interval": 80, "layers": {"conv1": {"reuse_factor": 2}}}}, TimingError,
            ("conv1", "clocks per event, there are 80"),
        ),
        (
            "cnn", {"tmux": 12, "plan": {"lanes": 1, "layers": {"conv1": {"reuse_factor": 4}}}}, TimingError,
            ("conv1", "clocks per event, there are 72"),
        ),
        ("cnn", {"plan": {"lanes": 1, "interval": 70}}, TimingError, ("interval of 70 clocks", "a frame lasts 72")),
        ("cnn", {"interface": "emp", "plan": {"interval": 70}}, TimingError, ("the link at TMUX", "every")),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_said(
    name: str, options: dict[str, Any], kind: type[L1mlError], texts: tuple[str, ...]
) -> None:
    with pytest.raises(kind) as caught:
        plan(name, **options)
    for text in texts:
        assert text in str(caught.value)
