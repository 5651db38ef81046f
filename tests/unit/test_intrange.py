# SPDX-License-Identifier: Apache-2.0
"""The range of one wire."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from l1ml.errors import RangeError
from l1ml.types.intrange import MAX_WIDTH, IntType

bounds = st.integers(-(2 ** (MAX_WIDTH - 1)), 2 ** (MAX_WIDTH - 1) - 1)


def holds(bits: int, signed: bool, n: int) -> bool:
    """Tell whether ``n`` can be written in ``bits`` bits."""
    return -(2 ** (bits - 1)) <= n < 2 ** (bits - 1) if signed else 0 <= n < 2**bits


@given(st.tuples(bounds, bounds), st.integers(-20, 20))
def test_width_is_the_smallest_that_holds_the_range(pair: tuple[int, int], frac: int) -> None:
    lo, hi = sorted(pair)
    kind = IntType(lo, hi, frac)
    assert kind.signed == (lo < 0)
    assert all(holds(kind.width, kind.signed, n) for n in (lo, hi)) or (lo, hi) == (0, 0)
    if kind.width > 1:
        assert not all(holds(kind.width - 1, kind.signed, n) for n in (lo, hi))


@pytest.mark.parametrize(
    ("lo", "hi", "width", "text"),
    [
        (0, 0, 0, "u0.3[0..0]"),
        (0, 1, 1, "u1.3[0..1]"),
        (-1, 0, 1, "s1.3[-1..0]"),
        (-1, 1, 2, "s2.3[-1..1]"),
        (-8, 7, 4, "s4.3[-8..7]"),
        (5, 8, 4, "u4.3[5..8]"),
        (-9, -9, 5, "s5.3[-9..-9]"),
    ],
)
def test_small_ranges(lo: int, hi: int, width: int, text: str) -> None:
    assert IntType(lo, hi, 3).width == width
    assert str(IntType(lo, hi, 3)) == text


def test_limits() -> None:
    assert IntType(0, 2**MAX_WIDTH - 1).width == MAX_WIDTH
    with pytest.raises(
        RangeError, match=rf"^range 0\.\.{2**MAX_WIDTH} needs 63 bits, at most 62 are supported"
    ):
        IntType(0, 2**MAX_WIDTH)
    with pytest.raises(RangeError, match=r"needs 63 bits"):
        IntType(-1, 2 ** (MAX_WIDTH - 1))
    with pytest.raises(RangeError, match=r"^empty range: lo=2 is above hi=1"):
        IntType(2, 1)
