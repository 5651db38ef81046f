# SPDX-License-Identifier: Apache-2.0
"""Constants that differ by position: the stream goes on, and every code is that of the network as a whole."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from l1ml.graph import primitives as p
from l1ml.graph.program import NetInput, TensorProgram, TensorStep
from l1ml.plan.attach import AttachEngine
from l1ml.plan.network import EngineNetwork, EngineNode
from l1ml.plan.streamer import lay_out
from l1ml.plan.streams import WHOLE, Raster
from l1ml.types.fixed import Overflow, Quantizer, Rounding

sys.path.insert(0, str(Path(__file__).parent))
from networks import random_codes
from test_plan_layout import PROGRAMS, Choices, outputs, wanted
from test_plan_layout import rasters as layout_rasters

SHAPES = {"image": (4, 5, 2), "particles": (7, 3), "scalars": (6, 1)}
KIND = Quantizer.parse("fixed<7,3>")


def of(shape: tuple[int, ...], *ops: p.Primitive | tuple[p.Primitive, p.Constant]) -> TensorProgram:
    """Return a network of steps, one after the other; some read a constant, too."""
    steps: list[TensorStep] = []
    port = NetInput("x", shape, KIND)
    kinds, last = [port.type], 0

    def add(op: p.Primitive, *sources: int) -> int:
        kind = op.infer(*(kinds[s] for s in sources))
        steps.append(TensorStep(op, sources, f"step{len(steps)}", kind))
        kinds.append(kind)
        return len(kinds) - 1

    for op in ops:
        last = add(op[0], last, add(op[1])) if isinstance(op, tuple) else add(op, last)
    return TensorProgram((port,), tuple(steps), (("y", last),))


def step(name: str, shape: tuple[int, ...], seed: int) -> p.Primitive | tuple[p.Primitive, p.Constant]:
    """Return a step with constants of its own at every position."""
    rng = np.random.default_rng(seed)

    def codes(lo: int, hi: int, of: tuple[int, ...] = shape) -> np.ndarray:
        return rng.integers(lo, hi + 1, of)

    if name == "bias":
        return p.AddConst(codes(-40, 40), 6)
    if name == "scale":
        return p.MulConst(codes(-9, 9), 3)
    if name == "limits":
        return p.Requantize(codes(-9, -3), codes(0, 12), np.array(2), Rounding.RND_CONV, Overflow.SAT)
    if name == "lower limits":
        return p.Requantize(codes(-9, -3), np.array(5), np.array(1), Rounding.TRN, Overflow.SAT_SYM)
    if name == "rescale":
        shift = codes(0, 9)
        multiplier = np.where(codes(0, 5) > 0, codes(-31, 31), 0)
        return p.Rescale(multiplier, codes(-500, 500), shift, codes(-20, 0), codes(1, 30), 4)
    if name == "rescale, one limit":
        return p.Rescale(4 * codes(1, 9), codes(-99, 99), codes(3, 6), np.array(0), np.array(63), 4)
    if name == "rescale of channels":
        channels = shape[-1:]
        return p.Rescale(
            codes(1, 99, channels), codes(-99, 99), codes(5, 9, channels), np.array(0), np.array(63), 4
        )
    if name == "grids":
        return p.Requantize(codes(-9, -3), codes(0, 12), codes(1, 3), Rounding.TRN, Overflow.SAT)
    kind = {"sum": "add", "difference": "sub", "product": "mul", "maximum": "max"}[name]
    return p.Combine(kind), p.Constant(codes(-20, 20), codes(1, 3))


def attached(net: EngineNetwork) -> list[AttachEngine]:
    engines = [node.engine for node in net.nodes if isinstance(node, EngineNode)]
    return [engine for engine in engines if isinstance(engine, AttachEngine)]


def rasters(shape: tuple[int, ...]) -> list[Raster]:
    rows, columns = shape[:2] if len(shape) == 3 else (1, shape[0])
    return [Raster(rows, columns, lanes) for lanes in (1, 2, columns)]


CHAINS = (
    ("bias",), ("scale",), ("limits",), ("lower limits",), ("rescale",), ("rescale, one limit",),
    ("rescale of channels",), ("sum",), ("difference",), ("product",), ("maximum",), ("bias", "rescale", "limits"),
    ("scale", "sum", "rescale of channels"),
)  # fmt: skip
TWO_OPERANDS = {"sum", "difference", "product", "maximum"}


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("chain", CHAINS, ids=", ".join)
def test_codes_are_those_of_the_whole(chain: tuple[str, ...], shape: tuple[int, ...]) -> None:
    for seed in range(3):
        made = of(shape, *(step(name, shape, seed + 9 * k) for k, name in enumerate(chain)))
        codes = random_codes(made, 40, seed)
        (right,) = wanted(made, codes)
        assert len(np.unique(right)) > 3
        for raster in rasters(shape):
            net = lay_out(made, raster, Choices())
            (out,) = outputs(net, raster, codes[0])
            assert np.array_equal(out, right), f"{raster}, seed {seed}"
            assert len(attached(net)) == (len(chain) if raster.beats > 1 else 0)
        assert not attached(lay_out(made, WHOLE, Choices()))


@pytest.mark.parametrize("second", ["rescale", "limits", "sum"])
def test_positions_with_grids_of_their_own(second: str) -> None:
    """A grid per position is one of the whole event; what comes behind is exact all the same."""
    shape = (7, 3)
    made = of(shape, step("grids", shape, 1), step(second, shape, 2))
    codes = random_codes(made, 40)
    for raster in rasters(shape):
        (out,) = outputs(lay_out(made, raster, Choices()), raster, codes[0])
        assert np.array_equal(out, wanted(made, codes)[0])


def test_a_finer_grid_than_the_network_has_is_taken_into_account() -> None:
    """Channels come on one grid from a concatenation of positions with two."""
    shape = (6, 2)
    first = p.Requantize(np.array(-64), np.array(63), np.array([[2, 4]]), Rounding.TRN, Overflow.SAT)
    mixed = p.Take(np.arange(12).reshape(6, 2) ^ (np.arange(6)[:, None] % 2))
    made = of(shape, first, mixed, step("rescale", shape, 5))
    codes = random_codes(made, 40)
    for raster in rasters(shape):
        (out,) = outputs(lay_out(made, raster, Choices()), raster, codes[0])
        assert np.array_equal(out, wanted(made, codes)[0])


def test_what_all_positions_have_in_common_is_not_sent() -> None:
    shape = (7, 3)
    op = p.Rescale(
        np.array(5), np.arange(7)[:, None] * np.ones(3, np.int64), np.array(2), np.array(0), np.array(9), 4
    )
    (engine,) = attached(lay_out(of(shape, op), Raster(1, 7, 1), Choices()))
    assert engine.widths == (3, 3, 3)  # the offsets 0 to 6


def test_constants_that_cannot_be_brought_to_one_shift_are_left_to_the_whole_event() -> None:
    shape = (4, 1)
    shift = np.array([[0], [50], [50], [50]])
    op = p.Rescale(np.array([[3], [1 << 40], [5], [7]]), np.array(0), shift, np.array(-99), np.array(99), 4)
    made, raster = of(shape, op), Raster(1, 4, 1)
    net = lay_out(made, raster, Choices())
    assert not attached(net)
    codes = random_codes(made, 20)
    assert np.array_equal(outputs(net, raster, codes[0])[0], wanted(made, codes)[0])


def dense(size: int, *chain: str) -> TensorProgram:
    """Return a product behind a chain of steps on a tensor of one axis."""
    rng = np.random.default_rng(4)
    steps = [step(name, (size,), 3 * k + 1) for k, name in enumerate(chain)]
    return of((size,), *steps, p.ConstMatmul(rng.integers(-5, 6, (size, 4)), 2))


@pytest.mark.parametrize("chain", [c for c in CHAINS if not {*c} & TWO_OPERANDS], ids=", ".join)
def test_a_product_reads_its_operand_element_by_element(chain: tuple[str, ...]) -> None:
    """All that stands in front of it is built for a few elements, each with constants of its own."""
    made = dense(12, *chain)
    codes = random_codes(made, 40)
    (right,) = wanted(made, codes)
    assert len(np.unique(right)) > 10
    for lanes in (1, 2, 4, 6):
        net = lay_out(made, WHOLE, Choices(serial=lanes))
        (out,) = outputs(net, WHOLE, codes[0])
        assert np.array_equal(out, right), lanes
        found = [n.engine.MODULE.removeprefix("l1ml_") for n in net.nodes if isinstance(n, EngineNode)]
        assert found == ["split", *["attach"] * len(chain), "fold"]


def test_what_more_than_the_product_reads_stays_whole() -> None:
    one = dense(12, "rescale")
    for outputs_ in ((("y", 2), ("x", 1)),):
        net = lay_out(replace(one, outputs=outputs_), WHOLE, Choices(serial=2))
        assert not [n for n in net.nodes if isinstance(n, EngineNode)]


def test_engines_before_and_behind_such_a_product() -> None:
    for name in ("dense", "cnn", "deep sets"):
        made = PROGRAMS[name]
        codes = random_codes(made, 20)
        for raster in layout_rasters(name):
            for serial in (1, 2):
                net = lay_out(made, raster, Choices(3, 1, serial))
                folds = [n for n in net.nodes if isinstance(n, EngineNode) and n.engine.MODULE == "l1ml_fold"]
                assert any(fold.engine.parameters()["Phases"] > 1 for fold in folds)
                for out, right in zip(outputs(net, raster, codes[0]), wanted(made, codes), strict=True):
                    assert np.array_equal(out, right), f"{name}, {raster}, {serial}"
