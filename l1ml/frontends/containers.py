# SPDX-License-Identifier: Apache-2.0
"""The files Keras models come in: full HDF5, JSON with weights in HDF5, and ``.keras`` archives.

Source:
    Layout of weights: ``keras/src/legacy/saving/legacy_h5_format.py`` (HDF5) and
    ``keras/src/saving/saving_lib.py`` (archives: one folder per layer, called after its class in snake case
    with a counter, its name in the attribute ``name`` of ``vars``).
"""

from __future__ import annotations

import io
import json
import lzma
import re
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from l1ml.errors import ModelError
from l1ml.frontends import hdf5
from l1ml.frontends.common import MAX_BYTES, MAX_DEPTH, MAX_LAYERS, is_name, parsing, unwrap
from l1ml.frontends.generation import generation
from l1ml.frontends.spelling import package_of

CONFIG_MEMBER = "config.json"
WEIGHTS_MEMBER = "model.weights.h5"
PRUNING_WRAPPER = "PruneLowMagnitude"
ZIP_MAGIC = b"PK\x03\x04"

_PRUNING = ("mask", "threshold", "pruning_step")
_PARTS = ("forward_layer", "backward_layer", "query_dense", "key_dense", "value_dense", "output_dense")
MAX_NESTED = 8
_ROOTS = ("layers", "_layer_checkpoint_dependencies")


@dataclass(frozen=True)
class Entry:
    """A layer as its model file lists it; ``config`` is the layer's own, wrappers are still around it."""

    kind: str
    name: str
    raw: Mapping[str, Any]


Weights = tuple[tuple[str, np.ndarray], ...]


@dataclass(frozen=True)
class KerasFile:
    """Architecture and weights of a Keras model, as stored.

    Args:
        source: file name, for messages.
        config: the model's ``{"class_name": ..., "config": ...}``.
        weights: per layer name the stored arrays with their names, in the framework's order.
        weights_source: name of the file that holds them; empty where that is ``source``.
        version: 2 or 3: generation of Keras that wrote it; some functions differ.
    """

    source: str
    config: Mapping[str, Any]
    weights: Mapping[str, Weights]
    weights_source: str = ""
    version: int = 2


def read(data: bytes, source: str, weights: tuple[bytes, str] | None) -> KerasFile:
    """Read a Keras model file of any kind.

    Args:
        data: the bytes of the model file: HDF5, ``.keras`` archive or JSON.
        source: its name, for messages.
        weights: bytes and name of a separate file of weights, needed for JSON.

    Raises:
        ModelError: the file is damaged, or its architecture or weights are missing.
    """
    config: Mapping[str, Any]
    inside: bytes | None = None
    written: str | None = None
    if data.startswith(ZIP_MAGIC):
        config = parse_json(_member(data, CONFIG_MEMBER, source), source)
        inside = _member(data, WEIGHTS_MEMBER, source) if weights is None else None
    elif data.startswith(hdf5.MAGIC):
        with hdf5.opened(data, source) as file:
            text, written = file.text("model_config"), file.text("keras_version")
        if text is None:
            raise ModelError(
                "the HDF5 file holds no architecture (no attribute model_config): weights only?",
                where=(source,),
                fix="give the model's JSON as the model and this file as the weights",
            )
        config, inside = parse_json(text, source), data
    else:
        config = parse_json(data, source)
    version = generation(config, written)
    config = model_config(config, source)
    if weights is not None:
        inside, source_w = weights
        if inside.startswith(ZIP_MAGIC):
            inside = _member(inside, WEIGHTS_MEMBER, source_w)
    else:
        source_w = source
    if inside is None:
        raise ModelError(
            "the JSON file holds the architecture only",
            where=(source,),
            fix="give the file of weights as well (weights)",
        )
    return KerasFile(source, config, _weights(inside, entries(config, source), source_w), source_w, version)


def parse_json(data: bytes | str, source: str) -> Mapping[str, Any]:
    """Read a JSON object of bounded size and nesting."""
    with parsing("the JSON text", source):
        value = json.loads(data)
    level: list[Any] = [value]
    for _ in range(MAX_DEPTH):
        level = [item for node in level for item in _children(node)]
        if not level:
            break
    else:
        raise ModelError(
            f"the JSON text nests deeper than {MAX_DEPTH} levels; no model does", where=(source,)
        )
    if not isinstance(value, Mapping):
        raise ModelError(
            "the JSON text is not an object; expected the architecture of a Keras model", where=(source,)
        )
    return value


def _children(node: Any) -> list[Any]:
    if isinstance(node, dict):
        return [item for item in node.values() if isinstance(item, (dict, list))]
    return [item for item in node if isinstance(item, (dict, list))] if isinstance(node, list) else []


def model_config(config: Mapping[str, Any], source: str) -> Mapping[str, Any]:
    """Return ``{"class_name", "config"}`` of a model; a bare configuration gets its class name back.

    Raises:
        ModelError: it is not the configuration of a Keras model.
    """
    if isinstance(config.get("layers"), list) and "class_name" not in config:
        kind = "Functional" if "input_layers" in config else "Sequential"
        return {"class_name": kind, "config": config}
    inner = config.get("config")
    if isinstance(inner, list):  # Keras before 2.2 wrote a Sequential as a bare list
        inner = {"layers": inner}
    if "n_trees" in config or "max_depth" in config:
        raise ModelError("a tree ensemble of conifer: trees come with a later version", where=(source,))
    if not isinstance(inner, Mapping) or not isinstance(inner.get("layers"), list):
        raise ModelError(
            "this is not the architecture of a Keras model: it has no list of layers",
            where=(source,),
            fix="save the model with model.save(), or its architecture with model.to_json()",
        )
    return {**config, "config": inner}


def entries(config: Mapping[str, Any], source: str) -> list[Entry]:
    """List the layers of a model.

    Raises:
        ModelError: the list is malformed.
    """
    layers = config["config"]["layers"]
    if len(layers) > MAX_LAYERS:
        raise ModelError(
            f"the model has {len(layers)} layers; at most {MAX_LAYERS} are read", where=(source,)
        )
    found = []
    for index, layer in enumerate(layers):
        inner = layer.get("config") if isinstance(layer, Mapping) else None
        kind = layer.get("class_name") if isinstance(layer, Mapping) else None
        name = (layer.get("name") or inner.get("name")) if isinstance(inner, Mapping) else None
        if not isinstance(kind, str) or not kind.isprintable() or not isinstance(inner, Mapping):
            raise ModelError(f"layer {index} of the model has no class_name or no config", where=(source,))
        if not isinstance(name, str) or not is_name(name):
            raise ModelError(f"layer {index} ({kind[:80]}) of the model has no proper name", where=(source,))
        found.append(Entry(kind.split(">")[-1][:80], name, layer))
    return found


def _member(data: bytes, name: str, source: str) -> bytes:
    with parsing("the archive", source):
        try:
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                if name not in archive.namelist():
                    raise ModelError(
                        f"the zip file holds no {name}: not a model saved by Keras",
                        where=(source,),
                        fix="save it again",
                    )
                if archive.getinfo(name).file_size > MAX_BYTES:
                    size = archive.getinfo(name).file_size >> 20
                    raise ModelError(
                        f"{name} unpacks to {size} MiB; at most {MAX_BYTES >> 20} MiB are read",
                        where=(source,),
                    )
                return archive.read(name)
        except (zipfile.BadZipFile, zlib.error, lzma.LZMAError) as error:
            raise ValueError(str(error)) from error


def _weights(data: bytes, layers: list[Entry], source: str) -> dict[str, Weights]:
    if not data.startswith(hdf5.MAGIC):
        raise ModelError("the weights are not in HDF5", where=(source,), fix="give a .h5 file of weights")
    with hdf5.opened(data, source) as file:
        top = file.group("model_weights") if file.has_group("model_weights") else file
        for root in _ROOTS:
            if top.texts("layer_names") is None and top.has_group(root):
                return _by_folder(top.group(root), layers)
        return _by_name(top, layers, source)


def _by_name(top: hdf5.Group, layers: list[Entry], source: str) -> dict[str, Weights]:
    """Read the older layout: a group per layer, the order of its arrays in an attribute."""
    listed = top.texts("layer_names")
    stored: dict[str, Weights] = {}
    for name in top.names() if listed is None else listed:
        if not top.has_group(name):
            continue
        group = top.group(name)
        paths = group.texts("weight_names")
        found = group.arrays() if paths is None else [(path, group.array(path)) for path in paths]
        stored[name] = named(found)
        for place, arrays in _nested(found).items():
            stored.setdefault(f"{name}/{place}", arrays)
    holders = [layer for layer in layers if _has_weights(layer)]
    if holders and listed is not None and not any(stored.get(layer.name) for layer in layers):
        # The framework itself loads such a file by order: layers may have other names in it.
        full = [stored[name] for name in listed if stored.get(name)]
        if len(holders) != len(full):
            raise ModelError(
                f"the weights are of another model: {len(full)} layers with weights, the architecture has "
                f"{len(holders)}, and no name agrees",
                where=(source,),
            )
        return {layer.name: weights for layer, weights in zip(holders, full, strict=True)}
    return stored


def _nested(found: Iterable[tuple[str, np.ndarray]]) -> dict[str, Weights]:
    """Return the arrays of the layers inside of a nested model, by the layer's name in their paths."""
    parts: dict[str, list[tuple[str, np.ndarray]]] = {}
    for path, array in found:
        for place in path.split("/")[:-1]:
            parts.setdefault(place, []).append((path, array))
    return {place: named(arrays) for place, arrays in parts.items()}


def _has_weights(layer: Entry) -> bool:
    config = layer.raw["config"]
    inner = config.get("layer") if layer.kind == PRUNING_WRAPPER else None
    config = inner.get("config", {}) if isinstance(inner, Mapping) else config
    return any(
        key in config
        for key in ("units", "filters", "momentum", "depth_multiplier", "input_dim", "num_heads")
    )


def _by_folder(root: hdf5.Group, layers: list[Entry], prefix: str = "", depth: int = 0) -> dict[str, Weights]:
    """Read the layout of Keras 3: folders called after the class; newer ones hold the name as well."""
    folders: dict[str, str] = {}
    anonymous: set[str] = set()
    for folder in root.names():
        if root.has_group(folder):
            name = root.group(f"{folder}/vars").text("name") if root.has_group(f"{folder}/vars") else None
            if name is None:
                anonymous.add(folder)
            else:
                folders[name] = folder
    counts: dict[str, int] = {}
    stored: dict[str, Weights] = {}
    for layer in layers:
        stem = _snake_case(layer.kind)
        counts[stem] = counts.get(stem, -1) + 1
        folder = f"{stem}_{counts[stem]}" if counts[stem] else stem
        place = folders.get(layer.name, folder if folder in anonymous else layer.name)
        if place not in anonymous and layer.name not in folders:
            continue
        inner = _inner_layers(layer)
        if inner is not None and depth < MAX_NESTED:
            for root_name in _ROOTS:
                if root.has_group(f"{place}/{root_name}"):
                    below = root.group(f"{place}/{root_name}")
                    stored |= _by_folder(below, inner, f"{prefix}{layer.name}/", depth + 1)
                    break
            continue
        inside = f"{place}/layer/vars"  # beside it, a pruning wrapper keeps its own copy of the kernel
        wrapped = layer.kind == PRUNING_WRAPPER and root.has_group(inside)
        found = root.group(inside if wrapped else place).arrays()
        found.sort(key=lambda item: _order(item[0]))
        # The many parts of an HGQ2 layer are told apart by their place alone.
        hgq = package_of(layer.raw) == "hgq"
        stored[f"{prefix}{layer.name}"] = tuple(found) if hgq else named(found)
    return stored


def _inner_layers(layer: Entry) -> list[Entry] | None:
    """Return the layers of a nested model, or None for a layer."""
    inner = layer.raw["config"].get("layers") if layer.kind in ("Functional", "Model", "Sequential") else None
    return entries({"config": {"layers": inner}}, layer.name) if isinstance(inner, list) else None


def _order(path: str) -> tuple[list[int], int, str]:
    """Order the arrays of one layer as the framework lists them: by part, and "10" after "9"."""
    parts = [part.removeprefix("_") for part in path.split("/")]  # Keras 2 puts an underscore before them
    ranks = [_PARTS.index(part) for part in parts if part in _PARTS]
    return ranks, len(path), path


def named(found: Iterable[tuple[str, np.ndarray]]) -> Weights:
    """Cut names such as ``fc1/kernel:0`` down to ``kernel``; drop the bookkeeping of pruning."""
    plain = [(path.rsplit("/", 1)[-1].split(":")[0], array) for path, array in found]
    return tuple((name, array) for name, array in plain if name not in _PRUNING)


def _snake_case(name: str) -> str:
    name = re.sub(r"\W+", "", name)
    name = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub("([a-z])([A-Z])", r"\1_\2", name).lower()


def take(
    file: KerasFile, stored_as: str, layer: str, expected: tuple[tuple[str, tuple[int | None, ...]], ...]
) -> dict[str, np.ndarray]:
    """Return the arrays of one layer by name, float32, checked for number, shape and finite values.

    Args:
        file: the model.
        stored_as: name under which the file stores them (that of a wrapper, where there is one).
        layer: name of the layer, for messages.
        expected: names and shapes, in the framework's order; None is any size.

    Raises:
        ModelError: an array is missing, has another shape, or holds NaN or infinity.
    """
    owner, where = f"layer {layer!r}", (file.weights_source or file.source,)
    ends = stored_as.split("/")
    # Of models nested twice, the older layout of Keras 2 names the outermost one only.
    short = f"{ends[0]}/{ends[-1]}"
    stored = file.weights.get(stored_as, file.weights.get(short, file.weights.get(layer, ())))
    names = [name for name, _ in stored]
    wanted = [name for name, _ in expected]
    if all(names.count(name) == 1 for name in wanted):
        arrays = dict(stored)
    elif len(stored) == len(expected):
        arrays = dict(zip(wanted, (array for _, array in stored), strict=True))
    else:
        have = ", ".join(f"{name} {array.shape}" for name, array in stored[:20]) or "none"
        raise ModelError(
            f"{owner} needs the weights {', '.join(wanted)}; stored are {have}",
            where=where,
            fix="the weights belong to another model, or were not saved; save them again",
        )
    result = {}
    for name, shape in expected:
        array = arrays[name]
        fits = array.ndim == len(shape) and all(
            want in (None, have) for have, want in zip(array.shape, shape, strict=True)
        )
        if not fits or 0 in array.shape:
            text = "x".join("?" if n is None else str(n) for n in shape)
            raise ModelError(
                f"weight {name!r} of {owner} has the shape {array.shape}; expected {text}",
                where=where,
            )
        with np.errstate(all="ignore"):
            result[name] = array.astype(np.float32)
        bad = np.argwhere(~np.isfinite(result[name]))
        if len(bad):
            raise ModelError(
                f"weight {name!r} of {owner} holds {len(bad)} values that are not finite, the first at index "
                f"{tuple(int(i) for i in bad[0])}",
                where=where,
                fix="the training diverged; train it again",
            )
    return result


def plain_name(value: Any) -> Any:
    """Return the name inside a data type policy, or the value itself."""
    value = unwrap(value)
    if isinstance(value, Mapping) and isinstance(value.get("config"), Mapping):
        return value["config"].get("name")
    return value
