# SPDX-License-Identifier: Apache-2.0
"""A Keras model in memory, read by its methods alone: neither Keras nor TensorFlow is imported."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from l1ml.errors import ModelError
from l1ml.frontends import containers
from l1ml.frontends.common import MAX_DEPTH, parsing
from l1ml.frontends.containers import KerasFile, model_config, named
from l1ml.frontends.generation import generation
from l1ml.frontends.keras import PACKAGES


def is_live(model: object) -> bool:
    """Tell whether an object has the methods of a Keras model."""
    return all(hasattr(model, name) for name in ("get_config", "layers", "get_weights"))


def read_live(model: Any) -> KerasFile:
    """Take architecture and weights out of a live model.

    Raises:
        ModelError: it is a subclassed model without a configuration, or is not built.
    """
    name = getattr(model, "name", None)
    source = name if isinstance(name, str) else type(model).__name__
    if _has_parts(model, MAX_DEPTH):
        return _saved(model, source)
    try:
        with parsing("the configuration of the model", source):
            config = _plain(model.get_config(), MAX_DEPTH)
            whole = {"class_name": type(model).__name__, "config": config}
    except ModelError as error:
        error.fix = "only Sequential and functional models describe themselves; rebuild it as one of them"
        raise
    if isinstance(config, Mapping) and "build_input_shape" not in config and getattr(model, "built", False):
        shape = _plain(getattr(model, "input_shape", None), MAX_DEPTH)
        whole["build_config"] = {"input_shape": shape}
    weights = {}
    with parsing("the weights of the model", source):
        for layer in model.layers:
            names = [str(getattr(weight, "name", "")) for weight in layer.weights]
            arrays = [np.asarray(array) for array in layer.get_weights()]
            weights[str(layer.name)] = named(zip(names, arrays, strict=True))
    return KerasFile(source, model_config(whole, source), weights, version=generation(whole))


def _has_parts(model: Any, levels: int) -> bool:
    """Tell whether layers of other packages are in a model: the parts of an HGQ2 layer have no names of their own."""
    return levels > 0 and any(
        type(layer).__module__.split(".")[0] in PACKAGES
        or (hasattr(layer, "layers") and _has_parts(layer, levels - 1))
        for layer in model.layers
    )


def _saved(model: Any, source: str) -> KerasFile:
    """Let the framework save a model, and read that."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.keras"
        try:
            model.save(path)
            data = path.read_bytes()
        except Exception as error:
            raise ModelError(
                f"the model cannot be saved by its framework: {error}",
                where=(source,),
                fix="make model.save() work, or give a file",
            ) from error
    return containers.read(data, source, None)


def _plain(value: Any, levels: int) -> Any:
    """Turn a configuration with live objects inside into what its JSON would hold."""
    if levels == 0:
        raise ValueError(f"nests deeper than {MAX_DEPTH} levels")
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, Mapping):
        return {str(key): _plain(item, levels - 1) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_plain(item, levels - 1) for item in value]
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    if hasattr(value, "get_config"):
        config = _plain(value.get_config(), levels - 1)
        return {"class_name": type(value).__name__, "module": type(value).__module__, "config": config}
    if hasattr(value, "numpy"):
        return _plain(value.numpy(), levels - 1)
    return str(getattr(value, "__name__", value))
