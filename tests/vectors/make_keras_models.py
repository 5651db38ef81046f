# SPDX-License-Identifier: Apache-2.0
"""Make small Keras models of every layer, and record what Keras gives for them.

Run it where Keras is installed (2.15 or 3), not where l1ml is:

    python tests/vectors/make_keras_models.py tests/vectors/keras [name ...]

Every model of `keras_models.py` is saved twice: with weights on a coarse grid as ``<name>.h5``, on which float32 is
exact, and with weights drawn from a normal distribution as ``<name>.keras``.  ``<name>.real.npz`` holds inputs and
outputs of both.  Some are also saved as architecture (``.json``) and weights, in both layouts of weights.
"""

from __future__ import annotations

import os
import sys
import zlib
from pathlib import Path
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(Path(__file__).parent))

import numpy as np
import tensorflow as tf
from keras_models import EVERY_CONTAINER, MODELS, Framework

EVENTS = 12


def framework() -> Framework:
    import keras

    version = int(keras.__version__.split(".")[0])
    return Framework(keras if version == 3 else tf.keras, version)


def draw(rng: np.random.Generator, name: str, shape: tuple[int, ...], *, grid: bool) -> np.ndarray:
    """Return weights for one array by its name."""
    if "variance" in name:
        x = rng.integers(4, 33, shape) / 16 if grid else rng.uniform(0.2, 2, shape)
    elif grid:
        x = rng.integers(-12, 13, shape) / 16
    else:
        x = rng.normal(1.0 if "gamma" in name else 0.0, 0.5, shape)
    return np.asarray(x, dtype=np.float32)


def set_weights(model: Any, rng: np.random.Generator, *, grid: bool) -> None:
    """Give every array of a model new numbers."""
    made = [
        draw(rng, getattr(w, "path", w.name), tuple(w.shape), grid=grid)
        if "float" in str(w.dtype)
        else w.numpy()
        for w in model.weights
    ]
    model.set_weights(made)


def events(model: Any, rng: np.random.Generator, *, grid: bool) -> list[np.ndarray]:
    """Return inputs: all zero, all lowest, all highest, then random ones."""
    made = []
    for tensor in model.inputs:
        shape = (EVENTS, *(int(n) for n in tensor.shape[1:]))
        if "int" in str(tensor.dtype):
            x = rng.integers(0, 8, shape)
        else:
            x = rng.integers(-24, 25, shape) / 8 if grid else rng.normal(0, 1.5, shape)
            x[0], x[1], x[2] = 0, -3, 3
        made.append(x.astype(np.float32))
    return made


def record(k: Framework, build: Any, folder: Path) -> None:
    """Make one model and write its files."""
    name = build.__name__
    k.keras.backend.clear_session()
    model = build(k)
    arrays: dict[str, np.ndarray] = {}
    for kind in ("grid", "float"):
        rng = np.random.default_rng(zlib.crc32(f"{name} {kind}".encode()))
        set_weights(model, rng, grid=kind == "grid")
        inputs = events(model, rng, grid=kind == "grid")
        outputs = model(inputs if len(inputs) > 1 else inputs[0], training=False)
        flat = tf.nest.flatten(outputs)
        arrays |= {f"{kind}/input_{n:02d}": x for n, x in enumerate(inputs)}
        arrays |= {f"{kind}/output_{n:02d}": np.asarray(y) for n, y in enumerate(flat)}
        model.save(folder / f"{name}.{'h5' if kind == 'grid' else 'keras'}")
    if name in EVERY_CONTAINER:
        (folder / f"{name}.json").write_text(model.to_json())
        model.save_weights(folder / f"{name}.weights.h5")
        if k.version == 2:
            model.save_weights(folder / f"{name}_old.h5", save_format="h5")
    np.savez_compressed(folder / f"{name}.real.npz", **arrays)
    print(name, len([key for key in arrays if key.startswith("grid/output")]), "outputs")


def main() -> None:
    folder, wanted = Path(sys.argv[1]), sys.argv[2:]
    k = framework()
    place = folder / f"keras{k.version}"
    place.mkdir(parents=True, exist_ok=True)
    for build in MODELS:
        if not wanted or build.__name__ in wanted:
            record(k, build, place)


if __name__ == "__main__":
    main()
