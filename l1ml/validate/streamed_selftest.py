# SPDX-License-Identifier: Apache-2.0
"""The self-test of a streamed block: one fault of each kind in a copy of its RTL, and the comparison must find it.

Faults lie in the Maps (an adder, a register), in the weights of a folded product, in what waits between engines and in
the parameters of the engines.  Each takes a build of its own, so there is one that shows of every kind.  A fault that
cannot be built has shown nothing; kinds that have no place in the block are named.
"""

from __future__ import annotations

import random
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from l1ml.errors import ToolError
from l1ml.types.arrays import IntArray
from l1ml.validate.compare import compare, output_fields
from l1ml.validate.core import rtl_sources
from l1ml.validate.mutate import Core
from l1ml.validate.replay import LinkSimulation
from l1ml.validate.selftest import golden_check
from l1ml.validate.subject import facts_of
from l1ml.validate.verdict import Check, Verdict

EVENTS = 64
TRIES = 4
"""Faults of a kind that are built before the kind counts as not found: some change no output."""

INVERTED = 16
"""Digits of weights that are inverted: a bit of one weight often changes no output."""

Fault = tuple[str, str, str]
"""File, its text with the fault, what was done."""

_WEIGHTS = re.compile(r"\.Weights\((?:\{)?(?P<bits>\d+)'h(?P<digits>[0-9a-f]+)")
_NAME = re.compile(r"^ +logic (?:signed )?(?:\[\d+:\d+\] )?(?P<name>[a-z]\w*_s?\d+);", re.M)


def run_streamed_selftest(
    manifest: Mapping[str, Any],
    root: Path,
    codes: IntArray,
    expected: IntArray,
    *,
    seed: int = 1,
    progress: Callable[[str], None] = lambda text: None,
) -> Verdict:
    """Put faults into copies of the RTL, and check that the comparison fails for each.

    Args:
        manifest: of the project.
        root: project folder.
        codes: input codes of some events, (events, elements); the first `EVENTS` are used.
        expected: the emulator's output codes for them.
        seed: chooses the places of the faults.
        progress: told which fault is built.

    Returns:
        A verdict of kind ``self-test``.

    Raises:
        ToolError: the simulator is missing or failed on the RTL without a fault.
    """
    codes, expected = codes[:EVENTS], expected[:EVENTS]
    files = {path.name: path.read_text(encoding="utf-8") for path in rtl_sources(manifest, root)}
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory(prefix="l1ml-selftest-") as work:
        copy = _Copy(manifest, root, Path(work))
        progress("no fault")
        clean = copy.differs(codes, expected)
        checks = [
            Check("no_fault", clean is None, clean or f"{len(codes)} events equal", "self-test"),
            golden_check(expected, expected, output_fields(manifest), seed),
        ]
        places = {kind: list(find(files, str(manifest["core_module"]), rng)) for kind, find in _KINDS.items()}
        for kind, faults in places.items():
            if faults and clean is None:
                checks.append(_tried(kind, faults[:TRIES], copy, codes, expected, progress))
        missing = ", ".join(kind for kind, faults in places.items() if not faults)
        if missing:
            checks.append(Check("no_place_for", True, f"{missing}: not in this block", "self-test"))
    return Verdict(kind="self-test", checks=tuple(checks), **facts_of(manifest))


class _Copy:
    """A copy of the RTL with one file changed at a time."""

    def __init__(self, manifest: Mapping[str, Any], root: Path, work: Path) -> None:
        self.manifest, self.work = manifest, work
        self.fields = output_fields(manifest)
        self.texts = {
            path.relative_to(root): path.read_text(encoding="utf-8") for path in rtl_sources(manifest, root)
        }
        self.names = {path.name: path for path in self.texts}

    def differs(self, codes: IntArray, expected: IntArray, name: str = "", text: str = "") -> str | None:
        """Return how the RTL differs from the emulator, None where it does not."""
        for path, original in self.texts.items():
            target = self.work / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text if name and path == self.names[name] else original, encoding="utf-8")
        link = LinkSimulation(self.manifest, self.work, self.work / "build", fast="-O0")
        traffic, found, _ = link.run(codes)
        if len(found.codes) != len(codes):
            return f"{len(codes)} events in, {len(found.codes)} out"
        result = compare("RTL against emulator", expected, found.codes, self.fields)
        late = found.first_word_cycle - traffic.first_word_cycle != link.latency
        if not result.passed:
            return f"{result.bad_events} of {len(codes)} events differ; {result.first}"
        return f"{int(late.sum())} events are not in time" if late.any() else None


def _tried(
    kind: str,
    faults: Sequence[Fault],
    copy: _Copy,
    codes: IntArray,
    expected: IntArray,
    progress: Callable[[str], None],
) -> Check:
    silent = []
    for name, text, done in faults:
        progress(f"{kind}: {done}")
        try:
            found = copy.differs(codes, expected, name, text)
        except ToolError as error:
            silent.append(f"{name}: {done}: cannot be built ({error.what.splitlines()[0]})")
            continue
        if found is not None:
            return Check(kind, True, f"{name}: {done}: {found}", "self-test")
        silent.append(f"{name}: {done}: no output changed")
    return Check(kind, False, "; ".join(silent), "self-test")


def _in_maps(what: str) -> Callable[[Mapping[str, str], str, random.Random], Iterator[Fault]]:
    def find(files: Mapping[str, str], core: str, rng: random.Random) -> Iterator[Fault]:
        maps = sorted(name for name in files if name.startswith(f"{core}_map"))
        rng.shuffle(maps)
        for name in maps:
            stems = {match["name"].rsplit("_", 1)[0] for match in _NAME.finditer(files[name])}
            text = Core(files[name], [{"hdl": stem, "name": stem} for stem in sorted(stems)])
            fault = next(text.mutations(what, rng.randrange(1 << 30)), None)
            if fault is not None:
                yield name, text.mutated(fault), fault.text

    return find


def _in_core(
    pattern: re.Pattern[str], change: Callable[[re.Match[str], random.Random], tuple[str, str] | None]
) -> Callable[[Mapping[str, str], str, random.Random], Iterator[Fault]]:
    def find(files: Mapping[str, str], core: str, rng: random.Random) -> Iterator[Fault]:
        name = f"{core}.sv"
        matches = list(pattern.finditer(files[name]))
        rng.shuffle(matches)
        seen: set[str] = set()
        for match in matches * TRIES:  # one place may hold many weights
            made = change(match, rng)
            if made is not None:
                new, done = made
                text = files[name][: match.start()] + new + files[name][match.end() :]
                if text not in seen:
                    seen.add(text)
                    yield name, text, done

    return find


def _parameter(
    places: Sequence[str], wrong: Callable[[str, int], int | None]
) -> Callable[[Mapping[str, str], str, random.Random], Iterator[Fault]]:
    """Change a number in the core, of ``module.Parameter``; ``wrong`` says to what, None for no fault there."""

    def change(match: re.Match[str], rng: random.Random) -> tuple[str, str] | None:
        value = int(match["value"])
        new = wrong(match["name"], value)
        if new is None:
            return None
        done = f"{match['name']} of {match['instance']} is {new} instead of {value}"
        return f"{match['before']}{new}{match['after']}", done

    finders = []
    for place in places:
        module, name = place.split(".")
        others = r"(?:\n    \.\w+\([^()]*\),?)*"
        pattern = (
            rf"(?P<before>^  {module} #\({others}?\n    \.(?P<name>{name})\()(?P<value>\d+)"
            rf"(?P<after>\),?{others}\n  \) (?P<instance>\w+) \()"
        )
        finders.append(_in_core(re.compile(pattern, re.M), change))

    def find(files: Mapping[str, str], core: str, rng: random.Random) -> Iterator[Fault]:
        for finder in finders:
            yield from finder(files, core, rng)

    return find


def _weight(match: re.Match[str], rng: random.Random) -> tuple[str, str] | None:
    digits = match["digits"]
    at = rng.randrange(max(1, len(digits) - INVERTED + 1))
    wrong = "".join(format(15 - int(digit, 16), "x") for digit in digits[at : at + INVERTED])
    if at == 0 and int(match["bits"]) % 4:
        wrong = digits[0] + wrong[1:]  # a whole digit may not fit
    new = match.group(0)[: -len(digits)] + digits[:at] + wrong + digits[at + len(wrong) :]
    return new, f"{len(wrong)} digits of the weights are inverted, from digit {at} on"


def _fewer(least: int) -> Callable[[str, int], int | None]:
    return lambda _, value: value - 1 if value > least else value + 1


def _shape(name: str, value: int) -> int | None:
    return value - 1 if value > (0 if name.startswith("Pad") else 1) else None


_KINDS: dict[str, Callable[[Mapping[str, str], str, random.Random], Iterator[Fault]]] = {
    "map_adder": _in_maps("adder"),
    "map_register": _in_maps("pipeline_register"),
    "fold_weight": _in_core(_WEIGHTS, _weight),
    "delay": _parameter(("l1ml_beat_delay.Latency", "l1ml_delay.Latency"), _fewer(1)),
    "align": _parameter(("l1ml_align.Offset",), _fewer(1)),
    "pace": _parameter(("l1ml_pace.Spacing",), _fewer(2)),
    "window_shape": _parameter(
        tuple(f"l1ml_window.{name}" for name in ("StrideColumns", "PadLeft", "PadTop")), _shape
    ),
    "reduce": _parameter(("l1ml_reduce.Kind",), lambda _, value: 1 if value != 1 else 2),
    "scan": _parameter(("l1ml_scan.Slot",), _fewer(1)),
}
"""Kinds of faults."""
