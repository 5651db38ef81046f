# SPDX-License-Identifier: Apache-2.0
"""The wrapper between a link and the core: a template of ``interfaces/<name>/`` filled in with a layout."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from l1ml import assets
from l1ml.links import spacing
from l1ml.links.layout import Field, LinkLayout, Port
from l1ml.links.spec import ErrorBit, Role, load
from l1ml.rtl.names import module_name
from l1ml.rtl.templates import render

TEMPLATE = "wrapper.sv.j2"
CELLS = ("firmware", "rtl", "sv")
COLUMNS = 100
_PORT_TEXTS: dict[tuple[str, Role], str] = {
    ("in", Role.DATA): "the word; its fields are listed above",
    ("in", Role.VALID): "there is a word",
    ("in", Role.START): "with the first word of a frame",
    ("in", Role.LAST): "with the last word",
    ("in", Role.START_OF_ORBIT): "with the first word: first event of its orbit",
    ("in", Role.STROBE): "0: nothing on this link counts this clock",
    ("in", Role.READY): "must be 1 while a word is offered",
    ("out", Role.DATA): "the word; its fields are listed above",
    ("out", Role.VALID): "there is a word",
    ("out", Role.START): "with the first word of a packet",
    ("out", Role.LAST): "with the last word",
    ("out", Role.START_OF_ORBIT): "with the first word: first event of its orbit",
    ("out", Role.STROBE): "constant 1",
    ("out", Role.READY): "constant 1",
    ("out", Role.ERROR): "sticky until reset; the bits are listed above",
    ("out", Role.ERROR_LINK): "sticky until reset; bit n: input link n",
    ("in", Role.WEIGHTS_WRITE): "write to the bank of weights that is not in use",
    ("in", Role.WEIGHTS_ADDRESS): "of 32 bits; the map is in firmware/weights.md and manifest.json",
    ("in", Role.WEIGHTS_DATA): "what is written",
    ("in", Role.WEIGHTS_SWAP): "one clock: the banks are swapped between two events",
    ("out", Role.WEIGHTS_BUSY): "a swap is not done: no write, no swap",
    ("out", Role.WEIGHTS_ERROR): "sticky until reset: a write or swap while busy, or no such address",
}


@dataclass(frozen=True, slots=True)
class Signal:
    """A field and its HDL name."""

    name: str
    field: Field


def render_wrapper(layout: LinkLayout, *, core_module: str, package: str, top_module: str) -> str:
    """Return the SystemVerilog of the wrapper, the same bytes for the same layout and names.

    Args:
        layout: the link.
        core_module: module that the wrapper instantiates; its ports are those of every l1ml core.
        package: package with the core's ``LATENCY``.
        top_module: name of the wrapper.

    Raises:
        ConfigError: a name is not allowed in HDL.
    """
    for name, what in ((core_module, "core_module"), (package, "package"), (top_module, "top_module")):
        module_name(name, what)
    layout.verify()
    context = _context(layout)
    context |= {"core": core_module, "package": package, "top": top_module}
    return render(assets.path("interfaces", layout.interface, TEMPLATE), context)


def library_cells(layout: LinkLayout) -> list[Path]:
    """Return the files of the cell library that the wrapper instantiates."""
    cells = [*load(layout.interface).cells, *([spacing.CELL] if layout.clear_cycles else [])]
    return [assets.path(*CELLS, f"{cell}.sv") for cell in cells]


def signal_names(fields: Sequence[Field], stem: str) -> list[str]:
    """Return an HDL name per field: ``x_3``, or ``x1_3`` where there are several tensors.

    Names of the model are not used: the wrapper does not depend on what a tensor was called.
    """
    tensors = list(dict.fromkeys(field.name.partition("[")[0] for field in fields))
    counts = dict.fromkeys(tensors, 0)
    names = []
    for field in fields:
        tensor = field.name.partition("[")[0]
        number = "" if len(tensors) == 1 else str(tensors.index(tensor))
        names.append(f"{stem}{number}_{counts[tensor]}")
        counts[tensor] += 1
    return names


def _context(layout: LinkLayout) -> dict[str, Any]:
    fields = layout.in_fields[: layout.beat_fields] if layout.beat_count else layout.in_fields
    ins = [Signal(n, f) for n, f in zip(signal_names(fields, "x"), fields, strict=True)]
    outs = [
        Signal(n, f) for n, f in zip(signal_names(layout.out_fields, "y"), layout.out_fields, strict=True)
    ]
    index_bits = max(1, (layout.frame_words - 1).bit_length())
    return {
        "layout": layout,
        "title": load(layout.interface).title,
        "ports": _port_lines(layout),
        "field_lines": _field_lines(layout, ins, "in") + _field_lines(layout, outs, "out"),
        # Without a start mark, last with the last word needed tells a whole packet from two halves.
        "needs_last": layout.last_word_needed == layout.frame_words - 1 and not layout.beat_count,
        "ins": ins,
        "outs": outs,
        "captures": _captures(ins),
        "index_bits": index_bits,
        "phase_bits": max(1, (layout.beat_words - 1).bit_length()),
        "core_inputs": _concat([f"{s.name}_q" for s in reversed(ins)], 4),
        "out_slices": [(s.name, s.field, _extended(s.field)) for s in outs],
        "packets": [_packet(layout, outs, link) for link in range(layout.n_links_out)],
        "unused": _concat(["1'b0", *_unused(layout)], 4) if _unused(layout) else None,
        "errors": [(_camel(error.name), error) for error in layout.errors],
        "error_lines": _error_lines(layout.errors),
        "refused": next((_camel(e.name) for e in layout.errors if e.name in spacing.NAMES), None),
        "vector": _vector,
    }


def _vector(width: int) -> str:
    """Return the packed range of a vector, none for one bit."""
    return f"[{width - 1}:0] " if width > 1 else ""


def _port_lines(layout: LinkLayout) -> list[str]:
    lines = []
    for number, port in enumerate(layout.ports):
        kind = "input  wire logic" if port.direction == "in" else "output logic"
        # One-bit data, error and error_link are vectors too, so that they can be indexed.
        vector = port.width > 1 or port.role in (Role.DATA, Role.ERROR, Role.ERROR_LINK)
        width = f"[{port.width - 1}:0] " if vector else ""
        comma = "," if number < len(layout.ports) - 1 else ""
        lines.append(f"{kind} {width}{port.name}{comma} // {_port_text(layout, port)}")
    return lines


def _port_text(layout: LinkLayout, port: Port) -> str:
    if port.role is Role.CLOCK:
        return f"{layout.clock_mhz:g} MHz, the clock of link and core"
    if port.role is Role.RESET:
        return f"synchronous, active {'low' if layout.reset_active_low else 'high'}, at least one clock"
    return _PORT_TEXTS[port.direction, port.role]


def _field_lines(layout: LinkLayout, signals: Sequence[Signal], direction: str) -> list[str]:
    """Return a comment line per field: its HDL name, where it lies, its number format.

    No name of the model: the same network gives the same bytes, whatever its tensors were called.
    """
    ports = {p.link: p.name for p in layout.data_ports(direction) if p.role is Role.DATA}
    rows = []
    for signal in signals:
        field = signal.field
        bits = f"[{field.msb}:{field.lsb}]"
        sign = "signed" if field.signed else "unsigned"
        extended = f", extended from {field.element_width}" if field.width > field.element_width else ""
        place = f"{ports[field.link]} word {field.word} {bits}"
        rows.append((signal.name, place, f"{sign} {field.width}{extended}"))
    widths = [max(len(row[column]) for row in rows) for column in range(2)]
    return ["  ".join(f"{cell:<{w}}" for cell, w in zip(row, [*widths, 0], strict=True)) for row in rows]


def _captures(ins: Sequence[Signal]) -> list[tuple[int, int, list[Signal]]]:
    """Return (link, word, signals that arrive with it)."""
    ordered = sorted(ins, key=lambda s: (s.field.link, s.field.word, s.field.lsb))
    return [
        (*key, list(group)) for key, group in groupby(ordered, key=lambda s: (s.field.link, s.field.word))
    ]


def _extended(field: Field) -> str:
    """Return the bits of the core's output that make a field, extended to its width."""
    low, high = field.element_lsb, field.element_lsb + field.element_width - 1
    bits = f"core_data[{high}:{low}]" if high > low else f"core_data[{low}]"
    more = field.width - field.element_width
    if not more:
        return bits
    return f"{{{{{more}{{core_data[{high}]}}}}, {bits}}}" if field.signed else f"{{{more}'d0, {bits}}}"


def _packet(layout: LinkLayout, outs: Sequence[Signal], link: int) -> dict[str, Any]:
    """Return the words of one output link: the bits in use, and the concatenation of every word."""
    mine = [s for s in outs if s.field.link == link]
    width = 1 + max(s.field.msb for s in mine)
    words = []
    for word in range(layout.words_out):
        here = sorted((s for s in mine if s.field.word == word), key=lambda s: -s.field.lsb)
        pieces, top = [], width
        for signal in here:
            if signal.field.msb + 1 < top:
                pieces.append(f"{top - signal.field.msb - 1}'d0")
            pieces.append(signal.name)
            top = signal.field.lsb
        if top:
            pieces.append(f"{top}'d0")
        words.append(_concat(pieces, 4))
    return {"link": link, "width": width, "pad": layout.out_word_bits - width, "words": words}


def _concat(pieces: Sequence[str], indent: int) -> str:
    """Return a concatenation, broken into lines."""
    flat = "{" + ", ".join(pieces) + "}" if len(pieces) > 1 else pieces[0]
    if len(flat) <= COLUMNS - 40:
        return flat
    body = textwrap.fill(
        ", ".join(pieces),
        COLUMNS,
        initial_indent=" " * indent,
        subsequent_indent=" " * indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return "{\n" + body + "\n" + " " * (indent - 2) + "}"


def _unused(layout: LinkLayout) -> list[str]:
    """Return the input bits in which no field lies."""
    out = []
    for port in layout.data_ports("in"):
        if port.role is not Role.DATA:
            continue
        used = sorted((f.lsb, f.msb) for f in layout.in_fields if f.link == port.link)
        low = 0
        for first, last in [*used, (port.width, port.width)]:
            if first > low:
                out.append(f"{port.name}[{first - 1}:{low}]" if first - 1 > low else f"{port.name}[{low}]")
            low = max(low, last + 1)
    return out


def _camel(name: str) -> str:
    return "".join(part.capitalize() for part in name.split("_"))


def _error_lines(errors: Sequence[ErrorBit]) -> list[str]:
    """Return a comment line per bit of ``error_o``."""
    width = max((len(error.name) for error in errors), default=0)
    return [f"{error.bit}  {error.name:<{width}}  {error.text}" for error in errors]
