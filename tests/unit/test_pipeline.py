# SPDX-License-Identifier: Apache-2.0
"""Stages: given the clock, or given their number; what is read decides what is registered."""

from __future__ import annotations

from dataclasses import replace

import networks
import numpy as np
import pytest

from l1ml.dataflow import op as ops
from l1ml.dataflow.program import Dataflow
from l1ml.errors import TimingError
from l1ml.lowering.lower import lower
from l1ml.rtl.demand import Demand
from l1ml.schedule.delay import Family, family_of
from l1ml.schedule.delays import op_ns
from l1ml.schedule.pipeline import Pipeline, best_clock, pipeline
from l1ml.types.intrange import IntType


@pytest.fixture(scope="module")
def flow() -> Dataflow:
    return lower(networks.program(networks.mlp((6, 12, 8, 3))))


@pytest.fixture(scope="module")
def family() -> Family:
    return family_of("xcvu13p-flga2577-2-e", 2000)


def test_faster_clock_needs_more_stages(flow: Dataflow, family: Family) -> None:
    stages = [pipeline(flow, family, mhz).stages for mhz in (40.08, 160.0, 240.47, 360.71, 480.0)]
    assert stages == sorted(stages)
    assert stages[0] < stages[-1]


def test_stages_give_the_best_clock_and_back(flow: Dataflow, family: Family) -> None:
    for stages in (1, 2, 4, 6):
        mhz = best_clock(flow, family, stages)
        assert pipeline(flow, family, mhz * 0.999).stages <= stages
        with pytest.raises(TimingError):
            pipeline(flow, family, mhz * 1.02, stages)


def test_more_stages_than_needed_are_kept(flow: Dataflow, family: Family) -> None:
    least = pipeline(flow, family, 240.47).stages
    made = pipeline(flow, family, 240.47, least + 3)
    made.verify()
    assert made.stages == least + 3


def test_impossible_clock_names_layer_and_limit(flow: Dataflow, family: Family) -> None:
    with pytest.raises(TimingError, match=r"of layer \w+ takes .* ns") as caught:
        pipeline(flow, family, 1350.0)
    assert "MHz" in str(caught.value)


def test_verify_catches_a_decreasing_stage_and_a_long_path(flow: Dataflow, family: Family) -> None:
    made = pipeline(flow, family, 360.71)
    late = [made.stages - 1] * len(flow.inputs) + list(made.stage[len(flow.inputs) :])
    with pytest.raises(AssertionError):
        replace(made, stage=tuple(late)).verify()
    with pytest.raises(AssertionError):
        replace(made, clock_mhz=600.0).verify()


def test_every_stage_registers_what_a_later_one_reads(flow: Dataflow, family: Family) -> None:
    made = pipeline(flow, family, 360.71)
    demand = Demand(made)
    for wire, step in flow.defined():
        if wire in demand.constants or not demand.made[wire]:
            continue
        for source in step.ins:
            for behind in range(made.stage[source], made.stage[wire]):
                assert (
                    source in demand.constants
                    or (source, behind) in demand.held
                    or _reads_nothing(made, wire)
                )
    assert sum(demand.register_bits) <= sum(made.register_bits)


def _reads_nothing(made: Pipeline, wire: int) -> bool:
    return made.flow.type_of(wire).width == 0


def test_delays_of_choices_tables_and_products(family: Family) -> None:
    def ns(op: ops.Op, *ins: IntType) -> float:
        return op_ns(op, ins, op.infer(*ins), family)

    bit, s6, s8, s12 = IntType(0, 1), IntType(-32, 31), IntType(-128, 127), IntType(-2048, 2047)
    table = tuple(np.random.default_rng(0).integers(0, 2, 4096).tolist())
    level = family.mux_ns
    assert ns(ops.Select(), bit, s8, s8) == level
    assert ns(ops.Lookup(-32, table[:64]), s6) == level
    assert ns(ops.Lookup(-128, table[:256]), s8) == pytest.approx(level + 2 * family.wide_mux_ns)
    assert ns(ops.Lookup(-2048, table), s12) > 2 * level  # and the load of 69 LUTs on every input
    assert ns(ops.Lookup(-32, tuple(n & 1 for n in table[:64])), s6) > 0
    assert ns(ops.Lookup(-32, tuple(n & 1 for n in range(64))), s6) == 0  # a wire
    assert ns(ops.Bitwise("xor", (0,) * 6), *[bit] * 6) == level
    assert ns(ops.Bitwise("or", (0, 1)), bit, bit) == 0  # wires side by side
    assert ns(ops.Compare(), s12, s12) == family.compare_ns(12)
    assert ns(ops.Multiply(), s8, IntType(0, 3)) < ns(ops.Multiply(), s8, s8) == family.net_ns + family.dsp_ns
    assert ns(ops.Multiply(), IntType(-(1 << 29), 1 << 29), s12) > ns(ops.Multiply(), s12, s12)


def test_many_readers_slow_a_choice(family: Family) -> None:
    wide = ops.Select().infer(IntType(0, 1), IntType(0, 1 << 39), IntType(0, 1 << 39))
    assert op_ns(ops.Select(), [IntType(0, 1), wide, wide], wide, family) > family.mux_ns
