# SPDX-License-Identifier: Apache-2.0
"""The way of a product through a Fold: how long it is between its registers, and how many of them a clock needs.

operands --(triples)--> rows of multipliers --> tree over a slice --> accumulators

A cascade of DSP blocks adds within the second row, and always has a register behind it; the tree adds its ends.

`FoldEngine.multiplier_stages` cuts it behind the rows (1), behind the operands too (2), and between rows (3 and
more); `FoldEngine.tree_stages` cuts the tree, evenly.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from l1ml.plan.fold import FoldEngine
from l1ml.schedule.delay import Family


@dataclass(frozen=True)
class Way:
    """Delays in ns of what a product passes, one after the other.

    Args:
        operands: from weights and inputs to what the multipliers read.
        rows: of the multiplier; each may end in a register.
        levels: of the tree.
        add: the accumulator.
    """

    operands: float
    rows: tuple[float, ...]
    levels: tuple[float, ...]
    add: float

    def stages(self, multiplier: int, tree: int) -> list[tuple[str, float]]:
        """Return the paths between registers, by name, for so many of them at multipliers and in the tree."""
        parts = [("operands", self.operands, multiplier >= 2)]
        cuts = min(multiplier, max(1, multiplier - 1))
        parts += [("product", ns, cut(at, cuts, len(self.rows))) for at, ns in enumerate(self.rows, 1)]
        parts += [("tree", ns, cut(at, tree, len(self.levels))) for at, ns in enumerate(self.levels, 1)]
        found, names, held = [], [], 0.0
        for name, ns, kept in [*parts, ("sum", self.add, True)]:
            names.append(name)
            held += ns
            if kept:
                found.append((" to ".join(dict.fromkeys((names[0], names[-1]))), held))
                names, held = [], 0.0
        return found


def cut(at: int, registers: int, steps: int) -> bool:
    """Tell whether a register stands behind a step, as in the hardware: evenly spread, one behind the last.

    Args:
        at: number of the step, the first is 1.
        registers: how many there are.
        steps: how many there are.
    """
    return at * registers // steps != (at - 1) * registers // steps


def way(engine: FoldEngine, family: Family) -> Way:
    """Return the way of a product.

    Args:
        engine: the product.
        family: delay model, sized for the design.
    """
    ternary, dsp = engine.ternary, engine.multiplier == "dsp"
    term = engine.input_bits + ((0 if engine.input_signed else 1) if ternary else engine.weight_bits)
    levels = (engine.ends - 1).bit_length()
    width = min(term + (engine.per_clock - 1).bit_length(), engine.acc_bits)
    operands = family.bram_ns if engine.rom == "block" and (engine.words > 1 or engine.reloadable) else 0.0
    spread = family.fanout_ns(engine.n_out * engine.rows)  # of an input
    if ternary:
        rows: tuple[float, ...] = (family.mux_ns + spread,)
    elif dsp:
        rows = (family.net_ns + spread + family.dsp_ns / 2, family.dsp_ns / 2)
    else:
        row = family.add_ns(engine.x_bits + 3)
        first = family.mux_ns if engine.rows > 1 else row
        rows = (first + max(spread, family.fanout_ns(engine.x_bits + 2)), *[row] * (engine.rows - 1))
        if engine.rows > 1:  # all rows but the last may take 3x
            operands = max(operands, family.add_ns(engine.input_bits + 2))
    add = family.add_ns(engine.acc_bits) + family.fanout_ns(engine.n_out * engine.acc_bits)
    return Way(operands, rows, (family.add_ns(width),) * levels, add)


def data_ns(engine: FoldEngine, family: Family) -> list[tuple[str, float]]:
    """Return the paths of a product between the registers of a Fold, by name, in ns."""
    return way(engine, family).stages(engine.multiplier_stages, engine.tree_stages)


def with_registers(engine: FoldEngine, family: Family, clock_mhz: float) -> FoldEngine:
    """Return a Fold with the fewest registers whose paths fit a clock, or with those that come nearest.

    Of equally many those in the tree are taken, where fewest bits are.

    Args:
        engine: the product; its own registers do not count.
        family: delay model, sized for the design.
        clock_mhz: the clock.

    Raises:
        TimingError: one LUT level alone is longer than the clock.
    """
    usable, along = family.usable_ns(clock_mhz), way(engine, family)
    least = min(engine.chain - 1, 1)
    choices = [(m, t) for m in range(least, engine.rows + 2) for t in range(len(along.levels) + 1)]
    longest = {choice: max(ns for _, ns in along.stages(*choice)) for choice in choices}
    fits = [choice for choice in choices if longest[choice] <= usable + 1e-9]
    order = sorted(fits or choices, key=lambda choice: (sum(choice), choice[0]))
    multiplier, tree = order[0] if fits else min(order, key=lambda choice: longest[choice])
    return replace(engine, multiplier_stages=multiplier, tree_stages=tree)
