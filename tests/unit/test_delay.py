# SPDX-License-Identifier: Apache-2.0
"""The delay model: its laws, its error on published results, its refusals."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from l1ml.errors import ConfigError, TimingError
from l1ml.schedule.delay import Family, family_of

POINTS = Path(__file__).parent / "data" / "jedi_linear_post_route.csv"
VU13P = "xcvu13p-flga2577-2-e"
PARTS = (VU13P, "xcvu13p-flga2577-1-e", "xcku115-flva1517-2-e", "xc7vx690t-ffg1761-2", "generic")


def jedi() -> tuple[np.ndarray, np.ndarray]:
    """LUTs and achieved period in ns of the 20 published networks."""
    with POINTS.open(newline="") as file:
        rows = list(csv.DictReader(file))
    return np.array([int(r["luts"]) for r in rows]), np.array([float(r["achieved_ns"]) for r in rows])


def predicted_period_ns(luts: int) -> float:
    """Worst stage of those designs: two counted adders, one constant adder, one masking LUT; 12 bits."""
    family = replace(family_of(VU13P, design_luts=int(luts)), uncertainty_ns=0.035)
    return 3 * family.add_ns(12) + family.mux_ns + family.register_overhead_ns


def test_published_results_are_covered_as_documented():
    luts, achieved = jedi()
    predicted = np.array([predicted_period_ns(n) for n in luts])
    ratio = predicted / achieved - 1
    assert len(luts) == 20
    assert (ratio >= 0).sum() == 16
    assert ratio.min() > -0.13
    assert ratio.max() < 0.23
    assert 0.05 < ratio.mean() < 0.075
    assert np.sqrt((ratio**2).mean()) < 0.11


def test_net_growth_is_the_80_percent_quantile_of_the_points():
    luts, achieved = jedi()
    family = replace(family_of(VU13P), uncertainty_ns=0.035)
    logic = 3 * (family.add_ns(12) - family.net_ns) + family.lut_ns + family.register_overhead_ns
    net = (achieved - logic) / 4
    growth = (net - family.net_local_ns) / (luts / 1e5) ** 0.75
    assert family.net_size_ns == pytest.approx(np.quantile(growth, 0.8), abs=0.005)


def test_free_fit_finds_the_local_net_of_the_timing_reports():
    luts, achieved = jedi()
    family = replace(family_of(VU13P), uncertainty_ns=0.035)
    logic = 3 * (family.add_ns(12) - family.net_ns) + family.lut_ns + family.register_overhead_ns
    design = np.stack([np.ones(len(luts)), (luts / 1e5) ** 0.75], axis=1)
    local, _ = np.linalg.lstsq(design, (achieved - logic) / 4, rcond=None)[0]
    assert local == pytest.approx(family.net_local_ns, abs=0.01)


@pytest.mark.parametrize(
    ("luts", "carries", "measured_ns"),
    [(3, (32,), 1.688), (3, (16,), 1.599), (3, (8,), 1.484), (10, (8, 32), 4.458)],
)
def test_paths_of_public_reports_on_zu3eg_grade_1(luts, carries, measured_ns):
    """Register, LUT levels, carry chains, register: the data path delay Vivado reported."""
    family = family_of("xczu3eg-sbva484-1-e", design_luts=500)
    path = family.clk_to_q_ns + luts * family.mux_ns + sum(family.carry_ns(bits) for bits in carries)
    assert path == pytest.approx(measured_ns, rel=0.03)


@pytest.mark.parametrize("part", PARTS)
def test_delays_grow_with_width_inputs_fanout_and_size(part):
    family = family_of(part)
    widths = range(1, 65)
    for delay in (family.add_ns, family.add3_ns, family.compare_ns, family.lut_ns_for, family.reduce_ns):
        values = [delay(w) for w in widths]
        assert values == sorted(values)
        assert values[0] > 0
        assert delay(0) == 0
    assert all(family.add_ns(w) <= family.add3_ns(w) < 2 * family.add_ns(w) for w in range(5, 65))
    assert family.fanout_ns(1) == family.fanout_ns(4) == 0
    assert family.fanout_ns(64) == pytest.approx(4 * family.fanout_step_ns)
    assert family.sized(200_000).add_ns(12) > family.add_ns(12)


def test_grades_order_and_default():
    by_grade = [family_of(f"xcvu13p-flga2577-{g}-e").add_ns(12) for g in (3, 2, 1)]
    assert by_grade == sorted(by_grade)
    assert family_of("xcvu13p") == family_of(VU13P) == family_of(" XCVU13P-FLGA2577-2-E ")
    assert family_of("xcvu9p-flgb2104-2LV-e").name == "usp-1"


@pytest.mark.parametrize(
    ("part", "name"),
    [
        ("xcvu9p-flga2104-2-i", "usp-2"),
        ("xcku15p-ffva1760-2-e", "usp-2"),
        ("xczu7ev-ffvc1156-2-e", "usp-2"),
        ("xczu19eg-ffvc1760-2-i", "usp-2"),
        ("xcu250-figd2104-2L-e", "usp-2"),
        ("xcku115-flva1517-2-e", "us-2"),
        ("xc7vx690t-ffg1761-2", "7v-2"),
        ("xc7vx690tffg1761-2", "7v-2"),
        ("xc7k325t-ffg900-1", "7v-1"),
        ("xc7z020clg400-1", "generic"),
        ("generic", "generic"),
    ],
)
def test_known_parts(part, name):
    family = family_of(part)
    assert family.name == name
    assert ("not calibrated" in family.source) == (not name.startswith("usp"))


@pytest.mark.parametrize("part", ["", "foo", "xcvu13p0", "xcvu13p/../x", "10ax115", "xcvu13p-flga2577-7-e"])
def test_unknown_part_is_refused_with_the_known_ones(part):
    with pytest.raises(ConfigError) as caught:
        family_of(part)
    assert "part" in caught.value.where
    assert caught.value.fix


def test_clock_and_usable_time_are_inverse():
    family = family_of(VU13P)
    usable = family.usable_ns(360.71)
    assert family.clock_mhz(usable) == pytest.approx(360.71)
    assert usable == pytest.approx(1e3 / 360.71 - 0.12)


def test_clock_beyond_one_lut_level_is_refused():
    with pytest.raises(TimingError, match="one LUT level"):
        family_of(VU13P).usable_ns(2500.0)


def test_adders_per_stage_at_trigger_clocks():
    assert family_of(VU13P).adders_per_stage(360.71) == 3
    assert family_of(VU13P).adders_per_stage(240.47) == 5
    assert family_of("xcku115-flva1517-2-e").adders_per_stage(240.47) == 3


def test_family_is_frozen():
    family: Family = family_of(VU13P)
    with pytest.raises(AttributeError):
        family.lut_ns = 0.0  # type: ignore[misc]
