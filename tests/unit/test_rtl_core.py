# SPDX-License-Identifier: Apache-2.0
"""The printed core: names, widths, determinism, and one small module as it should read."""

from __future__ import annotations

import re
from dataclasses import replace

import networks
import numpy as np
import pytest
from programs import Net, ints, p

from l1ml.dataflow import op as ops
from l1ml.dataflow.build import Builder, Element
from l1ml.errors import ConfigError
from l1ml.graph import model
from l1ml.lowering.lower import lower
from l1ml.rtl import names
from l1ml.rtl.operands import Operand, literal
from l1ml.rtl.systemverilog import Core, print_core, print_package
from l1ml.schedule.delay import family_of
from l1ml.schedule.pipeline import Pipeline, pipeline
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


def test_tables_are_constants_with_unsigned_indices() -> None:
    net = Net(((3,), "fixed<10,10>"))
    table = np.random.default_rng(0).integers(-9, 9, (1, 1024))
    looked = net.add(p.Lookup(ints(-512), table, ints(0), 0), 0, layer="table")
    program = net.program(looked)
    pipe = pipeline(lower(program), family_of("xcvu13p", 1000), 360.71)
    text = print_core(Core("tiny_core", ("x_0", "x_1", "x_2"), program.digest), pipe)
    roms = re.findall(r"localparam logic \[(\d+):0\] (Rom[0-9a-f]{12}) = ", text)
    assert len(roms) == 5  # one per result bit, the same for all three elements
    assert {bits for bits, _ in roms} == {"1023"}
    for _, name in roms:
        digits = re.search(rf"{name} = \{{([^}}]*)\}};", text)
        assert digits is not None
        assert re.findall(r"256'h[0-9a-f]{64}\b", digits[1]) and digits[1].count("'h") == 4
        assert set(re.findall(rf"{name}\[([^\]]*\])\]", text)) == {"x_0[9:0]", "x_1[9:0]", "x_2[9:0]"}
    bit = next(name for _, name in roms)
    whole = "".join(re.findall(r"256'h([0-9a-f]+)", text[text.index(bit) : text.index("};")]))
    codes = range(1024)
    found = [int(whole, 16) >> code & 1 for code in codes]
    assert found == [(int(table[0, (code + 512) % 1024]) & 1) for code in codes]


def test_choices_and_products_read_as_expected() -> None:
    net = Net(((2,), "fixed<4,4>"), ((2,), "fixed<12,12>"))
    best = net.add(p.Reduce("max"), 0, layer="best")
    wide = net.add(p.Reduce("sum"), net.add(p.Combine("mul"), 1, 1), layer="wide")
    product = net.add(
        p.Combine("mul"), net.add(p.Take(ints(0)), 1), net.add(p.Take(ints(1)), 1), layer="product"
    )
    program = net.program(best, product)
    del wide
    pipe = pipeline(lower(program), family_of("xcvu13p", 100), 100.0)
    text = print_core(Core("tiny_core", ("x_0", "x_1", "y_0", "y_1"), program.digest), pipe)
    lines = [line.strip() for line in text.splitlines()]
    assert "best_s0 = $signed(x_0) >= $signed(x_1); // x_0 >= x_1" in lines
    assert "best_0 = best_s0 ? x_0 : x_1; // best_s0 ? x_0 : x_1" in lines
    assert "product_0 = $signed({{12{y_1[11]}}, y_1}) * $signed({{12{y_0[11]}}, y_0}); // y_1 * y_0" in lines


def test_a_long_list_of_layers_is_wrapped() -> None:
    net = Net(((2,), "fixed<4,4>"))
    x = 0
    for number in range(40):
        x = net.add(p.AddConst(ints(1), 0), x, layer=f"layer_number_{number}")
    program = net.program(x)
    pipe = pipeline(lower(program), family_of("xcvu13p", 100), 100.0)
    text = print_core(Core("tiny_core", ("x_0", "x_1"), program.digest), pipe)
    assert max(map(len, text.splitlines())) <= 100


def test_an_operand_of_which_no_bit_is_read_needs_no_register() -> None:
    build = Builder((IntType(-8, 7), IntType(-8, 7), IntType(-8, 7)), ["a"])
    late = build.sum(build.sum(Element(0, 0), Element(1, 0), 0), Element(2, 0), 0)
    product = build.sum(Element(1, 0), Element(2, 0), 0)
    wire = build.add(ops.ShiftAdd(3), (late.wire, product.wire), 0, 0)
    low = build.add(ops.Wrap(3, signed=False), (wire,), 0, 0)
    flow = build.finish([Element(low, 0)], [IntType(0, 7)], [])
    stage = tuple(0 if w in (0, 1, 2, product.wire) else 1 for w in range(3 + len(flow.steps)))
    pipe = Pipeline(flow, stage, (0.0,) * len(stage), 2, 100.0, family_of("xcvu13p"))
    text = print_core(Core("tiny_core", ("x_0", "x_1", "x_2"), "0" * 64), pipe)
    assert not re.search(r"a_s\d+_q0 <=", text)
