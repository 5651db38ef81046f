# SPDX-License-Identifier: Apache-2.0
"""What engines cost, by formulas made for comparing plans; `docs/streams.md` sets them beside Yosys."""

from __future__ import annotations

from dataclasses import dataclass
from functools import singledispatch

from l1ml.plan.align import AlignEngine
from l1ml.plan.attach import AttachEngine
from l1ml.plan.fold import FoldEngine
from l1ml.plan.pace import PaceEngine
from l1ml.plan.reduce import ReduceEngine
from l1ml.plan.regroup import CollectEngine, SplitEngine
from l1ml.plan.repeat import RepeatEngine
from l1ml.plan.scan import ScanEngine
from l1ml.plan.upsample import UpsampleEngine
from l1ml.plan.window import WindowEngine

RAM_DEPTH = 64
"""Words of a LUT used as memory."""

HALF_BLOCK = ((512, 36), (1024, 18), (2048, 9), (4096, 4), (8192, 2), (16384, 1))
"""Words and their bits that half a block RAM, of 18 kbit, can hold."""

BLOCK_BITS = 36_864
BLOCK_WIDTH = 72
BLOCK_DEPTH = 512


@dataclass(frozen=True)
class Resources:
    """LUT, flip-flops, DSP blocks and block RAMs of 36 kbit."""

    lut: int = 0
    ff: int = 0
    dsp: int = 0
    bram: float = 0.0

    def __add__(self, other: Resources) -> Resources:
        return Resources(
            self.lut + other.lut, self.ff + other.ff, self.dsp + other.dsp, self.bram + other.bram
        )

    def to_dict(self) -> dict[str, float]:
        """Return plain data for JSON."""
        return {"lut": self.lut, "ff": self.ff, "dsp": self.dsp, "bram": self.bram}


@singledispatch
def of_engine(engine: object) -> Resources:
    """Return what an engine takes.

    Raises:
        TypeError: no formula is registered for it.
    """
    raise TypeError(f"no cost is known of {type(engine).__name__}: register one in l1ml/plan/cost.py")


@of_engine.register
def _nothing(engine: None) -> Resources:
    return Resources()


@of_engine.register
def _window(engine: WindowEngine) -> Resources:
    beat = engine.lanes * engine.pixel_bits
    depth = engine.dilation[0] * engine.beats_per_row
    waiting = (engine.kernel[0] - 1) * beat if depth > 1 else 0
    held = engine.lead + -(-engine.padding[1][0] // engine.lanes) + 1
    ff = engine.kernel[0] * held * beat + (engine.kernel[0] - 1) * beat + 40
    pixels = engine.kernel[0] * engine.region_columns * engine.pixel_bits
    masks = pixels if any(any(pair) for pair in engine.padding) else 0
    if waiting * depth > BLOCK_BITS // 4 and depth > 2 * RAM_DEPTH:
        blocks = -(-waiting // BLOCK_WIDTH) * -(-depth // BLOCK_DEPTH)
        return Resources(60 + masks, ff, 0, blocks)
    return Resources(60 + masks + int(1.15 * waiting * -(-depth // RAM_DEPTH)), ff)


@of_engine.register
def _fold(engine: FoldEngine) -> Resources:
    return of_fold(engine, engine.style, engine.rom, engine.chain)


def of_fold(engine: FoldEngine, style: str, rom: str, chain: int = 1) -> Resources:
    """Return what a Fold takes with other multipliers or another memory than its own.

    Args:
        engine: the product.
        style: multipliers in ``lut`` or ``dsp``.
        rom: weights in ``lut`` or ``block`` (RAM).
        chain: products that a cascade of DSP blocks adds.
    """
    g, ends = engine.per_clock, -(-engine.per_clock // chain)
    words = _distinct(engine, engine.word_bits) if rom == "lut" else engine.word_bits
    products = engine.n_out * g
    term = engine.input_bits + (2 if engine.ternary else engine.weight_bits)
    dsp = style == "dsp" and not engine.ternary
    # In LUTs every two bits of a weight are a row of an adder; the rows share 3x.
    row = (engine.weight_bits + 1) // 2 * (engine.x_bits + 2)
    each = 0.0 if dsp else engine.x_bits if engine.ternary else row
    triples = 0 if dsp or engine.ternary else g * (engine.input_bits + 2)
    tree = engine.n_out * (ends - 1) * (term + (g - 1).bit_length())
    inputs = len(engine.kept) * engine.input_bits
    sums = engine.n_out * engine.acc_bits
    lut = int(products * each) + triples + tree + inputs + sums + 25
    ff = inputs + sums + 25
    if not dsp:  # a DSP block has registers of its own
        ff += products * term * min(1, engine.multiplier_stages)
        operands = words + g * engine.input_bits + triples
        inner = max(0, engine.multiplier_stages - 2)
        ff += operands * (engine.multiplier_stages >= 2) + inner * (products * term // 2 + operands)
    ff += int(tree * engine.tree_stages / max(1, (ends - 1).bit_length()))
    memories = [_memory(engine, rom, engine.n_out * size * bits) for size, bits in _places(engine, chain)]
    late = ends * engine.input_bits  # of each place; a long delay is a shift register in LUTs
    delays = Resources(late * max(0, chain - 3), late * (min(chain, 3) * (min(chain, 3) - 1) // 2))
    return sum([*memories, delays], Resources(lut, ff, products if dsp else 0))


def _places(engine: FoldEngine, chain: int) -> list[tuple[int, int]]:
    """Return the inputs of every place in the cascades, which has a memory of its own, and bits of a weight."""
    ends, bits = -(-engine.per_clock // chain), engine.word_bits // (engine.n_out * engine.per_clock)
    return [(engine.per_clock - (chain - 1) * ends, bits), *[(ends, bits)] * (chain - 1)]


def _distinct(engine: FoldEngine, bits: int) -> int:
    """Return the columns of a ROM that are not equal: a few words can only give so many."""
    if engine.reloadable:
        return bits
    return bits if engine.words > bits.bit_length() else min(bits, (1 << engine.words) - 2)


def _memory(engine: FoldEngine, rom: str, bits: int) -> Resources:
    """Return what weights take, bits of them in a word: constants, a ROM, or with the biases RAMs of two banks."""
    words = engine.words
    if engine.reloadable:
        words = 2 << max(1, (words - 1).bit_length())
    elif words == 1:
        return Resources()
    deep = -(-words // RAM_DEPTH)
    if not engine.reloadable:
        if rom == "block":
            return Resources(0, 0, 0, blocks(words, bits))
        bits = _distinct(engine, bits)
        return Resources(_rom_luts(words, bits), bits)
    if rom == "block":
        return of_port(engine) + Resources(0, 0, 0, blocks(words, bits))
    each = 0.58 if words <= RAM_DEPTH // 2 else 1.15
    return of_port(engine) + Resources(int(bits * (each * deep + 0.6 * (deep - 1))), bits)


def _rom_luts(words: int, bits: int) -> int:
    """Return the LUTs of a ROM: memories of 64 words, and the choice between them."""
    deep = -(-words // RAM_DEPTH)
    return int(bits * (deep + 0.2 * (deep - 1)))


def of_port(engine: FoldEngine) -> Resources:
    """Return what reloadable weights take beside their memory: the memory of the biases, and the write port.

    The port is one for all engines; here each pays for it.
    """
    biases = engine.n_out * engine.acc_bits
    return Resources(int(0.58 * biases) + 40, biases + max(engine.word_bits, biases))


def blocks(words: int, bits: int) -> float:
    """Return the block RAMs of 36 kbit that hold some words; half of one is the smallest.

    Args:
        words: how many.
        bits: of a word.
    """
    width = next((width for depth, width in HALF_BLOCK if words <= depth), 1)
    deepest = HALF_BLOCK[-1][0]
    return -(-bits // width) * max(1, -(-words // deepest)) / 2


@of_engine.register
def _reduce(engine: ReduceEngine) -> Resources:
    bits = engine.channels * engine.result_bits
    return Resources(bits * engine.lanes + 10, bits + 20)


@of_engine.register
def _split(engine: SplitEngine) -> Resources:
    bits = engine.positions * engine.position_bits
    return Resources(bits if engine.beats > 1 else 0, bits + 10)


@of_engine.register
def _collect(engine: CollectEngine) -> Resources:
    return Resources(10, engine.positions * engine.position_bits + 10)


@of_engine.register
def _repeat(engine: RepeatEngine) -> Resources:
    return Resources(10, engine.width + 10)


@of_engine.register
def _attach(engine: AttachEngine) -> Resources:
    counter = 2 * max(1, (engine.beats - 1).bit_length()) + 5
    bits = engine.live_bits()
    if engine.rom == "block":
        return Resources(counter, counter, 0, blocks(engine.beats, bits))
    return Resources(_rom_luts(engine.beats, bits) + counter, bits + counter)


@of_engine.register
def _upsample(engine: UpsampleEngine) -> Resources:
    if engine.beats > 2 * RAM_DEPTH and engine.beats * engine.width > BLOCK_BITS // 4:
        blocks = -(-engine.width // BLOCK_WIDTH) * -(-engine.beats // BLOCK_DEPTH)
        return Resources(80, engine.width + 60, 0, blocks)
    return Resources(int(1.15 * engine.width * -(-engine.beats // RAM_DEPTH)) + 80, engine.width + 60)


@of_engine.register
def _align(engine: AlignEngine) -> Resources:
    lut = int(1.15 * engine.width * -(-engine.depth // RAM_DEPTH)) + 30
    return Resources(lut, engine.width + 30)


@of_engine.register
def _pace(engine: PaceEngine) -> Resources:
    if engine.depth == 1:
        return Resources(20, 2 * engine.width + 20)
    lut = int(1.15 * engine.width * -(-engine.depth // RAM_DEPTH)) + 30
    return Resources(lut, engine.width + 30)


@of_engine.register
def _scan(engine: ScanEngine) -> Resources:
    words = engine.buffers * engine.steps
    ring = max(0, engine.slot - engine.cell_latency)
    state = engine.state_bits if ring == 0 else engine.state_bits * -(-max(ring - 1, 0) // 32)
    lut = int(1.15 * engine.x_bits * -(-words // RAM_DEPTH)) + state + 90
    return Resources(lut, engine.x_bits + engine.state_bits * min(ring, 2) + 150)


def of_delay(width: int, clocks: int) -> Resources:
    """Return what a delay of a stream takes: shift registers in LUTs behind the first clocks."""
    if clocks <= 2:
        return Resources(0, clocks * (width + 2))
    return Resources((width + 1) * -(-(clocks - 1) // 32), width + 2 + clocks)
