# SPDX-License-Identifier: Apache-2.0
"""Delay model in ns per FPGA family: LUT levels, carry chains, nets and fan-out.

A step's delay holds one net in front of it and its own logic; a chain of steps is the sum of its
members; a stage fits when its worst chain stays below ``usable_ns``.  The constants come from
published Vivado timing reports, the net's growth with the design from 20 post-route results:
method, numbers and residuals are in ``docs/timing.md``.

Error on those 20 points (XCVU13P-2, 36k to 296k LUTs): the predicted period is 7 % above the
achieved one on average, 11 % rms, and at least the achieved one in 16 of 20.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace

from l1ml.errors import ConfigError, TimingError

TYPICAL_LUTS = 20_000
_SIZE_EXPONENT = 0.75
_REFERENCE_LUTS = 100_000.0
_FREE_FANOUT = 4
_LUT_INPUTS = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """Delay constants of one FPGA family at one speed grade, all in ns, slow corner.

    Args:
        name: short name, for example ``usp-2``.
        lut_ns: one LUT6, input to output.
        wide_mux_ns: one F7, F8 or F9 multiplexer.
        wide_inputs: inputs one slice can look up with its wide multiplexers.
        carry_first_ns: from the LUT's propagate bit through its carry block to a sum bit.
        carry_cross_ns: extra once, when a chain is longer than one block.
        carry_block_ns: each further carry block, its cascade net included.
        carry_bits: bits of one carry block (8 in UltraScale, 4 in 7 series).
        net_local_ns: a net between neighbouring slices.
        net_size_ns: growth of the worst net, at 100,000 LUTs (grows with LUTs to the power 0.75).
        fanout_step_ns: extra for each doubling of the fan-out above 4.
        clk_to_q_ns: register, clock to output.
        setup_ns: register, input before the clock; negative where the data may come later.
        dsp_ns: a product in a DSP block without its inner registers, operand pins to product pins.
        bram_ns: what a word of a block RAM without its output register comes later than one of a register.
        uncertainty_ns: clock jitter and skew that no path may use.
        design_luts: size of the design the nets are meant for.
        source: where the constants come from.
    """

    name: str
    lut_ns: float
    wide_mux_ns: float
    wide_inputs: int
    carry_first_ns: float
    carry_cross_ns: float
    carry_block_ns: float
    carry_bits: int
    net_local_ns: float
    net_size_ns: float
    fanout_step_ns: float
    clk_to_q_ns: float
    setup_ns: float
    dsp_ns: float
    bram_ns: float
    uncertainty_ns: float
    source: str
    design_luts: int = TYPICAL_LUTS

    def sized(self, design_luts: int) -> Family:
        """Return the family with nets as long as a design of ``design_luts`` LUTs has them."""
        if design_luts < 0:
            raise TimingError(f"design of {design_luts} LUTs; allowed are 0 and more")
        return replace(self, design_luts=design_luts)

    @property
    def net_ns(self) -> float:
        """Return the delay of a critical net of fan-out up to 4 in a design of this size."""
        size = math.pow(self.design_luts / _REFERENCE_LUTS, _SIZE_EXPONENT)
        return self.net_local_ns + self.net_size_ns * size

    @property
    def register_overhead_ns(self) -> float:
        """Return what every stage pays: clock to output, setup and clock uncertainty."""
        return self.clk_to_q_ns + self.setup_ns + self.uncertainty_ns

    @property
    def mux_ns(self) -> float:
        """Return a two-way multiplexer or a masking gate per bit: one net, one LUT."""
        return self.net_ns + self.lut_ns

    @property
    def multiply_ns(self) -> float:
        """Return a product of two variables in a DSP block, the net in front of it included."""
        return self.net_ns + self.dsp_ns

    def usable_ns(self, clock_mhz: float) -> float:
        """Return the time a stage has for nets and logic at ``clock_mhz``.

        Raises:
            TimingError: the clock is so fast that the register alone takes the period.
        """
        usable = 1e3 / clock_mhz - self.register_overhead_ns
        if usable < self.mux_ns:
            raise TimingError(
                f"at {clock_mhz} MHz a stage of {self.name} has {usable:.3f} ns, "
                f"one LUT level takes {self.mux_ns:.3f} ns",
                where=("clock_mhz",),
                fix=f"use a clock of at most {1e3 / (self.mux_ns + self.register_overhead_ns):.0f} MHz",
            )
        return usable

    def clock_mhz(self, worst_stage_ns: float) -> float:
        """Return the fastest clock for a worst stage of ``worst_stage_ns`` (nets and logic)."""
        return 1e3 / (worst_stage_ns + self.register_overhead_ns)

    def carry_ns(self, bits: int) -> float:
        """Return the carry chain of ``bits`` bits alone, without net and LUT in front."""
        blocks = max(1, math.ceil(bits / self.carry_bits))
        cross = self.carry_cross_ns + (blocks - 1) * self.carry_block_ns if blocks > 1 else 0.0
        return self.carry_first_ns + cross

    def add_ns(self, width: int, inputs: int = 2) -> float:
        """Return an adder or subtractor of ``inputs`` (2 or 3) operands and ``width`` result bits.

        A sum of at most four bits of two operands is a function of six inputs: one LUT level.
        A third operand costs a LUT level and a local net more, and no second carry chain.
        """
        third = self.lut_ns + self.net_local_ns if inputs == 3 else 0.0
        if width <= 0:
            return 0.0
        if width <= _LUT_INPUTS // inputs + 1:
            return self.net_ns + self.lut_ns
        return self.net_ns + self.lut_ns + third + self.carry_ns(width)

    def add3_ns(self, width: int) -> float:
        """Return a three-operand adder of ``width`` result bits."""
        return self.add_ns(width, inputs=3)

    def compare_ns(self, width: int) -> float:
        """Return a comparison of two ``width``-bit numbers: two bits per LUT on the carry chain."""
        if width <= 0:
            return 0.0
        if 2 * width <= _LUT_INPUTS:
            return self.net_ns + self.lut_ns
        return self.net_ns + self.lut_ns + self.carry_ns(math.ceil(width / 2))

    def lut_ns_for(self, inputs: int) -> float:
        """Return any function of ``inputs`` bits, as a table: LUT6, F7/F8/F9, then LUTs as multiplexers."""
        if inputs <= 0:
            return 0.0
        wide = min(max(inputs - _LUT_INPUTS, 0), self.wide_inputs - _LUT_INPUTS)
        levels = 1 + math.ceil(max(inputs - self.wide_inputs, 0) / 2)  # a LUT6 is a 4:1 multiplexer
        return levels * (self.net_ns + self.lut_ns) + wide * self.wide_mux_ns

    def reduce_ns(self, inputs: int) -> float:
        """Return a wide AND, OR or equality over ``inputs`` bits: a tree of LUT6."""
        levels, left = 0, max(inputs, 0)
        while left > 1 or (left and not levels):
            levels, left = levels + 1, math.ceil(left / _LUT_INPUTS)
        return levels * (self.net_ns + self.lut_ns)

    def fanout_ns(self, fanout: int) -> float:
        """Return what a net of ``fanout`` loads costs beyond the net every step already holds."""
        return self.fanout_step_ns * max(0.0, math.log2(max(fanout, 1) / _FREE_FANOUT))

    def adders_per_stage(self, clock_mhz: float, width: int = 12) -> int:
        """Return how many ``width``-bit adders in a row fit one stage, with one masking LUT after them."""
        return max(0, math.floor((self.usable_ns(clock_mhz) - self.mux_ns) / self.add_ns(width) + 1e-9))


_ARCS = (
    "arcs of public routed timing reports (XCZU3EG-1) times 0.8 for grade 2; "
    "nets fitted to 20 post-route results on XCVU13P-2"
)

_ULTRASCALE_PLUS = Family(
    name="usp-2",
    lut_ns=0.120,
    wide_mux_ns=0.060,
    wide_inputs=9,
    carry_first_ns=0.200,
    carry_cross_ns=0.090,
    carry_block_ns=0.041,
    carry_bits=8,
    net_local_ns=0.180,
    net_size_ns=0.295,
    fanout_step_ns=0.025,
    clk_to_q_ns=0.080,
    setup_ns=-0.020,
    dsp_ns=1.600,
    bram_ns=1.000,
    uncertainty_ns=0.060,
    source=_ARCS,
)


def _scaled(name: str, base: Family, logic: float, net: float, source: str) -> Family:
    """Return ``base`` with all logic delays times ``logic`` and all nets times ``net``."""
    return replace(
        base,
        name=name,
        lut_ns=base.lut_ns * logic,
        wide_mux_ns=base.wide_mux_ns * logic,
        carry_first_ns=base.carry_first_ns * logic,
        carry_cross_ns=base.carry_cross_ns * logic,
        carry_block_ns=base.carry_block_ns * logic,
        clk_to_q_ns=base.clk_to_q_ns * logic,
        dsp_ns=base.dsp_ns * logic,
        bram_ns=base.bram_ns * logic,
        net_local_ns=base.net_local_ns * net,
        net_size_ns=base.net_size_ns * net,
        fanout_step_ns=base.fanout_step_ns * net,
        source=source,
    )


_ULTRASCALE = replace(
    _scaled(
        "us-2",
        _ULTRASCALE_PLUS,
        1.40,
        1.35,
        "scaled, not calibrated: UltraScale+ times 1.40 (logic), 1.35 (nets)",
    ),
    setup_ns=0.040,
)

_SEVEN = Family(
    name="7v-2",
    lut_ns=0.100,
    wide_mux_ns=0.130,
    wide_inputs=8,
    carry_first_ns=0.290,
    carry_cross_ns=0.100,
    carry_block_ns=0.055,
    carry_bits=4,
    net_local_ns=0.310,
    net_size_ns=0.500,
    fanout_step_ns=0.045,
    clk_to_q_ns=0.225,
    setup_ns=0.010,
    dsp_ns=2.750,
    bram_ns=1.600,
    uncertainty_ns=0.060,
    source="scaled, not calibrated: typical Virtex-7 arcs at grade 2, nets as UltraScale+ times 1.7",
)

_GENERIC = replace(
    _scaled(
        "generic",
        _SEVEN,
        1.8,
        1.5,
        "scaled, not calibrated: a slow 28 nm part (7 series times 1.8 logic, 1.5 nets)",
    ),
    setup_ns=0.060,
)

# Logic and nets relative to grade 2: 1 from the ratio of published arcs, 3 from data-sheet clock limits.
_GRADES = {"1": 1.22, "2": 1.0, "3": 0.90}

_FAMILIES: tuple[tuple[str, str, Family], ...] = (
    (
        r"xc((vu|ku|au)\d+p|zu\d+(eg|ev|cg|dr)|u\d+)",
        "xcvu13p, xcvu9p, xcku15p, xczu7ev, xcu250, ... (UltraScale+)",
        _ULTRASCALE_PLUS,
    ),
    (r"xc(vu|ku)\d+", "xcku115, xcku040, xcvu080, ... (UltraScale)", _ULTRASCALE),
    (r"xc7[vk]x?h?\d+t?", "xc7vx690t, xc7vx485t, xc7k325t, ... (Virtex-7, Kintex-7)", _SEVEN),
    (r"(xc7[asz]\d+|generic)", "xc7a*, xc7s*, xc7z*, generic", _GENERIC),
)


def family_of(part: str, design_luts: int = TYPICAL_LUTS) -> Family:
    """Return the delay constants of an FPGA part.

    Args:
        part: vendor part name, for example ``xcvu13p-flga2577-2-e``; grade 2 if it names none.
        design_luts: expected size of the design in LUTs; larger designs have longer nets.

    Returns:
        The family at the part's speed grade.

    Raises:
        ConfigError: the part belongs to no known family, or has an unknown speed grade.

    Example:
        >>> family_of("xcvu13p-flga2577-2-e").name
        'usp-2'
    """
    name = part.strip().lower()
    for pattern, _, base in _FAMILIES:
        if re.fullmatch(rf"{pattern}([a-z]{{2,4}}\d{{3,4}})?(-[a-z0-9]+)*", name):
            return _at_grade(base, _grade_of(name, part)).sized(design_luts)
    known = "; ".join(text for _, text, _ in _FAMILIES)
    raise ConfigError(
        f"no delay model for part {part!r}; known are {known}",
        where=("part",),
        fix="name a part of these families, or 'generic' for a slow, safe model",
    )


def _grade_of(name: str, part: str) -> str:
    """Return the speed grade in a full part name: the field that is one digit, perhaps with an L."""
    fields = (re.fullmatch(r"(\d)(lv|l)?[a-z]?", field) for field in name.split("-")[1:])
    found = next((field for field in fields if field), None)
    if found is None:
        return "2"
    grade = "1" if found[2] == "lv" else found[1]  # run at 0.72 V they are as slow as grade 1
    if grade not in _GRADES:
        raise ConfigError(
            f"part {part!r} has speed grade {grade}; allowed are {', '.join(_GRADES)}",
            where=("part",),
            fix="give the part's full name, for example xcvu13p-flga2577-2-e",
        )
    return grade


def _at_grade(base: Family, grade: str) -> Family:
    """Return the family at a speed grade; the constants are kept for grade 2."""
    if grade == "2" or base is _GENERIC:
        return base
    factor = _GRADES[grade]
    source = f"{base.source}; scaled by {factor} to speed grade {grade}"
    return _scaled(base.name[:-1] + grade, base, factor, factor, source)
