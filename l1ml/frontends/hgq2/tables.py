# SPDX-License-Identifier: Apache-2.0
"""HGQ2's functions by table: QUnaryFunctionLUT, its affine form, and QSoftmax."""

from __future__ import annotations

from typing import Any

import numpy as np

from l1ml.frontends.common import Options
from l1ml.frontends.hgq2.merge import own_axes
from l1ml.frontends.hgq2.parts import Parts
from l1ml.graph.functions import Offset, Scale
from l1ml.graph.model import Merge, Reduce
from l1ml.graph.named import Named

KERAS_EPSILON = 1e-7
TABLE = {"overflow_mode": "SAT", "round_mode": "RND_CONV"}
"""What QSoftmax makes of the quantizers of its tables, whatever they were given as."""


def unary(parts: Parts, inputs: tuple[str, ...]) -> str:
    """QUnaryFunctionLUT: a function between the input's and the output's quantizer."""
    return parts.activate(inputs[0])


def affine_unary(parts: Parts, inputs: tuple[str, ...]) -> str:
    """QAffinedUnaryFunctionLUT: a trained scale and offset before the function."""
    raw = parts.weights("", ("scale", (1,)), ("bias", (1,)))
    scale, offset = (np.asarray(raw[key][0], dtype=np.float32) for key in ("scale", "bias"))
    return parts.activate(parts.map("affine", inputs[0], Scale(scale), Offset(offset), text="affine"))


def softmax(
    parts: Parts, source: str, options: Options, axes: tuple[int, ...], *, place: str = "", part: str = "",
    scaler: float = 1.0,
) -> str:  # fmt: skip
    """Append a softmax with HGQ2's two tables; its result is not quantized.

    Args:
        parts: the layer.
        source: what it reads.
        options: configuration with the quantizers of the tables.
        axes: summed axes, without the event axis.
        place: folder of its variables, ending in ``/`` or empty.
        part: before the names of the layers, ending in a dot or empty.
        scaler: factor of the exponent.
    """

    def typed(key: str, name: str, what: str, **forced: str) -> str:
        conf: Any = options.raw(f"{key}_conf")
        return parts.quantize(f"{part}{key}", what, f"{place}{name}", conf, **forced)

    sign = 1.0
    if options.flag("stable", True):
        top = parts.add(Reduce(parts.name(f"{part}max"), (source,), "max", axes, keepdims=True))
        source = parts.add(Merge(parts.name(f"{part}below"), (top, source), "sub"))
        source, sign = typed("exp_iq", "exp_table/iq", source), -1.0
    exponent = (Scale(np.asarray(sign * scaler, dtype=np.float32)), Named("exp"))
    e = typed("exp_oq", "exp_table/oq", parts.map(f"{part}exp", source, *exponent, text="exp"), **TABLE)
    total = parts.add(Reduce(parts.name(f"{part}sum"), (e,), "sum", axes, keepdims=True))
    total = typed("inv_iq", "inv_table/iq", total)
    inverse = (Offset(np.asarray(KERAS_EPSILON, dtype=np.float32)), Named("reciprocal"))
    inverted = typed("inv_oq", "inv_table/oq", parts.map(f"{part}inv", total, *inverse, text="1/x"), **TABLE)
    return parts.add(Merge(parts.name(f"{part}result"), (e, inverted), "mul"))


def softmax_layer(parts: Parts, inputs: tuple[str, ...]) -> str:
    """QSoftmax."""
    (source,) = inputs
    axes = parts.options.integers("axes") or parts.options.integers("axis") or [-1]
    own = own_axes(parts, axes, len(parts.shape(source)))
    scaler = float(parts.options.number("input_scaler", 1.0) or 0.0)
    return softmax(parts, source, parts.options, own, scaler=scaler)
