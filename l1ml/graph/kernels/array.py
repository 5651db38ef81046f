# SPDX-License-Identifier: Apache-2.0
"""Executes a kernel plan with the functions of an array library: NumPy, PyTorch or CuPy."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from l1ml.graph.kernels.kernel import FIELDS, Kernel, Kind, Over, Post, Round
from l1ml.graph.kernels.order import arranged
from l1ml.graph.kernels.plan import KernelPlan
from l1ml.types.arrays import IntArray, RealArray

ELEMENTS_PER_BLOCK, ELEMENTS_ON_DEVICE = 1 << 18, 1 << 24
"""Elements of all rows of a block of events: those of NumPy stay in the caches."""

MIN_EVENTS, MAX_EVENTS = 16, 4096


class ArrayRunner:
    """Runs one kernel plan.

    Args:
        plan: the kernels.
        xp: module of the library.
        device: where it puts its arrays.
    """

    def __init__(self, plan: KernelPlan, xp: Any, device: Any = None) -> None:
        plan = arranged(plan)
        self._plan, self._xp, self._device = plan, xp, device
        self._real = xp.float64 if plan.wide else xp.float32
        self._known: dict[tuple[int, str], Any] = {}
        elements = ELEMENTS_PER_BLOCK if xp is np else ELEMENTS_ON_DEVICE
        self.events = max(MIN_EVENTS, min(MAX_EVENTS, elements // plan.n_rows))

    def run(self, x: RealArray) -> RealArray:
        """Return values (events, elements of all wanted tensors).

        Args:
            x: values (events, elements of all inputs); about ``events`` at a time are best.
        """
        xp, plan = self._xp, self._plan
        rows = self._put(np.zeros((plan.n_rows, len(x))))
        for row, value in plan.constants.items():
            rows[row] = value
        rows[self._rows(-1, "in", plan.inputs)] = self._put(x.T)
        for number, kernel in enumerate(plan.kernels):
            live = kernel.out.ravel() >= 0
            made = self._made(number, kernel, rows)
            made = xp.reshape(made, (kernel.out.size, len(x)))
            if not bool(live.all()):
                made = made[self._rows(number, "live", np.flatnonzero(live))]
            if kernel.post is not None:
                made = self._after(number, kernel.post.at(..., (kernel.out.size, 1)).at(live), made)
            rows[self._rows(number, "out", kernel.out.ravel()[live])] = made
        out = rows[self._rows(-1, "wanted", plan.outputs)]
        host = (
            out.get()
            if hasattr(out, "get")
            else out.cpu().numpy()
            if hasattr(out, "cpu")
            else np.asarray(out)
        )
        return np.ascontiguousarray(host.T, dtype=np.float64) + 0.0  # no negative zeros

    def _put(self, values: NDArray[Any], dtype: Any = None) -> Any:
        given = {} if self._device is None else {"device": self._device}
        return self._xp.asarray(np.ascontiguousarray(values), dtype=dtype or self._real, **given)

    def _constant(self, kernel: int, name: str, values: NDArray[Any], dtype: Any = None) -> Any:
        key = (kernel, name)
        if key not in self._known:
            self._known[key] = self._put(values, dtype)
        return self._known[key]

    def _rows(self, kernel: int, name: str, rows: IntArray) -> Any:
        key = (kernel, name)
        if key not in self._known:
            self._known[key] = self._put(rows, self._xp.int64)
        return self._known[key]

    def _made(self, number: int, kernel: Kernel, rows: Any) -> Any:
        """Return the results of all units, (units, makes, events) or without the second axis."""
        xp = self._xp
        taken: list[Any] = []
        if kernel.kind not in (Kind.AFFINE, Kind.DOT):
            taken = [rows[self._rows(number, f"in{k}", r)] for k, r in enumerate(kernel.sources.T)]
        match kernel.kind:
            case Kind.COPY:
                return taken[0]
            case Kind.AFFINE:
                assert kernel.weights is not None
                x = rows[self._rows(number, "in", kernel.sources)]
                return xp.matmul(self._constant(number, "w", kernel.weights.T), x)
            case Kind.DOT:
                return self._dot(number, kernel, rows)
            case Kind.COMPARE:
                return self._number(taken[0] >= taken[1])
            case Kind.SELECT:
                return xp.where(taken[0] != 0, taken[1], taken[2])
            case Kind.ARGMAX:
                best, index = taken[0], xp.zeros_like(taken[0])
                for k, x in enumerate(taken[1:], start=1):
                    more = x > best
                    best, index = xp.where(more, x, best), xp.where(more, xp.zeros_like(x) + k, index)
                return index
            case Kind.STEPS:
                return self._steps(number, kernel, taken[0])
            case Kind.LOOKUP:
                assert kernel.params is not None
                assert kernel.table is not None
                scale, offset = self._columns(number, kernel.params)
                return self._constant(number, "t", kernel.table)[self._integer(taken[0] * scale + offset)]
            case Kind.SCALED:
                assert kernel.params is not None
                first, second = self._columns(number, kernel.params)
                return taken[0] * first + taken[1] * second
            case Kind.AND | Kind.OR | Kind.XOR:
                return self._bitwise(number, kernel, *taken)
        total = taken[0]
        for x in taken[1:]:
            match kernel.kind:
                case Kind.SUM:
                    total = total + x
                case Kind.SUB:
                    total = total - x
                case Kind.PROD:
                    total = total * x
                case Kind.MAX:
                    total = xp.where(x > total, x, total)
                case Kind.MIN:
                    total = xp.where(x < total, x, total)
        return total

    def _columns(self, kernel: int, params: RealArray) -> list[Any]:
        return [self._constant(kernel, f"p{k}", column[:, None]) for k, column in enumerate(params.T)]

    def _number(self, values: Any) -> Any:
        return _cast(values, self._real)

    def _integer(self, values: Any) -> Any:
        return _cast(values, self._xp.int64)

    def _dot(self, number: int, kernel: Kernel, rows: Any) -> Any:
        m, (groups, reads) = kernel.split, kernel.sources.shape
        n = kernel.out.shape[1] // m
        k = reads // (n + m)
        first, second = np.split(kernel.sources, [n * k], axis=1)
        a = rows[self._rows(number, "a", first.reshape(groups, n, k))]
        b = rows[self._rows(number, "b", second.reshape(groups, m, k))]
        total = a[:, :, None, 0] * b[:, None, :, 0]
        for at in range(1, k):
            total = total + a[:, :, None, at] * b[:, None, :, at]
        return total

    def _steps(self, number: int, kernel: Kernel, x: Any) -> Any:
        assert kernel.params is not None
        columns = self._columns(number, kernel.params)
        size = len(columns) // 2
        total = columns[0] + self._xp.zeros_like(x)
        for limit, jump in zip(columns[1 : 1 + size], columns[1 + size :], strict=True):
            total = total + jump * self._number(x >= limit)
        return total

    def _bitwise(self, number: int, kernel: Kernel, x: Any, y: Any) -> Any:
        assert kernel.params is not None
        first, second, unit = self._columns(number, kernel.params)
        a, b = self._integer(x * first), self._integer(y * second)
        bits = a & b if kernel.kind is Kind.AND else a | b if kernel.kind is Kind.OR else a ^ b
        return self._number(bits) * unit

    def _after(self, number: int, post: Post, x: Any) -> Any:
        xp = self._xp
        real = xp.float64 if post.wide else self._real
        x = _cast(x, real)
        factor, offset, lo, hi, unit, span = (
            self._constant(number, name, array, real)
            for name, array in zip(FIELDS, post.arrays(), strict=True)
        )
        v = _rounded(xp, x * factor + offset, post.rounding)
        match post.overflow:
            case Over.CLIP:
                v = xp.where(v < lo, lo, v)
                v = xp.where(v > hi, hi, v)
            case Over.WRAP:
                inverse = np.divide(1.0, post.span, out=np.zeros(post.span.shape), where=post.span != 0)
                v = v - span * xp.floor((v - lo) * self._constant(number, "inverse", inverse, real))
            case Over.ZERO:
                v = xp.where((v < lo) | (v > hi), xp.zeros_like(v), v)
        return self._number(v * unit)


def _cast(values: Any, dtype: Any) -> Any:
    return values.to(dtype) if hasattr(values, "to") else values.astype(dtype)


def _rounded(xp: Any, v: Any, rounding: Round) -> Any:
    """Round numbers of the library; halves as every mode of `l1ml.types.fixed.Rounding` says."""
    match rounding:
        case Round.RND_CONV:
            return xp.round(v)
        case Round.TRN:
            return xp.floor(v)
        case Round.TRN_ZERO:
            return xp.trunc(v)
        case Round.RND:
            return xp.floor(v + 0.5)
        case Round.RND_MIN_INF:
            return xp.ceil(v - 0.5)
        case Round.RND_ZERO:
            return xp.where(v < 0, xp.floor(v + 0.5), xp.ceil(v - 0.5))
        case Round.RND_INF:
            return xp.where(v < 0, xp.ceil(v - 0.5), xp.floor(v + 0.5))
    return v
