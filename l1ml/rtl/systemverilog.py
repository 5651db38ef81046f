# SPDX-License-Identifier: Apache-2.0
"""Prints a Pipeline as one flat SystemVerilog module and the package with its constants."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from l1ml.dataflow.op import Lookup
from l1ml.dataflow.program import Step
from l1ml.dataflow.tables import Column, columns
from l1ml.rtl.demand import Demand, output_bits, unread
from l1ml.rtl.expressions import expression, meaning
from l1ml.rtl.names import wire_names
from l1ml.rtl.operands import Operand
from l1ml.rtl.roms import LINE, declarations
from l1ml.schedule.pipeline import Pipeline
from l1ml.types.timing import Latency


@dataclass(frozen=True)
class Core:
    """What the printer needs besides the pipeline.

    Args:
        module: name of the module.
        input_names: one identifier per input wire.
        digest: network digest, 64 hex digits.
    """

    module: str
    input_names: tuple[str, ...]
    digest: str

    @property
    def package(self) -> str:
        """Name of the package with the core's constants."""
        return f"{self.module}_pkg"


@dataclass(frozen=True)
class LinkFacts:
    """What the package says of the block with its link wrapper.

    Args:
        latency: from the first input word to the first output word.
        link_cycles: clocks between two events on the link.
        tmux: bunch crossings between two events.
    """

    latency: Latency
    link_cycles: int
    tmux: int


def print_package(core: Core, pipe: Pipeline, link: LinkFacts | None = None) -> str:
    """Return the package: latency, interval, widths and digest as constants."""
    flow = pipe.flow
    constants = [
        ("LATENCY", pipe.stages, "clocks of the core, from valid_i to valid_o"),
        ("INTERVAL", 1, "least clocks between two events at the core"),
        ("INPUTS", len(flow.inputs), "elements of data_i"),
        ("OUTPUTS", len(flow.outputs), "elements of data_o"),
        ("INPUT_WIDTH", input_width(pipe), "bits of data_i"),
        ("OUTPUT_WIDTH", output_width(pipe), "bits of data_o"),
    ]
    if link is not None:
        constants += link_constants(link)
    constants.append(("CLOCK_KHZ", round(pipe.clock_mhz * 1e3), "clock the stages are made for"))
    return package_text(core.module, core.package, core.digest, constants)


def link_constants(link: LinkFacts) -> list[tuple[str, int, str]]:
    """Return what the package says of the link."""
    total = "clocks from first input word to first output word"
    whole = link.latency.collect_cycles == link.latency.gathered_cycles
    until = "the last word needed is in" if whole else "the first beat is in"
    return [
        ("TOTAL_LATENCY", link.latency.cycles, total),
        ("COLLECT_LATENCY", link.latency.collect_cycles, f"of these, until {until}"),
        ("EMIT_LATENCY", link.latency.emit_cycles, "of these, from the core to the first output word"),
        ("LINK_INTERVAL", link.link_cycles, "clocks between two events on the link"),
        ("TMUX", link.tmux, "bunch crossings between two events"),
    ]


def package_text(module: str, package: str, digest: str, constants: Sequence[tuple[str, int, str]]) -> str:
    """Return a package with the constants of a core, (name, value, meaning), and its digest."""
    lines = [
        "// SPDX-License-Identifier: Apache-2.0",
        "//",
        f"// Facts about {module}, for the modules around it.",
        "",
        "// Constants in capitals, and more of them than one reader needs.",
        "// verilog_lint: waive-start parameter-name-style",
        "/* verilator lint_off UNUSEDPARAM */",
        "",
        f"package {package};",
        "",
        *(f"  localparam int unsigned {name} = {value}; // {text}" for name, value, text in constants),
        "  // SHA-256 of the network: the same in manifest.json, emulator and reports.",
        "  localparam logic [255:0] DIGEST =",
        f"    256'h{digest};",
        "",
        "endpackage",
        "",
        "/* verilator lint_on UNUSEDPARAM */",
        "// verilog_lint: waive-stop parameter-name-style",
        "",
    ]
    return "\n".join(lines)


def input_width(pipe: Pipeline) -> int:
    """Return the bits of ``data_i``; where all inputs are always zero it still takes one."""
    return max(1, sum(kind.width for kind in pipe.flow.inputs))


def output_width(pipe: Pipeline) -> int:
    """Return the bits of ``data_o``; an output that is the constant zero still takes one bit."""
    return sum(max(1, port.type.width) for port in pipe.flow.outputs)


def print_core(core: Core, pipe: Pipeline) -> str:
    """Return the module: every stage its wires, then its registers."""
    printer = _Printer(core, pipe)
    return "\n".join(printer.lines()) + "\n"


class _Printer:
    def __init__(self, core: Core, pipe: Pipeline) -> None:
        self.core, self.pipe, self.flow = core, pipe, pipe.flow
        self.names = wire_names(pipe.flow, list(core.input_names))
        self.demand = Demand(pipe)
        self.constants = self.demand.constants
        self.steps: list[list[tuple[int, Step]]] = [[] for _ in range(pipe.stages)]
        for wire, step in pipe.flow.defined():
            if wire not in self.constants and self.demand.made[wire]:
                self.steps[pipe.stage[wire]].append((wire, step))
        self.held: list[list[int]] = [[] for _ in range(pipe.stages)]
        for wire, stage in self.demand.held:
            self.held[stage].append(wire)

    def lines(self) -> Iterator[str]:
        yield from self._header()
        yield from declarations(self._tables())
        yield from self._inputs()
        for stage in range(self.pipe.stages):
            yield from self._stage(stage)
        yield from self._outputs()
        yield ""
        yield "endmodule"
        yield ""
        yield "// verilog_lint: waive-stop always-ff-non-blocking"
        yield ""
        yield "`default_nettype wire"

    def _header(self) -> Iterator[str]:
        pipe, core = self.pipe, self.core
        layers = " > ".join(dict.fromkeys(self._layer_stems()))
        yield from (
            "// SPDX-License-Identifier: Apache-2.0",
            "//",
            *(f"// {part}" for part in textwrap.wrap(f"{core.module}: {layers}", LINE - 3)),
            f"// network {core.digest}",
            "//",
            f"// Latency {pipe.stages} clocks, interval 1 clock, for {pipe.clock_mhz:g} MHz. Free running:",
            "// an event may come every clock, nothing stalls. valid_q is the only reset state; data_o",
            "// means nothing while valid_o is low.",
            "//",
            "// Names: <layer>_<k> is element k of a layer, <layer>_s<k> a step towards it, both variables",
            "// of the block of their stage; <name>_q<n> is the register behind stage n.",
            "",
            "`default_nettype none",
            "",
            "// Variables of a stage are combinational: blocking assignments, read in the same block only.",
            "// verilog_lint: waive-start always-ff-non-blocking",
            "",
            f"module {core.module} #(",
            "  // 1: a stage loads its registers only for an event (a clock enable per stage, saves power);",
            "  // 0: it loads every clock. Events come out the same.",
            "  parameter bit HoldIdle = 1'b1",
            ") (",
            "  input  wire logic clk_i,",
            "  input  wire logic rst_i, // synchronous, active high, clears valid only",
            "  input  wire logic valid_i, // data_i holds an event",
            f"  input  wire logic [{input_width(pipe) - 1}:0] data_i,",
            "  output logic valid_o,",
            f"  output logic [{output_width(pipe) - 1}:0] data_o",
            ");",
            "",
        )
        last = pipe.stages - 1
        yield f"  logic [{last}:0] valid_q; // valid_q[n]: the registers behind stage n hold an event"
        yield ""
        yield "  always_ff @(posedge clk_i) begin"
        shifted = "valid_i" if last == 0 else f"{{valid_q[{last - 1}:0], valid_i}}"
        yield f"    valid_q <= {shifted};"
        yield "    if (rst_i) valid_q <= '0;"
        yield "  end"
        yield ""
        yield f"  assign valid_o = valid_q[{last}];"

    def _tables(self) -> Iterator[Column]:
        for wire, step in self.flow.defined():
            if isinstance(step.op, Lookup) and self.demand.made[wire]:
                yield from columns(step.op, self.flow.type_of(step.ins[0]), self.demand.computed(wire)[1])

    def _layer_stems(self) -> Iterator[str]:
        for name in self.names[len(self.flow.inputs) :]:
            yield name.rsplit("_", 1)[0]

    def _inputs(self) -> Iterator[str]:
        yield ""
        yield "  // Inputs, element 0 in the lowest bits."
        low = 0
        for wire, kind in enumerate(self.flow.inputs):
            if self.demand.made[wire]:
                yield self._declare(self.names[wire], wire, (0, kind.width))
                yield f"  assign {self.names[wire]} = data_i[{low + kind.width - 1}:{low}];"
            low += kind.width

    def _declare(self, name: str, wire: int, bits: tuple[int, int]) -> str:
        low, high = bits
        sign = "signed " if self.flow.type_of(wire).signed else ""
        size = f"[{high - 1}:{low}] " if bits != (0, 1) else ""
        return f"  logic {sign}{size}{name};"

    def _at(self, wire: int, stage: int) -> Operand:
        """Return a wire as it is read in a stage: itself, or its register of the stage before."""
        kind = self.flow.type_of(wire)
        if wire in self.constants:
            return Operand(self.names[wire], kind, self.constants[wire])
        if self.pipe.stage[wire] == stage:
            return Operand(self.names[wire], kind, declared=self.demand.computed(wire))
        return Operand(
            f"{self.names[wire]}_q{stage - 1}", kind, declared=self.demand.registered(wire, stage - 1)
        )

    def _stage(self, stage: int) -> Iterator[str]:
        pipe = self.pipe
        time, _ = pipe.worst[stage]
        total = time + pipe.family.register_overhead_ns
        held, steps = self.held[stage], self.steps[stage]
        yield ""
        yield f"  // Stage {stage}: {total:.2f} ns of {1e3 / pipe.clock_mhz:.2f} ns by the delay model."
        for wire in held:
            yield self._declare(f"{self.names[wire]}_q{stage}", wire, self.demand.registered(wire, stage))
        yield f"  always_ff @(posedge clk_i) begin : stage_{stage}"
        for wire, _ in steps:
            yield "  " + self._declare(self.names[wire], wire, self.demand.computed(wire))
        idle = self._unread(stage, [wire for wire, _ in steps])
        if idle:
            yield "    logic unused; // bits that decide nothing"
        yield f"    if ({'valid_i' if stage == 0 else f'valid_q[{stage - 1}]'} || !HoldIdle) begin"
        for wire, step in steps:
            operands = [self._at(i, stage) for i in step.ins]
            names = [str(o.constant) if o.constant is not None else o.name for o in operands]
            text = f"{self.names[wire]} = {expression(step.op, operands, self.demand.computed(wire)[1])};"
            yield from _statement(text, meaning(step.op, names))
        for wire in held:
            low, high = self.demand.registered(wire, stage)
            yield f"      {self.names[wire]}_q{stage} <= {self._at(wire, stage).bits(low, high - low)};"
        if idle:
            yield from _wrapped("      unused = ^{", idle, "};")
        yield "    end"
        yield "  end"

    def _outputs(self) -> Iterator[str]:
        yield ""
        yield "  // Outputs, element 0 in the lowest bits, each with its own width."
        parts = [output_bits(port, self._at(port.wire, self.pipe.stages)) for port in self.flow.outputs]
        yield from _wrapped("  assign data_o = {", parts[::-1], "};")
        idle = []
        low = 0
        for wire, kind in enumerate(self.flow.inputs):
            used = self.demand.made[wire]
            if used:
                idle += unread(self.names[wire], (0, kind.width), used)
            elif kind.width:  # what is always zero has no bits
                idle.append(f"data_i[{low + kind.width - 1}:{low}]")
            low += kind.width
        if low == 0:
            idle.append("data_i")
        if idle:
            yield ""
            yield "  // Input bits that decide nothing."
            yield "  logic unused_inputs;"
            yield from _wrapped("  assign unused_inputs = ^{", idle, "};")

    def _unread(self, stage: int, made: list[int]) -> list[str]:
        """Return what a linter would report in a stage: bits made or held for it that nothing reads."""
        out: list[str] = []
        for wire in made:
            out += unread(self.names[wire], self.demand.computed(wire), self.demand.made[wire])
        behind = stage - 1
        for wire in self.held[behind] if stage else ():
            mask = self.demand.held[wire, behind]
            out += unread(f"{self.names[wire]}_q{behind}", self.demand.registered(wire, behind), mask)
        return out


_BREAKS = (" + ", " - ", " * ", " | ", " & ", " ^ ", " >= ", " ? ", " : ", ", ")


def _statement(text: str, comment: str) -> Iterator[str]:
    """Yield an assignment with its formula: on one line, or the formula above, or broken as well."""
    line = f"      {text}"
    if len(line) + len(comment) + 4 <= LINE:
        yield f"{line} // {comment}"
        return
    yield from (f"      // {part}" for part in textwrap.wrap(comment, LINE - 9))
    while len(line) > LINE:
        at = max(line.rfind(mark, 0, LINE) for mark in _BREAKS)
        if at < 8:
            break
        cut = at + (2 if line[at] == "," else 1)
        yield line[:cut].rstrip()
        line = "        " + line[cut:].lstrip()
    yield line


def _wrapped(head: str, parts: list[str], tail: str) -> Iterator[str]:
    """Yield a list over several lines, each at most `LINE` long where that is possible."""
    line = head
    for number, part in enumerate(parts):
        text = part + (", " if number + 1 < len(parts) else tail)
        if len(line) + len(text) > LINE and line.strip():
            yield line.rstrip()
            line = "    "
        line += text
    yield line.rstrip()
