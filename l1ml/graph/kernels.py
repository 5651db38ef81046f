# SPDX-License-Identifier: Apache-2.0
"""The typed program as a short list of kernels on one common grid per tensor.

Between kernels every tensor holds integers in LSBs of its finest element, in one floating-point type
that is proven to hold every intermediate sum exactly (24 bits for float32, 53 for float64).  The array
emulator and the compiled one both execute this list.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from l1ml.graph import primitives
from l1ml.graph.program import TensorProgram
from l1ml.graph.tensor import TensorType
from l1ml.types.arrays import IntArray, RealArray
from l1ml.types.fixed import Overflow, Rounding

FLOAT_ROUNDINGS = (Rounding.RND_CONV, Rounding.TRN, Rounding.TRN_ZERO, Rounding.RND)


@dataclass(frozen=True, eq=False)
class Affine:
    """``y = x @ matrix + bias`` on the last axis; all integers."""

    source: int
    matrix: RealArray
    bias: RealArray


@dataclass(frozen=True, eq=False)
class Round:
    """``y = clip(round(x * 2**-drop), lo, hi)``; ``rounding`` is one of ``FLOAT_ROUNDINGS``."""

    source: int
    drop: int
    rounding: Rounding
    lo: int
    hi: int


@dataclass(frozen=True, eq=False)
class Scale:
    """``y = clip(floor((x * multiplier + offset) * 2**-shift), lo, hi)`` per channel of the last axis."""

    source: int
    multiplier: RealArray
    offset: RealArray
    shift: IntArray
    lo: int
    hi: int


@dataclass(frozen=True, eq=False)
class Count:
    """``y = base + step * #{t : x >= t}`` per channel of the last axis."""

    source: int
    thresholds: RealArray
    base: RealArray
    step: RealArray


Kernel = Affine | Round | Scale | Count


@dataclass(frozen=True, eq=False)
class KernelPlan:
    """Kernels in order; kernel ``k`` makes value ``n_inputs + k``.

    Args:
        kernels: in order.
        value_of: for every tensor of the program the value that holds it, or None where kernels were
            fused over it.
        shapes_in: for every kernel the shape of its input without the event axis.
        bits: the largest number of significant bits of any intermediate result.
    """

    kernels: tuple[Kernel, ...]
    value_of: tuple[int | None, ...]
    shapes_in: tuple[tuple[int, ...], ...]
    bits: int


def _peak(kind: TensorType) -> float:
    lo, hi = kind.aligned(kind.max_frac)
    return float(max(np.abs(lo).max(initial=0), np.abs(hi).max(initial=0)))


def plan(program: TensorProgram, keep: frozenset[int]) -> KernelPlan | None:
    """Return the kernels of a program, or None if it holds a step that has no exact kernel.

    Args:
        program: the typed network.
        keep: tensors that must be available afterwards (outputs, traced layers).
    """
    if any(len(step.sources) != 1 for step in program.steps):
        return None
    readers = [0] * (len(program.inputs) + len(program.steps))
    for step in program.steps:
        readers[step.sources[0]] += 1
    kernels: list[Kernel] = []
    shapes: list[tuple[int, ...]] = []
    value_of: list[int | None] = list(range(len(program.inputs)))
    peak = max((_peak(i.type) for i in program.inputs), default=0.0)
    first = len(program.inputs)
    for step in program.steps:
        x, y, op = program.type_of(step.sources[0]), step.type, step.op
        source = value_of[step.sources[0]]
        assert source is not None, "a fused tensor has one reader"
        grid = x.max_frac
        if isinstance(op, primitives.Reshape):
            value_of.append(source)
            continue
        last = kernels[-1] if kernels else None
        if (
            isinstance(op, primitives.AddConst)
            and op.constant.ndim <= 1
            and isinstance(last, Affine)
            and source == first + len(kernels) - 1
            and readers[step.sources[0]] == 1
            and step.sources[0] not in keep
        ):
            up, constant = 2.0 ** (y.max_frac - grid), op.constant * 2.0 ** (y.max_frac - op.frac)
            kernels[-1] = Affine(last.source, last.matrix * up, last.bias * up + constant)
            value_of[step.sources[0]] = None
        else:
            kernel = _kernel(op, source, x, y)
            if kernel is None:
                return None
            kernels.append(kernel)
            shapes.append(x.shape)
        value_of.append(first + len(kernels) - 1)
        merged = value_of[step.sources[0]] is None
        feed = program.type_of(program.steps[step.sources[0] - first].sources[0]) if merged else x
        peak = max(peak, _bound(kernels[-1], feed), _peak(y))
    return KernelPlan(tuple(kernels), tuple(value_of), tuple(shapes), int(np.ceil(np.log2(peak + 1))) + 1)


def _kernel(op: primitives.Primitive, source: int, x: TensorType, y: TensorType) -> Kernel | None:
    grid, channels = x.max_frac, (x.shape[-1] if x.shape else 1)
    zero = np.zeros(channels)
    match op:
        case primitives.ConstMatmul(matrix, _):
            return Affine(source, matrix.astype(np.float64), np.zeros(matrix.shape[1]))
        case primitives.AddConst(constant, frac) if constant.ndim <= 1:
            up = 2.0 ** (y.max_frac - grid)
            return Affine(source, np.eye(channels) * up, zero + constant * 2.0 ** (y.max_frac - frac))
        case primitives.Relu():
            return Round(source, 0, Rounding.TRN, 0, int(x.aligned(grid)[1].max(initial=0)))
        case primitives.Requantize(lo, hi, frac, rounding, overflow) if lo.ndim == hi.ndim == frac.ndim == 0:
            inside = bool((y.lo > lo).all() and (y.hi < hi).all())
            if rounding not in FLOAT_ROUNDINGS:
                return None
            if overflow not in (Overflow.SAT, Overflow.SAT_SYM) and not inside:
                return None
            return Round(source, grid - int(frac), rounding, int(lo), int(hi))
        case primitives.Rescale(multiplier, offset, shift, lo, hi, _):
            uniform = bool((x.frac == grid).all())
            if not uniform or max(a.ndim for a in (multiplier, offset, shift)) > 1 or lo.ndim or hi.ndim:
                return None
            shifts = np.broadcast_to(shift, (channels,)).astype(np.int64)
            return Scale(source, zero + multiplier, zero + offset, shifts, int(lo), int(hi))
    return None


def _bound(kernel: Kernel, x: TensorType) -> float:
    """Return a bound on every partial sum of the kernel, in integers."""
    lo, hi = x.aligned(x.max_frac)
    peak = np.maximum(np.abs(lo), np.abs(hi)).astype(np.float64)
    match kernel:
        case Affine(_, matrix, bias):
            return float((peak @ np.abs(matrix) + np.abs(bias)).max(initial=0.0))
        case Scale(_, multiplier, offset, _, _, _):
            return float((peak * np.abs(multiplier) + np.abs(offset)).max(initial=0.0))
        case Round(_, drop, rounding, _, _):
            # x + 1/2 needs one more bit; a coarser input (negative drop) is scaled up.
            return float(
                peak.max(initial=0.0) * (2.0 if rounding is Rounding.RND else 1.0) * 2.0 ** max(0, -drop)
            )
    return float(peak.max(initial=0.0))
