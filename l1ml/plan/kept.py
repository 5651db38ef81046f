# SPDX-License-Identifier: Apache-2.0
"""The plan of a project as it was kept: its choices are laid out and timed, nothing is searched or scheduled."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from l1ml.errors import ConfigError, DataError, TimingError
from l1ml.graph.program import TensorProgram
from l1ml.plan.again import Recorded
from l1ml.plan.making import Making, Reload
from l1ml.plan.network import EngineNetwork, EngineNode, ScanNode
from l1ml.plan.price import Price
from l1ml.plan.registers import registered
from l1ml.plan.streamer import lay_out
from l1ml.plan.streams import Raster
from l1ml.plan.timing import Timed, time_network
from l1ml.schedule.delay import family_of


class Kept:
    """Choices as they were made for the same network.

    Args:
        data: what `Recorded.to_dict` gave.
    """

    def __init__(self, data: Mapping[str, Mapping[str, Any]]) -> None:
        kinds = ("fold", "split", "scan", "serial", "making")
        self.answers = {kind: {int(k): answer for k, answer in data[kind].items()} for kind in kinds}

    def fold(self, step: int, shape: tuple[int, int], phases: int) -> int | None:
        """Return how many inputs a product takes per clock."""
        return self._number("fold", step)

    def making(self, step: int) -> Making:
        """Return how a product is made."""
        data = self.answers["making"][step]
        reload = None if data["reload"] is None else Reload(**data["reload"])
        return Making(**{**data, "reload": reload, "price": Price(**data["price"])})

    def scan(self, step: int, steps: int) -> bool:
        """Tell whether a recurrent layer shares one cell."""
        return bool(self.answers["scan"][step])

    def split(self, step: int, positions: int) -> int | None:
        """Return how many positions a beat of a split tensor has."""
        return self._number("split", step)

    def serial(self, step: int, elements: int) -> int | None:
        """Return how many elements a product reads per beat."""
        return self._number("serial", step)

    def _number(self, kind: str, step: int) -> int | None:
        found = self.answers[kind][step]
        return None if found is None else int(found)


@dataclass(frozen=True)
class Depth:
    """What the plan kept of a pipelined body.

    Args:
        stages: clocks from its input to its output.
    """

    stages: int


@dataclass(frozen=True, eq=False)
class KeptPlan:
    """The engines of a project in time.

    Args:
        timed: engines, and the clocks of all their beats.
        raster: how the input arrives.
        pipes: depth of every Map and cell that is more than wires, by number of its node.
    """

    timed: Timed
    raster: Raster
    pipes: Mapping[int, Depth]


def raster_of(manifest: Mapping[str, Any]) -> Raster:
    """Return how the input of a streamed block arrives.

    Raises:
        DataError: the manifest does not say so.
    """
    try:
        rows, columns, lanes = (int(n) for n in _choices(manifest)["raster"])
    except (LookupError, TypeError, ValueError):
        rows = columns = lanes = 0
    if not 1 <= lanes <= columns or rows < 1:
        raise _other("its choices are not those of a plan")
    return Raster(rows, columns, lanes)


def network_of(manifest: Mapping[str, Any], program: TensorProgram) -> tuple[EngineNetwork, Recorded]:
    """Return the engines of a project and the choices behind them.

    Args:
        manifest: of the project.
        program: its network.

    Raises:
        DataError: manifest and network do not belong to each other, or to this version.
    """
    raster = raster_of(manifest)
    try:
        record = Recorded(Kept(_choices(manifest)))
        family = family_of(manifest["target"]["part"], int(_choices(manifest)["luts"]))
        network = registered(lay_out(program, raster, record), family, manifest["target"]["clock_mhz"])
    except (LookupError, TypeError, ValueError, AssertionError, ConfigError, TimingError) as error:
        raise _other(f"its choices do not fit its network ({error!r:.200})") from None
    planned, nodes = manifest["plan"], network.nodes
    if len(planned) != len(nodes):
        raise _other(f"its plan has {len(planned)} engines, its network makes {len(nodes)}")
    for number, (entry, node) in enumerate(zip(planned, nodes, strict=True)):
        if isinstance(node, EngineNode) and node.engine.parameters() != entry.get("parameters"):
            raise _other(f"engine {number} of {node.layer} has other parameters")
    return network, record


def plan_of(manifest: Mapping[str, Any], program: TensorProgram, spacing: int) -> KeptPlan:
    """Return the engines of a project in time.

    Args:
        manifest: of the project.
        program: its network.
        spacing: clocks between two input beats of an event.

    Raises:
        DataError: manifest and network do not belong to each other, or to this version.
    """
    network, _ = network_of(manifest, program)
    planned, raster = manifest["plan"], raster_of(manifest)
    pipes = {
        k: Depth(int(entry["stages"]))
        for k, entry in enumerate(planned)
        if entry["engine"] in ("map", "scan")
    }
    depths = {
        id(node.recurrence.cell if isinstance(node, ScanNode) else node.program): pipes.get(k, Depth(0))
        for k, node in enumerate(network.nodes)
        if not isinstance(node, EngineNode)
    }
    arrivals = np.arange(raster.beats, dtype=np.int64) * spacing
    interval = int(manifest["interval"]["link_cycles"])
    timed = time_network(network, arrivals, lambda body, *_: depths[id(body)], interval)
    for number, (entry, node) in enumerate(zip(planned, network.nodes, strict=True)):
        times = timed.times[node.outputs[0]]
        found = [int(times[0]), int(times[-1]), timed.busy[number]]
        wanted = [int(entry[key]) for key in ("first_cycle", "last_cycle", "busy_cycles")]
        if found != wanted:
            raise _other(f"first, last and busy clock of engine {number} are {wanted}, now {found}")
    return KeptPlan(timed, raster, pipes)


def _choices(manifest: Mapping[str, Any]) -> Mapping[str, Any]:
    if "choices" not in manifest:
        raise _other("it says nothing of the choices behind its plan")
    choices: Mapping[str, Any] = manifest["choices"]
    return choices


def _other(what: str) -> DataError:
    return DataError(
        f"the project was made by another version, or its files were changed: {what}", fix="run l1ml convert"
    )
