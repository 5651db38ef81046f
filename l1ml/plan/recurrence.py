# SPDX-License-Identifier: Apache-2.0
"""A recurrent layer, rolled up: its cell, states and steps."""

from __future__ import annotations

from dataclasses import dataclass

from l1ml.graph.program import TensorProgram
from l1ml.graph.tensor import TensorType
from l1ml.types.arrays import IntArray


@dataclass(frozen=True, eq=False)
class Recurrence:
    """A recurrent layer, rolled up.

    Args:
        layer: name.
        first: number of its first step in the program.
        last: number of its last step.
        source: tensor whose rows are the time steps, (steps, n).
        steps: time steps.
        backwards: the last row comes first.
        cell: the network of a step: reads the states, then x; gives the next states, then y.
        states: how many there are.
        initial: their codes before the first step, one array each.
        sequences: the result holds y of every step, (steps, units).
        result: tensor that holds the result.
    """

    layer: str
    first: int
    last: int
    source: int
    steps: int
    backwards: bool
    cell: TensorProgram
    states: int
    initial: tuple[IntArray, ...]
    sequences: bool
    result: int

    @property
    def state_types(self) -> list[TensorType]:
        """Types of the states, as the cell reads them."""
        return [port.type for port in self.cell.inputs[: self.states]]

    @property
    def y_type(self) -> TensorType:
        """Type of the cell's result."""
        return self.cell.type_of(self.cell.outputs[-1][1])
