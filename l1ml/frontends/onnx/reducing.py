# SPDX-License-Identifier: Apache-2.0
"""Operators that reduce axes or decide among elements: Reduce*, ArgMax, TopK, Softmax, LayerNormalization."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from l1ml.errors import ModelError
from l1ml.frontends.common import UnsupportedError, spreads
from l1ml.frontends.normalization import batch_norm as scale_and_offset
from l1ml.frontends.onnx import layout
from l1ml.frontends.onnx.operator import Operator, Result
from l1ml.frontends.onnx.tensors import Data
from l1ml.graph import model
from l1ml.graph.functions import Function, Scale
from l1ml.graph.named import Named

MAX_RANKED = 256
"""A TopK compares every element with every other."""


def reduction(kind: str, before: str = "", after: str = "") -> Callable[[Operator], Result]:
    """Return the reader of ReduceSum and its like.

    Args:
        kind: ``sum``, ``mean``, ``max`` or ``min``.
        before: what is done with every element: nothing, ``abs`` or ``square``.
        after: what is done with the result: nothing, or the name of a function.
    """
    since = {"sum": 13}.get(kind, 18) if not before and not after else 18

    def read(op: Operator) -> Result:
        x = op.data()
        axes = op.axes("axes", 1, since)
        keep = op.options.flag("keepdims", True)
        if op.options.flag("noop_with_empty_axes", False) and not axes:
            return x
        if before == "square":
            x = op.layer(model.Merge(f"{op.name}.square", (x.layer, x.layer), "mul"), x)
        elif before:
            x = op.layer(model.Map(f"{op.name}.{before}", (x.layer,), (Named(before),), before), x)
        name = f"{op.name}.{kind}" if after else op.name
        y = reduced(op, name, x, kind, axes, keep=keep)
        return op.map(y, [Named(after)], after) if after else y

    return read


def reduced(op: Operator, name: str, x: Data, kind: str, axes: list[int] | None, *, keep: bool) -> Data:
    """Add a reduction over axes of ONNX, None for all of them."""
    wanted = axes or list(range(x.rank))
    places = [x.axis(axis) for axis in wanted]
    if None in places:
        if op.reading.batch != 1:
            raise UnsupportedError("reduces the batch axis")
        x = layout.without_batch(op.reading, x)
        return reduced(op, name, x, kind, axes, keep=keep)
    events = sorted({place for place in places if place is not None})
    if x.folded and min(events) < x.folded:
        raise UnsupportedError("reads a tensor whose batch axis is mixed with another axis")
    layer = model.Reduce(name, (x.layer,), kind, tuple(sorted(x.order[k] for k in events)), keep)
    if keep:
        shape = tuple(1 if k in events else n for k, n in enumerate(x.shape))
        return op.layer(layer, replace(x, shape=shape))
    gone = sum(axis % x.rank < x.batch for axis in set(wanted)) if x.batch is not None else 0
    kept = tuple(n for k, n in enumerate(x.shape) if k not in events)
    batch = None if x.batch is None else x.batch - gone
    return op.layer(layer, replace(x, shape=kept, order=x.without(*events), batch=batch))


def arg(*, smallest: bool) -> Callable[[Operator], Result]:
    """Return the reader of ArgMax or ArgMin."""

    def read(op: Operator) -> Result:
        op.options.only("select_last_index", 0)
        x, axis = op.data(), op.options.integer("axis", 0)
        place = x.axis(axis)
        if place is None or place < x.folded:
            raise UnsupportedError("compares the events of a batch")
        keep = op.options.flag("keepdims", True)
        layer = model.ArgMax(op.name, (x.layer,), x.order[place], keep, smallest)
        if keep:
            shape = tuple(1 if k == place else n for k, n in enumerate(x.shape))
            return op.layer(layer, replace(x, shape=shape), kind="int64")
        shape = tuple(n for k, n in enumerate(x.shape) if k != place)
        batch = None if x.batch is None else x.batch - (axis % x.rank < x.batch)
        return op.layer(layer, replace(x, shape=shape, order=x.without(place), batch=batch), kind="int64")

    return read


def top_k(op: Operator) -> tuple[Result, ...]:
    """Read TopK: values and indices, sorted."""
    x = op.data()
    k = op.options.integer("k") if op.opset < 10 else int(op.number(1))
    largest, ordered = op.options.flag("largest", True), op.options.flag("sorted", True)
    place = x.axis(op.options.integer("axis", -1))
    if place is None or place < x.folded:
        raise UnsupportedError("compares the events of a batch")
    n = x.shape[place]
    if not 1 <= k <= n or n > MAX_RANKED or not ordered:
        raise UnsupportedError(
            f"the {k} {'first' if ordered else 'unsorted'} of {n}; 1 to {MAX_RANKED} are ranked, sorted"
        )
    x = layout.arranged(op.reading, x, layout.last(x, place), "transposed")
    sign = [Scale(np.float32(-1))]
    source = x if largest else op.layer(model.Map(f"{op.name}.negative", (x.layer,), tuple(sign), "- x"), x)
    shape = tuple(k if axis == place else size for axis, size in enumerate(x.shape))
    name = op.name if largest else f"{op.name}.largest"
    values = op.layer(model.TopK(name, (source.layer,), k), replace(source, shape=shape))
    if not largest:
        values = op.map(values, list[Function](sign), "- x")
    if not op.wanted(1):
        return (values, values)
    layer = model.TopK(f"{op.name}.indices", (source.layer,), k, indices=True)
    return (values, op.layer(layer, replace(source, shape=shape), kind="int64"))


def softmax(op: Operator) -> Result:
    """Read Softmax; before version 13 it took all axes from ``axis`` on as one."""
    x = op.data()
    axis = op.options.integer("axis", -1 if op.opset >= 13 else 1)
    place = x.axis(axis)
    if place is None or place < x.folded:
        raise UnsupportedError("over the batch axis")
    axis %= x.rank
    after = x.rank - axis - 1
    if op.opset < 13 and after and any(n != 1 for n in x.shape[place + 1 :]):
        if x.batch is None or x.batch > axis:
            raise UnsupportedError("over the batch axis")
        flat = (*x.shape[:place], int(np.prod(x.shape[place:], dtype=np.int64)))
        y = layout.reshaped(op.reading, x, flat, x.batch, x.folded)
        y = op.layer(model.Softmax(f"{op.name}.flat", (y.layer,), -1), y)
        return layout.reshaped(op.reading, y, x.shape, x.batch, x.folded, op.name)
    return op.layer(model.Softmax(op.name, (x.layer,), x.order[place]), x)


def layer_norm(op: Operator) -> Result:
    """Read LayerNormalization."""
    op.options.only("stash_type", 1)
    x, axis = layout.plain(op.reading, op.data()), op.options.integer("axis", -1)
    place = x.axis(axis)
    if place is None or place < x.folded or (x.batch is not None and x.batch > axis % x.rank):
        raise UnsupportedError("over the batch axis")
    if op.wanted(1) or op.wanted(2):
        raise UnsupportedError("its mean and deviation as results")
    count, epsilon = len(x.shape) - place, op.options.real("epsilon", 1e-5)
    if epsilon < 0:
        raise op.options.wrong("epsilon", "a number of at least 0")
    gamma, beta = (_inner(x, op.reals(k), count) if op.has(k) else None for k in (1, 2))
    exact = all(op.constant(k).quantizer is not None for k in (1, 2) if op.has(k))
    return op.layer(model.LayerNorm(op.name, (x.layer,), count, gamma, beta, epsilon, exact=exact), x)


def _inner(x: Data, values: np.ndarray, count: int) -> np.ndarray:
    inner = x.shape[len(x.shape) - count :]
    while values.ndim > count and values.shape[0] == 1:
        values = values[0]
    if not spreads(values.shape, inner):
        raise UnsupportedError(f"a constant of shape {values.shape} for normalized axes {inner}")
    return np.asarray(values)


def batch_norm(op: Operator) -> Result:
    """Read BatchNormalization, channels first."""
    return _batch_norm(op, first=True)


def batch_norm_channels_last(op: Operator) -> Result:
    """Read QONNX's BatchNormalization, channels last."""
    return _batch_norm(op, first=False)


def _batch_norm(op: Operator, *, first: bool) -> Result:
    op.options.ignore("momentum", "is_test", "consumed_inputs")
    outputs = [k for k in range(1, len(op.node.outputs)) if op.wanted(k)]
    if op.options.flag("training_mode", False) or outputs:
        raise UnsupportedError("in training mode")
    x = op.data()
    if not op.options.flag("spatial", True) and x.rank > 2:
        raise UnsupportedError("with statistics per position (spatial=0)")
    epsilon = op.options.real("epsilon", 1e-5)
    if epsilon < 0:
        raise op.options.wrong("epsilon", "a number of at least 0")
    place = x.axis(1 if first else -1)
    gamma, beta, mean, variance = (op.reals(k).astype(np.float32) for k in (1, 2, 3, 4))
    try:
        scale, offset = scale_and_offset(mean, variance, gamma, beta, epsilon)
    except ValueError as error:
        raise ModelError(str(error)) from None
    if place is None or place < x.folded or scale.shape != (x.shape[place],):
        raise UnsupportedError(f"{scale.size} channels for data of shape {x.shape}")
    after = (1,) * (len(x.shape) - 1 - place) if first else ()
    shape = (scale.size, *after)
    (_, scale), (_, offset) = (layout.fitted(op.reading, x, a.reshape(shape)) for a in (scale, offset))
    return op.layer(model.Affine(op.name, (x.layer,), scale, offset), x)
