# SPDX-License-Identifier: Apache-2.0
"""Where every element of an event lies on the link, word by word and bit by bit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from l1ml.errors import DataError, InterfaceError
from l1ml.links.spec import ErrorBit, Role
from l1ml.types.timing import Latency

CHUNK_BITS = 64


@dataclass(frozen=True, slots=True)
class Port:
    """A port of the wrapper.

    Args:
        name: HDL name.
        direction: ``in`` or ``out``.
        width: bits.
        role: what it means.
        link: number of its link; 0 where the port belongs to all.
    """

    name: str
    direction: str
    width: int
    role: Role
    link: int = 0

    @property
    def chunks(self) -> int:
        """64-bit chunks that carry its value."""
        return -(-self.width // CHUNK_BITS)


@dataclass(frozen=True, slots=True)
class Field:
    """One element of an event on the link.

    Args:
        element: its number in the core's vector.
        name: as the user knows it, e.g. ``x[3]``.
        link: number of the link.
        word: number of the word in the frame.
        lsb: lowest bit in the word.
        width: bits in the word; more than ``element_width`` only for outputs, then sign- or zero-extended.
        signed: two's complement.
        element_width: bits in the core's vector.
        element_lsb: lowest bit in the core's vector.
    """

    element: int
    name: str
    link: int
    word: int
    lsb: int
    width: int
    signed: bool
    element_width: int
    element_lsb: int

    @property
    def msb(self) -> int:
        """Highest bit in the word."""
        return self.lsb + self.width - 1

    def __str__(self) -> str:
        return f"{self.name}: link {self.link} word {self.word} bits {self.msb}:{self.lsb}"


@dataclass(frozen=True, slots=True)
class LinkLayout:
    """A link with every field placed; all that wrapper, words and reports need to know about it.

    Args:
        interface: name of the link.
        clock_mhz: link clock.
        tmux: an event every ``tmux`` bunch crossings.
        words_per_bx: words of one link in one bunch crossing.
        word_bits: bits of an input word.
        out_word_bits: bits of an output word.
        frame_words: words of an input frame.
        words_out: words of an output packet.
        link_cycles: clocks from one event to the next.
        n_links_in: input links.
        n_links_out: output links.
        in_fields: by element.
        out_fields: by element.
        emit_cycles: clocks from the core's output to the first output word.
        ports: of the wrapper in HDL order, clock and reset first.
        reset_active_low: in reset while the reset port is 0.
        errors: sticky bits of the error port.
        beat_count: beats of an event that is read while it arrives; 0 where the core takes it as a whole.
        beat_words: words of a beat, on every link.
        beat_fields: fields of the first beat, the pattern of all.
        grid_cycles: clocks of which events in flight must start whole multiples apart; 1 where they need not.
        clear_cycles: clocks after the start of an event from which on any start will do; the wrapper drops an event
            that starts before, off the grid.  0 where the link cannot bring one.
        committed_word: word of a frame with which an event can no longer come to nothing: an engine has all that it
            reads of it.  What is cut before is in nobody's way.
        needed_word: the last word that the outputs wait for, where the wrapper must see to it that it came: an engine
            has a whole event before.  0 where it need not.
    """

    interface: str
    clock_mhz: float
    tmux: int
    words_per_bx: int
    word_bits: int
    out_word_bits: int
    frame_words: int
    words_out: int
    link_cycles: int
    n_links_in: int
    n_links_out: int
    in_fields: tuple[Field, ...]
    out_fields: tuple[Field, ...]
    emit_cycles: int
    ports: tuple[Port, ...]
    reset_active_low: bool
    errors: tuple[ErrorBit, ...]
    beat_count: int = 0
    beat_words: int = 0
    beat_fields: int = 0
    grid_cycles: int = 1
    clear_cycles: int = 0
    committed_word: int = 0
    needed_word: int = 0

    @property
    def last_word_needed(self) -> int:
        """Number of the last word that carries a field; the core starts the clock after it."""
        return max(field.word for field in self.in_fields)

    @property
    def collect_cycles(self) -> int:
        """Clocks from the first word on the link to the core's input, of a streamed event to its first beat."""
        return self.beat_words if self.beat_count else self.last_word_needed + 1

    def latency(self, compute_cycles: int) -> Latency:
        """Return the latency of a block whose core takes so many clocks."""
        return Latency(
            self.collect_cycles, compute_cycles, self.emit_cycles, self.clock_mhz, self.last_word_needed,
            self.words_out,
        )  # fmt: skip

    @property
    def beat_width(self) -> int:
        """Bits of a beat at the core's input; of the whole event where it is not streamed."""
        fields = self.in_fields[: self.beat_fields] if self.beat_count else self.in_fields
        return sum(field.element_width for field in fields)

    @property
    def in_width(self) -> int:
        """Bits of the core's input."""
        return sum(field.element_width for field in self.in_fields)

    @property
    def out_width(self) -> int:
        """Bits of the core's output."""
        return sum(field.element_width for field in self.out_fields)

    @property
    def clock_port(self) -> str:
        """Name of the clock."""
        return next(port.name for port in self.ports if port.role is Role.CLOCK)

    @property
    def reset_port(self) -> str:
        """Name of the reset."""
        return next(port.name for port in self.ports if port.role is Role.RESET)

    @property
    def reloads(self) -> bool:
        """Whether weights can be replaced through ports of the wrapper."""
        return any(port.role is Role.WEIGHTS_WRITE for port in self.ports)

    @property
    def in_chunks(self) -> int:
        """64-bit columns of an input row."""
        return sum(port.chunks for port in self.data_ports("in"))

    @property
    def out_chunks(self) -> int:
        """64-bit columns of an output row."""
        return sum(port.chunks for port in self.data_ports("out"))

    def data_ports(self, direction: str) -> tuple[Port, ...]:
        """Return the ports of one direction in HDL order, clock and reset left out."""
        pins = (Role.CLOCK, Role.RESET)
        return tuple(p for p in self.ports if p.direction == direction and p.role not in pins)

    def column(self, direction: str, role: Role, link: int = 0) -> int | None:
        """Return the first 64-bit column of a port in a row, None where the link has no such port."""
        low = 0
        for port in self.data_ports(direction):
            if (port.role, port.link) == (role, link):
                return low
            low += port.chunks
        return None

    def error_names(self, bits: int) -> tuple[str, ...]:
        """Return the names of the bits that are set in a value of the error port."""
        return tuple(error.name for error in self.errors if bits >> error.bit & 1)

    def verify(self) -> None:
        """Check the invariants: fields fit the words and do not overlap, frames fit the clocks.

        Raises:
            InterfaceError: names every field that is wrong.
        """
        problems = overlaps(self.in_fields) + overlaps(self.out_fields)
        for fields, words, bits, links in (
            (self.in_fields, self.frame_words, self.word_bits, self.n_links_in),
            (self.out_fields, self.words_out, self.out_word_bits, self.n_links_out),
        ):
            low = 0
            for number, field in enumerate(fields):
                inside = (
                    field.lsb >= 0
                    and field.msb < bits
                    and 0 <= field.word < words
                    and 0 <= field.link < links
                )
                if not inside:
                    problems.append(
                        f"{field} is outside the frame of {links} links, {words} words, {bits} bits"
                    )
                if (
                    field.element != number
                    or field.element_lsb != low
                    or not 1 <= field.element_width <= field.width
                ):
                    problems.append(f"{field} is not element {number} of the core, from bit {low}")
                low += field.element_width
            if not fields:
                problems.append("there are no fields")
        if max(self.frame_words, self.words_out) > self.link_cycles:
            problems.append(
                f"{max(self.frame_words, self.words_out)} words do not fit {self.link_cycles} clocks"
            )
        if self.grid_cycles < 1 or self.clear_cycles < 0:
            problems.append(
                f"events {self.grid_cycles} clocks apart, {self.clear_cycles} clocks in the block"
            )
        if problems:
            raise InterfaceError("; ".join(problems), where=("link", self.interface))

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for ``manifest.json``; undone by `from_dict`."""
        data = asdict(self)
        data["ports"] = [{**asdict(port), "role": port.role.value} for port in self.ports]
        for key in ("in_fields", "out_fields", "errors"):
            data[key] = list(data[key])
        return {
            **data,
            "last_word_needed": self.last_word_needed,
            "collect_cycles": self.collect_cycles,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> LinkLayout:
        """Read what `to_dict` gave.

        Raises:
            DataError: something is missing or has the wrong form.
            InterfaceError: the layout is inconsistent.
        """
        derived = ("last_word_needed", "collect_cycles")
        try:
            plain = {key: value for key, value in data.items() if key not in derived}
            plain["in_fields"] = tuple(Field(**field) for field in plain["in_fields"])
            plain["out_fields"] = tuple(Field(**field) for field in plain["out_fields"])
            plain["ports"] = tuple(Port(**{**port, "role": Role(port["role"])}) for port in plain["ports"])
            plain["errors"] = tuple(ErrorBit(**error) for error in plain["errors"])
            layout = cls(**plain)
        except (TypeError, ValueError, KeyError, AttributeError) as error:
            raise DataError(
                f"the link's layout cannot be read: {error}",
                where=("manifest.json", "link"),
                fix="run l1ml convert",
            ) from None
        layout.verify()
        return layout

    def __str__(self) -> str:
        head = (
            f"{self.interface}: {self.n_links_in} link(s) in, {self.n_links_out} out, "
            f"{self.word_bits}-bit words, frame of {self.frame_words} words every {self.link_cycles} clocks, "
            f"collect {self.collect_cycles}"
        )
        return "\n".join(
            [head, *(f"  in  {f}" for f in self.in_fields), *(f"  out {f}" for f in self.out_fields)]
        )


def overlaps(fields: Sequence[Field]) -> list[str]:
    """Name every pair of neighbouring fields that share a bit."""
    problems = []
    ordered = sorted(fields, key=lambda f: (f.link, f.word, f.lsb, f.element))
    highest: Field | None = None
    for field in ordered:
        same = highest is not None and (highest.link, highest.word) == (field.link, field.word)
        if same and highest is not None and highest.msb >= field.lsb:
            problems.append(
                f"{highest.name} (bits {highest.msb}:{highest.lsb}) and "
                f"{field.name} (bits {field.msb}:{field.lsb}) overlap in link {field.link} word {field.word}"
            )
        if not same or highest is None or field.msb > highest.msb:
            highest = field
    return problems
