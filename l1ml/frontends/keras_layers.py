# SPDX-License-Identifier: Apache-2.0
"""The Keras and QKeras layers that are read, one function each.  `LAYERS` is the table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from l1ml.errors import ModelError
from l1ml.frontends import qkeras
from l1ml.frontends.canonical import Identity
from l1ml.frontends.common import Options, Shape, UnsupportedError, reshaped
from l1ml.frontends.containers import KerasFile, take
from l1ml.frontends.normalization import batch_norm
from l1ml.frontends.spelling import Call, call
from l1ml.graph.model import Affine, Dense, Layer, Relu, Reshape, Softmax


@dataclass(frozen=True)
class Step:
    """One layer of the file with what its reader needs.

    Args:
        name: name of the layer.
        kind: its class.
        options: its configuration.
        input: name of the layer it reads.
        shape: shape of one event there, or None if an unsupported layer before makes it unknown.
        file: the model.
        stored_as: name under which the file stores the weights.
    """

    name: str
    kind: str
    options: Options
    input: str
    shape: Shape | None
    file: KerasFile
    stored_as: str

    @property
    def owner(self) -> str:
        """The layer in messages."""
        return f"layer {self.name!r}"

    @property
    def channels(self) -> int | None:
        """Size of the last axis."""
        return self.shape[-1] if self.shape else None

    def quantizer(self, key: str) -> Call | None:
        """Read a quantizer or an activation function."""
        try:
            return call(self.options.raw(key))
        except UnsupportedError as error:
            raise UnsupportedError(f"{key} {error.what}") from None

    def weights(self, *expected: tuple[str, tuple[int | None, ...]]) -> dict[str, np.ndarray]:
        """Return the stored arrays."""
        return take(self.file, self.stored_as, self.name, expected)


Built = tuple[tuple[Layer, ...], Shape | None]
Reader = Callable[[Step], Built]


def _dense(step: Step) -> Built:
    units = step.options.integer("units")
    if units < 1:
        raise step.options.wrong("units", "a positive number")
    has_bias = step.options.flag("use_bias", True)
    function = step.quantizer("activation")
    wanted: list[tuple[str, tuple[int | None, ...]]] = [("kernel", (step.channels, units))]
    raw = step.weights(*wanted, *([("bias", (units,))] if has_bias else []))
    values: dict[str, np.ndarray] = {key: array.astype(np.float64) for key, array in raw.items()}
    texts: list[tuple[str, str]] = []
    exact = True
    for key in values:
        quantizer = step.quantizer(f"{key}_quantizer") if step.kind == "QDense" else None
        if quantizer is None:
            exact = exact and key == "bias" and not values[key].any()
            continue
        try:
            values[key], text = qkeras.weights(
                quantizer, raw[key], kernel=key == "kernel", source=step.file.source
            )
        except UnsupportedError as error:
            raise UnsupportedError(f"{key}_quantizer {error.what}") from None
        texts.append((key, text))
    dense = Dense(
        step.name, (step.input,), values["kernel"], values.get("bias"), exact=exact, quantizers=tuple(texts)
    )
    shape = None if step.shape is None else (*step.shape[:-1], units)
    return _activated(step, dense, function), shape


def _activated(step: Step, linear: Layer, function: Call | None) -> tuple[Layer, ...]:
    """Put the activation of a layer behind it: ``name.linear``, then ``name``."""
    if function is None or function.name == "linear":
        return (linear,)
    first = replace(linear, name=f"{step.name}.linear")
    return (first, *qkeras.activation(function, step.name, first.name, step.file.source))


def _activation(step: Step) -> Built:
    return qkeras.activation(
        step.quantizer("activation"), step.name, step.input, step.file.source
    ), step.shape


def _relu(step: Step) -> Built:
    qkeras.plain_relu(step.options)
    return (Relu(step.name, (step.input,)),), step.shape


def _softmax(step: Step) -> Built:
    axes = step.options.integers("axis") or [-1]
    if axes != [-1] and axes != [len(step.shape or ())]:
        raise UnsupportedError(f"axis={axes}; only the last axis is supported")
    return (Softmax(step.name, (step.input,)),), step.shape


def _nothing(step: Step) -> Built:
    return (Identity(step.name, (step.input,)),), step.shape


def _batch_norm(step: Step) -> Built:
    axes = step.options.integers("axis") or [-1]
    if step.shape is not None and axes not in ([-1], [len(step.shape)]):
        raise UnsupportedError(f"axis={axes}; only the last axis is supported")
    for key in ("renorm", "virtual_batch_size", "adjustment"):
        if step.options.raw(key):
            raise UnsupportedError(f"option {key}")
    epsilon = step.options.number("epsilon", 1e-3)
    if epsilon is None or epsilon < 0:
        raise step.options.wrong("epsilon", "a number of at least 0")
    names = ["gamma"] if step.options.flag("scale", True) else []
    names += ["beta"] if step.options.flag("center", True) else []
    raw = step.weights(*((name, (step.channels,)) for name in (*names, "moving_mean", "moving_variance")))
    try:
        scale, offset = batch_norm(
            raw["moving_mean"], raw["moving_variance"], raw.get("gamma"), raw.get("beta"), epsilon
        )
    except ValueError as error:
        raise ModelError(f"{step.owner}: {error}", where=(step.file.source,)) from None
    return (Affine(step.name, (step.input,), scale, offset),), step.shape


def _flatten(step: Step) -> Built:
    many = step.shape is None or len(step.shape) > 1
    if many and step.options.raw("data_format") == "channels_first":
        raise UnsupportedError("data_format channels_first")
    return _reshaped(step, [-1])


def _reshape(step: Step) -> Built:
    target = step.options.integers("target_shape")
    if not target or len(target) > 8:
        raise step.options.wrong("target_shape", "a list of 1 to 8 sizes")
    return _reshaped(step, target)


def _reshaped(step: Step, target: list[int]) -> Built:
    if step.shape is None:
        return (), None
    shape = reshaped(step.shape, target, step.owner, step.file.source)
    if shape == step.shape:
        return _nothing(step)
    return (Reshape(step.name, (step.input,), shape),), shape


LAYERS: dict[str, Reader] = {
    "Dense": _dense,
    "QDense": _dense,
    "Activation": _activation,
    "QActivation": _activation,
    "ReLU": _relu,
    "Softmax": _softmax,
    "BatchNormalization": _batch_norm,
    "BatchNormalizationV1": _batch_norm,
    "BatchNormalizationV2": _batch_norm,
    "Flatten": _flatten,
    "Reshape": _reshape,
    "Dropout": _nothing,
}

SUPPORTED = ("InputLayer", *(kind for kind in LAYERS if not kind.startswith("BatchNormalizationV")))
"""What messages list; layers below do nothing at inference either and need no mention."""

NO_OPS = (
    "SpatialDropout1D",
    "SpatialDropout2D",
    "SpatialDropout3D",
    "GaussianDropout",
    "GaussianNoise",
    "AlphaDropout",
    "ActivityRegularization",
    "Identity",
)
LAYERS.update(dict.fromkeys(NO_OPS, _nothing))


def check_precision(policy: Any) -> None:
    """Refuse layers that compute in anything but float32.

    Raises:
        UnsupportedError: the data type policy is another one.
    """
    if policy not in (None, "float32"):
        raise UnsupportedError(f"dtype {str(policy)[:40]}; only float32 is supported")
