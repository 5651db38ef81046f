# SPDX-License-Identifier: Apache-2.0
"""Where the self-test of a streamed block puts its faults: in one number of one engine each, and nowhere by chance."""

from __future__ import annotations

import difflib
import random
import sys
from pathlib import Path

import pytest

from l1ml.validate.streamed_selftest import _KINDS

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "rtl"))
from small_project import Small
from streamed_networks import NETWORKS

CASES = {
    "skip": {
        "map_adder": "", "map_register": "", "fold_weight": "Weights", "delay": "Latency", "align": "Offset",
        "pace": "Spacing", "window_shape": "StrideColumns|PadLeft|PadTop", "reduce": None, "scan": None,
    },
    "lstm": {"scan": "Slot", "window_shape": None, "pace": None, "align": None},
    "two heads": {"reduce": "Kind", "delay": "Latency", "scan": None, "fold_weight": None},
}  # fmt: skip
"""By network: the parameter that a fault of a kind changes, in one line; empty inside Maps; None for no place."""


@pytest.mark.parametrize("name", CASES)
def test_every_kind_has_its_place(name: str, tmp_path: Path) -> None:
    made = Small(
        tmp_path / "project", events=4, net=NETWORKS[name][0], interface="axis", input_type="fixed<5,2>",
        clock_mhz=240.47, plan={"lanes": 1},
    )  # fmt: skip
    files = {path.name: path.read_text() for path in (made.root / "firmware" / "rtl").glob("*.sv")}
    for kind, parameters in CASES[name].items():
        faults = list(_KINDS[kind](files, made.manifest["core_module"], random.Random(1)))
        assert bool(faults) == (parameters is not None), kind
        for file, text, done in faults:
            lines = list(difflib.unified_diff(files[file].splitlines(), text.splitlines(), n=0))[3:]
            assert lines, (kind, done)
            if parameters:
                assert [line[0] for line in lines] == ["-", "+"], (kind, done, lines)
                assert any(f".{each}(" in lines[1] for each in parameters.split("|")), (kind, done)
        assert len({text for _, text, _ in faults}) == len(faults)
