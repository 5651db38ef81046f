# SPDX-License-Identifier: Apache-2.0
"""What each layer means: a chain of primitives.  The one place where a layer gets its arithmetic.

To add a layer: a dataclass in `l1ml.graph.model`, a function here under ``@emit.register``, and a
reader in `l1ml.frontends`.  Emulator, RTL, reports and digest follow.
"""

from __future__ import annotations

from functools import singledispatch

import numpy as np

from l1ml.errors import ModelError
from l1ml.graph import affine, model, primitives
from l1ml.graph.primitives import Primitive
from l1ml.graph.tensor import TensorType
from l1ml.types.arrays import IntArray, RealArray


@singledispatch
def emit(layer: model.Layer, x: TensorType) -> list[Primitive]:
    """Return the primitives of ``layer`` for an input of type ``x`` (without the event axis).

    Raises:
        ModelError: the layer has no exact meaning for this input.
    """
    raise ModelError(f"layer {layer.name!r} ({type(layer).__name__}) has no exact hardware form yet")


def to_integers(values: RealArray, what: str) -> tuple[IntArray, int]:
    """Express real constants as integers and the coarsest binary point that holds them all.

    Returns:
        ``(codes, frac)`` with ``values == codes * 2**-frac``.

    Raises:
        ModelError: the constants span more than 48 bits; they are no quantized weights.

    Example:
        >>> to_integers(np.array([0.75, -0.5]), "kernel")
        (array([ 3, -2]), 2)
    """
    values = np.asarray(values, dtype=np.float64)
    nonzero = values[values != 0]
    if not nonzero.size:
        return np.zeros(values.shape, dtype=np.int64), 0
    mantissa, exponent = np.frexp(nonzero)
    integer = (mantissa * 2.0**53).astype(np.int64)
    trailing = np.log2((integer & -integer).astype(np.float64)).astype(np.int64)
    frac = int((53 - exponent.astype(np.int64) - trailing).max())
    top = int(exponent.max()) + frac
    if top > 48:
        raise ModelError(
            f"{what} holds constants that need {top} bits on a common grid; at most 48 are supported",
            fix="quantize these constants (a quantized layer, or a type in the configuration)",
        )
    return np.ldexp(values, frac).astype(np.int64), frac


@emit.register
def _dense(layer: model.Dense, x: TensorType) -> list[Primitive]:
    if len(x.shape) < 1 or x.shape[-1] != layer.kernel.shape[0]:
        raise ModelError(
            f"Dense {layer.name!r} expects {layer.kernel.shape[0]} inputs, its input has shape {x.shape}"
        )
    matrix, frac = to_integers(layer.kernel, f"kernel of {layer.name!r}")
    chain: list[Primitive] = [primitives.ConstMatmul(matrix, frac)]
    if layer.bias is not None and np.any(layer.bias):
        chain.append(primitives.AddConst(*to_integers(layer.bias, f"bias of {layer.name!r}")))
    return chain


@emit.register
def _quantize(layer: model.Quantize, x: TensorType) -> list[Primitive]:
    return [primitives.Requantize(layer.quantizer)]


@emit.register
def _relu(layer: model.Relu, x: TensorType) -> list[Primitive]:
    return [primitives.Relu()]


@emit.register
def _reshape(layer: model.Reshape, x: TensorType) -> list[Primitive]:
    known = int(np.prod([n for n in layer.shape if n != -1], dtype=np.int64))
    shape = tuple(x.size // max(known, 1) if n == -1 else n for n in layer.shape)
    if layer.shape.count(-1) > 1 or int(np.prod(shape, dtype=np.int64)) != x.size:
        raise ModelError(f"Reshape {layer.name!r} cannot turn {x.size} elements into {layer.shape}")
    return [primitives.Reshape(shape)]


@emit.register
def _sign(layer: model.Sign, x: TensorType) -> list[Primitive]:
    scale, frac = to_integers(np.array([layer.scale]), f"scale of {layer.name!r}")
    channels = x.shape[-1]
    amplitude = np.full(channels, int(scale[0]), dtype=np.int64)
    return [primitives.Steps(np.zeros((channels, 1), dtype=np.int64), -amplitude, 2 * amplitude, frac)]


@emit.register
def _affine(layer: model.Affine, x: TensorType) -> list[Primitive]:
    return affine.exact(layer, x)


@emit.register
def _affine_quantize(layer: affine.AffineQuantize, x: TensorType) -> list[Primitive]:
    return affine.stepwise(layer, x)
