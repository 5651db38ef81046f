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
from typing import Any

from l1ml.validate.locate import UNSEEN

_STEP = re.compile(r"^ +(?P<name>[a-z]\w*) = (?P<code>.*);(?: // .*)?$")
_REGISTER = re.compile(r"^ +(?P<late>(?P<name>[a-z]\w*)_q\d+) <= (?:(?P<early>(?P=name)_q\d+);)?")
_DECLARED = re.compile(
    r"^ +logic (?P<signed>signed )?(?:\[(?P<high>\d+):(?P<low>\d+)\] )?(?P<name>[a-z]\w*);"
)
_SHIFTED = re.compile(r"\{(?P<name>[a-z]\w*), (?P<zeros>\d+)'d0\}")


SELECTOR = "fault_i"
"""Input that switches a fault on, in a core made by `Core.switched`."""


@dataclass(frozen=True)
class Mutation:
    """One fault.

    Args:
        kind: ``weight_bit``, ``adder`` or ``pipeline_register``.
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

    def mutations(self, kind: str, seed: int) -> Iterator[Mutation]:
        """Yield faults of one kind in random order; another seed, another order."""
        find = {"weight_bit": self._weight_bit, "adder": self._adder, "pipeline_register": self._register}[
            kind
        ]
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
        return fresh

    def _layer_of(self, signal: str) -> str | None:
        """Return the layer a signal belongs to: its name without the last number."""
        stem = re.sub(r"_q\d+$", "", signal).rsplit("_", 1)[0]
        return self._layers.get(stem)

    def _step(self, number: int) -> tuple[str, str, str] | None:
        match = _STEP.match(self.lines[number].rstrip("\n"))
        layer = self._layer_of(match["name"]) if match else None
        return (match["name"], match["code"], layer) if match and layer else None

    def _adder(self, number: int) -> Mutation | None:
        step = self._step(number)
        if step is None:
            return None
        name, code, layer = step
        signs = re.findall(r" ([+-]) ", code)
        if len(signs) != 1:
            return None
        other = "-" if signs[0] == "+" else "+"
        text = f"line {number + 1}, {name}: {signs[0]} became {other}"
        return Mutation(
            "adder", text, frozenset({layer}), number, code, code.replace(f" {signs[0]} ", f" {other} ")
        )

    def _weight_bit(self, number: int) -> Mutation | None:
        """Shift one operand of a sum by one bit less: half the weight it carries."""
        step = self._step(number)
        if step is None or not re.search(r" [+-] ", step[1]):
            return None
        name, code, layer = step
        match = _SHIFTED.search(code)
        if match is None or match["name"] not in self._declared:
            return None
        operand, zeros = match["name"], int(match["zeros"])
        declared = self._declared[operand]
        top = f"{operand}[{declared['high']}]" if declared["high"] else operand
        below = f", {zeros - 1}'d0" if zeros > 1 else ""
        sign = top if declared["signed"] else "1'd0"
        halved = f"{{{sign}, {operand}{below}}}"
        text = f"line {number + 1}, {name}: weight {1 << zeros} of {operand} became {1 << (zeros - 1)}"
        return Mutation(
            "weight_bit", text, frozenset({layer}), number, code, code.replace(match[0], halved, 1)
        )

    def _register(self, number: int) -> Mutation | None:
        """Drop a register of a delay, or put one more behind any other: its readers see another event."""
        match = _REGISTER.match(self.lines[number].rstrip("\n"))
        if match is None or match["late"] not in self._declared:
            return None
        late, early = match["late"], match["early"]
        # Behind an output register no layer follows.
        named = frozenset(layer for n in self._readers(late) if (layer := self._writer(n))) or frozenset(
            {UNSEEN}
        )
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
            match = re.match(r"^ +([a-z]\w*) (?:=|<=) ", line)
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
