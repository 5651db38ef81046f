# SPDX-License-Identifier: Apache-2.0
"""Many small cores in one simulated module, since a build costs more than a simulation."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np

from l1ml.cosim.build import Wire
from l1ml.cosim.harness import build
from l1ml.cosim.pack import Slot, pack, unpack
from l1ml.rtl.systemverilog import Core, input_width, output_width, print_core, print_package
from l1ml.schedule.pipeline import Pipeline

DIGEST = "0" * 64


def write(name: str, pipe: Pipeline, folder: Path) -> tuple[Core, list[Path]]:
    """Print a core and its package."""
    core = Core(f"{name}_core", tuple(f"x_{k}" for k in range(len(pipe.flow.inputs))), DIGEST)
    files = []
    for stem, text in ((core.package, print_package(core, pipe)), (core.module, print_core(core, pipe))):
        files.append(folder / f"{stem}.sv")
        files[-1].write_text(text)
    return core, files


YOSYS = """
import sys
from pyosys import libyosys
design = libyosys.Design()
for command in sys.argv[1:]:
    libyosys.run_pass("tee -q " + command, design)
"""


def as_yosys_reads(core: Core, files: list[Path]) -> list[Path]:
    """Return the core as Yosys understands it: a second opinion on what the language means.

    Multiplexers of constant tables become gates, where an index out of bounds is an unknown value.
    """
    netlist = files[-1].with_name(f"{core.module}_yosys.v")
    commands = [
        f"read_verilog -sv {' '.join(map(str, files))}",
        f"hierarchy -top {core.module}",
        "proc",
        "techmap t:$shiftx t:$shift",
        "opt_clean",
        f"write_verilog -noattr {netlist}",
    ]
    subprocess.run([sys.executable, "-c", YOSYS, *commands], check=True, capture_output=True, timeout=120)
    return [netlist]


def slots(kinds: list[tuple[int, bool]]) -> list[Slot]:
    out, low = [], 0
    for width, signed in kinds:
        out.append(Slot(low, width, signed))
        low += width
    return out


def assert_equal(
    pipes: dict[str, Pipeline],
    codes: dict[str, np.ndarray],
    expected: dict[str, np.ndarray],
    folder: Path,
    *,
    yosys: bool = False,
) -> None:
    """Simulate all cores, with events back to back and with gaps, and compare every output bit and its clock.

    Args:
        pipes: the cores by name.
        codes: (events, inputs) integers for each.
        expected: (events, outputs) integers.
        folder: for sources and the simulator.
        yosys: simulate what Yosys has read, not the core itself.
    """
    files, ports, body = [], [], []
    ins, outs = [Wire("valid_i", 1)], []
    for name, pipe in pipes.items():
        core, written = write(name, pipe, folder)
        files += as_yosys_reads(core, written) if yosys else written
        for hold in (1,) if yosys else (0, 1):
            tag = f"{name}_{hold}"
            outs += [Wire(f"{tag}_valid", 1), Wire(f"{tag}_data", output_width(pipe))]
            ports += [f"output logic {tag}_valid", f"output logic [{output_width(pipe) - 1}:0] {tag}_data"]
            parameters = "" if yosys else f"#(.HoldIdle({hold}))"
            body.append(
                f"{core.module} {parameters} {tag} (.clk_i, .rst_i, .valid_i, .data_i({name}_i),"
                f" .valid_o({tag}_valid), .data_o({tag}_data));"
            )
        ins.append(Wire(f"{name}_i", input_width(pipe)))
        ports.append(f"input wire logic [{input_width(pipe) - 1}:0] {name}_i")
    head = ",\n".join(
        ["input wire logic clk_i", "input wire logic rst_i", "input wire logic valid_i", *ports]
    )
    top = folder / "many.sv"
    top.write_text(f"module many (\n{head}\n);\n" + "\n".join(body) + "\nendmodule\n")
    ordered = [*sorted(files, key=lambda f: "_pkg" not in f.name), top]
    harness = build(ordered, "many", ins, outs, folder / "b", fast="-O0")

    events = len(next(iter(codes.values())))
    rng = np.random.default_rng(4)
    first = np.cumsum(rng.integers(1, 4, events))  # back to back and with gaps
    clocks = int(first[-1]) + max(p.stages for p in pipes.values()) + 1
    table = [np.isin(np.arange(clocks), first).astype(np.uint64)[:, None]]
    for name, pipe in pipes.items():
        kinds = [(k.width, k.signed) for k in pipe.flow.inputs]
        packed = pack(codes[name], slots(kinds), input_width(pipe))
        rows = rng.integers(0, 1 << 63, (clocks, packed.shape[1]), dtype=np.uint64)  # idle clocks carry noise
        rows[first] = packed
        table.append(rows)
    out = harness.run(np.concatenate(table, axis=1))
    for name, pipe in pipes.items():
        kinds = [(max(1, p.type.width), p.type.signed) for p in pipe.flow.outputs]
        for hold in (1,) if yosys else (0, 1):
            valid = out[:, harness.column(f"{name}_{hold}_valid")][:, 0]
            np.testing.assert_array_equal(
                np.flatnonzero(valid), first + pipe.stages, err_msg=f"{name}: latency"
            )
            rows = out[first + pipe.stages][:, harness.column(f"{name}_{hold}_data")]
            np.testing.assert_array_equal(
                unpack(rows, slots(kinds)), expected[name], err_msg=f"{name} HoldIdle={hold}"
            )
