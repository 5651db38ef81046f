# SPDX-License-Identifier: Apache-2.0
"""The products that a plan can share, and whether what the user pins suits them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from l1ml.errors import ConfigError, nearest
from l1ml.plan.making import Making

PARALLEL = 0
"""Instead of the clocks that a product takes: all of it at once."""


@dataclass(frozen=True)
class Product:
    """A product that could be folded, as it was met while engines were laid out.

    Args:
        step: of the program.
        layer: whose it is.
        n_in: inputs of a beat.
        n_out: results.
        phases: beats of a result.
        least: fewest clocks; `PARALLEL` where it need not be a Fold.
    """

    step: int
    layer: str
    n_in: int
    n_out: int
    phases: int
    least: int = PARALLEL


def check_pins(
    pins: Mapping[str, int],
    makings: Mapping[str, Making],
    products: Collection[Product],
    loops: Collection[str],
) -> None:
    """Refuse pins that no product of a plan can follow.

    Args:
        pins: clocks of a product per layer.
        makings: layers whose multipliers or memories the user names.
        products: of the plan.
        loops: recurrent layers.

    Raises:
        ConfigError: names them all, and what would do.
    """
    sizes = {p.layer: p.n_in for p in products}
    problems = [
        f"{layer}: no product that can be folded; {nearest(layer, sorted({*sizes, *loops}))}"
        for layer in pins
        if layer not in sizes and layer not in loops
    ]
    problems += [
        f"{layer}: multiplier and weights are those of a product that can be folded; "
        f"{'a recurrent layer has none' if layer in loops else nearest(layer, sorted(sizes))}"
        for layer in makings
        if layer not in sizes and (layer in loops or layer not in pins)
    ]
    problems += [
        f"{layer}: a reuse factor of {slices}, but the time steps of a recurrent layer share one cell as a whole; "
        "leave it out, or unroll the layer by strategy: latency"
        for layer, slices in pins.items()
        if layer in loops and layer not in sizes and slices > 1
    ]
    problems += [
        f"{layer}: a reuse factor of {slices} does not divide its {sizes[layer]} inputs per beat; "
        f"the nearest that do are {_nearest(sizes[layer], slices)}"
        for layer, slices in pins.items()
        if layer in sizes and slices > 1 and not _divides(sizes[layer], slices)
    ]
    if problems:
        raise ConfigError("; ".join(problems), where=("plan", "layers"), fix="`l1ml plan` shows the layers")


def _divides(inputs: int, slices: int) -> bool:
    """Tell whether some number of inputs per clock takes just these clocks; the last one may take fewer."""
    return slices <= inputs and -(-inputs // -(-inputs // slices)) == slices


def _nearest(inputs: int, slices: int) -> str:
    fit = [n for n in range(1, inputs + 1) if _divides(inputs, n)]
    below, above = [n for n in fit if n < slices], [n for n in fit if n > slices]
    return " and ".join(str(n) for n in (*below[-1:], *above[:1]))
