# SPDX-License-Identifier: Apache-2.0
"""From a stored Keras model to the network: every call by the class of its layer."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from dataclasses import replace
from typing import Any

from l1ml.errors import L1mlError, ModelError
from l1ml.frontends import spelling
from l1ml.frontends.canonical import canonical
from l1ml.frontends.common import Options, Problem, UnsupportedError, checked, event_shape, refuse, unique
from l1ml.frontends.containers import KerasFile, entries, plain_name
from l1ml.frontends.keras.graph import MODELS, Node, flat
from l1ml.frontends.keras.step import Reader, Step
from l1ml.frontends.keras.table import LAYERS, POINTWISE, SUPPORTED
from l1ml.graph import shapes
from l1ml.graph.model import Concat, Input, Layer, Model, Reshape
from l1ml.graph.shapes import Shape

CHANGING = frozenset(("training", "mask", "attention_mask", "use_causal_mask", "return_attention_scores"))
"""Keyword arguments of a call that change what a layer gives."""

MAX_STEPS = 256
"""Steps of a TimeDistributed around a layer that does not work on the last axis alone."""

PACKAGES: dict[str, Mapping[str, Reader]] = {}
"""Readers for the layers of other packages, by package name; `l1ml.frontends` fills it."""

PASSES: dict[str, Callable[[Model], Model]] = {}
"""What is done with a whole network that has layers of a package, by package name."""


def read_keras(file: KerasFile) -> Model:
    """Turn a stored Keras model into a network.

    Raises:
        ModelError: layers are not supported (all are named), or the file contradicts itself.
    """
    nodes, inputs, outputs = flat(file)
    layers: list[Layer] = []
    known: dict[str, Shape | None] = {}
    problems: list[Problem] = []
    taken = {node.name for node in nodes}
    for node in nodes:
        known[node.name] = None
        lost = [name for name in node.inputs if known.get(name) is None]
        try:
            if lost:
                _supported(node)
                continue  # what follows an unsupported layer cannot be judged
            made = _read(node, tuple(s for n in node.inputs if (s := known[n]) is not None), file)
            made = _apart(made, node.name, taken)
            taken.update(layer.name for layer in made)
            sizes = dict(known)
            for layer in made:
                shape = shapes.infer(layer, *(_given(sizes[name]) for name in layer.inputs))
                sizes[layer.name] = checked(shape, f"layer {layer.name!r}", file.source)
            known[node.name] = sizes[made[-1].name]
            layers += made
        except UnsupportedError as error:
            kind = f"{node.kind} of {node.package}" if node.package else node.kind
            problems.append(Problem(node.name, kind, error.what))
        except L1mlError as error:
            if not error.where:
                error.where = (file.source, f"layer {node.name}")
            raise
    refuse(problems, file.source, SUPPORTED)
    if any(known[name] is None for name in outputs):
        raise ModelError("an output of the model is made by no layer", where=(file.source,))
    order = {name: k for k, name in enumerate(inputs)}
    layers.sort(key=lambda layer: order.get(layer.name, len(order)))  # stable: only the inputs move
    name = file.config["config"].get("name")
    model = Model(name if isinstance(name, str) else "model", tuple(layers), outputs, file.source)
    for package in sorted({node.package for node in nodes} & set(PASSES)):
        model = PASSES[package](model)
    return canonical(model)


def _given(shape: Shape | None) -> Shape:
    assert shape is not None
    return shape


def _supported(node: Node) -> Reader:
    table = PACKAGES.get(node.package, {}) if node.package else LAYERS
    if node.kind not in table and node.kind not in ("InputLayer", "TimeDistributed"):
        raise UnsupportedError("")
    return table.get(node.kind, LAYERS["Dropout"])


def _apart(made: tuple[Layer, ...], name: str, taken: Container[str]) -> tuple[Layer, ...]:
    """Give the steps before the last one of a node, whose names are made up, names that no layer has yet."""
    renamed: dict[str, str] = {}
    apart = []
    for layer in made:
        inputs = tuple(renamed.get(read, read) for read in layer.inputs)
        if layer.name != name:
            # Only from here on: the first step may read a layer of the user that has just this name.
            renamed[layer.name] = unique(layer.name, taken)
        apart.append(replace(layer, name=renamed.get(layer.name, layer.name), inputs=inputs))
    return tuple(apart)


def _read(node: Node, read: tuple[Shape, ...], file: KerasFile) -> tuple[Layer, ...]:
    options = Options(node.config, f"layer {node.name!r}", file.source)
    if node.kind == "InputLayer":
        if node.inputs:
            raise UnsupportedError("an input in the middle of the network")
        dims = options.raw("batch_shape", options.raw("batch_input_shape"))
        return (Input(node.name, (), event_shape(dims, f"input {node.name!r}", file.source)),)
    inner = node.config.get("layer")
    if not node.package and isinstance(inner, Mapping) and (package := spelling.package_of(inner)):
        kind = str(inner.get("class_name"))[:40]
        raise UnsupportedError(f"around {kind} of {package}; call that layer itself, without the wrapper")
    if node.kind == "TimeDistributed" and not node.package:
        return _time_distributed(node, read, file)
    reader = _supported(node)
    if not read:
        raise UnsupportedError("it reads 0 tensors")
    refused = sorted(node.keywords & CHANGING)
    if refused:
        raise UnsupportedError(f"called with {', '.join(refused)}; call it without")
    _check_precision(plain_name(node.config.get("dtype")), node.package)
    return reader(Step(node.name, node.kind, options, node.inputs, read, file, node.stored_as, node.package))


def _time_distributed(node: Node, read: tuple[Shape, ...], file: KerasFile) -> tuple[Layer, ...]:
    """Take the layer out of the wrapper where it works on the last axis alone; else apply it step by step."""
    inner = node.config.get("layer")
    found = entries({"config": {"layers": [inner]}}, file.source)[0]
    inside = replace(node, kind=found.kind, config=found.raw["config"])
    if found.kind in POINTWISE:
        return _read(inside, read, file)
    if found.kind in MODELS:
        raise UnsupportedError(f"around a {found.kind} model; call its layers one by one")
    if len(read) != 1 or len(read[0]) < 2:
        raise UnsupportedError(f"around {found.kind}, which reads tensors of the shapes {read}")
    steps, *shape = read[0]
    if steps > MAX_STEPS:
        raise UnsupportedError(f"around {found.kind} with {steps} steps; at most {MAX_STEPS} are supported")
    layers: list[Layer] = []
    for t in range(steps):
        part, own = f"{node.name}.step{t}", f"{node.name}.{t}"
        cut = shapes.slice_(part, node.inputs[0], read[0], [t], [t + 1], [None])
        one = Reshape(f"{part}.one", (part,), tuple(shape))
        made = _read(replace(inside, name=own, inputs=(one.name,)), (tuple(shape),), file)
        known: dict[str, Shape] = {one.name: tuple(shape)}
        for layer in made:
            known[layer.name] = shapes.infer(layer, *(known[name] for name in layer.inputs))
        layers += [cut, one, *made, Reshape(f"{own}.row", (own,), (1, *known[own]))]
    return (*layers, Concat(node.name, tuple(f"{node.name}.{t}.row" for t in range(steps)), 0))


def _check_precision(policy: Any, package: str) -> None:
    """Refuse layers that compute in anything but float32."""
    if policy not in (None, "float32") and not package:
        raise UnsupportedError(f"dtype {str(policy)[:40]}; only float32 is supported")
