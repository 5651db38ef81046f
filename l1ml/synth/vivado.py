# SPDX-License-Identifier: Apache-2.0
"""Scripts for an out-of-context run of Vivado, and reading of the reports it writes.

The scripts hold only names that passed a check, so that no name from a model or a configuration can
become Tcl.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from l1ml.errors import ConfigError, DataError
from l1ml.synth.result import Resources

_NAME = re.compile(r"[A-Za-z_]\w*")
_PART = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]*")
_PATH = re.compile(r"(?:[A-Za-z0-9_][A-Za-z0-9_.-]*/)*[A-Za-z0-9_][A-Za-z0-9_.-]*")
_SUMMARY = re.compile(
    r"WNS\(ns\)\s+TNS\(ns\)\s+TNS Failing Endpoints\s+TNS Total Endpoints[^\n]*\n"
    r"[\s-]+\n\s*(\S+)\s+\S+\s+(\d+)\s+(\d+)"
)
REPORTS = "build/vivado"
_IO_SHARE = 0.3

_TCL = """\
# Out-of-context run of {top}: vivado -mode batch -source firmware/vivado_ooc.tcl
# Reports and checkpoint go to {reports}. They are of the routed design, alone on the device.
# Exit code 1: the clock is not met.
set root [file normalize [file join [file dirname [info script]] ..]]
set out [file join $root {reports}]
file mkdir $out

{reads}
read_xdc -mode out_of_context [file join $root {constraints}]

synth_design -top {top} -part {part} -mode out_of_context -flatten_hierarchy full
opt_design
place_design -directive Explore
phys_opt_design -directive AggressiveExplore
route_design -directive Explore

report_utilization -file [file join $out utilization.rpt]
report_timing_summary -max_paths 10 -file [file join $out timing.rpt]
report_timing -max_paths 100 -nworst 1 -path_type summary -file [file join $out paths.rpt]
report_methodology -file [file join $out methodology.rpt]
write_checkpoint -force [file join $out {top}.dcp]

set paths [get_timing_paths -setup -max_paths 1 -nworst 1]
if {{[llength $paths] == 0}} {{
  puts "ERROR: {top}: no path is timed, see [file join $out timing.rpt]"
  exit 1
}}
set wns [get_property SLACK [lindex $paths 0]]
if {{$wns < 0}} {{
  puts "ERROR: {top}: the clock is not met, WNS $wns ns, see [file join $out timing.rpt]"
  exit 1
}}
puts "{top}: the clock is met, WNS $wns ns"
"""

_XDC = """\
# Clock of {top} for out-of-context runs only: inside a design the clock comes from the framework.
create_clock -name {port} -period {period:.4f} [get_ports {port}]
set_property HD.CLK_SRC BUFGCTRL_X0Y0 [get_ports {port}]
# Neighbours may use {share:.0%} of a period outside the block on either side. Outputs are registers or
# constants; inputs meet some logic before their first register. Hold at the ports is for the design around
# the block to meet: here the far side changes no earlier than the clock edge.
set data_inputs [filter [all_inputs] {{NAME != {port}}}]
set_input_delay -clock {port} -max {delay:.4f} $data_inputs
set_input_delay -clock {port} -min 0 $data_inputs
set_output_delay -clock {port} -max {delay:.4f} [all_outputs]
set_output_delay -clock {port} -min 0 [all_outputs]
"""


def _checked(pattern: re.Pattern[str], value: str, what: str) -> str:
    if not pattern.fullmatch(value) or ".." in value:
        raise ConfigError(
            f"{what} {value!r} cannot stand in a Tcl script", fix="use letters, digits, '_', '-' and '.'"
        )
    return value


def ooc_tcl(top: str, part: str, sources: Sequence[str], *, constraints: str | None = None) -> str:
    """Return a Tcl script that synthesizes, places and routes a module out of context.

    Vivado ends with exit code 1 where the worst setup slack is negative, or nothing is timed.

    Args:
        top: module.
        part: full part name.
        sources: files relative to the project folder, in any order; packages are read first.
        constraints: XDC file relative to the project folder; ``firmware/constraints/<top>.xdc`` if not given.

    Raises:
        ConfigError: a name holds characters that Tcl would read as its own.
    """
    hdl = [_checked(_PATH, path, "file name") for path in sources if path.endswith((".sv", ".v", ".vhd"))]
    hdl.sort(key=lambda path: (not path.rsplit(".", 1)[0].endswith("_pkg"), path))
    reads = "\n".join(f"{_reader(path)} [file join $root {path}]" for path in hdl)
    return _TCL.format(
        top=_checked(_NAME, top, "module"),
        part=_checked(_PART, part, "part"),
        reads=reads,
        constraints=_checked(_PATH, constraints or f"firmware/constraints/{top}.xdc", "file name"),
        reports=REPORTS,
    )


def _reader(path: str) -> str:
    if path.endswith(".vhd"):
        return "read_vhdl -vhdl2008"
    return "read_verilog -sv" if path.endswith(".sv") else "read_verilog"


def ooc_xdc(top: str, clock_mhz: float, *, clock_port: str = "clk_i") -> str:
    """Return the constraints of an out-of-context run.

    Args:
        top: module, for the comment.
        clock_mhz: clock frequency.
        clock_port: its port.

    Raises:
        ConfigError: a name holds characters that Tcl would read as its own.
    """
    period = 1e3 / clock_mhz
    return _XDC.format(
        top=_checked(_NAME, top, "module"),
        port=_checked(_NAME, clock_port, "port"),
        period=period,
        share=_IO_SHARE,
        delay=_IO_SHARE * period,
    )


@dataclass(frozen=True, slots=True)
class TimingReport:
    """What a timing summary says.

    Args:
        slack_ns: worst negative slack of setup, positive where the clock is met.
        failing: end points that miss the clock.
        endpoints: all end points.
        period_ns: the period asked for.
    """

    slack_ns: float
    failing: int
    endpoints: int
    period_ns: float

    @property
    def achieved_mhz(self) -> float:
        """Return the fastest clock of this placement."""
        return 1e3 / (self.period_ns - self.slack_ns)


def read_utilization(report: str) -> Resources:
    """Return the cells in the text of ``report_utilization``; works for 7 series and UltraScale.

    Raises:
        DataError: the report has no table of LUTs and registers.
    """
    rows: dict[str, float] = {}
    for line in report.splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if len(cells) >= 2 and re.fullmatch(r"[\d.]+", cells[1]):
            rows.setdefault(cells[0].rstrip("*"), float(cells[1]))
    lut = rows.get("CLB LUTs", rows.get("Slice LUTs"))
    ff = rows.get("CLB Registers", rows.get("Slice Registers"))
    if lut is None or ff is None:
        raise DataError(
            "this is no utilization report: no row 'CLB LUTs' or 'Slice LUTs'",
            fix="give report_utilization's file",
        )
    bram = rows.get("RAMB36/FIFO", 0.0) + rows.get("RAMB18", 0.0)
    return Resources(int(lut), int(ff), int(rows.get("DSPs", 0.0)), int(bram))


def read_timing(report: str, period_ns: float) -> TimingReport:
    """Return the figures in the text of ``report_timing_summary``.

    Args:
        report: the text.
        period_ns: the clock period that was asked for.

    Raises:
        DataError: the report has no design timing summary.
    """
    found = _SUMMARY.search(report)
    if found is None:
        raise DataError(
            "this is no timing summary: no table with WNS(ns)", fix="give report_timing_summary's file"
        )
    return TimingReport(float(found[1]), int(found[2]), int(found[3]), period_ns)
