# SPDX-License-Identifier: Apache-2.0
"""Types the user gives to layers by name, where the model itself has no quantizers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from l1ml.errors import ConfigError, RangeError, nearest
from l1ml.graph.model import Dense, Input, Layer, Model, Quantize
from l1ml.types.arrays import RealArray
from l1ml.types.fixed import Quantizer, quantize

KEYS = ("weight", "bias", "output")


def apply_types(model: Model, layers: Mapping[str, Mapping[str, str]]) -> Model:
    """Quantize weights and results of named layers.

    Args:
        model: the network as read.
        layers: per layer name a mapping with ``weight`` and ``bias`` (types of the constants) and ``output``
            (type of what the layer gives), each ``fixed<W,I[,rounding[,overflow]]>``.

    Returns:
        The network with these weights on their grids and a quantizer behind every layer with an ``output``.

    Raises:
        ConfigError: a layer or key does not exist, or a layer of the model already has quantizers.
    """
    names = [layer.name for layer in model.layers]
    wrong = [f"layers.{name}: {nearest(name, names)}" for name in layers if name not in names]
    for name, kinds in layers.items():
        wrong += [f"layers.{name}.{key}: {nearest(key, KEYS)}" for key in kinds if key not in KEYS]
    if wrong:
        raise ConfigError(
            f"{len(wrong)} entries name nothing in the model: " + "; ".join(wrong), where=("layers",)
        )
    out: list[Layer] = []
    renamed: dict[str, str] = {}
    for layer in model.layers:
        kinds = layers.get(layer.name, {})
        typed = replace(layer, inputs=tuple(renamed.get(n, n) for n in layer.inputs))
        if "weight" in kinds or "bias" in kinds:
            typed = _weights(typed, kinds, model.source)
        out.append(typed)
        if "output" in kinds:
            if isinstance(layer, Input):
                raise ConfigError(
                    "the type of an input is input_type", where=("layers", layer.name, "output")
                )
            inner = replace(typed, name=f"{layer.name}.exact")
            out[-1] = inner
            out.append(Quantize(layer.name, (inner.name,), Quantizer.parse(kinds["output"])))
    return replace(model, layers=tuple(out))


def _weights(layer: Layer, kinds: Mapping[str, str], source: str) -> Layer:
    where = (source, "layers", layer.name)
    if not isinstance(layer, Dense):
        raise ConfigError(f"layer {layer.name!r} has no weights", where=where)
    if layer.exact:
        raise ConfigError(
            f"the model itself quantizes the weights of {layer.name!r}",
            where=where,
            fix="remove weight and bias here",
        )
    quantized = "kernel" in dict(layer.quantizers)
    if quantized and "weight" in kinds:
        raise ConfigError(
            f"the model itself quantizes the kernel of {layer.name!r}",
            where=where,
            fix="give a type for bias only",
        )
    given = {"weight": None if quantized else layer.kernel, "bias": layer.bias}
    missing = [key for key, values in given.items() if key not in kinds and values is not None]
    if missing:
        raise ConfigError(
            f"layer {layer.name!r} has a type for its {'bias' if missing == ['weight'] else 'weight'} only",
            where=where,
            fix=f"give {missing[0]} a type as well",
        )
    kernel = layer.kernel if quantized else _fitting(layer.kernel, kinds["weight"], (*where, "weight"))
    bias = None if layer.bias is None else _fitting(layer.bias, kinds["bias"], (*where, "bias"))
    text = tuple((key, kinds[key]) for key in ("weight", "bias") if key in kinds)
    return replace(layer, kernel=kernel, bias=bias, exact=True, quantizers=text)


def _fitting(values: RealArray, text: str, where: tuple[str, ...]) -> RealArray:
    """Return constants on the grid of a type; one that does not fit stops the conversion.

    Raises:
        RangeError: a constant is outside the type by more than its LSB; says which type would hold them.
    """
    kind = Quantizer.parse(text)
    lsb = 2.0**-kind.type.frac
    outside = (values < kind.lo * lsb - lsb) | (values > kind.type.hi * lsb + lsb)
    if outside.any():
        peak = float(np.abs(values).max())
        integer = math.floor(math.log2(peak)) + 1 + kind.type.signed
        more = max(1, integer - kind.type.integer)
        wider = f"{'' if kind.type.signed else 'u'}fixed<{kind.type.width + more},{kind.type.integer + more}>"
        raise RangeError(
            f"{int(outside.sum())} of {values.size} constants do not fit {kind.type}: they reach {peak:g}",
            where=where,
            fix=f"use {wider} with the same modes",
        )
    return quantize(values, kind)
