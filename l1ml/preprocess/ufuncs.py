# SPDX-License-Identifier: Apache-2.0
"""NumPy's universal functions, and so all operators, on traced arrays."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from l1ml.errors import ModelError
from l1ml.graph.model import Dense
from l1ml.preprocess.expression import is_power_of_two, is_short
from l1ml.preprocess.traced import EXACT_BINARY, Traced, combine

_SAME = {
    "fmax": "maximum",
    "fmin": "minimum",
    "fabs": "absolute",
    "true_divide": "divide",
    "mod": "remainder",
}


def call_ufunc(ufunc: Any, method: str, inputs: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    """Apply a universal function."""
    name = _SAME.get(ufunc.__name__, ufunc.__name__)
    if kwargs.get("out") is not None:
        raise ModelError("an array is changed in place", fix="write x = x + y instead of x += y or out=x")
    if (
        method != "__call__"
        or ufunc.nout != 1
        or any(v is not None for k, v in kwargs.items() if k != "dtype")
    ):
        raise ModelError(
            f"np.{ufunc.__name__}{'' if method == '__call__' else '.' + method} cannot be traced"
        )
    if name in _UFUNCS:
        return _UFUNCS[name](*inputs)
    if ufunc.nin == 2 and name not in EXACT_BINARY:
        return combine(name, ufunc, *inputs, exact=False if name != "divide" else None)
    return combine(name, ufunc, *inputs)


# ---- universal functions with a form of their own


def _absolute(x: Traced) -> Traced:
    return combine("absolute", np.absolute, x)


def _square(x: Traced) -> Traced:
    return combine("multiply", np.multiply, x, x)


def _power(x: Any, n: Any) -> Traced:
    if isinstance(x, Traced) and np.ndim(n) == 0 and n in (1, 2, 3, 4):
        if n == 1:
            return x
        half = _square(x)
        return half if n == 2 else _square(half) if n == 4 else combine("multiply", np.multiply, half, x)
    return combine("power", np.power, x, n, exact=False)


def _floor(x: Traced) -> Traced:
    return x.exact_unary("floor", np.floor)


def _ceil(x: Traced) -> Traced:
    minus = combine("negative", np.negative, x)
    return combine("negative", np.negative, minus.exact_unary("floor", np.floor))


def _sign(x: Traced) -> Traced:
    up, down = (combine(k, f, x, 0.0) for k, f in (("greater", np.greater), ("less", np.less)))
    return combine("subtract", lambda a, b: np.asarray(a, float) - b, up, down)


def _floor_divide(x: Any, y: Any) -> Traced:
    if (
        isinstance(x, Traced)
        and not isinstance(y, Traced)
        and is_power_of_two(np.asarray(y, dtype=np.float64))
    ):
        return _floor(combine("divide", np.divide, x, y))
    return combine("floor_divide", np.floor_divide, x, y, exact=False)


def _remainder(x: Any, y: Any) -> Traced:
    if isinstance(x, Traced) and np.ndim(y) == 0 and not isinstance(y, Traced) and x.node.exact and y > 0:
        mantissa, exponent = math.frexp(float(y))
        if mantissa == 0.5:
            return Traced(x.recorder, x.recorder.wrapped(x.exact(), exponent - 1))
    return combine("remainder", np.remainder, x, y, exact=False)


def _shift(x: Any, n: Any, sign: int) -> Traced:
    if not isinstance(x, Traced) or isinstance(n, Traced):
        raise ModelError("a shift by a traced number of bits", fix="shift by a constant")
    _check_whole(x, "a shift")
    moved = combine("multiply", np.multiply, x, 2.0 ** (sign * np.asarray(n, dtype=np.float64)))
    return moved if sign > 0 else _floor(moved)


def _check_whole(x: Traced, what: str) -> None:
    if x.node.exact and bool((x.exact().type.frac > 0).any()):
        raise ModelError(f"{what} of an array with fraction bits", fix="NumPy does this for integers only")


def _bits(kind: str, function: Any, x: Any, y: Any) -> Traced:
    traced = [a for a in (x, y) if isinstance(a, Traced)]
    if all(a.boolean for a in traced) and all(
        np.asarray(a).dtype == bool for a in (x, y) if not isinstance(a, Traced)
    ):
        return _logical(f"logical_{kind}", x, y)
    for a in traced:
        _check_whole(a, f"bitwise {kind}")
    if len(traced) == 2 and traced[0].source.name != traced[1].source.name:
        raise ModelError(
            f"bitwise {kind} of two different tensors", fix="use arithmetic, or comparisons and np.where"
        )
    if kind == "and" and len(traced) == 1:
        mask = np.asarray(y if traced[0] is x else x)
        if mask.ndim == 0 and mask > 0 and (int(mask) & (int(mask) + 1)) == 0:
            return _remainder(traced[0], int(mask) + 1)
    return combine(f"bitwise_{kind}", lambda a, b: function(_whole(a), _whole(b)), x, y, exact=False)


def _whole(a: Any) -> Any:
    return np.asarray(a).astype(np.int64)


def _logical(kind: str, x: Any, y: Any) -> Traced:
    x, y = (a.truth() if isinstance(a, Traced) else np.asarray(a).astype(bool) for a in (x, y))
    if kind == "logical_xor":
        return combine("not_equal", np.not_equal, x, y)
    return combine(kind, getattr(np, kind), x, y)


def _not(x: Traced) -> Traced:
    return combine("logical_not", np.logical_not, x.truth())


def _invert(x: Traced) -> Traced:
    if x.boolean:
        return _not(x)
    _check_whole(x, "bitwise not")
    return combine("subtract", np.subtract, -1.0, x)


def _add(x: Any, y: Any) -> Traced:
    if all(isinstance(a, Traced) and a.boolean for a in (x, y)):
        raise ModelError(
            "two conditions are added, which NumPy takes as 'or'", fix="write a | b, or 1 * a + b"
        )
    return combine("add", np.add, x, y)


def matmul(x: Any, y: Any) -> Traced:
    """Multiply by a constant matrix from the right."""
    if not isinstance(x, Traced) or isinstance(y, Traced) or np.ndim(y) not in (1, 2):
        raise ModelError(
            "a matrix product that is not traced array @ constant matrix",
            fix="multiply by a constant matrix from the right, or use np.sum(x * y, axis=-1)",
        )
    matrix = np.asarray(y, dtype=np.float64)
    if not is_short(matrix):
        raise ModelError(
            "a constant matrix holds real numbers",
            fix='quantize it: x @ l1ml.quantize(matrix, "fixed<8,1,RND,SAT>")',
        )
    source = x.exact()
    if x.ndim < 2 or x.shape[-1] != len(matrix):
        raise ModelError(f"a matrix product of shapes {x.event_shape} (per event) and {matrix.shape}")
    full = matrix.reshape(len(matrix), -1)
    made = Traced(x.recorder, x.recorder.append("matmul", lambda n, r: Dense(n, r, full, None), source))
    return made if matrix.ndim == 2 else made.moved(lambda a: a[..., 0])


_UFUNCS: dict[str, Callable[..., Any]] = {
    "positive": lambda x: x, "absolute": _absolute, "square": _square, "power": _power, "float_power": _power,
    "floor": _floor, "ceil": _ceil, "trunc": lambda x: x.exact_unary("trunc", np.trunc),
    "rint": lambda x: x.exact_unary("rint", np.rint), "sign": _sign, "floor_divide": _floor_divide,
    "remainder": _remainder, "left_shift": lambda x, n: _shift(x, n, 1),
    "right_shift": lambda x, n: _shift(x, n, -1),
    "bitwise_and": lambda x, y: _bits("and", np.bitwise_and, x, y),
    "bitwise_or": lambda x, y: _bits("or", np.bitwise_or, x, y),
    "bitwise_xor": lambda x, y: _bits("xor", np.bitwise_xor, x, y),
    "logical_and": lambda x, y: _logical("logical_and", x, y),
    "logical_or": lambda x, y: _logical("logical_or", x, y),
    "logical_xor": lambda x, y: _logical("logical_xor", x, y),
    "logical_not": _not, "invert": _invert, "add": _add,
    "matmul": matmul,
}  # fmt: skip
