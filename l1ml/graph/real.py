# SPDX-License-Identifier: Apache-2.0
"""The real reading of layers: float32 arrays, as a float framework computes.

It calibrates the types of a float model and measures the error of a quantized one.  It is no golden: where
a framework's own integers matter, they come from the framework.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike

from l1ml.errors import DataError, L1mlError
from l1ml.graph.functions import Function
from l1ml.graph.model import Input, Model
from l1ml.graph.net import Net, Windows
from l1ml.graph.primitives import Scalar, Window
from l1ml.types.arrays import IntArray, RealArray
from l1ml.types.grid import Grid

Array = np.ndarray
EVENTS_PER_BLOCK = 256


class RealNet(Net[Array]):
    """Float32 arrays of shape (events, *shape)."""

    def __init__(self, events: int) -> None:
        self._events = events

    def shape(self, x: Array) -> tuple[int, ...]:
        """Return the shape of one event."""
        return x.shape[1:]

    def matmul(self, x: Array, kernel: RealArray, scale: RealArray | None = None) -> Array:
        """Multiply in float32."""
        real = kernel if scale is None else kernel * scale if np.ndim(scale) <= 1 else None
        if real is None:
            return np.asarray((x @ kernel.astype(np.float32)) * np.asarray(scale, np.float32))
        return np.asarray(x @ real.astype(np.float32))

    def add(self, x: Array, constant: RealArray) -> Array:
        """Add in float32."""
        return np.asarray(x + np.asarray(constant, dtype=np.float32))

    def combine(self, kind: str, *xs: Array) -> Array:
        """Combine from left to right."""
        function = {
            "add": np.add,
            "sub": np.subtract,
            "mul": np.multiply,
            "max": np.maximum,
            "min": np.minimum,
        }[kind]
        rank = max(x.ndim for x in xs)
        wide = [x.reshape(x.shape[0], *(1,) * (rank - x.ndim), *x.shape[1:]) for x in xs]
        total = wide[0]
        for x in wide[1:]:
            total = function(total, x)
        return np.asarray(total)

    def contract(self, x: Array, y: Array) -> Array:
        """Multiply matrices."""
        return np.asarray(x @ y)

    def reduce(self, kind: str, x: Array) -> Array:
        """Reduce the last axis."""
        return np.asarray({"sum": np.sum, "max": np.max, "min": np.min}[kind](x, axis=-1))  # type: ignore[operator]

    def map(self, x: Array, *functions: Function) -> Array:
        """Apply functions."""
        for function in functions:
            x = function(x)
        return x

    def quantize(self, x: Array, grid: Grid, *, declared: bool = False) -> Array:
        """Convert; what was declared for the hardware is left out, since the float model has no such types."""
        return x if declared else grid.values(np.nan_to_num(x.astype(np.float64))).astype(np.float32)

    def window(self, x: Array, windows: Windows) -> Array:
        """Gather windows."""
        op = Window(
            windows.kernel, windows.strides, windows.dilation, windows.padding, edge=int(windows.edge)
        )
        return self.take(x, op.indices(x.shape[1:]))

    def take(self, x: Array, indices: IntArray) -> Array:
        """Pick elements."""
        y = x.reshape(x.shape[0], -1)[:, np.maximum(indices, 0)]
        return np.where(indices < 0, np.float32(0), y) if bool((indices < 0).any()) else y

    def reshape(self, x: Array, shape: tuple[int, ...]) -> Array:
        """Rename elements."""
        return x.reshape(x.shape[0], *shape)

    def concat(self, axis: int, *xs: Array) -> Array:
        """Join."""
        return np.concatenate(xs, axis=axis if axis < 0 else axis + 1)

    def select(self, condition: Array, a: Array, b: Array) -> Array:
        """Choose."""
        return np.where(condition != 0, a, b)

    def compare(self, a: Array, b: Array) -> Array:
        """Compare."""
        return (a >= b).astype(np.float32)

    def argmax(self, x: Array) -> Array:
        """Find the first maximum."""
        return np.argmax(x, axis=-1).astype(np.float32)

    def lookup(self, x: Array, table: RealArray) -> Array:
        """Look up rows."""
        index = np.rint(x).astype(np.int64)
        if index.size and not 0 <= int(index.min()) <= int(index.max()) < len(table):
            raise DataError(f"{self.layer!r} looks up row {int(index.max())} of {len(table)}")
        return np.asarray(table[index], dtype=np.float32)

    def scalar(self, x: Array, program: Scalar) -> Array:
        """Run a scalar program."""
        return program.values(x).astype(np.float32)

    def constant(self, values: RealArray) -> Array:
        """Repeat for every event."""
        return np.broadcast_to(np.asarray(values, dtype=np.float32), (self._events, *np.shape(values)))


def run(model: Model, inputs: Sequence[ArrayLike]) -> dict[str, RealArray]:
    """Return every layer's float32 results, by name, each (events, *shape).

    Args:
        model: the network.
        inputs: one array per input, (events, *shape).

    Raises:
        DataError: the arrays do not fit the inputs.
    """
    parts: dict[str, list[Array]] = {}
    for block in blocks(model, inputs):
        for name, values in block.items():
            parts.setdefault(name, []).append(values)
    return {name: np.concatenate(values) for name, values in parts.items()}


def blocks(model: Model, inputs: Sequence[ArrayLike]) -> Iterator[Mapping[str, Array]]:
    """Yield every layer's results block by block of events, so that memory stays bounded."""
    arrays = [np.asarray(x, dtype=np.float32) for x in inputs]
    wanted = [layer.shape for layer in model.inputs]
    if [a.shape[1:] for a in arrays] != wanted or len({len(a) for a in arrays}) > 1:
        raise DataError(
            f"arrays of shapes {[a.shape for a in arrays]} given; the inputs of one event are {wanted}"
        )
    for first in range(0, len(arrays[0]), EVENTS_PER_BLOCK):
        made: dict[str, Array] = {}
        part = [a[first : first + EVENTS_PER_BLOCK] for a in arrays]
        net = RealNet(len(part[0]))
        given = iter(part)
        for layer in model.layers:
            net.layer = layer.name
            try:
                made[layer.name] = (
                    next(given)
                    if isinstance(layer, Input)
                    else layer.emit(net, *(made[n] for n in layer.inputs))
                )
            except L1mlError as error:
                error.where = (model.source, f"layer {layer.name}", *error.where)
                raise
        yield made
