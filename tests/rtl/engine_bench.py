# SPDX-License-Identifier: Apache-2.0
"""Many engines in one simulated module, each with traffic of its own, compared clock by clock.

A mutant is a copy of an engine with one change; it stands in the same module, and must be told from the engine.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from l1ml import assets
from l1ml.cosim.build import Wire
from l1ml.cosim.harness import Harness, build
from l1ml.cosim.lint import lint

CELLS = ("l1ml_delay", "l1ml_tree", "l1ml_weights", "l1ml_multiply", "l1ml_cascade", "l1ml_cascades")
"""Modules that engines are made of."""


@dataclass(frozen=True)
class Traffic:
    """What stands on the ports of an engine, one row per clock.

    Args:
        reset: synchronous reset.
        valid: a beat.
        start: the first of an event.
        data: anything where there is no beat.
    """

    reset: np.ndarray
    valid: np.ndarray
    start: np.ndarray
    data: list[int]


@dataclass(frozen=True)
class Result:
    """What must come out: clock -> (start, data)."""

    beats: Mapping[int, tuple[bool, int]]


@dataclass(frozen=True)
class Case:
    """An engine in the bench.

    Args:
        module: of the engine.
        parameters: as SystemVerilog text.
        in_bits: of a beat.
        out_bits: of a beat.
        mutation: (text, replacement) in the source of the engine.
        inside: of a module in the engine, in whose source the mutation is instead.
        body: more SystemVerilog beside the instance; ``{name}`` is the case's.
        ports: more ports of the instance.
        beat_bits: bits of ``in_bits`` that are the beat, the lowest; the others are for ``ports``.  0: all.
        all_ports: instead of a stream in and a stream out; ``body`` drives valid and start of what comes out.
    """

    module: str
    parameters: Mapping[str, int | str]
    in_bits: int
    out_bits: int
    mutation: tuple[str, str] | None = None
    body: str = ""
    ports: str = ""
    beat_bits: int = 0
    all_ports: str = ""
    inside: str = ""


@dataclass
class Bench:
    """Builds the module of all cases once and plays traffic on each."""

    folder: Path
    cases: dict[str, Case] = field(default_factory=dict)
    extra: Mapping[str, str] = field(default_factory=dict)
    harness: Harness | None = None

    def build(self) -> None:
        """Print the top, lint it with every warning on, and build its simulation."""
        files = {m: assets.path("firmware", "rtl", "sv", f"{m}.sv") for m in CELLS}
        ports, body, ins, outs = [], [], [], []
        for number, (name, case) in enumerate(self.cases.items()):
            module = case.module
            source = assets.path("firmware", "rtl", "sv", f"{module}.sv")
            if case.mutation is None:
                files[module] = source
            else:
                module = f"{case.module}_m{number}"
                files[module] = self.folder / f"{module}.sv"
                change = case.mutation
                if case.inside:
                    inner = f"{case.inside}_m{number}"
                    files[inner] = self.folder / f"{inner}.sv"
                    files[inner].write_text(_mutated(files[case.inside], case.inside, inner, *change))
                    change = (f"  {case.inside} #(", f"  {inner} #(")
                files[module].write_text(_mutated(source, case.module, module, *change))
            ins += [Wire(f"{name}_rst", 1), Wire(f"{name}_valid", 1), Wire(f"{name}_start", 1)]
            ins.append(Wire(f"{name}_in", case.in_bits))
            outs += [
                Wire(f"{name}_valid_q", 1),
                Wire(f"{name}_start_q", 1),
                Wire(f"{name}_out", case.out_bits),
            ]
            given = ", ".join(f".{key}({value})" for key, value in case.parameters.items())
            beat = f"{name}_in[{(case.beat_bits or case.in_bits) - 1}:0]"
            stream = (
                f".clk_i(clk_i), .rst_i(rst_i | {name}_rst), .valid_i({name}_valid), .start_i({name}_start),"
                f" .data_i({beat}), .valid_o({name}_valid_q), .start_o({name}_start_q), .data_o({name}_out)"
            )
            connected = (case.all_ports or stream + case.ports).replace("{name}", name)
            body.append(
                f"{case.body.replace('{name}', name)}\n{module} #({given}) {name}_engine ({connected});"
            )
        ports = [f"input wire logic [{w.width - 1}:0] {w.name}" for w in ins]
        ports += [f"output logic [{w.width - 1}:0] {w.name}" for w in outs]
        head = ",\n".join(["input wire logic clk_i", "input wire logic rst_i", *ports])
        top = self.folder / "engines.sv"
        text = [f"module engines (\n{head}\n);", *body, "endmodule", ""]
        top.write_text("`default_nettype none\n" + "\n".join(text) + "`default_nettype wire\n")
        for stem, text_of in self.extra.items():
            files[stem] = self.folder / f"{stem}.sv"
            files[stem].write_text(text_of)
        sources = [*files.values(), top]
        lint(sources, "engines", self.folder / "lint.log")
        self.harness = build(sources, "engines", ins, outs, self.folder / "cache", fast="-O0")

    def play(self, traffic: Mapping[str, Traffic], seed: int = 1) -> dict[str, Result]:
        """Return what came out of every case."""
        assert self.harness is not None
        clocks = max(len(t.valid) for t in traffic.values())
        rows = np.zeros((clocks, self.harness.in_chunks), dtype=np.uint64)
        column = 0
        for name, case in self.cases.items():
            chunks = -(-case.in_bits // 64)
            if name in traffic:
                one = traffic[name]
                for k, bits in enumerate((one.reset, one.valid, one.start)):
                    rows[: len(bits), column + k] = bits
                for k in range(chunks):
                    rows[: len(one.data), column + 3 + k] = [d >> (64 * k) & (1 << 64) - 1 for d in one.data]
            column += 3 + chunks
        out = self.harness.run(rows, seed=seed)
        return {name: self._read(name, out, len(traffic[name].valid)) for name in traffic}

    def _read(self, name: str, out: np.ndarray, clocks: int) -> Result:
        assert self.harness is not None
        valid, start, data = (
            out[:clocks, self.harness.column(f"{name}_{port}")] for port in ("valid_q", "start_q", "out")
        )
        return Result({
            int(clock): (bool(start[clock, 0]), sum(int(d) << (64 * k) for k, d in enumerate(data[clock])))
            for clock in np.flatnonzero(valid[:, 0])
        })  # fmt: skip


def _mutated(source: Path, module: str, name: str, old: str, new: str) -> str:
    text = source.read_text(encoding="utf-8")
    assert text.count(old) == 1, f"{old!r} is {text.count(old)} times in {source.name}"
    waived = "/* verilator lint_off UNUSEDSIGNAL */\n"  # a mutant may leave something unused
    return waived + text.replace(old, new).replace(f"module {module} ", f"module {name} ")


Kind = Callable[[np.random.Generator, int, int], list[tuple[int, int]]]


def whole(rng: np.random.Generator, beats: int, interval: int) -> list[tuple[int, int]]:
    """An event as it should be: one beat per clock, then the rest of the interval."""
    del rng
    rows = [(1, int(k == 0)) for k in range(beats)]
    return rows + [(0, 0)] * max(0, interval - beats)


def late(rng: np.random.Generator, beats: int, interval: int) -> list[tuple[int, int]]:
    """An event and then more than the interval."""
    return whole(rng, beats, interval) + [(0, 0)] * int(rng.integers(1, 2 * interval + 2))


def gaps(rng: np.random.Generator, beats: int, interval: int) -> list[tuple[int, int]]:
    """Gaps between its beats; start stands there too, beside valid = 0."""
    rows = []
    for k in range(beats):
        rows += [(0, int(rng.integers(0, 2)))] * int(rng.integers(0, 4)) + [(1, int(k == 0))]
    return rows + [(0, 1)] * max(0, interval - len(rows))


def stall(rng: np.random.Generator, beats: int, interval: int) -> list[tuple[int, int]]:
    """One long gap between its beats."""
    rows, at = whole(rng, beats, 0), int(rng.integers(1, beats + 1))
    return rows[:at] + [(0, 0)] * int(rng.integers(interval, 5 * interval)) + rows[at:]


def hasty(rng: np.random.Generator, beats: int, interval: int) -> list[tuple[int, int]]:
    """Events much closer than the interval."""
    return whole(rng, beats, 0) * 12 + [(0, 0)] * int(rng.integers(0, 3 * interval))


def short(rng: np.random.Generator, beats: int, interval: int) -> list[tuple[int, int]]:
    """Cut by the next start, at once or after a while."""
    rows = whole(rng, int(rng.integers(1, beats)) if beats > 1 else 1, 0)
    return rows + [(0, 0)] * int(rng.choice([0, 0, 1, interval]))


def too_long(rng: np.random.Generator, beats: int, interval: int) -> list[tuple[int, int]]:
    """Beats without start behind the last."""
    return [*whole(rng, beats, 0), *[(1, 0)] * int(rng.integers(1, beats + 3)), *[(0, 0)] * interval]


def noise(rng: np.random.Generator, beats: int, interval: int) -> list[tuple[int, int]]:
    """Anything."""
    share = rng.random()
    return [(int(rng.random() < 0.8), int(rng.random() < share)) for _ in range(beats + interval)]


KINDS: tuple[Kind, ...] = (whole, late, gaps, stall, hasty, short, too_long, noise)


def traffic(
    seed: int,
    beats: int,
    interval: int,
    bits: int,
    kinds: Sequence[Kind],
    *,
    resets: float = 0.0,
    tail: int = 0,
) -> Traffic:
    """Return events of the given kinds, one after the other, then ``tail`` idle clocks."""
    rng = np.random.default_rng(seed)
    rows = [row for kind in kinds for row in kind(rng, beats, interval)] + [(0, 0)] * tail
    valid, start = np.array(rows, dtype=np.int64).T
    data = [int.from_bytes(rng.bytes(-(-bits // 8)), "little") & ((1 << bits) - 1) for _ in rows]
    reset = rng.random(len(rows)) < resets
    return Traffic(reset.astype(np.int64), valid, start, data)


def between_resets(given: Traffic, play: Callable[[Traffic], Result]) -> Result:
    """Play a model that knows no reset on each stretch between resets; what is under way in one is lost."""
    out: dict[int, tuple[bool, int]] = {}
    first = 0
    for last in [*np.flatnonzero(given.reset).tolist(), len(given.valid)]:
        part = slice(first, last)
        stretch = Traffic(given.reset[part], given.valid[part], given.start[part], given.data[part])
        made = play(stretch).beats if last > first else {}
        out |= {clock + first: beat for clock, beat in made.items() if clock + first <= last}
        first = last + 1
    return Result({clock: beat for clock, beat in out.items() if clock < len(given.valid)})


def codes(words: Sequence[int], count: int, bits: int, signed: bool) -> np.ndarray:
    """Return the numbers in every word, the first in the lowest bits, (words, count)."""
    mask, sign = (1 << bits) - 1, int(signed) << (bits - 1)
    found = [[((word >> at * bits & mask) ^ sign) - sign for at in range(count)] for word in words]
    return np.array(found, dtype=np.int64).reshape(len(words), count)


def words(numbers: np.ndarray, bits: int) -> list[int]:
    """Return one word for every row of numbers, the first in the lowest bits."""
    mask = (1 << bits) - 1
    return [sum((int(n) & mask) << at * bits for at, n in enumerate(row)) for row in numbers]
