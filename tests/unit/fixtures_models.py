# SPDX-License-Identifier: Apache-2.0
"""Small model files, written without their frameworks, and a slow forward pass to check what was read."""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import onnx
from onnx import helper, numpy_helper

from l1ml.frontends import canonical
from l1ml.graph import model
from l1ml.types.fixed import quantize

Weights = Mapping[str, Mapping[str, np.ndarray]]

SHARED = Path(__file__).resolve().parents[3] / "shared"
"""Material beside the checkout; tests that need it are skipped where it is absent."""


def bits(number: int = 6, integer: int = 0, **options: Any) -> dict[str, Any]:
    """A quantized_bits as QKeras stores it."""
    config = {
        "bits": number,
        "integer": integer,
        "symmetric": 0,
        "alpha": 1,
        "keep_negative": True,
        **options,
    }
    return {"class_name": "quantized_bits", "config": {**config, "qnoise_factor": 1.0}}


def relu(number: int = 6, integer: int = 0, **options: Any) -> dict[str, Any]:
    """A quantized_relu as QKeras stores it."""
    config = {"bits": number, "integer": integer, "use_sigmoid": 0, "negative_slope": 0.0, **options}
    return {"class_name": "quantized_relu", "config": config}


def layer(kind: str, name: str, **config: Any) -> dict[str, Any]:
    return {"class_name": kind, "config": {"name": name, "trainable": True, "dtype": "float32", **config}}


def qdense(name: str, units: int, **config: Any) -> dict[str, Any]:
    given = {
        "kernel_quantizer": bits(),
        "bias_quantizer": bits(),
        "activation": "linear",
        "use_bias": True,
        **config,
    }
    return layer("QDense", name, units=units, kernel_initializer={"class_name": "HeNormal"}, **given)


def sequential(*layers: dict[str, Any], shape: Sequence[int | None] = (None, 4)) -> dict[str, Any]:
    first = {"class_name": "InputLayer", "config": {"batch_input_shape": list(shape), "name": "x"}}
    return {"class_name": "Sequential", "config": {"name": "seq", "layers": [first, *layers]}}


def functional(
    layers: Sequence[tuple[dict[str, Any], Sequence[str]]], inputs: Sequence[str], outputs: Sequence[str]
) -> dict[str, Any]:
    """A functional model in the spelling of Keras 2; each layer comes with what it reads."""
    entries = []
    for entry, reads in layers:
        nodes = [[[name, 0, 0, {}] for name in reads]] if reads else []
        entries.append({**entry, "name": entry["config"]["name"], "inbound_nodes": nodes})
    ends = {"input_layers": [[n, 0, 0] for n in inputs], "output_layers": [[n, 0, 0] for n in outputs]}
    return {"class_name": "Functional", "config": {"name": "fun", "layers": entries, **ends}}


def keras_input(name: str, *shape: int) -> dict[str, Any]:
    return {"class_name": "InputLayer", "config": {"batch_input_shape": [None, *shape], "name": name}}


def weights_of(rng: np.random.Generator, **shapes: tuple[int, int]) -> dict[str, dict[str, np.ndarray]]:
    """Random kernels and biases by layer name."""
    return {
        name: {
            "kernel": rng.normal(0, 0.5, shape).astype(np.float32),
            "bias": rng.normal(0, 0.3, shape[1]).astype(np.float32),
        }
        for name, shape in shapes.items()
    }


def _fill(group: Any, weights: Weights, *, attributes: bool = True) -> None:
    if attributes:
        group.attrs["layer_names"] = np.array([name.encode() for name in weights])
    for name, arrays in weights.items():
        inner = group.create_group(name)
        if attributes:
            inner.attrs["weight_names"] = np.array([f"{name}/{key}:0".encode() for key in arrays])
        for key, array in arrays.items():
            inner.create_dataset(f"{name}/{key}:0", data=array)


def write_h5(path: Path, config: dict[str, Any], weights: Weights) -> Path:
    """A full model in HDF5."""
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = json.dumps(config)
        _fill(file.create_group("model_weights"), weights)
    return path


def write_weights(path: Path, weights: Weights, *, attributes: bool = True) -> Path:
    """Weights only, with or without the lists of names that Keras adds."""
    with h5py.File(path, "w") as file:
        _fill(file, weights, attributes=attributes)
    return path


def write_json(path: Path, config: Any) -> Path:
    path.write_text(json.dumps(config), encoding="utf-8")
    return path


def write_keras(path: Path, config: dict[str, Any], weights: Weights, *, named: bool = True) -> Path:
    """An archive as Keras 3 writes it; ``named`` adds the layer's name to its folder, as newer ones do."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("metadata.json", "{}")
        archive.writestr("config.json", json.dumps(config))
        archive.writestr("model.weights.h5", folders(config, weights, named=named))
    return path


def folders(config: dict[str, Any], weights: Weights, *, named: bool = False) -> bytes:
    """Weights in a folder per layer, as in an archive and in ``*.weights.h5`` of Keras 2.15 and later.

    The folder of a pruning wrapper holds kernel, mask, threshold and step, and that of the layer inside of it
    its weights.
    """
    data = io.BytesIO()
    counts: dict[str, int] = {}
    with h5py.File(data, "w") as file:
        for entry in config["config"]["layers"]:
            name = entry["config"]["name"]
            stem = re.sub(
                "([a-z])([A-Z])", r"\1_\2", re.sub("(.)([A-Z][a-z]+)", r"\1_\2", entry["class_name"])
            ).lower()
            counts[stem] = counts.get(stem, -1) + 1
            folder = file.create_group(
                f"layers/{stem}_{counts[stem]}/vars" if counts[stem] else f"layers/{stem}/vars"
            )
            if named:
                folder.attrs["name"] = name
            arrays = list(weights.get(name, {}).values())
            if entry["class_name"] == "PruneLowMagnitude":
                inside = folder.parent.create_group("layer/vars")
                for index, array in enumerate(arrays[:2]):
                    inside.create_dataset(str(index), data=array)
                arrays = [arrays[0], *arrays[2:]]
            for index, array in enumerate(arrays):
                folder.create_dataset(str(index), data=array)
    return data.getvalue()


def quant(
    output: str,
    x: str,
    scale: float,
    width: int,
    *,
    domain: str = "qonnx.custom_op.general",
    **attributes: Any,
) -> tuple[onnx.NodeProto, list[onnx.TensorProto]]:
    """A Quant node with its constants."""
    names = [f"{output}_{key}" for key in ("scale", "zero", "bits")]
    values = [np.float32(scale), np.float32(attributes.pop("zero", 0)), np.float32(width)]
    given = {"signed": 1, "narrow": 0, "rounding_mode": "ROUND", **attributes}
    node = helper.make_node("Quant", [x, *names], [output], name=output, domain=domain, **given)
    pairs = zip(names, values, strict=True)
    return node, [numpy_helper.from_array(np.asarray(value), name) for name, value in pairs]


def write_onnx(
    path: Path,
    nodes: Sequence[Any],
    constants: Mapping[str, np.ndarray],
    *,
    shape: Sequence[int] = (1, 4),
    outputs: Sequence[str] = ("y",),
    opset: int = 13,
) -> Path:
    """An ONNX file; a node may be a NodeProto, or a pair of one and its constants as `quant` gives it."""
    made = [node if isinstance(node, tuple) else (node, []) for node in nodes]
    tensors = [t for _, extra in made for t in extra]
    tensors += [numpy_helper.from_array(array, name) for name, array in constants.items()]
    graph = helper.make_graph(
        [node for node, _ in made],
        "graph",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, list(shape))],
        [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in outputs],
        tensors,
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    path.write_bytes(proto.SerializeToString())
    return path


def forward(network: model.Model, **inputs: np.ndarray) -> dict[str, np.ndarray]:
    """Run a network in float64, one value array (events, ...) per layer; softmax passes logits through."""
    values: dict[str, np.ndarray] = {}
    for step in network.layers:
        assert not isinstance(step, canonical.Identity)
        if isinstance(step, model.Input):
            values[step.name] = np.asarray(inputs[step.name], dtype=np.float64).reshape(-1, *step.shape)
            continue
        x = values[step.inputs[0]]
        match step:
            case model.Dense():
                y = x @ step.kernel + (0 if step.bias is None else step.bias)
            case model.Quantize():
                y = quantize(x, step.quantizer)
            case model.Sign():
                y = np.where(x >= 0, step.scale, -step.scale)
            case model.Relu():
                y = np.maximum(x, 0)
            case model.Affine():
                y = (x.astype(np.float32) * step.scale + step.offset).astype(np.float64)
            case model.Reshape():
                y = x.reshape(-1, *step.shape)
            case model.Softmax():
                y = x
            case _:
                raise AssertionError(f"no forward pass for {step}")
        values[step.name] = y
    return values


def kinds(network: model.Model) -> list[str]:
    return [type(step).__name__ for step in network.layers]
