# SPDX-License-Identifier: Apache-2.0
"""One node with typed access to its inputs and attributes: what the readers of operators get."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from l1ml.errors import ModelError
from l1ml.frontends.common import MAX_ELEMENTS, Options, Problem, UnsupportedError, unique, whole
from l1ml.frontends.onnx.file import File, Node, Unreadable, shown
from l1ml.frontends.onnx.tensors import FREE, Constant, Data, Tensor, Waiting
from l1ml.graph.functions import Function, Offset, Scale
from l1ml.graph.model import Layer, Map, Take
from l1ml.types.arrays import IntArray, RealArray

Result = Tensor

MAX_INDICES = 1 << 26
"""So many elements are moved in all; each costs eight bytes here and a wire in hardware."""


@dataclass(frozen=True, eq=False)
class Sum:
    """Whole numbers behind a product: their layer, their worth per output, and bounds on the product."""

    layer: str
    factor: np.ndarray
    lo: float = -np.inf
    hi: float = np.inf


@dataclass
class Reading:
    """What has been read so far."""

    file: File
    problems: list[Problem] = field(default_factory=list)
    lost: set[str] = field(default_factory=set)
    tensors: dict[str, Tensor] = field(default_factory=dict)
    layers: dict[str, Layer] = field(default_factory=dict)
    readers: Counter[str] = field(default_factory=Counter)
    views: Counter[str] = field(default_factory=Counter)
    batch: int = 0
    bytes: int = 0
    indices: int = 0
    made: dict[tuple[str, Any], str] = field(default_factory=dict)
    sums: dict[str, Sum] = field(default_factory=dict)
    fixes: dict[str, str] = field(default_factory=dict)

    def batches(self) -> tuple[int, ...]:
        """Return the baked batch size, or two that stand for any."""
        return (self.batch,) if self.batch else FREE

    def add(self, layer: Layer) -> str:
        """Add a layer under a name that is not taken; return the name."""
        name = unique(layer.name, self.layers)
        self.layers[name] = layer if name == layer.name else replace(layer, name=name)
        return name

    def settled(self, x: Data) -> Data:
        """Return a tensor whose layer makes its values: zero point and scale are applied."""
        key = (x.layer, (x.zero, x.scale))
        if x.zero and key not in self.made:
            step = Map(f"{x.layer}.zero_point", (x.layer,), (Offset(np.float32(x.zero)),), f"+ {x.zero}")
            self.made[key] = self.add(step)
        elif x.scale not in (None, 1) and key not in self.made:
            step = Map(f"{x.layer}.scaled", (x.layer,), (Scale(np.float32(x.scale)),), f"* {x.scale:g}")
            self.made[key] = self.add(step)
        return replace(x, layer=self.made.get(key, x.layer), zero=0, scale=None)

    def take(self, name: str, source: str, indices: IntArray, what: str) -> str:
        """Add a layer that moves elements."""
        self.indices += indices.size
        if indices.size > MAX_ELEMENTS or self.indices > MAX_INDICES:
            raise UnsupportedError(
                f"moves more than {MAX_ELEMENTS} elements, or {MAX_INDICES} with those before"
            )
        return self.add(Take(name, (source,), np.ascontiguousarray(indices), what))


class Attributes(Options):
    """The attributes of a node; remembers which have been looked at, so that none is silently left out."""

    def __init__(self, node: Node, source: str) -> None:
        super().__init__(node.attributes, "the node", source)
        self._seen: set[str] = set()

    def raw(self, key: str, default: Any = None) -> Any:
        """Return the plain value of ``key``, or ``default`` where it is absent."""
        self._seen.add(key)
        value = super().raw(key, default)
        if isinstance(value, Unreadable):
            raise UnsupportedError(f"its attribute {key} is {value.what}")
        return value

    def ignore(self, *keys: str) -> None:
        """Say that attributes do not matter at inference."""
        self._seen.update(keys)

    def text(self, key: str, default: str, *allowed: str) -> str:
        """Return a text that is one of the allowed ones."""
        value = self.raw(key, default)
        if not isinstance(value, str) or (allowed and value not in allowed):
            verb = "is" if len(allowed) == 1 else "are"
            raise UnsupportedError(f"{key}={str(value)[:40]}; supported {verb} {', '.join(allowed)}")
        return value

    def real(self, key: str, default: float) -> float:
        """Return a finite number."""
        value = self.number(key, default)
        return default if value is None else value

    def only(self, key: str, *allowed: Any) -> None:
        """Refuse an attribute that is given and has none of the allowed values."""
        if key in self.values and self.raw(key) not in allowed:
            raise UnsupportedError(f"{key}={str(self.raw(key))[:40]}; supported is {allowed[0]}")
        self._seen.add(key)

    def all_known(self) -> None:
        """Refuse attributes that nobody has looked at: they might change the meaning."""
        unknown = sorted(set(self.values) - self._seen)
        if unknown:
            raise UnsupportedError(f"has attributes that are not known here: {', '.join(unknown)[:200]}")


class Operator:
    """One node of the file.

    Args:
        node: the node.
        name: for its layer, not taken yet.
        reading: the network so far.
    """

    def __init__(self, node: Node, name: str, reading: Reading) -> None:
        self.node, self.name, self.reading = node, name, reading
        self.options = Attributes(node, reading.file.source)

    @property
    def opset(self) -> int:
        """Version of the standard operators."""
        return self.reading.file.opset

    @property
    def count(self) -> int:
        """Number of inputs, absent ones at the end not counted."""
        return max((k + 1 for k in range(len(self.node.inputs)) if self.has(k)), default=0)

    def has(self, index: int) -> bool:
        """Tell whether an optional input is given."""
        return index < len(self.node.inputs) and self.node.inputs[index] != ""

    def wanted(self, index: int) -> bool:
        """Tell whether an output is used."""
        outputs = self.node.outputs
        return index < len(outputs) and outputs[index] != "" and self.reading.readers[outputs[index]] > 0

    def alone(self, index: int) -> bool:
        """Tell whether this node is the only one that reads an input."""
        return self.reading.readers[self.node.inputs[index]] == 1

    def tensor(self, index: int) -> Tensor:
        """Return an input."""
        if not self.has(index):
            raise UnsupportedError(f"lacks input {index}")
        name = self.node.inputs[index]
        if name not in self.reading.tensors:
            raise UnsupportedError(f"reads {shown(name)}, which no input, constant or node makes")
        return self.reading.tensors[name]

    def is_constant(self, index: int) -> bool:
        """Tell whether an input is known at import."""
        return isinstance(self.tensor(index), Constant)

    def raw(self, index: int = 0) -> Data:
        """Return an input that depends on the event; its zero point or scale may still have to be applied."""
        tensor = self.tensor(index)
        if isinstance(tensor, Constant):
            raise UnsupportedError(f"input {index} is a constant; it must be computed from the data")
        if isinstance(tensor, Waiting):
            from l1ml.frontends.onnx.quantize import codes  # here: it is built on this module

            tensor = codes(self.reading, tensor)
        return tensor

    def data(self, index: int = 0) -> Data:
        """Return an input that depends on the event."""
        return self.reading.settled(self.raw(index))

    def constant(self, index: int) -> Constant:
        """Return a constant input, checked for NaN, infinity and dependence on the batch size."""
        tensor = self.tensor(index)
        if not isinstance(tensor, Constant):
            raise UnsupportedError(f"input {index} is computed from the data; it must be a constant")
        if tensor.other is not None:
            raise UnsupportedError(f"input {index} depends on the batch size")
        with np.errstate(all="ignore"):
            bad = np.argwhere(~np.isfinite(tensor.values.astype(np.float32)))
        if len(bad):
            raise ModelError(
                f"constant {shown(self.node.inputs[index])} holds {len(bad)} values that are not finite, "
                f"the first at index {tuple(int(i) for i in bad[0])}",
                fix="the training diverged; train it again",
            )
        return tensor

    def reals(self, index: int) -> RealArray:
        """Return a constant input as float64."""
        return self.constant(index).values.astype(np.float64)

    def reals_or_infinite(self, index: int) -> RealArray:
        """Return a constant input as float64; infinities are allowed, NaN is not."""
        tensor = self.tensor(index)
        if not isinstance(tensor, Constant) or tensor.other is not None:
            raise UnsupportedError(f"input {index} must be a constant")
        values = tensor.values.astype(np.float64)
        if bool(np.isnan(values).any()):
            raise UnsupportedError(f"input {index} holds values that are not numbers")
        return values

    def number(self, index: int, default: float | None = None) -> float:
        """Return a constant input that is one number."""
        if not self.has(index) and default is not None:
            return default
        values = self.reals(index).ravel()
        if values.size != 1:
            raise UnsupportedError(f"input {index} has {values.size} values; one number is expected")
        return float(values[0])

    def integers(self, index: int) -> list[int]:
        """Return a constant input that is a list of whole numbers."""
        return _whole_list(self.constant(index).values, index)

    def sizes(self, index: int) -> list[list[int]]:
        """Return a list of sizes for every batch size of `Reading.batches`."""
        tensor = self.tensor(index)
        if not isinstance(tensor, Constant):
            raise UnsupportedError(f"input {index} is computed from the data; it must be a constant")
        both = [_whole_list(tensor.values, index)]
        if len(self.reading.batches()) > 1:
            both.append(both[0] if tensor.other is None else _whole_list(tensor.other, index))
        return both

    def axes(self, key: str, index: int, since: int) -> list[int] | None:
        """Return a list that was an attribute before version ``since`` and is an input from there on."""
        given = self.options.integers(key)
        if given is not None or not self.has(index):
            return given
        if self.opset < since:
            raise UnsupportedError(f"has an input for {key}, which its version {self.opset} does not know")
        return self.integers(index)

    def layer(self, layer: Layer, like: Data, **changes: Any) -> Data:
        """Add a layer whose result has the shape and order of a tensor, but for ``changes``."""
        given = {"kind": "float32", "zero": 0, "scale": None, **changes}
        return replace(like, layer=self.reading.add(layer), **given)

    def map(self, x: Data, functions: Sequence[Function], text: str, kind: str = "float32") -> Data:
        """Add functions of single elements; nothing for none."""
        if not functions:
            return replace(x, kind=kind)
        return self.layer(Map(self.name, (x.layer,), tuple(functions), text), x, kind=kind)


def _whole_list(values: np.ndarray, index: int) -> list[int]:
    numbers = [whole(item.item()) for item in np.ravel(values)[:64]]
    good = [number for number in numbers if number is not None]
    if len(good) != values.size or values.ndim > 1:
        raise UnsupportedError(f"input {index} is no short list of whole numbers")
    return good
