# SPDX-License-Identifier: Apache-2.0
"""Layers that move or join tensors."""

from __future__ import annotations

from collections.abc import Callable

from l1ml.frontends.canonical import Identity
from l1ml.frontends.common import UnsupportedError, reshaped
from l1ml.frontends.keras.conv import channels_last
from l1ml.frontends.keras.step import Step
from l1ml.graph import shapes
from l1ml.graph.model import Concat, Dot, Layer, Merge, Reshape


def flatten(step: Step) -> tuple[Layer, ...]:
    """Flatten."""
    if len(step.shape) > 1:
        channels_last(step)
    return _reshaped(step, [-1])


def reshape(step: Step) -> tuple[Layer, ...]:
    """Reshape."""
    target = step.options.integers("target_shape")
    if not target or len(target) > 8:
        raise step.options.wrong("target_shape", "a list of 1 to 8 sizes")
    return _reshaped(step, target)


def _reshaped(step: Step, target: list[int]) -> tuple[Layer, ...]:
    shape = reshaped(step.shape, target, step.owner, step.file.source)
    if shape == step.shape:
        return (Identity(step.name, (step.input,)),)
    return (Reshape(step.name, (step.input,), shape),)


def permute(step: Step) -> tuple[Layer, ...]:
    """Permute: axes count from 1."""
    dims = step.options.integers("dims") or []
    if sorted(dims) != list(range(1, len(step.shape) + 1)):
        raise step.options.wrong("dims", f"an order of 1 to {len(step.shape)}")
    return (shapes.permute(step.name, step.input, step.shape, [d - 1 for d in dims]),)


def repeat_vector(step: Step) -> tuple[Layer, ...]:
    """RepeatVector."""
    n = step.options.integer("n")
    if not 1 <= n <= 10_000:
        raise step.options.wrong("n", "a positive number")
    return (shapes.repeat(step.name, step.input, step.shape, n),)


def _pairs(step: Step, key: str, rank: int) -> list[tuple[int, int]]:
    raw = step.options.raw(key)
    raw = [raw] * rank if isinstance(raw, int) else raw
    if rank == 1 and isinstance(raw, list) and len(raw) == 2 and all(isinstance(n, int) for n in raw):
        raw = [raw]
    pairs = [(n, n) if isinstance(n, int) else tuple(n) for n in raw] if isinstance(raw, list) else []
    if len(pairs) != rank or any(len(p) != 2 or min(p) < 0 or max(p) > 10_000 for p in pairs):
        raise step.options.wrong(key, f"{rank} pairs of numbers")
    return [(int(a), int(b)) for a, b in pairs]


def zero_padding(rank: int) -> Callable[[Step], tuple[Layer, ...]]:
    """Return the reader of ZeroPadding1D or 2D."""

    def read(step: Step) -> tuple[Layer, ...]:
        channels_last(step)
        return (shapes.pad(step.name, step.input, step.shape, [*_pairs(step, "padding", rank), (0, 0)]),)

    return read


def cropping(rank: int) -> Callable[[Step], tuple[Layer, ...]]:
    """Return the reader of Cropping1D or 2D."""

    def read(step: Step) -> tuple[Layer, ...]:
        channels_last(step)
        pairs = _pairs(step, "cropping", rank)
        stops = [n - after for n, (_, after) in zip(step.shape, pairs, strict=False)]
        if any(stop <= before for stop, (before, _) in zip(stops, pairs, strict=True)):
            raise step.options.wrong("cropping", "less than the size of the data")
        starts = [before for before, _ in pairs]
        none = [None] * (rank + 1)
        return (shapes.slice_(step.name, step.input, step.shape, [*starts, None], [*stops, None], none),)

    return read


def upsampling(rank: int) -> Callable[[Step], tuple[Layer, ...]]:
    """Return the reader of UpSampling1D or 2D, nearest neighbour."""

    def read(step: Step) -> tuple[Layer, ...]:
        channels_last(step)
        if step.options.raw("interpolation", "nearest") != "nearest":
            raise UnsupportedError(
                f"interpolation {step.options.raw('interpolation')!r}; nearest is supported"
            )
        factors = step.options.integers("size") or [2]
        factors = factors * rank if len(factors) == 1 else factors
        if len(factors) != rank or not all(1 <= f <= 1000 for f in factors):
            raise step.options.wrong("size", f"{rank} positive numbers")
        return (shapes.upsample(step.name, step.input, step.shape, [*factors, 1]),)

    return read


def merge(kind: str) -> Callable[[Step], tuple[Layer, ...]]:
    """Return the reader of Add, Subtract, Multiply, Average, Maximum or Minimum."""

    def read(step: Step) -> tuple[Layer, ...]:
        if len(step.inputs) < 2 or (kind == "sub" and len(step.inputs) != 2):
            raise UnsupportedError(f"it reads {len(step.inputs)} tensors")
        return (Merge(step.name, step.inputs, kind),)

    return read


def concatenate(step: Step) -> tuple[Layer, ...]:
    """Concatenate along an axis other than the batch."""
    axis = step.options.integer("axis", -1)
    rank = len(step.shapes[0])
    if axis == 0 or not -rank <= axis <= rank:
        raise step.options.wrong("axis", "an axis of the data other than the batch")
    return (Concat(step.name, step.inputs, axis - 1 if axis > 0 else axis),)


def dot(step: Step) -> tuple[Layer, ...]:
    """Dot: a contraction over one axis each."""
    if step.options.flag("normalize", False):
        raise UnsupportedError("normalize=True")
    axes = step.options.integers("axes") or []
    axes = axes * 2 if len(axes) == 1 else axes
    if len(axes) != 2 or 0 in axes or len(step.inputs) != 2:
        raise step.options.wrong("axes", "one axis of each of two inputs, not the batch")
    first, second = (a - 1 if a > 0 else a for a in axes)
    return (Dot(step.name, step.inputs, (first, second)),)
