# SPDX-License-Identifier: Apache-2.0
"""Fixed-point conversions against exact rational arithmetic: floats and integers, every mode."""

from __future__ import annotations

import math
import re
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from l1ml.errors import ConfigError, RangeError
from l1ml.types.fixed import (
    FixedType,
    Overflow,
    Quantizer,
    Rounding,
    overflow_codes,
    quantize,
    quantize_codes,
    requantize_codes,
    round_codes,
    shift_codes,
    to_codes,
)
from l1ml.types.intrange import MAX_WIDTH

HALF = Fraction(1, 2)


def exact_round(x: Fraction, mode: Rounding) -> int:
    """Round by the definitions of UG1399, in rational arithmetic."""
    below = math.floor(x)
    if mode is Rounding.TRN:
        return below
    if mode is Rounding.TRN_ZERO:
        return math.trunc(x)
    if x - below != HALF:
        return below + (x - below > HALF)
    return {
        Rounding.RND: below + 1,
        Rounding.RND_MIN_INF: below,
        Rounding.RND_ZERO: below if x > 0 else below + 1,
        Rounding.RND_INF: below + 1 if x > 0 else below,
        Rounding.RND_CONV: below + below % 2,
    }[mode]


def exact_overflow(n: int, kind: FixedType, mode: Overflow) -> int:
    """Treat overflow by the definitions of UG1399, in Python's integers."""
    lo, hi = (-(2 ** (kind.width - 1)), 2 ** (kind.width - 1) - 1) if kind.signed else (0, 2**kind.width - 1)
    if mode is Overflow.WRAP:
        bits = n & (2**kind.width - 1)
        return bits - 2**kind.width if kind.signed and bits >> (kind.width - 1) else bits
    if mode is Overflow.SAT_SYM and kind.signed:
        lo = -hi
    if lo <= n <= hi:
        return n
    return 0 if mode is Overflow.SAT_ZERO else (lo if n < lo else hi)


roundings = st.sampled_from(Rounding)
overflows = st.sampled_from(Overflow)
types = st.builds(
    FixedType,
    signed=st.booleans(),
    width=st.integers(1, MAX_WIDTH) | st.integers(1, 6),
    integer=st.integers(-20, 70) | st.integers(-124, 124),
)
quantizers = st.builds(Quantizer, types, roundings, overflows)
finite = st.floats(allow_nan=False, allow_infinity=False)
small_codes = st.integers(-40, 40)
codes = small_codes | st.integers(-(2 ** (MAX_WIDTH - 1)), 2**MAX_WIDTH - 1)


@st.composite
def near_ties(draw: st.DrawFn) -> float:
    """Draw a half-integer or one of its neighbours in float64."""
    x = draw(st.integers(-9, 9)) + draw(st.sampled_from([0.0, 0.5]))
    for _ in range(draw(st.integers(0, 2))):
        x = math.nextafter(x, draw(st.sampled_from([-math.inf, math.inf])))
    return x


@given(near_ties() | finite, roundings)
@example(-0.5 + 2.0**-54, Rounding.RND_MIN_INF)
@example(0.5 - 2.0**-54, Rounding.RND)
def test_round_codes_is_exact_for_every_float(x: float, mode: Rounding) -> None:
    assert int(round_codes(np.array([x]), mode)[0]) == exact_round(Fraction(x), mode)


@given(codes, st.integers(-8, 70), roundings)
def test_shift_codes_is_division_by_a_power_of_two(code: int, drop: int, mode: Rounding) -> None:
    code = code if drop >= 0 else code % 1000 - 500
    expected = exact_round(Fraction(code) / Fraction(2) ** drop, mode)
    assert int(shift_codes(np.array([code]), drop, mode)[0]) == expected


@pytest.mark.parametrize("mode", Rounding)
def test_rounding_of_all_small_codes(mode: Rounding) -> None:
    codes = np.arange(-70, 71)
    for drop in range(9):
        expected = [exact_round(Fraction(int(n), 2**drop), mode) for n in codes]
        assert shift_codes(codes, drop, mode).tolist() == expected, f"drop {drop}"
        assert round_codes(codes / 2.0**drop, mode).tolist() == expected, f"drop {drop}"


@pytest.mark.parametrize("mode", Overflow)
@pytest.mark.parametrize("signed", [True, False])
def test_overflow_of_all_small_codes(mode: Overflow, signed: bool) -> None:
    codes = np.arange(-70, 71)
    for width in range(1, 8):
        kind = FixedType(signed, width, 3)
        expected = [exact_overflow(int(n), kind, mode) for n in codes]
        assert overflow_codes(codes, kind, mode).tolist() == expected, f"width {width}"
        reached = Quantizer(kind, overflow=mode).int_type
        assert min(expected) == reached.lo or width == 7, f"width {width}"
        assert max(expected) == reached.hi or width == 7, f"width {width}"


@given(st.integers(-(2**62), 2**62), types, overflows)
def test_overflow_codes(code: int, kind: FixedType, mode: Overflow) -> None:
    assert int(overflow_codes(np.array([code]), kind, mode)[0]) == exact_overflow(code, kind, mode)


@given(codes, st.integers(-70, 130), quantizers)
@example(8, 0, Quantizer.parse("fixed<62,1,TRN,SAT>"))
@example(-3, 0, Quantizer.parse("ufixed<3,-80,TRN,SAT_ZERO>"))
def test_requantize_codes(code: int, frac: int, into: Quantizer) -> None:
    scaled = Fraction(code) * Fraction(2) ** (into.type.frac - frac)
    expected = exact_overflow(exact_round(scaled, into.rounding), into.type, into.overflow)
    assert int(requantize_codes(np.array([code]), frac, into)[0]) == expected


@given(finite | near_ties(), quantizers)
@example(3.0, Quantizer.parse("fixed<62,62>"))
@example(-1.0, Quantizer.parse("fixed<62,62>"))
@example(2.0**63 + 2.0**12, Quantizer.parse("fixed<14,14>"))
@example(1e308, Quantizer.parse("fixed<62,-124,RND,SAT>"))
@example(-5e-324, Quantizer.parse("fixed<8,124>"))
def test_quantize_codes(x: float, into: Quantizer) -> None:
    scaled = Fraction(x) * Fraction(2) ** into.type.frac
    expected = exact_overflow(exact_round(scaled, into.rounding), into.type, into.overflow)
    assert int(quantize_codes([x], into)[0]) == expected
    assert into.int_type.lo <= expected <= into.int_type.hi or (
        into.overflow is Overflow.SAT_ZERO and expected == 0
    )


@given(st.lists(small_codes, min_size=1, max_size=8), st.integers(1, 6), st.integers(-3, 9), quantizers)
def test_float_and_integer_way_agree(ns: list[int], width: int, frac: int, into: Quantizer) -> None:
    values = [n * 2.0**-frac for n in ns]
    assert quantize_codes(values, into).tolist() == requantize_codes(np.array(ns), frac, into).tolist()


@given(quantizers, st.data())
def test_quantize_is_idempotent(into: Quantizer, data: st.DataObject) -> None:
    if into.type.width > 53:
        into = Quantizer(FixedType(into.type.signed, 53, into.type.integer), into.rounding, into.overflow)
    x = data.draw(st.floats(-64, 64))
    once = quantize([x], into)
    assert quantize(once, into).tolist() == once.tolist()


@given(types, st.data())
def test_to_codes_returns_what_lies_on_the_grid(kind: FixedType, data: st.DataObject) -> None:
    code = data.draw(st.integers(max(kind.lo, -(2**53)), min(kind.hi, 2**53)))
    assert to_codes([math.ldexp(code, -kind.frac)], kind).tolist() == [code]


@given(finite, types)
@example(2.0**62, FixedType(False, 62, 62))
@example(-5e-324, FixedType(True, 8, 124))
def test_to_codes_takes_exactly_the_grid(x: float, kind: FixedType) -> None:
    scaled = Fraction(x) * Fraction(2) ** kind.frac
    if scaled.denominator == 1 and kind.lo <= scaled <= kind.hi:
        assert to_codes([x], kind).tolist() == [int(scaled)]
    else:
        with pytest.raises(RangeError):
            to_codes([x], kind)


@given(types)
def test_range_of_a_type(kind: FixedType) -> None:
    count = 2**kind.width
    assert kind.hi - kind.lo + 1 == count
    assert (kind.lo < 0) == kind.signed
    assert (kind.int_type.lo, kind.int_type.hi, kind.int_type.frac) == (kind.lo, kind.hi, kind.frac)
    assert kind.int_type.width == kind.width


@given(quantizers)
def test_text_round_trip(into: Quantizer) -> None:
    assert Quantizer.parse(str(into)) == into
    assert FixedType.parse(str(into.type)) == into.type
    assert Quantizer.parse(f" ap_{into} ".replace(",", " , ")) == into


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("fixed<14>", "not a fixed-point type: 'fixed<14>'"),
        ("float", "not a fixed-point type: 'float'"),
        ("fixed<14,4", "not a fixed-point type"),
        ("fixed<1e3,4>", "not a fixed-point type"),
        ("fixed<14,4,RND_EVEN>", "unknown mode in 'fixed<14,4,RND_EVEN>'"),
        ("fixed<14,4,RND,WRAP_SM>", "unknown mode in"),
        ("fixed<14,4,RND,SAT,0>", "not a fixed-point type"),
    ],
)
def test_text_that_is_no_type(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match="^" + re.escape(message)):
        Quantizer.parse(text)


@pytest.mark.parametrize(
    "text", ["fixed<0,0>", "fixed<63,3>", "ufixed<999,0>", "fixed<8,200>", "fixed<8,-200>"]
)
def test_type_out_of_bounds(text: str) -> None:
    with pytest.raises(RangeError, match=r"allowed are"):
        Quantizer.parse(text)


def test_modes_are_no_part_of_a_type() -> None:
    with pytest.raises(ConfigError, match=r"has rounding or overflow modes; here only fixed<W,I> is allowed"):
        FixedType.parse("fixed<8,3,RND_CONV,SAT>")


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_not_a_number_is_named_with_its_index(bad: float) -> None:
    with pytest.raises(RangeError, match=rf"^value {bad} at index \(1, 0\) is not a finite number"):
        quantize([[0.0, 1.0], [bad, 1.0]], "fixed<8,3>")
    with pytest.raises(RangeError, match=rf"^value {bad} at index \(1, 0\) is outside fixed<8,3>"):
        to_codes([[0.0, 1.0], [bad, 1.0]], FixedType(True, 8, 3))


def test_message_of_a_value_off_the_grid() -> None:
    with pytest.raises(RangeError) as caught:
        to_codes([0.25, 0.3, 9.0], FixedType(True, 4, 2))
    assert str(caught.value) == (
        "value 0.3 at index (1,) is off the grid of fixed<4,2> (-2.0 to 1.75 in steps of 0.25); "
        "2 of 3 values are not exact\n"
        '  fix round them yourself: l1ml.quantize(x, "fixed<4,2,RND_CONV,SAT>"), or widen the type'
    )


def test_shapes_are_kept() -> None:
    x = np.zeros((3, 0, 2))
    assert quantize(x, "fixed<4,2>").shape == (3, 0, 2)
    assert to_codes(np.float32(0.25), FixedType(True, 4, 2)).shape == ()
