# SPDX-License-Identifier: Apache-2.0
"""What is known of a tensor while engines are laid out: on a stream, out of order, or constant."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from l1ml.graph import primitives as p
from l1ml.graph.tensor import TensorType
from l1ml.plan.making import Making
from l1ml.plan.moves import Origin
from l1ml.plan.network import Body
from l1ml.plan.streams import Raster


class Choices(Protocol):
    """What the plan decides while the engines are laid out."""

    def fold(self, step: int, shape: tuple[int, int], phases: int) -> int | None:
        """Return how many inputs a folded product takes per clock, None for all in parallel.

        Args:
            step: number of the step in the program.
            shape: (n_in, n_out) per beat.
            phases: beats that are summed up.
        """

    def making(self, step: int) -> Making:
        """Return how a folded product is made."""

    def scan(self, step: int, steps: int) -> bool:
        """Tell whether a recurrent layer that begins at a step shares one cell for all of its time steps."""

    def split(self, step: int, positions: int) -> int | None:
        """Return into how many positions per beat a whole tensor is split before a step, None to leave it."""

    def serial(self, step: int, elements: int) -> int | None:
        """Return how many elements per beat of a whole tensor a product reads one after the other.

        What stands between the tensor and the product is then built for so many elements.

        Args:
            step: number of the product in the program.
            elements: of the tensor, a multiple of the answer.

        Returns:
            None to read it at once.
        """


@dataclass(frozen=True, eq=False)
class Local:
    """A tensor on a stream: a tensor of a body, of shape (groups, *what is not streamed)."""

    raster: Raster
    shape: tuple[int, ...]
    axes: tuple[int, ...]
    body: Body
    tensor: int

    @property
    def inner(self) -> tuple[int, ...]:
        """Shape of a position."""
        return tuple(n for a, n in enumerate(self.shape) if a not in self.axes)


@dataclass(frozen=True, eq=False)
class Mixed:
    """Elements of a tensor on a stream in an order that no beat has yet."""

    base: Local
    origin: Origin


@dataclass(frozen=True, eq=False)
class Fixed:
    """A constant."""

    op: p.Constant
    type: TensorType


Value = Local | Mixed | Fixed
