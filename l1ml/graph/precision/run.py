# SPDX-License-Identifier: Apache-2.0
"""Runs a marked float model: to measure the ranges of its tensors, or with types, to count what overflows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from l1ml.errors import DataError, L1mlError
from l1ml.graph.model import Input, Model
from l1ml.graph.precision.slots import Slot, Structure, marker_of
from l1ml.graph.real import EVENTS_PER_BLOCK, RealNet
from l1ml.types.arrays import RealArray
from l1ml.types.fixed import Overflow, Quantizer, in_lsb, round_codes
from l1ml.types.grid import Grid

BINS_PER_OCTAVE = 8
_LOWEST, _HIGHEST = -64, 64
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


@dataclass
class Range:
    """What is known about the values of a tensor or of constants; grows block by block.

    Args:
        lo: smallest value.
        hi: largest value.
        count: values seen.
        zeros: of these, exactly 0.
    """

    lo: float = np.inf
    hi: float = -np.inf
    count: int = 0
    zeros: int = 0

    def __post_init__(self) -> None:
        self._bins = np.zeros((_HIGHEST - _LOWEST) * BINS_PER_OCTAVE, dtype=np.int64)

    def add(self, values: np.ndarray) -> None:
        """Take values into account.

        Raises:
            DataError: one is not finite.
        """
        if not values.size:
            return
        if not np.isfinite(values).all():
            raise DataError(
                "the float model gives values that are infinite or undefined for some of these events",
                fix="take these events out of the calibration sample",
            )
        self.lo, self.hi = min(self.lo, float(values.min())), max(self.hi, float(values.max()))
        magnitude = np.abs(values[values != 0]).astype(np.float64)
        place = np.floor((np.log2(magnitude) - _LOWEST) * BINS_PER_OCTAVE).astype(np.int64)
        self._bins += np.bincount(np.clip(place, 0, len(self._bins) - 1), minlength=len(self._bins))
        self.count += int(values.size)
        self.zeros += int(values.size - magnitude.size)

    @property
    def seen(self) -> bool:
        """Tell whether there was any value."""
        return self.count > 0

    @property
    def largest(self) -> float:
        """Largest magnitude."""
        return max(abs(self.lo), abs(self.hi)) if self.seen else 0.0

    def without(self, outliers: float) -> tuple[float, float]:
        """Return the range without a share of the largest magnitudes, to 1/8 of an octave."""
        above = np.cumsum(self._bins[::-1])[::-1]
        inside = np.flatnonzero(above > outliers * self.count)
        if not outliers or not len(inside):
            return self.lo, self.hi
        edge = 2.0 ** (_LOWEST + (int(inside[-1]) + 0.5) / BINS_PER_OCTAVE)
        return max(self.lo, -edge), min(self.hi, edge)

    @property
    def log2_quantiles(self) -> tuple[float, ...]:
        """Quantiles of log2 of the non-zero magnitudes, to 1/8 of an octave; empty without any."""
        total = np.cumsum(self._bins)
        if not total[-1]:
            return ()
        places = np.searchsorted(total, [q * total[-1] for q in QUANTILES])
        return tuple(float(_LOWEST + (p + 0.5) / BINS_PER_OCTAVE) for p in places)


@dataclass
class Count:
    """Values that a conversion met, and those of them outside of its type.

    Args:
        values: converted.
        outside: beyond the range of the type after rounding; they saturate, or wrap around.
        wraps: the type wraps around.
    """

    values: int = 0
    outside: int = 0
    wraps: bool = False


Key = tuple[str, int]


class _Measuring(RealNet):
    """Looks at the values at every marker; they pass unchanged."""

    def __init__(self, events: int, ranges: dict[Key, Range]) -> None:
        super().__init__(events)
        self.ranges = ranges

    def quantize(self, x: np.ndarray, grid: Grid, *, declared: bool = False) -> np.ndarray:
        if declared:
            self.ranges.setdefault((self.layer, marker_of(grid)), Range()).add(x)
        return super().quantize(x, grid, declared=declared)


class _Converting(RealNet):
    """Converts at every marker, and counts what lies outside of the type, at the model's own quantizers too."""

    def __init__(self, events: int, grids: Mapping[Key, Grid], counts: dict[Key, Count]) -> None:
        super().__init__(events)
        self._grids, self.counts = grids, counts

    def quantize(self, x: np.ndarray, grid: Grid, *, declared: bool = False) -> np.ndarray:
        key = (self.layer, marker_of(grid)) if declared else (self.layer, -1)
        if declared:
            grid = self._grids.get(key, grid)
        real = np.nan_to_num(x.astype(np.float64))
        count = self.counts.setdefault(key, Count(wraps=grid.overflow is Overflow.WRAP))
        rounded = round_codes(in_lsb(real, grid.frac), grid.rounding)  # type: ignore[arg-type]
        count.values += int(real.size)
        count.outside += int(((rounded < grid.lo) | (rounded > grid.hi)).sum())
        return grid.values(real).astype(np.float32)


def _blocks(
    model: Model, inputs: Sequence[ArrayLike], net_of: Callable[[int], RealNet]
) -> Iterator[dict[str, np.ndarray]]:
    """Yield the results of every layer; errors name the layer."""
    arrays = [np.asarray(x, dtype=np.float32) for x in inputs]
    wanted = [layer.shape for layer in model.inputs]
    if [a.shape[1:] for a in arrays] != wanted or len({len(a) for a in arrays}) > 1 or not len(arrays[0]):
        raise DataError(
            f"arrays of shapes {[a.shape for a in arrays]} given; the inputs of one event are {wanted}",
            where=("calibration",),
        )
    for first in range(0, len(arrays[0]), EVENTS_PER_BLOCK):
        part = iter([a[first : first + EVENTS_PER_BLOCK] for a in arrays])
        net = net_of(len(arrays[0][first : first + EVENTS_PER_BLOCK]))
        made: dict[str, np.ndarray] = {}
        for layer in model.layers:
            net.layer = layer.name
            try:
                own = isinstance(layer, Input)
                made[layer.name] = next(part) if own else layer.emit(net, *(made[n] for n in layer.inputs))
            except L1mlError as error:
                error.where = (model.source, f"layer {layer.name}", *error.where)
                raise
        yield made


def outputs(model: Model, inputs: Sequence[ArrayLike]) -> list[RealArray]:
    """Return what the float model gives for events."""
    parts = [[made[name] for name in model.outputs] for made in _blocks(model, inputs, RealNet)]
    return [np.concatenate(column).astype(np.float64) for column in zip(*parts, strict=True)]


def measure(structure: Structure, inputs: Sequence[ArrayLike]) -> dict[Slot, Range]:
    """Return the ranges of all tensors that need a type, over events.

    Raises:
        DataError: the events do not fit the inputs, or give values that are not finite.
    """
    ranges: dict[Key, Range] = {}
    for _ in _blocks(structure.model, inputs, lambda events: _Measuring(events, ranges)):
        pass
    return {slot: ranges[key] for key, slot in structure.marked().items() if key in ranges}


def simulate(
    structure: Structure, typed: Model, types: Mapping[Slot, Quantizer], inputs: Sequence[ArrayLike]
) -> tuple[list[RealArray], dict[Key, Count]]:
    """Run the marked model with types on its tensors, in floating point.

    Args:
        structure: the places.
        typed: the marked model with constants on their grids.
        types: by place.
        inputs: events.

    Returns:
        The outputs, and what every conversion counted by (step, marker), -1 for the model's own quantizers.
    """
    counts: dict[Key, Count] = {}
    grids = {key: Grid.of(types[slot]) for key, slot in structure.marked().items() if slot in types}
    parts = [
        [made[name] for name in typed.outputs]
        for made in _blocks(typed, inputs, lambda events: _Converting(events, grids, counts))
    ]
    return [np.concatenate(column).astype(np.float64) for column in zip(*parts, strict=True)], counts
