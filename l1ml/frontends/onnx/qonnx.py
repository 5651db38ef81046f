# SPDX-License-Identifier: Apache-2.0
"""QONNX operators: Quant, BipolarQuant, Trunc, MultiThreshold, and what FINN adds to them.

Source:
    ``qonnx/custom_op/general`` of qonnx 0.4 and 1.0 (intquant, bipolar_quant, trunc, multithreshold,
    quantavgpool2d).  Zero points are added before rounding, so an odd one turns ties to even into ties to
    odd; ONNX's own QuantizeLinear adds them after it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from l1ml.frontends.common import UnsupportedError, power_of_two
from l1ml.frontends.onnx import quantize
from l1ml.frontends.onnx.functions import MODES, Codes, Thresholds, Whole
from l1ml.frontends.onnx.layout import arranged, batch_first, channels_last, fitted
from l1ml.frontends.onnx.operator import Operator, Result
from l1ml.frontends.onnx.quantize import Spec
from l1ml.graph import functions, model
from l1ml.graph.functions import Function
from l1ml.types.intrange import MAX_WIDTH

DOMAINS = (
    "qonnx.custom_op.general",
    "finn.custom_op.general",
    "onnx.brevitas",
    "qonnx",
    "finn",
    "brevitas",
)
"""Names that the exporters have given to the domain of these operators over the years."""


def _limits(bits: np.ndarray, *, signed: bool, narrow: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return the smallest and largest code."""
    bits = np.asarray(bits, dtype=np.float64)
    if bits.size != 1:
        raise UnsupportedError(f"bit widths of shape {bits.shape}; one is supported, as in qonnx itself")
    bits = bits.reshape(())
    good = (bits == np.rint(bits)) & (bits >= 1) & (bits <= MAX_WIDTH)
    if not bool(good):
        raise UnsupportedError(
            f"a bit width of {float(bits):g}; whole numbers from 1 to {MAX_WIDTH} are supported"
        )
    if signed:
        return -(2.0 ** (bits - 1)) + narrow, 2.0 ** (bits - 1) - 1
    return np.zeros(bits.shape), 2.0**bits - 1 - narrow


def _describe(kind: str, spec: dict[str, np.ndarray], flags: str) -> str:
    parts = []
    for key, values in spec.items():
        numbers = np.unique(values)
        parts.append(f"{key}={numbers[0]:g}" if len(numbers) == 1 else f"{key}=per channel")
    return f"{kind}({','.join([*parts, flags] if flags else parts)})"


def quant(op: Operator) -> Result:
    """Read Quant or IntQuant: inputs x, scale, zero point, bit width."""
    signed, narrow = op.options.flag("signed", True), op.options.flag("narrow", True)
    mode = op.options.text("rounding_mode", "ROUND").upper()
    scale, zero, bits = op.reals(1), op.reals(2), op.reals(3)
    lo, hi = _limits(bits, signed=signed, narrow=narrow)
    bipolar = signed and bool((bits == 1).all())
    if bipolar:  # whatever else is said: -1 and +1
        lo, hi = -np.ones(()), np.ones(())
    shown = {"scale": scale, "bits": bits, **({"zero": zero} if zero.any() else {})}
    text = _describe("Quant", shown, f"signed={int(signed)},narrow={int(narrow)},{mode}")
    return _either(op, Spec(scale, zero, lo, hi, mode, text, bipolar))


def bipolar_quant(op: Operator) -> Result:
    """Read BipolarQuant: ``scale`` where x >= 0, else ``-scale``."""
    scale = op.reals(1)
    if not bool((scale > 0).all()):
        raise UnsupportedError("a scale that is not positive")
    if op.is_constant(0):
        return quantize.scaled(
            np.where(op.reals(0) >= 0, 1.0, -1.0), scale, f"BipolarQuant({scale.ravel()[0]:g})"
        )
    x, factor = fitted(op.reading, op.data(), scale)
    if factor.ndim == 0 and power_of_two(float(factor)):
        return op.layer(model.Sign(op.name, (x.layer,), scale=float(factor)), x)
    return op.map(x, [functions.Sign(1.0), *quantize.scale_by(factor)], "BipolarQuant")


def _either(op: Operator, spec: Spec) -> Result:
    if op.is_constant(0):
        return quantize.constant(spec, op.constant(0))
    return quantize.data(op, spec, op.data())


def trunc(op: Operator) -> Result:
    """Read Trunc: version 1 has five inputs and keeps the scale, version 2 has six and a new scale."""
    mode = op.options.text("rounding_mode", "FLOOR").upper()
    if mode not in MODES:
        raise UnsupportedError(f"rounding mode {mode[:20]}; supported are {', '.join(MODES)}")
    x, scale = fitted(op.reading, op.data(), op.reals(1).astype(np.float32))
    same, zero = fitted(op.reading, x, op.reals(2).astype(np.float32))
    if same.shape != x.shape:
        raise UnsupportedError("a zero point that is larger than the data")
    codes: list[Function] = [
        functions.Divide(scale),
        *([functions.Offset(zero)] if zero.any() else []),
        Whole("ROUND"),
    ]
    if op.count > 5:
        signed, narrow = op.options.flag("signed", True), op.options.flag("narrow", False)
        out = fitted(op.reading, x, op.reals(4).astype(np.float32))[1]
        lo, hi = _limits(np.asarray(op.number(5)), signed=signed, narrow=narrow)
        drop = np.rint(np.log2(out.astype(np.float64) / scale.astype(np.float64)))
        # Clamped, then rounded: with whole bounds the order does not matter.
        last: list[Function] = [Codes(lo, hi, np.zeros(()), mode)]
        zero = (zero / 2.0**drop).astype(np.float32)
    else:
        drop, out, last = np.asarray(op.number(3) - op.number(4)), scale, [Whole(mode)]
    if not np.isfinite(drop).all() or np.abs(drop).max() > MAX_WIDTH or not out.all() or not scale.all():
        raise UnsupportedError(f"drops {drop.ravel()[0]:g} bits")
    chain = [*codes, functions.Divide((2.0**drop).astype(np.float32)), *last]
    chain += [functions.Offset(-zero)] if zero.any() else []
    return op.map(x, [*chain, *quantize.scale_by(out)], f"Trunc({mode})")


def multi_threshold(op: Operator) -> Result:
    """Read MultiThreshold: the number of thresholds that x reaches, per channel."""
    scale, bias = op.options.real("out_scale", 1.0), op.options.real("out_bias", 0.0)
    op.options.ignore("out_dtype")
    x, rows = op.data(), op.reals_or_infinite(1)
    layout = op.options.text("data_layout", "") or {2: "NC", 3: "NWC", 4: "NCHW"}.get(x.rank, "")
    if rows.ndim != 2 or not 1 <= rows.shape[1] <= 1 << 16:
        raise UnsupportedError(f"thresholds of shape {rows.shape}; (channels, steps) is expected")
    channel = layout.index("C") if "C" in layout and len(layout) == x.rank else 1
    axis = x.axis(channel)
    if axis is None or rows.shape[0] not in (1, x.shape[axis]):
        raise UnsupportedError(f"thresholds of {rows.shape[0]} channels for data of shape {x.shape}")
    table = tuple(tuple(float(t) for t in sorted(row)) for row in rows)
    which = np.zeros((), dtype=np.int64)
    if len(table) > 1:
        sizes = [1] * x.rank
        sizes[channel] = len(table)
        which = fitted(op.reading, x, np.arange(len(table)).reshape(sizes))[1]
    chain: list[Function] = [Thresholds(which, table)]
    chain += [functions.Scale(np.float32(scale))] if scale != 1 else []
    chain += [functions.Offset(np.float32(bias))] if bias else []
    return op.map(x, chain, f"MultiThreshold({rows.shape[1]} steps)")


def quant_avg_pool(op: Operator) -> Result:
    """Read QuantAvgPool2d: the sum of a window, then a shift; not a division by the size of the window."""
    k, s = op.options.integer("kernel"), op.options.integer("stride")
    ibits, obits = op.options.integer("ibits"), op.options.integer("obits")
    op.options.only("signed", 0, 1)
    first = op.options.text("data_layout", "NCHW", "NCHW", "NHWC") == "NCHW"
    x = batch_first(op.reading, op.data())
    order = channels_last(x) if first else (0, 1, 2)
    if len(x.shape) != 3 or not 1 <= k <= 1024 or not 1 <= s <= 1024 or not 1 <= ibits <= 32:
        raise UnsupportedError(f"a window of {k} x {k} over data of shape {x.shape}")
    x = arranged(op.reading, x, order, "channels_last")
    height, width, channels = x.inside
    shift = max(0, (k * k * (2**ibits - 1)).bit_length() - obits)
    pool = model.Pool(f"{op.name}.sum", (x.layer,), "sum", (k, k), (s, s), ((0, 0), (0, 0)))
    sizes = ((height - k) // s + 1, (width - k) // s + 1)
    if min(sizes) < 1:
        raise UnsupportedError(f"a window of {k} x {k} over data of shape {x.shape}")
    shape = (channels, *sizes) if first else (*sizes, channels)
    y = op.layer(pool, replace(x, shape=shape))
    return op.map(
        y, [Whole("ROUND"), functions.Scale(np.float32(2.0**-shift)), Whole("FLOOR")], f">> {shift}"
    )


def debug_marker(op: Operator) -> Result:
    """Read DebugMarker: it does nothing."""
    op.options.ignore("export_debug_name")
    return op.tensor(0)


OPS: dict[str, Callable[[Operator], Result]] = {
    "BipolarQuant": bipolar_quant,
    "DebugMarker": debug_marker,
    "IntQuant": quant,
    "MultiThreshold": multi_threshold,
    "Quant": quant,
    "QuantAvgPool2d": quant_avg_pool,
    "Trunc": trunc,
}

REFUSED = {
    "FloatQuant": "rounds to floating-point numbers (minifloats), which have no fixed-point form; use Quant",
    "Im2Col": "is a lowered convolution; export the Conv itself",
    "XnorPopcountMatMul": "is a lowered product; export MatMul with BipolarQuant",
}
