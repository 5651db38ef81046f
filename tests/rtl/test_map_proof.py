# SPDX-License-Identifier: Apache-2.0
"""Maps proven by induction: a printed pipeline gives what the emulator says, for every input, valid and reset."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from l1ml.cosim.pack import pack
from l1ml.graph.program import TensorProgram
from l1ml.lowering.lower import lower
from l1ml.rtl.systemverilog import input_width, output_width
from l1ml.schedule.delay import family_of
from l1ml.schedule.pipeline import Pipeline, pipeline

sys.path.insert(0, str(Path(__file__).parents[1] / "unit"))
sys.path.insert(0, str(Path(__file__).parent))
import networks
import side_by_side
from prove import proven

pytest.importorskip("pyosys")

TOP = """
module prove (input wire logic clk_i, rst_i, valid_i, input wire logic [{ins}-1:0] data_i);
  logic valid_o;
  logic [{outs}-1:0] data_o;
  {module} #(.HoldIdle({hold})) engine (.*);
  logic [{stages}:0] valid_at;
  logic [{ins}-1:0] data_at [{stages}+1];
  assign valid_at[0] = valid_i;
  assign data_at[0] = data_i;
  for (genvar k = 1; k <= {stages}; k++) begin : gen_at
    always_ff @(posedge clk_i) begin
      valid_at[k] <= valid_at[k-1] & ~rst_i;
      data_at[k] <= data_at[k-1];
    end
  end
  logic [{outs}-1:0] result;
  always_comb begin
    case (data_at[{stages}])
{table}
      default: result = '0;
    endcase
    assert (valid_o == valid_at[{stages}]);
    assert (!valid_o || data_o == result);
  end
endmodule
"""

NETWORKS = {
    "one stage": networks.mlp((2, 2)),
    "two stages": networks.mlp((2, 3, 2)),
    "more stages": networks.mlp((2, 4, 4, 2), seed=5, density=1.0),
}
MUTANTS = (
    ("valid_q[0:0], valid_i", "valid_i, valid_i"),
    ("    if (rst_i) valid_q <= '0;\n", ""),
    ("if (valid_q[0] || !HoldIdle)", "if (valid_i)"),
    ("4'd15 :", "4'd14 :"),
)


def table(net: TensorProgram, pipe: Pipeline) -> str:
    """Return what the emulator makes of every input, as items of a case."""
    kinds = [(k.width, k.signed) for k in pipe.flow.inputs]
    slots = side_by_side.slots(kinds)
    every = np.indices([1 << width for width, _ in kinds]).reshape(len(kinds), -1).T
    lows = np.array([-(1 << (width - 1)) if signed else 0 for width, signed in kinds])
    codes = every + lows
    made = net.emulate([codes])
    outs = np.concatenate([made[t].reshape(len(codes), -1) for _, t in net.outputs], axis=1)
    kinds = [(max(1, p.type.width), p.type.signed) for p in pipe.flow.outputs]
    ins_bits, outs_bits = input_width(pipe), output_width(pipe)
    given = pack(codes, slots, ins_bits)[:, 0].tolist()
    wanted = pack(outs, side_by_side.slots(kinds), outs_bits)[:, 0].tolist()
    rows = zip(given, wanted, strict=True)
    return "\n".join(f"      {ins_bits}'d{g}: result = {outs_bits}'d{w};" for g, w in rows)


def prove(folder: Path, net: TensorProgram, hold: int, mutation: tuple[str, str] | None = None) -> bool:
    pipe = pipeline(lower(net), family_of("xcvu13p", 500), 480.0)
    core, files = side_by_side.write("map", pipe, folder)
    text = files[-1].read_text()
    if mutation is not None:
        assert text.count(mutation[0]) == 1, mutation
        text = text.replace(*mutation)
    top = TOP.format(
        ins=input_width(pipe), outs=output_width(pipe), module=core.module, hold=f"1'b{hold}", stages=pipe.stages,
        table=table(net, pipe),
    )  # fmt: skip
    refute = mutation is not None
    return proven(
        folder, {core.module: text, "prove": top}, "prove", clocks=pipe.stages + 2 + refute, bounded=refute
    )


@pytest.mark.parametrize("hold", [0, 1])
@pytest.mark.parametrize("name", NETWORKS)
def test_every_clock(name: str, hold: int, tmp_path: Path) -> None:
    assert prove(tmp_path, networks.program(NETWORKS[name], "fixed<3,2>"), hold)


@pytest.mark.parametrize("mutation", MUTANTS, ids=range(len(MUTANTS)))
def test_a_mutant_is_refuted(mutation: tuple[str, str], tmp_path: Path) -> None:
    net = networks.program(NETWORKS["two stages"], "fixed<3,2>")
    assert not prove(tmp_path, net, 1, mutation)


def test_the_networks_have_these_stages() -> None:
    nets = [networks.program(net, "fixed<3,2>") for net in NETWORKS.values()]
    stages = [pipeline(lower(net), family_of("xcvu13p", 500), 480.0).stages for net in nets]
    assert stages[:2] == [1, 2]
    assert stages[2] > 2
