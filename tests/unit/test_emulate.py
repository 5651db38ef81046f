# SPDX-License-Identifier: Apache-2.0
"""The fast emulators give the integers of the reference, whatever the network."""

from __future__ import annotations

import networks
import numpy as np
import programs
import pytest

from l1ml.graph.emulate import Emulator
from l1ml.graph.program import TensorProgram

ENGINES = ("native", "array")
EVENTS = 150


def agree(net: TensorProgram, *, reference: bool = False, events: int = EVENTS) -> None:
    """Check every output and every layer in all engines against the int64 reference.

    Args:
        net: the program.
        reference: allow that no kernel exists for it.
        events: how many.
    """
    codes = programs.codes_of(net, events)
    values = networks.values(net, codes)
    wanted = [t for _, t in (*net.outputs, *net.marks)]
    expected = dict(zip(wanted, net.emulate(codes, wanted), strict=True))
    for engine in ENGINES:
        emulator = Emulator(net, engine, threads=2)  # type: ignore[arg-type]
        assert reference or emulator.engine == engine
        for (name, tensor), got in zip(net.outputs, emulator.codes(values), strict=True):
            np.testing.assert_array_equal(got, expected[tensor], err_msg=f"{engine} {name}")
        traced = emulator.trace(values)
        for name, tensor in net.marks:
            real = np.ldexp(expected[tensor].astype(float), -net.type_of(tensor).frac)
            np.testing.assert_array_equal(traced[name], real, err_msg=f"{engine} {name}")


@pytest.mark.parametrize("seed", range(60))
def test_random_programs(seed: int) -> None:
    agree(programs.drawn(seed, steps=14), events=96)


def test_every_primitive_in_one_program() -> None:
    agree(programs.everything())
