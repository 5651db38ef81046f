# SPDX-License-Identifier: Apache-2.0
"""Scripts for Vivado hold no foreign Tcl; its reports are read."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from l1ml.errors import ConfigError, DataError
from l1ml.synth.result import Resources
from l1ml.synth.vivado import ooc_tcl, ooc_xdc, read_timing, read_utilization

PART = "xcvu13p-flga2577-2-e"
UTILIZATION = """
1. CLB Logic
+----------------------------+-------+-------+------------+-----------+-------+
|          Site Type         |  Used | Fixed | Prohibited | Available | Util% |
+----------------------------+-------+-------+------------+-----------+-------+
| CLB LUTs*                  | 35684 |     0 |          0 |   1728000 |  2.07 |
|   LUT as Logic             | 35000 |     0 |          0 |   1728000 |  2.03 |
| CLB Registers              | 20016 |     0 |          0 |   3456000 |  0.58 |
| RAMB36/FIFO*               |     2 |     0 |          0 |      2688 |  0.07 |
| RAMB18                     |     1 |     0 |          0 |      5376 |  0.02 |
| DSPs                       |     4 |     0 |          0 |     12288 |  0.03 |
"""
TIMING = """
| Design Timing Summary
| ---------------------

    WNS(ns)      TNS(ns)  TNS Failing Endpoints  TNS Total Endpoints      WHS(ns)
    -------      -------  ---------------------  -------------------      -------
     -0.594     -978.032                   4975                20628        0.041
"""


def test_script_reads_packages_first_and_the_constraints():
    script = ooc_tcl(
        "jets_emp", PART, ["firmware/rtl/jets_core.sv", "firmware/rtl/jets_core_pkg.sv", "network.json"]
    )
    assert script.index("jets_core_pkg.sv") < script.index("jets_core.sv")
    assert "network.json" not in script
    assert "firmware/constraints/jets_emp.xdc" in script
    assert f"-part {PART}" in script
    assert script == ooc_tcl("jets_emp", PART, ["firmware/rtl/jets_core_pkg.sv", "firmware/rtl/jets_core.sv"])


def test_constraints_hold_the_period():
    text = ooc_xdc("jets_emp", 360.71)
    assert "create_clock -name clk_i -period 2.7723 [get_ports clk_i]" in text
    assert "{NAME != clk_i}" in text


def test_ports_have_a_longest_and_a_shortest_delay():
    lines = [line for line in ooc_xdc("jets_emp", 100.0).splitlines() if line.startswith("set_")]
    for command, ports in (("set_input_delay", "$data_inputs"), ("set_output_delay", "[all_outputs]")):
        assert f"{command} -clock clk_i -max 3.0000 {ports}" in lines
        assert f"{command} -clock clk_i -min 0 {ports}" in lines


STUBS = """
foreach name {
  read_xdc read_verilog synth_design opt_design place_design phys_opt_design route_design report_utilization
  report_timing_summary report_timing report_methodology write_checkpoint
} { proc $name args "lappend ::called $name" }
rename file real_file
proc file {command args} { if {$command ne "mkdir"} { real_file $command {*}$args } }
proc get_timing_paths args { return [lindex $::argv 0] }
proc get_property {name path} { return [string range $path 1 end] }
"""


@pytest.mark.skipif(shutil.which("tclsh") is None, reason="tclsh is not installed")
@pytest.mark.parametrize(("paths", "code"), [("p0.021", 0), ("p0.0", 0), ("p-0.001", 1), ("", 1)])
def test_script_fails_where_the_clock_is_not_met(paths, code, tmp_path):
    """Tcl runs it; commands of Vivado are stubs, and a path is named after its slack."""
    script = tmp_path / "run.tcl"
    text = ooc_tcl("jets_emp", PART, ["firmware/rtl/jets_core.sv"])
    script.write_text(f"{STUBS}\n{text}\nputs $called\n")
    done = subprocess.run(["tclsh", str(script), paths], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (code, "")
    assert ("not met" in done.stdout) == (paths == "p-0.001")
    if not code:
        called = done.stdout.split()
        assert called.index("route_design") < called.index("report_methodology")


@pytest.mark.parametrize("bad", ["a b", "x;exec id", "[exit]", "$top", "a\nb", "", "../x", "a{b"])
def test_names_that_tcl_would_read_are_refused(bad):
    for make in (
        lambda: ooc_tcl(bad, PART, []),
        lambda: ooc_tcl("top", bad, []),
        lambda: ooc_tcl("top", PART, [bad + ".sv"]),
        lambda: ooc_xdc(bad, 100.0),
        lambda: ooc_xdc("top", 100.0, clock_port=bad),
    ):
        with pytest.raises(ConfigError):
            make()


def test_reports_are_read():
    assert read_utilization(UTILIZATION) == Resources(35684, 20016, 4, 3)
    timing = read_timing(TIMING, 2.0)
    assert (timing.slack_ns, timing.failing, timing.endpoints) == (-0.594, 4975, 20628)
    assert timing.achieved_mhz == pytest.approx(1e3 / 2.594)


def test_foreign_reports_are_refused():
    with pytest.raises(DataError):
        read_utilization(TIMING)
    with pytest.raises(DataError):
        read_timing(UTILIZATION, 2.0)
