# SPDX-License-Identifier: Apache-2.0
"""From a stored Keras model to the network: which layer reads which, then each layer by its class."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from l1ml.errors import ModelError
from l1ml.frontends import spelling
from l1ml.frontends.canonical import canonical
from l1ml.frontends.common import (
    Options,
    Problem,
    Shape,
    UnsupportedError,
    event_shape,
    refuse,
    unique,
    unwrap,
)
from l1ml.frontends.containers import PRUNING_WRAPPER, Entry, KerasFile, entries, plain_name
from l1ml.frontends.keras_layers import LAYERS, SUPPORTED, Step, check_precision
from l1ml.graph.model import Input, Layer, Model


@dataclass(frozen=True)
class _Node:
    """A layer and the layers it reads, wrappers removed.

    ``inputs`` has one tuple per call of the layer; ``stored_as`` is the outer name, where its weights are.
    """

    name: str
    kind: str
    config: Mapping[str, Any]
    inputs: tuple[tuple[str, ...], ...]
    stored_as: str
    package: str


def read_keras(file: KerasFile) -> Model:
    """Turn a stored Keras model into a network.

    Raises:
        ModelError: layers are not supported (all are named), or the file contradicts itself.
    """
    config = file.config["config"]
    listed = entries(file.config, file.source)
    sequential = "input_layers" not in config
    inner = {entry.name: _unwrapped(entry, file.source) for entry in listed}
    names = _free_names(inner)
    if sequential:
        nodes, inputs, outputs = _sequential(listed, inner, names, config, file)
    else:
        nodes, inputs, outputs = _functional(listed, inner, names, config, file)
    layers = _layers(_sorted(nodes, inputs, file.source), file)
    name = config.get("name")
    return canonical(Model(name if isinstance(name, str) else "model", layers, outputs, file.source))


def _unwrapped(entry: Entry, source: str) -> Entry:
    """Return the layer inside of a pruning wrapper, or the layer itself."""
    if entry.kind != PRUNING_WRAPPER:
        return entry
    inner = entry.raw["config"].get("layer")
    found = entries({"config": {"layers": [inner]}}, source)[0]
    return Entry(found.kind, found.name, inner)


def _free_names(inner: Mapping[str, Entry]) -> dict[str, str]:
    """Name layers as inside their wrappers where that is unique, by outer name."""
    wanted = [entry.name for entry in inner.values()]
    return {outer: entry.name if wanted.count(entry.name) == 1 else outer for outer, entry in inner.items()}


def _node(entry: Entry, inner: Entry, name: str, inputs: tuple[tuple[str, ...], ...]) -> _Node:
    package = spelling.foreign(inner.raw.get("module"), inner.raw.get("registered_name"))
    return _Node(name, inner.kind, inner.raw["config"], inputs, entry.name, package)


def _sequential(
    listed: list[Entry],
    inner: dict[str, Entry],
    names: dict[str, str],
    config: Mapping[str, Any],
    file: KerasFile,
) -> tuple[list[_Node], tuple[str, ...], tuple[str, ...]]:
    if not listed:
        raise ModelError("the model has no layers", where=(file.source,))
    nodes: list[_Node] = []
    if inner[listed[0].name].kind != "InputLayer":
        first = inner[listed[0].name]
        shape = _first_shape(first, config, file)
        taken = {names[entry.name] for entry in listed}
        name = unique(f"{names[listed[0].name]}_input", taken)  # the name Keras itself gives it
        nodes.append(_Node(name, "InputLayer", {"batch_shape": shape}, (), name, ""))
    for entry in listed:
        before = ((nodes[-1].name,),) if nodes else ()
        nodes.append(_node(entry, inner[entry.name], names[entry.name], before))
    return nodes, (nodes[0].name,), (nodes[-1].name,)


def _first_shape(first: Entry, config: Mapping[str, Any], file: KerasFile) -> Any:
    for place in (
        first.raw["config"],
        config,
        file.config.get("build_config"),
        first.raw.get("build_config"),
    ):
        for key in ("batch_input_shape", "batch_shape", "build_input_shape", "input_shape"):
            if isinstance(place, Mapping) and place.get(key) is not None:
                return place[key]
    raise ModelError(
        "the shape of the input is not known: the model was saved before it was built",
        where=(file.source,),
        fix="start it with an Input layer, or build it, and save it again",
    )


def _functional(
    listed: list[Entry],
    inner: dict[str, Entry],
    names: dict[str, str],
    config: Mapping[str, Any],
    file: KerasFile,
) -> tuple[list[_Node], tuple[str, ...], tuple[str, ...]]:
    def resolve(references: Iterator[str], what: str) -> tuple[str, ...]:
        found = tuple(references)
        unknown = [name for name in found if name not in names]
        if unknown:
            raise ModelError(
                f"{what} reads {unknown[0][:80]!r}, which is no layer of the model", where=(file.source,)
            )
        return tuple(names[name] for name in found)

    nodes = []
    for entry in listed:
        calls = entry.raw.get("inbound_nodes")
        if not isinstance(calls, list):
            raise ModelError(
                f"layer {entry.name!r} does not say what it reads (inbound_nodes)", where=(file.source,)
            )
        read = tuple(resolve(_references(one), f"layer {entry.name!r}") for one in calls)
        nodes.append(_node(entry, inner[entry.name], names[entry.name], read))
    inputs = resolve(_references(config.get("input_layers")), "the list of inputs")
    outputs = resolve(_references(config.get("output_layers")), "the list of outputs")
    if not inputs or not outputs:
        raise ModelError("the model lists no inputs or no outputs", where=(file.source,))
    return nodes, inputs, outputs


def _references(value: Any) -> Iterator[str]:
    """Find the layers in any spelling: ``["fc1", 0, 0, {}]``, a list of these, or a tensor's history."""
    if isinstance(value, Mapping):
        if value.get("class_name") == "__keras_tensor__" and isinstance(value.get("config"), Mapping):
            yield from _references(value["config"].get("keras_history"))
        else:
            for item in value.values():
                yield from _references(item)
        return
    value = unwrap(value)
    if not isinstance(value, list):
        return
    if len(value) >= 3 and isinstance(value[0], str) and all(isinstance(n, int) for n in value[1:3]):
        yield value[0]
        value = value[3:]  # keyword arguments may hold more tensors
    for item in value:
        if isinstance(item, (Mapping, list)):
            yield from _references(item)


def _sorted(nodes: list[_Node], inputs: tuple[str, ...], source: str) -> list[_Node]:
    """Order the layers so that each reads earlier ones; inputs come first, as the model orders them."""
    by_name = {node.name: node for node in nodes}
    if len(by_name) != len(nodes):
        twice = next(n.name for n in nodes if sum(m.name == n.name for m in nodes) > 1)
        raise ModelError(f"two layers are called {twice!r}", where=(source,))
    wrong = [name for name in inputs if by_name[name].kind != "InputLayer"]
    if wrong:
        raise ModelError(f"the input {wrong[0]!r} of the model is no InputLayer", where=(source,))
    done = {name: by_name[name] for name in inputs}
    waiting = [node for node in nodes if node.name not in done]
    while waiting:
        later = []
        for node in waiting:
            if all(name in done for one in node.inputs for name in one):
                done[node.name] = node
            else:
                later.append(node)
        if len(later) == len(waiting):
            names = ", ".join(repr(node.name) for node in waiting[:5])
            raise ModelError(f"the layers {names} read each other in a circle", where=(source,))
        waiting = later
    return list(done.values())


def _layers(nodes: list[_Node], file: KerasFile) -> tuple[Layer, ...]:
    layers: list[Layer] = []
    shapes: dict[str, Shape | None] = {}
    problems: list[Problem] = []
    taken = {node.name for node in nodes}
    for node in nodes:
        try:
            made, shapes[node.name] = _read(node, shapes, file)
            made = _apart(made, node.name, taken)
            taken.update(layer.name for layer in made)
            layers += made
        except UnsupportedError as error:
            kind = f"{node.kind} of {node.package}" if node.package else node.kind
            problems.append(Problem(node.name, kind, error.what))
            shapes[node.name] = None
    refuse(problems, file.source, SUPPORTED)
    return tuple(layers)


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


def _read(
    node: _Node, shapes: Mapping[str, Shape | None], file: KerasFile
) -> tuple[tuple[Layer, ...], Shape | None]:
    options = Options(node.config, f"layer {node.name!r}", file.source)
    if node.kind == "InputLayer":
        if any(node.inputs):
            raise UnsupportedError("an input in the middle of the network")
        dims = options.raw("batch_shape", options.raw("batch_input_shape"))
        shape = event_shape(dims, f"input {node.name!r}", file.source)
        return (Input(node.name, (), shape),), shape
    if node.package or node.kind not in LAYERS:
        raise UnsupportedError("")
    if len(node.inputs) > 1:
        raise UnsupportedError(
            f"shared: it is called {len(node.inputs)} times; give every call a layer of its own"
        )
    read = node.inputs[0] if node.inputs else ()
    if len(read) != 1:
        raise UnsupportedError(f"it reads {len(read)} tensors; one is supported")
    check_precision(plain_name(node.config.get("dtype")))
    return LAYERS[node.kind](
        Step(node.name, node.kind, options, read[0], shapes[read[0]], file, node.stored_as)
    )
