# SPDX-License-Identifier: Apache-2.0
"""A plan laid out once more, for a network with other weights: every choice is that of the first time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from l1ml.errors import ConfigError
from l1ml.graph.program import TensorProgram
from l1ml.plan.fold import FoldEngine
from l1ml.plan.making import Making, Reload
from l1ml.plan.network import EngineNetwork, EngineNode
from l1ml.plan.values import Choices


class Recorded:
    """Choices with a record of what was answered, in order.

    Args:
        inner: who answers.
    """

    def __init__(self, inner: Choices) -> None:
        self.inner = inner
        self.folds: dict[int, int | None] = {}
        self.splits: dict[int, int | None] = {}
        self.scans: dict[int, bool] = {}
        self.serials: dict[int, int | None] = {}
        self.makings: dict[int, Making] = {}

    def fold(self, step: int, shape: tuple[int, int], phases: int) -> int | None:
        """Return how many inputs a product takes per clock."""
        return self.folds.setdefault(step, self.inner.fold(step, shape, phases))

    def making(self, step: int) -> Making:
        """Return how a product is made."""
        return self.makings.setdefault(step, self.inner.making(step))

    def scan(self, step: int, steps: int) -> bool:
        """Tell whether a recurrent layer shares one cell."""
        return self.scans.setdefault(step, self.inner.scan(step, steps))

    def split(self, step: int, positions: int) -> int | None:
        """Return how many positions a beat of a split tensor has."""
        return self.splits.setdefault(step, self.inner.split(step, positions))

    def serial(self, step: int, elements: int) -> int | None:
        """Return how many elements a product reads per beat."""
        return self.serials.setdefault(step, self.inner.serial(step, elements))

    def to_dict(self) -> dict[str, Any]:
        """Return all answers as plain data, by number of the step."""
        answers: dict[str, Mapping[int, Any]] = {
            "fold": self.folds, "split": self.splits, "scan": self.scans, "serial": self.serials,
        }  # fmt: skip
        plain = {kind: {str(step): answer for step, answer in of.items()} for kind, of in answers.items()}
        return {**plain, "making": {str(step): asdict(making) for step, making in self.makings.items()}}


class Again:
    """The recorded choices for another network of the same architecture; its steps may have other numbers.

    Args:
        program: the other network.
        record: of the first one.
        network: of the first one: what can be loaded has the numbers that it has there.

    Raises:
        ConfigError: the networks are not of one architecture (while engines are laid out).
    """

    def __init__(self, program: TensorProgram, record: Recorded, network: EngineNetwork) -> None:
        self.program = program
        self.answers: Mapping[str, Sequence[Any]] = {
            "fold": list(record.folds.values()),
            "split": list(record.splits.values()),
            "scan": list(record.scans.values()),
            "serial": list(record.serials.values()),
            "making": _loaded(record, network),
        }
        self.asked: dict[str, list[int]] = {kind: [] for kind in self.answers}

    def _answer(self, kind: str, step: int) -> Any:
        steps = self.asked[kind]
        if step not in steps:
            steps.append(step)
        at = steps.index(step)
        if at >= len(self.answers[kind]):
            raise ConfigError(
                "the block was made for a network that ends before this layer",
                where=(self.program.steps[step].layer,),
                fix="give a model of the same architecture",
            )
        return self.answers[kind][at]

    def fold(self, step: int, shape: tuple[int, int], phases: int) -> int | None:
        """Return how many inputs a product takes per clock."""
        found: int | None = self._answer("fold", step)
        return found

    def making(self, step: int) -> Making:
        """Return how a product is made."""
        found: Making = self._answer("making", step)
        return found

    def scan(self, step: int, steps: int) -> bool:
        """Tell whether a recurrent layer shares one cell."""
        return bool(self._answer("scan", step))

    def split(self, step: int, positions: int) -> int | None:
        """Return how many positions a beat of a split tensor has."""
        found: int | None = self._answer("split", step)
        return found

    def serial(self, step: int, elements: int) -> int | None:
        """Return how many elements a product reads per beat."""
        found: int | None = self._answer("serial", step)
        return found


def _loaded(record: Recorded, network: EngineNetwork) -> list[Making]:
    """Return how every Fold was made, with the bits and grids of what can be loaded into it."""
    folds = [
        (n, n.engine) for n in network.nodes if isinstance(n, EngineNode) and isinstance(n.engine, FoldEngine)
    ]
    loaded = iter([(node, engine) for node, engine in folds if engine.reloadable])
    out = []
    for making in record.makings.values():
        if making.reload is not None:
            node, engine = next(loaded)
            assert node.ups is not None
            frac = int(network.streams[node.outputs[0]].type.frac[0])
            source = network.streams[node.inputs[0]].type
            inputs = int((source.frac + node.ups[: source.size]).max())
            numbers = Reload(engine.weight_bits, frac - inputs, engine.acc_bits, frac)
            making = replace(making, reload=numbers)
        out.append(making)
    return out
