# SPDX-License-Identifier: Apache-2.0
"""The exact type of a tensor: the range and the binary point of every element."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from l1ml.errors import RangeError
from l1ml.types.arrays import IntArray
from l1ml.types.intrange import MAX_WIDTH, IntType


@dataclass(frozen=True, eq=False)
class TensorType:
    """Element ``k`` holds integers ``lo[k]..hi[k]`` that stand for ``n * 2**-frac[k]``.

    Args:
        lo: smallest codes, int64, shape of the tensor without the event axis.
        hi: largest codes, same shape.
        frac: fraction bits, same shape.
    """

    lo: IntArray
    hi: IntArray
    frac: IntArray

    def __post_init__(self) -> None:
        assert self.lo.shape == self.hi.shape == self.frac.shape
        assert bool((self.lo <= self.hi).all()), "empty range"
        for array in (self.lo, self.hi, self.frac):
            array.setflags(write=False)

    @classmethod
    def of(cls, shape: tuple[int, ...], kind: IntType) -> TensorType:
        """Return a tensor type whose elements are all ``kind``."""
        full = (np.full(shape, n, dtype=np.int64) for n in (kind.lo, kind.hi, kind.frac))
        return cls(*full)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape without the event axis."""
        return self.lo.shape

    @property
    def size(self) -> int:
        """Number of elements of one event."""
        return self.lo.size

    @property
    def max_frac(self) -> int:
        """The finest LSB among the elements, as fraction bits."""
        return int(self.frac.max()) if self.size else 0

    def at(self, index: int) -> IntType:
        """Return the type of the element with the given flat index."""
        return IntType(int(self.lo.flat[index]), int(self.hi.flat[index]), int(self.frac.flat[index]))

    def aligned(self, frac: int) -> tuple[IntArray, IntArray]:
        """Return ``(lo, hi)`` expressed in LSBs of ``2**-frac``, which must be fine enough."""
        shift = frac - self.frac
        assert bool((shift >= 0).all())
        if int(shift.max(initial=0)) + self.max_width > MAX_WIDTH:
            raise RangeError(
                f"LSBs are {int(shift.max())} bits apart: a common grid needs more than {MAX_WIDTH} bits",
                fix="quantize this tensor to one type first",
            )
        return self.lo << shift, self.hi << shift

    @property
    def max_width(self) -> int:
        """Bits of the widest element."""
        return max((self.at(k).width for k in range(self.size)), default=0)

    def reshaped(self, shape: tuple[int, ...]) -> TensorType:
        """Return the same elements in another shape, C order."""
        return TensorType(self.lo.reshape(shape), self.hi.reshape(shape), self.frac.reshape(shape))

    def __str__(self) -> str:
        lo, hi = float((self.lo * 2.0**-self.frac).min()), float((self.hi * 2.0**-self.frac).max())
        return f"{list(self.shape)} {lo:g}..{hi:g} frac {int(self.frac.min())}..{self.max_frac}"


def check_width(lo: IntArray, hi: IntArray, what: str) -> None:
    """Refuse ranges that leave int64 arithmetic no headroom."""
    bound = 1 << (MAX_WIDTH - 1)
    if int(lo.min(initial=0)) < -bound or int(hi.max(initial=0)) >= bound:
        raise RangeError(f"{what} needs more than {MAX_WIDTH} bits", fix="quantize its inputs to fewer bits")
