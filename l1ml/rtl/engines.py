# SPDX-License-Identifier: Apache-2.0
"""Prints a timed engine network: one module per Map, and the core that connects the engines."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from l1ml.plan.attach import AttachEngine
from l1ml.plan.fold import FoldEngine
from l1ml.plan.network import EngineNode, MapNode, Node, ScanNode
from l1ml.plan.timing import Measured, Timed, Wait
from l1ml.rtl import parts, reload, wiring
from l1ml.rtl.cells import ALIGN
from l1ml.rtl.systemverilog import Core, LinkFacts, link_constants, package_text, print_core
from l1ml.rtl.wiring import LINE, Lane
from l1ml.schedule.pipeline import Pipeline

START = (
    "// start_i marks the first beat, which also ends an event that is not complete: nothing comes of it.",
    "// Beats must come at the clocks above.",
)


@dataclass(frozen=True)
class StreamedCore:
    """Names of a streamed core.

    Args:
        module: name of the core's module.
        digest: of the network, 64 hex digits.
        clock_mhz: clock it is made for.
        interval: clocks between two events.
    """

    module: str
    digest: str
    clock_mhz: float
    interval: int

    def map_module(self, node: int) -> str:
        """Return the module of a Map."""
        return f"{self.module}_map{node}"


def print_network(core: StreamedCore, timed: Timed, pipes: Mapping[int, Pipeline]) -> dict[str, str]:
    """Return the SystemVerilog of all modules by name of the module, the core last."""
    out = {}
    for number, pipe in pipes.items():
        module = core.map_module(number)
        names = tuple(f"x_{k}" for k in range(len(pipe.flow.inputs)))
        out[module] = print_core(Core(module, names, core.digest), pipe)
    out[core.module] = "\n".join(_Printer(core, timed, pipes).lines()) + "\n"
    return out


def buses(core: StreamedCore, timed: Timed, pipes: Mapping[int, Measured]) -> dict[int, tuple[str, str, str]]:
    """Return the names that (valid, start, data) of every stream have in the core."""
    printer = _Printer(core, timed, pipes)
    for _ in printer.lines():
        pass
    return printer.valid


def print_package(core: StreamedCore, timed: Timed, out_width: int, link: LinkFacts) -> str:
    """Return the package: latency, interval, widths and digest as constants."""
    first = timed.network.streams[0]
    constants = [
        ("LATENCY", timed.latency, "clocks of the core, from the first beat of an event to valid_o"),
        ("INTERVAL", timed.interval, "least clocks between two events at the core"),
        ("BEATS", first.raster.beats, "beats of an event"),
        ("INPUT_WIDTH", first.bits, "bits of data_i, a beat"),
        ("OUTPUT_WIDTH", out_width, "bits of data_o"),
        *link_constants(link),
        ("CLOCK_KHZ", round(core.clock_mhz * 1e3), "clock it is made for"),
    ]
    return package_text(core.module, f"{core.module}_pkg", core.digest, constants)


class _Printer:
    def __init__(self, core: StreamedCore, timed: Timed, pipes: Mapping[int, Measured]) -> None:
        self.core, self.timed, self.pipes = core, timed, pipes
        self.network = timed.network
        self.whole = self.network.streams[0].raster.beats == 1
        self.reload = reload.ReloadPrinter(timed)
        self.valid = {0: ("valid_i", "valid_i" if self.whole else "start_i", "data_i")}

    def lines(self) -> Iterator[str]:
        """Yield the lines of the core."""
        yield from self._header()
        yield from self.reload.lines(self.valid[0][:2])
        for number, node in enumerate(self.network.nodes):
            yield ""
            yield from self._comment(number, node)
            names = [self.valid[s] for s in node.inputs]
            yield from self._waiting(f"n{number}", names, node.inputs, self.timed.waits[number])
            if isinstance(node, MapNode):
                yield from self._map(number, node, names)
            elif isinstance(node, ScanNode):
                yield from self._scan(number, node, names[0])
            else:
                yield from self._engine(number, node, names[0])
        yield from self._outputs()
        yield ""
        yield "endmodule"
        yield ""
        yield "`default_nettype wire"

    def _header(self) -> Iterator[str]:
        core, first = self.core, self.network.streams[0]
        out = self._output_width()
        times = self.timed.times[0]
        beats = "1 beat" if first.raster.beats == 1 else f"{first.raster.beats} beats"
        text = f"An event is {beats}: {first}. Beats of an event come at clocks {parts.times_text(times)}."
        yield from (
            "// SPDX-License-Identifier: Apache-2.0",
            "//",
            f"// {core.module}: engines connected by streams.",
            f"// network {core.digest}",
            "//",
            *(f"// {line}" for line in textwrap.wrap(text, LINE - 3)),
            f"// Latency {self.timed.latency} clocks from the first beat of an event to valid_o. An event may",
            f"// come every {self.timed.interval} clocks; made for {core.interval}, at {core.clock_mhz:g} MHz.",
            *([] if self.whole else START),
            "// Nothing stalls. data_o means nothing while valid_o is low.",
            "//",
            "// Names: n<k>_* leaves engine k, s<k>_data is stream k with its elements side by side, lowest first.",
            "",
            "`default_nettype none",
            "",
            f"module {core.module} #(",
            "  // 1: a stage of a Map loads its registers only for a beat (saves power, one clock enable per",
            "  // stage); 0: it loads every clock. Events come out the same.",
            "  parameter bit HoldIdle = 1'b1",
            ") (",
            "  input  wire logic clk_i,",
            "  input  wire logic rst_i, // synchronous, active high, clears valid and counters",
            "  input  wire logic valid_i, // data_i holds a beat",
            *([] if self.whole else ["  input  wire logic start_i, // it is the first of its event"]),
            f"  input  wire logic [{first.bits - 1}:0] data_i,",
            *self.reload.ports(),
            "  output logic valid_o,",
            f"  output logic [{out - 1}:0] data_o",
            ");",
        )

    def _comment(self, number: int, node: Node) -> Iterator[str]:
        times = self.timed.times[node.outputs[0]]
        if isinstance(node, MapNode):
            what = "wires" if number not in self.pipes else f"Map of {self.pipes[number].stages} stages"
            text = f"{number}: {what} for {', '.join(node.layers) or 'the layer behind'}."
        elif isinstance(node, ScanNode):
            scan = self.timed.scans[number]
            text = (
                f"{number}: Scan for {node.layer}: {scan.steps} steps, one every {scan.slot} clocks; the cell has "
                f"{scan.cell_latency} stages."
            )
        else:
            text = f"{number}: {node.engine.MODULE.removeprefix('l1ml_').capitalize()} for {node.layer}."
        streams = "; ".join(str(self.network.streams[s]) for s in node.outputs)
        text += f" Out: {streams}; clocks {parts.times_text(times)}."
        yield from (f"  // {line}" for line in textwrap.wrap(text, LINE - 5))

    def _waiting(
        self, stem: str, names: list[tuple[str, str, str]], streams: Sequence[int], waits: Sequence[Wait]
    ) -> Iterator[str]:
        """Print what makes the inputs of a node wait for each other; ``names`` become those after the wait."""
        lead = next(k for k, w in enumerate(waits) if w.buffer is None)
        buffered = any(w.buffer is not None for w in waits)
        valid, start, _ = names[lead]
        reads = waits[lead].clocks - 1  # buffers are read a clock before all leave
        if buffered and reads:
            yield from parts.signals(f"{stem}_read", 1)
            yield from parts.delay(f"{stem}_read", 1, reads, valid, start, "1'b0")
            valid, start = f"{stem}_read_valid", f"{stem}_read_start"
        for k, (wait, stream) in enumerate(zip(waits, streams, strict=True)):
            own, bits = f"{stem}_in{k}", max(1, self.network.streams[stream].bits)
            if wait.buffer is not None:
                yield f"  logic [{bits - 1}:0] {own}_data;"
                yield from parts.instance(
                    ALIGN, wait.buffer.parameters(), f"{own}_align",
                    {
                        "clk_i": "clk_i", "rst_i": "rst_i", "write_valid_i": names[k][0], "write_data_i": names[k][2],
                        "read_valid_i": valid, "read_start_i": start, "data_o": f"{own}_data",
                    },
                )  # fmt: skip
                names[k] = (names[k][0], names[k][1], f"{own}_data")
            elif wait.clocks or wait.pace is not None:
                yield from parts.signals(own, bits)
                if wait.pace is None:
                    yield from parts.delay(own, bits, wait.clocks, *names[k])
                else:
                    pace = wait.pace
                    yield from parts.through(pace.MODULE, pace.parameters(), f"{own}_pace", own, *names[k])
                names[k] = (f"{own}_valid", f"{own}_start", f"{own}_data")
        idle = [f"{valid} ^ {start}" for k, (valid, start, _) in enumerate(names) if k != lead]
        idle += [
            f"{stem}_in{k}_data"
            for k, (stream, wait) in enumerate(zip(streams, waits, strict=True))
            if not self.network.streams[stream].bits and (wait.clocks or wait.buffer is not None)
        ]
        if buffered and reads:
            idle.append(f"{stem}_read_data")
        if idle:  # all are valid together
            yield f"  logic unused_{stem}_in;"
            yield from wiring.assign(f"unused_{stem}_in", [" ^ ".join(idle)])
            yield ""
        names[0] = (*names[lead][:2], names[0][2])

    def _map(self, number: int, node: MapNode, names: Sequence[tuple[str, str, str]]) -> Iterator[str]:
        valid, start, _ = names[0]
        kinds = [node.program.type_of(t) for _, t in node.program.outputs]
        buses = [n[2] for n, s in zip(names, node.inputs, strict=True) if self.network.streams[s].bits]
        # An operand that is always zero has no bits: a body whose operands all are has a dummy input.
        data = "{" + ", ".join(reversed(buses)) + "}" if len(buses) > 1 else next(iter(buses), "1'b0")
        if number in self.pipes:
            own, width = f"n{number}", sum(max(1, k.at(i).width) for k in kinds for i in range(k.size))
            yield from parts.signals(own, width)
            yield f"  {self.core.map_module(number)} #(.HoldIdle(HoldIdle)) {own}_map ("
            yield "    .clk_i(clk_i), .rst_i(rst_i),"
            yield f"    .valid_i({valid}), .data_i({data}),"
            yield f"    .valid_o({own}_valid), .data_o({own}_data)"
            yield "  );"
            yield ""
            yield from parts.instance(
                "l1ml_delay", {"Width": 1, "Latency": self.pipes[number].stages}, f"{own}_start_delay",
                {"clk_i": "clk_i", "data_i": start, "data_o": f"{own}_start"},
            )  # fmt: skip
            outputs = wiring.of_outputs(f"{own}_data", kinds)
            valid, start = f"{own}_valid", f"{own}_start"
        else:
            outputs = self._wires(node, [n[2] for n in names])
        for stream, lanes in zip(node.outputs, outputs, strict=True):
            yield from self._stream(stream, lanes, valid, start)
        if number in self.pipes and any(lane.width == 0 for lanes in outputs for lane in lanes):
            yield ""
            yield f"  logic unused_n{number}; // some elements are always zero"
            yield f"  assign unused_n{number} = ^n{number}_data;"

    def _wires(self, node: MapNode, buses: Sequence[str]) -> list[list[Lane]]:
        """Return where the outputs of a body that only moves elements come from."""
        lanes = [
            lane
            for stream, bus in zip(node.inputs, buses, strict=True)
            for lane in wiring.of_stream(bus, self.network.streams[stream])
        ]
        none = Lane("", 0, 0, signed=False, frac=0)
        return [[lanes[k] if k >= 0 else none for k in indices] for indices in parts.moved(node.program)]

    def _stream(self, stream: int, lanes: Sequence[Lane], valid: str, start: str) -> Iterator[str]:
        kind = self.network.streams[stream]
        yield ""
        yield f"  logic [{max(1, kind.bits) - 1}:0] s{stream}_data;"
        yield from wiring.assign(f"s{stream}_data", wiring.packed(lanes, wiring.natural(kind)))
        if not kind.bits:
            yield f"  logic unused_s{stream}; // all of it is always zero"
            yield f"  assign unused_s{stream} = s{stream}_data;"
        self.valid[stream] = (valid, start, f"s{stream}_data")

    def _engine(self, number: int, node: EngineNode, names: tuple[str, str, str]) -> Iterator[str]:
        valid, start, data = names
        source, target = (self.network.streams[s] for s in (node.inputs[0], node.outputs[0]))
        own = f"n{number}"
        if node.ups is not None:
            lanes = wiring.of_stream(data, source)
            frac = source.type.frac + node.ups[: source.elements]
            wanted = [(node.input_bits, int(f)) for f in frac] * source.groups
            yield f"  logic [{len(wanted) * node.input_bits - 1}:0] {own}_in;"
            yield from wiring.assign(f"{own}_in", wiring.packed(lanes, wanted))
            yield ""
            data = f"{own}_in"
        elif source.type.size != target.type.size and source.raster.whole:
            # A whole event becomes positions: all of one type.
            wanted = wiring.natural(target)[: target.elements] * target.raster.positions
            yield f"  logic [{sum(w for w, _ in wanted) - 1}:0] {own}_in;"
            yield from wiring.assign(f"{own}_in", wiring.packed(wiring.of_stream(data, source), wanted))
            yield ""
            data = f"{own}_in"
        bits = target.elements * node.result_bits if node.result_bits else max(1, target.bits)
        yield from parts.signals(own, bits)
        parameters: dict[str, int | str] = dict(node.engine.parameters())
        writes: dict[str, str] = {}
        given = {"data_i": data}
        if isinstance(node.engine, AttachEngine | FoldEngine):
            parameters |= node.engine.literals()
        if isinstance(node.engine, AttachEngine):  # what it stands beside passes it by
            given = {}
        if isinstance(node.engine, FoldEngine):
            writes = self.reload.connections(number, node.engine)
        yield from parts.instance(
            node.engine.MODULE, parameters, f"{own}_engine",
            {
                "clk_i": "clk_i", "rst_i": "rst_i", "valid_i": valid, "start_i": start, **given, **writes,
                "valid_o": f"{own}_valid", "start_o": f"{own}_start", "data_o": f"{own}_data",
            },
        )  # fmt: skip
        if isinstance(node.engine, FoldEngine):
            yield from self.reload.starts(number, node.engine, (valid, start))
        if node.result_bits:
            drops = node.drops if node.drops is not None else np.zeros(target.elements, dtype=np.int64)
            lanes = wiring.of_results(f"{own}_data", target.type, node.result_bits, [int(d) for d in drops])
            yield from self._stream(node.outputs[0], lanes, f"{own}_valid", f"{own}_start")
            yield ""
            yield f"  logic unused_{own}; // results have the bits of the widest, and zeros at the low end"
            yield f"  assign unused_{own} = ^{own}_data;"
        else:
            self.valid[node.outputs[0]] = (f"{own}_valid", f"{own}_start", f"{own}_data")

    def _scan(self, number: int, node: ScanNode, names: tuple[str, str, str]) -> Iterator[str]:
        valid, start, data = names
        engine, cell, own = self.timed.scans[number], node.recurrence.cell, f"n{number}"
        state_bits, y_bits = engine.state_bits, engine.y_bits
        yield from parts.signals(own, y_bits)
        for name, bits in (("cell_x", engine.x_bits + state_bits), ("cell_y", y_bits + state_bits)):
            yield f"  logic {own}_{name}_valid;"
            yield f"  logic [{bits - 1}:0] {own}_{name};"
        yield ""
        yield from parts.instance(
            engine.MODULE, {**engine.parameters(), **engine.literals()}, f"{own}_engine",
            {
                "clk_i": "clk_i", "rst_i": "rst_i", "valid_i": valid, "start_i": start, "data_i": data,
                "valid_o": f"{own}_valid", "start_o": f"{own}_start", "data_o": f"{own}_data",
                "cell_valid_o": f"{own}_cell_x_valid", "cell_data_o": f"{own}_cell_x",
                "cell_valid_i": f"{own}_cell_y_valid", "cell_data_i": f"{own}_cell_y",
            },
        )  # fmt: skip
        # The cell reads states, lowest bits first, then x; elements that are always zero have no bits there.
        kinds = [port.type for port in cell.inputs]
        lanes = [lane for group in wiring.of_outputs(f"{own}_cell_x", kinds[:-1]) for lane in group]
        stream = self.network.streams[node.inputs[0]]
        x = wiring.of_stream(f"{own}_cell_x", stream)
        lanes += [replace(lane, lsb=lane.lsb + state_bits) for lane in x]
        wanted = [(lane.width, lane.frac) for lane in lanes]
        width = sum(w for w, _ in wanted)
        yield ""
        yield f"  logic [{width - 1}:0] {own}_cell_in;"
        yield from wiring.assign(f"{own}_cell_in", wiring.packed(lanes, wanted))
        given = [cell.type_of(tensor) for _, tensor in cell.outputs]
        bits = sum(max(1, kind.at(k).width) for kind in given for k in range(kind.size))
        yield f"  logic [{bits - 1}:0] {own}_cell_out;"
        yield ""
        yield f"  {self.core.map_module(number)} #(.HoldIdle(HoldIdle)) {own}_cell ("
        yield "    .clk_i(clk_i), .rst_i(rst_i),"
        yield f"    .valid_i({own}_cell_x_valid), .data_i({own}_cell_in),"
        yield f"    .valid_o({own}_cell_y_valid), .data_o({own}_cell_out)"
        yield "  );"
        out = [lane for group in wiring.of_outputs(f"{own}_cell_out", given) for lane in group]
        # A state comes back in the bits of its own type, which may be wider than what this cell can give.
        kind = node.recurrence.y_type
        widths = [*node.state_widths, *(max(1, kind.at(k).width) for k in range(kind.size))]
        fracs = [int(f) for one in [*kinds[:-1], kind] for f in one.frac]
        yield ""
        yield from wiring.assign(f"{own}_cell_y", wiring.packed(out, list(zip(widths, fracs, strict=True))))
        (results,) = wiring.of_outputs(f"{own}_data", [kind])
        yield from self._stream(node.outputs[0], results, f"{own}_valid", f"{own}_start")

    def _output_width(self) -> int:
        return sum(max(1, kind.at(k).width) for kind in self.network.types for k in range(kind.size))

    def _outputs(self) -> Iterator[str]:
        streams = self.network.outputs
        names = [self.valid[s] for s in streams]
        yield ""
        yield "  // Outputs, element 0 in the lowest bits, each with its own width."
        yield from self._waiting("out", names, streams, self.timed.ends)
        yield f"  assign valid_o = {names[0][0]};"
        lanes, wanted = [], []
        for stream, kind, (_, _, data) in zip(streams, self.network.types, names, strict=True):
            lanes += wiring.of_stream(data, self.network.streams[stream])
            wanted += [(max(1, kind.at(k).width), kind.at(k).frac) for k in range(kind.size)]
        yield from wiring.assign("data_o", wiring.packed(lanes, wanted))
        wider = {lane.bus for lane, (width, _) in zip(lanes, wanted, strict=True) if lane.width > width}
        if wider:
            yield ""
            yield "  logic unused_out; // the positions of a stream share a type, an output has its own"
            yield f"  assign unused_out = ^{{{', '.join(sorted(wider))}}};"
        yield ""
        yield "  logic unused_start; // an event leaves as one beat"
        yield f"  assign unused_start = {names[0][1]};"
