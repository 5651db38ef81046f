# SPDX-License-Identifier: Apache-2.0
"""Which real functions have an exact integer form, and what may be known about chains of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any

import numpy as np

from l1ml.errors import L1mlError, ModelError
from l1ml.graph import functions, primitives
from l1ml.graph.functions import Function
from l1ml.graph.named import Named
from l1ml.graph.primitives import Primitive
from l1ml.graph.reals import on_grid, to_integers
from l1ml.graph.tensor import TensorType
from l1ml.graph.unary import FLOAT32_BITS
from l1ml.types.arrays import RealArray
from l1ml.types.fixed import Overflow, Rounding
from l1ml.types.grid import Grid

Chain = tuple[Function, ...]

PROBES = 64
"""Points between the ends of a range at which a function is looked at for its largest magnitude."""

FINE_BITS = 36
"""Bits of a real-valued tensor that no quantizer follows: 24 as in float32, and 12 for values far below the largest."""

SHORT_FACTOR = 6
"""A multiplication by a constant of so many bits is a few additions."""


def arrays(function: Function) -> list[np.ndarray]:
    """Return the array parameters of a function."""
    return functions.parameters(function)


def describe(function: Function) -> str:
    """Name a function for messages."""
    return function.name if isinstance(function, Named) else type(function).__name__


def offset(constant: RealArray) -> Function:
    """Return the float32 addition of a constant."""
    return functions.Offset(np.asarray(constant, dtype=np.float32))


def significant_bits(values: RealArray) -> int:
    """Return the most significant bits that any of the constants has on its own."""
    mantissa = np.frexp(np.asarray(values, dtype=np.float64)[np.asarray(values) != 0])[0]
    if not mantissa.size:
        return 0
    integer = np.abs(mantissa * 2.0**53).astype(np.int64)
    trailing = np.log2((integer & -integer).astype(np.float64)).astype(np.int64)
    return int((53 - trailing).max())


def _power_of_two(values: Any) -> bool:
    mantissa, _ = np.frexp(np.abs(np.asarray(values, dtype=np.float64)))
    return bool((mantissa == 0.5).all())


def free(function: Function, x: TensorType) -> list[Primitive] | None:
    """Return primitives that cost next to nothing and are exact for every input, or None."""
    if isinstance(function, functions.Relu):
        return [primitives.Relu()]
    if isinstance(function, functions.Scale) and _power_of_two(function.factor):
        return [primitives.MulConst(*to_integers(function.factor, "a scale"))]
    if isinstance(function, functions.Divide) and _power_of_two(function.divisor):
        return [
            primitives.MulConst(*to_integers(1.0 / np.asarray(function.divisor, np.float64), "a divisor"))
        ]
    if isinstance(function, functions.Offset) and significant_bits(function.offset) <= FLOAT32_BITS:
        if not on_grid(np.asarray(function.offset, np.float64)):
            return None
        op = primitives.AddConst(*to_integers(np.asarray(function.offset, np.float64), "an offset"))
        return [op] if op.infer(x).max_width <= FLOAT32_BITS else None
    return None


def integer_form(function: Function, x: TensorType) -> list[Primitive]:
    """Return primitives that give exactly the framework's float32 results.

    Raises:
        ModelError: there are none: the results are real numbers, or float32 rounds them.
    """
    simple = free(function, x)
    if simple is not None:
        return simple
    chain: list[Primitive] = []
    if isinstance(function, functions.Scale):
        chain = [primitives.MulConst(*to_integers(np.asarray(function.factor, np.float64), "its scale"))]
    elif isinstance(function, functions.Offset):
        chain = [primitives.AddConst(*to_integers(np.asarray(function.offset, np.float64), "its offset"))]
    elif isinstance(function, functions.Clip) and _finite(function):
        ends, frac = to_integers(np.array([function.lo, function.hi], dtype=np.float64), "its bounds")
        chain = [primitives.Clip(int(ends[0]), int(ends[1]), frac)]
    elif isinstance(function, Named) and function.name == "abs":
        raise ModelError("an absolute value without a type")
    if not chain:
        raise ModelError(f"{describe(function)} gives real numbers")
    kind = x
    for op in chain:
        kind = op.infer(kind)
    if kind.max_width > FLOAT32_BITS:
        raise ModelError(
            f"its result needs {kind.max_width} bits, more than the {FLOAT32_BITS} that float32 carries, so the "
            "framework's own result is rounded"
        )
    return chain


def _finite(function: functions.Clip) -> bool:
    """Tell whether both bounds are single finite numbers."""
    return all(np.ndim(n) == 0 and bool(np.isfinite(n)) for n in (function.lo, function.hi))


def cheap_form(pending: Chain, x: TensorType) -> list[Primitive] | None:
    """Return primitives of a chain that costs less than the table it would make, or None.

    These are bounds, offsets and multiplications by short constants; a rounding to even behind them can
    then be kept apart.
    """
    chain: list[Primitive] = []
    kind = x
    for function in pending:
        if isinstance(function, functions.Scale) and significant_bits(function.factor) > SHORT_FACTOR:
            return None
        try:
            more = integer_form(function, kind)
        except L1mlError:
            return None
        for op in more:
            chain.append(op)
            kind = op.infer(kind)
    return chain


def common_scale(pending: Chain, shape: tuple[int, ...]) -> RealArray | None:
    """Return the real factor of a chain of scales, (*shape[:-1],) or 0-d, None where it is no such chain.

    It must be the same along the last axis, so that it can be put behind a sum over that axis.
    """
    total: RealArray = np.ones(())
    for function in pending:
        if isinstance(function, functions.Scale | functions.SumScale):
            factor = np.asarray(function.factor, dtype=np.float64)
        elif isinstance(function, functions.Divide):
            factor = 1.0 / np.asarray(function.divisor, dtype=np.float64)
        else:
            return None
        if factor.ndim:
            full = np.broadcast_to(factor, shape)
            if not bool((full == full[..., :1]).all()):
                return None
            factor = full[..., 0]
            if bool((factor == factor.reshape(-1)[0]).all()):
                factor = np.asarray(factor.reshape(-1)[0])
        total = total * factor
    return total


def common_factor(pending: Chain) -> float | None:
    """Return the one real factor of a chain of scales, 1 for none, None for other chains."""
    total = 1.0
    for function in pending:
        if not isinstance(function, functions.Scale | functions.SumScale | functions.Divide):
            return None
        values = np.asarray(
            function.divisor if isinstance(function, functions.Divide) else function.factor, dtype=np.float64
        )
        if not bool((values == values.reshape(-1)[0]).all()):
            return None
        value = float(values.reshape(-1)[0])
        total = total / value if isinstance(function, functions.Divide) else total * value
    return total


def sum_slack(peak: RealArray, terms: int) -> RealArray:
    """Return a bound on the rounding errors of a float32 sum of products in any order.

    Args:
        peak: sum of the largest magnitudes of the terms.
        terms: number of terms; every product and every factor is rounded as well.
    """
    return np.asarray(peak * (terms + 4) * 2.0**-24)


def same_along_last(pending: Chain, shape: tuple[int, ...]) -> bool:
    """Tell whether the functions are the same for all elements of the last axis."""
    full = [np.broadcast_to(a, shape) for f in pending for a in arrays(f) if a.ndim]
    return all(bool((a == a[..., :1]).all()) for a in full)


def keeps_zero(pending: Chain) -> bool:
    """Tell whether the functions give 0 for 0, so that padding may come before them."""
    zero = np.zeros((), dtype=np.float32)
    return all(not np.any(f(zero)) for f in pending)


def joined(chains: Sequence[Chain], shapes: Sequence[tuple[int, ...]], axis: int) -> Chain | None:
    """Return the functions of a concatenation, None where the chains are of different kinds."""
    first = chains[0]
    if any([type(f) for f in chain] != [type(f) for f in first] for chain in chains):
        return None
    out: list[Function] = []
    for parts in zip(*chains, strict=True):
        changes: dict[str, Any] = {}
        for field in fields(parts[0]):
            values = [getattr(part, field.name) for part in parts]
            if isinstance(values[0], np.ndarray):
                full = [np.broadcast_to(v, s) for v, s in zip(values, shapes, strict=True)]
                changes[field.name] = np.concatenate(full, axis=axis)
            elif not all(_same(v, values[0]) for v in values):
                return None
        out.append(replace(parts[0], **changes))
    return tuple(out)


def _same(a: Any, b: Any) -> bool:
    try:
        return bool(a == b) or (isinstance(a, float) and math.isnan(a))
    except ValueError:
        return False


def float32_grid(layer: str, pending: Chain, x: TensorType) -> Grid:
    """Return types of `FINE_BITS` bits for a real-valued tensor: finer than float32 at its largest values.

    Raises:
        ModelError: the functions have no bound over the inputs.
    """
    codes = np.stack([x.lo + (x.hi - x.lo) * k // PROBES for k in range(PROBES + 1)])
    y = np.ldexp(codes.astype(np.float64), -x.frac).astype(np.float32)
    for function in pending:
        y = function(y)
    if not np.isfinite(y).all():
        raise ModelError(
            f"the input of {layer!r} is real-valued and has no bound", fix="put a quantizer before this layer"
        )
    peak = np.abs(y).max(axis=0).astype(np.float64) * 1.0001
    frac = FINE_BITS - 1 - np.where(peak > 0, np.frexp(peak)[1], 1).astype(np.int64)
    top = np.int64(1) << (FINE_BITS - 1)
    return Grid(np.asarray(-top), np.asarray(top - 1), frac, Rounding.RND_CONV, Overflow.SAT)


def wide_form(pending: Chain, x: TensorType) -> list[Primitive] | None:
    """Return integer arithmetic that is exact beyond float32 for scales and offsets, or None for other functions."""
    chain: list[Primitive] = []
    kind = x
    try:
        for function in pending:
            if isinstance(function, functions.Relu):
                op: Primitive = primitives.Relu()
            elif isinstance(function, functions.Scale | functions.SumScale):
                factor = np.asarray(function.factor, dtype=np.float64).astype(np.float32)
                op = primitives.MulConst(*to_integers(factor.astype(np.float64), "a scale"))
            elif isinstance(function, functions.Offset):
                op = primitives.AddConst(*to_integers(np.asarray(function.offset, np.float64), "an offset"))
            else:
                return None
            chain.append(op)
            kind = op.infer(kind)
    except L1mlError:
        return None
    return chain
