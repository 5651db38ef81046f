# SPDX-License-Identifier: Apache-2.0
"""What a link offers, as its folder ``interfaces/<name>/interface.yaml`` describes it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from l1ml import assets
from l1ml.config import read_yaml
from l1ml.errors import ConfigError, InterfaceError, nearest

SCHEMA = "l1ml-interface/1"
FILE = "interface.yaml"


class FrameRule(Enum):
    """What decides how many words a frame has."""

    LINK = "link"
    """All words of TMUX bunch crossings, less the interpacket gap."""
    FIELDS = "fields"
    """As many as the fields need; the event must fit its TMUX bunch crossings."""
    EVENT = "event"
    """One word, as wide as the event."""


class Role(Enum):
    """What a port means; the words of a link are made and read by role, never by name."""

    CLOCK = "clock"
    RESET = "reset"
    DATA = "data"
    VALID = "valid"
    START = "start"
    LAST = "last"
    START_OF_ORBIT = "start_of_orbit"
    STROBE = "strobe"
    READY = "ready"
    ERROR = "error"
    ERROR_LINK = "error_link"
    WEIGHTS_WRITE = "weights_write"
    WEIGHTS_ADDRESS = "weights_address"
    WEIGHTS_DATA = "weights_data"
    WEIGHTS_SWAP = "weights_swap"
    WEIGHTS_BUSY = "weights_busy"
    WEIGHTS_ERROR = "weights_error"


@dataclass(frozen=True, slots=True)
class PortTemplate:
    """A port of the wrapper; ``{link}`` in its name runs over the links of its direction."""

    name: str
    direction: str
    role: Role


@dataclass(frozen=True, slots=True)
class ErrorBit:
    """One sticky bit of ``error_o``.

    Args:
        name: identifier.
        bit: its position.
        text: when it is set.
        drops_event: an event is lost by it, unless all words it needs had arrived before.
    """

    name: str
    bit: int
    text: str
    drops_event: bool = True


@dataclass(frozen=True, slots=True)
class OptionSpec:
    """A whole number that a user may choose.

    Args:
        least: smallest value.
        most: largest value.
        multiple: the value must be a multiple of this.
        default: value where the user gives none; None leaves it to `l1ml.links.resolve`.
        text: what it does.
    """

    least: int
    most: int
    text: str
    multiple: int = 1
    default: int | None = None

    def problem(self, value: object) -> str | None:
        """Say what is wrong with a value, or None."""
        whole = isinstance(value, int) and not isinstance(value, bool)
        if whole and self.least <= value <= self.most and value % self.multiple == 0:  # type: ignore[operator]
            return None
        step = f", a multiple of {self.multiple}" if self.multiple > 1 else ""
        return f"must be a whole number from {self.least} to {self.most}{step}, found {value!r:.40}"


@dataclass(frozen=True)
class InterfaceSpec:
    """One kind of link.

    Args:
        name: its folder in ``interfaces/``.
        title: one line for people.
        clock: name of the clock port.
        reset: name of the reset port.
        reset_active_low: the block is in reset while the reset port is 0.
        word_bits: bits of a word; None: an option (``frame`` FIELDS) or the event's own (EVENT).
        frame: what decides the length of a frame.
        many_links: the fields may be spread over several links.
        emit_cycles: clocks from the core's output to the first output word.
        options: what a user may choose, by name.
        ports: in HDL order, clock and reset left out.
        errors: sticky bits of ``error_o``, by position.
        cells: modules of the cell library that the wrapper instantiates.
    """

    name: str
    title: str
    clock: str
    reset: str
    reset_active_low: bool
    word_bits: int | None
    frame: FrameRule
    many_links: bool
    emit_cycles: int
    options: Mapping[str, OptionSpec]
    ports: tuple[PortTemplate, ...]
    errors: tuple[ErrorBit, ...]
    cells: tuple[str, ...]

    def verify(self) -> None:
        """Check what the code relies on.

        Raises:
            InterfaceError: the description is inconsistent; names what.
        """
        roles = [(p.direction, p.role) for p in self.ports]
        twice = sorted({(d, r.value) for d, r in roles if roles.count((d, r)) > 1})
        problems = [f"more than one {direction} port is {role}" for direction, role in twice]
        problems += [
            f"no {direction} port is {role.value}"
            for direction in ("in", "out")
            for role in (Role.DATA, Role.VALID)
            if (direction, role) not in roles
        ]
        names = [
            self.clock,
            self.reset,
            *(p.name for p in self.ports),
            *(e.name for e in self.errors),
            *self.cells,
        ]
        problems += [f"{n!r} is no plain name" for n in names if not _NAME.fullmatch(n)]
        problems += [
            f"port {p.name}: direction {p.direction!r}"
            for p in self.ports
            if p.direction not in ("in", "out")
        ]
        if bool(self.errors) != (("out", Role.ERROR) in roles):
            problems.append("errors and an error port belong together")
        if (self.word_bits is None) == (self.frame is FrameRule.LINK):
            problems.append("frame: link needs a number of word_bits, the other frames none")
        if problems:
            raise InterfaceError("; ".join(problems), where=("interfaces", self.name, FILE))


_NAME = re.compile(r"[a-z](?:_?(?:[a-z0-9]|\{link\})+)*")
_KEYS = {
    "schema", "name", "title", "clock", "reset", "reset_active_low", "word_bits", "frame", "many_links",
    "emit_cycles", "options", "ports", "errors", "cells",
}  # fmt: skip


def available() -> list[str]:
    """Return the names of all links of this installation."""
    return sorted(p.parent.name for p in assets.path("interfaces").glob(f"*/{FILE}"))


def load(name: str) -> InterfaceSpec:
    """Read the description of a link.

    Raises:
        InterfaceError: there is no such link, or its description is wrong.
    """
    if name not in available():
        raise InterfaceError(
            f"unknown interface {name!r:.60}", where=("interface",), fix=nearest(name, available())
        )
    return read(assets.path("interfaces", name, FILE))


def read(path: Path) -> InterfaceSpec:
    """Read one ``interface.yaml``.

    Raises:
        InterfaceError: its content is wrong.
        ConfigError: it is no YAML.
    """
    data = read_yaml(path)
    where = ("interfaces", path.parent.name, FILE)
    if data.get("schema") != SCHEMA:
        raise InterfaceError(f"schema is {data.get('schema')!r:.60}, expected {SCHEMA!r}", where=where)
    wrong = sorted(_KEYS ^ set(data))
    if wrong:
        raise InterfaceError(
            f"missing or unknown keys: {', '.join(wrong)}", where=where, fix=nearest(wrong[0], _KEYS)
        )
    try:
        spec = _build(data)
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise InterfaceError(f"cannot be understood: {error}", where=where) from error
    if spec.name != path.parent.name:
        raise InterfaceError(f"name is {spec.name!r}, the folder is {path.parent.name!r}", where=where)
    try:
        spec.verify()
    except (TypeError, AttributeError) as error:  # a name or a size that is of another kind
        raise InterfaceError(f"cannot be understood: {error}", where=where) from error
    return spec


def _build(data: Mapping[str, Any]) -> InterfaceSpec:
    bits = data["word_bits"]
    return InterfaceSpec(
        name=str(data["name"]),
        title=str(data["title"]),
        clock=str(data["clock"]),
        reset=str(data["reset"]),
        reset_active_low=bool(data["reset_active_low"]),
        word_bits=None if bits in ("option", "event") else _whole("word_bits", bits),
        frame=FrameRule(data["frame"]),
        many_links=bool(data["many_links"]),
        emit_cycles=_whole("emit_cycles", data["emit_cycles"]),
        options={name: OptionSpec(**entry) for name, entry in data["options"].items()},
        ports=tuple(PortTemplate(p["name"], p["direction"], Role(p["role"])) for p in data["ports"]),
        errors=tuple(
            ErrorBit(e["name"], bit, e["text"], e.get("drops_event", True))
            for bit, e in enumerate(data["errors"])
        ),
        cells=tuple(data["cells"]),
    )


def _whole(key: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"{key} is {value!r:.40}, expected a whole number")
    return value


def check_options(spec: InterfaceSpec, options: Mapping[str, Any]) -> dict[str, int | None]:
    """Return every option of a link with its value; None where neither user nor link gave one.

    Raises:
        ConfigError: unknown options and wrong values, all at once.
    """
    known = [*spec.options, "fields"]
    problems = [f"{str(key)[:60]!r}: {nearest(str(key)[:60], known)}" for key in options if key not in known]
    chosen: dict[str, int | None] = {}
    for name, option in spec.options.items():
        value = options.get(name, option.default)
        wrong = None if value is None else option.problem(value)
        if wrong:
            problems.append(f"{name} {wrong}")
        chosen[name] = None if wrong else value
    if problems:
        raise ConfigError(
            f"options of interface {spec.name}: " + "; ".join(problems),
            where=("links",),
            fix=f"interfaces/{spec.name}/README.md has all options and an example",
        )
    return chosen
