# SPDX-License-Identifier: Apache-2.0
"""Element codes into the bits of a wide port and back, for whole batches of events."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from l1ml.types.arrays import IntArray, WordArray


@dataclass(frozen=True, slots=True)
class Slot:
    """The bits of one element in a port: ``lsb`` upwards, ``width`` bits, two's complement if ``signed``."""

    lsb: int
    width: int
    signed: bool


def pack(codes: ArrayLike, slots: Sequence[Slot], width: int) -> WordArray:
    """Put element codes into a port.

    Args:
        codes: int64, (events, elements).
        slots: where every element lies; they do not overlap.
        width: bits of the port.

    Returns:
        uint64, (events, chunks), 64 bits per chunk, least significant first.

    Example:
        >>> pack([[-1, 5]], [Slot(0, 4, True), Slot(4, 4, False)], 8)
        array([[95]], dtype=uint64)
    """
    table = np.asarray(codes, dtype=np.int64).astype(np.uint64)
    out = np.zeros((len(table), -(-width // 64)), dtype=np.uint64)
    for column, slot in enumerate(slots):
        value = table[:, column] & np.uint64((1 << slot.width) - 1)
        chunk, shift = divmod(slot.lsb, 64)
        out[:, chunk] |= value << np.uint64(shift)
        if shift + slot.width > 64:
            out[:, chunk + 1] |= value >> np.uint64(64 - shift)
    return out


def unpack(words: WordArray, slots: Sequence[Slot]) -> IntArray:
    """Read element codes out of a port; undoes `pack`.

    Args:
        words: uint64, (events, chunks).
        slots: where every element lies.

    Returns:
        int64, (events, elements), sign-extended.

    Example:
        >>> unpack(np.array([[95]], dtype=np.uint64), [Slot(0, 4, True), Slot(4, 4, False)])
        array([[-1,  5]])
    """
    out = np.empty((len(words), len(slots)), dtype=np.int64)
    for column, slot in enumerate(slots):
        chunk, shift = divmod(slot.lsb, 64)
        value = words[:, chunk] >> np.uint64(shift)
        if shift + slot.width > 64:
            value = value | words[:, chunk + 1] << np.uint64(64 - shift)
        left = np.uint64(64 - slot.width)
        moved = value << left
        out[:, column] = moved.view(np.int64) >> left.astype(np.int64) if slot.signed else moved >> left
    return out
