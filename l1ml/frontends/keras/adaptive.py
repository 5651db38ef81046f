# SPDX-License-Identifier: Apache-2.0
"""QAdaptiveActivation: a quantizer whose integer bits follow a running average of the data, frozen at inference."""

from __future__ import annotations

import numpy as np

from l1ml.frontends.common import UnsupportedError, power_of_two
from l1ml.frontends.keras.step import Step, mapped
from l1ml.frontends.qkeras.functions import LeakyRelu
from l1ml.graph.functions import ToGrid
from l1ml.graph.model import Layer
from l1ml.types.fixed import Rounding
from l1ml.types.grid import Grid


def adaptive_activation(step: Step) -> tuple[Layer, ...]:
    """Freeze the integer bits to those of the stored running minimum and maximum.

    Raises:
        UnsupportedError: a slope per channel, or one that is no power of two.
    """
    options = step.options
    kind = options.raw("activation")
    if kind not in ("quantized_bits", "quantized_relu"):
        raise options.wrong("activation", "quantized_bits or quantized_relu")
    bits, slope = options.integer("total_bits"), options.number("relu_neg_slope", 0.0) or 0.0
    slope = 0.0 if kind == "quantized_bits" else slope
    negative, symmetric = kind == "quantized_bits" or slope != 0.0, options.flag("symmetric", True)
    if not 1 + negative <= bits <= 32:
        raise options.wrong("total_bits", f"{1 + negative} to 32")
    n = step.channels if options.flag("per_channel", False) else 1
    raw = step.weights(("step", ()), ("ema_min", (n,)), ("ema_max", (n,)))
    integer = integer_bits(
        raw["ema_min"], raw["ema_max"], bits, symmetric, negative, options.flag("po2_rounding", False)
    )
    text = f"{kind}({bits}), integer bits {', '.join(map(str, integer.tolist()))}"
    if slope:
        if n > 1 or not power_of_two(slope):
            raise UnsupportedError(
                "relu_neg_slope per channel or no power of two; one power of two for all channels is supported"
            )
        return (mapped(step.name, (step.input,), (LeakyRelu(bits - 1, int(integer[0]), slope),), text),)
    top = 2 ** (bits - negative)
    low = np.asarray((-top + symmetric) if negative else 0)
    grid = Grid(
        low, np.asarray(top - 1), (integer if n > 1 else integer[0]) * -1 + bits - negative, Rounding.RND_CONV
    )
    return (mapped(step.name, (step.input,), (ToGrid(grid),), text),)


def integer_bits(
    low: np.ndarray, high: np.ndarray, bits: int, symmetric: bool, negative: bool, clipping: bool
) -> np.ndarray:
    """Return the bits above the binary point, without sign, that QKeras takes for a range.

    Args:
        low: smallest values.
        high: largest values, same shape.
        bits: of the quantizer, with its sign.
        symmetric: the lowest code is left out.
        negative: there is a sign bit.
        clipping: the range is rounded to the nearest power of two, so that a part of it may saturate.
    """
    if not negative:
        low, high = np.maximum(low, 0), np.maximum(high, 0)
    unsigned = bits - negative

    def needed(values: np.ndarray) -> np.ndarray:
        with np.errstate(divide="ignore"):
            log = np.log(np.abs(values.astype(np.float32))) / np.float32(np.log(2.0))
        return np.maximum((np.round if clipping else np.ceil)(log), 0.0)

    below, above = needed(low), needed(high)
    if not clipping:
        above = above + (high > 2.0**above - 2.0 ** np.minimum(above - unsigned, 0))
        if symmetric:
            below = below + (low < -(2.0**below) + 2.0 ** np.minimum(below - unsigned, 0))
    return np.minimum(np.maximum(below, above).astype(np.int64), unsigned)
