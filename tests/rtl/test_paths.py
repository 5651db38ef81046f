# SPDX-License-Identifier: Apache-2.0
"""The longest path of every engine, beside a netlist of Yosys with the same delays of nets and cells."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from l1ml import assets
from l1ml.plan.fold import FoldEngine
from l1ml.plan.fold_paths import with_registers
from l1ml.plan.network import Engine
from l1ml.plan.pace import PaceEngine
from l1ml.plan.paths import worst
from l1ml.plan.reduce import ReduceEngine
from l1ml.plan.regroup import CollectEngine, SplitEngine
from l1ml.plan.window import WindowEngine
from l1ml.schedule.delay import family_of

pytest.importorskip("pyosys")
sys.path.insert(0, str(Path(__file__).parent))
from netlist_paths import Netlist, synthesized

pytestmark = pytest.mark.slow

FAMILY = family_of("xcvu13p-flga2577-2-e", 60_000)
FOLDED = ("multiply", "weights", "cascade", "cascades")
SAME = ((1, 1), (1, 1))


def fold(bits: int, per_clock: int, clock: float, outputs: int = 16, **more: Any) -> FoldEngine:
    codes = np.random.default_rng(1).integers(-(1 << bits - 1), 1 << bits - 1, (1, 42, outputs))
    least = FoldEngine.least_acc_bits(codes, 6, False)
    return with_registers(FoldEngine(codes, 6, False, bits, least, per_clock, **more), FAMILY, clock)


ENGINES: dict[str, Engine] = {
    "window": WindowEngine(32, 32, 1, 24, (3, 3)),
    "window, zeros": WindowEngine(32, 32, 1, 24, (3, 3), padding=SAME),
    "window, four lanes": WindowEngine(32, 32, 4, 24, (3, 3), padding=SAME),
    "window, strides": WindowEngine(30, 30, 1, 96, (2, 2), (2, 2)),
    "fold, slow": fold(6, 2, 200.0),
    # Yosys finds the words of a ROM in LUTs by the next address, not by its register: one long path for two short ones.
    "fold, fast": fold(6, 2, 360.0, rom="block"),
    "fold, long": fold(6, 2, 360.0, rom="block", results=900),
    "reduce": ReduceEngine(1, 30, 4, 16, 8, True, "max", 8, tree_stages=1),
    "collect": CollectEngine(1, 30, 1, 16),
    "split": SplitEngine(1, 30, 1, 16),
    "pace": PaceEngine(40, 10, 5, 6),
}


def top_of(one: Engine) -> str:
    """Return a module with the ports of an engine and its parameters."""
    widths = {
        WindowEngine: lambda e: (e.lanes * e.pixel_bits, e.kernel[0] * e.region_columns * e.pixel_bits),
        FoldEngine: lambda e: (e.n_in * e.input_bits, e.n_out * e.acc_bits),
        ReduceEngine: lambda e: (e.lanes * e.channels * e.element_bits, e.channels * e.result_bits),
        CollectEngine: lambda e: (e.lanes * e.position_bits, e.positions * e.position_bits),
        SplitEngine: lambda e: (e.positions * e.position_bits, e.lanes * e.position_bits),
        PaceEngine: lambda e: (e.width, e.width),
    }
    into, out = widths[type(one)](one)
    given, ties = one.parameters(), ""
    if isinstance(one, FoldEngine):
        given, ties = given | one.literals(), "".join(f", .{port}({v})" for port, v in one.ties().items())
    parameters = ", ".join(f".{name}({value})" for name, value in given.items())
    return (
        f"module top (input wire logic clk_i, rst_i, valid_i, start_i, input wire logic [{into - 1}:0] data_i,\n"
        f"  output logic valid_o, start_o, output logic [{out - 1}:0] data_o);\n"
        f"  {one.MODULE} #({parameters}) engine (.*{ties});\nendmodule\n"
    )


@pytest.mark.parametrize("name", ENGINES)
def test_the_model_gives_the_path_of_the_netlist(name: str, tmp_path: Path) -> None:
    one = ENGINES[name]
    top = tmp_path / "top.sv"
    top.write_text(top_of(one), encoding="utf-8")
    cells = {"l1ml_delay", "l1ml_tree", one.MODULE}
    cells |= {f"l1ml_{name}" for name in FOLDED} if isinstance(one, FoldEngine) else set()
    sources = [assets.path("firmware", "rtl", "sv", f"{cell}.sv") for cell in sorted(cells)]
    path = worst(one, FAMILY)
    assert path is not None
    found = Netlist(synthesized([*sources, top], "top"), FAMILY).longest()
    print(f"{name}: {path.name} {path.ns:.2f} ns, netlist {found:.2f} ns")
    assert path.ns == pytest.approx(found, rel=0.12)


def test_registers_shorten_the_netlist(tmp_path: Path) -> None:
    """The path that Yosys leaves goes with the registers that the model asks for."""
    found = []
    for clock in (100.0, 360.0):
        top = tmp_path / f"top{clock:.0f}.sv"
        top.write_text(top_of(fold(6, 2, clock, 4, rom="block")), encoding="utf-8")
        cells = ("delay", "tree", *FOLDED, "fold")
        sources = [assets.path("firmware", "rtl", "sv", f"l1ml_{cell}.sv") for cell in cells]
        found.append(Netlist(synthesized([*sources, top], "top"), FAMILY).longest())
    assert found[1] < FAMILY.usable_ns(360.0) < found[0] < FAMILY.usable_ns(100.0)
