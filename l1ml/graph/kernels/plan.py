# SPDX-License-Identifier: Apache-2.0
"""From primitives to kernels.

Every element of every tensor gets the number of the row that holds it.  What only moves elements is index
arithmetic here and nothing later; elements that never change are constants and are not computed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import singledispatch
from typing import NamedTuple

import numpy as np

from l1ml.graph.kernels.fuse import fused, without_unread
from l1ml.graph.kernels.kernel import FLOAT_LIMIT, Kernel, Kind, Post, fits_float
from l1ml.graph.primitives import Primitive
from l1ml.graph.primitives.base import magnitude
from l1ml.graph.program import TensorProgram
from l1ml.graph.tensor import TensorType
from l1ml.types.arrays import IntArray, RealArray


@dataclass(frozen=True)
class Format:
    """A floating-point format.

    Args:
        limit: it holds all integers below.
        exponent: powers of two that values stay within, so that no scaled product leaves the format.
    """

    limit: float
    exponent: int


FLOAT, DOUBLE = Format(FLOAT_LIMIT, 40), Format(2.0**53, 300)


class NoKernelError(Exception):
    """A primitive has no exact kernel; the reference emulator runs the program."""


class Step(NamedTuple):
    """Units ``first`` to ``last - 1`` of a kernel."""

    kernel: int
    first: int
    last: int


@dataclass(frozen=True, eq=False)
class KernelPlan:
    """The kernels that compute some tensors.

    Args:
        kernels: the kernels.
        steps: when their units run.
        n_rows: number of rows, the zero included.
        constants: value of every row that is the same in all events.
        inputs: rows of all inputs, flat, one after the other.
        outputs: rows of the tensors asked for, flat, one after the other.
        wide: True where float64 is needed, False where float32 holds every number.
    """

    kernels: tuple[Kernel, ...]
    steps: tuple[Step, ...]
    n_rows: int
    constants: dict[int, float]
    inputs: IntArray
    outputs: IntArray
    wide: bool


def plan(program: TensorProgram, wanted: Sequence[int]) -> KernelPlan | None:
    """Return the kernels that compute some tensors of a program, or None where they would not be exact.

    Args:
        program: the typed network.
        wanted: the tensors.
    """
    planner = Planner()
    try:
        rows = [planner.input(port.type) for port in program.inputs]
        inputs = _flat(rows)
        needed = _needed(program, wanted)
        for tensor, step in program.numbered():
            if tensor not in needed:
                rows.append(np.zeros(0, dtype=np.int64))
                continue
            at = Place(planner, tuple(program.type_of(s) for s in step.sources), step.type)
            rows.append(rows_of(step.op, at, *(rows[s] for s in step.sources)))
            assert rows[-1].shape == step.type.shape, f"{type(step.op).__name__} got its shape wrong"
            planner.seen(step.type)
        outputs = _flat([rows[t] for t in wanted])
        kernels = without_unread(planner.kernels, outputs, planner.n_rows)
        kernels = fused(kernels, outputs, planner.n_rows)
        wide = planner.wide(kernels)
    except NoKernelError:
        return None
    constants = {row: value for value, row in planner.constants.items()}
    steps = tuple(Step(number, 0, len(kernel.sources)) for number, kernel in enumerate(kernels))
    return KernelPlan(tuple(kernels), steps, planner.n_rows, constants, inputs, outputs, wide)


def _flat(rows: Sequence[IntArray]) -> IntArray:
    return np.concatenate([np.zeros(0, dtype=np.int64), *(r.ravel() for r in rows)])


def _needed(program: TensorProgram, wanted: Sequence[int]) -> set[int]:
    needed = set(wanted)
    for tensor, step in reversed(list(program.numbered())):
        if tensor in needed:
            needed.update(step.sources)
    return needed


@dataclass(frozen=True, eq=False)
class Place:
    """Where a primitive becomes kernels: the types around it.

    Args:
        plan: takes the kernels.
        types: of the operands.
        type: of the result.
    """

    plan: Planner
    types: tuple[TensorType, ...]
    type: TensorType

    def fold(self, kind: Kind, sources: IntArray, peak: float = 0.0, **given: object) -> IntArray:
        """Append a kernel that reads (..., n) rows for every element of the result; return the result's rows."""
        rows, out = self.plan.made(self.type)
        flat = np.ascontiguousarray(sources).reshape(out.size, sources.shape[-1])
        self.plan.add(Kernel(kind, flat, out.reshape(-1, 1), peak, **given))  # type: ignore[arg-type]
        return rows

    def convert(self, ids: IntArray, post: Post) -> IntArray:
        """Append a kernel that sends every element through ``post``; return the result's rows."""
        flat = post.at(..., (self.type.size, 1))
        return self.fold(Kind.COPY, ids[..., None], post=flat)


@singledispatch
def rows_of(op: Primitive, at: Place, *xs: IntArray) -> IntArray:
    """Return the rows that hold the result of a primitive.

    Args:
        op: the primitive.
        at: the types around it.
        xs: rows of the operands.

    Raises:
        NoKernelError: it has no kernel.
    """
    raise NoKernelError(type(op).__name__)


class Planner:
    """Collects kernels and gives out row numbers."""

    def __init__(self) -> None:
        self.kernels: list[Kernel] = []
        self.n_rows = 1
        self.constants: dict[float, int] = {0.0: 0}
        self._format = FLOAT

    def fresh(self, shape: tuple[int, ...]) -> IntArray:
        """Return new row numbers."""
        count = int(np.prod(shape, dtype=np.int64))
        self.n_rows += count
        return np.arange(self.n_rows - count, self.n_rows, dtype=np.int64).reshape(shape)

    def constant(self, values: RealArray) -> IntArray:
        """Return the rows of constants."""
        distinct, back = np.unique(values + 0.0, return_inverse=True)
        for value in distinct.tolist():
            if value not in self.constants:
                self.constants[value] = self.n_rows
                self.n_rows += 1
        rows = np.array([self.constants[value] for value in distinct.tolist()], dtype=np.int64)
        return np.asarray(rows[back.ravel()].reshape(values.shape))

    def input(self, kind: TensorType) -> IntArray:
        """Return the rows of an input."""
        self.seen(kind)
        return self.fresh(kind.shape)

    def seen(self, kind: TensorType) -> None:
        """Take note of the values that a tensor can hold."""
        codes = magnitude(kind)
        live = codes > 0
        if not bool(live.any()):
            return
        top = np.frexp(codes[live])[1] - kind.frac[live]
        self.need(float(codes.max()), int(max(top.max(), kind.frac[live].max())))

    def need(self, peak: float, exponent: int = 0) -> None:
        """Take note of the largest integer and the largest power of two that numbers stand for."""
        for form in (FLOAT, DOUBLE):
            if peak < form.limit and exponent <= form.exponent:
                self._format = max(self._format, form, key=lambda f: f.limit)
                return
        raise NoKernelError("a number needs more than 53 significant bits")

    def made(self, kind: TensorType) -> tuple[IntArray, IntArray]:
        """Return the rows of a new tensor, and the same with -1 where nothing has to be computed."""
        fixed = kind.lo == kind.hi
        ids = self.fresh(kind.shape)
        out = np.where(fixed, -1, ids)
        if bool(fixed.any()):
            ids[fixed] = self.constant(np.ldexp(exact(kind.lo[fixed]), -kind.frac[fixed]))
        return ids, out

    def add(self, kernel: Kernel) -> None:
        """Append a kernel, but for units without any result."""
        kernel.keep(np.asarray((kernel.out >= 0).any(axis=1)))
        if len(kernel.out):
            self.kernels.append(kernel)

    def wide(self, kernels: Sequence[Kernel]) -> bool:
        """Tell whether the kernels need float64.

        Raises:
            NoKernelError: they need more.
        """
        for kernel in kernels:
            self.need(kernel.peak)
            for constants in kernel.constants():
                self.need(0.0, _exponent(constants))
                if not fits_float(constants):
                    self._format = DOUBLE
            if kernel.post is not None:
                if kernel.post.peak >= DOUBLE.limit:
                    raise NoKernelError("a conversion needs more than 53 significant bits")
                for constants in kernel.post.arrays():
                    self.need(0.0, _exponent(constants))
        return self._format is DOUBLE


def _exponent(constants: RealArray) -> int:
    """Return half the largest power of two of some constants: they multiply values that stay within as much."""
    used = constants[np.isfinite(constants) & (constants != 0)]
    return (int(np.abs(np.frexp(used)[1]).max(initial=0)) + 1) // 2


def exact(values: IntArray) -> RealArray:
    """Return integers as float64.

    Raises:
        NoKernelError: one has too many significant bits.
    """
    real = np.asarray(values, dtype=np.int64).astype(np.float64)
    if not np.array_equal(real.astype(np.int64), values):
        raise NoKernelError("a constant has more than 53 significant bits")
    return real


def value_peaks(kind: TensorType) -> RealArray:
    """Return the largest magnitude of every element's value."""
    return np.asarray(np.ldexp(magnitude(kind), -kind.frac))


def highest(values: RealArray) -> float:
    """Return the largest of some magnitudes; 0 where there are none."""
    return float(np.max(values, initial=0.0))


def spread_ids(ids: IntArray, shape: tuple[int, ...]) -> IntArray:
    """Return rows of an operand that broadcasts to ``shape``."""
    return np.broadcast_to(ids.reshape((1,) * (len(shape) - ids.ndim) + ids.shape), shape)
