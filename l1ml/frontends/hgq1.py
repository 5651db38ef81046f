# SPDX-License-Identifier: Apache-2.0
"""Proxy models of HGQ, the first one: plain Keras layers with quantized weights, and two layers of its own.

`HGQ.proxy.to_proxy_model` writes them.  The layers before that step hold training variables only and are refused.

Source:
    ``HGQ/proxy/fixed_point_quantizer.py`` and ``unary_lut.py`` of HGQ 0.2.6.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from l1ml.errors import ModelError, RangeError
from l1ml.frontends.common import UnsupportedError, spreads
from l1ml.frontends.hgq2 import numerics
from l1ml.frontends.keras.step import Reader, Step
from l1ml.graph.functions import Array, Function
from l1ml.graph.model import Layer, Map, Model, QuantizeEach, Weighted
from l1ml.graph.reals import MAX_BITS, to_integers
from l1ml.types.arrays import IntArray, RealArray
from l1ml.types.fixed import Overflow, Rounding
from l1ml.types.grid import Grid

REFLECT = "WRAP_SM"
MAX_TABLE = 1 << 16
"""The largest table that HGQ itself makes."""

QUANTIZED_BITS = 24
"""Quantized constants span so few bits, on the common grid of a layer; trained floats do not."""


@dataclass(frozen=True, eq=False)
class Folded(Function):
    """A fixed-point type whose values run back and forth beyond its ends: overflow mode WRAP_SM.

    Args:
        k: 1 for signed, else 0.
        b: bits, the sign counted.
        f: fraction bits.
        rounding: how values are rounded.
    """

    k: Array
    b: Array
    f: Array
    rounding: Rounding

    @property
    def frac(self) -> int | IntArray | None:
        """The fraction bits."""
        return np.where(self.b > 0, self.f, 0).astype(np.int64)

    def __call__(self, x: Array) -> Array:
        """Round, then fold, in float32."""
        scale, span = numerics.power(self.f), numerics.power(self.b)
        low = -self.k * numerics.power(self.b - 1)
        code = numerics.rounded(x * scale, self.rounding)
        turned = (code - low - span) % (2 * span) - span
        half = np.float32(0.5)
        return np.where(self.b > 0, (np.abs(turned + half) - half + low) / scale, 0).astype(np.float32)


@dataclass(frozen=True, eq=False)
class Table(Function):
    """A value for every code; codes beyond the table start again from its other end.

    Args:
        entries: the values, by code modulo their number.
        f: fraction bits of the argument.
    """

    entries: tuple[float, ...]
    f: int

    @property
    def frac(self) -> int | IntArray | None:
        """The grid that holds all values."""
        return to_integers(np.array(self.entries), "a table")[1]

    def __call__(self, x: Array) -> Array:
        """Look up."""
        code = np.rint(np.ldexp(x.astype(np.float64), self.f)).astype(np.int64)
        return np.array(self.entries, dtype=np.float32)[code % len(self.entries)]


def quantizer(step: Step) -> tuple[Layer, ...]:
    """FixedPointQuantizer: ``bits`` and ``integers`` count the sign, as in ``ap_fixed``."""
    shape = step.options.raw("shape")
    if not isinstance(shape, list) or not all(isinstance(n, int) for n in shape):
        raise step.options.wrong("shape", "the shape of its bit widths")
    stored = step.weights(*((name, tuple(shape)) for name in ("keep_negative", "bits", "integers")))
    k, b, i = (array.astype(np.int64) for array in stored.values())
    if shape[:1] == [1] and len(shape) == len(step.shape) + 1:
        k, b, i = (array[0] for array in (k, b, i))
    if not spreads(k.shape, step.shape):
        raise step.error(f"has bit widths of the shape {tuple(shape)} for data of the shape {step.shape}")
    if not np.isin(k, (0, 1)).all() or int(b.min()) < 0:
        raise step.error(
            "has bit widths below 0 or signs other than 0 and 1; the file was saved without them"
        )
    rounding, overflow = str(step.options.raw("RND", "TRN")), str(step.options.raw("SAT", "WRAP"))
    if rounding not in {mode.value for mode in Rounding}:
        raise UnsupportedError(
            f"RND {rounding[:20]}; {', '.join(mode.value for mode in Rounding)} are supported"
        )
    low, high = int(b.min()), int(b.max())
    text = f"hgq1 {high if low == high else f'{low}..{high}'} bits {rounding} {overflow}"
    f = b - i
    if overflow == REFLECT:
        return (Map(step.name, (step.input,), (Folded(k, b, f, Rounding(rounding)),), text),)
    if overflow not in {mode.value for mode in Overflow}:
        raise UnsupportedError(
            f"SAT {overflow[:20]}; {', '.join(m.value for m in Overflow)}, {REFLECT} are supported"
        )
    try:
        # No bits mean 0, with the sign as well.
        grid = Grid.kif(np.where(b > 0, k, 0), np.where(b > 0, i - k, 0), np.where(b > 0, f, 0), Rounding(rounding),
                        Overflow(overflow))  # fmt: skip
    except RangeError as error:
        raise UnsupportedError(error.what) from None
    return (QuantizeEach(step.name, (step.input,), grid, text),)


def unary_lut(step: Step) -> tuple[Layer, ...]:
    """UnaryLUT: a table from input code to value."""
    widths = step.options.integers("kif_in") or []
    if len(widths) != 3 or widths[0] not in (0, 1) or not 0 < sum(widths) <= MAX_TABLE.bit_length() - 1:
        raise step.options.wrong(
            "kif_in", f"sign, integer and fraction bits of a table of at most {MAX_TABLE}"
        )
    k, i, f = widths
    (entries,) = step.weights(("table", (1 << (k + i + f),))).values()
    index = QuantizeEach(
        f"{step.name}.index", (step.input,), Grid.kif(k, i, f, Rounding.RND_CONV, Overflow.WRAP), "index"
    )
    table = Table(tuple(map(float, entries)), f)
    return (index, Map(step.name, (index.name,), (table,), f"table of {len(entries)}"))


def quantized(model: Model) -> Model:
    """Mark the weights of Keras layers as what they are in a proxy model: fixed-point numbers.

    A layer whose constants are none stays a float layer, which needs types from the user.
    """
    return replace(model, layers=tuple(map(_marked, model.layers)))


def _marked(layer: Layer) -> Layer:
    if not isinstance(layer, Weighted) or layer.exact or layer.quantizers:
        return layer
    found = {"kernel": layer.kernel} | ({} if layer.bias is None else {"bias": layer.bias})
    bits = {key: bits_of(values) for key, values in found.items()}
    if max(bits.values()) > QUANTIZED_BITS:
        return layer
    return replace(layer, exact=True, quantizers=tuple((key, f"hgq1 {n} bits") for key, n in bits.items()))


def bits_of(values: RealArray) -> int:
    """Return the bits of the narrowest signed type that holds constants on one grid; more than any type for floats.

    Example:
        >>> bits_of(np.array([0.75, -0.5]))
        3
    """
    try:
        codes, _ = to_integers(values, "")
    except ModelError:
        return MAX_BITS + 1
    return int(np.maximum(codes, ~codes).max(initial=0)).bit_length() + 1


def _not_a_proxy(step: Step) -> tuple[Layer, ...]:
    raise UnsupportedError("a layer as it is trained; save HGQ.proxy.to_proxy_model(model) and give that")


TRAINED = (
    "HQuantize", "Signature", "HActivation", "HAdd", "HDense", "HDenseBatchNorm", "HConv1D", "HConv1DBatchNorm",
    "HConv2D", "HConv2DBatchNorm", "PReshape", "PPermute", "PFlatten", "PConcatenate", "PDropout", "PMaxPooling1D",
    "PMaxPooling2D", "PAveragePooling1D", "PAveragePooling2D",
)  # fmt: skip

LAYERS: dict[str, Reader] = {
    "FixedPointQuantizer": quantizer,
    "UnaryLUT": unary_lut,
    **dict.fromkeys(TRAINED, _not_a_proxy),
}
