# SPDX-License-Identifier: Apache-2.0
"""Fold: a dense layer that reuses its multipliers.

Every clock takes a *slice* of ``per_clock`` inputs, multiplies each with its weight for every output, and adds to one
accumulator per output.  Weights come from a ROM with one word per slice.  The inputs of a beat move through a shift
register; those whose weights are all zero are dropped when the engine is made.

A result takes ``phases`` beats, each with weights of its own: 1 for a layer applied to every beat, all beats of
the event for flatten and dense.

Weights of -1, 0 and 1 need no multiplier.  There ``-x`` is made as ``~x``, which is one too small; the accumulator
begins with that many more.  It begins with the bias, too, at no cost.

Beyond what all engines have there is `FoldEngine.results`, how many results an event has, by which the hardware knows
its last beat; and the ports that write weights, which `FoldEngine.ties` names.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from l1ml.errors import ConfigError, DataError, TimingError
from l1ml.plan.arrivals import check_positive, checked_arrivals
from l1ml.plan.reduce import check_tree_stages
from l1ml.plan.tables import least_bits, literal, packed
from l1ml.types.arrays import IntArray

STYLES = ("lut", "dsp")
ROMS = ("lut", "block")
DSP_FACTORS = (18, 27)
"""Bits of the factors that a DSP block multiplies, two's complement (DSP48E2)."""
PORTS = ("weights_we_i", "weights_address_i", "weights_i", "bias_we_i", "bias_i", "weights_swap_i")
"""By which weights are written."""
INDEX_BITS = 16
"""Bits of an input's number in the hardware's list of kept inputs."""
ROM_BITS = 1 << 18
"""Bits of the largest ROM.  It is one parameter; how long Verilator takes for it grows with the square."""


@dataclass(frozen=True, eq=False)
class FoldEngine:
    """A dense layer, ``per_clock`` inputs at a time.

    Args:
        weights: codes, (phases, inputs, outputs).
        input_bits: bits of an input.
        input_signed: whether inputs are two's complement.
        weight_bits: bits of a weight, two's complement, at least 2.
        acc_bits: bits of an accumulator and a result, two's complement; all results must fit.
        per_clock: inputs taken in one clock; the last slice is filled up with zeros.
        results: results of an event, so that it has ``phases * results`` beats.
        bias: codes added to every result, (outputs,); None for zeros.
        style: multipliers in ``lut`` or ``dsp``.
        rom: weights in ``lut`` or ``block`` (RAM).
        multiplier_stages: registers between shift register or ROM and the sum: 1 behind the multiplier, 2 before
            it, too, more between its `rows`; 0 to 1 + `rows`.
        tree_stages: registers in the tree that adds the products of a slice, or the ends of its cascades, 0 to
            its levels.
        chain: products that a cascade of DSP blocks adds, each its own to that of the block before it a clock
            ago; 1: none.
        reloadable: weights and bias can be written while the engine runs; no input is dropped then, and the results
            of any weights with this bias must fit.

    Raises:
        ConfigError: a number out of its range, weights that do not fit their bits, results that do not fit theirs
            (names the fewest that do), or a ROM that is too large.
    """

    MODULE: ClassVar[str] = "l1ml_fold"
    least_acc_bits = staticmethod(least_bits)

    weights: IntArray
    input_bits: int
    input_signed: bool
    weight_bits: int
    acc_bits: int
    per_clock: int
    results: int = 1
    bias: IntArray | None = None
    style: str = "lut"
    rom: str = "lut"
    multiplier_stages: int = 0
    tree_stages: int = 0
    chain: int = 1
    reloadable: bool = False

    def __post_init__(self) -> None:
        if self.weights.ndim != 3 or not self.weights.size or self.weights.dtype.kind not in "iu":
            raise ConfigError(
                f"Fold: weights of shape {self.weights.shape} and type {self.weights.dtype}",
                fix="give integer codes, (phases, inputs, outputs)",
            )
        check_positive(
            "Fold", input_bits=self.input_bits, weight_bits=self.weight_bits, acc_bits=self.acc_bits,
            per_clock=self.per_clock, results=self.results, chain=self.chain,
        )  # fmt: skip
        for name, value, allowed in (("style", self.style, STYLES), ("rom", self.rom, ROMS)):
            if value not in allowed:
                raise ConfigError(f"Fold: {name} {value!r}", fix=f"allowed are {', '.join(allowed)}")
        if not 0 <= self.multiplier_stages <= 1 + self.rows:
            raise ConfigError(
                f"Fold: multiplier_stages = {self.multiplier_stages}", fix=f"give 0 to {1 + self.rows}"
            )
        self._check_sizes()
        self._check_codes()

    def _check_sizes(self) -> None:
        if self.n_in > 1 << INDEX_BITS:
            raise ConfigError(f"Fold: {self.n_in} inputs", fix=f"at most {1 << INDEX_BITS} are possible")
        if self.per_clock > len(self.kept):
            raise ConfigError(
                f"Fold: {self.per_clock} inputs per clock, but only {len(self.kept)} of {self.n_in} have weights",
                fix=f"give at most {len(self.kept)} per clock",
            )
        self._check_chain()
        check_tree_stages("Fold", self.tree_stages, self.ends)
        word = self.word_bits // self.n_out
        if self.word_bits * self.words > ROM_BITS:
            fit = ROM_BITS // (word * self.words)
            raise ConfigError(
                f"Fold: {self.words} words of {self.word_bits} bits are more than {ROM_BITS} bits of ROM",
                fix=f"split the layer into engines of at most {fit} outputs" if fit else "fold fewer phases",
            )

    def _check_chain(self) -> None:
        if self.chain == 1:
            return
        if self.multiplier != "dsp" or self.reloadable or not self.multiplier_stages:
            raise ConfigError(
                f"Fold: chain = {self.chain}, but only DSP blocks with registers add products, and only of weights"
                " that stay",
                fix="give chain 1, or style dsp and multiplier_stages of 1 or 2 without reloadable",
            )
        least = -(-self.per_clock // self.ends)
        if self.chain != least:
            raise ConfigError(
                f"Fold: cascades of {self.chain} for {self.per_clock} inputs per clock",
                fix=f"give chain {least}, which makes as few of them",
            )

    def _check_codes(self) -> None:
        low, high = -(1 << (self.weight_bits - 1)), (1 << (self.weight_bits - 1)) - 1
        if self.weight_bits < 2 or self.weights.min() < low or self.weights.max() > high:
            raise ConfigError(
                f"Fold: weights from {self.weights.min()} to {self.weights.max()} in {self.weight_bits} bits",
                fix="give as many weight_bits as two's complement needs, at least 2",
            )
        if self.bias is not None and (self.bias.shape != (self.n_out,) or self.bias.dtype.kind not in "iu"):
            raise ConfigError(
                f"Fold: bias of shape {self.bias.shape} and type {self.bias.dtype}",
                fix=f"give {self.n_out} integer codes, one per output",
            )
        if self.style == "dsp" and not self.fits_dsp:
            raise ConfigError(
                f"Fold: products of {self.x_bits} x {self.weight_bits} bits do not fit a DSP block,"
                f" which takes {DSP_FACTORS[1]} x {DSP_FACTORS[0]}",
                fix="multiply in LUTs, or narrow inputs or weights",
            )
        ends = (low, high) if self.reloadable else ()
        worst = [self.weights, *(np.full(self.weights.shape, end) for end in ends)]
        least = max(self.least_acc_bits(w, self.input_bits, self.input_signed, self.bias) for w in worst)
        if not least <= self.acc_bits <= 62:
            raise ConfigError(
                f"Fold: results need {least} bits, got acc_bits = {self.acc_bits}",
                fix=f"give from {least} to 62 bits" if least <= 62 else "narrow inputs or weights",
            )

    @property
    def x_bits(self) -> int:
        """Bits of an input in two's complement."""
        return self.input_bits + (not self.input_signed)

    @property
    def fits_dsp(self) -> bool:
        """Whether one DSP block multiplies an input with a weight."""
        pair = sorted((self.x_bits, self.weight_bits))
        return all(bits <= most for bits, most in zip(pair, DSP_FACTORS, strict=True))

    @property
    def phases(self) -> int:
        """Beats of a result."""
        return self.weights.shape[0]

    @property
    def n_in(self) -> int:
        """Inputs of a beat."""
        return self.weights.shape[1]

    @property
    def n_out(self) -> int:
        """Outputs of a result."""
        return self.weights.shape[2]

    @property
    def beats(self) -> int:
        """Beats of an event."""
        return self.phases * self.results

    @property
    def kept(self) -> IntArray:
        """Numbers of the inputs that have a weight other than zero, in any phase for any output, ascending.

        One of them, where there is none: a layer without weights still gives its bias in time.
        """
        if self.reloadable:
            return np.arange(self.n_in, dtype=np.int64)
        live = np.flatnonzero(self.weights.any(axis=(0, 2)))
        return live if len(live) else np.zeros(1, dtype=np.int64)

    @property
    def slices(self) -> int:
        """Clocks that a beat takes."""
        return -(-len(self.kept) // self.per_clock)

    @property
    def ternary(self) -> bool:
        """Whether all weights are -1, 0 or 1, for good."""
        return not self.reloadable and self.weights.min() >= -1 and self.weights.max() <= 1

    @property
    def words(self) -> int:
        """Words of the ROM, one for each slice of each phase."""
        return self.phases * self.slices

    @property
    def word_bits(self) -> int:
        """Bits of a word of the ROM."""
        return self.n_out * self.per_clock * self._rom_weight_bits

    @property
    def _rom_weight_bits(self) -> int:
        return 2 if self.ternary else self.weight_bits

    @property
    def rows(self) -> int:
        """Steps of a product that may each end in a register: rows of adders, or the halves of a DSP block."""
        if self.ternary:
            return 1
        return 2 if self.style == "dsp" else (self._rom_weight_bits + 1) // 2

    @property
    def latency(self) -> int:
        """Clocks from the last beat of a result to the result."""
        return self.slices + self.multiplier_stages + self.tree_stages + self.chain

    @property
    def ends(self) -> int:
        """Sums of an output that the tree adds: cascades, or products where there are none."""
        return -(-self.per_clock // self.chain)

    @property
    def multiplier(self) -> str:
        """What multiplies: ``lut``, ``dsp``, or ``none`` where adding and subtracting does."""
        return "none" if self.ternary else self.style

    def memory(self) -> dict[str, int | str]:
        """Return where the weights lie: the kind of memory, its words, and bits of a word."""
        constant = self.words == 1 and not self.reloadable
        kind = "constants" if constant else f"{self.rom}_{'ram' if self.reloadable else 'rom'}"
        return {"memory": kind, "words": self.words, "word_bits": self.word_bits}

    def rom_words(self) -> list[int]:
        """Return the words of the ROM, first slice of first phase first.

        In a word the outputs go from low to high bits, and within an output the inputs of the slice.
        """
        return [packed(word.ravel(), self._rom_weight_bits) for word in self._by_slice()]

    def _by_slice(self) -> IntArray:
        """Return the weights as the ROM has them, (words, outputs, per_clock)."""
        padded = np.zeros((self.phases, self.slices * self.per_clock, self.n_out), dtype=np.int64)
        padded[:, : len(self.kept)] = self.weights[:, self.kept]
        return padded.reshape(self.words, self.per_clock, self.n_out).transpose(0, 2, 1)

    def _by_place(self) -> IntArray:
        """Return the weights in the order of the hardware: those of a place in the cascades are one ROM.

        Each place has `ends` inputs of a slice, but for the first, which has those that are left.
        """
        first = self.per_clock - (self.chain - 1) * self.ends
        places = np.split(self._by_slice(), range(first, self.per_clock, self.ends), axis=2)
        return np.concatenate([place.ravel() for place in places])

    def parameters(self) -> dict[str, int]:
        """Return the parameters of the SystemVerilog module that are plain numbers; the others: see `literals`."""
        return {
            "Inputs": self.n_in,
            "Outputs": self.n_out,
            "InputBits": self.input_bits,
            "InputSigned": int(self.input_signed),
            "WeightBits": self._rom_weight_bits,
            "AccBits": self.acc_bits,
            "PerClock": self.per_clock,
            "Phases": self.phases,
            "Results": self.results,
            "KeptInputs": len(self.kept),
            "Ternary": int(self.ternary),
            "Dsp": int(self.style == "dsp"),
            "BlockRom": int(self.rom == "block"),
            "MultiplierStages": self.multiplier_stages,
            "TreeStages": self.tree_stages,
            "Chain": self.chain,
            "Reloadable": int(self.reloadable),
        }

    def bias_word(self) -> int:
        """Return what the accumulators begin with, output 0 in the lowest bits."""
        start = np.zeros(self.n_out, dtype=np.int64) if self.bias is None else self.bias.astype(np.int64)
        if self.ternary:
            start = start + (self.weights < 0).sum(axis=(0, 1))
        return packed(start, self.acc_bits)

    def literals(self) -> dict[str, str]:
        """Return the parameters that are wider than an integer, as SystemVerilog."""
        tables = {
            "Kept": (packed(self.kept, INDEX_BITS), INDEX_BITS * len(self.kept)),
            "Initial": (self.bias_word(), self.acc_bits * self.n_out),
            "Weights": (packed(self._by_place(), self._rom_weight_bits), self.word_bits * self.words),
        }
        return {name: literal(value, bits) for name, (value, bits) in tables.items()}

    def ties(self) -> dict[str, str]:
        """Return the ports that write weights, with what stands on them where nothing does."""
        return dict.fromkeys(PORTS, "'0")

    def check(self, arrivals: IntArray) -> IntArray:
        """Return the clocks of an event's beats, checked for the clocks that a beat takes.

        Args:
            arrivals: clock of every beat of an event, (`beats`,), ascending.

        Raises:
            ConfigError: not one clock per beat, or two beats in one clock.
            TimingError: a beat comes before the one ahead of it has been taken; names what would work.
        """
        clocks = checked_arrivals("Fold", arrivals, self.beats)
        close = np.flatnonzero(np.diff(clocks) < self.slices)
        if len(close):
            at = int(close[0])
            room = int(np.diff(clocks).min())
            raise TimingError(
                f"Fold: beat {at + 1} comes at clock {clocks[at + 1]}, beat {at} at clock {clocks[at]},"
                f" but a beat takes {self.slices} clocks",
                fix=f"let a beat take at most {room} clocks (reuse_factor), or take fewer positions per beat",
            )
        return clocks

    def times(self, arrivals: IntArray) -> IntArray:
        """Return the clock of every result, (results,).

        Args:
            arrivals: clock of every beat of an event, (`beats`,), ascending.

        Raises:
            ConfigError: not one clock per beat, or two beats in one clock.
            TimingError: beats closer than `slices`.
        """
        return self.check(arrivals)[self.phases - 1 :: self.phases] + self.latency

    def busy(self, arrivals: IntArray) -> int:
        """Return the least clocks between two events: the next may begin when the last beat has been taken.

        Args:
            arrivals: clock of every beat of an event, (`beats`,), ascending.

        Raises:
            ConfigError: not one clock per beat, or two beats in one clock.
            TimingError: beats closer than `slices`.
        """
        clocks = self.check(arrivals)
        return int(clocks[-1] - clocks[0]) + self.slices

    def emulate(self, beats: IntArray) -> IntArray:
        """Return the results.

        Args:
            beats: codes, (events, `beats`, lanes, elements); all lanes of a beat together are its inputs.

        Returns:
            Codes, (events, results, 1, outputs).

        Raises:
            DataError: other numbers of beats or inputs.
        """
        codes = np.asarray(beats, dtype=np.int64)
        if codes.ndim != 4 or codes.shape[1] != self.beats or codes.shape[2] * codes.shape[3] != self.n_in:
            raise DataError(
                f"Fold: codes of shape {codes.shape} are no events of {self.beats} beats, {self.n_in} inputs",
                fix=f"expected is (events, {self.beats}, lanes, elements) with lanes * elements = {self.n_in}",
            )
        x = codes.reshape(len(codes) * self.results, self.phases * self.n_in)
        y = x @ self.weights.astype(np.int64).reshape(self.phases * self.n_in, self.n_out)
        if self.bias is not None:
            y = y + self.bias.astype(np.int64)
        return y.reshape(len(codes), self.results, 1, self.n_out)
