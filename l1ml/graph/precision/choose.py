# SPDX-License-Identifier: Apache-2.0
"""From what the user says and what the data show to one type for every place.

Policy of ``auto``: the integer bits hold the largest magnitude (trained constants as they are, tensors over the
calibration events, plus spare bits if asked for); the fraction takes the rest of the width.  A tensor that can
never be negative has no sign bit.  What is looked up in a table gets a narrower type, and only the range in
which the function still changes.  Half of the width is kept for the median magnitude: a tensor with a long tail
(an unbounded ReLU in a recurrent cell) gets a wider type, up to `TAIL_BITS`, instead of a coarse one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike

from l1ml.config import AUTO
from l1ml.errors import ConfigError
from l1ml.graph import build
from l1ml.graph.functions import Function
from l1ml.graph.precision.apply import MAX_BIAS_BITS, constants_of, with_constants
from l1ml.graph.precision.curves import evaluate
from l1ml.graph.precision.run import Range, outputs, simulate
from l1ml.graph.precision.settings import Auto, quantizer
from l1ml.graph.precision.slots import Slot, Structure
from l1ml.types.arrays import RealArray
from l1ml.types.fixed import FixedType, Overflow, Quantizer, Rounding, quantize

LEAST_WIDTH = 4
SEARCH_EVENTS = 2000
TAIL_BITS = 24
"""Widest type that a tensor gets because of a long tail."""

TABLE_BITS = 16
"""Widest input of a table that is built; more codes than 2**16 are refused."""


def fitting(lo: float, hi: float, width: int, *, signed: bool, spare: int = 0) -> FixedType:
    """Return the type of a width with the fewest integer bits that hold ``lo..hi`` after rounding.

    Example:
        >>> str(fitting(-1.0, 0.99, 8, signed=True)), str(fitting(0.0, 1.0, 8, signed=False))
        ('fixed<8,1>', 'ufixed<8,1>')
    """
    peak = max(abs(lo), abs(hi))
    integer = (math.floor(math.log2(peak)) if peak > 0 else 0) + signed
    while True:
        kind = FixedType(signed, width, integer)
        scale = 2.0**kind.frac
        if kind.lo <= round(lo * scale) and round(hi * scale) <= kind.hi:
            return FixedType(signed, width, integer + spare)
        integer += 1


def choose(structure: Structure, auto: Auto, ranges: Mapping[Slot, Range] | None) -> dict[Slot, Quantizer]:
    """Return the type of every place.

    Args:
        structure: the places, with what the user says.
        auto: how ``auto`` is found.
        ranges: measured ranges; None without calibration events.

    Raises:
        ConfigError: ``auto`` needs events that are not given, or a type makes a table too large.
    """
    if ranges is None:
        lost = [s for s in structure.slots if s.text == AUTO and not s.constant and s.bounds is None]
        if lost:
            names = ", ".join(f"{s.layer}.{s.key}" for s in lost[:8]) + (" ..." if len(lost) > 8 else "")
            raise ConfigError(
                f"{len(lost)} types are to be found from data, but there are no calibration events: {names}",
                where=("precision",),
                fix="give events: calibration: events.h5 in the configuration, or l1ml.convert(..., calibration=x)",
            )
    types: dict[Slot, Quantizer] = {}
    for slot in structure.slots:
        types[slot] = _of(structure, slot, auto, None if ranges is None else ranges.get(slot))
    _check_tables(types)
    return types


def _of(structure: Structure, slot: Slot, auto: Auto, seen: Range | None) -> Quantizer:
    if slot.bounds is not None and not slot.stated:
        # What is bounded by mathematics takes only the width from a text for the layer or the model as a whole.
        width = auto.width if slot.text == AUTO else quantizer(slot.text).type.width
        kind = fitting(
            *slot.bounds, min(width, TABLE_BITS) if slot.table else width, signed=not slot.positive
        )
        return Quantizer(kind, Rounding.RND_CONV, Overflow.SAT)
    if slot.text != AUTO:
        return quantizer(slot.text)
    if slot.constant:
        values = constants_of(structure, slot)
        bias = slot.key in ("bias", "recurrent_bias")
        width = min(auto.width, MAX_BIAS_BITS) if bias else auto.weight_width or auto.width
        lo, hi = float(values.min(initial=0.0)), float(values.max(initial=0.0))
        return Quantizer(fitting(lo, hi, width, signed=True), Rounding.RND_CONV, Overflow.SAT)
    lo, hi = seen.without(auto.outliers) if seen is not None and seen.seen else slot.bounds or (0.0, 0.0)
    signed, width = not (slot.positive and lo >= 0), auto.width
    if slot.table:
        width = min(width, auto.table_width, TABLE_BITS - slot.differences)
        if slot.functions:
            kind = _for_tables(slot.functions, lo, hi, width, signed=signed)
            return Quantizer(kind, Rounding.RND_CONV, Overflow.SAT)
    kind = fitting(lo, hi, width, signed=signed, spare=auto.spare_bits)
    more = 0 if slot.table or seen is None else _lacking(kind, seen)
    if more:
        width = max(width, min(width + more, TAIL_BITS))
        kind = fitting(lo, hi, width, signed=signed, spare=auto.spare_bits)
    return Quantizer(kind, Rounding.RND_CONV, Overflow.SAT)


def _lacking(kind: FixedType, seen: Range) -> int:
    """Return how many bits the median magnitude lacks of half of the width; zeros do not count."""
    quantiles = seen.log2_quantiles
    return (
        max(0, kind.width // 2 - math.floor(quantiles[len(quantiles) // 2]) - kind.frac) if quantiles else 0
    )


def _for_tables(
    chains: Sequence[Sequence[Function]], lo: float, hi: float, width: int, *, signed: bool
) -> FixedType:
    """Return the type whose codes represent functions best over a range.

    Fewer integer bits mean a finer step where the functions change, and a cut where they do not: of all numbers
    of integer bits the one is taken for which the largest error of any function is smallest.
    """
    whole = fitting(lo, hi, width, signed=signed)
    x = np.concatenate([np.linspace(lo, hi, 2048), np.linspace(max(lo, -16.0), min(hi, 16.0), 8192)])
    errors = {}
    for integer in range(whole.integer, whole.integer - width - 8, -1):
        kind = FixedType(signed, width, integer)
        rounded = quantize(x, Quantizer(kind, Rounding.RND_CONV, Overflow.SAT))
        errors[kind] = max(
            float(np.abs(_values(chain, rounded) - _values(chain, x)).max()) for chain in chains
        )
    return min(errors, key=lambda kind: errors[kind])


def _values(chain: Sequence[Function], x: RealArray) -> RealArray:
    return np.nan_to_num(evaluate(chain, x).astype(np.float64))


def _check_tables(types: Mapping[Slot, Quantizer]) -> None:
    """Refuse types that would make a table too large, and name the width that fits."""
    wide = [slot for slot, kind in types.items() if slot.table and _too_wide(slot, kind.type)]
    if not wide:
        return
    texts = []
    for slot in wide:
        kind = types[slot]
        width = TABLE_BITS - slot.differences
        fits = replace(kind, type=FixedType(kind.type.signed, width, kind.type.integer))
        texts.append(f"{slot.layer}.{slot.key}: {kind.type} has 2**{kind.type.width} codes; {fits} fits")
    raise ConfigError(
        f"{len(wide)} types make a table of more than 2**{TABLE_BITS} entries: " + "; ".join(texts),
        where=("precision",),
        fix=f"give these places (precision > name) types of at most {TABLE_BITS} bits",
    )


def _too_wide(slot: Slot, kind: FixedType) -> bool:
    if not slot.differences:
        return kind.width > TABLE_BITS
    # A softmax needs exp(x) only down to its own LSB, about x = -16: with a coarse grid those are few codes.
    return kind.width >= TABLE_BITS and kind.frac > TABLE_BITS - 4


def narrowest(
    structure: Structure, auto: Auto, ranges: Mapping[Slot, Range], inputs: Sequence[ArrayLike]
) -> dict[Slot, Quantizer]:
    """Return the types of the fewest bits that keep ``auto.max_error``.

    All widths go down together, then those of the weights alone; the first width that fails ends each search.

    Raises:
        ConfigError: even the largest width does not keep it.
    """
    assert auto.max_error is not None
    few = [np.asarray(x)[:SEARCH_EVENTS] for x in inputs]
    wanted = outputs(build.drop_final_softmax(structure.source), few)

    def attempt(width: int, weights: int) -> tuple[dict[Slot, Quantizer], float]:
        one = replace(auto, width=width, weight_width=weights, table_width=min(auto.table_width, width))
        types = choose(structure, one, ranges)
        typed = build.drop_final_softmax(with_constants(structure, types))
        found, _ = simulate(structure, typed, types, few)
        return types, max(relative(f, w) for f, w in zip(found, wanted, strict=True))

    width, weights = auto.width, auto.weight_width or auto.width
    best, error = attempt(width, weights)
    if error > auto.max_error:
        raise ConfigError(
            f"with {width} bits the rms error of the outputs is {error:.3g} of their rms; max_error is {auto.max_error:g}",  # noqa: E501
            where=("precision", "auto", "max_error"),
            fix="raise auto.width, or the error allowed",
        )
    while width > LEAST_WIDTH:
        types, error = attempt(width - 1, min(weights, width - 1))
        if error > auto.max_error:
            break
        best, width, weights = types, width - 1, min(weights, width - 1)
    while weights > LEAST_WIDTH // 2:
        types, error = attempt(width, weights - 1)
        if error > auto.max_error:
            break
        best, weights = types, weights - 1
    return best


def relative(found: RealArray, wanted: RealArray) -> float:
    """Return the rms difference, relative to the rms of what is wanted."""
    scale = float(np.sqrt(np.mean(np.square(wanted.astype(np.float64)))))
    return float(np.sqrt(np.mean(np.square(found - wanted)))) / (scale or 1.0)
