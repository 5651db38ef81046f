# SPDX-License-Identifier: Apache-2.0
"""Activations by name, of QKeras and of Keras, as functions of single elements."""

from __future__ import annotations

import math

import numpy as np

from l1ml.frontends.common import Options, UnsupportedError, power_of_two
from l1ml.frontends.qkeras import functions as own
from l1ml.frontends.qkeras.bits import Bits, alpha, fixed_type, integer_bits, refuse_noise
from l1ml.frontends.spelling import Call
from l1ml.graph.functions import Clip, Function, HardSigmoid, Rectify, Relu, Scale, Sign, ToGrid
from l1ml.graph.named import Named
from l1ml.types.fixed import FixedType, Overflow, Quantizer, Rounding
from l1ml.types.grid import Grid

_NAMED = {
    "sigmoid": ("sigmoid", ()), "tanh": ("tanh", ()), "softplus": ("softplus", ()), "softsign": ("softsign", ()),
    "exponential": ("exp", ()), "swish": ("silu", ()), "silu": ("silu", ()), "mish": ("mish", ()), "selu": ("selu", ()),
}  # fmt: skip


def typed_quantizer(call: Call, source: str = "") -> Quantizer | None:
    """Return the fixed-point conversion that a quantizer is exactly, or None where it is something else."""
    options = Options(call.options, call.name, source)
    if call.name == "quantized_bits":
        bits = Bits.of(call, source)
        plain = bits.alpha is None or (
            not isinstance(bits.alpha, str) and bool(np.all(np.asarray(bits.alpha) == 1.0))
        )
        return bits.quantizer if plain and not bits.binary else None
    if call.name == "quantized_relu" and _plain_relu(options):
        return _relu_type(options)
    return None


def _plain_relu(options: Options) -> bool:
    refuse_noise(options)
    bounded = options.number("relu_upper_bound") is not None and not options.flag("is_quantized_clip", True)
    sloped = options.number("negative_slope", 0.0) not in (None, 0.0)
    return not (bounded or sloped or options.flag("use_sigmoid", False))


def _relu_type(options: Options) -> Quantizer:
    return Quantizer(
        fixed_type(False, options.integer("bits", 8), integer_bits(options)), Rounding.RND_CONV, Overflow.SAT
    )


def activation(call: Call, *, source: str, sigmoid: str = "hard", keras: int = 2) -> tuple[Function, ...]:
    """Return the functions of an activation; () is linear.

    Args:
        call: the activation.
        source: name of the file.
        sigmoid: QKeras' internal sigmoid, ``hard`` unless the training set another one.
        keras: 2 or 3: their hard sigmoids differ.

    Raises:
        UnsupportedError: the function, or an option of it, has no exact form.
    """
    exact = typed_quantizer(call, source)
    if exact is not None:
        return (ToGrid(Grid.of(exact)),)
    options = Options(call.options, call.name, source)
    name = call.name
    if name in _QUANTIZERS:
        refuse_noise(options)
        return _QUANTIZERS[name](call, options, sigmoid)  # type: ignore[no-untyped-call]
    if name == "linear":
        return ()
    if name in ("relu", "relu6"):
        return relu(options, 6.0 if name == "relu6" else None)
    if name in _NAMED:
        return (Named(*_NAMED[name]),)
    if name == "elu":
        return (Named("elu", (options.number("alpha", 1.0) or 0.0,)),)
    if name == "gelu":
        return (Named("gelu", (float(options.flag("approximate", False)),)),)
    if name == "leaky_relu":
        return (Rectify(np.asarray(options.number("negative_slope", 0.2), dtype=np.float32)),)
    if name == "celu":
        return (Named("celu", (options.number("alpha", 1.0) or 0.0,)),)
    if name in ("hard_silu", "hard_swish"):
        return (own.HardSwish(3.0, 6.0),)
    if name == "log_sigmoid":
        minus = Scale(np.asarray(-1.0, np.float32))
        return (minus, Named("softplus", ()), minus)
    if name == "hard_sigmoid":
        return (HardSigmoid(0.2, 0.5) if keras == 2 else HardSigmoid(1 / 6, 0.5),)
    raise UnsupportedError(name)


def relu(options: Options, max_value: float | None = None) -> tuple[Function, ...]:
    """Return Keras' general ReLU."""
    slope = options.number("negative_slope", options.number("alpha", 0.0)) or 0.0
    bound = options.number("max_value", max_value)
    threshold = options.number("threshold", 0.0) or 0.0
    if slope == 0.0 and threshold == 0.0:
        if bound is None:
            return (Relu(),)
        return (Clip(np.zeros((), np.float32), np.asarray(bound, dtype=np.float32)),)
    if threshold != 0.0 and slope != 0.0:
        raise UnsupportedError("ReLU with a slope and a threshold at once")
    limit = None if bound is None else np.asarray(bound, dtype=np.float32)
    return (Rectify(np.asarray(slope, dtype=np.float32), limit, threshold),)


def _bits(call: Call, options: Options, sigmoid: str) -> tuple[Function, ...]:
    bits = Bits.of(call, options.source)
    factor = _number(bits.alpha, options)
    if bits.binary:
        return (Sign(factor),)
    chain: tuple[Function, ...] = (ToGrid(Grid.of(bits.quantizer)),)
    return chain if factor == 1.0 else (*chain, Scale(np.asarray(factor, dtype=np.float32)))


def _number(value: object, options: Options) -> float:
    """Return a numeric alpha.

    Raises:
        UnsupportedError: it depends on the data, or differs between channels.
    """
    if value is None:
        return 1.0
    if isinstance(value, str):
        raise UnsupportedError(f"{options.owner} with alpha={value!r} on data scales every event by itself")
    array = np.ravel(np.asarray(value, dtype=np.float64))
    if not bool((array == array[0]).all()):
        raise UnsupportedError(f"{options.owner} on data with a scale per channel")
    return float(array[0])


def _linear(call: Call, options: Options, sigmoid: str) -> tuple[Function, ...]:
    factor = _number(alpha(options), options)
    bits, integer = options.integer("bits", 8), integer_bits(options)
    negative = options.flag("keep_negative", True)
    if not power_of_two(factor):
        raise UnsupportedError(f"quantized_linear on data with alpha={factor:g}; it must be a power of two")
    shift = round(math.log2(factor))
    if bits == 1 and negative:
        return (Sign(0.5 * 2.0 ** (integer + shift)),)
    symmetric = options.flag("symmetric", True) and negative
    kind = fixed_type(negative, bits, integer + negative + shift)
    return (
        ToGrid(Grid.of(Quantizer(kind, Rounding.RND_CONV, Overflow.SAT_SYM if symmetric else Overflow.SAT))),
    )


def _quantized_relu(call: Call, options: Options, sigmoid: str) -> tuple[Function, ...]:
    bits, integer = options.integer("bits", 8), integer_bits(options)
    slope = options.number("negative_slope", 0.0) or 0.0
    if options.flag("use_sigmoid", False):
        if slope:
            raise UnsupportedError("quantized_relu with use_sigmoid and negative_slope")
        chain: tuple[Function, ...] = (own.SigmoidRelu(bits, integer, sigmoid),)
    elif slope:
        if not power_of_two(slope):
            raise UnsupportedError(
                f"quantized_relu with negative_slope={slope:g}; QKeras takes powers of two"
            )
        chain = (own.LeakyRelu(bits - 1, integer, slope),)
    else:
        chain = (ToGrid(Grid.of(_relu_type(options))),)
    bound = options.number("relu_upper_bound")
    if bound is not None and not options.flag("is_quantized_clip", True):
        grid = chain[-1].frac
        chain = (*chain, own.Upper(bound, int(np.max(np.asarray(grid)))))
    return chain


def _binary(call: Call, options: Options, sigmoid: str) -> tuple[Function, ...]:
    factor = _number(alpha(options), options)
    return (Sign(factor, 0.0 if options.flag("use_01", False) else None),)


def _ternary(call: Call, options: Options, sigmoid: str) -> tuple[Function, ...]:
    threshold = options.number("threshold")
    return (own.Ternary(0.33 if threshold is None else threshold, _number(alpha(options), options)),)


def _bernoulli(call: Call, options: Options, sigmoid: str) -> tuple[Function, ...]:
    raise UnsupportedError("bernoulli draws random numbers at inference; use binary")


def _tanh(call: Call, options: Options, sigmoid: str) -> tuple[Function, ...]:
    bits = fixed_type(True, options.integer("bits", 8), 1).width
    return (own.Tanh(bits, options.flag("symmetric", False), options.flag("use_real_tanh", False), sigmoid),)


def _sigmoid(call: Call, options: Options, sigmoid: str) -> tuple[Function, ...]:
    bits = fixed_type(False, options.integer("bits", 8), 0).width
    kind = "real" if options.flag("use_real_sigmoid", False) else sigmoid
    return (own.Sigmoid(bits, options.flag("symmetric", False), kind),)


def _po2(call: Call, options: Options, sigmoid: str) -> tuple[Function, ...]:
    relu_kind = call.name == "quantized_relu_po2"
    bits, bound = options.integer("bits", 8), options.number("max_value")
    if not 2 <= bits <= 7:
        raise UnsupportedError(f"{call.name} with {bits} bits; 2 to 7 keep its powers within 62 bits")
    need = 1 if bound is None or bound > 1 else 0
    exponent = bits - need - (0 if relu_kind else 1)
    lowest, highest = -(2**exponent), 2**exponent - 1
    quadratic = options.flag("quadratic_approximation", False)
    if quadratic:
        highest = 2 * (highest // 2)
    return (
        own.PowerOfTwo(
            lowest, highest, bound, not relu_kind, options.number("negative_slope", 0.0) or 0.0, quadratic,
            options.raw("log2_rounding", "rnd") == "floor",
        ),
    )  # fmt: skip


def _ulaw(call: Call, options: Options, sigmoid: str) -> tuple[Function, ...]:
    return (
        own.ULaw(
            options.integer("bits", 8), integer_bits(options), options.flag("symmetric", False),
            options.number("u", 255.0) or 255.0, sigmoid,
        ),
    )  # fmt: skip


def _hswish(call: Call, options: Options, sigmoid: str) -> tuple[Function, ...]:
    inner = Call("quantized_bits", {k: v for k, v in call.options.items() if not k.startswith("relu_")})
    return (
        own.HardSwish(float(options.integer("relu_shift", 3)), float(options.integer("relu_upper_bound", 6))),
        *_bits(inner, options, sigmoid),
    )


def _plain(function: Function) -> tuple[Function, ...]:
    return (function,)


_ONE = Grid.of(Quantizer(FixedType(False, 1, 1), Rounding.RND_CONV, Overflow.SAT))

_QUANTIZERS = {
    "quantized_bits": _bits, "quantized_linear": _linear, "quantized_relu": _quantized_relu, "binary": _binary,
    "stochastic_binary": _binary, "ternary": _ternary, "stochastic_ternary": _ternary, "bernoulli": _bernoulli,
    "quantized_tanh": _tanh, "quantized_sigmoid": _sigmoid, "quantized_po2": _po2, "quantized_relu_po2": _po2,
    "quantized_ulaw": _ulaw, "quantized_hswish": _hswish,
    "hard_tanh": lambda call, options, sigmoid: _plain(own.ModuleSigmoid("hard", tanh=True)),
    "smooth_tanh": lambda call, options, sigmoid: _plain(own.ModuleSigmoid("smooth", tanh=True)),
    "smooth_sigmoid": lambda call, options, sigmoid: _plain(own.ModuleSigmoid("smooth")),
    "binary_tanh": lambda call, options, sigmoid: _plain(Sign(1.0, at_zero=False)),
    "binary_sigmoid": lambda call, options, sigmoid: (own.ModuleSigmoid("hard"), ToGrid(_ONE)),
}  # fmt: skip
