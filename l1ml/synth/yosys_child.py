# SPDX-License-Identifier: Apache-2.0
"""The process that runs Yosys: reads one job from standard input, writes ``result.json``.

A process of its own can be limited and killed, and a crash of the native library does not take the
caller along.  It imports nothing of l1ml, so that it runs as a plain script.
"""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

NETLIST = "netlist.json"
LOG = "yosys.log"
PASS_LOG = "pass.log"
RESULT = "result.json"
LUTS = "2:2,3,6:5,10,20"
"""LUT costs for abc: LUT1-LUT6, then pairs and quads joined by F7 and F8."""
PACKED_AS_E1 = ("xcu", "xcup")
"""Families whose DSP48E2 has the registers, the adder and the cascade of a DSP48E1, which alone Yosys puts in use."""


def recipe(sources: Sequence[str], top: str, family: str) -> list[str]:
    """Return the Yosys commands, from reading the sources (packages first) to the mapped netlist."""
    synth = f"synth_xilinx -family {family} -flatten -top {top} -noiopad -noclkbuf -run"
    packing = [
        "chtype -set DSP48E1 t:DSP48E2",
        "xilinx_dsp -family xc7 t:DSP48E1 %m",
        "chtype -set DSP48E2 t:DSP48E1",
    ]
    return [
        f"read_verilog -defer -sv {' '.join(sources)}",
        f"{synth} begin:coarse",
        *(packing if family in PACKED_AS_E1 else []),
        f"{synth} coarse:map_luts",
        "opt_expr -mux_undef -noclkinv",
        f"abc -luts {LUTS}",
        "clean",
        "techmap -map +/xilinx/lut_map.v -map +/xilinx/cells_map.v -D LUT_WIDTH=6",
        "xilinx_dffopt",
        "opt_lut_ins -tech xilinx",
        "clean",
        "select -set noff t:FD* %n",  # ltp knows no FDRE and would walk through the pipeline
        "ltp @noff",
        "blackbox =A:whitebox",
        f"write_json {NETLIST}",
    ]


def count(netlist: Mapping[str, Any], top: str) -> dict[str, int]:
    """Count the cells of a mapped, flat netlist.

    Args:
        netlist: what ``write_json`` wrote.
        top: module to count.

    Returns:
        ``lut, sites, ff, dsp, bram, carry4``.
    """
    cells = netlist["modules"][top]["cells"].values()
    carries = {
        bit
        for cell in cells
        if cell["type"].startswith("CARRY")
        for bit in cell["connections"].get("S", [])
        if isinstance(bit, int)
    }
    outputs = [cell["connections"]["O"][0] for cell in cells if cell["type"].startswith("LUT")]
    on_carry = sum(1 for bit in outputs if bit in carries)
    starts = {"ff": "FD", "dsp": "DSP", "bram": "RAMB", "carry4": "CARRY4"}
    others = {name: sum(1 for c in cells if c["type"].startswith(start)) for name, start in starts.items()}
    return {"lut": len(outputs), "sites": round(on_carry + 0.75 * (len(outputs) - on_carry)), **others}


def main() -> None:
    """Run the job on standard input in the working directory; leave ``yosys.log`` and ``result.json``."""
    job = json.load(sys.stdin)
    _limit_memory(int(job["memory_bytes"]))
    libyosys = importlib.import_module("pyosys.libyosys")

    design = libyosys.Design()
    log, part, netlist = Path(LOG), Path(PASS_LOG), Path(NETLIST)
    for command in recipe(job["sources"], job["top"], job["family"]):
        libyosys.run_pass(f"tee -q -o {part} {command}", design)  # on an error Yosys ends the process here
        with log.open("a", encoding="utf-8") as whole:
            whole.write(f"\n>>> {command}\n{part.read_text(encoding='utf-8', errors='replace')}")
    facts = count(json.loads(netlist.read_text(encoding="utf-8")), job["top"])
    facts["depth"] = longest_path(log.read_text(encoding="utf-8", errors="replace"))
    part.unlink()
    netlist.unlink()
    Path(RESULT).write_text(json.dumps(facts), encoding="utf-8")


def _limit_memory(limit: int) -> None:
    """Let the allocation that would exceed ``limit`` bytes fail, here and in the abc process."""
    try:
        import resource
    except ImportError:  # not a POSIX system
        return
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    bound = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
    resource.setrlimit(resource.RLIMIT_AS, (bound, hard))


def longest_path(log: str) -> int:
    """Return the length that ``ltp`` printed last, 0 when there is no path."""
    marker = "(length="
    at = log.rfind(marker)
    return int(log[at + len(marker) : log.index(")", at)]) if at >= 0 else 0


if __name__ == "__main__":
    main()
