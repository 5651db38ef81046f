# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest

from l1ml.errors import DataError
from l1ml.validate.compare import Comparison, Field, compare, golden_codes, output_fields
from l1ml.validate.fault import Fault

FIELDS = (
    Field("y", (0,), frac=2, width=6, name="y[0]", link=0, word=1, lsb=8),
    Field("y", (1,), frac=4, width=6, name="y[1]", link=1, word=0, lsb=0),
)


def test_equal_values_pass_and_are_counted() -> None:
    codes = np.arange(20).reshape(10, 2)
    result = compare("RTL against emulator", codes, codes, FIELDS)
    assert result.passed and (result.events, result.values, result.mismatches) == (10, 20, 0)
    assert str(result) == "RTL against emulator: 10 of 10 events equal (20 values)"


def test_nothing_compared_is_a_fail() -> None:
    empty = np.zeros((0, 2), dtype=np.int64)
    result = compare("a", empty, empty, FIELDS)
    assert not result.passed
    assert str(result) == "a: nothing was compared"
    assert not Comparison("a").passed


def test_first_divergence_names_its_place() -> None:
    expected = np.zeros((5, 2), dtype=np.int64)
    found = expected.copy()
    found[3, 1], found[4, 0] = -3, 7
    result = compare("a", expected, found, FIELDS, first_event=100, bx=np.arange(7, 12), orbit=np.full(5, 2))
    assert (result.mismatches, result.bad_events) == (2, 2)
    first = result.first
    assert first is not None and (first.event, first.bx, first.orbit) == (103, 10, 2)
    assert str(first.field.place) == "link 1 word 0 bits 5..0 field y[1]"
    assert str(result.with_layer("fc2").first) == (
        "event 103, orbit 2, BX 10, link 1 word 0 bits 5..0 field y[1]: "
        "expected 0 (0, 0x00), found -3 (-0.1875, 0x3d); first wrong layer: fc2"
    )


def test_first_divergence_of_a_streamed_block_names_engine_and_beat() -> None:
    fault = Fault(
        "conv4", 6, "fold", "pace", 7, event=2, beat=5, clock=31, place=None, expected=1, found=None
    )
    result = compare("a", [[0, 0]] * 3, [[0, 0], [0, 0], [1, 0]], FIELDS).with_layer("conv4", fault)
    assert result.first is not None and result.first.to_dict()["fault"] == {
        "layer": "conv4", "engine": 6, "kind": "fold", "waits": "pace", "stream": 7, "event": 2, "beat": 5, "clock": 31,
        "position": None, "element": None, "expected": 1, "found": None, "text": str(fault),
    }  # fmt: skip
    assert str(result.first).endswith(
        "found 1 (0.25, 0x01); first wrong layer: conv4, pace in front of engine 6 (fold), event 2, beat 5, clock 31: "
        "there is none"
    )


@pytest.mark.parametrize(
    ("place", "expected", "found", "text"),
    [
        ((1, 3), 5, -2, "position 1 element 3: expected 5, found -2"),
        (None, None, 1, "there is one that should not be"),
        (None, 1, None, "there is none"),
        (None, 1, 0, "start expected 1, found 0"),
    ],
)
def test_a_fault_says_what_is_wrong_with_the_beat(
    place: tuple[int, int] | None, expected: int | None, found: int | None, text: str
) -> None:
    fault = Fault("fc1", 3, "map", "", 4, 0, 2, 17, place, expected, found)
    assert str(fault).startswith("engine 3 (map), event 0, beat 2, clock 17") and str(fault).endswith(text)


@pytest.mark.parametrize("event", [0, 4, 9])
@pytest.mark.parametrize("column", [0, 1])
@pytest.mark.parametrize("bit", [0, 5, 40])
def test_every_single_bit_is_seen(event: int, column: int, bit: int) -> None:
    expected = np.random.default_rng(1).integers(-(2**41), 2**41, (10, 2))
    found = expected.copy()
    found[event, column] ^= 1 << bit
    result = compare("a", expected, found, FIELDS)
    assert not result.passed and result.mismatches == 1
    assert result.first is not None and (result.first.event, result.first.field) == (event, FIELDS[column])


def test_missing_events_differ_in_every_value() -> None:
    expected = np.zeros((5, 2), dtype=np.int64)
    short = compare("a", expected, expected[:3], FIELDS)
    assert (short.events, short.mismatches, short.bad_events) == (5, 4, 2)
    assert short.first is not None and short.first.event == 3 and "found nothing" in str(short.first)
    absent = compare("a", expected, expected, FIELDS, present=np.array([True, False, True, True, True]))
    assert absent.bad_events == 1 and absent.first is not None and absent.first.found is None
    more = compare("a", expected[:4], expected, FIELDS)
    assert more.bad_events == 1 and not more.passed


def test_nan_never_equals() -> None:
    nan = np.full((2, 2), np.nan)
    assert compare("a", nan, nan, FIELDS).mismatches == 4


def test_wrong_number_of_columns_is_an_error() -> None:
    with pytest.raises(DataError, match=r"found values have shape \(3, 1\); expected \(events, 2\)"):
        compare("a", np.zeros((3, 2)), np.zeros((3, 1)), FIELDS)


def test_chunks_add_up_and_the_first_divergence_stays() -> None:
    good, bad = np.zeros((4, 2), dtype=np.int64), np.ones((4, 2), dtype=np.int64)
    total = compare("a", good, good, FIELDS) + compare("a", good, bad, FIELDS, first_event=4)
    total = total + compare("a", good, bad, FIELDS, first_event=8)
    assert (total.events, total.values, total.mismatches, total.bad_events) == (12, 24, 16, 8)
    assert total.first is not None and total.first.event == 4


def test_golden_values_become_codes_of_each_output_grid() -> None:
    codes = golden_codes({"y": np.array([[0.5, 0.25]], dtype=np.float32)}, FIELDS, 1)
    assert codes is not None and codes.tolist() == [[2.0, 4.0]]


def test_golden_off_the_grid_equals_no_code() -> None:
    codes = golden_codes({"y": np.array([[0.6, 0.25]])}, FIELDS, 1)
    assert codes is not None
    result = compare("a", codes, np.array([[2, 4]]), FIELDS)
    assert result.mismatches == 1 and "0.6 (between two codes)" in str(result.first)


def test_golden_of_one_output_may_have_any_name() -> None:
    assert golden_codes({"logits": np.zeros((3, 2))}, FIELDS, 3) is not None
    assert golden_codes({"a": np.zeros((3, 2)), "b": np.zeros((3, 2))}, FIELDS, 3) is None
    assert golden_codes({}, FIELDS, 3) is None


def test_golden_of_another_shape_is_an_error() -> None:
    with pytest.raises(DataError, match=r"'y' have shape \(3, 5\); expected 2 values for each of 3 events"):
        golden_codes({"y": np.zeros((3, 5))}, FIELDS, 3)


def test_fields_join_outputs_and_link() -> None:
    manifest = {
        "outputs": [{"name": "y", "elements": [{"index": [0], "frac": 2, "width": 6}]}],
        "link": {"out_fields": [{"element": 0, "name": "y[0]", "link": 3, "word": 2, "lsb": 16}]},
    }
    assert output_fields(manifest) == (Field("y", (0,), 2, 6, "y[0]", 3, 2, 16),)
