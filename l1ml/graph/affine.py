# SPDX-License-Identifier: Apache-2.0
"""BatchNormalization and other real-valued scales, made exact.

Frameworks compute ``float32(float32(x * scale) + offset)`` and then quantize.  From an integer grid to an
integer grid that is one monotone step function per channel.  Its steps are found by evaluating the
framework's own float32 formula; then the cheapest integer form that gives *every* code is taken.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from l1ml.errors import ModelError
from l1ml.graph import model, primitives
from l1ml.graph.primitives import Primitive
from l1ml.graph.tensor import TensorType
from l1ml.types.arrays import IntArray
from l1ml.types.fixed import Overflow, Quantizer, quantize_codes
from l1ml.types.intrange import IntType

FLOAT32_BITS = 24
"""Significant bits of float32: an accumulator wider than this is not exact in the framework itself."""

MAX_MULTIPLIER_BITS = 18
MAX_CODES = 1 << 22
MAX_SHIFT = 40
MAX_STEPS = 255


@dataclass(frozen=True, eq=False)
class AffineQuantize(model.Layer):
    """Scales, an optional ReLU, then a quantizer or a sign: one step function (made by `l1ml.graph.passes`).

    Args:
        affines: (scale, offset) of each `model.Affine` in the row.
        relu: a ReLU stands before the quantizer.
        quantizer: what comes after; None for a sign.
        sign_scale: amplitude of the sign.
    """

    affines: tuple[tuple[np.ndarray, np.ndarray], ...]
    relu: bool
    quantizer: Quantizer | None
    sign_scale: float = 1.0


def _per_channel(
    name: str, scale: np.ndarray, offset: np.ndarray, x: TensorType
) -> tuple[np.ndarray, np.ndarray]:
    channels = x.shape[-1] if x.shape else 0
    try:
        wide = np.broadcast_to(np.asarray(scale, dtype=np.float32), (channels,))
        return wide, np.broadcast_to(np.asarray(offset, dtype=np.float32), (channels,))
    except ValueError:
        raise ModelError(f"{name!r} has {np.size(scale)} channels, its input {channels}") from None


def exact(layer: model.Affine, x: TensorType) -> list[Primitive]:
    """Lower an affine function that is not followed by a quantizer: only where float32 itself is exact."""
    from l1ml.graph.layers import to_integers

    scale, offset = _per_channel(layer.name, layer.scale, layer.offset, x)
    multiplier, frac_m = to_integers(scale.astype(np.float64), f"scale of {layer.name!r}")
    constant, frac_c = to_integers(offset.astype(np.float64), f"offset of {layer.name!r}")
    chain: list[Primitive] = [primitives.ConstMatmul(np.diag(multiplier), frac_m)]
    product = chain[0].infer(x)
    if constant.any():
        chain.append(primitives.AddConst(constant, frac_c))
    total = chain[-1].infer(product) if len(chain) > 1 else product
    bits = max(product.max_width, total.max_width)
    if bits > FLOAT32_BITS:
        raise ModelError(
            f"{layer.name!r} scales by real numbers: its result needs {bits} bits, "
            f"more than the {FLOAT32_BITS} that float32 carries, so the framework's own result is rounded",
            fix="put a quantizer (QActivation, quantized_relu, Quant) after it: then it is exact",
        )
    return chain


def stepwise(layer: AffineQuantize, x: TensorType) -> list[Primitive]:
    """Lower a step function as exact integer arithmetic, or else as thresholds.

    Whatever is chosen is evaluated for every input code and compared with the framework's own formula.
    """
    affines = [_per_channel(layer.name, scale, offset, x) for scale, offset in layer.affines]
    lo, hi = (n.reshape(-1, x.shape[-1]) for n in x.aligned(x.max_frac))
    low, high = lo.min(axis=0), hi.max(axis=0)
    widest = int(max(np.abs(low).max(initial=0), np.abs(high).max(initial=0))).bit_length()
    if widest > FLOAT32_BITS or int((high - low).max(initial=0)) > MAX_CODES:
        raise ModelError(
            f"the input of {layer.name!r} has {widest} bits; float32 is exact up to {FLOAT32_BITS}",
            fix="quantize the tensor before this layer",
        )
    tables = [
        _Table.of(layer, [(s[c], o[c]) for s, o in affines], int(low[c]), int(high[c]), x.max_frac)
        for c in range(x.shape[-1])
    ]
    if layer.quantizer is None:
        return [_sign(tables, layer)]
    simple = _rescale(tables, layer, layer.quantizer)
    made = simple if simple is not None else _thresholds(tables, layer, layer.quantizer.type.frac)
    for channel, table in enumerate(tables):
        assert table.equals(made, channel, len(tables)), f"{layer.name}: channel {channel} is not exact"
    return [made]


@dataclass(frozen=True, eq=False)
class _Table:
    """The framework's output code for every input code ``first..`` of one channel; ``slope`` is a hint."""

    first: int
    codes: IntArray
    slope: float
    frac: int

    @classmethod
    def of(cls, layer: AffineQuantize, affines: list[tuple[Any, Any]], lo: int, hi: int, frac: int) -> _Table:
        y = np.ldexp(np.arange(lo, hi + 1, dtype=np.float64), -frac).astype(np.float32)
        for scale, offset in affines:
            y = y * np.float32(scale) + np.float32(offset)  # two float32 roundings, as the framework does
        if layer.relu:
            y = np.maximum(y, np.float32(0))
        if layer.quantizer is None:
            codes = (y >= 0).astype(np.int64)
        else:
            codes = quantize_codes(y.astype(np.float64), layer.quantizer)
        return cls(lo, codes, math.prod(float(scale) for scale, _ in affines), frac)

    @property
    def inputs(self) -> IntArray:
        """The input codes, ascending."""
        return np.arange(self.first, self.first + len(self.codes), dtype=np.int64)

    def equals(self, op: Primitive, channel: int, channels: int) -> bool:
        """Tell whether a primitive gives every code of the table in one of its channels."""
        codes = np.repeat(self.inputs[:, None], channels, axis=1)
        kind = TensorType.of((channels,), IntType(self.first, self.first + len(self.codes) - 1, self.frac))
        return np.array_equal(op.emulate(codes, kind)[:, channel], self.codes)


def _rescale(tables: list[_Table], layer: AffineQuantize, quantizer: Quantizer) -> Primitive | None:
    floor = quantizer.lo
    if layer.relu and quantizer.overflow is not Overflow.WRAP:
        floor = max(0, floor)
    forms = [_integer_form(table, floor, quantizer.type.hi, quantizer.type.frac) for table in tables]
    found = [form for form in forms if form is not None]
    if len(found) < len(forms):
        return None
    columns = np.array(found, dtype=np.int64).reshape(-1, 3)
    return primitives.Rescale(
        columns[:, 0], columns[:, 1], columns[:, 2], floor, quantizer.type.hi, quantizer.type.frac
    )


def _integer_form(table: _Table, floor: int, top: int, frac: int) -> tuple[int, int, int] | None:
    """Find the smallest ``(multiplier, offset, shift)`` that gives every code of the table.

    For each multiplier width the offset that works is the intersection of one interval per input code,
    so nothing is guessed: either the interval is empty or any number in it is right everywhere.

    Args:
        table: the codes wanted.
        floor: smallest code that can come out; the result is clipped there.
        top: largest code that can come out.
        frac: fraction bits of the codes.
    """
    codes, n = table.codes, table.inputs
    if int(codes.min()) == int(codes.max()):
        return 0, int(codes[0]), 0
    slope = table.slope * 2.0 ** (frac - table.frac)
    if slope == 0.0 or not math.isfinite(slope):
        return None
    for shift in range(MAX_MULTIPLIER_BITS + 1 + max(0, -math.floor(math.log2(abs(slope))))):
        ideal = slope * 2.0**shift
        for multiplier in sorted({math.floor(ideal), math.ceil(ideal)} - {0}):
            if abs(multiplier).bit_length() > MAX_MULTIPLIER_BITS or shift > MAX_SHIFT:
                return None
            least_each = (codes << shift) - multiplier * n
            # What is clipped anyway may be as small or as large as it likes.
            least = least_each[codes != floor].max(initial=np.iinfo(np.int64).min)
            most = (least_each + (1 << shift) - 1)[codes != top].min(initial=np.iinfo(np.int64).max)
            if np.iinfo(np.int64).min < least <= most < np.iinfo(np.int64).max:
                return multiplier, _roundest(int(least), int(most)), shift
    return None


def _sign(tables: list[_Table], layer: AffineQuantize) -> Primitive:
    from l1ml.graph.layers import to_integers

    bits = _thresholds(tables, layer, 0)
    assert all(table.equals(bits, channel, len(tables)) for channel, table in enumerate(tables))
    amplitude, frac = to_integers(np.array([layer.sign_scale]), f"scale of {layer.name!r}")
    size = int(amplitude[0])
    return primitives.Steps(bits.thresholds, (2 * bits.base - 1) * size, 2 * size * bits.step, frac)


def _roundest(low: int, high: int) -> int:
    """Return the number in ``low..high`` with the most trailing zeros: the cheapest to add."""
    if low <= 0 <= high:
        return 0
    for bit in range(62, -1, -1):
        candidate = -(-low >> bit) << bit
        if low <= candidate <= high:
            return candidate
    return low


def _thresholds(tables: list[_Table], layer: AffineQuantize, frac: int) -> primitives.Steps:
    rows, bases, steps = [], [], []
    for table in tables:
        delta = np.diff(table.codes)
        if not ((delta >= 0).all() or (delta <= 0).all()):
            raise ModelError(
                f"{layer.name!r} is not monotone after its quantizer wraps around",
                fix="use a saturating quantizer after the normalization",
            )
        step = 1 if (delta >= 0).all() else -1
        rows.append(np.repeat(table.first + 1 + np.arange(len(delta)), np.abs(delta)))
        bases.append(int(table.codes[0]))
        steps.append(step)
    most = max(len(row) for row in rows)
    if most > MAX_STEPS:
        raise ModelError(
            f"{layer.name!r} needs {most} thresholds per channel; at most {MAX_STEPS} are built",
            fix="quantize its output to 8 bits or fewer",
        )
    never = max(table.first + len(table.codes) for table in tables)
    padded = np.full((len(rows), most), never, dtype=np.int64)
    for k, row in enumerate(rows):
        padded[k, : len(row)] = row
    return primitives.Steps(padded, np.array(bases, dtype=np.int64), np.array(steps, dtype=np.int64), frac)
