# SPDX-License-Identifier: Apache-2.0
"""Operators that move elements: Reshape, Transpose, Slice, Gather, Concat, Pad, Resize and their like."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from l1ml.frontends.common import UnsupportedError
from l1ml.frontends.onnx import layout
from l1ml.frontends.onnx.arrays import slices
from l1ml.frontends.onnx.constants import split_sizes
from l1ml.frontends.onnx.operator import Operator, Result
from l1ml.frontends.onnx.tensors import Constant, Data, Waiting
from l1ml.graph import model
from l1ml.types.arrays import IntArray


def identity(op: Operator) -> Result:
    """Read Identity."""
    return op.tensor(0)


def dropout(op: Operator) -> Result:
    """Read Dropout at inference: it does nothing."""
    op.options.ignore("ratio", "seed", "consumed_inputs")
    op.options.only("is_test", 1, 0)
    if op.has(2) and np.any(op.constant(2).values):
        raise UnsupportedError("in training mode")
    return op.tensor(0)


def shape(op: Operator) -> Result:
    """Read Shape of a tensor of the event: constants, the batch size left open."""
    tensor = op.tensor(0)
    x = tensor.x if isinstance(tensor, Waiting) else tensor
    if isinstance(x, Constant):
        raise UnsupportedError("of a constant that depends on the batch size")
    cut = slice(
        op.options.integer("start", 0), None if op.options.raw("end") is None else op.options.integer("end")
    )
    both = [np.asarray(x.dims(n)[cut], dtype=np.int64) for n in op.reading.batches()]
    other = None if len(both) == 1 or np.array_equal(both[0], both[-1]) else both[1]
    return Constant(both[0], "int64", other=other)


def size(op: Operator) -> Result:
    """Read Size of a tensor of the event."""
    both = [np.asarray(math.prod(op.data().dims(n)), dtype=np.int64) for n in op.reading.batches()]
    return Constant(both[0], "int64", other=None if len(both) == 1 else both[1])


def reshape(op: Operator) -> Result:
    """Read Reshape, its sizes known at import, the batch size open or baked in."""
    x = op.raw()
    given = op.options.integers("shape")
    targets = [given] * len(op.reading.batches()) if given is not None else op.sizes(1)
    keep = not op.options.flag("allowzero", False)
    made = [_target(x, target, n, keep=keep) for target, n in zip(targets, op.reading.batches(), strict=True)]
    if any(one != made[0] for one in made):
        raise UnsupportedError("to a shape that depends on the batch size")
    return layout.reshaped(op.reading, x, made[0][0], made[0][1], made[0][2], op.name)


def flatten(op: Operator) -> Result:
    """Read Flatten: two axes, the batch in the first."""
    x, axis = op.raw(), op.options.integer("axis", 1)
    if not -x.rank <= axis <= x.rank:
        raise UnsupportedError(f"at axis {axis} of a tensor with {x.rank} axes")
    axis = axis + x.rank if axis < 0 else axis
    made = []
    for n in op.reading.batches():
        dims = x.dims(n)
        made.append(_target(x, [math.prod(dims[:axis]), math.prod(dims[axis:])], n, keep=False))
    if any(one != made[0] for one in made):
        raise UnsupportedError("of the batch axis")
    return layout.reshaped(op.reading, x, made[0][0], made[0][1], made[0][2], op.name)


def _target(
    x: Data, target: Sequence[int], batch: int, *, keep: bool
) -> tuple[tuple[int, ...], int | None, int]:
    """Return shape of the event, place of the batch axis and folded axes after a reshape.

    Args:
        x: the tensor.
        target: the new sizes, 0 for "as it is" if ``keep``, one -1 for the rest.
        batch: the batch size.
        keep: what 0 means.
    """
    dims = x.dims(batch)
    if not 1 <= len(target) <= 8:
        raise UnsupportedError("to a shape that is not a list of 1 to 8 sizes")
    sizes = [dims[k] if n == 0 and keep and k < len(dims) else n for k, n in enumerate(target)]
    rest = math.prod(n for n in sizes if n != -1)
    if (
        sizes.count(-1) > 1
        or min(sizes) < -1
        or rest < 1
        or (math.prod(dims) % rest if -1 in sizes else False)
    ):
        raise UnsupportedError(f"{_text(target, batch)} from {_text(dims, batch)}: the sizes do not fit")
    sizes = [math.prod(dims) // rest if n == -1 else n for n in sizes]
    if math.prod(sizes) != math.prod(dims):
        raise UnsupportedError(f"{_text(target, batch)} from {_text(dims, batch)}: the sizes do not fit")
    if x.batch is None or batch == 1:  # any axis of size 1 can be that of the batch
        same = x.batch is not None and x.batch < len(sizes) and sizes[x.batch] == 1
        place = 0 if sizes[0] == 1 and len(sizes) > 1 else x.batch if same else None
        return tuple(n for k, n in enumerate(sizes) if k != place), place, 0
    before = dims[: x.batch]
    place = x.batch
    if place == 0:  # axes of size 1 may come before it
        place = next((k for k, n in enumerate(sizes) if n != 1), 0)
        before = [1] * place
    if place >= len(sizes) or sizes[:place] != before or sizes[place] % batch:
        raise UnsupportedError(
            f"to {_text(target, batch)} from {_text(dims, batch)}: it moves values across the batch axis"
        )
    inside = sizes[place] // batch
    if inside > 1 and place:
        raise UnsupportedError("to a shape that mixes the batch with an axis that is not the first")
    folded = (inside,) if inside > 1 else ()
    return (*before, *folded, *sizes[place + 1 :]), place, len(folded)


def _text(sizes: Sequence[int], batch: int) -> str:
    """Return sizes for a message, the free batch size as N."""
    free = batch > 1 << 24
    parts = [
        "N" if free and n == batch else f"{n // batch}N" if free and n and n % batch == 0 else str(n)
        for n in sizes
    ]
    return f"[{', '.join(parts)}]"


def transpose(op: Operator) -> Result:
    """Read Transpose: a new view, no layer."""
    x = op.raw()
    return layout.turned(x, op.options.integers("perm") or list(range(x.rank))[::-1])


def squeeze(op: Operator) -> Result:
    """Read Squeeze."""
    x = op.raw()
    dims = x.dims(op.reading.batches()[0])
    axes = op.axes("axes", 1, 13)
    if axes is None:
        axes = [k for k, n in enumerate(dims) if n == 1]
    axes = [axis % x.rank if -x.rank <= axis < x.rank else axis for axis in axes]
    if any(not 0 <= axis < x.rank or dims[axis] != 1 for axis in axes):
        raise UnsupportedError(
            f"removes axes {axes[:8]} of a tensor of shape {_text(dims, op.reading.batches()[0])}"
        )
    gone = {x.axis(axis) for axis in axes}
    batch = x.batch
    if batch is not None:
        batch = None if batch in axes else batch - sum(axis < batch for axis in axes)
    kept = tuple(n for k, n in enumerate(x.shape) if k not in gone)
    return layout.reshaped(op.reading, x, kept, batch, x.folded, op.name)


def unsqueeze(op: Operator) -> Result:
    """Read Unsqueeze."""
    return layout.with_axes(op.reading, op.raw(), op.axes("axes", 1, 13) or [])


def gather(op: Operator) -> Result:
    """Read Gather: constant positions of an axis, or rows of a constant table."""
    if op.is_constant(0):
        return _embedding(op)
    x, axis = op.raw(), op.options.integer("axis", 0)
    indices = op.constant(1).values.astype(np.int64)
    place = x.axis(axis)
    axis %= x.rank
    if place is None:
        if op.reading.batch == 1 and indices.ndim == 0 and int(indices) in (0, -1):
            return replace(x, batch=None, folded=0)
        raise UnsupportedError("picks events of a batch")
    layout.check_size((*x.shape[:place], *indices.shape, *x.shape[place + 1 :]))
    batch = x.batch
    if batch is not None and batch > axis:
        batch += indices.ndim - 1
    return layout.moved(
        op.reading, op.name, x, lambda a: np.take(a, indices, axis=axis), "Gather", batch=batch
    )


def _embedding(op: Operator) -> Data:
    table, x = op.constant(0), op.data(1)
    op.options.only("axis", 0)
    if table.values.ndim != 2 or not x.whole:
        raise UnsupportedError(f"rows of a constant of shape {table.values.shape} by {x.kind}")
    x = layout.plain(op.reading, x)
    shape = (*x.shape, table.values.shape[1])
    layout.check_size(shape)
    values = table.values.astype(np.float64)
    layer = op.reading.add(model.Embedding(op.name, (x.layer,), values, exact=table.quantizer is not None))
    return replace(Data.plain(layer, shape, batch=x.batch), folded=x.folded)


def slice_(op: Operator) -> Result:
    """Read Slice."""
    x = op.raw()
    arrays = [op.constant(k).values for k in range(1, op.count)] if op.opset >= 10 else []
    cut = list(slices(op, arrays, x.rank))
    batch = op.reading.batches()[0]
    if x.batch is not None:
        first, last, step = cut[x.batch].indices(batch)
        if (first, last, step) != (0, batch, 1) and not (
            cut[x.batch].start in (0, None) and (cut[x.batch].stop or batch) >= 1 << 24
        ):
            raise UnsupportedError("cuts the batch axis")
        cut[x.batch] = slice(None)
    return layout.moved(op.reading, op.name, x, lambda a: a[tuple(cut)], "Slice")


def split(op: Operator) -> tuple[Result, ...]:
    """Read Split: one layer per part."""
    x, axis = op.raw(), op.options.integer("axis", 0)
    place = x.axis(axis)
    if place is None:
        raise UnsupportedError("cuts the batch axis")
    axis %= x.rank
    sizes = split_sizes(op, x.shape[place])
    ends = np.cumsum([0, *sizes])
    return tuple(
        layout.moved(op.reading, f"{op.name}.{k}", x, _part(axis, int(ends[k]), int(ends[k + 1])), "Split")
        for k in range(len(sizes))
    )


def _part(axis: int, first: int, last: int) -> layout.Move:
    return lambda a: a.take(np.arange(first, last), axis=axis)


def concat(op: Operator) -> Result:
    """Read Concat, of tensors and constants."""
    given = [op.constant(k) if op.is_constant(k) else op.data(k) for k in range(op.count)]
    like = next(x for x in given if isinstance(x, Data))
    tensors = [
        x if isinstance(x, Data) else layout.constant_layer(op.reading, op.name, x.values, like)
        for x in given
    ]
    tensors = layout.together(op.reading, *tensors)
    first = tensors[0]
    axis = first.axis(op.options.integer("axis", 1))
    if axis is None:
        raise UnsupportedError("joins events of a batch")
    rest = {(*x.shape[:axis], *x.shape[axis + 1 :]) for x in tensors}
    if len(rest) > 1:
        raise UnsupportedError(f"joins shapes {' and '.join(str(x.shape) for x in tensors)[:200]}")
    total = sum(x.shape[axis] for x in tensors)
    shape = (*first.shape[:axis], total, *first.shape[axis + 1 :])
    layout.check_size(shape)
    if len(tensors) == 1:
        return first
    layer = model.Concat(op.name, tuple(x.layer for x in tensors), first.order[axis])
    return op.layer(layer, replace(first, shape=shape), kind=like.kind)


def expand(op: Operator) -> Result:
    """Read Expand of a tensor of the event."""
    x, n = op.raw(), op.reading.batches()[0]
    sizes = op.sizes(1)[0]
    if len(sizes) > x.rank:
        x = layout.with_axes(op.reading, x, range(len(sizes) - x.rank))
    wanted = np.broadcast_shapes(tuple(x.dims(n)), (1,) * (x.rank - len(sizes)) + tuple(sizes))
    if x.batch is not None and wanted[x.batch] != x.dims(n)[x.batch]:
        raise UnsupportedError("repeats events")
    place = x.batch
    event = tuple(m for k, m in enumerate(wanted) if k != place)
    return layout.expanded(op.reading, x, (*x.shape[: x.folded], *event))


def tile(op: Operator) -> Result:
    """Read Tile."""
    x, times = op.raw(), op.integers(1)
    if len(times) != x.rank or (x.batch is not None and times[x.batch] != 1):
        raise UnsupportedError(f"repeats {times[:8]} times, the batch axis among them")
    layout.check_size([n * t for n, t in zip(x.dims(1), times, strict=True)])
    return layout.moved(op.reading, op.name, x, lambda a: np.tile(a, times), "Tile")


def pad(op: Operator) -> Result:
    """Read Pad: with a constant, or with what is at the edge."""
    x = op.data()
    mode = op.options.text("mode", "constant", "constant", "edge", "reflect", "wrap")
    if op.opset < 11:
        pads = op.options.integers("pads") or op.options.integers("paddings") or []
        value = op.options.real("value", 0.0)
    else:
        pads, value = op.integers(1), op.number(2, 0.0)
    axes = [a % x.rank for a in op.integers(3)] if op.has(3) else list(range(x.rank))
    n = len(axes)
    if len(pads) != 2 * n or min(pads, default=0) < -(1 << 24) or len(set(axes)) != n:
        raise UnsupportedError(f"pads {pads[:12]} for data with {x.rank} axes")
    pairs = [(0, 0)] * x.rank
    for k, axis in enumerate(axes):
        pairs[axis] = (pads[k], pads[n + k])
    if x.batch is not None and any(pairs[x.batch]):
        raise UnsupportedError("pads the batch axis")
    cut = tuple(slice(max(0, -b), size - max(0, -a)) for (b, a), size in zip(pairs, x.dims(1), strict=True))
    grown = [(max(0, b), max(0, a)) for b, a in pairs]
    layout.check_size([size + b + a for size, (b, a) in zip(x.dims(1), pairs, strict=True)])
    if mode != "constant":
        return layout.moved(op.reading, op.name, x, lambda a: np.pad(a[cut], grown, mode=mode), "Pad")  # type: ignore[call-overload]
    if value == 0:
        return layout.moved(
            op.reading, op.name, x, lambda a: np.pad(a[cut], grown, constant_values=-1), "ZeroPadding"
        )
    return _padded(op, x, cut, grown, value)


def _padded(
    op: Operator, x: Data, cut: tuple[slice, ...], grown: list[tuple[int, int]], value: float
) -> Data:
    """Join constants before and after every axis."""
    x = layout.moved(op.reading, f"{op.name}.cut", x, lambda a: a[cut], "Slice")
    for axis, pair in enumerate(grown):
        place = x.axis(axis)
        if place is None or not any(pair):
            continue
        parts = []
        for count in pair:
            sizes = (*x.shape[:place], count, *x.shape[place + 1 :])
            inside = replace(x, shape=sizes).inside
            parts.append(model.Constant(f"{op.name}.constant", (), np.full(inside, value)) if count else None)
        names = [None if part is None else op.reading.add(part) for part in parts]
        inputs = tuple(name for name in (names[0], x.layer, names[1]) if name)
        total = (*x.shape[:place], x.shape[place] + sum(pair), *x.shape[place + 1 :])
        x = op.layer(model.Concat(op.name, inputs, x.order[place]), replace(x, shape=total))
    return x


def depth_to_space(op: Operator) -> Result:
    """Read DepthToSpace: blocks of channels become positions."""
    block = op.options.integer("blocksize")
    mode = op.options.text("mode", "DCR", "DCR", "CRD")

    def move(a: IntArray) -> IntArray:
        n, c, h, w = a.shape
        if mode == "DCR":
            parts = a.reshape(n, block, block, c // block**2, h, w).transpose(0, 3, 4, 1, 5, 2)
        else:
            parts = a.reshape(n, c // block**2, block, block, h, w).transpose(0, 1, 4, 2, 5, 3)
        return np.asarray(parts.reshape(n, c // block**2, h * block, w * block))

    return _images(op, move)


def space_to_depth(op: Operator) -> Result:
    """Read SpaceToDepth: blocks of positions become channels."""
    block = op.options.integer("blocksize")

    def move(a: IntArray) -> IntArray:
        n, c, h, w = a.shape
        parts = a.reshape(n, c, h // block, block, w // block, block).transpose(0, 3, 5, 1, 2, 4)
        return np.asarray(parts.reshape(n, c * block**2, h // block, w // block))

    return _images(op, move)


def _images(op: Operator, move: layout.Move) -> Data:
    x = layout.batch_first(op.reading, op.raw())
    if len(x.shape) != 3:
        raise UnsupportedError(f"data of shape {x.shape}; (channels, height, width) is expected")
    return layout.moved(op.reading, op.name, x, move, op.node.kind)
