# SPDX-License-Identifier: Apache-2.0
"""How a folded product is made: what multiplies, where its weights lie, and whether they can be replaced."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from l1ml.errors import ConfigError
from l1ml.plan import cost
from l1ml.plan.fold import FoldEngine
from l1ml.plan.price import Price

AUTO = "auto"


@dataclass(frozen=True)
class Reload:
    """Numbers that can be loaded into a Fold while it runs; what is None follows from the trained ones.

    Args:
        weight_bits: of a weight, two's complement.
        weight_frac: fraction bits of a weight.
        acc_bits: of a result, two's complement.
        acc_frac: fraction bits of a result and of the bias.
    """

    weight_bits: int | None = None
    weight_frac: int | None = None
    acc_bits: int | None = None
    acc_frac: int | None = None


@dataclass(frozen=True)
class Making:
    """What is asked for one layer; `AUTO` takes what costs least.

    Args:
        multiplier: ``lut`` or ``dsp``.
        memory: of the weights, ``lut_rom`` or ``block_rom``.
        price: what resources are worth.
        period_ns: of the clock; engines take their registers by it.
        reload: what can be loaded into it; None for weights that stay.
    """

    multiplier: str = AUTO
    memory: str = AUTO
    reload: Reload | None = None
    price: Price = field(default_factory=Price)
    period_ns: float = 5.0

    @property
    def least(self) -> int:
        """Fewest clocks of a product: 2 where weights need a memory, 1 where only a Fold will do, else 0."""
        if self.memory == "block_rom" and self.reload is None:
            return 2
        return int((self.multiplier, self.memory, self.reload) != (AUTO, AUTO, None))

    def made(self, engine: FoldEngine) -> FoldEngine:
        """Return a Fold with the multipliers, memory and registers that suit it; the first of equal ones.

        Args:
            engine: the product, with multipliers and weights in LUTs.

        Raises:
            ConfigError: what is asked for is not possible.
        """
        if self.multiplier == "dsp" and engine.ternary:
            raise ConfigError(
                "multiplier: dsp, but all weights are -1, 0 or 1 and need no multiplier",
                fix="leave multiplier out, or set it to lut",
            )
        if self.memory == "block_rom" and engine.words == 1 and not engine.reloadable:
            raise ConfigError(
                "weights: block_rom, but all of them are read in every clock: constants need no memory",
                fix="give the layer a reuse_factor of 2 or more, or leave weights out",
            )
        styles = ("lut", "dsp") if self.multiplier == AUTO else (self.multiplier,)
        roms = ("lut", "block") if self.memory == AUTO else (self.memory.removesuffix("_rom"),)
        fits = [style for style in styles if style == "lut" or self.multiplier != AUTO or _suits_dsp(engine)]
        ways = [(style, rom) for style in fits for rom in roms]
        style, rom = min(ways, key=lambda way: self.price.of(cost.of_fold(engine, *way)))
        multiplier_stages, tree_stages = registers(self.period_ns, engine.per_clock, style, rom)
        return replace(
            engine, style=style, rom=rom, multiplier_stages=multiplier_stages, tree_stages=tree_stages
        )


def _suits_dsp(engine: FoldEngine) -> bool:
    return not engine.ternary and engine.fits_dsp


def registers(period_ns: float, per_clock: int, style: str = "lut", rom: str = "lut") -> tuple[int, int]:
    """Return the registers at the multipliers and in the adder tree of a Fold that a clock needs.

    A multiplier of short words takes about 1.5 ns, one in a DSP block without its registers 2.5 ns, a level of the tree
    and the accumulator 0.6 ns each with routing; a block RAM gives its word 1 ns later than a register.

    Args:
        period_ns: of the clock.
        per_clock: inputs taken in one clock.
        style: multipliers in ``lut`` or ``dsp``.
        rom: weights in ``lut`` or ``block`` (RAM).
    """
    levels = (per_clock - 1).bit_length()
    product = (2.5 if style == "dsp" else 1.5) + (1.0 if rom == "block" else 0.0)
    if period_ns >= 0.6 + product + 0.6 * levels + 0.6:
        return 0, 0
    fit = max(1, int((period_ns - 0.9) / 0.6))
    tree = max(0, -(-levels // fit) - 1)
    return (1 if period_ns >= 1.1 + product else 2), min(levels, tree + (1 if levels else 0))
