# SPDX-License-Identifier: Apache-2.0
"""Which hardware a network gets: all of it at once, engines that share, or none."""

from __future__ import annotations

from dataclasses import dataclass

from l1ml.config import ProjectConfig
from l1ml.errors import ConfigError, ModelError
from l1ml.graph.program import TensorProgram
from l1ml.rtl import emulator_only


@dataclass(frozen=True)
class Hardware:
    """What a network becomes.

    Args:
        kind: ``parallel``, ``streamed`` or ``none``.
        reason: why, for people.
        otherwise: whether a parallel block would do as well, should no streamed one fit.
    """

    kind: str
    reason: str = ""
    otherwise: bool = False


def hardware_of(program: TensorProgram, config: ProjectConfig) -> Hardware:
    """Return what a network becomes.

    ``auto`` takes engines where the user plans them, where the network is too large to be built at once, and where a
    TMUX and a latency budget say how much time there is to share; else all at once, which is the fastest.

    Raises:
        ModelError: the user insists on a parallel block that cannot be built.
        ConfigError: options that the hardware asked for has no use of.
    """
    _check_reloadable(config)
    if config.hardware == "none":
        return Hardware("none", "hardware: none was asked for")
    reason = emulator_only.too_large(program)
    if config.hardware == "parallel":
        if config.plan:
            raise ConfigError(
                f"plan: {', '.join(sorted(config.plan))} says how engines share, and hardware: parallel has none",
                where=("hardware",),
                fix="leave plan out, or set hardware: streamed",
            )
        if reason is not None:
            raise ModelError(
                reason, where=("hardware",), fix="set hardware: streamed, or none for the emulator only"
            )
        return Hardware("parallel")
    asked = config.hardware == "streamed" or bool(config.plan)
    shared = config.stages is None and config.tmux is not None and config.latency_budget_ns is not None
    if not asked and reason is None and not shared:
        return Hardware("parallel")
    if config.stages is not None:
        raise ConfigError(
            f"stages: {config.stages} is for a block that is built at once; this one is streamed"
            f"{'' if asked else f' ({reason})'}, and its engines take their registers from clock_mhz",
            where=("stages",),
            fix="leave stages out; clock_mhz and latency_budget_ns decide",
        )
    if asked or reason is not None:
        return Hardware("streamed", reason or "asked for")
    return Hardware("streamed", "TMUX and latency budget leave time to share", otherwise=True)


def _check_reloadable(config: ProjectConfig) -> None:
    loaded = [name for name, given in config.plan.get("layers", {}).items() if given.get("reloadable")]
    if loaded and config.hardware in ("none", "parallel"):
        raise ConfigError(
            f"reloadable weights need engines, and hardware: {config.hardware} has none",
            where=("plan", "layers", loaded[0]),
            fix="set hardware: streamed, or leave reloadable out",
        )
