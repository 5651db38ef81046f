# SPDX-License-Identifier: Apache-2.0
"""Pieces of SystemVerilog that connected engines are printed from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from l1ml.graph.program import TensorProgram

BEAT_DELAY = "l1ml_beat_delay"


def moved(program: TensorProgram) -> list[list[int]]:
    """Return for every output which element of the inputs each of its elements is; -1 for a zero."""
    first, codes = 1, []
    for port in program.inputs:
        size = port.type.size
        codes.append(np.arange(first, first + size, dtype=np.int64).reshape(1, *port.type.shape))
        first += size
    made = program.emulate(codes, [t for _, t in program.outputs])
    return [[int(k) - 1 for k in out.ravel()] for out in made]


def signals(stem: str, bits: int) -> Iterator[str]:
    """Declare valid, start and data of a stream."""
    yield f"  logic {stem}_valid;"
    yield f"  logic {stem}_start;"
    yield f"  logic [{bits - 1}:0] {stem}_data;"
    yield ""


def delay(stem: str, bits: int, clocks: int, *source: str) -> Iterator[str]:
    """Delay a stream by whole clocks; ``source`` is its valid, start and data."""
    yield from through(BEAT_DELAY, {"Width": bits, "Latency": clocks}, f"{stem}_delay", stem, *source)


def through(
    module: str, parameters: Mapping[str, int | str], name: str, stem: str, valid: str, start: str, data: str
) -> Iterator[str]:
    """Send a stream through a module; it leaves as ``<stem>_valid`` and so on."""
    yield from instance(
        module, parameters, name,
        {
            "clk_i": "clk_i", "rst_i": "rst_i", "valid_i": valid, "start_i": start, "data_i": data,
            "valid_o": f"{stem}_valid", "start_o": f"{stem}_start", "data_o": f"{stem}_data",
        },
    )  # fmt: skip
    yield ""


def instance(
    module: str, parameters: Mapping[str, int | str], name: str, ports: Mapping[str, str]
) -> Iterator[str]:
    """Instantiate a module."""
    head = f"  {module}"
    if parameters:
        yield f"{head} #("
        items = [f"    .{key}({value})" for key, value in parameters.items()]
        yield ",\n".join(items)
        head = "  )"
    yield f"{head} {name} ("
    yield ",\n".join(f"    .{port}({signal})" for port, signal in ports.items())
    yield "  );"


def times_text(times: np.ndarray) -> str:
    """Return clocks in a few words: the first, the last, and the step where it is the same."""
    if len(times) == 1:
        return str(int(times[0]))
    steps = np.diff(times)
    step = f", one every {int(steps[0])}" if bool((steps == steps[0]).all()) else ""
    return f"{int(times[0])} to {int(times[-1])}{step}"
