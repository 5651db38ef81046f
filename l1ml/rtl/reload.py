# SPDX-License-Identifier: Apache-2.0
"""The port that replaces weights: its address map, and its place in the core.

Every memory is a region of words; a word is written in chunks of 32 bits, each with an address of its own:
``base + word * stride + chunk``.  The stride is the same everywhere and a power of 2, as are the alignments, so the
hardware only compares bits.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from l1ml.errors import DataError
from l1ml.links.layout import LinkLayout, Port
from l1ml.links.spec import Role
from l1ml.plan.fold import FoldEngine
from l1ml.plan.network import EngineNetwork, EngineNode
from l1ml.plan.timing import Timed
from l1ml.rtl import parts

CHUNK = 32
"""Bits of a write."""
MODULE = "l1ml_reload"
GUIDE = "firmware/weights.md"
"""What is written about the port, in the project."""


@dataclass(frozen=True)
class Region:
    """One memory on the port.

    Args:
        node: number of its engine.
        layer: whose it is.
        holds: ``weights``, a word for each slice of each phase, or ``bias``, one word.
        base: address of its first chunk.
        words: how many.
        word_bits: of a word.
        element_bits: of a weight or bias, two's complement, the first in the lowest bits.
    """

    node: int
    layer: str
    holds: str
    base: int
    words: int
    word_bits: int
    element_bits: int

    @property
    def chunks(self) -> int:
        """Writes of a word."""
        return -(-self.word_bits // CHUNK)


@dataclass(frozen=True)
class AddressMap:
    """All memories that can be written.

    Args:
        regions: by address.
        stride: addresses from word to word.
        address_bits: of an address.
    """

    regions: tuple[Region, ...]
    stride: int
    address_bits: int

    @property
    def nodes(self) -> tuple[int, ...]:
        """Numbers of the engines, ascending."""
        return tuple(sorted({region.node for region in self.regions}))

    def writes(self, engines: dict[int, FoldEngine]) -> list[tuple[int, int]]:
        """Return (address, data) of every chunk, in the order in which they must be written.

        Args:
            engines: whose weights and biases are written, by number of the node.
        """
        out = []
        for region in self.regions:
            engine = engines[region.node]
            words = engine.rom_words() if region.holds == "weights" else [engine.bias_word()]
            if len(words) != region.words:
                raise DataError(f"{region.layer}: {len(words)} words for {region.words}")
            out += [
                (region.base + k * self.stride + chunk, word >> (CHUNK * chunk) & ((1 << CHUNK) - 1))
                for k, word in enumerate(words)
                for chunk in range(region.chunks)
            ]
        return out

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for ``manifest.json``; undone by `from_dict`."""
        return {
            "address_bits": self.address_bits,
            "data_bits": CHUNK,
            "stride": self.stride,
            "regions": [{**asdict(r), "chunks": r.chunks} for r in self.regions],
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> AddressMap:
        """Read what `to_dict` gave.

        Raises:
            DataError: something is missing or has the wrong form.
        """
        try:
            regions = tuple(
                Region(**{k: v for k, v in region.items() if k != "chunks"}) for region in data["regions"]
            )
            return cls(regions, int(data["stride"]), int(data["address_bits"]))
        except (TypeError, ValueError, KeyError) as error:
            raise DataError(
                f"the map of weights cannot be read: {error}",
                where=("manifest.json", "weights"),
                fix="run l1ml convert",
            ) from None


def folds(network: EngineNetwork) -> dict[int, FoldEngine]:
    """Return the engines whose weights can be replaced, by number of the node."""
    return {
        number: node.engine
        for number, node in enumerate(network.nodes)
        if isinstance(node, EngineNode) and isinstance(node.engine, FoldEngine) and node.engine.reloadable
    }


def address_map(network: EngineNetwork) -> AddressMap | None:
    """Return where every memory lies, the largest first, so that none needs a gap; None where there is none."""
    found = []
    for number, engine in folds(network).items():
        layer = network.nodes[number].layer  # type: ignore[union-attr]
        found += [
            Region(number, layer, "weights", 0, engine.words, engine.word_bits, engine.weight_bits),
            Region(number, layer, "bias", 0, 1, engine.n_out * engine.acc_bits, engine.acc_bits),
        ]
    if not found:
        return None
    stride = 1 << max(region.chunks - 1 for region in found).bit_length()
    found.sort(key=lambda region: (-_room(region), region.node, region.holds))
    regions, word = [], 0
    for region in found:
        regions.append(Region(**{**asdict(region), "base": word * stride}))
        word += _room(region)
    return AddressMap(tuple(regions), stride, max(1, (word * stride - 1).bit_length()))


def _room(region: Region) -> int:
    """Return how many words lie between two regions: as many as the engine's address bits tell apart."""
    return 1 << _bits(region.words) if region.holds == "weights" else 1


def link_ports(found: AddressMap) -> tuple[Port, ...]:
    """Return the ports of core and wrapper."""
    return (
        Port("weights_we_i", "in", 1, Role.WEIGHTS_WRITE),
        Port("weights_address_i", "in", found.address_bits, Role.WEIGHTS_ADDRESS),
        Port("weights_data_i", "in", CHUNK, Role.WEIGHTS_DATA),
        Port("weights_swap_i", "in", 1, Role.WEIGHTS_SWAP),
        Port("weights_busy_o", "out", 1, Role.WEIGHTS_BUSY),
        Port("weights_error_o", "out", 1, Role.WEIGHTS_ERROR),
    )


def behind(layout: LinkLayout, found: AddressMap) -> LinkLayout:
    """Return a link whose wrapper has the port, too."""
    return replace(layout, ports=(*layout.ports, *link_ports(found)))


_GUIDE = """\
# Weights that can be replaced

Ports of the top module, all in the clock of the block (cross clock domains in front of them):

| port | bits | |
|---|---|---|
| `weights_we_i` | 1 | write `weights_data_i` at `weights_address_i`, one write per clock at most |
| `weights_address_i` | {address_bits} | number of a chunk of {chunk} bits; on a bus with byte addresses, times {byte} |
| `weights_data_i` | {chunk} | |
| `weights_swap_i` | 1 | one clock: use what was written |
| `weights_busy_o` | 1 | a swap is on its way: writes and swaps are ignored |
| `weights_error_o` | 1 | sticky until reset: something was ignored, or no memory has that address |

Every memory has two banks. Writes go to those that are not in use, at any time; events are not disturbed.
A chunk is at `base + word * {stride} + chunk`. The chunks of a word are written in ascending order, and the
word is stored with the last.

After all writes `weights_swap_i` swaps all banks between two events: the next event whose first beat reaches
the core at least 3 clocks later is the first to see the new weights, in all layers. `weights_busy_o` is 1
until it has passed the last of them. What was in use before is then what is written next: write all of it,
not only what has changed.

Reset goes back to the first bank, which holds the weights of the synthesis or what was last written there.
Write and swap again after a reset.

`l1ml weights --project . --model NEW --output weights.txt` makes a file with address and data of every chunk
for a model of the same architecture.

| base | words | chunks | word | layer | what | type |
|---|---|---|---|---|---|---|
{rows}
"""


def guide(found: AddressMap) -> str:
    """Return the description of the port for those who drive it."""
    rows = [
        f"| {r.base:#x} | {r.words} | {r.chunks} | {r.word_bits} bits | {r.layer} | {r.holds} |"
        f" {r.word_bits // r.element_bits} x {r.element_bits} bits |"
        for r in found.regions
    ]
    return _GUIDE.format(
        address_bits=found.address_bits,
        chunk=CHUNK,
        byte=CHUNK // 8,
        stride=found.stride,
        rows="\n".join(rows),
    )


class ReloadPrinter:
    """Prints the port's part of a core.

    Args:
        timed: the network.
    """

    def __init__(self, timed: Timed) -> None:
        self.timed = timed
        self.map = address_map(timed.network)

    def ports(self) -> list[str]:
        """Return the lines of the core's ports."""
        if self.map is None:
            return []
        return [
            "  input  wire logic weights_we_i, // these six: l1ml_reload",
            f"  input  wire logic [{self.map.address_bits - 1}:0] weights_address_i,",
            f"  input  wire logic [{CHUNK - 1}:0] weights_data_i,",
            "  input  wire logic weights_swap_i,",
            "  output logic weights_busy_o,",
            "  output logic weights_error_o,",
        ]

    def lines(self, begins: Sequence[str]) -> Iterator[str]:
        """Print the port's module.

        Args:
            begins: signals that are 1 together with the first beat of an event at the core.
        """
        if self.map is None:
            return
        found, regions = self.map, self.map.regions
        words = max(engine.words for engine in folds(self.timed.network).values())
        widest = max(region.word_bits for region in regions)
        yield ""
        yield "  // Weights that can be replaced; the addresses are in manifest.json."
        yield f"  logic [{len(regions) - 1}:0] reload_we;"
        yield f"  logic [{_bits(words) - 1}:0] reload_address;"
        yield f"  logic [{widest - 1}:0] reload_data;"
        yield f"  logic [{len(found.nodes) - 1}:0] reload_swap;"
        yield f"  logic [{len(found.nodes) - 1}:0] reload_starts;"
        yield ""
        starts = [int(self.timed.times[self.timed.network.nodes[k].inputs[0]][0]) for k in found.nodes]
        yield from parts.instance(
            MODULE,
            {
                "AddressBits": found.address_bits,
                "ChunkBits": (found.stride - 1).bit_length(),
                "WordBits": widest,
                "WordAddressBits": _bits(words),
                "Regions": len(regions),
                "Engines": len(found.nodes),
                "First": _list(region.base // found.stride for region in regions),
                "Words": _list(region.words for region in regions),
                "Chunks": _list(region.chunks for region in regions),
                "Starts": _list(starts),
                "Latest": max(starts),
            },
            "reload",
            {
                "clk_i": "clk_i", "rst_i": "rst_i", "we_i": "weights_we_i", "address_i": "weights_address_i",
                "data_i": "weights_data_i", "swap_i": "weights_swap_i", "busy_o": "weights_busy_o",
                "error_o": "weights_error_o", "begins_i": " & ".join(dict.fromkeys(begins)),
                "starts_i": "reload_starts", "we_o": "reload_we", "address_o": "reload_address",
                "data_o": "reload_data", "swap_o": "reload_swap",
            },
        )  # fmt: skip

    def connections(self, node: int, engine: FoldEngine) -> dict[str, str]:
        """Return what stands on the ports of an engine by which weights are written."""
        if self.map is None or not engine.reloadable:
            return engine.ties()
        at = {r.holds: k for k, r in enumerate(self.map.regions) if r.node == node}
        bits = {r.holds: r.word_bits for r in self.map.regions if r.node == node}
        return {
            "weights_we_i": f"reload_we[{at['weights']}]",
            "weights_address_i": f"reload_address[{_bits(engine.words) - 1}:0]",
            "weights_i": f"reload_data[{bits['weights'] - 1}:0]",
            "bias_we_i": f"reload_we[{at['bias']}]",
            "bias_i": f"reload_data[{bits['bias'] - 1}:0]",
            "weights_swap_i": f"reload_swap[{self.map.nodes.index(node)}]",
        }

    def starts(self, node: int, engine: FoldEngine, begins: Sequence[str]) -> Iterator[str]:
        """Print when an event begins at an engine."""
        if self.map is not None and engine.reloadable:
            yield ""
            text = " & ".join(dict.fromkeys(begins))
            yield f"  assign reload_starts[{self.map.nodes.index(node)}] = {text};"


def _bits(words: int) -> int:
    return max(1, (words - 1).bit_length())


def _list(numbers: Any) -> str:
    """Return numbers as one parameter, 32 bits each, the first in the lowest bits."""
    return "{" + ", ".join(f"32'd{number}" for number in list(numbers)[::-1]) + "}"
