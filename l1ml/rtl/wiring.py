# SPDX-License-Identifier: Apache-2.0
"""Buses between engines: which bits of one carry which element, and how another wants them."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from l1ml.graph.tensor import TensorType
from l1ml.plan.streams import Stream

LINE = 100


@dataclass(frozen=True)
class Lane:
    """Where an element lies on a bus.

    Args:
        bus: name of the vector.
        lsb: its lowest bit.
        width: bits; 0 for what is always zero.
        signed: two's complement.
        frac: fraction bits.
    """

    bus: str
    lsb: int
    width: int
    signed: bool
    frac: int


def of_stream(bus: str, stream: Stream) -> list[Lane]:
    """Return the elements of a beat as they travel: group by group, lowest bits first, nothing between them."""
    out, low = [], 0
    for _ in range(stream.groups):
        for k in range(stream.elements):
            kind = stream.type.at(k)
            out.append(Lane(bus, low, kind.width, kind.signed, kind.frac))
            low += kind.width
    return out


def of_outputs(bus: str, kinds: Sequence[TensorType]) -> list[list[Lane]]:
    """Return the elements of a core's ``data_o``, output by output."""
    out, low = [], 0
    for kind in kinds:
        lanes = []
        for k in range(kind.size):
            one = kind.at(k)
            lanes.append(Lane(bus, low, one.width, one.signed, one.frac))
            low += max(1, one.width)
        out.append(lanes)
    return out


def of_results(bus: str, kind: TensorType, bits: int, drops: Sequence[int]) -> list[Lane]:
    """Return the elements of an engine with results of ``bits`` each, of which the lowest ``drops`` are zero."""
    out = []
    for k, drop in enumerate(drops):
        one = kind.at(k)
        out.append(Lane(bus, k * bits + int(drop), min(one.width, bits - int(drop)), one.signed, one.frac))
    return out


def element(lane: Lane, width: int, frac: int) -> str:
    """Return an element with another width and binary point; what is cut off is known to be zero or sign."""
    up = frac - lane.frac
    have = lane.width + min(up, 0)  # zeros at the low end go
    if width <= 0:
        return ""
    if have <= 0:
        return f"{width}'d0"
    low = lane.lsb + max(-up, 0)
    zeros = max(up, 0)
    if zeros >= width:
        return f"{width}'d0"
    kept = min(have, width - zeros)
    parts = []
    if width > kept + zeros:
        more = width - kept - zeros
        sign = f"{lane.bus}[{low + kept - 1}]"
        parts.append(f"{{{more}{{{sign}}}}}" if lane.signed else f"{more}'d0")
    parts.append(f"{lane.bus}[{low + kept - 1}:{low}]" if kept > 1 else f"{lane.bus}[{low}]")
    if zeros:
        parts.append(f"{zeros}'d0")
    return parts[0] if len(parts) == 1 else "{" + ", ".join(parts) + "}"


def packed(lanes: Sequence[Lane], wanted: Sequence[tuple[int, int]]) -> list[str]:
    """Return the pieces of a concatenation, highest first: every element with (width, frac).

    Neighbours on one bus that stay as they are become one slice.
    """
    pieces: list[str] = []
    run: tuple[str, int, int] | None = None  # bus, low, high

    def flush() -> None:
        nonlocal run
        if run is not None:
            bus, low, high = run
            pieces.append(f"{bus}[{high}:{low}]" if high > low else f"{bus}[{low}]")
            run = None

    for lane, (width, frac) in zip(lanes, wanted, strict=True):
        if width == 0:
            continue
        if lane.width == width and lane.frac == frac:
            if run is not None and run[0] == lane.bus and run[2] + 1 == lane.lsb:
                run = (run[0], run[1], lane.lsb + width - 1)
            else:
                flush()
                run = (lane.bus, lane.lsb, lane.lsb + width - 1)
            continue
        flush()
        pieces.append(element(lane, width, frac))
    flush()
    return pieces[::-1]


def natural(stream: Stream) -> list[tuple[int, int]]:
    """Return (width, frac) of every element of a beat, as `of_stream` has them."""
    kinds = [stream.type.at(k) for k in range(stream.elements)]
    return [(kind.width, kind.frac) for kind in kinds] * stream.groups


def assign(target: str, pieces: Sequence[str]) -> Iterator[str]:
    """Yield the lines of an assignment."""
    if not pieces:
        yield f"  assign {target} = '0;"
        return
    text = pieces[0] if len(pieces) == 1 else "{" + ", ".join(pieces) + "}"
    line = f"  assign {target} = {text};"
    if len(line) <= LINE:
        yield line
        return
    yield f"  assign {target} = {{"
    yield from textwrap.wrap(
        ", ".join(pieces), LINE, initial_indent="    ", subsequent_indent="    ",
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip
    yield "  };"
