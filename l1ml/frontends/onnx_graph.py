# SPDX-License-Identifier: Apache-2.0
"""From ONNX nodes to the network: constants are followed, everything else becomes layers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from l1ml.errors import ModelError
from l1ml.frontends.canonical import canonical
from l1ml.frontends.common import Options, Problem, Shape, UnsupportedError, refuse, unique
from l1ml.graph.model import Input, Layer, Model
from l1ml.types.arrays import RealArray

STANDARD = ("", "ai.onnx")
SHAPE_ONLY = ("Shape", "Size")
"""Operators that turn data into constants."""


@dataclass(frozen=True)
class Node:
    """One operator of the file."""

    name: str
    kind: str
    domain: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class Graph:
    """A file without its encoding; ``batches`` has the batch size baked into an input, 0 where it is free."""

    name: str
    source: str
    opset: int
    inputs: tuple[Input, ...]
    outputs: tuple[str, ...]
    nodes: tuple[Node, ...]
    constants: Mapping[str, np.ndarray]
    batches: Mapping[str, int]


@dataclass(frozen=True, eq=False)
class Constant:
    """A tensor known at import; ``quantizer`` is the text of the one that put it on a grid, if any did."""

    values: np.ndarray
    quantizer: str | None = None


@dataclass(frozen=True)
class Data:
    """A tensor that depends on the event: the layer that makes it, and the shape of one event if known."""

    layer: str
    shape: Shape | None


@dataclass(frozen=True)
class Unknown(Data):
    """What an unsupported node makes of constants alone, and what follows from it: constant or data."""


class FollowOnError(Exception):
    """A node stumbles over what an unsupported one left; it needs no message of its own."""


@dataclass
class Reading:
    """What has been read so far."""

    graph: Graph
    tensors: dict[str, Constant | Data] = field(default_factory=dict)
    layers: dict[str, Layer] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def unique(self, name: str) -> str:
        """Return ``name``, with a number behind it if a layer has it already."""
        return unique(name, self.layers)

    def readers(self, tensor: str) -> int:
        """Count the nodes and outputs that read a tensor."""
        return sum(node.inputs.count(tensor) for node in self.graph.nodes) + self.graph.outputs.count(tensor)


class Operator:
    """One node with typed access to its inputs; what its reader gets.

    Args:
        node: the node.
        reading: the network so far.
    """

    def __init__(self, node: Node, reading: Reading) -> None:
        self.node, self.reading = node, reading
        self.options = Options(node.attributes, f"node {node.name!r}", reading.graph.source)

    @property
    def source(self) -> str:
        """Name of the file."""
        return self.reading.graph.source

    def has(self, index: int) -> bool:
        """Tell whether an optional input is given."""
        return index < len(self.node.inputs) and self.node.inputs[index] != ""

    def tensor(self, index: int) -> Constant | Data:
        """Return an input."""
        if not self.has(index):
            raise ModelError(
                f"node {self.node.name!r} ({self.node.kind}) lacks input {index}", where=(self.source,)
            )
        name = self.node.inputs[index]
        if name not in self.reading.tensors:
            raise ModelError(
                f"node {self.node.name!r} reads {name!r}, which no input, constant or earlier node makes",
                where=(self.source,),
            )
        return self.reading.tensors[name]

    def data(self, index: int = 0) -> Data:
        """Return an input that depends on the event."""
        tensor = self.tensor(index)
        if isinstance(tensor, Constant):
            raise UnsupportedError(f"input {index} is a constant")
        return tensor

    def constant(self, index: int) -> Constant:
        """Return a constant input, checked for NaN and infinity."""
        tensor = self.tensor(index)
        if isinstance(tensor, Unknown):
            raise FollowOnError
        if isinstance(tensor, Data):
            raise UnsupportedError(f"input {index} is computed from the data; it must be a constant")
        with np.errstate(all="ignore"):
            bad = np.argwhere(~np.isfinite(tensor.values.astype(np.float32)))
        if len(bad):
            raise ModelError(
                f"constant {self.node.inputs[index]!r} of node {self.node.name!r} holds {len(bad)} values "
                f"that are not finite, the first at index {tuple(int(i) for i in bad[0])}",
                where=(self.source,),
                fix="the training diverged; train it again",
            )
        return tensor

    def reals(self, index: int) -> RealArray:
        """Return a constant input as float64."""
        return self.constant(index).values.astype(np.float64)

    def axis(self, key: str, default: int, shape: Shape) -> int:
        """Return an axis attribute counted from the batch axis."""
        axis = self.options.integer(key, default)
        return axis + len(shape) + 1 if axis < 0 else axis


Result = tuple[Layer, Shape | None] | Constant
Reader = Callable[[Operator, str], Result]


def to_model(graph: Graph, find: Callable[[Node], Reader], supported: Iterable[str]) -> Model:
    """Read all nodes.

    Args:
        graph: the file.
        find: gives the reader of a node, or raises `UnsupportedError`.
        supported: the operators to list where one is not supported.

    Raises:
        ModelError: operators are not supported (all are named), or the graph contradicts itself.
    """
    reading = Reading(graph, {name: Constant(array) for name, array in graph.constants.items()})
    for tensor in graph.inputs:
        if tensor.name in reading.layers:
            raise ModelError(f"two inputs are called {tensor.name!r}", where=(graph.source,))
        reading.layers[tensor.name] = tensor
        reading.tensors[tensor.name] = Data(tensor.name, tensor.shape)
    for node in graph.nodes:
        _read(node, reading, find)
    refuse(reading.problems, graph.source, supported)
    outputs = []
    for name in graph.outputs:
        made = reading.tensors.get(name)
        if not isinstance(made, Data):
            raise ModelError(f"output {name!r} does not depend on the inputs", where=(graph.source,))
        outputs.append(made.layer)
    return canonical(Model(graph.name, tuple(reading.layers.values()), tuple(outputs), graph.source))


def _read(node: Node, reading: Reading, find: Callable[[Node], Reader]) -> None:
    name = reading.unique(node.name)
    made: Constant | Data | None = None
    try:
        result = find(node)(Operator(node, reading), name)
        if isinstance(result, Constant):
            made = result
        else:
            layer, shape = result
            reading.layers[layer.name] = layer
            made = Data(layer.name, shape)
    except UnsupportedError as error:
        kind = node.kind if node.domain in STANDARD else f"{node.kind} of {node.domain}"
        reading.problems.append(Problem(name, kind[:80], error.what))
    except FollowOnError:
        pass
    if made is None:  # later nodes may read any output
        lost = Data(name, None) if _depends_on_data(node, reading) else Unknown(name, None)
        reading.tensors.update(dict.fromkeys(node.outputs, lost))
        return
    if isinstance(made, Data) and not _depends_on_data(node, reading):
        made = Unknown(made.layer, None)
    for output in node.outputs[:1]:
        reading.tensors[output] = made


def _depends_on_data(node: Node, reading: Reading) -> bool:
    """Tell whether the result of a node certainly depends on the event."""
    if node.kind in SHAPE_ONLY:
        return False
    tensors = [reading.tensors.get(name) for name in node.inputs]
    return any(isinstance(tensor, Data) and not isinstance(tensor, Unknown) for tensor in tensors)
