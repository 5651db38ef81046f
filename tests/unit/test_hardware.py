# SPDX-License-Identifier: Apache-2.0
"""Which hardware a network gets, and which options do not go together."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import fixtures_models as files
import numpy as np
import pytest

import l1ml
from l1ml.config import ProjectConfig
from l1ml.errors import ConfigError
from l1ml.hardware import hardware_of

sys.path.insert(0, str(Path(__file__).parent))
from networks import program
from streamed_networks import NETWORKS

DENSE = program(NETWORKS["dense"][0], "fixed<5,2>")


@pytest.mark.parametrize(
    ("options", "kind", "otherwise"),
    [
        ({}, "parallel", False),
        ({"tmux": 6}, "parallel", False),
        ({"latency_budget_ns": 500.0}, "parallel", False),
        ({"tmux": 6, "latency_budget_ns": 500.0}, "streamed", True),
        ({"tmux": 1, "latency_budget_ns": 500.0}, "streamed", True),
        ({"tmux": 6, "latency_budget_ns": 500.0, "stages": 4}, "parallel", False),
        ({"tmux": 6, "latency_budget_ns": 500.0, "hardware": "parallel"}, "parallel", False),
        ({"hardware": "streamed"}, "streamed", False),
        ({"plan": {"interval": 8}}, "streamed", False),
        ({"hardware": "none", "plan": {"interval": 8}}, "none", False),
    ],
)
def test_options_decide(options: dict[str, Any], kind: str, otherwise: bool) -> None:
    found = hardware_of(DENSE, ProjectConfig.from_mapping(options))
    assert (found.kind, found.otherwise) == (kind, otherwise)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"hardware": "parallel", "plan": {"interval": 8}}, "plan: interval says how engines share"),
        ({"hardware": "streamed", "stages": 7}, "stages: 7 is for a block that is built at once"),
        ({"plan": {"interval": 8}, "stages": 7}, "stages: 7 is for a block that is built at once"),
    ],
)
def test_options_that_would_be_ignored_are_refused(options: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        hardware_of(DENSE, ProjectConfig.from_mapping(options))
    assert text in str(caught.value)


def test_time_to_share_makes_the_block_smaller_or_leaves_it_as_it_is(tmp_path: Path) -> None:
    """With a TMUX and a budget ``auto`` shares; where no engines are fast enough it builds all at once."""
    layers = [files.qdense("fc1", 16), files.layer("QActivation", "relu1", activation=files.relu(4))]
    of = files.sequential(*layers, files.qdense("fc2", 8))
    weights = files.weights_of(np.random.default_rng(3), fc1=(4, 16), fc2=(16, 8))
    model = files.write_h5(tmp_path / "model.h5", of, weights)

    def made(**options: Any) -> l1ml.Project:
        return l1ml.convert(
            model, output_dir=tmp_path / "p", input_type="fixed<8,3>", interface="emp", **options
        )

    fast = made(tmux=6)
    found = fast.manifest["estimate"]["lut"], fast.latency.ns
    shared = made(tmux=6, latency_budget_ns=1000.0)
    tight = made(tmux=6, latency_budget_ns=found[1])
    assert "plan" in shared.manifest
    assert "plan" not in fast.manifest
    assert shared.manifest["estimate"]["lut"] < found[0]
    assert shared.latency.ns <= 1000
    assert tight.latency.ns <= found[1]
