# SPDX-License-Identifier: Apache-2.0
"""The longest path of a netlist of Yosys, with the delays of nets and cells of `l1ml.schedule.delay`."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pyosys import libyosys as ys

from l1ml.schedule.delay import Family

REGISTERS = ("FDRE", "FDSE", "FDCE", "FDPE")
BESIDE = ("LUT", "CARRY", "MUXF", "INV")
"""Cells that lie in the slice of the register or carry chain that they feed: no net between."""
ENABLED = 8
"""Registers of a slice with one enable or reset."""

Bit = int | str


def synthesized(sources: Sequence[Path], top: str) -> dict[str, Any]:
    """Return the netlist of a module for UltraScale+ as Yosys' JSON has it."""
    design, out = ys.Design(), sources[-1].with_suffix(".json")
    runs = [f"read_verilog -sv {source}" for source in sources]
    runs += [f"synth_xilinx -family xcup -flatten -noiopad -noclkbuf -top {top}", f"write_json {out}"]
    for run in runs:
        ys.run_pass(f"tee -q -o {sources[-1].with_suffix('.log')} {run}", design)
    found: dict[str, Any] = json.loads(out.read_text(encoding="utf-8"))["modules"][top]
    return found


class Netlist:
    """A netlist in time: inputs of the module are registers outside.

    Args:
        module: from `synthesized`, flat.
        family: delays.
    """

    def __init__(self, module: Mapping[str, Any], family: Family) -> None:
        self.cells, self.family = module["cells"], family
        self.maker: dict[Bit, tuple[str, str, int]] = {}
        self.loads: Counter[Bit] = Counter()
        self.enabled: Counter[Bit] = Counter()
        self.known: dict[Bit, float] = {}
        for name, cell in self.cells.items():
            for port, bits in cell["connections"].items():
                for at, bit in enumerate(bits):
                    if cell["port_directions"][port] == "output":
                        self.maker[bit] = name, port, at
                    elif cell["type"] in REGISTERS and port in ("CE", "R", "S", "CLR", "PRE"):
                        self.enabled[bit] += 1
                    elif not _clock(port):
                        self.loads[bit] += 1

    def longest(self) -> float:
        """Return the longest path in ns, nets and logic between two registers."""
        return max(self._ends(), default=0.0)

    def _ends(self) -> Iterator[float]:
        for cell in self.cells.values():
            kind = cell["type"]
            if kind not in REGISTERS and not kind.startswith(("RAM", "SRL")):
                continue
            for port, bits in cell["connections"].items():
                reads = kind.startswith("RAM") and not kind.startswith("RAMB") and port.startswith("ADDR")
                if cell["port_directions"][port] == "input" and not _clock(port) and not reads:
                    beside = kind in REGISTERS and port == "D"
                    yield from (self._beside(bit) if beside else self._pin(bit) for bit in bits)

    def _type(self, bit: Bit) -> str:
        return str(self.cells[self.maker[bit][0]]["type"]) if bit in self.maker else ""

    def _pin(self, bit: Bit) -> float:
        """Return when a bit is there, behind its net."""
        if isinstance(bit, str):
            return 0.0
        fanout = self.loads[bit] + -(-self.enabled[bit] // ENABLED)
        return self._made(bit) + self.family.net_ns + self.family.fanout_ns(fanout)

    def _beside(self, bit: Bit) -> float:
        return self._made(bit) if self._type(bit).startswith(BESIDE) else self._pin(bit)

    def _made(self, bit: Bit) -> float:
        """Return when a bit leaves its cell."""
        if bit not in self.maker:
            return 0.0
        if bit not in self.known:
            self.known[bit] = 0.0  # of a loop, which there is none of in a good netlist
            name, port, at = self.maker[bit]
            cell = self.cells[name]
            pins = {k: v for k, v in cell["connections"].items() if cell["port_directions"][k] == "input"}
            self.known[bit] = max(self._through(str(cell["type"]), pins, port, at), default=0.0)
        return self.known[bit]

    def _through(self, kind: str, pins: Mapping[str, list[Bit]], port: str, at: int) -> Iterator[float]:
        of = self.family
        if kind == "INV":  # part of the LUT behind it
            yield self._made(pins["I"][0])
        elif kind.startswith("LUT"):
            yield from (self._pin(bit) + of.lut_ns for bits in pins.values() for bit in bits)
        elif kind.startswith("MUXF"):
            yield self._pin(pins["S"][0]) + of.wide_mux_ns
            yield from (self._made(pins[k][0]) + of.wide_mux_ns for k in ("I0", "I1"))
        elif kind.startswith("CARRY"):
            yield from self._carried(pins, port, at)
        elif kind.startswith("RAMB"):
            yield of.bram_ns
        elif kind.startswith("RAM"):
            yield from (self._pin(b) + of.lut_ns for k, bits in pins.items() if "ADDR" in k for b in bits)
        elif kind.startswith("DSP"):
            yield from (self._pin(b) + of.dsp_ns for k in "ABCD" for b in pins.get(k, []))

    def _carried(self, pins: Mapping[str, list[Bit]], port: str, at: int) -> Iterator[float]:
        for name in ("S", "DI"):
            last = at if name == "DI" and port == "O" else at + 1
            yield from (self._beside(b) + self.family.carry_first_ns for b in pins[name][:last])
        for bit in (b for name in ("CI", "CI_TOP", "CYINIT") for b in pins.get(name, [])):
            if self._type(bit).startswith("CARRY"):
                cross = 0.0 if port == "CO" else self.family.carry_cross_ns
                yield self._made(bit) + self.family.carry_block_ns + cross
            else:
                yield self._pin(bit) + self.family.carry_first_ns


def _clock(port: str) -> bool:
    return port in ("C", "CLK", "WCLK") or port.startswith("CLK")
