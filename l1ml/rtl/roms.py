# SPDX-License-Identifier: Apache-2.0
"""Tables as constants of the module: one bit vector per result bit, read by an index.

A vector of 64 bits with a six-bit index is one LUT; every tool reads this form, and none takes it for a
block RAM, which would need a clock of its own.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator

from l1ml.dataflow.tables import Column

LINE = 100
_CHUNK = 256
"""Bits of one literal: a line of 64 hex digits."""


def rom_name(column: Column) -> str:
    """Return the name of a truth table, made from its content: the same table is the same constant."""
    text = f"{len(column.inputs)}:{column.truth:x}"
    return f"Rom{hashlib.sha256(text.encode()).hexdigest()[:12]}"


def declarations(tables: Iterable[Column]) -> Iterator[str]:
    """Yield the constants of all tables that need one, each once."""
    made: dict[str, Column] = {}
    for column in tables:
        name = rom_name(column)
        if len(column.inputs) > 1 and name not in made:
            made[name] = column
        assert made.get(name, column).truth == column.truth, "two tables of one name"
    if made:
        yield ""
        yield "  // Tables: one constant per result bit, bit n is the result at index n."
    for name, column in made.items():
        head = f"  localparam logic [{column.size - 1}:0] {name} ="
        if column.size <= _CHUNK:
            yield from _short(head, _hex(column.truth, column.size))
            continue
        yield f"{head} {{"
        for low in range(column.size - _CHUNK, -1, -_CHUNK):
            yield f"    {_hex(column.truth >> low, _CHUNK)}{',' if low else ''}"
        yield "  };"


def _short(head: str, value: str) -> Iterator[str]:
    line = f"{head} {value};"
    yield from [line] if len(line) <= LINE else [head, f"    {value};"]


def _hex(value: int, bits: int) -> str:
    return f"{bits}'h{value & ((1 << bits) - 1):0{max(1, bits // 4)}x}"
