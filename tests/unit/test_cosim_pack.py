# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from l1ml.cosim import bench, build
from l1ml.cosim.pack import Slot, pack, unpack

SLOTS = st.lists(st.tuples(st.integers(1, 62), st.booleans()), min_size=1, max_size=12)


@given(SLOTS, st.integers(0, 2**32 - 1))
def test_unpack_undoes_pack_and_bits_lie_where_they_should(widths: list[tuple[int, bool]], seed: int) -> None:
    rng = np.random.default_rng(seed)
    slots, columns, low = [], [], 0
    for width, signed in widths:
        slots.append(Slot(low, width, signed))
        least = -(1 << (width - 1)) if signed else 0
        columns.append(rng.integers(least, least + (1 << width), 5))
        low += width
    codes = np.stack(columns, axis=1)
    words = pack(codes, slots, low)
    assert words.shape == (5, -(-low // 64))
    np.testing.assert_array_equal(unpack(words, slots), codes)
    for event in range(5):
        number = sum(int(word) << (64 * k) for k, word in enumerate(words[event]))
        expected = sum(
            (int(c) & ((1 << s.width) - 1)) << s.lsb for c, s in zip(codes[event], slots, strict=True)
        )
        assert number == expected


def test_port_table_names_ports_probes_and_reset_level() -> None:
    design = build.Design(
        sources=(),
        top="my_top",
        inputs=(build.Wire("data_i", 70),),
        outputs=(build.Wire("data_o", 3),),
        pins=build.ClockReset("aclk", "aresetn", active_low=True),
        probes=(build.Wire("stage_0.a__b", 9),),
    )
    table = design.port_table()
    assert "#define L1ML_CLOCK aclk\n" in table and "#define L1ML_RESET_ACTIVE 0\n" in table
    assert "#define L1ML_INPUTS(X) \\\n  X(data_i, 70)\n" in table
    assert "X(data_o, 3) \\\n  X(rootp->my_top__DOT__stage_0__DOT__a___05Fb, 9)\n" in table


def test_bench_results_are_read_with_their_reasons(tmp_path: Path) -> None:
    file = tmp_path / "results.xml"
    file.write_text(
        '<testsuites><testsuite><testcase name="a"/><testcase name="b"><failure message="x is 1&#10;more"/>'
        '</testcase><testcase name="c"><skipped/></testcase><testcase name="d"><error error_msg="lost"/>'
        "</testcase></testsuite></testsuites>"
    )
    found = [(r.name, r.passed, r.skipped, r.message) for r in bench._read_results(file, 3)]
    assert found == [
        ("a", True, False, ""),
        ("b", False, False, "x is 1"),
        ("c", True, True, "does not apply to this link"),
        ("d", False, False, "lost"),
    ]
