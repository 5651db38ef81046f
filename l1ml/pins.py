# SPDX-License-Identifier: Apache-2.0
"""What the user pins per layer of a streamed block, as the plan understands it."""

from __future__ import annotations

from l1ml.config import ProjectConfig
from l1ml.errors import ConfigError
from l1ml.plan.making import AUTO, Making, Reload
from l1ml.plan.pinned import PARALLEL
from l1ml.types.fixed import FixedType


def pins(config: ProjectConfig) -> dict[str, int]:
    """Return the clocks per beat that the user asks for, by layer.

    ``strategy: latency`` means all products at once unless a reuse factor says otherwise, as in hls4ml;
    ``distributed_arithmetic`` always does; ``resource`` folds by the reuse factor, or leaves it to the plan.
    A product at once that asks for multipliers or a memory is a Fold of one clock.

    Raises:
        ConfigError: shifts and adds have neither multipliers nor a memory, and cannot be shared.
    """
    found, asked = {}, makings(config)
    for layer, given in config.plan.get("layers", {}).items():
        reuse, strategy = given.get("reuse_factor"), given.get("strategy")
        folded = layer in asked and asked[layer].least > 0
        if folded and strategy == "distributed_arithmetic":
            raise ConfigError(
                "distributed_arithmetic builds products from shifts and adds: no multipliers, no memory of weights",
                where=("plan", "layers", layer),
                fix="leave out multiplier and weights, or take strategy: resource",
            )
        if strategy == "distributed_arithmetic" and (reuse or 1) > 1:
            raise ConfigError(
                f"distributed_arithmetic builds all products at once, and reuse_factor: {reuse} shares them",
                where=("plan", "layers", layer),
                fix="leave reuse_factor out, or take strategy: resource",
            )
        if reuse == 1 or (reuse is None and strategy in ("latency", "distributed_arithmetic")):
            found[layer] = 1 if folded else PARALLEL
        elif reuse is not None:
            found[layer] = reuse
    return found


def makings(config: ProjectConfig) -> dict[str, Making]:
    """Return what the user asks of multipliers and weights, by layer."""
    return {
        layer: Making(
            given.get("multiplier", AUTO), given.get("weights", AUTO), _reload(given.get("reloadable"))
        )
        for layer, given in config.plan.get("layers", {}).items()
        if "multiplier" in given or "weights" in given or given.get("reloadable")
    }


def _reload(asked: bool | str | None) -> Reload | None:
    if not asked:
        return None
    if asked is True:
        return Reload()
    kind = FixedType.parse(asked)
    return Reload(kind.width + (not kind.signed), kind.frac)
