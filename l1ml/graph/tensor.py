# SPDX-License-Identifier: Apache-2.0
"""The exact type of a tensor: the range and the binary point of every element."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from l1ml.errors import RangeError
from l1ml.types.arrays import IntArray
from l1ml.types.intrange import MAX_WIDTH, IntType

MAX_FRAC = 900
"""Binary points beyond this are refused: float64 holds every value of a tensor exactly."""


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
        for name in ("lo", "hi", "frac"):
            array = np.asarray(getattr(self, name), dtype=np.int64).view()
            array.setflags(write=False)
            object.__setattr__(self, name, array)
        assert self.lo.shape == self.hi.shape == self.frac.shape
        assert bool((self.lo <= self.hi).all()), "empty range"
        if self.size:
            check_width(self.lo, self.hi, "a tensor")
            if max(int(self.frac.max()), -int(self.frac.min())) > MAX_FRAC:
                raise RangeError(f"a tensor has a binary point more than {MAX_FRAC} bits away")

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
        peak = np.maximum(np.abs(self.lo.astype(np.float64)), np.abs(self.hi.astype(np.float64)))
        if float(np.ldexp(peak, shift).max(initial=0.0)) >= 2.0 ** (MAX_WIDTH - 1):
            raise RangeError(
                f"LSBs are {int(shift.max())} bits apart: a common grid needs more than {MAX_WIDTH} bits",
                fix="quantize this tensor to one type first",
            )
        return self.lo << shift, self.hi << shift

    @property
    def max_width(self) -> int:
        """Bits of the widest element."""
        if not self.size:
            return 0
        signed = self.lo < 0  # an element without negative values needs no sign bit
        plain = int(self.hi[~signed].max(initial=0)).bit_length()
        if not bool(signed.any()):
            return plain
        return max(plain, int(np.maximum(self.hi, ~self.lo)[signed].max()).bit_length() + 1)

    def reshaped(self, shape: tuple[int, ...]) -> TensorType:
        """Return the same elements in another shape, C order."""
        return TensorType(self.lo.reshape(shape), self.hi.reshape(shape), self.frac.reshape(shape))

    def __str__(self) -> str:
        if not self.size:
            return f"{list(self.shape)} empty"
        lo, hi = float(np.ldexp(self.lo, -self.frac).min()), float(np.ldexp(self.hi, -self.frac).max())
        return f"{list(self.shape)} {lo:g}..{hi:g} frac {int(self.frac.min())}..{self.max_frac}"


def check_width(lo: IntArray, hi: IntArray, what: str) -> None:
    """Refuse ranges that leave int64 arithmetic no headroom."""
    bound = 1 << (MAX_WIDTH - 1)
    if int(lo.min(initial=0)) >= -bound and int(hi.max(initial=0)) < bound:
        return
    if bool((lo < -bound).any()) or bool((hi >= np.where(lo < 0, bound, 2 * bound)).any()):
        raise RangeError(f"{what} needs more than {MAX_WIDTH} bits", fix="quantize its inputs to fewer bits")
