# SPDX-License-Identifier: Apache-2.0
"""Runs inside the simulator: words of a link made and read by the role of each port, one row per clock.

Written apart from ``l1ml.links.words``, which the bulk replay uses, so that an error in either shows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from cocotb.clock import Clock
from cocotb.triggers import FallingEdge, ReadOnly

from l1ml.links.layout import LinkLayout, Port
from l1ml.links.spec import Role

Row = dict[str, int]


@dataclass
class Packet:
    """One output packet as it was seen.

    Args:
        clock: of its first word.
        last_clock: of its last word: of as many valid words as a packet has, wherever they are; None where they do
            not come before the next packet.
        codes: of the output elements; None where a field's word was never seen.
        start_of_orbit: the flag on the first word.
        flaws: what is wrong with its flags.
    """

    clock: int
    last_clock: int | None
    codes: list[int | None]
    start_of_orbit: bool
    flaws: list[str] = field(default_factory=list)


class Link:
    """Rows of port values for one layout."""

    def __init__(self, layout: LinkLayout) -> None:
        self.layout = layout
        self.inputs = layout.data_ports("in")
        self.outputs = layout.data_ports("out")
        self._ports = {(p.direction, p.role, p.link): p for p in (*self.inputs, *self.outputs)}

    def port(self, direction: str, role: Role, link: int = 0) -> Port | None:
        """Return the port with a role, or None."""
        return self._ports.get((direction, role, link))

    def has(self, role: Role) -> bool:
        """Tell whether the input side has a port of this role."""
        return self.port("in", role) is not None

    def idle(self) -> Row:
        """Return a clock without a word: everything 0 but strobe and ready."""
        return {p.name: int(p.role in (Role.STROBE, Role.READY)) for p in self.inputs}

    def frame(self, codes: Sequence[int], *, orbit: bool = False) -> list[Row]:
        """Return the rows of one event.

        Args:
            codes: of the input elements.
            orbit: the event is the first of an orbit.
        """
        words = self.layout.frame_words
        rows = [self.idle() for _ in range(words)]
        for word, row in enumerate(rows):
            for port in self.inputs:
                if port.role is Role.VALID:
                    row[port.name] = 1
                elif port.role is Role.START:
                    row[port.name] = int(word == 0)
                elif port.role is Role.LAST:
                    row[port.name] = int(word == words - 1)
                elif port.role is Role.START_OF_ORBIT:
                    row[port.name] = int(word == 0 and orbit)
        for code, place in zip(codes, self.layout.in_fields, strict=True):
            port = self.port("in", Role.DATA, place.link)
            assert port is not None
            rows[place.word][port.name] |= (int(code) & ((1 << place.width) - 1)) << place.lsb
        return rows

    def pause(self, row: Row) -> Row:
        """Return a clock without a word, before a word of a frame: that word, which does not count yet."""
        idle = dict(row)
        self.set(idle, Role.STROBE if self.has(Role.STROBE) else Role.VALID, 0)
        return idle

    def set(self, row: Row, role: Role, value: int, link: int | None = None) -> None:
        """Change the ports of one role in a row: of one link, or of all."""
        for port in self.inputs:
            if port.role is role and link in (None, port.link):
                row[port.name] = value

    def packets(self, samples: Sequence[Row]) -> Iterator[Packet]:
        """Find the output packets: runs of valid words, cut by start or after their last word."""
        words, clock = self.layout.words_out, 0
        while clock < len(samples):
            if not self._flag(samples[clock], Role.VALID):
                stray = [r.value for r in (Role.START, Role.LAST) if self._flag(samples[clock], r)]
                assert not stray, f"clock {clock}: {stray} without valid"
                clock += 1
                continue
            packet = Packet(
                clock,
                self._last_clock(samples, clock),
                [None] * len(self.layout.out_fields),
                self._flag(samples[clock], Role.START_OF_ORBIT),
            )
            for word in range(words):
                if clock + word >= len(samples) or not self._flag(samples[clock + word], Role.VALID):
                    packet.flaws.append(f"only {word} of {words} words")
                    break
                self._word(samples[clock + word], word, packet)
            clock += words
            yield packet

    def _last_clock(self, samples: Sequence[Row], clock: int) -> int | None:
        """Count the valid words of a packet on every link; return the clock of the latest link's last one."""
        ends = []
        for link in range(self.layout.n_links_out):
            left = self.layout.words_out
            for number in range(clock, len(samples)):
                left -= self._flag(samples[number], Role.VALID, link)
                if not left:
                    ends.append(number)
                    break
                if number > clock and self._flag(samples[number], Role.START, link):
                    return None
        return max(ends) if len(ends) == self.layout.n_links_out else None

    def _flag(self, row: Row, role: Role, link: int = 0) -> bool:
        port = self.port("out", role, link)
        return port is not None and bool(row[port.name])

    def _word(self, row: Row, word: int, packet: Packet) -> None:
        words = self.layout.words_out
        for link in range(self.layout.n_links_out):
            expected = {
                Role.VALID: 1,
                Role.START: int(word == 0),
                Role.LAST: int(word == words - 1),
                Role.STROBE: 1,
                Role.START_OF_ORBIT: int(packet.start_of_orbit and word == 0),
            }
            for role, value in expected.items():
                port = self.port("out", role, link)
                if port is not None and row[port.name] != value:
                    packet.flaws.append(f"{port.name} is {row[port.name]} in word {word}")
        for number, place in enumerate(self.layout.out_fields):
            port = self.port("out", Role.DATA, place.link)
            if place.word == word and port is not None:
                packet.codes[number] = code_of(row[port.name] >> place.lsb, place.width, place.signed)


def code_of(bits: int, width: int, signed: bool) -> int:
    """Return the number that ``width`` bits stand for."""
    value = bits & ((1 << width) - 1)
    return value - (1 << width) if signed and value >> (width - 1) else value


class Player:
    """Plays rows into the design and samples its outputs just before every rising edge.

    Inputs change on the falling edge; outputs are sampled after they settled, still before the rising edge.
    """

    def __init__(self, dut: Any, link: Link) -> None:
        self.dut, self.link = dut, link
        self.unresolved: list[str] = []
        layout = link.layout
        self._clock, self._reset = getattr(dut, layout.clock_port), getattr(dut, layout.reset_port)
        self._active = int(not layout.reset_active_low)
        self._handles = {p.name: getattr(dut, p.name) for p in (*link.inputs, *link.outputs)}
        self._driven: Row = {}

    async def start(self, reset_cycles: int = 4) -> None:
        """Start the clock and reset the design."""
        self._reset.value = self._active
        self._drive(self.link.idle())
        Clock(self._clock, 4, unit="ns").start()
        await self.play([self.link.idle()] * reset_cycles, reset=range(reset_cycles), check=False)

    async def play(self, rows: Sequence[Row], *, reset: Sequence[int] = (), check: bool = True) -> list[Row]:
        """Play rows; return one sample of all outputs per row.

        Args:
            rows: port values by name.
            reset: rows during which reset is active.
            check: note outputs that are neither 0 nor 1; control always, data while valid.
        """
        samples = []
        for number, row in enumerate(rows):
            await FallingEdge(self._clock)
            self._reset.value = self._active if number in reset else 1 - self._active
            self._drive(row)
            await ReadOnly()
            samples.append(self._sample(number, check))
        return samples

    def _drive(self, row: Row) -> None:
        for name, value in row.items():
            if self._driven.get(name) != value:
                self._handles[name].value = value
        self._driven = dict(row)

    def _sample(self, number: int, check: bool) -> Row:
        row: Row = {}
        data = []
        for port in self.link.outputs:
            value = self._handles[port.name].value
            if value.is_resolvable:
                row[port.name] = int(value) if port.width == 1 else value.to_unsigned()
            else:
                row[port.name] = 0
                data.append(port)
        for port in data if check else ():
            valid = self.link.port("out", Role.VALID, port.link) or self.link.port("out", Role.VALID)
            if port.role is not Role.DATA or valid is None or row[valid.name]:
                self.unresolved.append(f"clock {number}: {port.name} is {self._handles[port.name].value}")
        return row
