# SPDX-License-Identifier: Apache-2.0
"""QKeras quantizers: what they do to weights, and which layers they are on activations.

Source:
    ``qkeras/quantizers.py`` of QKeras 0.9 and of its successors, which agree bit for bit.  Traps minded
    below: ``bits`` counts the sign and ``integer`` does not; a numeric ``alpha`` multiplies the result, it
    does not divide the input; ``alpha=None`` of a *kernel* means ``auto_po2``; ``auto_po2`` rounds half away
    from zero and is symmetric.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from l1ml.errors import RangeError
from l1ml.frontends.canonical import Identity
from l1ml.frontends.common import Options, UnsupportedError, power_of_two
from l1ml.frontends.spelling import Call
from l1ml.graph.model import Affine, Layer, Quantize, Relu, Sign, Softmax
from l1ml.types.arrays import RealArray
from l1ml.types.fixed import FixedType, Overflow, Quantizer, Rounding
from l1ml.types.intrange import MAX_WIDTH

EPSILON = np.float32(1e-7)
"""``keras.backend.epsilon()``, which QKeras adds before it takes logarithms."""

ALPHA_BITS = 12
"""Most significant bits that an alpha of weights may have; more give sums that the framework rounds."""

MARGIN = 4e-6
"""What float32 sums and logarithms of two machines may differ by, in units of the exponent of a scale."""


@dataclass(frozen=True)
class Bits:
    """``quantized_bits``, with the names of the QKeras documentation (whose ranges are wrong)."""

    bits: int
    integer: int
    symmetric: bool
    keep_negative: bool
    alpha: float | RealArray | str | None
    min_po2_exponent: int | None = None
    max_po2_exponent: int | None = None
    post_training_scale: RealArray | None = None

    @classmethod
    def of(cls, call: Call, source: str) -> Bits:
        """Read the options of a ``quantized_bits``."""
        options = Options(call.options, call.name, source)
        _refuse_noise(options)
        if options.raw("elements_per_scale") is not None:
            raise UnsupportedError("quantized_bits with elements_per_scale")
        if options.raw("scale_axis") not in (None, -1):
            raise UnsupportedError(f"quantized_bits with scale_axis={options.raw('scale_axis')!r}")
        scale = options.raw("post_training_scale")
        return cls(
            bits=options.integer("bits", 8),
            integer=_integer(options),
            symmetric=options.flag("symmetric", False),
            keep_negative=options.flag("keep_negative", True),
            alpha=_alpha(options),
            min_po2_exponent=_optional(options, "min_po2_exponent"),
            max_po2_exponent=_optional(options, "max_po2_exponent"),
            post_training_scale=None if scale is None else _numbers(scale, "post_training_scale"),
        )

    @property
    def unsigned_bits(self) -> int:
        """Bits without the sign."""
        return self.bits - self.keep_negative

    @property
    def binary(self) -> bool:
        """One bit with sign: -1 and +1."""
        return self.unsigned_bits == 0

    @property
    def quantizer(self) -> Quantizer:
        """The same conversion as a fixed-point type, for a numeric alpha of 1."""
        kind = _type(self.keep_negative, self.bits, self.integer + self.keep_negative)
        overflow = Overflow.SAT_SYM if self.symmetric and self.keep_negative else Overflow.SAT
        return Quantizer(kind, Rounding.RND_CONV, overflow)

    def __str__(self) -> str:
        alpha = "per channel" if isinstance(self.alpha, np.ndarray) else self.alpha
        if isinstance(alpha, float) and alpha.is_integer():
            alpha = int(alpha)
        negative = "" if self.keep_negative else ",keep_negative=False"
        return f"quantized_bits({self.bits},{self.integer},{int(self.symmetric)}{negative},alpha={alpha!r})"


def weights(call: Call, raw: np.ndarray, *, kernel: bool, source: str) -> tuple[RealArray, str]:
    """Quantize stored weights as the layer does at inference.

    Args:
        call: the quantizer.
        raw: weights as stored, float32, any shape; the last axis is that of the output channels.
        kernel: True for what QKeras treats as a kernel, where no alpha means ``auto_po2``.
        source: name of the file.

    Returns:
        The quantized values, exact in float64, and the quantizer as a text for reports.

    Raises:
        UnsupportedError: the result is not on a binary grid, or depends on the machine that computes it.

    Example:
        >>> call = Call("quantized_bits", {"bits": 4, "integer": 0, "alpha": 1})
        >>> weights(call, np.array([0.3, -2.0], np.float32), kernel=True, source="m.h5")
        (array([ 0.25, -1.  ]), 'quantized_bits(4,0,0,alpha=1)')
    """
    if call.name != "quantized_bits":
        raise UnsupportedError(f"weights quantized by {call.name}")
    bits = Bits.of(call, source)
    if kernel and bits.alpha is None:
        bits = replace(bits, alpha="auto_po2")
    if isinstance(bits.alpha, str):
        bits = replace(bits, symmetric=True)
        return _automatic(bits, raw), str(bits)
    codes = _codes(bits, raw)
    if bits.alpha is None:
        return codes, str(bits)
    try:
        alpha = np.broadcast_to(np.asarray(bits.alpha, dtype=np.float64), codes.shape)
    except ValueError:
        shape = np.shape(bits.alpha)
        raise UnsupportedError(f"alpha of shape {shape} for weights of shape {codes.shape}") from None
    with np.errstate(over="ignore"):
        factors = alpha.astype(np.float32)
    _check_alpha(factors)
    scaled = factors.astype(np.float64) * codes
    if not np.array_equal(scaled.astype(np.float32).astype(np.float64), scaled):
        raise UnsupportedError(
            "alpha is not a power of two, and the weights are wide: the framework rounds their products"
        )
    return scaled, str(bits)


def _check_alpha(factors: np.ndarray) -> None:
    """Refuse an alpha whose float32 value is not a short binary fraction."""
    for factor in np.unique(factors).tolist():
        if not np.isfinite(factor):
            raise UnsupportedError("an alpha beyond the range of float32")
        digits = abs(factor.as_integer_ratio()[0])
        bits = (digits // max(digits & -digits, 1)).bit_length()
        if bits > ALPHA_BITS:
            raise UnsupportedError(
                f"alpha={factor:.7g}, not a power of two and {bits} bits long as a binary fraction (at most "
                f"{ALPHA_BITS}): the framework rounds sums of such weights to float32; train with alpha=1 or "
                "alpha='auto_po2'"
            )


def activation(call: Call | None, name: str, source_layer: str, source: str) -> tuple[Layer, ...]:
    """Return the layers of an activation function; the last one is called ``name``.

    Args:
        call: the function; None is linear.
        name: name of the result.
        source_layer: name of the layer that it reads.
        source: name of the file.

    Raises:
        UnsupportedError: the function, or an option of it, has no exact form here.
    """
    inputs = (source_layer,)
    if call is None or call.name == "linear":
        return (Identity(name, inputs),)
    if call.name == "relu":
        plain_relu(Options(call.options, "relu", source))
        return (Relu(name, inputs),)
    if call.name == "softmax":
        if Options(call.options, "softmax", source).raw("axis", -1) != -1:
            raise UnsupportedError("softmax over an axis other than the last")
        return (Softmax(name, inputs),)
    if call.name == "quantized_relu":
        return (Quantize(name, inputs, _relu(Options(call.options, call.name, source))),)
    bits = Bits.of(call, source)
    if isinstance(bits.alpha, str):
        raise UnsupportedError(
            f"quantized_bits with alpha={bits.alpha!r} on data scales every event by itself"
        )
    alpha = 1.0 if bits.alpha is None else float(np.ravel(bits.alpha)[0])
    if not np.all(np.asarray(1.0 if bits.alpha is None else bits.alpha) == alpha) or not power_of_two(alpha):
        raise UnsupportedError(f"quantized_bits on data with alpha={bits.alpha}; it must be one power of two")
    if bits.binary:
        return (Sign(name, inputs, scale=alpha),)
    if alpha == 1.0:
        return (Quantize(name, inputs, bits.quantizer),)
    # alpha multiplies the result and does not divide the input: no fixed-point type does that in one step.
    first = Quantize(f"{name}.quantized", inputs, bits.quantizer)
    return (first, Affine(name, (first.name,), np.array(alpha, np.float32), np.array(0, np.float32)))


def plain_relu(options: Options) -> None:
    """Refuse the ReLU options that change the function: leaky, capped, thresholded.

    Raises:
        UnsupportedError: one is set.
    """
    for key in ("negative_slope", "threshold"):
        if options.number(key, 0.0) not in (None, 0.0):
            raise UnsupportedError(f"ReLU with {key}={options.raw(key)}")
    if options.number("max_value") is not None:
        raise UnsupportedError(f"ReLU with max_value={options.raw('max_value')}")


def _relu(options: Options) -> Quantizer:
    _refuse_noise(options)
    if options.number("negative_slope", 0.0) not in (None, 0.0):
        raise UnsupportedError(f"quantized_relu with negative_slope={options.raw('negative_slope')}")
    if options.flag("use_sigmoid", False):
        raise UnsupportedError("quantized_relu with use_sigmoid")
    bits, integer = options.integer("bits", 8), _integer(options)
    kind = _type(False, bits, integer)
    bound = options.number("relu_upper_bound")
    clipped = options.flag("is_quantized_clip", True)  # True makes QKeras ignore the bound
    if bound is not None and not clipped and bound < kind.hi * 2.0**-kind.frac:
        raise UnsupportedError(f"quantized_relu with relu_upper_bound={bound:g} and is_quantized_clip=False")
    return Quantizer(kind, Rounding.RND_CONV, Overflow.SAT)


def _codes(bits: Bits, raw: np.ndarray) -> RealArray:
    x = raw.astype(np.float64)
    if bits.binary:
        return np.where(x >= 0, 1.0, -1.0)
    quantizer = bits.quantizer
    scaled = np.rint(np.ldexp(x, quantizer.type.frac))
    clipped = np.clip(scaled, quantizer.lo, quantizer.type.hi)
    return np.asarray(np.ldexp(clipped, -quantizer.type.frac), dtype=np.float64)


def _automatic(bits: Bits, raw: np.ndarray) -> RealArray:
    """Quantize with a scale per output channel that is found from the weights, frozen at import."""
    if bits.bits < 2:
        raise UnsupportedError(f"{bits}: one bit leaves no levels (QKeras divides by zero)")
    _type(bits.keep_negative, bits.bits, bits.integer)
    x = np.ldexp(raw.astype(np.float32), -bits.integer).astype(np.float32)
    levels = np.float32((2 ** (bits.bits - 1) - 1) * 2)
    if bits.post_training_scale is not None:
        try:
            step = np.broadcast_to(np.ldexp(bits.post_training_scale, -bits.unsigned_bits), _scale_shape(x))
        except ValueError:
            raise UnsupportedError(f"post_training_scale of shape {bits.post_training_scale.shape}") from None
        if not all(power_of_two(float(s)) for s in np.ravel(step)):
            raise UnsupportedError(
                "a post_training_scale that is not a power of two: weights off any binary grid"
            )
        return _scaled(bits, x, step.astype(np.float32), levels)
    if bits.alpha != "auto_po2":
        raise UnsupportedError(
            f"alpha={bits.alpha!r}: its scales are no powers of two, the float32 products are rounded"
        )
    first, *others = [
        _scaled(bits, x, _po2_scale(bits, x, levels, nudge), levels) for nudge in (0.0, -MARGIN, MARGIN)
    ]
    if any(not np.array_equal(first, other) for other in others):
        raise UnsupportedError(
            "alpha='auto_po2' lies half way between two powers of two: it depends on the machine; "
            "save the model with post_training_scale"
        )
    return first


def _scaled(bits: Bits, x: np.ndarray, step: np.ndarray, levels: np.float32) -> RealArray:
    """Return the weights on the grid of a scale; exact, since the scale is a power of two."""
    return np.asarray(np.ldexp(step.astype(np.float64) * _levels(x, step, levels), bits.integer))


def _levels(x: np.ndarray, step: np.ndarray, levels: np.float32) -> np.ndarray:
    """Round to multiples of ``step``, half away from zero, in float32 as QKeras does."""
    magnitude = np.floor(np.abs(x) / step + np.float32(0.5))
    return np.asarray(np.sign(x) * np.minimum(magnitude, levels / np.float32(2)), dtype=np.float32)


def _scale_shape(x: np.ndarray) -> tuple[int, ...]:
    return x.shape if x.ndim == 1 else (*(1,) * (x.ndim - 1), x.shape[-1])


def _po2_scale(bits: Bits, x: np.ndarray, levels: np.float32, nudge: float) -> np.ndarray:
    """Find the power of two per channel as QKeras does; ``nudge`` is added to exponents before rounding."""
    axes = tuple(range(x.ndim - 1)) or (0,)

    def po2(value: np.ndarray) -> np.ndarray:
        exponent = np.log2((value.astype(np.float32) + EPSILON).astype(np.float64))
        return np.asarray(np.exp2(np.rint(exponent + nudge)), dtype=np.float32)

    step = po2(np.abs(x).max(axis=axes, keepdims=True) * np.float32(2) / levels)
    for _ in range(5):
        z = _levels(x, step, levels)
        xz, zz = (x * z).astype(np.float64), (z * z).astype(np.float64)
        if x.ndim > 1:  # of a vector every element is its own channel
            xz, zz = xz.mean(axis=axes, keepdims=True), zz.mean(axis=axes, keepdims=True)
        step = po2(xz.astype(np.float32) / (zz.astype(np.float32) + EPSILON))
        if bits.min_po2_exponent is not None:
            step = np.maximum(step, np.float32(2.0**bits.min_po2_exponent))
        if bits.max_po2_exponent is not None:
            step = np.minimum(step, np.float32(2.0**bits.max_po2_exponent))
    return step


def _type(signed: bool, width: int, integer: int) -> FixedType:
    if not 1 <= width <= MAX_WIDTH:
        raise UnsupportedError(f"{width} bits; supported are 1 to {MAX_WIDTH}")
    try:
        return FixedType(signed, width, integer)
    except RangeError as error:
        raise UnsupportedError(error.what) from None


def _refuse_noise(options: Options) -> None:
    noise = options.number("qnoise_factor", 1.0)
    if noise not in (None, 1.0):
        raise UnsupportedError(
            f"{options.owner} with qnoise_factor={noise:g}: a mixture of quantized and real values"
        )


def _integer(options: Options) -> int:
    integer = options.integer("integer", 0)
    if abs(integer) > MAX_WIDTH:
        raise UnsupportedError(f"{options.owner} with integer={integer}; supported are +-{MAX_WIDTH}")
    return integer


def _optional(options: Options, key: str) -> int | None:
    if options.raw(key) is None:
        return None
    exponent = options.integer(key)
    if abs(exponent) > MAX_WIDTH:
        raise options.wrong(key, f"a whole number within +-{MAX_WIDTH}")
    return exponent


def _alpha(options: Options) -> float | RealArray | str | None:
    alpha = options.raw("alpha")
    if alpha is None or isinstance(alpha, str):
        if alpha not in (None, "auto", "auto_po2"):
            raise UnsupportedError(f"{options.owner} with alpha={alpha[:40]!r}")
        return alpha
    if isinstance(alpha, list):
        return _numbers(alpha, "alpha")
    return options.number("alpha")


def _numbers(value: Any, what: str) -> RealArray:
    try:
        array = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        raise UnsupportedError(f"{what} is not an array of numbers") from None
    if not array.size or not np.isfinite(array).all():
        raise UnsupportedError(f"{what} is empty or holds values that are not finite")
    return array
