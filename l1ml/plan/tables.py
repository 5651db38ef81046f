# SPDX-License-Identifier: Apache-2.0
"""Numbers of a product as the hardware has them: how wide, side by side, and as parameters."""

from __future__ import annotations

import numpy as np

from l1ml.types.arrays import IntArray

LITERAL_BITS = 1 << 16
"""Bits of the widest number that Verilator reads; wider ones are put together."""


def width(lo: int, hi: int, *, signed: bool) -> int:
    """Return the bits of all codes from one to another; 0 where both are 0 and there is no sign.

    Args:
        lo: smallest code; 0 or more unless ``signed``.
        hi: largest code.
        signed: two's complement.
    """
    return max(hi.bit_length(), (~lo).bit_length() if lo < 0 else 0) + signed


def packed(codes: IntArray, bits: int) -> int:
    """Return codes as one number, the first in the lowest bits.

    Args:
        codes: integers, (n,).
        bits: of each, two's complement; bits above are cut off.
    """
    mask = (1 << bits) - 1
    text = "".join(format(int(code) & mask, f"0{bits}b") for code in codes[::-1])
    return int(text, 2)


def literal(value: int, bits: int) -> str:
    """Return a number as SystemVerilog.

    Args:
        value: 0 or more.
        bits: of the number.
    """
    parts: list[str] = []
    for low in range(0, bits, LITERAL_BITS):
        width = min(LITERAL_BITS, bits - low)
        parts.insert(0, f"{width}'h{value >> low & ((1 << width) - 1):x}")
    return parts[0] if len(parts) == 1 else "{" + ", ".join(parts) + "}"


def least_bits(weights: IntArray, input_bits: int, input_signed: bool, bias: IntArray | None = None) -> int:
    """Return the fewest bits, two's complement, that hold every result for inputs of any value.

    Args:
        weights: codes, (phases, inputs, outputs).
        input_bits: bits of an input.
        input_signed: whether inputs are two's complement.
        bias: codes added to every result, (outputs,); None for zeros.
    """
    small = int(np.abs(weights).max()) < 1 << 40  # then the sums over inputs fit 64 bits
    w = weights if small else weights.astype(object)
    low = -(1 << (input_bits - 1)) if input_signed else 0
    high = low + (1 << input_bits) - 1
    above, below = (f(w, 0).sum(axis=(0, 1)).astype(object) for f in (np.maximum, np.minimum))
    offset = np.zeros(w.shape[2], dtype=object) if bias is None else bias.astype(object)
    largest = int(max(above * high + below * low + offset))
    smallest = int(min(above * low + below * high + offset))
    return 1 + max(max(largest, 0).bit_length(), (~min(smallest, -1)).bit_length())
