# SPDX-License-Identifier: Apache-2.0
"""How a folded product is made: what multiplies, where its weights lie, and whether they can be replaced."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from l1ml.errors import ConfigError
from l1ml.plan import cost
from l1ml.plan.fold import FoldEngine
from l1ml.plan.price import Price

AUTO = "auto"
CHAIN = 6
"""Longest cascade of DSP blocks: a longer one takes more clocks, and few adders less."""


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
        reload: what can be loaded into it; None for weights that stay.
        chain: most products in a cascade of DSP blocks, which takes a clock for each.
    """

    multiplier: str = AUTO
    memory: str = AUTO
    reload: Reload | None = None
    price: Price = field(default_factory=Price)
    chain: int = CHAIN

    @property
    def least(self) -> int:
        """Fewest clocks of a product: 2 where weights need a memory, 1 where only a Fold will do, else 0."""
        if self.memory == "block_rom" and self.reload is None:
            return 2
        return int((self.multiplier, self.memory, self.reload) != (AUTO, AUTO, None))

    def made(self, engine: FoldEngine) -> FoldEngine:
        """Return a Fold with the multipliers, cascades and memory that suit it; the first of equal ones.

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
        ways = [
            (style, rom, chain)
            for style in fits
            for rom in roms
            for chain in (self._chains(engine) if style == "dsp" else (1,))
        ]
        style, rom, chain = min(ways, key=lambda way: self.price.of(cost.of_fold(engine, *way)))
        return replace(engine, style=style, rom=rom, chain=chain, multiplier_stages=min(chain - 1, 1))

    def _chains(self, engine: FoldEngine) -> list[int]:
        """Return the cascades that can be, each the shortest of those that leave as few sums."""
        most = 1 if engine.reloadable else min(self.chain, engine.per_clock)
        ends = {-(-engine.per_clock // chain) for chain in range(1, most + 1)}
        return sorted(-(-engine.per_clock // each) for each in ends)


def _suits_dsp(engine: FoldEngine) -> bool:
    return not engine.ternary and engine.fits_dsp
