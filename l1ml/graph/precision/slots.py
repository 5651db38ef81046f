# SPDX-License-Identifier: Apache-2.0
"""The places of a float model that need a type, before the types are known.

A place for a tensor is a *marker* in the network: a quantizer of an impossible type that tells the place from
the others of its layer.  The same marked network is run to measure ranges, run again with types to count what
overflows, and at last gets its types.
"""

from __future__ import annotations

from dataclasses import dataclass

from l1ml.graph.functions import Function
from l1ml.graph.model import Model
from l1ml.types.fixed import FixedType, Overflow, Quantizer, Rounding
from l1ml.types.grid import Grid

_MARKER_BITS = 60

CONSTANTS = {"weight": "kernel", "bias": "bias", "recurrent": "recurrent", "recurrent_bias": "recurrent_bias"}
"""Keys of constants, and the fields of the layers that hold them."""

INNER = ("accum", "gate", "candidate", "state", "output")
"""Keys of the types inside a recurrent cell, in the order of its field ``types``."""

TABLES = ("exp_table", "accum", "inv_table")
"""Keys of the types inside a softmax, in the order of its field ``tables``."""


@dataclass(frozen=True)
class Slot:
    """One place for a type.

    Args:
        layer: the layer as the user knows it.
        key: which of its types, one of `l1ml.config.PRECISION_KEYS`.
        step: the layer of the marked network that holds the place.
        text: what the user wants: a type, or ``auto``.
        level: where the text stands: ``name``, ``type`` or ``model``.
        stated: it stands there for this very key, not for the layer as a whole.
        constant: the values are trained constants, known without events.
        marker: number of the marker within the step, for tensors.
        table: a table over all codes of this type follows.
        differences: that table reads differences of two such values, which have one bit more.
        functions: what such tables compute (one chain each), where they are functions of this value alone.
        positive: the values are never negative.
        bounds: largest range the values can have, where it follows from the mathematics.
    """

    layer: str
    key: str
    step: str
    text: str
    level: str = "model"
    stated: bool = False
    constant: bool = False
    marker: int = 0
    table: bool = False
    differences: bool = False
    functions: tuple[tuple[Function, ...], ...] = ()
    positive: bool = False
    bounds: tuple[float, float] | None = None

    @property
    def where(self) -> tuple[str, ...]:
        """The place in the configuration, for messages."""
        return ("precision", "name", self.layer, self.key)


@dataclass(frozen=True, eq=False)
class Structure:
    """A float model with markers.

    Args:
        source: the model as read.
        model: the same network with a marker at every place that needs a type.
        slots: the places, in order.
    """

    source: Model
    model: Model
    slots: tuple[Slot, ...]

    def __post_init__(self) -> None:
        keys = [(slot.step, slot.key) for slot in self.slots]
        assert len(set(keys)) == len(keys), "a place is there twice"

    def marked(self) -> dict[tuple[str, int], Slot]:
        """Return the places of tensors by (step, marker)."""
        return {(slot.step, slot.marker): slot for slot in self.slots if not slot.constant}


def marker(number: int) -> Quantizer:
    """Return the quantizer that marks a place."""
    return Quantizer(FixedType(True, _MARKER_BITS, number + 1), Rounding.RND_CONV, Overflow.SAT)


def marker_of(grid: Grid) -> int:
    """Return the number of the marker that a conversion stands for.

    Example:
        >>> marker_of(Grid.of(marker(3)))
        3
    """
    return _MARKER_BITS - 1 - int(grid.frac)
