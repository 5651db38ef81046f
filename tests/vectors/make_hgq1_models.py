# SPDX-License-Identifier: Apache-2.0
"""Make small proxy models of HGQ (the first one), and record what they give.

Run it where HGQ is installed (HGQ 0.2.6, TensorFlow 2.15, Keras 2.15), not where l1ml is:

    python tests/vectors/make_hgq1_models.py tests/vectors/hgq1

Every model is an HGQ model with bit widths drawn per element, traced on data and turned into its proxy, which is
saved as ``.h5`` or ``.keras``; beside it ``<name>.npz`` with inputs and the output of every layer.
"""

from __future__ import annotations

import os
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf
from HGQ import get_default_paq_conf, set_default_paq_conf, trace_minmax
from HGQ.layers import (
    HActivation,
    HAdd,
    HConv1D,
    HConv2D,
    HConv2DBatchNorm,
    HDense,
    HDenseBatchNorm,
    HQuantize,
    PAveragePooling1D,
    PConcatenate,
    PFlatten,
    PMaxPooling2D,
    PReshape,
)
from HGQ.proxy import FixedPointQuantizer, to_proxy_model
from tensorflow import keras

EVENTS = 60
LSB = 2.0**-6
REACH = 4.0

MODELS: dict[str, tuple[Callable[[], keras.Model], str, dict[str, object]]] = {}


def model(suffix: str, **options: object) -> Callable[[Callable[[], keras.Model]], Callable[[], keras.Model]]:
    """Enter a model with the kind of its file and the options of its proxy."""

    def enter(build: Callable[[], keras.Model]) -> Callable[[], keras.Model]:
        MODELS[build.__name__] = (build, suffix, options)
        return build

    return enter


@model("h5")
def dense() -> keras.Model:
    x = keras.Input((6,))
    y = HQuantize(name="inq")(x)
    y = HDense(5, activation="relu", name="d1")(y)
    y = HDense(4, name="d2", use_bias=False)(y)
    y = HDenseBatchNorm(4, name="d3", activation="relu")(y)
    return keras.Model(x, HDense(3, name="d4")(y))


@model("keras", aggressive=False)
def saturating() -> keras.Model:
    x = keras.Input((6,))
    y = HQuantize(name="inq")(x)
    a = HDense(4, activation="relu", name="d1")(y)
    b = HDense(4, name="d2")(y)
    return keras.Model(x, HDense(3, name="d3")(PConcatenate(name="joined")([HAdd(name="sum")([a, b]), a])))


@model("h5")
def convolutions() -> keras.Model:
    x = keras.Input((16,))
    y = PReshape((4, 4, 1), name="image")(HQuantize(name="inq")(x))
    y = HConv2D(2, (2, 2), padding="same", activation="relu", name="c1")(y)
    y = PMaxPooling2D((2, 2), name="pool")(y)
    y = HConv2DBatchNorm(3, (2, 2), name="c2")(y)
    row = PReshape((16, 1), name="row")(HQuantize(name="inq2")(x))
    row = HConv1D(2, 3, strides=2, padding="same", name="c3")(row)
    row = PAveragePooling1D(2, name="mean")(row)
    y = PConcatenate(name="joined")([PFlatten(name="flat")(y), PFlatten(name="flat_row")(row)])
    return keras.Model(x, HDense(2, name="d1")(y))


@model("h5", unary_lut_max_table_size=1024)
def tables() -> keras.Model:
    x = keras.Input((6,))
    y = HActivation("tanh", name="tanh")(HDense(4, name="d1")(HQuantize(name="inq")(x)))
    return keras.Model(x, HActivation("sigmoid", name="sigmoid")(HDense(3, name="d2")(y)))


@model("keras")
def functions() -> keras.Model:
    x = keras.Input((6,))
    y = HActivation("tanh", name="tanh")(HDense(4, name="d1")(HQuantize(name="inq")(x)))
    return keras.Model(x, HDense(3, name="d2", activation="relu")(y))


def quantizers() -> keras.Model:
    """Every rounding and overflow of the quantizer itself."""
    rng = np.random.default_rng(5)
    x = keras.Input((7,))
    out = []
    for overflow in ("WRAP", "SAT", "SAT_SYM", "SAT_ZERO", "WRAP_SM"):
        for rounding in ("TRN", "RND", "RND_CONV", "TRN_ZERO", "RND_ZERO", "RND_MIN_INF", "RND_INF"):
            k = tf.constant(rng.integers(0, 2, (1, 7)), "int8")
            b = tf.constant(rng.integers(1, 6, (1, 7)) * (rng.random((1, 7)) < 0.9), "int8")
            i = tf.constant(rng.integers(-1, 4, (1, 7)), "int8")
            out.append(FixedPointQuantizer(k, b, i, rounding, overflow, name=f"q_{rounding}_{overflow}")(x))
    out.append(FixedPointQuantizer(1, 5, 3, "RND", "SAT", name="plain")(x))
    return keras.Model(x, out)


def stimuli(size: int, rng: np.random.Generator) -> np.ndarray:
    top = int(REACH / LSB)
    codes = rng.integers(-top, top, (EVENTS, size))
    codes[EVENTS // 2 :] = rng.normal(0, top / 5, (EVENTS - EVENTS // 2, size)).astype(int)
    codes[0], codes[1], codes[2] = 0, top - 1, -top
    codes[3 : EVENTS // 4] &= ~3
    return (np.clip(codes, -top, top - 1) * LSB).astype(np.float32)


def draw(made: keras.Model, rng: np.random.Generator) -> None:
    """Draw bit widths, weights and statistics."""
    for layer in made.layers:
        for owner, low, high in (("kq", 1.0, 5.0), ("paq", 0.0, 4.0)):
            if hasattr(layer, owner):
                variable = getattr(layer, owner).fbw
                variable.assign(rng.uniform(low, high, variable.shape).astype(np.float32))
        for variable in layer.weights:
            name, shape = variable.name.split("/")[-1].split(":")[0], variable.shape
            if name in ("kernel", "bias", "moving_mean", "beta") and len(shape):
                variable.assign(rng.normal(0, 0.6, shape).astype(np.float32))
            elif name in ("gamma", "moving_variance") and len(shape):
                variable.assign(rng.uniform(0.5, 1.5, shape).astype(np.float32))


def pack(path: Path) -> None:
    """Store the members of an archive compressed, at a fixed time."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, data in members.items():
            archive.writestr(zipfile.ZipInfo(name, (2024, 1, 1, 0, 0, 0)), data, zipfile.ZIP_DEFLATED)


def record(name: str, folder: Path) -> str:
    keras.backend.clear_session()
    keras.utils.set_random_seed(2)
    rng = np.random.default_rng(sum(map(ord, name)))
    if name == "quantizers":
        proxy, suffix = quantizers(), "keras"
    else:
        build, suffix, options = MODELS[name]
        conf = get_default_paq_conf()
        conf["skip_dims"] = "batch"
        set_default_paq_conf(conf)
        made = build()
        draw(made, rng)
        trace_minmax(made, 0.7 * stimuli(made.inputs[0].shape[1], rng), verbose=False)
        proxy = to_proxy_model(made, **options)
    data = stimuli(proxy.inputs[0].shape[1], rng)
    path = folder / f"{name}.{suffix}"
    proxy.save(path)
    if suffix == "keras":
        pack(path)
    again = keras.models.load_model(path)
    layers = [layer for layer in again.layers if not isinstance(layer, keras.layers.InputLayer)]
    whole = keras.Model(again.inputs, {layer.name: layer.output for layer in layers})
    eager = {key: np.asarray(value) for key, value in whole(data).items()}
    graph = whole.predict(data, verbose=0)
    differ = [key for key in eager if not np.array_equal(eager[key], graph[key])]
    arrays = {"input_0": data} | {f"layer/{key}": value.astype(np.float32) for key, value in eager.items()}
    outputs = again(data)
    outputs = outputs if isinstance(outputs, (list, tuple)) else [outputs]
    arrays |= {f"output_{k}": np.asarray(value) for k, value in enumerate(outputs)}
    np.savez_compressed(folder / f"{name}.npz", **arrays)
    sizes = [p.stat().st_size >> 10 for p in (path, folder / f"{name}.npz")]
    return f"{name:14s} {len(eager):3d} layers  {sizes[0]:4d} + {sizes[1]:3d} KiB  eager and predict differ: {differ or 'nowhere'}"


if __name__ == "__main__":
    target = Path(sys.argv[1])
    target.mkdir(parents=True, exist_ok=True)
    for chosen in sys.argv[2:] or [*MODELS, "quantizers"]:
        print(record(chosen, target), flush=True)
