# SPDX-License-Identifier: Apache-2.0
"""What operators do with arrays known at import, one function each; `MOVES` and `COMPUTED` name them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from l1ml.frontends.common import MAX_ELEMENTS, UnsupportedError
from l1ml.frontends.onnx.operator import Operator

Arrays = Sequence[np.ndarray]
Fold = Callable[[Operator, Arrays], np.ndarray]


def bounded(shape: Sequence[int]) -> None:
    """Refuse constants of unreasonable size before they are made."""
    if any(n < 0 for n in shape) or math.prod(shape) > MAX_ELEMENTS or len(shape) > 16:
        raise UnsupportedError(
            f"makes a constant of shape {tuple(shape)[:8]}; {MAX_ELEMENTS} elements are read"
        )


def _list(values: np.ndarray) -> list[int]:
    if values.ndim > 1 or values.size > 64:
        raise UnsupportedError("has a list that is no list of sizes")
    return [int(n) for n in np.ravel(values)]


def gathered(op: Operator, arrays: Arrays) -> np.ndarray:
    """Return the elements that a Gather picks."""
    axis = op.options.integer("axis", 0)
    indices = np.asarray(arrays[1], dtype=np.int64)
    shape = arrays[0].shape
    bounded((*shape[:axis], *indices.shape, *shape[axis:][1:]))
    return np.take(arrays[0], indices, axis=axis)


def slices(op: Operator, arrays: Arrays, rank: int) -> tuple[slice, ...]:
    """Return what a Slice cuts out, one Python slice per axis; its lists are ``arrays``, or attributes."""
    if op.opset < 10:
        given = [op.options.integers(key) for key in ("starts", "ends", "axes")]
    else:
        given = [_list(a) for a in arrays[:3]]
    starts, ends = given[0] or [], given[1] or []
    axes = given[2] if len(given) > 2 and given[2] is not None else list(range(len(starts)))
    steps = _list(arrays[3]) if op.opset >= 10 and len(arrays) > 3 else [1] * len(starts)
    if not len(starts) == len(ends) == len(axes) == len(steps) or 0 in steps:
        raise UnsupportedError("has lists of starts, ends, axes and steps that do not fit each other")
    cut = [slice(None)] * rank
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        if not -rank <= axis < rank:
            raise UnsupportedError(f"works along axis {axis} of a tensor with {rank} axes")
        # A stop before the first element has no number in Python: -1 would be the last element.
        stop = None if step < 0 and end < -(1 << 24) else end
        cut[axis] = slice(start, stop, step)
    return tuple(cut)


def _sliced(op: Operator, arrays: Arrays) -> np.ndarray:
    return np.asarray(arrays[0][slices(op, arrays[1:], arrays[0].ndim)])


def _squeezed(op: Operator, arrays: Arrays) -> np.ndarray:
    axes = op.options.integers("axes") if op.opset < 13 else _list(arrays[1]) if len(arrays) > 1 else None
    return np.squeeze(arrays[0], None if axes is None else tuple(axes))


def _unsqueezed(op: Operator, arrays: Arrays) -> np.ndarray:
    axes = (op.options.integers("axes") if op.opset < 13 else _list(arrays[1])) or []
    return np.expand_dims(arrays[0], tuple(axes))


def _reshaped(op: Operator, arrays: Arrays) -> np.ndarray:
    target = _list(arrays[1]) if len(arrays) > 1 else op.options.integers("shape") or []
    keep = not op.options.flag("allowzero", False)
    shape = arrays[0].shape
    sizes = [shape[k] if n == 0 and keep and k < len(shape) else n for k, n in enumerate(target)]
    return arrays[0].reshape(sizes)


def _flattened(op: Operator, arrays: Arrays) -> np.ndarray:
    axis = op.options.integer("axis", 1)
    return arrays[0].reshape(math.prod(arrays[0].shape[:axis]), -1)


def _transposed(op: Operator, arrays: Arrays) -> np.ndarray:
    order = op.options.integers("perm") or list(range(arrays[0].ndim))[::-1]
    if sorted(order) != list(range(arrays[0].ndim)):
        raise op.options.wrong("perm", f"an order of {arrays[0].ndim} axes")
    return np.asarray(arrays[0].transpose(order))


def _concatenated(op: Operator, arrays: Arrays) -> np.ndarray:
    return np.concatenate(arrays, axis=op.options.integer("axis", 1))


def _expanded(op: Operator, arrays: Arrays) -> np.ndarray:
    shape = np.broadcast_shapes(arrays[0].shape, tuple(_list(arrays[1])))
    bounded(shape)
    return np.broadcast_to(arrays[0], shape)


def _tiled(op: Operator, arrays: Arrays) -> np.ndarray:
    times = _list(arrays[1])
    bounded([n * t for n, t in zip(arrays[0].shape, times, strict=True)])
    return np.tile(arrays[0], times)


def _ranged(op: Operator, arrays: Arrays) -> np.ndarray:
    start, stop, step = (a.reshape(()).item() for a in arrays)
    count = max(0, math.ceil((stop - start) / step))
    bounded((count,))
    return np.asarray(start + np.arange(count) * step, dtype=arrays[0].dtype)


def _filled(op: Operator, arrays: Arrays) -> np.ndarray:
    shape = _list(arrays[0])
    bounded(shape)
    given = op.options.raw("value")
    value = np.zeros(1, np.float32) if given is None else np.asarray(given).reshape(-1)[:1]
    return np.broadcast_to(value, shape)


def _shape_of(op: Operator, arrays: Arrays) -> np.ndarray:
    cut = slice(op.options.integer("start", 0), op.options.raw("end"))
    return np.asarray(arrays[0].shape[cut], dtype=np.int64)


def _binary(function: Callable[..., np.ndarray]) -> Fold:
    def run(op: Operator, arrays: Arrays) -> np.ndarray:
        op.options.ignore("axis", "broadcast", "consumed_inputs")
        bounded(np.broadcast_shapes(*(a.shape for a in arrays)))
        total = arrays[0]
        for other in arrays[1:]:
            total = function(total, other)
        return np.asarray(total)

    return run


def _same_type(function: Callable[..., np.ndarray]) -> Fold:
    wide = _binary(function)
    return lambda op, arrays: wide(op, arrays).astype(arrays[0].dtype)


def _divide(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    if a.dtype.kind in "iu":
        return np.asarray(np.abs(a) // np.abs(b) * np.sign(a) * np.sign(b))
    return np.asarray(a / b)


def _remainder(op: Operator, arrays: Arrays) -> np.ndarray:
    bounded(np.broadcast_shapes(*(a.shape for a in arrays)))
    function = np.fmod if op.options.flag("fmod", False) else np.mod
    return np.asarray(function(arrays[0], arrays[1]))


def _mean(op: Operator, arrays: Arrays) -> np.ndarray:
    return np.asarray(_binary(np.add)(op, arrays) / arrays[0].dtype.type(len(arrays)))


def _chosen(op: Operator, arrays: Arrays) -> np.ndarray:
    bounded(np.broadcast_shapes(*(a.shape for a in arrays)))
    return np.where(*arrays)


def _unary(function: Callable[[np.ndarray], np.ndarray]) -> Fold:
    return lambda op, arrays: np.asarray(function(arrays[0]), dtype=arrays[0].dtype)


def _clipped(op: Operator, arrays: Arrays) -> np.ndarray:
    if op.opset < 11:
        return np.clip(arrays[0], op.options.real("min", -3.4e38), op.options.real("max", 3.4e38))
    lo, hi = (op.constant(k).values if op.has(k) else None for k in (1, 2))
    return np.asarray(np.clip(arrays[0], lo, hi))


def _reduced(function: Callable[..., np.ndarray]) -> Fold:
    def run(op: Operator, arrays: Arrays) -> np.ndarray:
        axes = op.options.integers("axes")
        axes = _list(arrays[1]) if axes is None and len(arrays) > 1 else axes
        if op.options.flag("noop_with_empty_axes", False) and not axes:
            return arrays[0]
        kept = op.options.flag("keepdims", True)
        return np.asarray(
            function(arrays[0], axis=tuple(axes) if axes else None, keepdims=kept, dtype=arrays[0].dtype)
        )

    return run


def _extreme(function: Callable[..., np.ndarray]) -> Fold:
    return _reduced(lambda a, axis, keepdims, dtype: function(a, axis=axis, keepdims=keepdims))


MOVES: dict[str, Fold] = {
    "Concat": _concatenated, "Expand": _expanded, "Flatten": _flattened, "Gather": gathered,
    "Identity": lambda op, arrays: arrays[0], "Reshape": _reshaped, "Slice": _sliced, "Squeeze": _squeezed,
    "Tile": _tiled, "Transpose": _transposed, "Unsqueeze": _unsqueezed,
}  # fmt: skip

TESTS = ("And", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Not", "Or", "Xor")

COMPUTED: dict[str, Fold] = {
    "Abs": _unary(np.abs), "Add": _same_type(np.add), "And": _binary(np.logical_and), "Ceil": _unary(np.ceil),
    "Clip": _clipped, "ConstantOfShape": _filled, "Div": _same_type(_divide), "Equal": _binary(np.equal),
    "Exp": _unary(np.exp), "Floor": _unary(np.floor), "Greater": _binary(np.greater),
    "GreaterOrEqual": _binary(np.greater_equal), "Less": _binary(np.less),
    "LessOrEqual": _binary(np.less_equal),
    "Log": _unary(np.log), "Max": _same_type(np.maximum), "Mean": _mean, "Min": _same_type(np.minimum),
    "Mod": _remainder, "Mul": _same_type(np.multiply), "Neg": _unary(np.negative),
    "Not": _unary(np.logical_not),
    "Or": _binary(np.logical_or), "Pow": _same_type(np.power), "Range": _ranged,
    "Reciprocal": _unary(np.reciprocal), "ReduceMax": _extreme(np.max), "ReduceMean": _reduced(np.mean),
    "ReduceMin": _extreme(np.min), "ReduceProd": _reduced(np.prod), "ReduceSum": _reduced(np.sum),
    "Relu": _unary(lambda a: np.maximum(a, 0)), "Round": _unary(np.rint), "Shape": _shape_of,
    "Sign": _unary(np.sign), "Size": lambda op, arrays: np.asarray(arrays[0].size, dtype=np.int64),
    "Sqrt": _unary(np.sqrt), "Sub": _same_type(np.subtract), "Sum": _same_type(np.add), "Where": _chosen,
    "Xor": _binary(np.logical_xor),
}  # fmt: skip
