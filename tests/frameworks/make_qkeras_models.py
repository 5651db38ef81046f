# SPDX-License-Identifier: Apache-2.0
"""Make small QKeras models with weights that tie: ``python make_qkeras_models.py FOLDER [name ...]``.

Run it where QKeras 0.9 is installed, not where l1ml is; it writes ``FOLDER/<name>.h5``.  Weights are drawn from a
fixed seed, a third of them half-way between codes of their quantizer.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")

import numpy as np
import tensorflow as tf

keras = tf.keras
keras.layers.Layer  # noqa: B018  makes TensorFlow choose its Keras before qkeras changes its mind

import qkeras as q  # noqa: E402
from tensorflow.python.util import nest  # noqa: E402

if not hasattr(nest, "is_sequence"):
    nest.is_sequence = nest.is_nested  # its name up to TensorFlow 2.12; cells of QKeras 0.9.0 call it

Build = Callable[[], "keras.Model"]
MODELS: dict[str, Build] = {}


def model(build: Build) -> Build:
    MODELS[build.__name__] = build
    return build


def weight(bits: int = 6, integer: int = 0, **options: object) -> q.quantized_bits:
    return q.quantized_bits(bits, integer, alpha=options.pop("alpha", 1), **options)


@model
def dense() -> keras.Model:
    """A tagger with every kind of rounding activation, and a softmax at its end."""
    x = data = keras.Input((16,), name="x")
    x = q.QDense(32, kernel_quantizer=weight(), bias_quantizer=weight(8, 1), name="fc1")(x)
    x = q.QActivation(q.quantized_relu(6, 2), name="relu1")(x)
    x = q.QDense(24, kernel_quantizer=weight(4), bias_quantizer=weight(6, 1), name="fc2")(x)
    x = q.QActivation(q.quantized_bits(6, 2, symmetric=1, alpha=1), name="bits2")(x)
    x = q.QDense(
        16, kernel_quantizer=q.ternary(alpha=1, threshold=0.5), bias_quantizer=weight(5, 1), name="fc3"
    )(x)
    x = q.QActivation(q.quantized_relu(5, 2, negative_slope=0.25), name="leaky3")(x)
    x = q.QDense(5, kernel_quantizer=weight(5, 0, alpha="auto_po2"), bias_quantizer=weight(6, 1), name="out")(
        x
    )
    return keras.Model(data, keras.layers.Softmax(name="softmax")(x))


@model
def conv() -> keras.Model:
    """Convolutions, both kinds of pooling and a normalization."""
    x = data = keras.Input((9, 9, 2), name="x")
    x = q.QConv2D(
        4, 3, padding="same", kernel_quantizer=weight(5), bias_quantizer=weight(6, 1), name="conv1"
    )(x)
    x = q.QActivation(q.quantized_relu(5, 2), name="relu1")(x)
    x = keras.layers.MaxPooling2D(2, name="max1")(x)
    x = q.QDepthwiseConv2D(3, depthwise_quantizer=weight(4), bias_quantizer=weight(5, 1), name="depth2")(x)
    x = q.QActivation(q.quantized_bits(7, 3, alpha=1), name="bits2")(x)
    x = q.QAveragePooling2D(2, average_quantizer=q.quantized_bits(6, 0, alpha=1), name="mean2")(x)
    x = q.QActivation(q.quantized_bits(6, 2, alpha=1), name="bits3")(x)
    x = keras.layers.Flatten(name="flat")(x)
    return keras.Model(
        data, q.QDense(3, kernel_quantizer=q.binary(alpha=1), bias_quantizer=weight(5, 1), name="out")(x)
    )


@model
def recurrent() -> keras.Model:
    """An LSTM, a GRU and a simple network, states and kernels quantized."""
    options: dict[str, object] = {
        "kernel_quantizer": weight(5), "recurrent_quantizer": weight(5), "bias_quantizer": weight(6, 1),
        "state_quantizer": q.quantized_bits(6, 0, alpha=1), "activation": q.quantized_tanh(6),
    }  # fmt: skip
    x = data = keras.Input((4, 3), name="x")
    x = q.QLSTM(
        4, return_sequences=True, recurrent_activation=q.quantized_sigmoid(6), name="lstm", **options
    )(x)
    x = q.QGRU(
        3, return_sequences=True, reset_after=False, recurrent_activation=q.quantized_sigmoid(5), name="gru",
        **options,
    )(x)  # fmt: skip
    x = q.QSimpleRNN(3, name="rnn", **options)(x)
    return keras.Model(
        data, q.QDense(2, kernel_quantizer=weight(4), bias_quantizer=weight(5, 1), name="out")(x)
    )


@model
def quantizers() -> keras.Model:
    """One branch per quantizer of data: ties, ends and thresholds of each are inputs."""
    data = keras.Input((6,), name="x")
    kinds = {
        "bits": q.quantized_bits(5, 1, alpha=1),
        "bits_symmetric": q.quantized_bits(5, 1, symmetric=1, alpha=1),
        "bits_unsigned": q.quantized_bits(5, 1, keep_negative=False, alpha=1),
        "bits_coarse": q.quantized_bits(3, 4, alpha=1),
        "bits_scaled": q.quantized_bits(5, 1, alpha=0.5),
        "relu": q.quantized_relu(4, 1),
        "relu_leaky": q.quantized_relu(5, 2, negative_slope=0.125),
        "relu_sigmoid": q.quantized_relu(5, 1, use_sigmoid=1),
        "tanh": q.quantized_tanh(5),
        "sigmoid": q.quantized_sigmoid(5),
        "binary": q.binary(alpha=1),
        "ternary": q.ternary(alpha=1, threshold=0.5),
        "po2": q.quantized_po2(4, 2),
        "relu_po2": q.quantized_relu_po2(4, 2),
        "linear": q.quantized_linear(5, 1)
        if hasattr(q, "quantized_linear")
        else q.quantized_bits(4, 1, alpha=1),
    }
    return keras.Model(data, [q.QActivation(kind, name=name)(data) for name, kind in kinds.items()])


def draw(made: keras.Model, rng: np.random.Generator) -> None:
    """Draw all weights."""
    values = []
    for old in made.get_weights():
        value = rng.normal(0, 0.5, old.shape)
        ties = rng.random(old.shape) < 0.33
        values.append(np.where(ties, (np.floor(value * 16) + 0.5) / 16, value).astype(np.float32))
    made.set_weights(values)


def main(folder: Path, names: list[str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names or MODELS:
        keras.backend.clear_session()
        made = MODELS[name]()
        draw(made, np.random.default_rng(sum(map(ord, name))))
        made.save(folder / f"{name}.h5")
        print(name)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
