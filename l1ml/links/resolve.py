# SPDX-License-Identifier: Apache-2.0
"""From what a link offers and what an event holds to a layout: `resolve`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from l1ml.config import read_yaml, refuse_unknown
from l1ml.errors import ConfigError, InterfaceError
from l1ml.links import fields as packing
from l1ml.links.beats import beats_of, links_for, pack_beats
from l1ml.links.fields import MAX_LINKS, Element, Place, words_used
from l1ml.links.layout import LinkLayout, Port
from l1ml.links.spec import FrameRule, InterfaceSpec, Role, check_options, load
from l1ml.types.timing import BX_PER_ORBIT, Clock

__all__ = ["Element", "resolve"]

SECTIONS = ("inputs", "outputs")
_GAP: dict[str, Any] = {
    "drops_event": True,
    "text": "a clock without a word inside a packet: beats must come at fixed times",
}
LONG_GAP = 6
"""Words of a packet over several BX that fillers and CRC take (CMS track finder, ``numFramesInfra``)."""


def resolve(
    name: str,
    inputs: Sequence[Element],
    outputs: Sequence[Element],
    *,
    clock: Clock,
    tmux: int | None,
    options: Mapping[str, Any] | None = None,
    beats: Sequence[int] = (),
) -> LinkLayout:
    """Place every element of an event on a link.

    Args:
        name: a folder of ``interfaces/``: ``emp``, ``axis``, ``parallel``.
        inputs: elements of the core's input, lowest bits first.
        outputs: elements of the core's output, lowest bits first.
        clock: link clock.
        tmux: an event every ``tmux`` bunch crossings; None takes the fewest in which it fits.
        options: options of the link (its ``interface.yaml`` names them), and ``fields``: where the elements
            lie, ``{"inputs": {"x[0]": {"link": 0, "word": 1, "bits": "13:0"}, ...}, "outputs": {...}}``,
            or the path of a YAML file with these two sections.  A section that is not given is packed.
        beats: elements of every beat, for a core that reads the event while it arrives.

    Returns:
        The layout, verified.

    Raises:
        ConfigError: unknown or wrong options.
        InterfaceError: fields are wrong (all are named), or the event does not fit the link.
    """
    if tmux is None:
        return _fewest(
            lambda bx: resolve(name, inputs, outputs, clock=clock, tmux=bx, options=options, beats=beats)
        )
    spec = load(name)
    given = dict(options or {})
    chosen = check_options(spec, given)
    for title, elements in (("inputs", inputs), ("outputs", outputs)):
        if not elements:
            raise InterfaceError(f"the network has no {title}", where=("links", name))
    words_per_bx, period = _words(spec.frame, clock, tmux)
    gap = chosen.get("interpacket_gap")
    gap = (0 if tmux == 1 else LONG_GAP) if gap is None else gap
    room = period - gap if spec.frame is FrameRule.LINK else period
    if room < 1:
        raise InterfaceError(
            f"a gap of {gap} words leaves none of the {period} words of {tmux} BX", where=("links", name)
        )
    bits = {"in": spec.word_bits or chosen.get("word_bits")}
    bits["out"] = chosen.get("out_word_bits") or bits["in"]
    places = _given_places(spec, given.get("fields"), inputs, outputs, room, bits)
    sides = []
    for side, elements in (("in", inputs), ("out", outputs)):
        wide = bits[side] or _event_bits(
            elements[: beats[0]] if beats and side == "in" else elements, places[side]
        )
        links, words = chosen.get(f"links_{side}"), chosen.get(f"words_{side}")
        sizes = tuple(beats) if side == "in" else ()
        sides.append(_Side(spec, side, tuple(elements), places[side], wide, links, sizes).settle(room, words))
    source, sink = sides
    frame = room if spec.frame is FrameRule.LINK else source.words
    layout = LinkLayout(
        interface=name,
        clock_mhz=clock.mhz,
        tmux=tmux,
        words_per_bx=words_per_bx,
        word_bits=source.bits,
        out_word_bits=sink.bits,
        frame_words=frame,
        words_out=sink.words,
        link_cycles=period if spec.frame is FrameRule.LINK else max(frame, sink.words),
        n_links_in=source.count,
        n_links_out=sink.count,
        in_fields=packing.fields(inputs, source.placed),
        out_fields=packing.fields(outputs, sink.placed),
        emit_cycles=spec.emit_cycles,
        ports=_ports(spec, source, sink),
        reset_active_low=spec.reset_active_low,
        errors=spec.errors,
    )
    layout.verify()
    if not beats:
        return layout
    made = beats_of(layout.in_fields, beats, name)
    errors = tuple(replace(e, **_GAP) if e.name == "valid_gap" else e for e in layout.errors)
    return replace(
        layout, beat_count=made.count, beat_words=made.words, beat_fields=made.fields, errors=errors
    )


def _fewest(attempt: Callable[[int], LinkLayout]) -> LinkLayout:
    """Return the layout with the smallest TMUX that has room for it."""
    low, high, found = 1, BX_PER_ORBIT, None
    while low < high:
        middle = (low + high) // 2
        try:
            found, high = attempt(middle), middle
        except InterfaceError:
            low = middle + 1
    return found if found is not None and found.tmux == high else attempt(high)


def _words(frame: FrameRule, clock: Clock, tmux: int) -> tuple[int, int]:
    """Return the words of a link in one bunch crossing, and in those of an event.

    A link with frames is locked to the LHC: it has 9 words at 360.71 MHz, and also at a rounded 360.  The clock of
    another is what the user says: in six crossings 200 MHz has 29.
    """
    if frame is FrameRule.EVENT:
        return 1, 1
    if frame is FrameRule.FIELDS:
        return clock.cycles_per_bx, clock.cycles_in(tmux)
    words = clock.lhc_multiple or clock.cycles_per_bx
    return words, words * tmux


def _given_places(
    spec: InterfaceSpec,
    given: object,
    inputs: Sequence[Element],
    outputs: Sequence[Element],
    room: int,
    bits: Mapping[str, int | None],
) -> dict[str, list[Place] | None]:
    """Return the places the user gave per side, None where none were given."""
    where = "links.fields"
    if isinstance(given, str):
        where, given = given, read_yaml(Path(given))
    if given is None:
        return {"in": None, "out": None}
    if not isinstance(given, Mapping):
        raise ConfigError(
            f"fields must be a mapping or a path, found {given!r:.60}", where=("links", "fields")
        )
    refuse_unknown(given, SECTIONS, where=(where,))
    problems: list[str] = []
    found: dict[str, list[Place] | None] = {"in": None, "out": None}
    for side, section, elements in (("in", "inputs", inputs), ("out", "outputs", outputs)):
        if section not in given:
            continue
        places, wrong = packing.parse(section, given[section], elements, widen=side == "out")
        kept = [place for place in places if place is not None]
        # Overlaps and places outside the word are reported together with what could not be read.
        for name, text in _outside(spec, elements, places, room, bits[side]):
            wrong.append(f"{section}: {name}: {text}")
        known = [e for e, place in zip(elements, places, strict=True) if place is not None]
        wrong += [f"{section}: {text}" for text in packing.overlapping(known, kept)]
        problems += wrong
        found[side] = kept
    packing.refuse(problems, spec.name, 'write every field as {link: 0, word: 1, bits: "13:0"}')
    return found


def _outside(
    spec: InterfaceSpec,
    elements: Sequence[Element],
    places: Sequence[Place | None],
    room: int,
    bits: int | None,
) -> list[tuple[str, str]]:
    out = []
    for element, place in zip(elements, places, strict=True):
        if place is None:
            continue
        if bits is not None and place.lsb + place.width > bits:
            out.append((element.name, f"bit {place.lsb + place.width - 1} is outside a word of {bits} bits"))
        if place.link and not spec.many_links:
            out.append((element.name, f"link {place.link} does not exist, {spec.name} has one"))
        if place.word >= room:
            out.append((element.name, f"word {place.word} is outside the frame of {room} words"))
    return out


def _event_bits(elements: Sequence[Element], places: list[Place] | None) -> int:
    """Return the bits of a word that holds the whole event."""
    if places is None:
        return sum(element.width for element in elements)
    return max(place.lsb + place.width for place in places)


class _Side:
    """The links of one direction: how many, how many words, and who lies where."""

    def __init__(
        self,
        spec: InterfaceSpec,
        side: str,
        elements: tuple[Element, ...],
        given: list[Place] | None,
        bits: int,
        links: int | None,
        beats: tuple[int, ...] = (),
    ) -> None:
        self.spec, self.side, self.elements, self.bits, self.beats = spec, side, elements, bits, beats
        self.given, self.wanted = given, links
        self.placed: list[Place] = []
        self.count = self.words = 0

    def settle(self, room: int, words: int | None) -> _Side:
        """Choose links and words; ``room`` words of a link belong to one event."""
        self.placed = self.given if self.given is not None else self._pack(room)
        self.count = self.wanted or 1 + max(place.link for place in self.placed)
        needed = words_used(self.placed)
        self.words = needed if words is None else words
        limit = room if self.spec.frame is FrameRule.LINK or words is None else min(room, words)
        self._check(limit, words, needed, room)
        return self

    def _pack(self, room: int) -> list[Place]:
        wide = [e for e in self.elements if e.width > self.bits]
        if wide:
            self._fail(
                f"{wide[0].name} has {wide[0].width} bits, a word {self.bits} "
                f"({len(wide)} of {len(self.elements)} fields are too wide)",
                f"raise {self._wider}" if self._wider in self.spec.options else "narrow the type",
            )
        slots = words_used(self._places(1))
        fewest = links_for(self.elements, self.beats, self.bits, room) if self.beats else -(-slots // room)
        links = self.wanted or fewest
        if links > (MAX_LINKS if self.spec.many_links else 1) or links < fewest:
            more = f"{fewest} links" if self.spec.many_links and fewest <= MAX_LINKS else f"{slots} words"
            have = f"{min(links, MAX_LINKS) if self.spec.many_links else 1} link(s) of {room} words"
            self._fail(f"the {self.side}puts need {more}, there is room for {have}", _fix(self.spec))
        return self._places(links)

    @property
    def _wider(self) -> str:
        """The option that widens the words of this side."""
        return "word_bits" if self.side == "in" else "out_word_bits"

    def _places(self, links: int) -> list[Place]:
        if self.beats:
            return pack_beats(self.elements, self.beats, self.bits, links)
        return packing.pack(self.elements, self.bits, links)

    def _check(self, limit: int, words: int | None, needed: int, room: int) -> None:
        problems = []
        if words is not None and not needed <= words <= room:
            problems.append(f"words_{self.side} is {words}; the fields need {needed}, an event has {room}")
        for element, place in zip(self.elements, self.placed, strict=True):
            if place.link >= self.count:
                have = f"links_{self.side} is {self.count}"
                problems.append(f"{element.name}: link {place.link} does not exist, {have}")
            if place.word >= limit:
                problems.append(f"{element.name}: word {place.word} is outside the frame of {limit} words")
        empty = sorted(set(range(self.count)) - {place.link for place in self.placed})
        if empty:
            idle = ", ".join(map(str, empty[:8]))
            problems.append(
                f"{self.count} {self.side}put links, but nothing lies on link {idle}; "
                f"give every link a field, or set links_{self.side} to {self.count - len(empty)}"
            )
        packing.refuse(problems, self.spec.name)

    def _fail(self, what: str, fix: str) -> None:
        raise InterfaceError(what, where=("links", self.spec.name), fix=fix)


def _fix(spec: InterfaceSpec) -> str:
    ways = ["raise tmux"]
    if spec.many_links:
        ways.append("change the number of links")
    if "word_bits" in spec.options:
        ways.append("raise word_bits")
    return " or ".join(ways)


def _ports(spec: InterfaceSpec, source: _Side, sink: _Side) -> tuple[Port, ...]:
    """Return clock, reset, then all ports; templates of one direction in a row repeat per link together."""
    ports = [Port(spec.clock, "in", 1, Role.CLOCK), Port(spec.reset, "in", 1, Role.RESET)]
    widths = {Role.ERROR: len(spec.errors), Role.ERROR_LINK: source.count}
    done: set[str] = set()
    for template in spec.ports:
        side = source if template.direction == "in" else sink
        width = widths.get(template.role, side.bits if template.role is Role.DATA else 1)
        if "{link}" not in template.name:
            ports.append(Port(template.name, template.direction, width, template.role))
            continue
        if template.direction in done:
            continue
        done.add(template.direction)
        group = [t for t in spec.ports if t.direction == template.direction and "{link}" in t.name]
        for link in range(side.count):
            for one in group:
                bits = side.bits if one.role is Role.DATA else 1
                ports.append(Port(one.name.format(link=link), one.direction, bits, one.role, link))
    return tuple(ports)
