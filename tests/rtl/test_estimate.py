# SPDX-License-Identifier: Apache-2.0
"""The quick estimate against Yosys on generated RTL."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

from l1ml.graph import build, model
from l1ml.graph.program import TensorProgram
from l1ml.lowering.lower import lower
from l1ml.rtl.systemverilog import Core, print_core, print_package
from l1ml.schedule.delay import family_of
from l1ml.schedule.pipeline import pipeline
from l1ml.synth import estimate
from l1ml.synth.result import SynthesisResult
from l1ml.synth.yosys import synthesize
from l1ml.types.fixed import Quantizer

sys.path.insert(0, str(Path(__file__).parents[1] / "unit"))
from programs import Net, ints, p

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
    layers, total, measured = both(build.to_program(network), 360.71, tmp_path)
    assert sum(layers) == total["lut"]
    assert total["lut"] == pytest.approx(measured.lut, rel=0.05)
    assert total["ff"] == pytest.approx(measured.ff, rel=0.06)


def both(
    program: TensorProgram, mhz: float, folder: Path
) -> tuple[list[int], dict[str, int], SynthesisResult]:
    """Return the estimate, by layer and in all, and what Yosys makes of the core."""
    pipe = pipeline(lower(program), family_of("xcvu13p", 4000), mhz)
    core = Core("block_core", tuple(f"x_{k}" for k in range(len(pipe.flow.inputs))), program.digest)
    package, module = folder / "block_core_pkg.sv", folder / "block_core.sv"
    package.write_text(print_package(core, pipe))
    module.write_text(print_core(core, pipe))
    layers, total = estimate.of_pipeline(pipe)
    return layers, total, synthesize([module, package], "block_core", folder / "build")


def lookups(bits: int, table: np.ndarray) -> TensorProgram:
    net = Net(((4,), f"fixed<{bits},{bits}>"))
    return net.program(net.add(p.Lookup(ints(-(1 << bits - 1)), table[None], ints(0), 0), 0))


def sigmoid(bits: int, out: int) -> TensorProgram:
    codes = np.arange(-(1 << bits - 1), 1 << bits - 1)
    return lookups(bits, np.rint(((1 << out) - 1) / (1 + np.exp(-codes * 12 / (1 << bits)))))


def thresholds(bits: int, count: int, jump: int) -> TensorProgram:
    rng = np.random.default_rng(1)
    net = Net(((4,), f"fixed<{bits},{bits}>"))
    places = np.sort(rng.integers(-(1 << bits - 1), 1 << bits - 1, (4, count)))
    return net.program(net.add(p.Steps(places, ints(0), rng.integers(1, jump + 1, (4, count)), 0), 0))


def reduced(op: p.Primitive, kind: str, count: int) -> TensorProgram:
    net = Net(((4, count), kind))
    return net.program(net.add(op, 0))


def product(a: str, b: str) -> TensorProgram:
    net = Net(((4,), a), ((4,), b))
    return net.program(net.add(p.Combine("mul"), 0, 1))


CASES = {
    "table of 6 bits": (sigmoid(6, 6), 0.05),
    "table of 8 bits": (sigmoid(8, 8), 0.25),
    "table of 10 bits": (sigmoid(10, 8), 0.25),
    "table without pattern": (lookups(9, np.random.default_rng(0).integers(0, 64, 512)), 0.15),
    "three thresholds": (thresholds(12, 3, 1), 0.25),
    "uneven thresholds, 16 bits": (thresholds(16, 15, 5), 0.15),
    "maximum of 8": (reduced(p.Reduce("max"), "fixed<8,8>", 8), 0.15),
    "place of the maximum": (reduced(p.ArgMax(), "fixed<12,12>", 5), 0.25),
    "count of bits": (reduced(p.Reduce("sum"), "ufixed<1,1>", 30), 0.25),
    "product as a table": (product("fixed<3,3>", "fixed<3,3>"), 0.05),
    "product of rows": (product("fixed<8,8>", "fixed<8,8>"), 0.1),
    "product of uneven rows": (product("ufixed<12,12>", "ufixed<7,7>"), 0.2),
    "product in a DSP block": (product("fixed<12,12>", "ufixed<10,10>"), 0.0),
}


@pytest.mark.parametrize("case", CASES)
def test_tables_choices_and_products(case: str, tmp_path: Path):
    program, tolerance = CASES[case]
    _, total, measured = both(program, 200.0, tmp_path)
    assert total["lut"] == pytest.approx(measured.lut, rel=tolerance)
    if measured.dsp:  # Yosys puts the registers beside a multiplier into its DSP block, the estimate does not
        assert measured.ff <= total["ff"]
    else:
        assert total["ff"] == pytest.approx(measured.ff, rel=0.06)
    assert (total["dsp"], total["bram"]) == (measured.dsp, measured.bram)
