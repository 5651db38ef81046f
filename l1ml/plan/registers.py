# SPDX-License-Identifier: Apache-2.0
"""The registers inside engines: as few as the clock needs, by the delay model that pipelines the Maps.

And the paths that are left between them, for the clock that a block can have.
"""

from __future__ import annotations

from dataclasses import replace

from l1ml.errors import TimingError
from l1ml.plan.fold import FoldEngine
from l1ml.plan.fold_paths import with_registers
from l1ml.plan.network import Engine, EngineNetwork, EngineNode, MapNode, Node
from l1ml.plan.paths import Path, worst
from l1ml.plan.reduce import ReduceEngine
from l1ml.plan.timing import Timed
from l1ml.schedule.delay import Family


def registered(network: EngineNetwork, family: Family, clock_mhz: float) -> EngineNetwork:
    """Return a network whose engines have the registers that a clock needs.

    Args:
        network: engines with any registers.
        family: delay model, sized for the design.
        clock_mhz: the clock.

    Raises:
        TimingError: one LUT level alone is longer than the clock.
    """

    def made(node: Node) -> Node:
        if not isinstance(node, EngineNode):
            return node
        return replace(node, engine=_of_engine(node.engine, family, clock_mhz))

    return replace(network, nodes=tuple(made(node) for node in network.nodes))


def _of_engine(engine: Engine, family: Family, clock_mhz: float) -> Engine:
    if isinstance(engine, FoldEngine):
        return with_registers(engine, family, clock_mhz)
    if isinstance(engine, ReduceEngine):
        return _of_reduce(engine, family, clock_mhz)
    return engine


def _of_reduce(engine: ReduceEngine, family: Family, clock_mhz: float) -> ReduceEngine:
    """Return the sum with the fewest registers in its tree; where none fit, with those that come nearest."""
    usable = family.usable_ns(clock_mhz)
    ways = [replace(engine, tree_stages=n) for n in range((engine.lanes - 1).bit_length() + 1)]
    longest = {way.tree_stages: path.ns for way in ways if (path := worst(way, family))}
    fits = [way for way in ways if longest[way.tree_stages] <= usable + 1e-9]
    return fits[0] if fits else min(ways, key=lambda way: longest[way.tree_stages])


def longest(timed: Timed, family: Family) -> list[tuple[str, Path]]:
    """Return the longest path of every engine of a plan, and of what joins and paces streams, with its place.

    Args:
        timed: engines and times.
        family: delay model, sized for the design.
    """
    found: list[tuple[str, Path]] = []

    def add(engine: object, of: str) -> None:
        path = worst(engine, family)
        if path is not None:
            module = str(type(engine).MODULE)  # type: ignore[attr-defined]
            found.append((f"{module.removeprefix('l1ml_')} {of}", path))

    for number, node in enumerate(timed.network.nodes):
        layer = ", ".join(node.layers) if isinstance(node, MapNode) else node.layer
        for wait in timed.waits[number]:
            add(wait.pace, layer)
            add(wait.buffer, layer)
        add(node.engine if isinstance(node, EngineNode) else timed.scans.get(number), layer)
    for wait in timed.ends:
        add(wait.buffer, "outputs")
    return found


def check_clock(timed: Timed, family: Family, clock_mhz: float) -> None:
    """Refuse a plan with an engine that is too slow for the clock, whatever its registers.

    Args:
        timed: engines with their registers.
        family: delay model, sized for the design.
        clock_mhz: the clock.

    Raises:
        TimingError: names the engine, its longest path, and the clock that it allows.
    """
    usable = family.usable_ns(clock_mhz)
    place, path = max(longest(timed, family), key=lambda found: found[1].ns, default=("", Path("", 0.0)))
    if path.ns > usable + 1e-9:
        size = f" in a design of {family.design_luts} LUTs" if family.design_luts else ""
        raise TimingError(
            f"{place}: {path.name} takes {path.ns:.2f} ns{size}, "
            f"a stage at {clock_mhz:g} MHz has {usable:.2f} ns",
            where=("clock_mhz",),
            fix=f"use a clock of at most {family.clock_mhz(path.ns):.0f} MHz",
        )
