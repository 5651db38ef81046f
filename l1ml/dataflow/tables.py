# SPDX-License-Identifier: Apache-2.0
"""Lookups bit by bit: each result bit as a truth table over the input bits that it depends on.

Printer, estimate and delay model all look at a table in this form: constant bits, bits that repeat one
input, and bits of few inputs cost what they cost, whatever the size of the table.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from l1ml.dataflow.op import Lookup
from l1ml.types.arrays import IntArray
from l1ml.types.intrange import IntType

MAX_INPUTS = 16
"""Widest index of a table in LUTs: 65,536 entries."""
USUAL_INPUTS = 12
"""Widest index of a table that other forms are compared with; larger ones take synthesis minutes."""
LUT_INPUTS = 6
_JOINED = LUT_INPUTS + 2
"""Inputs of four LUTs joined by the slice's own F7 and F8 multiplexers, which cost nothing."""


@dataclass(frozen=True, slots=True)
class Column:
    """One result bit of a lookup.

    Args:
        inputs: the input bits it depends on, lowest first.
        truth: bit ``n`` is its value where these input bits, read as a number, are ``n``.
    """

    inputs: tuple[int, ...]
    truth: int

    @property
    def size(self) -> int:
        """Return the entries of the truth table."""
        return 1 << len(self.inputs)

    @property
    def luts(self) -> int:
        """Return the six-input LUTs it takes: distinct parts of the table, and multiplexers between them."""
        return lut_count(self.truth, len(self.inputs))


@lru_cache(maxsize=4096)
def columns(op: Lookup, kind: IntType, width: int) -> tuple[Column, ...]:
    """Return the low ``width`` result bits of a lookup, lowest first.

    Args:
        op: the lookup.
        kind: range of its operand; bit patterns outside it never arrive and repeat the nearest entry.
        width: number of bits.
    """
    assert kind.width <= MAX_INPUTS, f"a table over {kind.width} bits"
    codes = np.arange(1 << kind.width, dtype=np.int64)
    if kind.signed:
        codes -= (codes >> (kind.width - 1)) << kind.width
    values = np.array(op.table, dtype=np.int64)[np.clip(codes, kind.lo, kind.hi) - op.first]
    return tuple(_column((values >> bit) & 1) for bit in range(width))


def _column(bits: IntArray) -> Column:
    """Drop the inputs that change nothing."""
    inputs: list[int] = []
    left = bits
    for bit in range(bits.size.bit_length() - 1):
        halves = left.reshape(-1, 2, 1 << len(inputs))
        if np.array_equal(halves[:, 0], halves[:, 1]):
            left = halves[:, 0].ravel()
        else:
            inputs.append(bit)
    return Column(tuple(inputs), int.from_bytes(np.packbits(left, bitorder="little").tobytes(), "little"))


def lut_count(truth: int, inputs: int) -> int:
    """Return the six-input LUTs of a truth table whose every input matters.

    The table is cut along its upper inputs.  Parts of eight inputs are four LUTs, joined for nothing; equal
    parts are built once; four parts take a multiplexer of one LUT.
    """
    if inputs <= LUT_INPUTS:
        return int(inputs > 1)
    leaves = sum(
        len(_parts(part, min(inputs, _JOINED), LUT_INPUTS)) for part in _distinct(truth, inputs, _JOINED)
    )
    multiplexers = sum(len(_distinct(truth, inputs, size)) for size in range(_JOINED + 2, inputs + 2, 2))
    return leaves + multiplexers


def _distinct(truth: int, inputs: int, size: int) -> set[int]:
    """Return the different parts of ``2**size`` entries; one that is another inverted is not different."""
    whole = (1 << (1 << min(size, inputs))) - 1
    return {min(part, part ^ whole) for part in _parts(truth, inputs, size)}


def _parts(truth: int, inputs: int, size: int) -> list[int]:
    """Return the parts of ``2**size`` entries that are not constant."""
    entries = 1 << min(size, inputs)
    whole = (1 << entries) - 1
    parts = (truth >> start & whole for start in range(0, 1 << inputs, entries))
    return [part for part in parts if part not in (0, whole)]


def compare_luts(width: int, threshold: int) -> int:
    """Return the LUTs of a comparison of ``width`` bits with a constant; zeros it ends in are left out."""
    zeros = (threshold & -threshold).bit_length() - 1 if threshold else width - 1
    inputs = width - zeros
    if inputs > 2 * LUT_INPUTS:
        return round(0.35 * inputs)  # on the carry chain
    return int(inputs > 1) + max(0, -(-(inputs - LUT_INPUTS - 1) // 3))


def tree_luts(inputs: int) -> int:
    """Return the LUTs of a function of many inputs that splits like AND."""
    return 0 if inputs <= 1 else -(-(inputs - 1) // (LUT_INPUTS - 1))
