# SPDX-License-Identifier: Apache-2.0
"""The engines as a strict reader sees them: slang elaborates every branch, and refuses parameters that mean nothing."""

from __future__ import annotations

import pytest

from l1ml import assets

pyslang = pytest.importorskip("pyslang")
from pyslang import ast, syntax  # noqa: E402

LIBRARY = sorted(assets.path("firmware", "rtl", "sv").glob("*.sv"))
FOLD = "l1ml_fold #(.PerClock(2), .KeptInputs(4), .Inputs(4), .Outputs(2)"
GOOD = [
    *(path.stem for path in LIBRARY),
    f"{FOLD}, .Chain(2), .MultiplierStages(1))", f"{FOLD}, .Reloadable(1))", f"{FOLD}, .Dsp(1))",
    f"{FOLD}, .Ternary(1))", f"{FOLD}, .BlockRom(1), .MultiplierStages(2))", f"{FOLD}, .InputSigned(1))",
    "l1ml_window #(.Rows(8), .Columns(8), .KernelRows(3), .KernelColumns(3), .PadTop(1), .PadLeft(1))",
    "l1ml_window #(.Rows(8), .Columns(8), .Lanes(4), .KernelRows(2), .KernelColumns(2), .StrideColumns(2))",
    "l1ml_pace #(.Depth(1))", "l1ml_pace #(.Depth(9), .Spacing(5))", "l1ml_align #(.Depth(1))",
    "l1ml_admit #(.Grid(5), .Clear(9))", "l1ml_emit #(.Words(3), .Width(64))", "l1ml_delay #(.Width(4), .Latency(3))",
    *(f"l1ml_reduce #(.Kind({kind}), .Rows(3), .Columns(5), .Lanes(2))" for kind in range(3)),
]  # fmt: skip
BAD = {
    "l1ml_window #(.Columns(8), .Lanes(3), .StrideColumns(2))": "Lanes must be 1 or a multiple",
    "l1ml_window #(.Rows(8), .KernelRows(3), .PadTop(3))": "padding is more than the window reaches",
    "l1ml_pace #(.Spacing(1))": "Spacing must be at least 2",
    "l1ml_align #(.Depth(0))": "must be at least 1",
    "l1ml_admit #(.Grid(1))": "Grid 0 or at least 2",
}


def complaints(instance: str, change: tuple[str, str] | None = None) -> list[str]:
    compilation = ast.Compilation()
    for path in LIBRARY:
        text = path.read_text(encoding="utf-8")
        if change is not None and path.stem == instance.split()[0]:
            assert text.count(change[0]) == 1
            text = text.replace(*change)
        compilation.addSyntaxTree(syntax.SyntaxTree.fromText(text, path.name))
    compilation.addSyntaxTree(
        syntax.SyntaxTree.fromText(f"module top; {instance} engine (); endmodule", "top.sv")
    )
    return [f"{d.code} {list(d.args)}" for d in compilation.getAllDiagnostics() if d.isError()]


@pytest.mark.parametrize("instance", GOOD)
def test_engines_are_legal(instance: str) -> None:
    assert complaints(instance) == []


@pytest.mark.parametrize("instance", BAD)
def test_parameters_that_mean_nothing_are_refused(instance: str) -> None:
    assert any(BAD[instance] in text for text in complaints(instance))


def test_a_name_that_is_read_before_it_is_declared_is_found() -> None:
    moved = ("  logic [WordBits-1:0] w;\n", "")
    assert any("Undeclared" in text for text in complaints(GOOD[len(LIBRARY)], moved))
