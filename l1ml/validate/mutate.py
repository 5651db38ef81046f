# SPDX-License-Identifier: Apache-2.0
"""Small, known faults in generated RTL, to prove that the comparison finds them.

Works on the text of the core: one statement per step, one register per line, every name begins with the name
of its layer.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from l1ml.validate.locate import UNSEEN

_STEP = re.compile(r"^ +(?P<name>[a-z]\w*) = (?P<code>.*);(?: // .*)?$")
_REGISTER = re.compile(r"^ +(?P<late>(?P<name>[a-z]\w*)_q\d+) <= (?:(?P<early>(?P=name)_q\d+);)?")
_DECLARED = re.compile(
    r"^ +logic (?P<signed>signed )?(?:\[(?P<high>\d+):(?P<low>\d+)\] )?(?P<name>[a-z]\w*);"
)
_TARGET = re.compile(r"^ +([a-z]\w*) (?:=|<=) ")
_NAME = re.compile(r"\b[a-z]\w*")
_SHIFTED = re.compile(r"\{(?P<name>[a-z]\w*), (?P<zeros>\d+)'d0\}")


_SELECT = re.compile(r"^(?P<condition>[^?]+) \? (?P<one>[^?]+) : (?P<other>[^?]+)$")
_ROM = re.compile(r"(?<!~)\bRom[0-9a-f]{12}\[")

KINDS = (
    "weight_bit",
    "adder",
    "multiplier",
    "lookup",
    "select",
    "compare",
    "parity",
    "pipeline_register",
)
"""What can be wrong: a core without multipliers has no such fault, and so on."""

SELECTOR = "fault_i"
"""Input that switches a fault on, in a core made by `Core.switched`."""


@dataclass(frozen=True)
class Mutation:
    """One fault.

    Args:
        kind: one of `KINDS`.
        text: what is done, for people.
        layers: layers that may be named for it: those whose steps compute something wrong first.
        line: number of the line it changes, from 0.
        old: the code there: an expression, or the name of a register.
        new: what stands there instead.
    """

    kind: str
    text: str
    layers: frozenset[str]
    line: int
    old: str
    new: str


class Core:
    """The text of a core, as the printer writes it.

    Args:
        rtl: SystemVerilog of the core.
        layers: ``layers`` of the manifest.
    """

    def __init__(self, rtl: str, layers: Sequence[Mapping[str, Any]]) -> None:
        self.lines = rtl.splitlines(keepends=True)
        self._layers = {str(layer["hdl"]): str(layer["name"]) for layer in layers if layer["hdl"]}
        self._declared = {
            match["name"]: match for match in map(_DECLARED.match, self.lines) if match is not None
        }
        self._probed: dict[str, set[str]] = {}
        for layer in layers:
            for probe in layer.get("probes", ()):
                signal = str(probe["signal"]).rpartition(".")[2]
                self._probed.setdefault(signal, set()).add(str(layer["name"]))

    def mutations(self, kind: str, seed: int) -> Iterator[Mutation]:
        """Yield faults of one kind in random order; another seed, another order."""
        find = {
            "weight_bit": self._weight_bit,
            "adder": self._adder,
            "pipeline_register": self._register,
            "multiplier": lambda n: self._operator(n, kind, "*", "+"),
            "compare": lambda n: self._operator(n, kind, ">=", "<"),
            "parity": lambda n: self._operator(n, kind, "^", "|"),
            "lookup": self._lookup,
            "select": self._select,
        }[kind]
        numbers = list(range(len(self.lines)))
        random.Random(seed).shuffle(numbers)
        for number in numbers:
            found = find(number)
            if found is not None:
                yield found

    def mutated(self, mutation: Mutation) -> str:
        """Return the core with one fault."""
        if mutation.kind == "pipeline_register":
            return "".join(self._rename(mutation, mutation.new, ""))
        lines = list(self.lines)
        lines[mutation.line] = lines[mutation.line].replace(mutation.old, mutation.new, 1)
        return "".join(lines)

    def switched(self, mutations: Sequence[Mutation]) -> str:
        """Return one core with many faults, fault ``k`` (from 1) on while the new input `SELECTOR` is ``k``.

        One build serves for all faults.  No two of them may change the same line or register.
        """
        core = self
        for number, mutation in enumerate(mutations, 1):
            on = f"{SELECTOR} == 16'd{number}"
            if mutation.kind == "pipeline_register":
                name = f"{mutation.old}_fault"
                choice = f"  assign {name} = ({on}) ? {mutation.new} : {mutation.old};\n"
                lines = list(core._rename(mutation, name, choice))
            else:
                lines = list(core.lines)
                both = f"({on}) ? ({mutation.new}) : ({mutation.old})"
                lines[mutation.line] = lines[mutation.line].replace(mutation.old, both, 1)
            core = core._copy(lines)  # as many lines as before: their numbers stay valid
        port = rf"\1input  wire logic [15:0] {SELECTOR},\n\1\2"
        return re.sub(r"^( +)(input +wire logic rst_i\b)", port, "".join(core.lines), count=1, flags=re.M)

    def _copy(self, lines: list[str]) -> Core:
        fresh = object.__new__(Core)
        fresh.lines, fresh._layers, fresh._declared = lines, self._layers, self._declared
        fresh._probed = self._probed
        return fresh

    def _layer_of(self, signal: str) -> str | None:
        """Return the layer a signal belongs to: its name without the last number."""
        stem = re.sub(r"_q\d+$", "", signal).rsplit("_", 1)[0]
        return self._layers.get(stem)

    def _step(self, number: int) -> tuple[str, str, str] | None:
        match = _STEP.match(self.lines[number].rstrip("\n"))
        layer = self._layer_of(match["name"]) if match else None
        return (match["name"], match["code"], layer) if match and layer else None

    def _named(self, signals: Sequence[str], otherwise: frozenset[str]) -> frozenset[str]:
        """Return the layers whose values are the first to show that signals are wrong.

        Args:
            signals: what is wrong.
            otherwise: the answer for a core of which nothing is known to be seen.
        """
        if not self._probed:
            return otherwise
        found: set[str] = set()
        seen, left = set(signals), list(signals)
        while left:
            signal = left.pop()
            if signal in self._probed:
                found |= self._probed[signal]
                continue
            fresh = self._read_by.get(signal, set()) - seen
            seen |= fresh
            left += sorted(fresh)
        return frozenset(found) or frozenset({UNSEEN})

    @cached_property
    def _read_by(self) -> dict[str, set[str]]:
        """For every signal those that are computed from it, and its registers."""
        out: dict[str, set[str]] = {}
        target = None
        for line in self.lines:
            code = _code(line).rstrip()
            match = _TARGET.match(code)
            if match:
                target, code = match[1], code[match.end() :]
            if target is not None:
                for name in _NAME.findall(code):
                    out.setdefault(name, set()).add(target)
            if code.endswith((";", "begin", "end")):
                target = None
        return out

    def _fault(self, kind: str, number: int, new: str, what: str) -> Mutation:
        """Return a fault of the statement on a line."""
        step = self._step(number)
        assert step is not None
        name, code, layer = step
        text = f"line {number + 1}, {name}: {what}"
        return Mutation(kind, text, self._named([name], frozenset({layer})), number, code, new)

    def _operator(self, number: int, kind: str, old: str, new: str) -> Mutation | None:
        step = self._step(number)
        if step is None or step[1].count(f" {old} ") != 1:
            return None
        return self._fault(kind, number, step[1].replace(f" {old} ", f" {new} "), f"{old} became {new}")

    def _adder(self, number: int) -> Mutation | None:
        step = self._step(number)
        signs = re.findall(r" ([+-]) ", step[1]) if step else []
        if len(signs) != 1:
            return None
        return self._operator(number, "adder", signs[0], "-" if signs[0] == "+" else "+")

    def _lookup(self, number: int) -> Mutation | None:
        """Invert one result bit of a table."""
        step = self._step(number)
        match = _ROM.search(step[1]) if step else None
        if step is None or match is None:
            return None
        new = f"{step[1][: match.start()]}~{step[1][match.start() :]}"
        return self._fault("lookup", number, new, f"{match[0][:-1]} inverted")

    def _select(self, number: int) -> Mutation | None:
        """Exchange the results of a choice."""
        step = self._step(number)
        match = _SELECT.match(step[1]) if step else None
        if match is None or match["one"] == match["other"]:
            return None
        new = f"{match['condition']} ? {match['other']} : {match['one']}"
        return self._fault("select", number, new, "the two results are exchanged")

    def _weight_bit(self, number: int) -> Mutation | None:
        """Shift one operand of a sum by one bit less: half the weight it carries."""
        step = self._step(number)
        if step is None or not re.search(r" [+-] ", step[1]):
            return None
        _, code, _ = step
        match = _SHIFTED.search(code)
        if match is None or match["name"] not in self._declared:
            return None
        operand, zeros = match["name"], int(match["zeros"])
        declared = self._declared[operand]
        top = f"{operand}[{declared['high']}]" if declared["high"] else operand
        below = f", {zeros - 1}'d0" if zeros > 1 else ""
        sign = top if declared["signed"] else "1'd0"
        halved = f"{{{sign}, {operand}{below}}}"
        return self._fault(
            "weight_bit",
            number,
            code.replace(match[0], halved, 1),
            f"weight {1 << zeros} of {operand} became {1 << (zeros - 1)}",
        )

    def _register(self, number: int) -> Mutation | None:
        """Drop a register of a delay, or put one more behind any other: its readers see another event."""
        match = _REGISTER.match(self.lines[number].rstrip("\n"))
        if match is None or match["late"] not in self._declared:
            return None
        late, early = match["late"], match["early"]
        # Behind an output register no layer follows.
        own = frozenset(layer for n in self._readers(late) if (layer := self._writer(n)))
        named = self._named(sorted(self._read_by.get(late, ())), own or frozenset({UNSEEN}))
        if early is None:
            text = f"line {number + 1}, {late}: one more register behind it"
            return Mutation("pipeline_register", text, named, number, late, f"{late}_more")
        same = [
            self._declared[n].group("signed", "high", "low") for n in (late, early) if n in self._declared
        ]
        if len(same) != 2 or same[0] != same[1]:
            return None
        text = f"line {number + 1}, {late}: register dropped, its readers take {early}"
        return Mutation("pipeline_register", text, named, number, late, early)

    def _readers(self, signal: str) -> list[int]:
        """Return the lines whose code reads a register."""
        word = re.compile(rf"\b{signal}\b(?! <=)")
        return [
            n for n, line in enumerate(self.lines) if not _declares(line, signal) and word.search(_code(line))
        ]

    def _rename(self, mutation: Mutation, name: str, behind: str) -> Iterator[str]:
        """Yield all lines; readers of a register read another signal, declared where the register is.

        Args:
            mutation: of a register.
            name: what is read instead.
            behind: text behind the declaration.
        """
        readers = set(self._readers(mutation.old))
        word = re.compile(rf"\b{mutation.old}\b(?! <=)")
        for number, line in enumerate(self.lines):
            if _declares(line, mutation.old):
                fresh = [new for new in dict.fromkeys((mutation.new, name)) if new not in self._declared]
                more = "".join(line.splitlines(keepends=True)[0].replace(mutation.old, new) for new in fresh)
                if mutation.new not in self._declared:
                    more += f"  always_ff @(posedge clk_i) {mutation.new} <= {mutation.old};\n"
                yield line + more + behind
                continue
            code = _code(line)
            yield word.sub(name, code) + line[len(code) :] if number in readers else line

    def _writer(self, number: int) -> str | None:
        """Return the layer of the statement a line belongs to; it may have begun on an earlier line."""
        for line in reversed(self.lines[: number + 1]):
            match = _TARGET.match(line)
            if match:
                return self._layer_of(match[1])
            if line is not self.lines[number] and line.rstrip().endswith((";", "begin", "end")):
                return None
        return None


def _code(line: str) -> str:
    """Return a line without its comment."""
    return "" if line.lstrip().startswith("//") else line.partition(" // ")[0]


def _declares(line: str, signal: str) -> bool:
    match = _DECLARED.match(line)
    return match is not None and match["name"] == signal
