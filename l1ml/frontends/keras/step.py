# SPDX-License-Identifier: Apache-2.0
"""One layer of a Keras file with what its reader needs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from l1ml.errors import ModelError
from l1ml.frontends import qkeras
from l1ml.frontends.canonical import Identity
from l1ml.frontends.common import Options, UnsupportedError
from l1ml.frontends.containers import KerasFile, take
from l1ml.frontends.spelling import Call, call
from l1ml.graph.functions import Function, ToGrid
from l1ml.graph.model import Layer, Map, Quantize, Relu, Softmax
from l1ml.graph.shapes import Shape


@dataclass(frozen=True)
class Step:
    """One call of one layer.

    Args:
        name: name of the layer, unique in the network.
        kind: its class.
        options: its configuration.
        inputs: names of the layers it reads.
        shapes: shapes of one event there.
        file: the model.
        stored_as: name under which the file stores the weights.
        package: where its class comes from, if that is neither Keras nor QKeras.
    """

    name: str
    kind: str
    options: Options
    inputs: tuple[str, ...]
    shapes: tuple[Shape, ...]
    file: KerasFile
    stored_as: str
    package: str = ""

    @property
    def owner(self) -> str:
        """The layer in messages."""
        return f"layer {self.name!r}"

    @property
    def input(self) -> str:
        """The one layer it reads."""
        if len(self.inputs) != 1:
            raise UnsupportedError(f"it reads {len(self.inputs)} tensors; one is supported")
        return self.inputs[0]

    @property
    def shape(self) -> Shape:
        """Shape of its one input."""
        assert self.input
        return self.shapes[0]

    @property
    def channels(self) -> int:
        """Size of the last axis."""
        return self.shape[-1]

    @property
    def quantized(self) -> bool:
        """Tell whether it is a layer of QKeras."""
        return self.kind.startswith("Q") and not self.package

    def quantizer(self, key: str) -> Call | None:
        """Read a quantizer or an activation function."""
        try:
            return call(self.options.raw(key))
        except UnsupportedError as error:
            raise UnsupportedError(f"{key} {error.what}") from None

    def weights(self, *expected: tuple[str, tuple[int | None, ...]]) -> dict[str, np.ndarray]:
        """Return the stored arrays by name, in the framework's order."""
        return take(self.file, self.stored_as, self.name, expected)

    def quantize_weights(
        self, key: str, raw: np.ndarray, *, kernel: bool, option: str | None = None
    ) -> qkeras.Weights | None:
        """Apply the quantizer of an array, or return None where it has none."""
        option = option or f"{key}_quantizer"
        chosen = self.quantizer(option) if self.quantized else None
        if chosen is None:
            return None
        try:
            return qkeras.weights(chosen, raw, kernel=kernel, source=self.file.source)
        except UnsupportedError as error:
            raise UnsupportedError(f"{option} {error.what}") from None

    def functions(self, key: str = "activation", default: str | None = None) -> tuple[Function, ...]:
        """Return an activation as functions of single elements."""
        chosen = self.quantizer(key)
        if chosen is None and default is not None:
            chosen = call(default)
        if chosen is None or chosen.name == "linear":
            return ()
        if chosen.name == "softmax":
            raise UnsupportedError(f"softmax as {key}")
        return self.meaning(chosen)

    def meaning(self, chosen: Call) -> tuple[Function, ...]:
        """Return the functions of an activation as this layer understands it."""
        if self.quantized and chosen.name == "hard_sigmoid":  # QKeras looks its own functions up first
            return qkeras.own_hard_sigmoid()
        return qkeras.activation(chosen, source=self.file.source, keras=self.file.version)

    def error(self, what: str) -> ModelError:
        """Build an error about a file that contradicts itself."""
        return ModelError(f"{self.owner} {what}", where=(self.file.source,))


Reader = Callable[[Step], tuple[Layer, ...]]


def activated(step: Step, linear: Layer, key: str = "activation") -> tuple[Layer, ...]:
    """Put the activation of a layer behind it: ``name.linear``, then ``name``."""
    chosen = step.quantizer(key)
    if chosen is None or chosen.name == "linear":
        return (linear,)
    first = replace(linear, name=f"{step.name}.linear")
    return (first, *applied(step, first.name, chosen))


def applied(step: Step, source: str, chosen: Call | None) -> tuple[Layer, ...]:
    """Return the layers of an activation function; the last one has the name of the step."""
    inputs = (source,)
    if chosen is None or chosen.name == "linear":
        return (Identity(step.name, inputs),)
    if chosen.name == "softmax":
        axis = Options(chosen.options, "softmax", step.file.source).integers("axis") or [-1]
        return (Softmax(step.name, inputs, axis[0]),)
    if chosen.name == "relu" and not chosen.options:
        return (Relu(step.name, inputs),)
    exact = qkeras.typed_quantizer(chosen)
    if exact is not None:
        return (Quantize(step.name, inputs, exact),)
    return (mapped(step.name, inputs, step.meaning(chosen), str(chosen)),)


def mapped(name: str, inputs: tuple[str, ...], functions: Sequence[Function], text: str = "") -> Layer:
    """Return the layer of some functions; none is an identity."""
    if not functions:
        return Identity(name, inputs)
    if len(functions) == 1 and isinstance(functions[0], ToGrid):
        from l1ml.graph.model import QuantizeEach

        return QuantizeEach(name, inputs, functions[0].grid, text)
    return Map(name, inputs, tuple(functions), text)


def calls(step: Step) -> list[Mapping[str, Any]]:
    """Return how the file spells the calls of a layer; empty in a Sequential model."""
    config: Any = step.file.config
    rest = step.stored_as
    while isinstance(config, Mapping) and isinstance(config.get("config"), Mapping):
        listed = config["config"].get("layers")
        config = None
        for entry in listed if isinstance(listed, list) else ():
            own = entry.get("config") if isinstance(entry, Mapping) else None
            name = (entry.get("name") or own.get("name")) if isinstance(own, Mapping) else None
            if name == rest:
                nodes = entry.get("inbound_nodes")
                return [n for n in nodes if isinstance(n, Mapping)] if isinstance(nodes, list) else []
            if isinstance(name, str) and rest.startswith(f"{name}/"):
                config, rest = entry, rest[len(name) + 1 :]
                break
    return []
