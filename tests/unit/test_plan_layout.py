# SPDX-License-Identifier: Apache-2.0
"""Laid out as engines, a network gives the codes that it gives as a whole; times are those of its engines."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from l1ml.graph.program import TensorProgram
from l1ml.plan import choose
from l1ml.plan.fold import ROM_BITS, FoldEngine
from l1ml.plan.making import Making
from l1ml.plan.network import EngineNetwork, EngineNode, MapNode, ScanNode
from l1ml.plan.streamer import lay_out
from l1ml.plan.streams import WHOLE, Raster
from l1ml.plan.timing import time_network

sys.path.insert(0, str(Path(__file__).parent))
import hgq_vectors
from networks import program, random_codes
from streamed_maker import SIGNED, Maker
from streamed_networks import NETWORKS

PROGRAMS = {name: program(net, "fixed<5,2>") for name, (net, _) in NETWORKS.items()}


class Choices:
    """Folds and splits by fixed numbers."""

    def __init__(
        self, per_clock: int | None = None, lanes: int | None = None, serial: int | None = None
    ) -> None:
        self.per_clock, self.lanes, self.given = per_clock, lanes, serial

    def fold(self, step: int, shape: tuple[int, int], phases: int) -> int | None:
        return min(shape[0], self.per_clock) if self.per_clock else (1 if phases > 1 else None)

    def making(self, step: int) -> Making:
        return Making()

    def split(self, step: int, positions: int) -> int | None:
        return self.lanes

    def serial(self, step: int, elements: int) -> int | None:
        return self.given if self.given and elements % self.given == 0 else None

    def scan(self, step: int, steps: int) -> bool:
        return True


class Flat(Choices):
    """Only what is behind a flattened stream is folded."""

    def fold(self, step: int, shape: tuple[int, int], phases: int) -> int | None:
        return self.per_clock if phases > 1 else None


class Depth:
    """A body of a given depth."""

    def __init__(self, stages: int) -> None:
        self.stages = stages


def beats(raster: Raster, codes: np.ndarray) -> np.ndarray:
    """Return the beats of events; lanes past the end of a row repeat a pixel."""
    flat = codes.reshape(len(codes), raster.positions, -1)
    return flat[:, raster.filled()]


def outputs(net: EngineNetwork, raster: Raster, codes: np.ndarray) -> list[np.ndarray]:
    return [out.reshape(len(codes), -1) for out in net.emulate(beats(raster, codes))]


def wanted(of: TensorProgram, codes: list[np.ndarray]) -> list[np.ndarray]:
    made = of.emulate(codes, [t for _, t in of.outputs])
    return [out.reshape(len(out), -1) for out in made]


def rasters(name: str) -> list[Raster]:
    rows, columns = NETWORKS[name][1]
    lanes = (1, 2, 4, columns) if columns > 1 else ()
    return [*(Raster(rows, columns, k) for k in lanes), WHOLE]


@pytest.mark.parametrize("per_clock", [None, 1, 3])
@pytest.mark.parametrize("name", NETWORKS)
def test_engines_give_the_codes_of_the_network(name: str, per_clock: int | None) -> None:
    of = PROGRAMS[name]
    codes = random_codes(of, 20)
    expected = wanted(of, codes)
    assert any(len(np.unique(out)) > 3 for out in expected), "a network that says nothing"
    for raster in rasters(name):
        for lanes in (None, 1, 2):
            net = lay_out(of, raster, Choices(per_clock, lanes))
            found = outputs(net, raster, codes[0])
            for number, (out, right) in enumerate(zip(found, expected, strict=True)):
                stream = net.streams[net.outputs[number]]
                frac = of.type_of(of.outputs[number][1]).frac.ravel()
                assert np.array_equal(stream.type.frac, frac)
                assert np.array_equal(out, right), f"{raster}, split {lanes}"


@pytest.mark.parametrize(
    ("name", "engines"),
    [
        ("cnn", ["window", "window", "window", "fold"]),
        ("strided", ["window", "window", "window", "reduce"]),
        ("skip", ["window", "window", "window", "window", "fold"]),
        ("sequence", ["window", "window", "window", "reduce"]),
        ("deep sets", ["reduce"]),
        ("two heads", ["reduce", "reduce"]),
        ("rnn", ["scan"]),
        ("lstm", ["scan"]),
        ("gru backwards", ["scan"]),
        ("lstm sequences", ["scan", "reduce"]),
        ("by pixel", ["attach", "window", "fold"]),
        ("cropped", ["window", "window", "window", "upsample", "window", "window", "fold"]),
        ("last step", ["window", "window"]),
        ("edge conv", ["collect", "split", "split", "reduce", "reduce"]),
        ("interaction", ["upsample", "collect", "split", "reduce", "reduce"]),
        ("linear interaction", ["reduce", "repeat", "reduce"]),
        ("garnet", ["reduce", "repeat", "reduce"]),
        ("attention", ["collect", "repeat", "collect", "repeat", "reduce"]),
    ],
)
def test_nothing_is_gathered_that_need_not_be(name: str, engines: list[str]) -> None:
    rows, columns = NETWORKS[name][1]
    net = lay_out(PROGRAMS[name], Raster(rows, columns, 1), Choices(lanes=1))
    found = [
        "scan" if isinstance(n, ScanNode) else n.engine.MODULE.removeprefix("l1ml_")
        for n in net.nodes
        if isinstance(n, EngineNode | ScanNode)
    ]
    assert found == engines


def test_times_follow_from_those_of_the_engines() -> None:
    of = PROGRAMS["cnn"]
    raster = Raster(8, 9, 1)
    net = lay_out(of, raster, Flat(8))
    timed = time_network(net, np.arange(raster.beats), lambda body, ahead=(): Depth(3), raster.beats)
    for number, node in enumerate(net.nodes):
        given = timed.times[node.inputs[0]] + timed.waits[number][0].clocks
        made = given + 3 if isinstance(node, MapNode) else node.engine.times(given)
        assert np.array_equal(timed.times[node.outputs[0]], made)
    assert timed.latency == timed.times[net.outputs[0]][0]
    assert timed.interval == raster.beats


@pytest.mark.parametrize("lanes", [1, 2])
def test_branches_meet_beat_by_beat(lanes: int) -> None:
    """Behind a pooling layer beats come irregularly: a memory holds the early branch."""
    net = lay_out(PROGRAMS["skip"], Raster(6, 8, lanes), Flat(64))
    timed = time_network(net, np.arange(6 * 8 // lanes), lambda body, ahead=(): Depth(2), 48)
    joins = [(k, n) for k, n in enumerate(net.nodes) if len(n.inputs) > 1]
    assert len(joins) == 1
    number, node = joins[0]
    ready = timed.times[node.outputs[0]] - 2
    buffers = 0
    for stream, wait in zip(node.inputs, timed.waits[number], strict=True):
        times = timed.times[stream]
        if wait.buffer is None:
            assert np.array_equal(times + wait.clocks, ready)
        else:
            buffers += 1
            held = ready - 1 - times  # read a clock before
            assert wait.buffer.offset == held[0]
            assert held.min() >= 1
            assert held.max() < wait.buffer.depth
    assert buffers == 1


@pytest.mark.parametrize(
    "name",
    [
        "conv1d",
        "conv2d",
        "einsum_dense",
        "attention",
        "linformer_of_particles",
        "dense_of_rows",
        "operations",
    ],
)
def test_types_that_differ_by_element_are_kept(name: str) -> None:
    """Models of HGQ2, where every element has a width of its own."""
    of = hgq_vectors.program(hgq_vectors.VECTORS / "hgq2" / f"{name}.keras")
    codes = random_codes(of, 12)
    expected = wanted(of, codes)
    ports = [port.shape for port in of.inputs]
    found = choose.rasters(ports[0], 2) if len(ports) == 1 else []
    together = np.concatenate([c.reshape(len(c), -1) for c in codes], axis=1)
    for raster in [*found, WHOLE]:
        given = beats(raster, together) if raster.positions > 1 else together[:, None, None]
        for lanes in (None, 1, 2):
            made = lay_out(of, raster, Choices(lanes=lanes)).emulate(given)
            for out, right in zip(made, expected, strict=True):
                assert np.array_equal(out.reshape(right.shape), right), f"{raster}, split {lanes}"


@pytest.mark.parametrize("name", ["plain_between", "pooling"])
def test_streams_that_nobody_reads_have_no_times(name: str) -> None:
    """Elements that are the same in every event leave their streams without a reader."""
    of = hgq_vectors.program(hgq_vectors.VECTORS / "hgq2" / f"{name}.keras")
    net = lay_out(of, WHOLE, Choices(lanes=1))
    timed = time_network(net, np.arange(1), lambda body, ahead=(): Depth(1), 64)
    assert len(timed.times) == len(net.streams)
    assert all(len(timed.times[s]) for s in net.outputs)


def test_a_product_with_too_many_weights_for_one_memory_gets_several() -> None:
    m = Maker(1024, seed=41)
    m.dense(1024, 150)
    m.act(SIGNED)
    of = program(m.done(), "fixed<5,2>")
    net = lay_out(of, WHOLE, Choices(per_clock=4))
    folds = [n.engine for n in net.nodes if isinstance(n, EngineNode) and isinstance(n.engine, FoldEngine)]
    assert sorted(f.n_out for f in folds) == [75, 75]
    assert all(f.words * f.word_bits <= ROM_BITS for f in folds)
    codes = random_codes(of, 8)
    (made,) = net.emulate(codes[0][:, None, None])
    (right,) = wanted(of, codes)
    assert np.array_equal(made.reshape(right.shape), right)
