# SPDX-License-Identifier: Apache-2.0
"""What QKeras' quantizers do to stored weights, frozen at import."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np

from l1ml.frontends.common import Options, UnsupportedError, power_of_two
from l1ml.frontends.qkeras import functions
from l1ml.frontends.qkeras.bits import Bits, alpha, fixed_type, integer_bits, refuse_noise
from l1ml.frontends.spelling import Call
from l1ml.types.arrays import RealArray
from l1ml.types.fixed import quantize

EPSILON = np.float32(1e-7)
"""``keras.backend.epsilon()``, which QKeras adds before it takes logarithms."""

MARGIN = 4e-6
"""What float32 sums and logarithms of two machines may differ by, in units of the exponent of a scale."""

SHORT_BITS = 12
"""A numeric alpha of more bits makes weights that are kept as codes and a real scale."""

UNROLLS = 5


@dataclass(frozen=True, eq=False)
class Weights:
    """Quantized weights: ``values * scale`` is what the layer multiplies with.

    Args:
        values: on a binary grid, exact in float64, in the shape of the stored array.
        scale: real factor, broadcastable to the output channels (last axis), or None for 1.
        text: the quantizer for reports.
    """

    values: RealArray
    scale: RealArray | None
    text: str


def weights(call: Call, raw: np.ndarray, *, kernel: bool, source: str) -> Weights:
    """Quantize stored weights as the layer does at inference.

    Args:
        call: the quantizer.
        raw: weights as stored, float32, any shape; the last axis is that of the output channels.
        kernel: True for what QKeras treats as a kernel, where no alpha means ``auto_po2``.
        source: name of the file.

    Raises:
        UnsupportedError: the result depends on the machine that computes it, or on the draw of a number.

    Example:
        >>> call = Call("quantized_bits", {"bits": 4, "integer": 0, "alpha": 1})
        >>> weights(call, np.array([0.3, -2.0], np.float32), kernel=True, source="m.h5").values
        array([ 0.25, -1.  ])
    """
    options = Options(call.options, call.name, source)
    if call.name == "quantized_bits":
        return _bits(Bits.of(call, source), raw, kernel=kernel)
    if call.name == "quantized_linear":
        return _linear(options, raw, kernel=kernel)
    if call.name in ("binary", "stochastic_binary"):
        return _binary(options, raw, kernel=kernel)
    if call.name in ("ternary", "stochastic_ternary"):
        return _ternary(options, raw, kernel=kernel)
    if call.name == "bernoulli":
        raise UnsupportedError("bernoulli draws random numbers at inference; use binary")
    from l1ml.frontends.qkeras.activations import activation

    chain = activation(call, source=source)
    values = raw.astype(np.float32)
    for function in chain:
        values = function(values)
    if not chain or chain[-1].frac is None:
        raise UnsupportedError(f"weights quantized by {call.name}, whose results lie on no grid")
    return Weights(values.astype(np.float64), None, str(call))


def _bits(bits: Bits, raw: np.ndarray, *, kernel: bool) -> Weights:
    if kernel and bits.alpha is None:
        bits = replace(bits, alpha="auto_po2")
    if isinstance(bits.alpha, str):
        return _automatic(replace(bits, symmetric=True), raw)
    codes = _codes(bits, raw)
    if bits.alpha is None:
        return Weights(codes, None, str(bits))
    return _times(codes, bits.alpha, str(bits))


def _times(codes: RealArray, factor: float | RealArray, text: str) -> Weights:
    """Multiply by a numeric alpha: into the weights where it is short, else as a real scale."""
    with np.errstate(over="ignore"):
        factors = np.asarray(factor, dtype=np.float64).astype(np.float32)
    if not np.isfinite(factors).all():
        raise UnsupportedError("an alpha beyond the range of float32")
    try:
        full = np.broadcast_to(factors.astype(np.float64), codes.shape)
    except ValueError:
        raise UnsupportedError(f"alpha of shape {factors.shape} for weights of shape {codes.shape}") from None
    scaled = full * codes
    if all(_short(f) for f in np.unique(factors).tolist()) and np.array_equal(
        scaled.astype(np.float32), scaled
    ):
        return Weights(scaled, None, text)
    return Weights(codes, _per_channel(full, codes.shape), text)


def _short(factor: float) -> bool:
    return Fraction(factor).numerator.bit_length() <= SHORT_BITS


def _per_channel(scale: RealArray, shape: tuple[int, ...]) -> RealArray:
    """Return a scale that differs along the last axis only.

    Raises:
        UnsupportedError: it differs along others.
    """
    full = np.broadcast_to(scale, shape)
    flat = full.reshape(-1, shape[-1]) if len(shape) > 1 else full.reshape(1, -1)
    if not bool((flat == flat[:1]).all()):
        raise UnsupportedError(
            "a scale that is no power of two and differs along other axes than the output channels"
        )
    return np.asarray(flat[0] if not bool((flat[0] == flat[0, 0]).all()) else flat[0, 0])


def _codes(bits: Bits, raw: np.ndarray) -> RealArray:
    """Quantize without a scale."""
    if bits.bits < 1:
        raise UnsupportedError(f"{bits}: at least one bit is needed")
    if bits.binary:
        return np.where(raw >= 0, 1.0, -1.0)
    return quantize(raw.astype(np.float64), bits.quantizer)


def _automatic(bits: Bits, raw: np.ndarray) -> Weights:
    """Quantize with a scale per output channel that is found from the weights."""
    if bits.bits < 2:
        raise UnsupportedError(f"{bits}: one bit leaves no levels (QKeras divides by zero)")
    fixed_type(bits.keep_negative, bits.bits, bits.integer)
    x = np.ldexp(raw.astype(np.float32), -bits.integer).astype(np.float32)
    levels = np.float32((2 ** (bits.bits - 1) - 1) * 2)
    if bits.post_training_scale is not None:
        try:
            step = np.broadcast_to(np.ldexp(bits.post_training_scale, -bits.unsigned_bits), _scale_shape(x))
        except ValueError:
            raise UnsupportedError(f"post_training_scale of shape {bits.post_training_scale.shape}") from None
        step = step.astype(np.float32)
    elif bits.alpha == "auto":
        axes = tuple(range(x.ndim - 1)) or (0,)
        step = (np.abs(x).max(axis=axes, keepdims=True) * np.float32(2) / levels).astype(np.float32)
        step = np.where(step == 0, np.float32(1), step)  # QKeras divides 0 by 0 there; all codes are 0
    else:
        first, *others = [_po2_scale(bits, x, levels, nudge) for nudge in (0.0, -MARGIN, MARGIN)]
        codes = [_levels(x, step, levels) * step for step in (first, *others)]
        if any(not np.array_equal(codes[0], other) for other in codes[1:]):
            raise UnsupportedError(
                "alpha='auto_po2' lies half way between two powers of two: it depends on the machine; "
                "save the model with post_training_scale"
            )
        step = first
    codes_real = _levels(x, step, levels).astype(np.float64)
    if all(power_of_two(float(s)) for s in np.ravel(step)):
        return Weights(np.ldexp(step.astype(np.float64) * codes_real, bits.integer), None, str(bits))
    return Weights(
        codes_real, _per_channel(np.ldexp(step.astype(np.float64), bits.integer), x.shape), str(bits)
    )


def _levels(x: np.ndarray, step: np.ndarray, levels: np.float32) -> np.ndarray:
    """Round to multiples of ``step``, half away from zero, in float32 as QKeras does."""
    magnitude = np.floor(np.abs(x) / step + np.float32(0.5))
    return np.asarray(np.sign(x) * np.minimum(magnitude, levels / np.float32(2)), dtype=np.float32)


def _scale_shape(x: np.ndarray) -> tuple[int, ...]:
    return x.shape if x.ndim == 1 else (*(1,) * (x.ndim - 1), x.shape[-1])


def _po2(value: np.ndarray, nudge: float = 0.0) -> np.ndarray:
    exponent = np.log2((value.astype(np.float32) + EPSILON).astype(np.float64))
    return np.asarray(np.exp2(np.rint(exponent + nudge)), dtype=np.float32)


def _po2_scale(bits: Bits, x: np.ndarray, levels: np.float32, nudge: float) -> np.ndarray:
    """Find the power of two per channel as QKeras does; ``nudge`` is added to exponents before rounding."""
    axes = tuple(range(x.ndim - 1)) or (0,)
    step = _po2(np.abs(x).max(axis=axes, keepdims=True) * np.float32(2) / levels, nudge)
    for _ in range(UNROLLS):
        step = _po2(_least_squares(x, _levels(x, step, levels)), nudge)
        if bits.min_po2_exponent is not None:
            step = np.maximum(step, np.float32(2.0**bits.min_po2_exponent))
        if bits.max_po2_exponent is not None:
            step = np.minimum(step, np.float32(2.0**bits.max_po2_exponent))
    return step


def _least_squares(x: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Return ``mean(x z) / (mean(z z) + epsilon)`` per output channel; of a vector every element is its own."""
    axes = tuple(range(x.ndim - 1)) or (0,)
    xz, zz = (x * z).astype(np.float64), (z * z).astype(np.float64)
    if x.ndim > 1:
        xz, zz = xz.mean(axis=axes, keepdims=True), zz.mean(axis=axes, keepdims=True)
    return np.asarray(xz.astype(np.float32) / (zz.astype(np.float32) + EPSILON), dtype=np.float32)


def _scaled(codes: np.ndarray, scale: np.ndarray, text: str) -> Weights:
    real = scale.astype(np.float64)
    if all(power_of_two(float(s)) or s == 0 for s in np.ravel(real)):
        return Weights(codes * real, None, text)
    return Weights(codes.astype(np.float64), _per_channel(real, codes.shape), text)


def _chosen_alpha(options: Options, *, kernel: bool) -> Any:
    refuse_noise(options)
    chosen = alpha(options)
    for key in ("elements_per_scale", "scale_axis"):
        if options.raw(key) not in (None, -1):
            raise UnsupportedError(f"{options.owner} with {key}={options.raw(key)!r}")
    return "auto_po2" if kernel and chosen is None else chosen


def _binary(options: Options, raw: np.ndarray, *, kernel: bool) -> Weights:
    chosen = _chosen_alpha(options, kernel=kernel)
    zero_one = options.flag("use_01", False)
    codes = np.where(raw >= 0, 1.0, 0.0 if zero_one else -1.0)
    text = f"binary(alpha={chosen if isinstance(chosen, str) else 'number'})"
    if not isinstance(chosen, str):
        return Weights(codes, None, "binary()") if chosen is None else _times(codes, chosen, text)
    x, q = raw.astype(np.float32), codes.astype(np.float32)
    if chosen == "auto":
        return _scaled(codes, _least_squares(x, q), text)
    scales = [_po2(_least_squares(x, q), nudge) for nudge in (0.0, -MARGIN, MARGIN)]
    if any(not np.array_equal(scales[0], other) for other in scales[1:]):
        raise UnsupportedError(
            "alpha='auto_po2' lies half way between two powers of two: it depends on the machine"
        )
    return _scaled(codes, scales[0], text)


def _ternary(options: Options, raw: np.ndarray, *, kernel: bool) -> Weights:
    chosen = _chosen_alpha(options, kernel=kernel)
    threshold = options.number("threshold")
    text = f"ternary(alpha={chosen if isinstance(chosen, str) else 'number'})"
    x = raw.astype(np.float32)
    if not isinstance(chosen, str):
        function = functions.Ternary(0.33 if threshold is None else threshold)
        codes = function(x).astype(np.float64)
        return Weights(codes, None, "ternary()") if chosen is None else _times(codes, chosen, text)
    if x.ndim == 1:
        raise UnsupportedError(
            f"ternary with alpha={chosen!r} on a vector, where every element has a scale of its own"
        )
    axes = tuple(range(x.ndim - 1))
    results = []
    for nudge in (0.0, -MARGIN, MARGIN):
        scale = np.abs(x).max(axis=axes, keepdims=True) * np.float32(2) / np.float32(3)
        scale = _po2(scale, nudge) if chosen == "auto_po2" else scale.astype(np.float32)
        q = x
        for _ in range(options.integer("number_of_unrolls", UNROLLS)):
            with np.errstate(
                divide="ignore", invalid="ignore"
            ):  # a channel of zeros has no scale, and stays 0
                q = np.sign(x) * (np.rint(np.nan_to_num(np.abs(x) / scale)) != 0)
            scale = _least_squares(x, q.astype(np.float32))
            scale = _po2(scale, nudge) if chosen == "auto_po2" else scale
        results.append((q.astype(np.float64), scale))
        if chosen == "auto":
            break
    if any(not all(np.array_equal(a, b) for a, b in zip(results[0], r, strict=True)) for r in results[1:]):
        raise UnsupportedError(
            "alpha='auto_po2' lies half way between two powers of two: it depends on the machine"
        )
    return _scaled(*results[0], text)


def _linear(options: Options, raw: np.ndarray, *, kernel: bool) -> Weights:
    """``quantized_linear``: clip, then round half to even; an alpha divides the input as well."""
    chosen = _chosen_alpha(options, kernel=kernel)
    bits, integer = options.integer("bits", 8), integer_bits(options)
    negative = options.flag("keep_negative", True)
    unsigned = bits - negative
    unit = np.float32(2.0 ** (integer - unsigned))
    x = raw.astype(np.float32)
    text = f"quantized_linear({bits},{integer},alpha={chosen if isinstance(chosen, str) else 'number'})"
    fixed_type(negative, max(bits, 1), integer)
    top = np.float32(2.0**unsigned - 1)
    low = np.float32(-(2.0**unsigned) + options.flag("symmetric", True)) if negative else np.float32(0)
    if bits == 1 and negative:
        low, top = np.float32(-0.5), np.float32(0.5)

    def code(scale: np.ndarray) -> np.ndarray:
        scaled = (x / scale).astype(np.float32)
        if bits == 1 and negative:
            return np.where(scaled >= 0, np.float32(0.5), np.float32(-0.5))
        return np.rint(np.clip(scaled, low, top))

    if not isinstance(chosen, str):
        scale = np.asarray(
            unit if chosen is None else np.asarray(chosen, np.float32) * unit, dtype=np.float32
        )
        return _scaled(code(scale).astype(np.float64), scale, text)
    raise UnsupportedError(f"quantized_linear with alpha={chosen!r}; save the model with a numeric alpha")
