# SPDX-License-Identifier: Apache-2.0
"""The compiled harness: rows and clocks, port widths, threads, the cache, broken builds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from l1ml.cosim import build as building
from l1ml.cosim import harness, simulators
from l1ml.cosim.build import ClockReset, Wire
from l1ml.errors import ToolError

pytestmark = pytest.mark.sim

WIDTHS = (1, 8, 16, 33, 64, 65, 130)
LATENCY = 3

PIPE = """
`default_nettype none
module pipe (
  input  wire logic clk_i,
  input  wire logic rst_i,
  input  wire logic valid_i,
{inputs}
{outputs}
  output logic      error_o,
  output logic      valid_o
);
  logic [2:0] valid_q;
  always_ff @(posedge clk_i) begin
    valid_q <= {{valid_q[1:0], valid_i}};
    error_o <= error_o | (valid_i & a1_i);
    if (rst_i) valid_q <= '0;
    if (rst_i) error_o <= '0;
  end
  assign valid_o = valid_q[2];
{body}
endmodule
`default_nettype wire
"""


def source(folder: Path, widths: tuple[int, ...] = WIDTHS) -> Path:
    inputs = "\n".join(f"  input  wire logic [{w - 1}:0] a{w}_i," for w in widths)
    outputs = "\n".join(f"  output logic [{w - 1}:0] a{w}_o," for w in widths)
    body = "\n".join(
        f"  logic [{w - 1}:0] a{w}_q0, a{w}_q1;\n"
        f"  always_ff @(posedge clk_i) begin a{w}_q0 <= a{w}_i; a{w}_q1 <= a{w}_q0; a{w}_o <= ~a{w}_q1; end"
        for w in widths
    )
    file = folder / "pipe.sv"
    file.write_text(PIPE.format(inputs=inputs, outputs=outputs, body=body))
    return file


def ports(suffix: str, widths: tuple[int, ...] = WIDTHS) -> list[Wire]:
    return [Wire(f"a{w}_{suffix}", w) for w in widths]


@pytest.fixture(scope="module")
def pipe(tmp_path_factory: pytest.TempPathFactory) -> harness.Harness:
    folder = tmp_path_factory.mktemp("pipe")
    return harness.build(
        [source(folder)],
        "pipe",
        [Wire("valid_i", 1), *ports("i")],
        [Wire("valid_o", 1), Wire("error_o", 1), *ports("o")],
        folder / "cosim",
        probes=[Wire("a130_q0", 130), Wire("a8_q1", 8)],
    )


def stimulus(clocks: int, errors: bool = False) -> np.ndarray:
    rng = np.random.default_rng(5)
    columns = []
    for width in (1, *WIDTHS):
        for low in range(0, width, 64):
            bits = min(64, width - low)
            columns.append(rng.integers(0, 2**bits, clocks, dtype=np.uint64, endpoint=bits == 64 and False))
    rows = np.stack(columns, axis=1)
    if not errors:
        rows[:, 1] = 0
    return rows


def masks() -> np.ndarray:
    bits = [min(64, w - low) for w in WIDTHS for low in range(0, w, 64)]
    return np.array([(1 << b) - 1 for b in bits], dtype=np.uint64)


def test_row_k_is_sampled_before_the_edge_that_ends_clock_k(pipe: harness.Harness) -> None:
    rows = stimulus(500)
    out = pipe.run(rows)
    data = out[:, 2 : 2 + len(masks())]
    np.testing.assert_array_equal(data[LATENCY:], ~rows[:-LATENCY, 1:] & masks())
    np.testing.assert_array_equal(out[LATENCY:, pipe.column("valid_o")], rows[:-LATENCY, :1])


def test_probes_see_registers_inside(pipe: harness.Harness) -> None:
    rows = stimulus(100)
    out = pipe.run(rows)
    np.testing.assert_array_equal(out[1:, pipe.column("a130_q0")], rows[:-1, -3:])
    np.testing.assert_array_equal(out[2:, pipe.column("a8_q1")], rows[:-2, 2:3])


def test_threads_give_the_rows_of_one_run_sticky_bits_included(pipe: harness.Harness) -> None:
    rows = stimulus(20_000, errors=True)
    rows[:12_000, 1] = 0  # the first error comes after a block border
    one = pipe.run(rows)
    for starts in (None, np.arange(0, len(rows), 7)):
        many = pipe.run(rows, threads=4, starts=starts, warm_up=LATENCY, sticky=["error_o"], seed=3)
        np.testing.assert_array_equal(many[LATENCY:], one[LATENCY:])


def test_a_warm_up_that_is_too_short_is_visible(pipe: harness.Harness) -> None:
    rows = stimulus(20_000)
    one, many = pipe.run(rows), pipe.run(rows, threads=4, warm_up=0)
    assert (many[LATENCY:] != one[LATENCY:]).any()


def test_uninitialised_state_differs_between_seeds(pipe: harness.Harness) -> None:
    rows = stimulus(10)
    first, second = pipe.run(rows, reset_cycles=1, seed=1), pipe.run(rows, reset_cycles=1, seed=2)
    assert (first[0] != second[0]).any()
    np.testing.assert_array_equal(first[LATENCY:], second[LATENCY:])


def test_no_rows_give_no_rows(pipe: harness.Harness) -> None:
    assert pipe.run(stimulus(0)).shape == (0, pipe.out_chunks)


def test_the_same_content_is_built_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    widths = (8,)
    args = ("pipe", [Wire("valid_i", 1), Wire("a8_i", 8)], [Wire("a8_o", 8)], tmp_path / "cosim")
    text = source(tmp_path, widths).read_text().replace("a1_i", "a8_i[0]")
    (tmp_path / "pipe.sv").write_text(text)
    first = harness.build([tmp_path / "pipe.sv"], *args)
    monkeypatch.setattr(building, "_compile", lambda *_: pytest.fail("compiled again"))
    assert harness.build([tmp_path / "pipe.sv"], *args) == first
    monkeypatch.undo()
    (tmp_path / "pipe.sv").write_text(text.replace("~a8_q1", "a8_q1"))
    second = harness.build([tmp_path / "pipe.sv"], *args)
    assert second.library != first.library
    rows = np.arange(20, dtype=np.uint64)[:, None] * np.ones((1, 2), dtype=np.uint64)
    assert second.run(rows)[LATENCY + 1, 0] == 1
    assert first.run(rows)[LATENCY + 1, 0] == 254


def test_reset_can_be_active_low(tmp_path: Path) -> None:
    text = source(tmp_path, (8,)).read_text().replace("a1_i", "a8_i[0]")
    text = text.replace("clk_i", "aclk").replace("if (rst_i)", "if (!aresetn)").replace("rst_i", "aresetn")
    (tmp_path / "pipe.sv").write_text(text)
    built = harness.build(
        [tmp_path / "pipe.sv"],
        "pipe",
        [Wire("valid_i", 1), Wire("a8_i", 8)],
        [Wire("valid_o", 1)],
        tmp_path / "cosim",
        pins=ClockReset("aclk", "aresetn", active_low=True),
    )
    out = built.run(np.ones((6, 2), dtype=np.uint64), reset_cycles=5)
    assert out[:, 0].tolist() == [0, 0, 0, 1, 1, 1]


def test_a_failing_build_says_why_and_leaves_no_cache_entry(tmp_path: Path) -> None:
    file = tmp_path / "pipe.sv"
    file.write_text("module pipe (input wire logic clk_i, rst_i; endmodule")
    with pytest.raises(
        ToolError, match=r"translating the RTL with Verilator failed \(exit \d+\)\n.*syntax error"
    ) as caught:
        harness.build([file], "pipe", [], [], tmp_path / "cosim")
    assert "build.log" in str(caught.value)
    assert not list((tmp_path / "cosim").iterdir())


def test_an_interrupted_build_leaves_no_cache_entry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(simulators, "run", stop)
    with pytest.raises(KeyboardInterrupt):
        harness.build([source(tmp_path)], "pipe", [], [], tmp_path / "cosim")
    assert not list((tmp_path / "cosim").iterdir())


def test_a_damaged_library_is_named(tmp_path: Path, pipe: harness.Harness) -> None:
    broken = tmp_path / "harness.so"
    broken.write_bytes(b"not a library")
    with pytest.raises(ToolError, match="cannot load the compiled simulation"):
        harness.Harness(broken, pipe.design).run(stimulus(3))
