# SPDX-License-Identifier: Apache-2.0
"""Axes: ONNX counts the batch and puts channels first, layers do not count it and put channels last.

Axes are only ever reordered where a layer needs it; in hardware that is wiring.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from l1ml.frontends.common import MAX_ELEMENTS, Shape, UnsupportedError
from l1ml.frontends.onnx.operator import Reading
from l1ml.frontends.onnx.tensors import Data
from l1ml.graph import model
from l1ml.types.arrays import IntArray

MAX_AXES = 16
Order = tuple[int, ...]
Move = Callable[[IntArray], IntArray]


def inverse(order: Sequence[int]) -> Order:
    """Return the permutation that undoes ``order``."""
    return tuple(int(n) for n in np.argsort(np.asarray(order, dtype=np.int64)))


def last(x: Data, axis: int) -> Order:
    """Return the order of the layer's axes with axis ``axis`` of ``x.shape`` last, the others as they are."""
    before = [place for place in inverse(x.order) if place != axis]
    return inverse((*before, axis))


def channels_last(x: Data) -> Order:
    """Return the order of a layer (s1, ..., sn, c) for ONNX's event (c, s1, ..., sn)."""
    n = len(x.shape)
    return (n - 1, *range(n - 1))


def arranged(reading: Reading, x: Data, order: Order, suffix: str) -> Data:
    """Return the same tensor from a layer whose axes have another order; nothing is added where it has it."""
    if x.order == order:
        return x
    key = (x.layer, (order, x.order))
    if key not in reading.made:
        indices = x.indices().transpose(inverse(order))
        if _same(indices):
            step = reading.add(model.Reshape(f"{x.layer}.{suffix}", (x.layer,), indices.shape))
        else:
            step = reading.take(f"{x.layer}.{suffix}", x.layer, indices, "Transpose")
        reading.made[key] = step
    return replace(x, layer=reading.made[key], order=order)


def _same(indices: IntArray) -> bool:
    return bool(np.array_equal(indices.ravel(), np.arange(indices.size)))


def plain(reading: Reading, x: Data) -> Data:
    """Return a tensor whose layer has ONNX's order of axes."""
    return arranged(reading, x, tuple(range(len(x.shape))), "transposed")


def turned(x: Data, order: Sequence[int]) -> Data:
    """Return a transposed tensor: a new view, nothing is moved."""
    if sorted(order) != list(range(x.rank)):
        raise UnsupportedError(f"orders {x.rank} axes as {list(order)[:8]}")
    if x.folded and order[0] != 0:
        raise UnsupportedError("reads a tensor whose batch axis is mixed with another axis")
    places = [x.axis(axis) for axis in order]
    kept = [*range(x.folded), *(place for place in places if place is not None)]
    return replace(
        x,
        shape=tuple(x.shape[place] for place in kept),
        order=tuple(x.order[place] for place in kept),
        batch=None if x.batch is None else places.index(None),
    )


def batch_first(reading: Reading, x: Data) -> Data:
    """Return a tensor with the batch axis first and alone.

    Raises:
        UnsupportedError: it is elsewhere, or part of the event has been folded into it.
    """
    if x.batch == 0 and not x.folded:
        return x
    if x.batch is None and x.shape and x.shape[0] == 1:
        return reshaped(reading, x, x.shape[1:], 0)
    where = "is mixed with another axis" if x.folded else "is not the first"
    raise UnsupportedError(f"reads a tensor whose batch axis {where}")


def reshaped(
    reading: Reading, x: Data, shape: Shape, batch: int | None, folded: int = 0, name: str | None = None
) -> Data:
    """Return a tensor with the same elements in another shape, C order of ONNX's axes."""
    if x.shape == tuple(shape):
        return replace(x, batch=batch, folded=folded)
    check_size(shape)
    x = plain(reading, x)
    layer = reading.add(model.Reshape(name or f"{x.layer}.reshaped", (x.layer,), tuple(shape)))
    return replace(Data.plain(layer, tuple(shape), x.kind, batch), folded=folded, zero=x.zero, scale=x.scale)


def moved(reading: Reading, name: str, x: Data, move: Move, what: str, *, batch: int | None = None) -> Data:
    """Return a tensor made of the elements of another.

    Args:
        reading: the network so far.
        name: of the layer.
        x: the tensor.
        move: rearranges an array of indices with ONNX's axes, the batch axis of size 1; -1 stands for 0.
        what: the operation, for people.
        batch: where the result has the batch axis, None for "as before".
    """
    if x.folded:
        raise UnsupportedError("reads a tensor whose batch axis is mixed with another axis")
    indices = x.indices()
    place = x.batch
    if place is not None:
        indices = np.expand_dims(indices, place)
    rank = indices.ndim
    indices = np.asarray(move(indices), dtype=np.int64)
    if place is not None:
        place = place if batch is None else batch
        if indices.shape[place] != 1:
            raise UnsupportedError("moves elements along the batch axis")
        indices = np.squeeze(indices, place)
    if 0 in indices.shape:
        raise UnsupportedError("gives a tensor without elements")
    shape, order = indices.shape, tuple(range(indices.ndim))
    if indices.ndim + (place is not None) == rank and place == x.batch:
        order = x.order
        indices = indices.transpose(inverse(order))
    if indices.shape == x.inside and order == x.order and _same(indices):
        return x
    layer = reading.take(name, x.layer, indices, what)
    return replace(x, layer=layer, shape=shape, order=order, batch=place)


def expanded(reading: Reading, x: Data, shape: Shape) -> Data:
    """Return a tensor repeated along axes of size 1, to a shape with as many axes."""
    if x.shape == tuple(shape):
        return x
    check_size(shape)
    indices = np.broadcast_to(x.indices(), shape).transpose(inverse(x.order))
    layer = reading.take(f"{x.layer}.expanded", x.layer, indices, "Expand")
    return replace(x, layer=layer, shape=tuple(shape))


def check_size(shape: Sequence[int]) -> None:
    """Refuse shapes with too many elements, or with none.

    Raises:
        UnsupportedError: there are too many, or none.
    """
    if (
        len(shape) > MAX_AXES
        or not all(0 < n <= MAX_ELEMENTS for n in shape)
        or math.prod(shape) > MAX_ELEMENTS
    ):
        raise UnsupportedError(
            f"gives a tensor of shape {tuple(shape)}; 1 to {MAX_ELEMENTS} elements are supported"
        )


def with_axes(reading: Reading, x: Data, places: Sequence[int]) -> Data:
    """Return a tensor with new axes of size 1 at places of the result's ONNX shape."""
    rank = x.rank + len(places)
    spots = {place % rank for place in places}
    if len(spots) != len(places) or any(not -rank <= place < rank for place in places):
        raise UnsupportedError(f"adds axes {list(places)[:8]} to a tensor with {x.rank} axes")
    if not spots:
        return x
    if x.folded and min(spots) == 0:
        raise UnsupportedError("reads a tensor whose batch axis is mixed with another axis")
    old = iter(range(x.rank))
    shape: list[int] = list(x.shape[: x.folded])
    batch = None
    for place in range(rank):
        if place in spots:
            shape.append(1)
            continue
        axis = next(old)
        if axis == x.batch:
            batch = place
        else:
            event = x.axis(axis)
            assert event is not None, "only the batch axis has no place in the event"
            shape.append(x.shape[event])
    return reshaped(reading, x, tuple(shape), batch, x.folded)


def fitted(reading: Reading, x: Data, values: np.ndarray) -> tuple[Data, np.ndarray]:
    """Bring a constant into the order of a tensor's layer, and the tensor to the size of both.

    Returns:
        The tensor, repeated where the constant is larger, and the constant, broadcastable to its layer.
    """
    if values.ndim > x.rank:
        x = with_axes(reading, x, range(values.ndim - x.rank))
    array = event_part(reading, x, values)
    shape = np.broadcast_shapes(x.shape, array.shape)
    if len(shape) != len(x.shape):
        raise UnsupportedError(f"has a constant of shape {values.shape} for data of shape {x.shape}")
    x = expanded(reading, x, shape)
    return x, compact(array.transpose(inverse(x.order)))


def event_part(reading: Reading, x: Data, values: np.ndarray) -> np.ndarray:
    """Return a constant without the batch axis, with as many axes as the event, in ONNX's order."""
    if values.ndim > x.rank:
        raise UnsupportedError(f"has a constant of shape {values.shape} for data with {x.rank} axes")
    array = values.reshape((1,) * (x.rank - values.ndim) + values.shape)
    if x.batch is not None:
        if array.shape[x.batch] != 1:
            first = np.take(array, [0], axis=x.batch)
            if array.shape[x.batch] != reading.batch or not bool((array == first).all()):
                raise UnsupportedError(
                    f"has a constant of shape {values.shape} that differs from event to event"
                )
            array = first
        array = np.squeeze(array, x.batch)
        array = array.reshape((1,) * x.folded + array.shape)
    return array


def compact(array: np.ndarray) -> np.ndarray:
    """Drop leading axes along which nothing changes, as far as broadcasting allows."""
    while array.ndim and array.shape[0] == 1:
        array = array[0]
    if array.ndim and array.size and bool((array == array.ravel()[0]).all()):
        return np.asarray(array.ravel()[0])
    return array


def constant_layer(reading: Reading, name: str, values: np.ndarray, x: Data) -> Data:
    """Return a constant as a tensor beside ``x``: same place of the batch axis, its own number of axes."""
    array = event_part(reading, x, values)
    check_size(array.shape)
    layer = reading.add(model.Constant(f"{name}.constant", (), array.astype(np.float64)))
    return replace(
        x, layer=layer, shape=array.shape, order=tuple(range(array.ndim)), zero=0, scale=None, kind="float32"
    )


def together(reading: Reading, *tensors: Data) -> list[Data]:
    """Return tensors with equally many axes, the batch axis at one place, the same order in their layers."""
    rank = max(x.rank for x in tensors)
    same = [with_axes(reading, x, range(rank - x.rank)) for x in tensors]
    if len({(x.batch, x.folded) for x in same}) > 1 and reading.batch == 1:
        same = [without_batch(reading, x) for x in same]
    if len({(x.batch, x.folded) for x in same}) > 1:
        raise UnsupportedError("joins tensors that have their batch axis at different places")
    first = same[0]
    return [arranged(reading, x, first.order, "transposed") for x in same]


def without_batch(reading: Reading, x: Data) -> Data:
    """Return a tensor whose batch axis, of size 1, is an axis of the event."""
    if x.batch is None:
        return x
    shape = (*x.shape[: x.batch], 1, *x.shape[x.batch :])
    return reshaped(reading, replace(x, folded=0), shape, None)
