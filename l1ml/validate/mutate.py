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

_STEP = re.compile(r"^ +(?P<name>[a-z]\w*) = (?P<code>.*);(?: // .*)?$")
_REGISTER = re.compile(r"^ +(?P<name>[a-z]\w*)_q(?P<stage>\d+) <= (?P=name)_q(?P<before>\d+);$")
_DECLARED = re.compile(r"^ +logic (?P<signed>signed )?(?:\[(?P<high>\d+):(?P<low>\d+)\] )?(?P<name>[a-z]\w*);")
_SHIFTED = re.compile(r"\{(?P<name>[a-z]\w*), (?P<zeros>\d+)'d0\}")


@dataclass(frozen=True)
class Mutation:
    """One fault.

    Args:
        kind: ``weight_bit``, ``adder`` or ``pipeline_register``.
        text: what was done, for people.
        rtl: the core with the fault.
        layers: layers that may be named for it: those whose steps compute something wrong first.
    """

    kind: str
    text: str
    rtl: str
    layers: frozenset[str]


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
            match["name"]: (int(match["high"] or 0), int(match["low"] or 0), match["signed"] is not None)
            for match in map(_DECLARED.match, self.lines)
            if match
        }

    def layer_of(self, signal: str) -> str | None:
        """Return the layer a signal belongs to: its name without the last number."""
        stem = re.sub(r"_q\d+$", "", signal).rsplit("_", 1)[0]
        return self._layers.get(stem)

    def mutations(self, kind: str, seed: int) -> Iterator[Mutation]:
        """Yield faults of one kind in random order; another seed, another order."""
        find = {"weight_bit": self._weight_bit, "adder": self._adder, "pipeline_register": self._register}[kind]
        numbers = list(range(len(self.lines)))
        random.Random(seed).shuffle(numbers)
        for number in numbers:
            found = find(number)
            if found is not None:
                yield found

    def _step(self, number: int) -> tuple[str, str, str] | None:
        match = _STEP.match(self.lines[number].rstrip("\n"))
        layer = self.layer_of(match["name"]) if match else None
        return (match["name"], match["code"], layer) if match and layer else None

    def _with(self, changes: Mapping[int, str]) -> str:
        return "".join(changes.get(number, line) for number, line in enumerate(self.lines))

    def _adder(self, number: int) -> Mutation | None:
        step = self._step(number)
        if step is None:
            return None
        name, code, layer = step
        signs = re.findall(r" ([+-]) ", code)
        if len(signs) != 1:
            return None
        other = "-" if signs[0] == "+" else "+"
        changed = self.lines[number].replace(f" {signs[0]} ", f" {other} ", 1)
        text = f"line {number + 1}, {name}: {signs[0]} became {other}"
        return Mutation("adder", text, self._with({number: changed}), frozenset({layer}))

    def _weight_bit(self, number: int) -> Mutation | None:
        """Shift one operand of a sum by one bit less: half the weight it carries."""
        step = self._step(number)
        if step is None or not re.search(r" [+-] ", step[1]):
            return None
        name, code, layer = step
        match = _SHIFTED.search(code)
        if match is None or match["name"] not in self._declared:
            return None
        high, _, signed = self._declared[match["name"]]
        zeros = int(match["zeros"])
        top = f"{match['name']}[{high}]" if signed and high else match["name"] if signed else "1'd0"
        below = f", {zeros - 1}'d0" if zeros > 1 else ""
        changed = self.lines[number].replace(match[0], f"{{{top}, {match['name']}{below}}}", 1)
        text = f"line {number + 1}, {name}: weight {1 << zeros} of {match['name']} became {1 << (zeros - 1)}"
        return Mutation("weight_bit", text, self._with({number: changed}), frozenset({layer}))

    def _register(self, number: int) -> Mutation | None:
        """Let the readers of a delay register read the register before it: one clock too early."""
        match = _REGISTER.match(self.lines[number].rstrip("\n"))
        if match is None:
            return None
        late, early = f"{match['name']}_q{match['stage']}", f"{match['name']}_q{match['before']}"
        word = re.compile(rf"\b{late}\b")
        changes: dict[int, str] = {}
        layers = set()
        for reader, line in enumerate(self.lines):
            if reader == number or not word.search(line) or _DECLARED.match(line):
                continue
            code, mark, comment = line.partition(" // ")
            if not word.search(code):
                continue
            changes[reader] = word.sub(early, code) + mark + comment
            layers.add(self._writer(reader))
        if not changes:
            return None
        named = frozenset(layer for layer in layers if layer)
        text = f"line {number + 1}, {late}: register dropped, its readers take {early}"
        return Mutation("pipeline_register", text, self._with(changes), named)

    def _writer(self, number: int) -> str | None:
        """Return the layer of the statement a line belongs to; it may have begun on an earlier line."""
        for line in reversed(self.lines[: number + 1]):
            match = re.match(r"^ +([a-z]\w*) (?:=|<=) ", line)
            if match:
                return self.layer_of(match[1])
            if line.rstrip().endswith((";", "begin", "end")) and line is not self.lines[number]:
                return None
        return None
