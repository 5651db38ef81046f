# SPDX-License-Identifier: Apache-2.0
"""Registers of engines follow from clock, widths, taps and family; none is lost, and every path fits."""

from __future__ import annotations

import itertools
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from l1ml import streamed
from l1ml.config import ProjectConfig
from l1ml.errors import TimingError
from l1ml.flow import elements as flow_elements
from l1ml.lowering.lower import lower
from l1ml.plan.fold import FoldEngine
from l1ml.plan.fold_paths import data_ns, way, with_registers
from l1ml.plan.network import EngineNetwork, EngineNode
from l1ml.plan.paths import late_ns, paths, worst
from l1ml.plan.reduce import ReduceEngine
from l1ml.plan.registers import longest, registered
from l1ml.plan.window import WindowEngine
from l1ml.schedule.delay import family_of
from l1ml.schedule.pipeline import pipeline

sys.path.insert(0, str(Path(__file__).parent))
from networks import program
from streamed_networks import NETWORKS

CLOCKS = (40.0, 100.0, 160.0, 200.0, 240.0, 320.0, 360.0)
ULTRASCALE = family_of("xcvu13p-flga2577-2-e", 60_000)
VIRTEX = family_of("xc7vx690t-ffg1927-2", 60_000)


def fold(bits: int = 8, per_clock: int = 4, outputs: int = 16, **more: Any) -> FoldEngine:
    codes = np.random.default_rng(1).integers(-1 << bits - 1, 1 << bits - 1, (1, 64, outputs))
    codes[0, 0] = -1 << bits - 1  # a weight of all its bits
    least = FoldEngine.least_acc_bits(codes, bits, True)
    return FoldEngine(codes, bits, True, bits, least, per_clock, **more)


def stages(one: FoldEngine, family: Any = ULTRASCALE, clock: float = 200.0) -> int:
    made = with_registers(one, family, clock)
    return made.multiplier_stages + made.tree_stages


@pytest.mark.parametrize("style", ["lut", "dsp"])
@pytest.mark.parametrize("rom", ["lut", "block"])
@pytest.mark.parametrize("per_clock", [1, 3, 16])
@pytest.mark.parametrize("bits", [4, 8, 12])
def test_more_registers_at_faster_clocks_and_every_path_fits(
    style: str, rom: str, per_clock: int, bits: int
) -> None:
    one = fold(bits, per_clock, style=style, rom=rom)
    found = [stages(one, clock=clock) for clock in CLOCKS]
    assert found == sorted(found)
    assert found[0] == 0
    assert found[-1] > 0
    for clock in CLOCKS:
        made = with_registers(one, ULTRASCALE, clock)
        assert max(ns for _, ns in data_ns(made, ULTRASCALE)) <= ULTRASCALE.usable_ns(clock) + 1e-9
        assert made.latency == made.slices + 1 + stages(one, clock=clock)


@pytest.mark.parametrize(("per_clock", "chain"), [(4, 4), (16, 4), (36, 6)])
def test_a_cascade_always_has_its_registers_and_a_smaller_tree(per_clock: int, chain: int) -> None:
    plain = fold(6, per_clock, style="dsp")
    one = replace(plain, chain=chain, multiplier_stages=1)
    found = [with_registers(one, ULTRASCALE, clock) for clock in CLOCKS]
    assert (found[0].multiplier_stages, found[0].tree_stages) == (1, 0)
    for clock, made in zip(CLOCKS, found, strict=True):
        path = worst(made, ULTRASCALE)
        assert path is not None and path.ns <= ULTRASCALE.usable_ns(clock) + 1e-9
        assert made.multiplier_stages >= 1
        assert made.tree_stages <= with_registers(plain, ULTRASCALE, clock).tree_stages
    columns = {path.name: path.ns for path in paths(one, ULTRASCALE)}["address to word"]
    assert columns < {path.name: path.ns for path in paths(plain, ULTRASCALE)}["address to word"]


def test_more_registers_for_wider_words_more_taps_and_slower_parts() -> None:
    for clock in (200.0, 360.0):
        for of in ([fold(bits=b) for b in (4, 6, 8, 12, 16)], [fold(per_clock=g) for g in (1, 2, 4, 16, 64)]):
            found = [stages(one, clock=clock) for one in of]
            assert found == sorted(found)
            assert found[0] < found[-1]
    one = fold(outputs=32)
    assert stages(one, ULTRASCALE, 240.0) < stages(one, VIRTEX, 240.0)
    large = ULTRASCALE.sized(400_000)
    assert stages(one, ULTRASCALE, 240.0) < stages(one, large, 240.0)


def test_fewest_registers() -> None:
    """Every choice with fewer misses the clock."""
    one = fold(8, 4)
    usable = ULTRASCALE.usable_ns(360.0)
    wanted = stages(one, clock=360.0)
    along = way(one, ULTRASCALE)
    for multiplier, tree in itertools.product(range(one.rows + 2), range(3)):
        if multiplier + tree < wanted:
            assert max(ns for _, ns in along.stages(multiplier, tree)) > usable


@pytest.mark.parametrize("style", ["lut", "dsp"])
def test_no_delay_is_lost_between_registers(style: str) -> None:
    along = way(fold(9, 5, style=style), ULTRASCALE)
    whole = along.operands + sum(along.rows) + sum(along.levels) + along.add
    for multiplier, tree in itertools.product(range(len(along.rows) + 2), range(len(along.levels) + 1)):
        found = along.stages(multiplier, tree)
        assert len(found) == 1 + multiplier + tree  # one path more than registers
        assert sum(ns for _, ns in found) == pytest.approx(whole)
    assert along.stages(0, 0) == [("operands to sum", pytest.approx(whole))]


def test_ternary_weights_need_no_rows() -> None:
    codes = np.random.default_rng(2).integers(-1, 2, (1, 32, 8))
    one = FoldEngine(codes, 8, False, 2, FoldEngine.least_acc_bits(codes, 8, False), 8)
    assert one.rows == 1
    assert stages(one, clock=360.0) < stages(fold(8, 8, 8), clock=360.0)


def test_lanes_of_a_sum_get_registers() -> None:
    node = EngineNode("pool", ReduceEngine(1, 64, 16, 8, 12, True, "sum", 18), (0,), (1,))
    network = EngineNetwork((), (node,), (), ())
    found = []
    for clock in CLOCKS:
        (made,) = registered(network, ULTRASCALE, clock).nodes
        assert isinstance(made, EngineNode) and isinstance(made.engine, ReduceEngine)
        path = worst(made.engine, ULTRASCALE)
        assert path is not None and path.ns <= ULTRASCALE.usable_ns(clock)
        found.append(made.engine.tree_stages)
    assert found == sorted(found)
    assert (found[0], found[-1] > 0) == (0, True)


def test_longer_nets_make_every_path_longer() -> None:
    engines = [
        with_registers(fold(), ULTRASCALE, 200.0),
        fold(rom="block"),
        WindowEngine(8, 8, 1, 8, (3, 3), padding=((1, 1), (1, 1))),
        ReduceEngine(1, 30, 4, 8, 8, False, "max", 8),
    ]
    small, large = ULTRASCALE.sized(1_000), ULTRASCALE.sized(200_000)
    for one in engines:
        pairs = list(zip(paths(one, small), paths(one, large), strict=True))
        assert len(pairs) >= 2
        assert all(a.name == b.name and a.ns < b.ns for a, b in pairs)


def test_zeros_around_an_image_are_late() -> None:
    same = WindowEngine(8, 8, 1, 8, (3, 3), padding=((1, 1), (1, 1)))
    valid = replace(same, padding=((0, 0), (0, 0)))
    assert late_ns(valid, ULTRASCALE) == 0.0
    assert late_ns(same, ULTRASCALE) >= ULTRASCALE.mux_ns
    flow = lower(program(NETWORKS["dense"][0], "fixed<5,2>"))
    found = [pipeline(flow, ULTRASCALE, 360.0, late_ns=late) for late in (0.0, 1.0, 2.0)]
    assert found[0].stages <= found[1].stages <= found[2].stages
    for made, late in zip(found, (0.0, 1.0, 2.0), strict=True):
        first = len(flow.inputs)
        assert made.arrival_ns[: len(made.flow.inputs)] == (late,) * len(made.flow.inputs)
        early = [t for t, s in zip(made.arrival_ns[first:], made.stage[first:], strict=True) if s == 0 and t]
        assert all(late < t <= ULTRASCALE.usable_ns(360.0) for t in early)
    with pytest.raises(TimingError, match=r"stable 3\.00 ns after the clock edge"):
        pipeline(flow, ULTRASCALE, 360.0, late_ns=3.0)


def test_an_engine_too_slow_for_the_clock_is_refused() -> None:
    of = program(NETWORKS["cnn same"][0], "fixed<5,2>")
    given = {"interface": "axis", "part": "xc7vx690t-ffg1927-2", "plan": {"lanes": 1}}
    for clock in (240.47, 480.0):
        config = ProjectConfig.from_mapping({**given, "clock_mhz": clock})
        if clock < 300:
            assert streamed.plan(of, config, *flow_elements(of)).latency.cycles > 0
            continue
        with pytest.raises(TimingError, match=r"window .* ns, a stage at 480 MHz has 1\.79"):
            streamed.plan(of, config, *flow_elements(of))


@pytest.mark.parametrize("name", ["cnn same", "lstm"])
def test_a_block_keeps_its_clock_everywhere(name: str) -> None:
    """Maps with what their inputs still pass, engines and the nets of the whole design."""
    of = program(NETWORKS[name][0], "fixed<5,2>")
    config = ProjectConfig.from_mapping({"interface": "axis", "clock_mhz": 320.63, "plan": {"lanes": 1}})
    block = streamed.plan(of, config, *flow_elements(of))
    family = block.family
    assert family.design_luts >= block.plan.total.lut
    assert all(pipe.family.design_luts == family.design_luts for pipe in block.pipes.values())
    found = longest(block.plan.timed, family)
    assert found
    assert all(path.ns <= family.usable_ns(320.63) for _, path in found)
    late = [pipe for pipe in block.pipes.values() if max(pipe.arrival_ns[: len(pipe.flow.inputs)]) > 0]
    shared = block.plan.timed.scans.values()
    assert bool(late) == (name == "cnn same" or any(scan.slot == scan.cell_latency for scan in shared))
