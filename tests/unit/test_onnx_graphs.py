# SPDX-License-Identifier: Apache-2.0
"""Graph networks from ONNX files: the emulator gives NumPy's answers, and they stay on the stream."""

from __future__ import annotations

import numpy as np
import pytest
from networks import random_codes
from onnx_graphs import GRAPHS, VERTICES

from l1ml.frontends.onnx import read_onnx
from l1ml.graph import build
from l1ml.graph.emulate import Emulator
from l1ml.plan.network import EngineNode
from l1ml.plan.streamer import lay_out
from l1ml.plan.streams import Raster


class _Choices:
    def fold(self, step: int, shape: tuple[int, int], phases: int) -> int | None:
        return None

    def split(self, step: int, positions: int) -> int | None:
        return 1

    def serial(self, step: int, elements: int) -> int | None:
        return None

    def scan(self, step: int, steps: int) -> bool:
        return False


ENGINES = {
    "edge conv": ["collect", "split", "split", "reduce", "reduce"],
    "garnet": ["reduce", "repeat", "reduce"],
}


@pytest.mark.parametrize("name", GRAPHS)
def test_answers_are_those_of_numpy(name: str) -> None:
    made = GRAPHS[name]()
    network = read_onnx(made.model.SerializeToString(), "m.onnx")
    of = build.to_program(build.input_quantizers(network, "fixed<6,3>"))
    assert of.approximations == ()
    codes = random_codes(of, 300)
    found = Emulator(of).values([codes[0] / 8])[0]
    wanted = made.answers(codes[0] / 8)
    assert len(np.unique(wanted)) > 100
    np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("name", GRAPHS)
def test_vertices_stay_on_the_stream(name: str) -> None:
    network = read_onnx(GRAPHS[name]().model.SerializeToString(), "m.onnx")
    of = build.to_program(build.input_quantizers(network, "fixed<6,3>"))
    net = lay_out(of, Raster(1, VERTICES, 1), _Choices())
    engines = [n.engine.MODULE.removeprefix("l1ml_") for n in net.nodes if isinstance(n, EngineNode)]
    assert engines == ENGINES[name]
    (codes,) = random_codes(of, 50)
    (wanted,) = of.emulate([codes], [t for _, t in of.outputs])
    assert np.array_equal(net.emulate(codes[:, :, None])[0].reshape(50, -1), wanted)
