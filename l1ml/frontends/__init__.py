# SPDX-License-Identifier: Apache-2.0
"""Readers of model files.  Each gives the same network for the same mathematics; none needs its framework."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from l1ml.errors import ModelError
from l1ml.frontends import alir, containers, files, hgq1, hgq2, keras, live
from l1ml.frontends.keras import operations
from l1ml.graph.model import Model

__all__ = ["read_model"]

keras.PACKAGES.update({"hgq": hgq2.LAYERS, "HGQ": hgq1.LAYERS, "keras.ops": operations.LAYERS})
keras.PASSES["HGQ"] = hgq1.quantized


def read_model(path_or_model: Any, weights: str | os.PathLike[str] | None = None) -> Model:
    """Read a network from a file or from a live Keras model.

    The kind is told from the content: a program of alkaid, HDF5, ``.keras`` archive or JSON of Keras or
    QKeras, else (Q)ONNX.

    Args:
        path_or_model: path of the file, or a Keras model object.
        weights: path of the weights where they are in a file of their own (Keras JSON).

    Returns:
        The network: layers in topological order with the names of the file, exact constants.

    Raises:
        ModelError: the file cannot be read, or holds layers that have no exact form; all are named.
    """
    if not isinstance(path_or_model, (str, os.PathLike)):
        if not live.is_live(path_or_model):
            raise ModelError(
                f"a {type(path_or_model).__name__} is neither a path nor a Keras model",
                fix="give the path of a .h5, .keras, .json or .onnx file, or a Keras model object",
            )
        if weights is not None:
            raise ModelError("a live model has its weights; no file of weights is read beside it")
        return keras.read_keras(live.read_live(path_or_model))
    path = Path(os.fspath(path_or_model))
    data = files.read_bytes(path)
    if alir.is_alir(data):
        if weights is not None:
            raise ModelError("a program of alkaid has no weights beside it", where=(path.name,))
        return alir.read_alir(data, path.name)
    if files.is_keras(data):
        extra = None if weights is None else (files.read_bytes(Path(weights)), Path(weights).name)
        return keras.read_keras(containers.read(data, path.name, extra))
    if weights is not None:
        raise ModelError("only Keras models have their weights in a file of their own", where=(path.name,))
    from l1ml.frontends.onnx import read_onnx  # here: importing the onnx package takes a noticeable time

    return read_onnx(data, path.name, path.parent)
