# SPDX-License-Identifier: Apache-2.0
"""Sums and products with constants, conversions, bounds and functions of one element."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from l1ml.dataflow import logic
from l1ml.dataflow.build import Builder, Element
from l1ml.dataflow.op import Floor
from l1ml.graph import primitives
from l1ml.lowering import matrix, stairs
from l1ml.lowering.rules import Elements, Place, array, lower_op, spread
from l1ml.types.fixed import Overflow, Rounding
from l1ml.types.intrange import MAX_WIDTH


@lower_op.register
def _matmul(op: primitives.ConstMatmul, at: Place, x: Elements) -> Elements:
    n_in, _ = op.matrix.shape
    rows = [list(row) for row in x.reshape(-1, n_in)] if x.size else []
    made = matrix.emit_rows(at.build, rows, op.matrix, op.frac, at.layer) if rows else []
    return array((element for row in made for element in row), at.type.shape)


@lower_op.register
def _add_const(op: primitives.AddConst, at: Place, x: Elements) -> Elements:
    constants = spread(op.constant, x.shape)
    return array((add_constant(at, e, n, op.frac) for e, n in zip(x.flat, constants, strict=True)), x.shape)


def add_constant(at: Place, element: Element, value: int, frac: int) -> Element:
    """Return ``element + value * 2**-frac``."""
    if not value:
        return element
    build, layer = at.build, at.layer
    constant = build.constant(value, frac, layer)
    part, offset = build.split(element)
    if offset:  # one sum for both constants
        constant = build.sum(constant, build.constant(offset, element.frac, layer), layer)
        element = part
    return build.sum(element, constant, layer)


@lower_op.register
def _mul_const(op: primitives.MulConst, at: Place, x: Elements) -> Elements:
    factors = spread(op.multiplier, x.shape)
    return array((_times(at, e, n, op.frac) for e, n in zip(x.flat, factors, strict=True)), x.shape)


def _times(at: Place, element: Element, factor: int, frac: int) -> Element:
    return matrix.emit(at.build, [element], np.array([[factor]], dtype=np.int64), frac, at.layer)[0]


@lower_op.register
def _quantize(op: primitives.Requantize, at: Place, x: Elements) -> Elements:
    bounds = (spread(values, x.shape) for values in (op.lo, op.hi, op.frac))
    out = (
        _convert(op, at, element, lo, hi, frac) for element, lo, hi, frac in zip(x.flat, *bounds, strict=True)
    )
    return array(out, x.shape)


def _convert(op: primitives.Requantize, at: Place, x: Element, lo: int, hi: int, frac: int) -> Element:
    build, layer = at.build, at.layer
    if lo == hi and not (op.overflow is Overflow.SAT_ZERO and lo):
        return build.constant(lo, frac, layer)
    x = _within_reach(op, at, x, lo, hi, frac)
    rounded = on_grid(build, round_to(build, x, frac, op.rounding, layer), frac, layer)
    return overflow(op.overflow, at, rounded, lo, hi)


def overflow(mode: Overflow, at: Place, x: Element, lo: int, hi: int) -> Element:
    """Bring an element of its own sign into ``lo..hi``, in its LSBs."""
    build, layer = at.build, at.layer
    kind = build.kind(x)
    if mode in (Overflow.SAT, Overflow.SAT_SYM) or (lo <= kind.lo and kind.hi <= hi):
        return build.clip(x, lo, hi, layer)
    if mode is Overflow.WRAP:
        return logic.wrap(build, x, lo, hi, layer)
    if kind.hi < lo or hi < kind.lo:
        return build.constant(0, x.frac, layer)
    # Above the top it is also above the bottom: one exclusive or tells the inside from both sides.
    above = logic.at_least(build, x, hi + 1, layer)
    inside = logic.parity(build, [logic.at_least(build, x, lo, layer), above], layer)
    ends = (min(max(kind.lo, lo), 0), max(min(kind.hi, hi), 0), x.frac)
    return logic.select(build, inside, x, build.constant(0, x.frac, layer), layer, ends)


def _within_reach(op: primitives.Requantize, at: Place, x: Element, lo: int, hi: int, frac: int) -> Element:
    """Bound an element to which so many zeros are appended that it would leave 62 bits."""
    build = at.build
    zeros, kind = frac - x.frac, build.kind(x)
    if build.is_zero(x.wire) or zeros + kind.width <= MAX_WIDTH:
        return x
    if op.overflow is Overflow.WRAP:
        width = max(0, (hi - lo + 1).bit_length() - 1 - zeros)
        return logic.wrap(build, x, 0, (1 << width) - 1, at.layer)
    return build.clip(x, (lo >> zeros) - 1, (hi >> zeros) + 1, at.layer)


def round_to(
    build: Builder, x: Element, frac: int, rounding: Rounding, layer: int, offset: int = 0
) -> Element:
    """Like `Builder.round`, for any number of dropped bits."""
    if x.frac - frac > MAX_WIDTH and not build.is_zero(x.wire):
        # Everything is less than half an LSB; only truncation tells negative numbers from others.
        if rounding is not Rounding.TRN:
            return build.constant(offset, frac, layer)
        x = replace(x, frac=frac + MAX_WIDTH)
    return build.round(x, frac, rounding, layer, offset)


def on_grid(build: Builder, element: Element, frac: int, layer: int) -> Element:
    """Return the element with exactly ``frac`` fraction bits (a sum may have kept a coarser grid)."""
    element = build.positive(element, layer)
    if element.frac == frac:
        return element
    if build.is_zero(element.wire):
        return replace(element, frac=frac)
    return Element(build.add(Floor(element.frac - frac), (element.wire,), layer, frac), frac)


@lower_op.register
def _relu(op: primitives.Relu, at: Place, x: Elements) -> Elements:
    build = at.build
    return array((build.clip(e, 0, max(build.kind(e).hi, 0), at.layer) for e in x.flat), x.shape)


@lower_op.register
def _clip(op: primitives.Clip, at: Place, x: Elements) -> Elements:
    build, layer = at.build, at.layer
    out = []
    for e in x.flat:
        for bound, largest in ((op.lo, True), (op.hi, False)):
            e = logic.extreme(build, e, build.constant(bound, op.frac, layer), layer, largest=largest)
        out.append(e)
    return array(out, x.shape)


@lower_op.register
def _rescale(op: primitives.Rescale, at: Place, x: Elements) -> Elements:
    build, layer = at.build, at.layer
    columns = (spread(v, x.shape) for v in (op.multiplier, op.offset, op.shift, op.lo, op.hi))
    grids = at.types[0].frac.ravel().tolist()
    out = []
    for element, grid, m, offset, shift, lo, hi in zip(x.flat, grids, *columns, strict=True):
        # In integers of the element's own grid: the product keeps that grid's LSB as unit.
        unit = replace(element, frac=element.frac - grid)
        product = _times(at, unit, m, 0)
        total = build.sum(product, build.constant(offset, 0, layer), layer)
        clipped = build.clip(round_to(build, total, -shift, Rounding.TRN, layer), lo, hi, layer)
        out.append(Element(clipped.wire, op.frac))
    return array(out, x.shape)


@lower_op.register
def _steps(op: primitives.Steps, at: Place, x: Elements) -> Elements:
    size = op.thresholds.shape[-1]
    thresholds = np.broadcast_to(op.thresholds, (*x.shape, size)).reshape(-1, size)
    jumps = np.broadcast_to(op.jumps, (*x.shape, size)).reshape(-1, size)
    bases = spread(op.base, x.shape)
    kind = at.types[0]
    out = []
    for number, element in enumerate(x.flat):
        low = int(kind.lo.flat[number])
        values = (bases[number] + np.concatenate([[0], np.cumsum(jumps[number])])).tolist()
        starts = [min(low, *thresholds[number].tolist()) - 1, *thresholds[number].tolist()]
        out.append(_stairs(op.frac, at, element, number, starts, values))
    return array(out, x.shape)


@lower_op.register
def _lookup(op: primitives.Lookup, at: Place, x: Elements) -> Elements:
    first, which = spread(op.first, x.shape), spread(op.which, x.shape)
    rows = {}
    for row in set(which):
        values = op.table[row]
        at_change = np.concatenate([[0], np.flatnonzero(np.diff(values)) + 1])
        rows[row] = (at_change.tolist(), values[at_change].tolist())
    out = []
    for number, element in enumerate(x.flat):
        changes, values = rows[which[number]]
        out.append(_stairs(op.frac, at, element, number, [n + first[number] for n in changes], values))
    return array(out, x.shape)


def _stairs(
    frac: int, at: Place, element: Element, number: int, starts: list[int], values: list[int]
) -> Element:
    """Return a function of a tensor's code: ``values[k]`` from ``starts[k]`` on."""
    kind = at.types[0]
    zeros = 0 if at.build.is_zero(element.wire) else int(kind.frac.flat[number]) - element.frac
    low, high = int(kind.lo.flat[number]), int(kind.hi.flat[number])
    runs = stairs.Runs.of(starts, values, low, high)
    return stairs.emit(at.build, element, runs.divided(zeros) if zeros else runs, frac, at.layer)
