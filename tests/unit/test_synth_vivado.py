# SPDX-License-Identifier: Apache-2.0
"""Scripts for Vivado hold no foreign Tcl; its reports are read."""

from __future__ import annotations

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
