# SPDX-License-Identifier: Apache-2.0
"""Which layer of a stored Keras model reads which: nested models, shared layers, several inputs and outputs.

Everything is written out flat: a layer called twice becomes two layers with the same constants, the layers of
a nested model get its name in front of theirs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from l1ml.errors import ModelError
from l1ml.frontends import spelling
from l1ml.frontends.common import unique, unwrap
from l1ml.frontends.containers import PRUNING_WRAPPER, Entry, KerasFile, entries, model_config

MODELS = ("Functional", "Model", "Sequential")
MAX_CALLS = 10_000
MAX_NESTED = 8


@dataclass(frozen=True)
class Node:
    """One call of a layer: the tensors it reads by the names of the calls that make them.

    Args:
        name: unique in the flat network.
        kind: class of the layer.
        config: its configuration, wrappers removed.
        inputs: names of the calls it reads.
        stored_as: where its weights are.
        package: where the class comes from, if that is neither Keras nor QKeras.
        keywords: names of the keyword arguments of the call that are set.
    """

    name: str
    kind: str
    config: Mapping[str, Any]
    inputs: tuple[str, ...]
    stored_as: str
    package: str
    keywords: frozenset[str] = frozenset()


@dataclass
class _Flat:
    """Collects the calls of a model and of all models inside of it."""

    file: KerasFile
    nodes: list[Node] = field(default_factory=list)
    taken: set[str] = field(default_factory=set)

    def error(self, what: str, fix: str | None = None) -> ModelError:
        return ModelError(what, where=(self.file.source,), fix=fix)

    def add(
        self,
        name: str,
        kind: str,
        config: Mapping[str, Any],
        inputs: tuple[str, ...],
        stored: str,
        package: str,
        keywords: frozenset[str] = frozenset(),
    ) -> str:
        """Enter one call under a name that is free."""
        if len(self.nodes) >= MAX_CALLS:
            raise self.error(f"the model calls layers more than {MAX_CALLS} times")
        free = unique(name, self.taken)
        self.taken.add(free)
        self.nodes.append(Node(free, kind, config, inputs, stored, package, keywords))
        return free


def flat(file: KerasFile) -> tuple[list[Node], tuple[str, ...], tuple[str, ...]]:
    """Return the calls in order, the names of the inputs, and those of the outputs.

    Raises:
        ModelError: the file contradicts itself.
    """
    made = _Flat(file)
    outputs, inputs = _model(made, file.config, None, "", "", 0)
    return made.nodes, inputs, outputs


def _model(
    made: _Flat, raw: Mapping[str, Any], given: tuple[str, ...] | None, prefix: str, stored: str, depth: int
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Write out a model; return the names of its outputs and of its inputs.

    Args:
        made: where the calls go.
        raw: ``{"class_name": ..., "config": ...}``.
        given: calls that feed its inputs, None for the outermost model.
        prefix: before the names of its layers.
        stored: before the places of their weights.
        depth: how many models are around it.
    """
    if depth > MAX_NESTED:
        raise made.error(f"models are nested more than {MAX_NESTED} deep")
    config = raw["config"]
    listed = entries(raw, made.file.source)
    if "input_layers" in config:
        return _functional(made, config, listed, given, prefix, stored, depth)
    return _sequential(made, raw, listed, given, prefix, stored, depth)


def _unwrapped(entry: Entry, source: str) -> Entry:
    """Return the layer inside of a pruning wrapper, or the layer itself."""
    if entry.kind != PRUNING_WRAPPER:
        return entry
    inner = entry.raw["config"].get("layer")
    found = entries({"config": {"layers": [inner]}}, source)[0]
    return Entry(found.kind, found.name, inner)


def _call(
    made: _Flat, entry: Entry, inputs: tuple[str, ...], prefix: str, stored: str, depth: int,
    keywords: frozenset[str] = frozenset(),
) -> tuple[str, ...]:  # fmt: skip
    """Write out one call of a layer or of a nested model; return the names of its results."""
    inner = _unwrapped(entry, made.file.source)
    package = spelling.package_of(inner.raw)
    place = f"{stored}{entry.name}"
    if inner.kind in MODELS and not package:
        nested = model_config(inner.raw, made.file.source)
        return _model(made, nested, inputs, f"{prefix}{inner.name}/", f"{place}/", depth + 1)[0]
    name = f"{prefix}{inner.name}"
    return (made.add(name, inner.kind, inner.raw["config"], inputs, place, package, keywords),)


def _sequential(
    made: _Flat, raw: Mapping[str, Any], listed: list[Entry], given: tuple[str, ...] | None, prefix: str, stored: str,
    depth: int,
) -> tuple[tuple[str, ...], tuple[str, ...]]:  # fmt: skip
    if not listed:
        raise made.error("the model has no layers")
    _refuse_doubles(made, listed)
    inputs: tuple[str, ...] = ()
    if given is not None and len(given) != 1:
        raise made.error(f"the model {prefix!r} is called with {len(given)} tensors; it has one input")
    current: tuple[str, ...] = given or ()
    first = _unwrapped(listed[0], made.file.source)
    if given is None and first.kind != "InputLayer":
        shape = _first_shape(made, first, raw)
        wanted = unique(f"{prefix}{first.name}_input", {f"{prefix}{entry.name}" for entry in listed})
        current = inputs = (made.add(wanted, "InputLayer", {"batch_shape": shape}, (), "", ""),)
    for number, entry in enumerate(listed):
        if _unwrapped(entry, made.file.source).kind == "InputLayer" and number == 0:
            if current:
                continue  # the input of a nested model is what it is called with
            current = inputs = _call(made, entry, (), prefix, stored, depth)
            continue
        current = _call(made, entry, current, prefix, stored, depth)
    return current, inputs


def _first_shape(made: _Flat, first: Entry, raw: Mapping[str, Any]) -> Any:
    config = raw["config"]
    for place in (first.raw["config"], config, raw.get("build_config"), first.raw.get("build_config")):
        for key in ("batch_input_shape", "batch_shape", "build_input_shape", "input_shape"):
            if isinstance(place, Mapping) and place.get(key) is not None:
                return place[key]
    if first.kind in MODELS and first.raw["config"].get("layers"):
        inner = model_config(first.raw, made.file.source)
        listed = entries(inner, made.file.source)
        return _first_shape(made, _unwrapped(listed[0], made.file.source), inner)
    raise made.error(
        "the shape of the input is not known: the model was saved before it was built",
        "start it with an Input layer, or build it, and save it again",
    )


def _refuse_doubles(made: _Flat, listed: list[Entry]) -> None:
    names = [entry.name for entry in listed]
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise made.error(f"two layers are called {twice[0]!r}")


Reference = tuple[str, int, int]


def _functional(
    made: _Flat, config: Mapping[str, Any], listed: list[Entry], given: tuple[str, ...] | None, prefix: str,
    stored: str, depth: int,
) -> tuple[tuple[str, ...], tuple[str, ...]]:  # fmt: skip
    by_name = {entry.name: entry for entry in listed}
    _refuse_doubles(made, listed)
    calls: dict[tuple[str, int], list[Reference]] = {}
    keywords: dict[tuple[str, int], frozenset[str]] = {}
    for entry in listed:
        nodes = entry.raw.get("inbound_nodes")
        if not isinstance(nodes, list):
            raise made.error(f"layer {entry.name!r} does not say what it reads (inbound_nodes)")
        for number, node in enumerate(nodes or [[]]):
            calls[entry.name, number] = list(_references(node))
            keywords[entry.name, number] = frozenset(_keywords(node))
    ends = {key: list(_references(config.get(key))) for key in ("input_layers", "output_layers")}
    if not ends["input_layers"] or not ends["output_layers"]:
        raise made.error("the model lists no inputs or no outputs")
    # A nested model's calls count from 0 or, where its creation counts as one, from 1; every stored call is read.
    past = {(name, call) for read in (*calls.values(), *ends.values()) for name, call, _ in read}
    first = {name: int((name, sum(key[0] == name for key in calls)) in past) for name in by_name}
    results: dict[tuple[str, int], tuple[str, ...]] = {}
    names = [name for name, _, _ in ends["input_layers"]]
    if given is not None and len(given) != len(names):
        raise made.error(
            f"the model {prefix!r} is called with {len(given)} tensors; it has {len(names)} inputs"
        )
    for number, name in enumerate(names):
        if name not in by_name:
            raise made.error(f"the list of inputs names {name[:80]!r}, which is no layer of the model")
        if by_name[name].kind != "InputLayer":
            raise made.error(f"the input {name!r} of the model is no InputLayer")
        results[name, 0] = (
            (given[number],) if given else _call(made, by_name[name], (), prefix, stored, depth)
        )

    def find(reference: Reference, reader: str) -> str | None:
        name, call, tensor = reference
        if name not in by_name:
            raise made.error(f"{reader} reads {name[:80]!r}, which is no layer of the model")
        if _unwrapped(by_name[name], made.file.source).kind in MODELS:
            call -= first[name]
        if (name, call) not in calls and (name, call) not in results:
            raise made.error(
                f"{reader} reads call {reference[1]} of layer {name!r}, which is called {len(calls)} times"
            )
        made_there = results.get((name, call))
        if made_there is None:
            return None
        if not 0 <= tensor < len(made_there):
            raise made.error(f"{reader} reads result {tensor} of layer {name!r}, which has {len(made_there)}")
        return made_there[tensor]

    waiting = [key for key in calls if key not in results]
    while waiting:
        later = []
        for key in waiting:
            read = [find(reference, f"layer {key[0]!r}") for reference in calls[key]]
            if any(name is None for name in read):
                later.append(key)
            else:
                sources = tuple(name for name in read if name is not None)
                results[key] = _call(made, by_name[key[0]], sources, prefix, stored, depth, keywords[key])
        if len(later) == len(waiting):
            stuck = ", ".join(repr(name) for name, _ in waiting[:5])
            raise made.error(f"the layers {stuck} read each other in a circle")
        waiting = later
    outputs = tuple(find(reference, "the list of outputs") for reference in ends["output_layers"])
    inputs = tuple(results[name, 0][0] for name in names)
    return tuple(name for name in outputs if name is not None), inputs


def _references(value: Any) -> Iterator[Reference]:
    """Find tensors in any spelling: ``["fc1", 0, 0, {}]``, a list of these, or a tensor's history."""
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
        yield value[0], value[1], value[2]
        value = value[3:]  # keyword arguments may hold more tensors
    for item in value:
        if isinstance(item, (Mapping, list)):
            yield from _references(item)


def _keywords(node: Any) -> Iterator[str]:
    """Find the keyword arguments of a call that are set to something."""
    if isinstance(node, Mapping):
        found = [node.get("kwargs")]
    else:
        found = (
            [item[3] for item in node if isinstance(item, list) and len(item) == 4]
            if isinstance(node, list)
            else []
        )
    for given in found:
        if isinstance(given, Mapping):
            yield from (str(key) for key, value in given.items() if value not in (None, False))
