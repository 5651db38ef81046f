# SPDX-License-Identifier: Apache-2.0
"""The plan of a project is read from its manifest as it was made, or refused."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from l1ml import flow, streamed
from l1ml.config import ProjectConfig
from l1ml.errors import DataError
from l1ml.graph.program import TensorProgram
from l1ml.plan.kept import network_of, plan_of, raster_of
from l1ml.plan.network import EngineNode
from l1ml.planned import choices, describe

sys.path.insert(0, str(Path(__file__).parent))
from networks import program
from streamed_networks import NETWORKS

PLANS: dict[str, tuple[str, dict[str, Any]]] = {
    "folded and paced": ("cnn", {"lanes": 1, "layers": {"conv4": {"reuse_factor": 6}}}),
    "block RAM": ("cnn", {"lanes": 1, "layers": {"fc7": {"weights": "block_rom", "multiplier": "dsp"}}}),
    "reloadable": ("deep sets", {"lanes": 1, "layers": {"fc7": {"reloadable": "fixed<6,2>"}}}),
    "scanned": ("lstm", {"lanes": 1, "interval": 14}),
    "whole events, split": ("deep sets", {"interval": 3}),
    "edges": ("edge conv", {"lanes": 1, "interval": 18}),
}


def planned(name: str) -> tuple[TensorProgram, streamed.Streamed, dict[str, Any]]:
    """Return a network, its plan, and what a manifest keeps of it."""
    network, plan = PLANS[name]
    interface = "axis" if "lanes" in plan else "parallel"
    options = {"interface": interface, "input_type": "fixed<5,2>", "clock_mhz": 240.47, "plan": plan}
    of, config = program(NETWORKS[network][0], "fixed<5,2>"), ProjectConfig.from_mapping(options)
    made = streamed.plan(of, config, *flow.elements(of))
    facts = {
        "plan": describe(made),
        "choices": choices(made, of, None),
        "interval": {"link_cycles": made.layout.link_cycles},
        "target": {"part": config.part, "clock_mhz": config.clock_mhz},
    }
    return of, made, json.loads(json.dumps(facts))


@pytest.mark.parametrize("name", PLANS)
def test_what_was_kept_is_the_plan_that_was_made(name: str) -> None:
    of, made, manifest = planned(name)
    kept = plan_of(manifest, of, max(1, made.layout.beat_words))
    timed = made.plan.timed
    assert kept.raster == made.raster and kept.timed.latency == timed.latency
    assert {k: d.stages for k, d in kept.pipes.items()} == {k: p.stages for k, p in made.pipes.items()}
    assert (kept.timed.waits, kept.timed.ends, kept.timed.busy) == (timed.waits, timed.ends, timed.busy)
    for one, other in zip(kept.timed.times, timed.times, strict=True):
        assert np.array_equal(one, other)
    for one, other in zip(kept.timed.network.nodes, timed.network.nodes, strict=True):
        assert type(one) is type(other) and (one.inputs, one.outputs) == (other.inputs, other.outputs)
        if isinstance(one, EngineNode):
            assert one.engine.parameters() == other.engine.parameters()


def test_a_manifest_that_does_not_fit_is_refused() -> None:
    of, made, manifest = planned("folded and paced")
    spacing, plan, choices = max(1, made.layout.beat_words), manifest["plan"], manifest["choices"]
    fold = next(k for k, entry in enumerate(plan) if entry["engine"] == "fold")
    (step, *_) = [step for step, per_clock in choices["fold"].items() if per_clock is not None]
    wrong = [{**entry} for entry in plan]
    wrong[fold]["busy_cycles"] += 1
    for change, reason in (
        ({"plan": plan[:-1]}, f"its plan has {len(plan) - 1} engines, its network makes {len(plan)}"),
        ({"plan": wrong}, f"first, last and busy clock of engine {fold} are"),
        ({"choices": {**choices, "fold": {}}}, "its choices do not fit its network"),
        (
            {"choices": {**choices, "fold": {**choices["fold"], step: 1}}},
            "engine .* of .* has other parameters",
        ),
        ({"choices": {**choices, "raster": [1, 1, 1]}}, "its choices do not fit"),
        ({"choices": {**choices, "raster": [1, 4, 9]}}, "its choices are not those of a plan"),
    ):
        with pytest.raises(DataError, match=reason) as caught:
            plan_of({**manifest, **change}, of, spacing)
        assert caught.value.fix == "run l1ml convert"
    del manifest["choices"]
    for read in (raster_of, lambda facts: network_of(facts, of)):
        with pytest.raises(DataError, match="says nothing of the choices behind its plan"):
            read(manifest)
