# SPDX-License-Identifier: Apache-2.0
"""The printed core: names, widths, determinism, and one small module as it should read."""

from __future__ import annotations

import re
from dataclasses import replace

import networks
import numpy as np
import pytest

from l1ml.errors import ConfigError
from l1ml.graph import model
from l1ml.lowering.lower import lower
from l1ml.rtl import names
from l1ml.rtl.expressions import Operand, literal
from l1ml.rtl.systemverilog import Core, print_core, print_package
from l1ml.schedule.delay import family_of
from l1ml.schedule.pipeline import pipeline
from l1ml.types.fixed import Quantizer
from l1ml.types.intrange import IntType


def _text(net: model.Model, input_type: str = "fixed<4,2>", mhz: float = 360.71) -> str:
    program = networks.program(net, input_type)
    pipe = pipeline(lower(program), family_of("xcvu13p-flga2577-2-e", 100), mhz)
    core = Core("tiny_core", tuple(f"x_{k}" for k in range(program.inputs[0].type.size)), program.digest)
    return print_package(core, pipe) + print_core(core, pipe)


def test_small_module_reads_as_expected() -> None:
    layers = (
        model.Input("in", (), (2,)),
        model.Dense("fc", ("in",), np.array([[1.0], [-2.0]]), None),
        model.Quantize("act", ("fc",), Quantizer.parse("ufixed<2,1,RND_CONV,SAT>")),
    )
    text = _text(model.Model("tiny", layers, ("act",)))
    stage = text[text.index("always_ff @(posedge clk_i) begin : stage_0") : text.index("// Outputs")]
    assert [line.strip() for line in stage.splitlines() if line.strip()] == [
        "always_ff @(posedge clk_i) begin : stage_0",
        "logic signed [5:0] fc_0;",
        "logic signed [4:0] act_s0;",
        "logic act_s1;",
        "logic signed [4:0] act_s2;",
        "logic [1:0] act_0;",
        "if (valid_i || !HoldIdle) begin",
        "fc_0 = {{{2{x_0[3]}}, x_0[3:1]} - {x_1[3], x_1}, x_0[0]}; // x_0 - 2*x_1",
        "act_s0 = fc_0[5:1]; // floor(fc_0 / 2)",
        "act_s1 = fc_0[0] & (1'b0 | fc_0[1]); // 1 if fc_0 / 2 rounds up (RND_CONV)",
        "act_s2 = act_s0 + {4'd0, act_s1}; // act_s0 + act_s1",
        "// act_s2 clipped to 0..3",
        "act_0 = act_s2[4] ? 2'd0 : (~act_s2[4] & (|act_s2[3:2])) ? 2'd3 : act_s2[1:0];",
        "act_0_q0 <= act_0;",
        "end",
        "end",
    ]


def test_same_network_same_bytes_whatever_its_name() -> None:
    net = networks.mlp()
    assert _text(net) == _text(replace(net, name="other", source="elsewhere.h5"))


def test_lines_are_readable() -> None:
    lines = _text(networks.mlp((8, 20, 10, 4))).splitlines()
    assert max(map(len, lines)) <= 100
    assert not [line for line in lines if line != line.rstrip()]


@pytest.mark.parametrize(
    "name",
    ["module", "a b;c", 'x"); $finish', "../../etc", "fc1\nendmodule", "", "9lives", "Ünï", "x" * 300, "x"],
)
def test_layer_names_cannot_reach_the_hdl_unchecked(name: str) -> None:
    net = networks.mlp((3, 2))
    text = _text(replace(net, layers=(net.layers[0], replace(net.layers[1], name=name)), outputs=(name,)))
    body = text[text.index("`default_nettype none") :]
    code = " ".join(line.split("//")[0] for line in body.splitlines())
    assert not set(code) & set('$"\\/')
    assert re.findall(r"\b(?:end)?module\b", code) == ["module", "endmodule"]
    assert text.isascii()


def test_unique_names() -> None:
    assert names.unique(["a", "a", "a_2", "a"]) == ["a", "a_3", "a_2", "a_4"]
    with pytest.raises(ConfigError, match="module name"):
        names.module_name("a;b", "name")


def test_operand_extension_and_memory_of_reads() -> None:
    a = Operand("a", IntType(-8, 7))
    assert a.bits(1, 6) == "{{3{a[3]}}, a[3:1]}"
    assert a.read == 0b1110
    assert a.bits(5, 2) == "{2{a[3]}}"
    assert Operand("b", IntType(0, 7)).bits(0, 5) == "{2'd0, b}"
    assert Operand("c", IntType(5, 5), constant=5).bits(1, 3) == literal(2, 3)
