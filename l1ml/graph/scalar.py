# SPDX-License-Identifier: Apache-2.0
"""Scalar programs: one row per wire, as other tools trace them.

A row reads earlier wires and names its constants; it says nothing about ranges, which follow from the types
of the inputs (`l1ml.graph.scalar_ranges`).
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from typing import NamedTuple

import numpy as np

from l1ml.errors import ModelError
from l1ml.types.arrays import IntArray
from l1ml.types.intrange import MAX_WIDTH

COLUMNS = 7
LIMIT = 128
"""Largest shift, width or binary point in a row: beyond it nothing fits 62 bits."""


class Kind(IntEnum):
    """What a row does; ``a b c`` are wires, ``p q r`` integers.  Values are real numbers ``code * 2**-frac``.

    ========= =================================================================================
    CONSTANT  ``p * 2**-q``
    ADD       ``a + b * 2**p``, bits below ``2**-q`` left out
    SUBTRACT  ``a - b * 2**p``, bits below ``2**-q`` left out
    NEGATE    ``-a``
    CONVERT   ``a * 2**p`` truncated to ``q`` fraction bits, wrapped into ``|r|`` bits, signed if ``r < 0``
    RELU      ``max(a, 0)``
    MUX       ``a`` where the bit of weight ``2**p`` of ``c`` is set, else ``b * 2**q``
    MULTIPLY  ``a * b``
    LOOKUP    entry ``a * 2**r - q`` of table ``p``, modulo the next power of two; 0 beyond the table
    NOT       all bits of ``a * 2**q``, a word of ``|p|`` bits, inverted; ``r`` fraction bits
    ANY       1 where ``a`` is not 0, else 0
    ALL       1 where all ``p`` low bits of ``a * 2**q`` are set, else 0
    AND       bitwise ``a & b * 2**p``, two's complement without end
    OR        bitwise ``a | b * 2**p``
    XOR       bitwise ``a ^ b * 2**p``
    ========= =================================================================================
    """

    CONSTANT = 0
    ADD = 1
    SUBTRACT = 2
    NEGATE = 3
    CONVERT = 4
    RELU = 5
    MUX = 6
    MULTIPLY = 7
    LOOKUP = 8
    NOT = 9
    ANY = 10
    ALL = 11
    AND = 12
    OR = 13
    XOR = 14


READS = {Kind.CONSTANT: 0, Kind.MUX: 3} | dict.fromkeys(
    (Kind.ADD, Kind.SUBTRACT, Kind.MULTIPLY, Kind.AND, Kind.OR, Kind.XOR), 2
)
"""How many wires a kind reads; 1 for those not named."""

SHIFTS = {
    Kind.CONSTANT: (5,), Kind.ADD: (4, 5), Kind.SUBTRACT: (4, 5), Kind.CONVERT: (4, 5, 6), Kind.MUX: (4, 5),
    Kind.LOOKUP: (6,), Kind.NOT: (4, 5, 6), Kind.ALL: (4, 5), Kind.AND: (4,), Kind.OR: (4,), Kind.XOR: (4,),
}  # fmt: skip
"""Columns that hold shifts, widths and binary points."""


class Step(NamedTuple):
    """A row with its binary points resolved: integers only.

    ``x << s`` of ``a`` and ``b`` by ``shift_a`` and ``shift_b``, then the operation, then ``>> drop``.
    """

    kind: Kind
    a: int
    b: int
    c: int
    shift_a: int
    shift_b: int
    drop: int
    p: int
    q: int


def check(rows: IntArray, wires: int, table_sizes: Sequence[int]) -> None:
    """Refuse rows that read later wires or hold senseless constants.

    Args:
        rows: (n, 7): kind, a, b, c, p, q, r.
        wires: number of inputs.
        table_sizes: number of entries of every table.

    Raises:
        ModelError: at least one row is wrong; the first is named.
    """
    for number, row in enumerate(rows.tolist()):
        text = ""
        try:
            kind = Kind(row[0])
        except ValueError:
            text = f"has the unknown kind {row[0]}"
        else:
            reads = row[1 : 1 + READS.get(kind, 1)]
            if not all(0 <= wire < wires + number for wire in reads):
                text = f"reads the wires {reads}; {wires + number} exist before it"
            elif any(abs(row[column]) > LIMIT for column in SHIFTS.get(kind, ())):
                text = f"has a shift, a width or a binary point beyond {LIMIT}: {row[4:]}"
            elif kind is Kind.LOOKUP and not 0 <= row[4] < len(table_sizes):
                text = f"reads table {row[4]} of {len(table_sizes)}"
            elif kind in (Kind.NOT, Kind.ALL) and not 0 < abs(row[4]) <= MAX_WIDTH:
                text = f"inverts or tests a word of {abs(row[4])} bits; 1 to {MAX_WIDTH} are supported"
            elif kind is Kind.CONSTANT and abs(row[4]) >= 1 << MAX_WIDTH - 1:
                text = f"has the constant {row[4]}, which needs more than {MAX_WIDTH} bits"
        if text:
            raise ModelError(f"row {number} of a scalar program {text}")


def entries(table: IntArray, index: IntArray) -> IntArray:
    """Return what a LOOKUP gives: the index counts modulo a power of two, beyond the table there is 0."""
    inside = index & (1 << max(0, len(table) - 1).bit_length()) - 1
    return np.where(inside < len(table), table[np.minimum(inside, len(table) - 1)], 0)
