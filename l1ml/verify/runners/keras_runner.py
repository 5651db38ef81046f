# SPDX-License-Identifier: Apache-2.0
"""Runs a Keras, QKeras or HGQ2 model and stores what every layer gives: ``python keras_runner.py job.json``.

The job names the model, its weights, the inputs (``.npz``) and where the results go.
"""

from __future__ import annotations

import importlib
import inspect
import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")


class MissingError(Exception):
    """A package of the framework is not installed."""


def package(name: str) -> Any:
    """Import a package of the framework."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise MissingError(f"{name}: {error}") from None


def keras_for(framework: str) -> tuple[Any, dict[str, Any], dict[str, str]]:
    """Return Keras, the classes a model file may name, and versions."""
    keras = package("keras")
    versions = {"keras": str(keras.__version__)}
    objects: dict[str, Any] = {}
    if keras.__version__.startswith("2."):
        tensorflow = package("tensorflow")
        keras, versions["tensorflow"] = tensorflow.keras, str(tensorflow.__version__)
        keras.layers.Layer  # noqa: B018  makes its lazy loader decide, before qkeras imports what changes its mind
    if framework == "qkeras":
        versions["qkeras"] = str(getattr(package("qkeras"), "__version__", "?"))
        if "tensorflow" in versions:
            rename_nest()
        package("qkeras.utils")._add_supported_quantized_objects(objects)
    if framework == "hgq2":
        versions["hgq2"] = str(getattr(package("hgq"), "__version__", "?"))
    return keras, objects, versions


def rename_nest() -> None:
    """Give a function of TensorFlow its name of before 2.13 too, by which cells of QKeras 0.9.0 call it."""
    nest = package("tensorflow.python.util.nest")
    if not hasattr(nest, "is_sequence"):
        nest.is_sequence = nest.is_nested


def load(keras: Any, objects: dict[str, Any], model: str, weights: str | None) -> Any:
    """Read the model with the framework's own reader."""
    if weights is None:
        return keras.models.load_model(model, custom_objects=objects, compile=False)
    text = Path(model).read_text(encoding="utf-8")
    legacy = "use_legacy_format" in inspect.signature(keras.layers.deserialize).parameters
    if legacy and '"module"' not in text:  # Keras 2 of today, and JSON as it was up to 2.12
        made = keras.layers.deserialize(json.loads(text), custom_objects=objects, use_legacy_format=True)
    else:
        made = keras.models.model_from_json(text, custom_objects=objects)
    made.load_weights(weights)
    return made


def single(value: Any) -> bool:
    """Tell whether a layer has one tensor as input or output."""
    return value is not None and not isinstance(value, (list, tuple, dict))


def attribute(layer: Any, name: str) -> Any:
    """Return ``layer.input`` or ``layer.output``; None where the layer has several or none."""
    try:
        value = getattr(layer, name)
    except Exception:  # noqa: BLE001  each version of Keras has its own error for a layer that is used twice
        return None
    return value if single(value) else None


def has_activation(layer: Any) -> bool:
    """Tell whether a layer with weights applies an activation of its own."""
    function = getattr(layer, "activation", None)
    named = getattr(function, "__name__", type(function).__name__)
    return function is not None and named != "linear" and hasattr(layer, "kernel")


def quantizes(layer: Any, end: str) -> bool:
    """Tell whether an HGQ2 layer with one input has a quantizer in front ("iq") or behind ("oq")."""
    return bool(getattr(layer, f"enable_{end}", False)) and callable(getattr(layer, f"_{end}", None))


def has_inside(layer: Any) -> bool:
    """Tell whether a layer takes steps of its own between input and output."""
    return has_activation(layer) or quantizes(layer, "iq") or quantizes(layer, "oq")


def inside(layer: Any, x: Any, linear: Any) -> dict[str, Any]:
    """Return these steps for one input, by name; ``linear`` is Keras' activation that changes nothing."""
    found = {}
    if quantizes(layer, "iq"):
        found[f"{layer.name}.iq"] = layer.iq(x, training=False)
    if has_activation(layer) or quantizes(layer, "oq"):
        plain = {"activation": linear} if has_activation(layer) else {}
        plain.update({"_enable_oq": False} if quantizes(layer, "oq") else {})
        kept = {name: getattr(layer, name) for name in plain}
        try:
            for name, value in plain.items():
                setattr(layer, name, value)
            found[f"{layer.name}.linear"] = layer(x, training=False) if "_enable_oq" in plain else layer(x)
        finally:
            for name, value in kept.items():
                setattr(layer, name, value)
    return found


def run(keras: Any, model: Any, inputs: list[np.ndarray], batch: int) -> dict[str, np.ndarray]:
    """Return what every layer gives, by name.

    ``name.linear`` is a layer before activation and output quantizer, ``name.iq`` what its input quantizer gives.
    """
    wanted: dict[str, Any] = {}
    for layer in model.layers:
        output, given = attribute(layer, "output"), attribute(layer, "input")
        if output is not None:
            wanted[layer.name] = output
        if given is not None and has_inside(layer):
            wanted[f"{layer.name} input"] = given
    for number, output in enumerate(model.outputs):
        wanted[f"output {number}"] = output
    whole = keras.Model(model.inputs, list(wanted.values()))
    parts: dict[str, list[np.ndarray]] = {}
    linear = keras.activations.get("linear")
    for first in range(0, len(inputs[0]), batch):
        given = [x[first : first + batch] for x in inputs]
        made = whole(given if len(given) > 1 else given[0], training=False)
        made = made if isinstance(made, (list, tuple)) else [made]
        found = dict(zip(wanted, (np.asarray(keras_array(y)) for y in made), strict=True))
        for layer in model.layers:
            x = found.pop(f"{layer.name} input", None)
            if x is not None:
                steps = inside(layer, x, linear)
                found.update({name: np.asarray(keras_array(y)) for name, y in steps.items()})
        for name, values in found.items():
            parts.setdefault(name, []).append(values)
    return {name: np.concatenate(values) for name, values in parts.items()}


def keras_array(y: Any) -> Any:
    """Return a tensor as NumPy can read it, whatever the backend."""
    return y.detach().cpu().numpy() if hasattr(y, "detach") else y


def main(job_file: str) -> int:
    """Do one job; what goes wrong is written where the results go."""
    job = json.loads(Path(job_file).read_text(encoding="utf-8"))
    answer: dict[str, Any]
    try:
        keras, objects, versions = keras_for(job["framework"])
        with np.load(job["inputs"], allow_pickle=False) as file:
            inputs = [file[f"arr_{k}"] for k in range(len(file.files))]
        model = load(keras, objects, job["model"], job.get("weights"))
        results = run(keras, model, inputs, int(job["batch"]))
        np.savez(job["results"], *results.values())
        answer = {"names": list(results), "versions": versions, "outputs": len(model.outputs)}
    except MissingError as error:
        answer = {"missing": str(error)}
    except Exception as error:  # noqa: BLE001  the parent reports it
        answer = {"error": f"{type(error).__name__}: {error}"}
    Path(job["answer"]).write_text(json.dumps(answer), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
