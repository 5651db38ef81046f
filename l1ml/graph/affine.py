# SPDX-License-Identifier: Apache-2.0
"""BatchNormalization and other real-valued scales, made exact.

Frameworks compute ``float32(float32(x * scale) + offset)`` and then quantize.  From an integer grid to an
integer grid that is one monotone step function per channel.  Its steps are found by evaluating the
framework's own float32 formula; then the cheapest integer form that gives *every* code is taken.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from l1ml.errors import ModelError
from l1ml.graph import model, primitives
from l1ml.graph.primitives import Primitive
from l1ml.graph.tensor import TensorType
from l1ml.types.arrays import IntArray
from l1ml.types.fixed import Quantizer, quantize_codes

FLOAT32_BITS = 24
"""Significant bits of float32: an accumulator wider than this is not exact in the framework itself."""

MAX_MULTIPLIER_BITS = 18
MAX_CODES = 1 << 22
MAX_STEPS = 255


@dataclass(frozen=True, eq=False)
class AffineQuantize(model.Layer):
    """`model.Affine`, an optional ReLU, then a quantizer: one step function (made by `l1ml.graph.passes`)."""

    scale: np.ndarray
    offset: np.ndarray
    relu: bool
    quantizer: Quantizer


def _per_channel(layer: model.Affine | AffineQuantize, x: TensorType) -> tuple[np.ndarray, np.ndarray]:
    channels = x.shape[-1] if x.shape else 0
    try:
        scale = np.broadcast_to(np.asarray(layer.scale, dtype=np.float32), (channels,))
        offset = np.broadcast_to(np.asarray(layer.offset, dtype=np.float32), (channels,))
    except ValueError:
        raise ModelError(
            f"{layer.name!r} has {np.size(layer.scale)} channels, its input {channels}", where=(layer.name,)
        ) from None
    return scale, offset


def exact(layer: model.Affine, x: TensorType) -> list[Primitive]:
    """Lower an affine function that is not followed by a quantizer: only where float32 itself is exact."""
    from l1ml.graph.layers import to_integers

    scale, offset = _per_channel(layer, x)
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
            where=(layer.name,),
            fix="put a quantizer (QActivation, quantized_relu, Quant) after it: then it is exact",
        )
    return chain


def stepwise(layer: AffineQuantize, x: TensorType) -> list[Primitive]:
    """Lower affine + ReLU + quantizer as exact integer arithmetic, or else as thresholds."""
    scale, offset = _per_channel(layer, x)
    lo, hi = (n.reshape(-1, x.shape[-1]) for n in x.aligned(x.max_frac))
    low, high = lo.min(axis=0), hi.max(axis=0)
    widest = int(max(np.abs(low).max(initial=0), np.abs(high).max(initial=0))).bit_length()
    if widest > FLOAT32_BITS or int((high - low).max(initial=0)) > MAX_CODES:
        raise ModelError(
            f"the input of {layer.name!r} has {widest} bits; float32 is exact up to {FLOAT32_BITS}",
            where=(layer.name,),
            fix="quantize the tensor before this layer",
        )
    tables = [
        _Table.of(layer, float(scale[c]), float(offset[c]), int(low[c]), int(high[c]), x.max_frac)
        for c in range(len(scale))
    ]
    integer = [_integer_form(table, layer.quantizer) for table in tables]
    frac = layer.quantizer.type.frac
    if all(form is not None for form in integer):
        forms = np.array([form for form in integer if form is not None], dtype=np.int64).reshape(-1, 3)
        clip_lo = 0 if layer.relu else layer.quantizer.lo
        clip_lo = max(clip_lo, layer.quantizer.lo)
        return [
            primitives.Rescale(forms[:, 0], forms[:, 1], forms[:, 2], clip_lo, layer.quantizer.type.hi, frac)
        ]
    return [_thresholds(tables, layer, frac)]


@dataclass(frozen=True, eq=False)
class _Table:
    """The framework's output code for every input code ``first..`` of one channel."""

    first: int
    codes: IntArray
    scale: float
    offset: float
    frac: int

    @classmethod
    def of(cls, layer: AffineQuantize, scale: float, offset: float, lo: int, hi: int, frac: int) -> _Table:
        x = np.ldexp(np.arange(lo, hi + 1, dtype=np.float64), -frac).astype(np.float32)
        y = x * np.float32(scale) + np.float32(offset)  # two float32 roundings, as the framework does
        if layer.relu:
            y = np.maximum(y, np.float32(0))
        return cls(lo, quantize_codes(y.astype(np.float64), layer.quantizer), scale, offset, frac)


def _integer_form(table: _Table, quantizer: Quantizer) -> tuple[int, int, int] | None:
    """Find the smallest ``(multiplier, offset, shift)`` that gives every code of the table.

    For each multiplier width the offset that works is the intersection of one interval per input code,
    so nothing is guessed: either the interval is empty or any number in it is right everywhere.
    """
    codes, n = table.codes, np.arange(table.first, table.first + len(table.codes), dtype=np.int64)
    floor_code, top_code = int(codes.min()), int(codes.max())
    if floor_code == top_code:
        return 0, floor_code, 0
    slope = table.scale * 2.0 ** (quantizer.type.frac - table.frac)
    free_low, free_high = codes == quantizer.lo, codes == quantizer.type.hi
    relu_low = codes == max(0, quantizer.lo)
    for shift in range(MAX_MULTIPLIER_BITS + 1 + max(0, -int(np.floor(np.log2(abs(slope)))))):
        ideal = slope * 2.0**shift
        for multiplier in {int(np.floor(ideal)), int(np.ceil(ideal))} - {0}:
            if abs(multiplier).bit_length() > MAX_MULTIPLIER_BITS:
                return None
            base = (codes << shift) - multiplier * n
            low, high = base, base + (1 << shift) - 1
            # A clipped code allows everything beyond the end of the type.
            clipped_low = free_low | (relu_low if floor_code >= 0 else free_low)
            least = low[~clipped_low].max(initial=np.iinfo(np.int64).min)
            most = high[~free_high].min(initial=np.iinfo(np.int64).max)
            if least <= most and least > np.iinfo(np.int64).min and most < np.iinfo(np.int64).max:
                return multiplier, _roundest(int(least), int(most)), shift
    return None


def _roundest(low: int, high: int) -> int:
    """Return the number in ``low..high`` with the most trailing zeros: the cheapest to add."""
    if low <= 0 <= high:
        return 0
    for bit in range(62, -1, -1):
        candidate = -(-low >> bit) << bit
        if low <= candidate <= high:
            return candidate
    return low


def _thresholds(tables: list[_Table], layer: AffineQuantize, frac: int) -> Primitive:
    rows, bases, steps = [], [], []
    for table in tables:
        delta = np.diff(table.codes)
        if not ((delta >= 0).all() or (delta <= 0).all()):
            raise ModelError(
                f"{layer.name!r} is not monotone after its quantizer wraps around",
                where=(layer.name,),
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
            where=(layer.name,),
            fix="quantize its output to 8 bits or fewer",
        )
    never = max(table.first + len(table.codes) for table in tables)
    padded = np.full((len(rows), most), never, dtype=np.int64)
    for k, row in enumerate(rows):
        padded[k, : len(row)] = row
    return primitives.Steps(padded, np.array(bases, dtype=np.int64), np.array(steps, dtype=np.int64), frac)
