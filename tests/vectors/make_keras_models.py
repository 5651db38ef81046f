# SPDX-License-Identifier: Apache-2.0
"""Make small Keras and QKeras models of every layer, and record what the frameworks give for them.

Run it where Keras is installed (2.15 with QKeras 0.9, or 3 with qkeras-v3), not where l1ml is:

    python tests/vectors/make_keras_models.py tests/vectors/keras [name ...]

Every model of `keras_models.py` is saved twice: with weights on a coarse grid as ``<name>.h5``, on which float32 is
exact, and with weights drawn from a normal distribution as ``<name>.keras``.  Those of `qkeras_models.py` get the
same weights in both.  ``<name>.npz`` holds inputs and outputs.  Some are also saved as architecture (``.json``)
and weights.  All files of one generation go into one ``keras2.tar.xz`` or ``keras3.tar.xz``.
"""

from __future__ import annotations

import io
import os
import sys
import tarfile
import tempfile
import zlib
from pathlib import Path
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(Path(__file__).parent))

import keras_models
import numpy as np
import qkeras
import qkeras_models
import tensorflow as tf
from keras_models import Framework
from tensorflow.python.ops import array_ops
from tensorflow.python.util import nest

EVENTS, QUANTIZED_EVENTS = 10, 40


def framework() -> Framework:
    import keras

    version = int(keras.__version__.split(".")[0])
    made = Framework(keras if version == 3 else tf.keras, version)
    made.q = qkeras
    if not hasattr(nest, "is_sequence"):  # QKeras 0.9 calls these by where older TensorFlow had them
        nest.is_sequence = nest.is_nested
        array_ops.unstack = tf.unstack
    return made


def draw(rng: np.random.Generator, name: str, shape: tuple[int, ...], kind: str) -> np.ndarray:
    """Return weights for one array by its name."""
    grid = kind == "grid"
    if "variance" in name:
        x = rng.integers(4, 33, shape) / 16 if grid else rng.uniform(0.2, 2, shape)
    elif "ema_" in name:
        x = (-1 if "min" in name else 1) * 2.0 ** rng.uniform(-1, 3, shape)
    elif grid:
        x = rng.integers(-12, 13, shape) / 16
    else:
        x = rng.normal(1.0 if "gamma" in name else 0.0, 0.5, shape)
        if kind == "quantized":  # ties of the quantizers too
            x = np.where(rng.random(shape) < 0.3, np.rint(x * 32) / 32, x)
    return np.asarray(x, dtype=np.float32)


def set_weights(model: Any, rng: np.random.Generator, kind: str) -> None:
    """Give every array of a model new numbers."""
    for w in model.weights:
        name = getattr(w, "path", w.name)
        if "float" in str(w.dtype) and not any(part in name for part in ("mask", "threshold")):
            w.assign(draw(rng, name, tuple(w.shape), kind))


def events(model: Any, rng: np.random.Generator, kind: str) -> list[np.ndarray]:
    """Return inputs: all zero, all lowest, all highest, then random ones; quantized ones are codes of 1/32."""
    made = []
    for tensor in model.inputs:
        shape = (QUANTIZED_EVENTS if kind == "quantized" else EVENTS, *(int(n) for n in tensor.shape[1:]))
        if "int" in str(tensor.dtype):
            x = rng.integers(0, 8, shape)
        else:
            x = rng.integers(-24, 25, shape) / 8 if kind == "grid" else rng.normal(0, 1.5, shape)
            x = np.clip(np.rint(x * 32), -128, 127) / 32 if kind == "quantized" else x
            x[0], x[1], x[2] = 0, -3, 3
        made.append(x.astype(np.float32))
    return made


def record(k: Framework, build: Any, folder: Path) -> None:
    """Make one model and write its files."""
    name = build.__name__
    k.keras.backend.clear_session()
    model = build(k)
    arrays: dict[str, np.ndarray] = {}
    quantized = name.startswith("q_")
    for kind in ("quantized",) if quantized else ("grid", "float"):
        rng = np.random.default_rng(zlib.crc32(f"{name} {kind}".encode()))
        set_weights(model, rng, kind)
        inputs = events(model, rng, kind)
        for _ in range(
            1 + ("adaptive" in name)
        ):  # the integer bits of an adaptive activation follow a call later
            outputs = model(inputs if len(inputs) > 1 else inputs[0], training=False)
        flat = tf.nest.flatten(outputs)
        arrays |= {f"{kind}/input_{n:02d}": x for n, x in enumerate(inputs)}
        arrays |= {f"{kind}/output_{n:02d}": np.asarray(y) for n, y in enumerate(flat)}
        if kind != "float":
            model.save(folder / f"{name}.h5")
        if kind != "grid":
            model.save(folder / f"{name}.keras")
    if name in keras_models.EVERY_CONTAINER:
        (folder / f"{name}.json").write_text(model.to_json())
        model.save_weights(folder / f"{name}.weights.h5")
    np.savez(folder / f"{name}.npz", **arrays)
    print(name, sum("output" in key for key in arrays), "outputs", flush=True)


def pack(folder: Path, target: Path) -> None:
    """Put all files of a folder into one archive, without their times."""
    with tarfile.open(target, "w:xz", preset=9) as archive:
        for path in sorted(folder.iterdir()):
            entry = tarfile.TarInfo(path.name)
            data = path.read_bytes()
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))


def main() -> None:
    target, wanted = Path(sys.argv[1]), sys.argv[2:]
    k = framework()
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as made:
        for build in (*keras_models.MODELS, *qkeras_models.MODELS, *qkeras_models.ONLY[k.version]):
            if not wanted or build.__name__ in wanted:
                record(k, build, Path(made))
        pack(Path(made), target / f"keras{k.version}.tar.xz")


if __name__ == "__main__":
    main()
