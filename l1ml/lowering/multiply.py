# SPDX-License-Identifier: Apache-2.0
"""Products of two variables: a table, rows of adders, or a DSP block, whichever the widths ask for.

* Up to six input bits in all: a table, one LUT per result bit.
* Up to `ROWS_AREA` bits times bits: rows of two bits, summed by a tree.  The scheduler may cut it anywhere.
* Wider: one `Multiply`, printed as ``*``, for a DSP block.  The XCVU13P has 140 LUTs for every DSP block.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from l1ml.dataflow import logic
from l1ml.dataflow.build import Builder, Element
from l1ml.dataflow.op import ROW_BITS, Floor, Multiply, Wrap
from l1ml.lowering import matrix
from l1ml.lowering.sums import add_all
from l1ml.types.intrange import IntType

ROWS_AREA = 100
TABLE_BITS = 6
SQUARE_BITS = 8
"""Widest operand of a square that is made as a table."""


def multiply(build: Builder, a: Element, b: Element, layer: int) -> Element:
    """Return ``a * b``."""
    for one, other in ((a, b), (b, a)):
        value = logic.constant_of(build, other)
        if value is not None:
            factor = np.array([[value]], dtype=np.int64)
            return matrix.emit(build, [one], factor, other.frac, layer)[0]
    ka, kb = build.type_of(a.wire), build.type_of(b.wire)
    if (ka.width, a.wire) < (kb.width, b.wire):
        a, b, ka, kb = b, a, kb, ka
    frac, negated = a.frac + b.frac, a.negated != b.negated
    x, y = Element(a.wire, 0), Element(b.wire, 0)
    if a.wire == b.wire and ka.width <= SQUARE_BITS:
        made = logic.lookup(build, x, ka.lo, [n * n for n in range(ka.lo, ka.hi + 1)], 0, layer)
    elif kb.width == 1:  # a mask
        made = logic.select(
            build, Element(_word(build, b.wire, layer), 0), x, build.constant(0, 0, layer), layer
        )
        made = build.negative(made) if kb.signed else made
    elif ka.width + kb.width <= TABLE_BITS:
        made = _table(build, a.wire, b.wire, layer)
    elif ka.width * kb.width <= ROWS_AREA:
        made = rows(build, a.wire, b.wire, layer)
    else:
        made = logic.multiply(build, x, y, layer)
    return Element(made.wire, made.frac + frac, made.negated != negated)


def _word(build: Builder, wire: int, layer: int) -> int:
    """Return the bits of a wire read as an unsigned number."""
    kind = build.type_of(wire)
    return build.add(Wrap(kind.width, signed=False), (wire,), layer, 0) if kind.signed else wire


def _table(build: Builder, a: int, b: int, layer: int) -> Element:
    """Make the product as a table over both operands' bits side by side."""
    ka, kb = build.type_of(a), build.type_of(b)
    word = logic.join(
        build,
        [(Element(_word(build, b, layer), 0), 0), (Element(_word(build, a, layer), 0), kb.width)],
        layer,
    )
    values = [
        _signed(n >> kb.width, ka) * _signed(n & ((1 << kb.width) - 1), kb)
        for n in range(build.type_of(word.wire).hi + 1)
    ]
    return logic.lookup(build, word, 0, values, 0, layer)


def _signed(code: int, kind: IntType) -> int:
    """Return a bit pattern as the integer of a wire; patterns that never arrive give the nearest one."""
    value = code - (1 << kind.width) if kind.signed and code >> (kind.width - 1) else code
    return min(max(value, kind.lo), kind.hi)


def rows(build: Builder, a: int, b: int, layer: int) -> Element:
    """Make the product as a sum of rows: ``a`` times two bits of ``b`` each, the top row with its sign."""
    ka, kb = build.type_of(a), build.type_of(b)
    terms = []
    low = 0
    while low < kb.width:
        size = kb.width % ROW_BITS if low == 0 and kb.width % ROW_BITS else ROW_BITS
        digit = build.add(Floor(low), (b,), layer, 0) if low else b
        if low + size < kb.width:
            digit = build.add(Wrap(size, signed=False), (digit,), layer, 0)
        terms.append(Element(_row(build, a, digit, layer), -low))
        low += size
    ends = [m * n for m in (ka.lo, ka.hi) for n in (kb.lo, kb.hi)]
    tight = (min(ends), max(ends), 0)
    if a == b:
        tight = (0 if ka.lo <= 0 <= ka.hi else min(ka.lo**2, ka.hi**2), max(ka.lo**2, ka.hi**2), 0)
    return add_all(build, terms, layer, tight)


def _row(build: Builder, a: int, digit: int, layer: int) -> int:
    return build.add(Multiply(), (a, digit), layer, 0)


def inner_product(build: Builder, x: list[Element], y: list[Element], layer: int) -> Element:
    """Return the sum of ``x[k] * y[k]``; products with constants go through one matrix."""
    variable, fixed, weights = [], [], []
    for a, b in zip(x, y, strict=True):
        for one, other in ((a, b), (b, a)):
            value = logic.constant_of(build, other)
            if value is not None:
                if value:
                    fixed.append(replace(one, frac=one.frac + other.frac))
                    weights.append([value])
                break
        else:
            variable.append(multiply(build, a, b, layer))
    if fixed:
        variable += matrix.emit(build, fixed, np.array(weights, dtype=np.int64), 0, layer)
    return add_all(build, variable, layer) if variable else build.constant(0, 0, layer)
