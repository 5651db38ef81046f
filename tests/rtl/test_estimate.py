# SPDX-License-Identifier: Apache-2.0
"""The quick estimate against Yosys on generated RTL."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from l1ml.graph import build, model
from l1ml.lowering.lower import lower
from l1ml.rtl.systemverilog import Core, print_core, print_package
from l1ml.schedule.delay import family_of
from l1ml.schedule.pipeline import pipeline
from l1ml.synth import estimate
from l1ml.synth.yosys import synthesize
from l1ml.types.fixed import Quantizer

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("pyosys") is None, reason="pyosys is not installed"),
]


@pytest.mark.parametrize("kept", [1.0, 0.3])
def test_two_dense_layers(kept: float, tmp_path: Path):
    rng = np.random.default_rng(3)

    def weights(*shape: int) -> np.ndarray:
        return rng.integers(-31, 32, shape) / 32 * (rng.random(shape) < kept)

    network = model.Model(
        "test",
        (
            model.Input("x", (), (12,), Quantizer.parse("fixed<10,4,RND_CONV,SAT>")),
            model.Dense("fc1", ("x",), weights(12, 16), weights(16)),
            model.Quantize("relu1", ("fc1",), Quantizer.parse("ufixed<6,2,RND_CONV,SAT>")),
            model.Dense("fc2", ("relu1",), weights(16, 6), weights(6)),
        ),
        ("fc2",),
    )
    program = build.to_program(network)
    pipe = pipeline(lower(program), family_of("xcvu13p", 4000), 360.71)
    core = Core("block_core", tuple(f"x_{k}" for k in range(12)), program.digest)
    package, module = tmp_path / "block_core_pkg.sv", tmp_path / "block_core.sv"
    package.write_text(print_package(core, pipe))
    module.write_text(print_core(core, pipe))
    layers, total = estimate.of_pipeline(pipe)
    measured = synthesize([module, package], "block_core", tmp_path / "build")
    assert sum(layers) == total["lut"]
    assert total["lut"] == pytest.approx(measured.lut, rel=0.05)
    assert total["ff"] == pytest.approx(measured.ff, rel=0.06)
