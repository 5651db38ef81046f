# SPDX-License-Identifier: Apache-2.0
"""A fault in one engine of a streamed block, or in what waits between two: that one is named, with beat and clock."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from l1ml.validate.locate import OUTSIDE
from l1ml.validate.mutate import Core
from l1ml.validate.streamed_locate import OUTPUTS, PLAN, UNPLANNED, locate_streamed

sys.path.insert(0, str(Path(__file__).parent))
from small_project import Small
from test_streamed import block

pytestmark = pytest.mark.sim

EVENTS = 6
FIRST = 100

Change = Callable[[str], str]


def parameter(instance: str, name: str, delta: int) -> Change:
    """Change a parameter of one instance of the core."""
    others = r"(?:\n    \.\w+\([^()]*\),?)*"
    pattern = re.compile(rf"(#\({others}?\n    \.{name}\()(\d+)(\),?{others}\n  \) {instance} \()")

    def change(text: str) -> str:
        (match,) = pattern.finditer(text)
        return text[: match.start(2)] + str(int(match[2]) + delta) + text[match.end(2) :]

    return change


def replaced(old: str, new: str) -> Change:
    def change(text: str) -> str:
        assert text.count(old) == 1
        return text.replace(old, new)

    return change


def adder(text: str) -> str:
    """Change the first adder of a Map."""
    stems = sorted(set(re.findall(r"^ +logic .*?\b([a-z]\w*)_s?\d+;", text, re.M)))
    core = Core(text, [{"hdl": stem, "name": stem} for stem in stems])
    return core.mutated(next(core.mutations("adder", 1)))


def inverted_weights(text: str) -> str:
    return re.sub(
        r"(\.Weights\(\d+'h)(\w+)",
        lambda m: m[1] + "0" + "".join(f"{15 - int(d, 16):x}" for d in m[2][1:]),
        text,
    )


FAULTS: dict[str, tuple[str, str, Change, tuple[int, str, str]]] = {
    "a window without its padding": (
        "skip connection", "core", parameter("n4_engine", "PadLeft", -1), (4, "window", "")
    ),
    "a Map with a wrong adder": ("skip connection", "core_map5", adder, (5, "map", "")),
    "the start mark of a Map is late": (
        "skip connection", "core", parameter("n3_start_delay", "Latency", 1), (3, "map", "")
    ),
    "an Align that waits a clock less": (
        "skip connection", "core", parameter("n8_in0_align", "Offset", -1), (8, "map", "align")
    ),
    "a delay of a clock less": (
        "skip connection", "core", parameter("n8_in1_delay", "Latency", -1), (8, "map", "delay")
    ),
    "a Pace that is too slow": (
        "skip connection", "core", parameter("n9_in0_pace", "Spacing", 1), (9, "fold", "pace")
    ),
    "weights of a Fold": ("skip connection", "core", inverted_weights, (9, "fold", "")),
    "a Reduce that sums a position less": (
        "two outputs", "core", parameter("n1_engine", "Columns", -1), (1, "reduce", "")
    ),
    "an output that waits too long": (
        "two outputs", "core", parameter("out_in1_delay", "Latency", 1), (5, "output", "delay")
    ),
    "wiring of the outputs": (
        "two outputs", "core", replaced("assign data_o = {", "assign data_o = ~{"), (5, "output", "")
    ),
    "a Scan whose steps come too close": (
        "lstm, half as often", "core", parameter("n0_engine", "Slot", -1), (0, "scan", "")
    ),
}  # fmt: skip
"""Block, file, change, and what must be named: engine, kind, and what waits in front of it."""


@pytest.fixture(scope="module")
def blocks(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Small]:
    """Return blocks by name, each converted once."""
    made: dict[str, Small] = {}

    def get(case: str) -> Small:
        if case not in made:
            made[case] = block(case, tmp_path_factory.mktemp("block") / "project")
        return made[case]

    return get


@pytest.fixture(scope="module")
def builds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("builds")


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_named(name: str, blocks: Callable[[str], Small], builds: Path) -> None:
    case, module, change, wanted = FAULTS[name]
    made = blocks(case)
    file = made.root / "firmware" / "rtl" / f"l1ml_{module}.sv"
    text = file.read_text()
    try:
        file.write_text(change(text))
        assert file.read_text() != text
        layer, fault = locate_streamed(
            made.manifest, made.root, builds, made.codes[:EVENTS], made.expected[:EVENTS], FIRST
        )
    finally:
        file.write_text(text)
    assert fault is not None
    assert (fault.engine, fault.kind, fault.waits) == wanted, str(fault)
    plan = made.manifest["plan"]
    layers = ", ".join(plan[fault.engine]["layers"]) if fault.engine < len(plan) else OUTPUTS
    assert layer == fault.layer == layers
    assert FIRST <= fault.event < FIRST + EVENTS
    if not fault.waits and fault.engine < len(plan):
        assert fault.clock <= plan[fault.engine]["last_cycle"]
    assert f"engine {fault.engine} ({fault.kind}), event {fault.event}, beat {fault.beat}" in str(fault)


@pytest.mark.parametrize("case", ["a row per word", *sorted({case for case, *_ in FAULTS.values()})])
def test_nothing_is_found_where_nothing_is_wrong(
    case: str, blocks: Callable[[str], Small], builds: Path
) -> None:
    made = blocks(case)
    codes, expected = made.codes[:EVENTS], made.expected[:EVENTS]
    assert locate_streamed(made.manifest, made.root, builds, codes, expected, 0) == (OUTSIDE, None)
    assert locate_streamed(made.manifest, made.root, builds, codes, expected + 1, 0) == (PLAN, None)


def test_a_plan_of_another_version_is_not_read(blocks: Callable[[str], Small], builds: Path) -> None:
    """The layer is not guessed; the reason stands in its place."""
    made = blocks("two outputs")
    first, *rest = made.manifest["plan"]
    older = {key: value for key, value in made.manifest.items() if key != "choices"}
    for manifest, reason in (
        (older, "it says nothing of the choices behind its plan"),
        ({**made.manifest, "plan": rest}, "its plan has 4 engines, its network makes 5"),
        (
            {**made.manifest, "plan": [{**first, "stages": 7}, *rest]},
            "first, last and busy clock of engine 0",
        ),
        ({**made.manifest, "digest": {"network": "0" * 64}}, "network.json is not the network"),
    ):
        layer, fault = locate_streamed(manifest, made.root, builds, made.codes[:2], made.expected[:2], 0)
        assert fault is None and layer.startswith(UNPLANNED) and reason in layer


def test_a_core_without_its_buses_is_not_read(blocks: Callable[[str], Small], builds: Path) -> None:
    """RTL written by hand may differ from the plan, and its replay still ends with a verdict."""
    made = blocks("two outputs")
    file = made.core_file
    text = file.read_text()
    try:
        file.write_text(re.sub(r"\bn1_valid\b", "by_hand", text))
        layer, fault = locate_streamed(made.manifest, made.root, builds, made.codes[:2], made.expected[:2], 0)
    finally:
        file.write_text(text)
    assert fault is None and layer.startswith(f"{UNPLANNED} (its buses cannot be read: ")
