# SPDX-License-Identifier: Apache-2.0
"""Printed cores in simulation: every output bit of every event equals the typed program.

One module holds many small cores side by side, since a build costs more than a simulation.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from l1ml.cosim.build import Wire
from l1ml.cosim.harness import build
from l1ml.cosim.pack import Slot, pack, unpack
from l1ml.graph import model
from l1ml.graph.program import TensorProgram
from l1ml.lowering.lower import lower
from l1ml.rtl.systemverilog import Core, input_width, output_width, print_core, print_package
from l1ml.schedule.delay import family_of
from l1ml.schedule.pipeline import Pipeline, pipeline
from l1ml.types.fixed import Quantizer

sys.path.insert(0, str(Path(__file__).parents[1] / "unit"))
import networks

pytestmark = pytest.mark.sim
EVENTS = 1500


def _cases() -> dict[str, tuple[TensorProgram, float]]:
    cases = {}
    for number, rounding in enumerate(networks.ROUNDINGS):
        overflow = ("SAT", "SAT_SYM", "WRAP")[number % 3]
        net = networks.mlp(
            (4, 6, 3),
            seed=number,
            hidden=f"fixed<4,1,{rounding},{overflow}>",
            bias_frac=(None, 2, 5)[number % 3],
        )
        cases[f"{rounding.lower()}_{overflow.lower()}"] = (
            networks.program(net),
            (160.0, 360.71, 480.0)[number % 3],
        )
    for number, hidden in enumerate(
        ("ufixed<3,-1,RND_CONV,SAT>", "fixed<4,6,RND,SAT>", "ufixed<12,4,RND_CONV,SAT>")
    ):
        cases[f"grid{number}"] = (networks.program(networks.mlp((4, 5, 3), hidden=hidden)), 360.71)
    cases["one_clock"] = (networks.program(networks.mlp((3, 3, 2))), 20.0)
    rng = np.random.default_rng(9)
    layers: tuple[model.Layer, ...] = (
        model.Input("a", (), (6,)),
        model.Affine(
            "bn", ("a",), rng.normal(0, 1, 6).astype(np.float32), rng.normal(0, 1, 6).astype(np.float32)
        ),
        model.Quantize("q", ("bn",), Quantizer.parse("fixed<4,2,RND_CONV,SAT>")),
        model.Dense("fc", ("q",), rng.integers(-4, 4, (6, 3)) / 4, np.array([0.25, -1.0, 0.0])),
        model.Sign("sign", ("fc",), 0.5),
        model.Relu("relu", ("fc",)),
    )
    cases["bn_sign"] = (networks.program(model.Model("bn", layers, ("sign", "relu")), "fixed<6,2>"), 360.71)
    scale = np.array([0.75, -0.5, 3.0], dtype=np.float32)
    steps: tuple[model.Layer, ...] = (
        model.Input("a", (), (3,)),
        model.Affine("bn", ("a",), scale, np.float32([0.125, 0, -1])),
        model.Quantize("q", ("bn",), Quantizer.parse("fixed<6,2,TRN,SAT>")),
    )
    cases["rescale"] = (networks.program(model.Model("bn", steps, ("q",)), "fixed<8,3>"), 360.71)
    return cases


def _pipe(net: TensorProgram, mhz: float) -> Pipeline:
    return pipeline(lower(net), family_of("xcvu13p-flga2577-2-e", 500), mhz)


def _slots(kinds: list[tuple[int, bool]]) -> list[Slot]:
    out, low = [], 0
    for width, signed in kinds:
        out.append(Slot(low, width, signed))
        low += width
    return out


def test_every_bit_of_every_core(tmp_path: Path) -> None:
    cases = _cases()
    pipes = {name: _pipe(net, mhz) for name, (net, mhz) in cases.items()}
    files, ports, body = [], [], []
    ins, outs = [Wire("valid_i", 1)], []
    for name, pipe in pipes.items():
        net = cases[name][0]
        core = Core(f"{name}_core", tuple(f"x_{k}" for k in range(len(pipe.flow.inputs))), net.digest)
        for stem, text in ((core.package, print_package(core, pipe)), (core.module, print_core(core, pipe))):
            files.append(tmp_path / f"{stem}.sv")
            files[-1].write_text(text)
        for hold in (0, 1):
            tag = f"{name}_{hold}"
            outs += [Wire(f"{tag}_valid", 1), Wire(f"{tag}_data", output_width(pipe))]
            ports += [f"output logic {tag}_valid", f"output logic [{output_width(pipe) - 1}:0] {tag}_data"]
            body.append(
                f"{core.module} #(.HoldIdle({hold})) {tag} (.clk_i, .rst_i, .valid_i, .data_i({name}_i),"
                f" .valid_o({tag}_valid), .data_o({tag}_data));"
            )
        ins.append(Wire(f"{name}_i", input_width(pipe)))
        ports.append(f"input wire logic [{input_width(pipe) - 1}:0] {name}_i")
    head = ",\n".join(
        ["input wire logic clk_i", "input wire logic rst_i", "input wire logic valid_i", *ports]
    )
    top = tmp_path / "many.sv"
    top.write_text(f"module many (\n{head}\n);\n" + "\n".join(body) + "\nendmodule\n")
    harness = build(
        [*sorted(files, key=lambda f: "_pkg" not in f.name), top],
        "many",
        ins,
        outs,
        tmp_path / "b",
        fast="-O0",
    )

    codes = {name: networks.random_codes(net, EVENTS) for name, (net, _) in cases.items()}
    rng = np.random.default_rng(4)
    first = np.cumsum(rng.integers(1, 4, EVENTS))  # back to back and with gaps
    clocks = int(first[-1]) + max(p.stages for p in pipes.values()) + 1
    table = [np.isin(np.arange(clocks), first).astype(np.uint64)[:, None]]
    for name, pipe in pipes.items():
        flat = np.concatenate([c.reshape(EVENTS, -1) for c in codes[name]], axis=1)
        packed = pack(flat, _slots([(k.width, k.signed) for k in pipe.flow.inputs]), input_width(pipe))
        rows = rng.integers(0, 1 << 63, (clocks, packed.shape[1]), dtype=np.uint64)  # idle clocks carry noise
        rows[first] = packed
        table.append(rows)
    out = harness.run(np.concatenate(table, axis=1))
    for name, pipe in pipes.items():
        net = cases[name][0]
        made = net.emulate(codes[name])
        expected = np.concatenate([made[t].reshape(EVENTS, -1) for _, t in net.outputs], axis=1)
        kinds = [(max(1, p.type.width), p.type.signed) for p in pipe.flow.outputs]
        for hold in (0, 1):
            valid = out[:, harness.column(f"{name}_{hold}_valid")][:, 0]
            np.testing.assert_array_equal(
                np.flatnonzero(valid), first + pipe.stages, err_msg=f"{name}: latency"
            )
            rows = out[first + pipe.stages][:, harness.column(f"{name}_{hold}_data")]
            np.testing.assert_array_equal(
                unpack(rows, _slots(kinds)), expected, err_msg=f"{name} HoldIdle={hold}"
            )


def test_lint_is_clean(tmp_path: Path) -> None:
    from l1ml.cosim import simulators

    verilator = simulators.require_verilator()
    for name, (net, mhz) in _cases().items():
        pipe = _pipe(net, mhz)
        core = Core("tiny_core", tuple(f"x_{k}" for k in range(len(pipe.flow.inputs))), net.digest)
        (tmp_path / "tiny_core_pkg.sv").write_text(print_package(core, pipe))
        (tmp_path / "tiny_core.sv").write_text(print_core(core, pipe))
        command = [
            "verilator",
            "--lint-only",
            "-Wall",
            str(tmp_path / "tiny_core_pkg.sv"),
            str(tmp_path / "tiny_core.sv"),
        ]
        simulators.run(
            command, log=tmp_path / "log", env=simulators.environment(verilator), what=f"lint of {name}"
        )
