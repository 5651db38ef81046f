# SPDX-License-Identifier: Apache-2.0
"""Events to words and back, against a slow model with Python integers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from l1ml.errors import DataError, RangeError
from l1ml.links.fields import Element
from l1ml.links.layout import LinkLayout
from l1ml.links.resolve import resolve
from l1ml.links.spec import Role
from l1ml.links.words import LEAD_CYCLES, decode, encode
from l1ml.types.timing import Clock


def layout_of(
    name: str, ins: list[Element], outs: list[Element], tmux: int = 1, **options: object
) -> LinkLayout:
    return resolve(name, ins, outs, clock=Clock(360.71), tmux=tmux, options=options)


def bounds(element: Element) -> tuple[int, int]:
    top = 1 << (element.width - element.signed)
    return (-top if element.signed else 0), top - 1


def port_value(
    layout: LinkLayout, rows: np.ndarray, direction: str, cycle: int, role: Role, link: int = 0
) -> int:
    column = layout.column(direction, role, link)
    assert column is not None
    port = next(p for p in layout.data_ports(direction) if (p.role, p.link) == (role, link))
    return sum(int(rows[cycle, column + k]) << (64 * k) for k in range(port.chunks))


def outputs_of(
    layout: LinkLayout, codes: np.ndarray, first: np.ndarray, cycles: int, soo: np.ndarray
) -> np.ndarray:
    """Return what a correct block would put on its output ports; bit by bit, no speed."""
    ports = layout.data_ports("out")
    values = [
        {(p.role, p.link): int(p.role in (Role.STROBE, Role.READY)) for p in ports} for _ in range(cycles)
    ]
    for event, begin in enumerate(first):
        for word in range(layout.words_out):
            row = values[int(begin) + word]
            for link in range(layout.n_links_out):
                data = 0
                for field in layout.out_fields:
                    if (field.link, field.word) == (link, word):
                        data |= (int(codes[event, field.element]) & ((1 << field.width) - 1)) << field.lsb
                row[Role.DATA, link] = data
                row[Role.VALID, link] = 1
                row[Role.START, link] = int(word == 0)
                row[Role.LAST, link] = int(word == layout.words_out - 1)
                row[Role.START_OF_ORBIT, link] = int(word == 0 and soo[event])
    table = np.zeros((cycles, layout.out_chunks), dtype=np.uint64)
    for cycle, row in enumerate(values):
        low = 0
        for port in ports:
            for chunk in range(port.chunks):
                table[cycle, low] = row[port.role, port.link] >> (64 * chunk) & 0xFFFFFFFFFFFFFFFF
                low += 1
    return table


@st.composite
def cases(draw):
    def side(stem: str) -> list[Element]:
        sizes = draw(st.lists(st.tuples(st.integers(1, 62), st.booleans()), min_size=1, max_size=8))
        return [Element(f"{stem}[{k}]", width, signed) for k, (width, signed) in enumerate(sizes)]

    ins, outs = side("x"), side("y")
    name = draw(st.sampled_from(["emp", "axis", "parallel"]))
    options = {"word_bits": draw(st.sampled_from([64, 72, 200]))} if name == "axis" else {}
    layout = layout_of(name, ins, outs, draw(st.sampled_from([1, 6])), **options)
    events = draw(st.integers(1, 6))

    def codes(elements: list[Element]) -> np.ndarray:
        row = st.tuples(*(st.integers(*bounds(e)) for e in elements))
        return np.array(draw(st.lists(row, min_size=events, max_size=events)), dtype=np.int64)

    gaps = draw(st.none() | st.lists(st.integers(0, 3), min_size=events, max_size=events))
    return layout, codes(ins), codes(outs), gaps, draw(st.integers(0, 3563))


@settings(max_examples=150, deadline=None)
@given(cases())
def test_what_is_encoded_lies_where_the_layout_says(case):
    layout, codes, _, gaps, first_bx = case
    traffic = encode(layout, codes, gaps=gaps, first_bx=first_bx, tail_cycles=3)
    assert traffic.first_word_cycle[0] == LEAD_CYCLES + (gaps[0] if gaps else 0)
    busy = set()
    for event, begin in enumerate(traffic.first_word_cycle):
        for field in layout.in_fields:
            word = port_value(layout, traffic.rows, "in", int(begin) + field.word, Role.DATA, field.link)
            code = int(codes[event, field.element])
            assert word >> field.lsb & ((1 << field.width) - 1) == code & ((1 << field.width) - 1)
        for word in range(layout.frame_words):
            busy.add(cycle := int(begin) + word)
            if layout.column("in", Role.START) is not None:
                assert port_value(layout, traffic.rows, "in", cycle, Role.START) == (word == 0)
            if layout.column("in", Role.LAST) is not None:
                assert port_value(layout, traffic.rows, "in", cycle, Role.LAST) == (
                    word == layout.frame_words - 1
                )
            if layout.column("in", Role.START_OF_ORBIT) is not None:
                soo = port_value(layout, traffic.rows, "in", cycle, Role.START_OF_ORBIT)
                assert soo == (word == 0 and traffic.bx[event] < layout.tmux)
    for cycle in range(len(traffic.rows)):
        for link in range(layout.n_links_in):
            assert port_value(layout, traffic.rows, "in", cycle, Role.VALID, link) == (cycle in busy)
            if layout.column("in", Role.STROBE) is not None:
                assert port_value(layout, traffic.rows, "in", cycle, Role.STROBE, link) == 1


@settings(max_examples=150, deadline=None)
@given(cases(), st.integers(0, 7))
def test_what_comes_out_is_decoded(case, latency):
    layout, codes_in, codes, gaps, first_bx = case
    traffic = encode(layout, codes_in, gaps=gaps, first_bx=first_bx)
    first = traffic.first_word_cycle + latency
    rows = outputs_of(
        layout, codes, first, len(traffic.rows) + latency + layout.words_out, traffic.starts_orbit
    )
    found = decode(layout, rows)
    assert np.array_equal(found.codes, codes)
    assert np.array_equal(found.first_word_cycle, first)
    assert found.ok.all()
    assert found.stray_words == 0
    assert found.errors == {}
    if layout.column("out", Role.START_OF_ORBIT) is not None:
        assert np.array_equal(found.starts_orbit, traffic.starts_orbit)


def emp(**options) -> LinkLayout:
    ins = [Element(f"x[{k}]", 14, True) for k in range(16)]
    return layout_of("emp", ins, [Element(f"y[{k}]", 40, True) for k in range(3)], **options)


def good_rows(layout: LinkLayout, events: int = 4) -> np.ndarray:
    codes = np.arange(events * 3).reshape(events, 3)
    first = 5 + 9 * np.arange(events)
    return outputs_of(layout, codes, first, 60, np.zeros(events))


def test_wider_fields_are_sign_extended():
    outs = [Element("y[0]", 5, True), Element("y[1]", 5, False)]
    fields = {"outputs": {"y[0]": {"bits": "31:0"}, "y[1]": {"bits": "63:32"}}}
    layout = layout_of("emp", [Element("x[0]", 4, False)], outs, fields=fields)
    rows = outputs_of(layout, np.array([[-16, 31]]), np.array([3]), 12, np.array([False]))
    assert decode(layout, rows).codes.tolist() == [[-16, 31]]


@pytest.mark.parametrize("role", [Role.VALID, Role.LAST, Role.START])
def test_a_flag_that_is_wrong_marks_the_packet(role):
    layout = emp(links_out=2)
    for link in range(2):
        rows = good_rows(layout)
        column = layout.column("out", role, link)
        rows[15, column] ^= 1  # the second word of event 1
        found = decode(layout, rows)
        if role is Role.START and link == 0:
            assert len(found.ok) == 5  # one packet too many, seen by its count
        else:
            assert found.ok.tolist() == [True, False, True, True]
            assert found.stray_words == 4 - (role is Role.VALID)


def test_a_packet_cut_off_by_the_end_is_not_ok():
    layout = emp()
    rows = good_rows(layout)
    assert decode(layout, rows[: 5 + 27 + 1]).ok.tolist() == [True, True, True, False]
    assert len(decode(layout, rows[:1]).ok) == 0
    assert len(decode(layout, rows[:0]).ok) == 0


def test_errors_are_named_with_their_first_clock():
    layout = emp(links_in=2)
    rows = good_rows(layout)
    rows[7:, layout.column("out", Role.ERROR)] |= np.uint64(0b100)
    rows[9:, layout.column("out", Role.ERROR)] |= np.uint64(0b1000001)
    rows[9:, layout.column("out", Role.ERROR_LINK)] |= np.uint64(0b10)
    found = decode(layout, rows)
    assert found.errors == {"short_frame": 9, "valid_gap": 7, "links_out_of_step": 9}
    assert found.error_links == (1,)


def test_orbit_marks_follow_the_bunch_crossings():
    layout = layout_of("emp", [Element("x[0]", 4, False)], [Element("y[0]", 4, False)], tmux=6)
    codes = np.zeros((1200, 1), dtype=np.int64)
    traffic = encode(layout, codes, first_bx=3558)
    assert np.flatnonzero(traffic.starts_orbit).tolist() == [1, 595, 1189]
    assert np.flatnonzero(encode(layout, codes[:3], bx=[3, 9, 3563]).starts_orbit).tolist() == [0]


def test_bad_codes_are_named():
    layout = emp()
    codes = np.zeros((5, 16), dtype=np.int64)
    codes[3, 2] = 8192
    with pytest.raises(RangeError, match=r"code 8192 of event 3 does not fit its 14 bits \(-8192\.\.8191\)"):
        encode(layout, codes)
    with pytest.raises(DataError, match=r"expected codes \(events, 16\), got \(5, 3\)"):
        encode(layout, codes[:, :3])
    with pytest.raises(DataError, match="integer codes"):
        encode(layout, np.zeros((5, 16)))
    with pytest.raises(DataError, match=r"bx: 0\.\.3564"):
        encode(layout, codes * 0, bx=[0, 0, 0, 0, 3564])
    with pytest.raises(DataError, match="gaps"):
        encode(layout, codes * 0, gaps=[1])
    with pytest.raises(DataError, match="uint64 rows"):
        decode(layout, np.zeros((4, 3), dtype=np.uint64))


def test_no_events_are_no_words():
    traffic = encode(emp(), np.zeros((0, 16), dtype=np.int64), tail_cycles=5)
    assert traffic.rows.shape == (LEAD_CYCLES + 5, 6)
    assert len(traffic.first_word_cycle) == 0


def test_the_last_word_is_where_it_comes():
    """A second word that is late, or never comes, is seen by its clock."""
    layout = emp(links_out=2, words_out=2)
    valid = [layout.column("out", Role.VALID, link) for link in range(2)]
    rows = good_rows(layout)
    first = 5 + 9 * np.arange(4)
    assert decode(layout, rows).last_word_cycle.tolist() == (first + 1).tolist()
    late = rows.copy()
    late[[15, 17], valid[1]] = 0, 1  # on link 1 the second word of event 1 comes two clocks late
    found = decode(layout, late)
    assert (found.last_word_cycle - first).tolist() == [1, 3, 1, 1] and not found.ok[1]
    rows[15, valid[0]] = 0
    assert (decode(layout, rows).last_word_cycle - first).tolist() == [1, -15, 1, 1]  # -1: never
