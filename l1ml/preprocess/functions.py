# SPDX-License-Identifier: Apache-2.0
"""NumPy's other functions, and the methods of arrays, on traced arrays."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from l1ml.errors import ModelError
from l1ml.graph.model import ArgMax, Concat, Reduce, TopK
from l1ml.preprocess.traced import Traced, combine, constant_of
from l1ml.preprocess.ufuncs import matmul


def call_function(function: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    """Apply a function of NumPy that is no universal function."""
    handler = FUNCTIONS.get(function)
    if handler is None:
        raise ModelError(
            f"np.{getattr(function, '__name__', function)} cannot be traced",
            fix="the functions that can are listed in docs/preprocess.md",
        )
    return handler(*args, **kwargs)


# ---- reductions


def _axes(x: Traced, axis: Any) -> tuple[int, ...]:
    if axis is None:
        raise ModelError("a reduction over all axes mixes events", fix="give the axis: axis=1 or axis=-1")
    axes = tuple(int(a) % x.ndim for a in (axis if isinstance(axis, tuple | list) else (axis,)))
    if 0 in axes or len(set(axes)) < len(axes):
        raise ModelError("a reduction over the event axis", fix="give another axis: axis=1 or axis=-1")
    return tuple(a - 1 for a in axes)


def _reduction(kind: str, *, boolean: bool = False) -> Callable[..., Traced]:
    def reduce(
        x: Traced, axis: Any = None, dtype: Any = None, out: Any = None, keepdims: bool = False
    ) -> Traced:
        if out is not None:
            raise ModelError("an array is changed in place")
        axes = _axes(x, axis)
        source = (x.truth() if boolean else x).exact()
        made = x.recorder.append(kind, lambda n, r: Reduce(n, r, kind, axes, bool(keepdims)), source)
        return Traced(x.recorder, made, boolean=boolean or (x.boolean and kind != "sum"))

    return reduce


_sum, _max, _min = _reduction("sum"), _reduction("max"), _reduction("min")
_any, _all = _reduction("max", boolean=True), _reduction("min", boolean=True)


def _mean(x: Traced, axis: Any = None, dtype: Any = None, out: Any = None, keepdims: bool = False) -> Traced:
    count = math.prod(x.event_shape[a] for a in _axes(x, axis))
    return combine("divide", np.divide, _sum(x, axis=axis, out=out, keepdims=keepdims), float(count))


def _argmax(x: Traced, axis: Any = None, out: Any = None, *, keepdims: bool = False) -> Traced:
    return _position(x, axis, out, keepdims, smallest=False)


def _argmin(x: Traced, axis: Any = None, out: Any = None, *, keepdims: bool = False) -> Traced:
    return _position(x, axis, out, keepdims, smallest=True)


def _position(x: Traced, axis: Any, out: Any, keepdims: bool, *, smallest: bool) -> Traced:
    if out is not None:
        raise ModelError("an array is changed in place")
    (which,) = _axes(x, axis)
    made = x.recorder.append("argmax", lambda n, r: ArgMax(n, r, which, keepdims, smallest), x.exact())
    return Traced(x.recorder, made)


def _sort(x: Traced, axis: Any = -1, kind: Any = None, **_: Any) -> Traced:
    (which,) = _axes(x, axis)
    last = x.moved(lambda a: np.moveaxis(a, which + 1, -1))
    size = last.shape[-1]
    made = Traced(x.recorder, x.recorder.append("sort", lambda n, r: TopK(n, r, size), last.exact()))
    return made.moved(lambda a: np.moveaxis(a[..., ::-1], -1, which + 1))


# ---- joining


def _concatenate(arrays: Sequence[Any], axis: Any = 0, out: Any = None, **_: Any) -> Traced:
    traced = [a for a in arrays if isinstance(a, Traced)]
    ndim = traced[0].ndim
    where = int(axis) % ndim if axis is not None else 0
    if where == 0 or out is not None:
        raise ModelError("arrays are joined along the event axis", fix="give another axis: axis=1 or axis=-1")
    recorder = traced[0].recorder
    sources = [
        a.exact() if isinstance(a, Traced) else recorder.constant(_constant_part(a, ndim)) for a in arrays
    ]
    if len(sources) == 1:
        return traced[0]
    made = recorder.append("concat", lambda n, r: Concat(n, r, where - 1), *sources)
    return Traced(recorder, made, boolean=len(traced) == len(arrays) and all(a.boolean for a in traced))


def _constant_part(value: Any, ndim: int) -> Any:
    array = np.asarray(value)
    if array.ndim != ndim:
        raise ModelError(f"a constant of {array.ndim} axes is joined to arrays of {ndim}, events first")
    return constant_of(array, array.shape[1:])


def _stack(arrays: Sequence[Any], axis: int = 0, **kwargs: Any) -> Traced:
    return _concatenate([np.expand_dims(a, axis) for a in arrays], axis, **kwargs)


def _hstack(arrays: Sequence[Any], **kwargs: Any) -> Traced:
    return _concatenate(arrays, 1, **kwargs)


def _column_stack(arrays: Sequence[Any]) -> Traced:
    return _concatenate([a[:, None] if np.ndim(a) == 1 else a for a in arrays], 1)


def _pad(x: Traced, pad_width: Any, mode: str = "constant", constant_values: Any = 0, **_: Any) -> Traced:
    size = math.prod(x.event_shape)
    index = np.arange(size).reshape(1, *x.event_shape)
    pairs = np.broadcast_to(np.asarray(pad_width), (x.ndim, 2))
    if pairs[0].any():
        raise ModelError("the event axis is padded", fix="start with (0, 0): np.pad(x, ((0, 0), (1, 1)))")
    if mode != "constant":
        return x.taken(np.pad(index, pairs, mode=mode)[0])  # type: ignore[call-overload]
    if np.any(constant_values):
        raise ModelError("np.pad with other constants than 0", fix="use np.concatenate")
    return x.taken(np.pad(index, pairs, constant_values=-1)[0])


# ---- functions of elements


def _where(condition: Any, a: Any = None, b: Any = None) -> Traced:
    if a is None or b is None:
        raise ModelError("np.where with a condition only gives positions, of which there is no fixed number")
    if isinstance(condition, Traced):
        condition = condition.truth()
    return combine("where", np.where, condition, a, b)


def _clip(x: Any, a_min: Any = None, a_max: Any = None, out: Any = None, **kwargs: Any) -> Traced:
    a_min, a_max = kwargs.pop("min", a_min), kwargs.pop("max", a_max)
    if out is not None or kwargs:
        raise ModelError(f"np.clip with {sorted(kwargs) or 'out'} cannot be traced")
    if a_min is not None:
        x = combine("maximum", np.maximum, x, a_min)
    if a_max is not None:
        x = combine("minimum", np.minimum, x, a_max)
    return x.cut() if x.node.exact else x


def _round(x: Traced, decimals: int = 0, out: Any = None) -> Traced:
    if out is not None or decimals:
        raise ModelError(
            "np.round to decimal places", fix="quantize to bits: l1ml.quantize(x, 'fixed<W,I,RND_CONV,SAT>')"
        )
    return x.exact_unary("rint", np.rint)


def lookup(table: Any, index: Any) -> Any:
    """Return ``table[index]``, also for an index that is being traced.

    Args:
        table: (n,) constants.
        index: whole numbers from 0 to n - 1; where an index in hardware can lie outside, clip it first.

    Raises:
        ModelError: the table has several axes, or a traced index can lie outside of it.
    """
    entries = np.asarray(table, dtype=np.float64)
    if entries.ndim != 1 or not len(entries):
        raise ModelError("a table of several axes", fix="look up one column at a time")
    if not isinstance(index, Traced):
        return entries[np.asarray(index).astype(np.int64)]

    def read(x: Any) -> Any:
        at = np.asarray(x)
        inside = (at >= 0) & (at < len(entries)) & (at == np.rint(at))
        return np.where(inside, entries[np.where(inside, at, 0).astype(np.int64)], np.nan)

    return combine("lookup", read, index, exact=False)


def _take(x: Traced, index: Any, axis: Any = None, out: Any = None, mode: str = "raise") -> Traced:
    if isinstance(index, Traced):
        raise ModelError("elements are taken at traced positions", fix="compare positions and use np.where")
    return x.moved(lambda a: np.take(a, index, axis=axis, mode=mode))  # type: ignore[call-overload]


def _interp(x: Traced, xp: Any, fp: Any, left: Any = None, right: Any = None, period: Any = None) -> Traced:
    return combine("interp", lambda v: np.interp(v, xp, fp, left, right, period), x, exact=False)


def _searchsorted(edges: Any, x: Any, side: str = "left", sorter: Any = None) -> Traced:
    fixed = np.asarray(edges)

    def search(v: Any) -> Any:
        return np.searchsorted(fixed, v, side=side, sorter=sorter)  # type: ignore[call-overload]

    return combine("searchsorted", search, x, exact=False)


def _digitize(x: Any, bins: Any, right: bool = False) -> Traced:
    return combine("digitize", lambda v: np.digitize(v, bins, right), x, exact=False)


def _nan_to_num(x: Traced, *_: Any, **__: Any) -> Traced:
    return x if x.node.exact else combine("nan_to_num", np.nan_to_num, x, exact=False)


def _filled(value: float | None) -> Callable[..., Any]:
    def like(x: Traced, fill: Any = None, *, dtype: Any = None, **_: Any) -> Any:
        return np.full(x.shape, fill if value is None else value, dtype=dtype or np.float64)

    return like


def _mover(function: Callable[..., Any]) -> Callable[..., Any]:
    def move(x: Traced, *args: Any, **kwargs: Any) -> Traced:
        return x.moved(lambda a: function(a, *args, **kwargs))

    return move


def _reshape(x: Traced, *shape: Any, **kwargs: Any) -> Traced:
    return x.moved(lambda a: a.reshape(*shape, **kwargs))


def _transpose(x: Traced, *axes: Any) -> Traced:
    return x.moved(lambda a: a.transpose(*axes))


def _split(function: Callable[..., Any]) -> Callable[..., Any]:
    def split(x: Traced, sections: Any, axis: int = 0) -> list[Traced]:
        count = len(function(np.empty(x.shape), sections, axis))

        def part(number: int) -> Callable[[Any], Any]:
            return lambda a: function(a, sections, axis)[number]

        return [x.moved(part(number)) for number in range(count)]

    return split


FUNCTIONS: dict[Any, Callable[..., Any]] = {
    np.sum: _sum, np.max: _max, np.amax: _max, np.min: _min, np.amin: _min, np.mean: _mean, np.any: _any,
    np.all: _all, np.argmax: _argmax, np.argmin: _argmin, np.sort: _sort, np.concatenate: _concatenate,
    np.stack: _stack, np.hstack: _hstack, np.column_stack: _column_stack, np.pad: _pad, np.where: _where,
    np.clip: _clip, np.round: _round, np.around: _round, np.take: _take, np.interp: _interp,
    np.searchsorted: _searchsorted, np.digitize: _digitize, np.nan_to_num: _nan_to_num, np.dot: matmul,
    np.zeros_like: _filled(0.0), np.ones_like: _filled(1.0), np.full_like: _filled(None),
    np.split: _split(np.split), np.array_split: _split(np.array_split), np.shape: lambda x: x.shape,
    np.ndim: lambda x: x.ndim, np.size: lambda x: x.size, np.copy: lambda x, **_: x,
} | {
    function: _mover(function)
    for function in (np.reshape, np.transpose, np.squeeze, np.expand_dims, np.swapaxes, np.moveaxis, np.flip,
                     np.roll, np.repeat, np.tile, np.broadcast_to, np.ravel, np.fliplr, np.delete)
}  # fmt: skip
METHODS: dict[str, Callable[..., Any]] = {
    "sum": _sum, "max": _max, "min": _min, "mean": _mean, "any": _any, "all": _all, "argmax": _argmax,
    "argmin": _argmin, "clip": _clip, "round": _round, "reshape": _reshape, "transpose": _transpose,
    "dot": matmul, "copy": lambda x: x, "squeeze": _mover(np.squeeze), "swapaxes": _mover(np.swapaxes),
    "repeat": _mover(np.repeat),
    "ravel": _mover(np.ravel), "flatten": _mover(np.ravel), "take": _take,
}  # fmt: skip
