# SPDX-License-Identifier: Apache-2.0
"""Steps whose constants differ by position, on the stream: every beat gets the constants of its positions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from l1ml.graph import primitives as p
from l1ml.graph.primitives.base import MAX_MAGNITUDE, peak
from l1ml.graph.tensor import TensorType
from l1ml.plan.accumulations import Accumulations
from l1ml.plan.attach import AttachEngine
from l1ml.plan.beat import ELEMENTWISE
from l1ml.plan.network import Body
from l1ml.plan.streams import Stream
from l1ml.plan.values import Fixed, Local
from l1ml.types.arrays import IntArray
from l1ml.types.fixed import Overflow, Rounding


@dataclass(frozen=True, eq=False)
class Table:
    """A constant for every element of a tensor.

    Args:
        codes: broadcastable to the shape of the tensor.
        frac: fraction bits, broadcastable to it.
    """

    codes: IntArray
    frac: IntArray


Formula = tuple[tuple[p.Primitive, Table | None], ...]
"""Operations one after the other: each takes what the one before gave, and a table where there is one."""


class Attachments(Accumulations):
    """What the constants of a position are for, on top of what mixes positions."""

    def _attached(self, op: p.Primitive, xs: list[Local | Fixed], kind: TensorType) -> Local | None:
        """Return a step on a stream whose positions have constants of their own, None where it cannot be done.

        Args:
            op: the step, on the whole tensor.
            xs: its operands; one of them streamed.
            kind: type of the first one in the program.
        """
        (x, *others) = [one for one in xs if isinstance(one, Local)]
        if others or x.raster.whole or self.reloads or not _covers(x):
            return None
        if isinstance(op, ELEMENTWISE):
            return self._beside_constants(op, xs, x)
        made = _formula(op, kind, x)
        if made is None:
            return None
        tables = [table for _, table in made if table is not None]
        found = self._constants(x, tables)
        if found is None:
            return None
        body, tensor, constants = found
        for step, table in made:
            tensor = self._added(body, step, (tensor,) if table is None else (tensor, constants.pop(0)))
        return Local(x.raster, x.shape, x.axes, body, tensor)

    def _beside_constants(self, op: p.Primitive, xs: list[Local | Fixed], x: Local) -> Local | None:
        fixed = [one for one in xs if isinstance(one, Fixed)]
        if op.shape_of(*(one.shape if isinstance(one, Local) else one.type.shape for one in xs)) != x.shape:
            return None
        found = self._constants(x, [Table(one.op.codes, one.type.frac) for one in fixed])
        if found is None:
            return None
        body, tensor, constants = found
        given = tuple(tensor if isinstance(one, Local) else constants.pop(0) for one in xs)
        return Local(x.raster, x.shape, x.axes, body, self._added(body, op, given))

    def _constants(self, x: Local, tables: list[Table]) -> tuple[Body, int, list[int]] | None:
        """Return a body that has a tensor and constants beside it; None where they are too wide."""
        raster, inner = x.raster, x.inner
        size = int(np.prod(inner, dtype=np.int64))
        slots = raster.filled()
        words, fracs, moving = [], [], []  # moving: what differs from beat to beat, not only between lanes
        for table in tables:
            frac = _by_position(table.frac, x)
            ups = frac.max(axis=0) - frac
            codes = _by_position(table.codes, x)
            if peak(codes) * 2.0 ** int(ups.max(initial=0)) >= MAX_MAGNITUDE:
                return None
            words.append((codes << ups)[slots])
            fracs.append(frac.max(axis=0))
            moving.append(bool((words[-1] != words[-1][:1]).any()))
        body, tensor, first = x.body, x.tensor, 0
        sent = [k for k, moves in enumerate(moving) if moves]
        if sent:
            flows = self._attach(x, [words[k] for k in sent], [fracs[k] for k in sent])
            body, (tensor, beside) = self._joined([x, flows])
        constants = []
        for k, moves in enumerate(moving):
            if moves:
                lanes = np.arange(raster.lanes, dtype=np.int64)[:, None] * (size * len(sent))
                taken = (lanes + first + np.arange(size, dtype=np.int64)).reshape(raster.lanes, *inner)
                constants.append(self._added(body, p.Take(taken), (beside,)))
                first += size
            else:
                one = p.Constant(words[k][0].reshape(raster.lanes, *inner), fracs[k].reshape(inner))
                constants.append(self._added(body, one, ()))
        return body, tensor, constants

    def _attach(self, x: Local, words: list[IntArray], fracs: list[IntArray]) -> Local:
        """Return constants, (beats, lanes, elements) each, as the elements of one stream beside another."""
        codes = np.concatenate(words, axis=2)
        kind = TensorType(codes.min(axis=(0, 1)), codes.max(axis=(0, 1)), np.concatenate(fracs))
        stream = Stream(x.raster, kind)
        number = self._engine(AttachEngine(codes, tuple(stream.widths)), self._flowing(x), stream)
        return Local(x.raster, (x.raster.positions, kind.size), (0,), self._body(number), 0)


def _covers(x: Local) -> bool:
    """Tell whether the streamed axes of a tensor are the positions of its stream, in order."""
    sizes = [x.shape[a] for a in x.axes]
    return int(np.prod(sizes, dtype=np.int64)) == x.raster.positions and list(x.axes) == sorted(x.axes)


def _by_position(values: IntArray, x: Local) -> IntArray:
    """Return constants of a tensor, (positions, elements of a position)."""
    full = np.broadcast_to(values, x.shape)
    return np.moveaxis(full, x.axes, range(len(x.axes))).reshape(x.raster.positions, -1)


def _formula(op: p.Primitive, kind: TensorType, x: Local) -> Formula | None:
    """Return a step as operations on its operand and tables, None for other steps.

    Args:
        op: the step.
        kind: type of its operand in the program.
        x: its operand.
    """
    if isinstance(op, p.AddConst):
        return ((p.Combine("add"), Table(op.constant, np.array(op.frac))),)
    if isinstance(op, p.MulConst):
        return ((p.Combine("mul"), Table(op.multiplier, np.array(op.frac))),)
    if isinstance(op, p.Requantize):
        return _requantized(op, x)
    return _rescaled(op, kind, x) if isinstance(op, p.Rescale) else None


def _requantized(op: p.Requantize, x: Local) -> Formula | None:
    """Return a quantizer whose limits differ by position: the widest limits, then those of the position."""
    frac = _by_position(op.frac, x)
    if op.overflow not in (Overflow.SAT, Overflow.SAT_SYM) or bool((frac != frac[0]).any()):
        return None
    return _limited(op.lo, op.hi, frac[0].reshape(x.inner), op.rounding, x)


def _limited(lo: IntArray, hi: IntArray, frac: IntArray, rounding: Rounding, x: Local) -> Formula:
    """Return the steps that round to a grid and clip to limits of every position.

    Args:
        lo: smallest codes.
        hi: largest codes.
        frac: of the elements of a position.
        rounding: of what lies below.
        x: the operand.
    """
    low, high = _by_position(lo, x), _by_position(hi, x)
    ends = low.min(axis=0).reshape(x.inner), high.max(axis=0).reshape(x.inner)
    out: list[tuple[p.Primitive, Table | None]] = [(p.Requantize(*ends, frac, rounding, Overflow.SAT), None)]
    places = _whole(np.broadcast_to(frac.reshape(-1), low.shape), x)
    for what, limits, given in (("max", low, lo), ("min", high, hi)):
        if bool((limits != limits[0]).any()):
            out.append((p.Combine(what), Table(given, places)))
    return tuple(out)


def _rescaled(op: p.Rescale, kind: TensorType, x: Local) -> Formula | None:
    """Return ``clip((x * multiplier + offset) >> shift)`` with one shift for all positions.

    A smaller shift becomes the common one where multiplier and offset have as many zeros more.  On a finer grid of
    the operand the offset has as many zeros more as the operand, and the shift is larger by that.  What multipliers
    have in zeros all of them do without; the offset's bits there cannot reach the result.
    """
    grid = x.body.type_of(x.tensor).frac
    own = np.broadcast_to(grid[0], (x.raster.positions, *x.inner)).reshape(x.raster.positions, -1)
    if bool((grid != grid[:1]).any()):
        return None
    finer = own - _by_position(kind.frac, x)
    if bool((finer < 0).any()):
        return None
    multiplier, offset, shift = (_by_position(n, x) for n in (op.multiplier, op.offset, op.shift))
    common = (shift + finer).max(axis=0)
    ups = common - shift - finer
    zeros = np.array([_zeros(column) for column in (multiplier << np.minimum(ups, 62)).T], dtype=np.int64)
    tops = peak(multiplier) * 2.0 ** int(ups.max()), peak(offset) * 2.0 ** int((ups + finer).max())
    if max(tops) >= MAX_MAGNITUDE:
        return None
    zeros = np.minimum(zeros, common)
    codes = (multiplier << ups) >> zeros, (offset << (ups + finer)) >> zeros
    frac = common - zeros + op.frac
    factor, term = (_whole(n, x) for n in codes)
    ends = _limited(op.lo, op.hi, np.broadcast_to(np.int64(op.frac), x.inner), Rounding.TRN, x)
    return (
        (p.Combine("mul"), Table(factor, _whole(np.broadcast_to(frac - own, codes[0].shape), x))),
        (p.Combine("add"), Table(term, _whole(np.broadcast_to(frac, codes[0].shape), x))),
        *ends,
    )


def _zeros(codes: IntArray) -> int:
    """Return the zeros at the low end of all codes; many where all are 0."""
    together = int(np.bitwise_or.reduce(codes))
    return (together & -together).bit_length() - 1 if together else 62


def _whole(values: IntArray, x: Local) -> IntArray:
    """Return (positions, elements of a position) in the shape of the tensor."""
    sizes = [x.shape[a] for a in x.axes]
    return np.moveaxis(values.reshape(*sizes, *x.inner), range(len(x.axes)), x.axes)
