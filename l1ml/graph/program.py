# SPDX-License-Identifier: Apache-2.0
"""The typed network: primitives in order, every tensor with its exact type.

It is what the project folder stores (``network.json``), what the digest is taken of, and what the
emulator and the lowering read.  Names are for people; the digest does not see them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from l1ml.errors import ModelError
from l1ml.graph.primitives import Primitive
from l1ml.graph.tensor import TensorType
from l1ml.types.arrays import IntArray
from l1ml.types.fixed import Quantizer
from l1ml.types.intrange import IntType

SCHEMA = "l1ml-network/1"


@dataclass(frozen=True, eq=False)
class TensorStep:
    """One primitive: reads tensor ``source``, makes the next tensor; ``layer`` says whose it is."""

    op: Primitive
    source: int
    layer: str
    type: TensorType


@dataclass(frozen=True, eq=False)
class NetInput:
    """An input port of the network: ``shape`` elements of one fixed-point type."""

    name: str
    shape: tuple[int, ...]
    quantizer: Quantizer

    @property
    def type(self) -> TensorType:
        """The tensor type of the port: every code of the fixed-point type may arrive."""
        kind = self.quantizer.type
        return TensorType.of(self.shape, IntType(kind.lo, kind.hi, kind.frac))


@dataclass(frozen=True, eq=False)
class TensorProgram:
    """Tensors 0..n_inputs-1 are the inputs; step ``k`` makes tensor ``n_inputs + k``.

    Args:
        inputs: the ports.
        steps: in order.
        outputs: (name, tensor) of every output.
        marks: (layer name, tensor) of every layer a user may want to see.
    """

    inputs: tuple[NetInput, ...]
    steps: tuple[TensorStep, ...]
    outputs: tuple[tuple[str, int], ...]
    marks: tuple[tuple[str, int], ...] = ()

    def type_of(self, tensor: int) -> TensorType:
        """Return the type of a tensor."""
        first = len(self.inputs)
        return self.inputs[tensor].type if tensor < first else self.steps[tensor - first].type

    def numbered(self) -> Iterator[tuple[int, TensorStep]]:
        """Yield (tensor made, step)."""
        return enumerate(self.steps, start=len(self.inputs))

    def verify(self) -> None:
        """Check that every step reads an earlier tensor and carries the type its primitive infers."""
        for tensor, step in self.numbered():
            assert 0 <= step.source < tensor, f"tensor {tensor} reads {step.source}"
            inferred = step.op.infer(self.type_of(step.source))
            same = all(
                np.array_equal(getattr(inferred, f), getattr(step.type, f)) for f in ("lo", "hi", "frac")
            )
            assert same, f"tensor {tensor} ({step.layer}) does not have the inferred type"
        assert self.outputs, "no outputs"
        assert all(0 <= t < len(self.inputs) + len(self.steps) for _, t in (*self.outputs, *self.marks))

    def emulate(self, inputs: list[IntArray]) -> list[IntArray]:
        """Return the codes of every tensor, one primitive at a time in int64: the slow reference.

        Args:
            inputs: codes per input, each (events, *shape).
        """
        tensors = list(inputs)
        for step in self.steps:
            tensors.append(step.op.emulate(tensors[step.source], self.type_of(step.source)))
        return tensors

    @property
    def digest(self) -> str:
        """SHA-256 of what the network computes: types, primitives and constants, no names."""
        return hashlib.sha256(_canonical(_to_dict(self, names=False))).hexdigest()

    def dumps(self) -> str:
        """Return the JSON text that `loads` reads; the same network gives the same bytes."""
        return _canonical(_to_dict(self, names=True)).decode() + "\n"


def loads(text: str, where: str) -> TensorProgram:
    """Read a network written by `TensorProgram.dumps`; types are inferred again, not trusted.

    Raises:
        ModelError: the text is not such a network.
    """
    try:
        data = json.loads(text)
        if data["schema"] != SCHEMA:
            raise ModelError(
                f"network has schema {data['schema']!r}; this version reads {SCHEMA!r}", where=(where,)
            )
        inputs = tuple(
            NetInput(str(i["name"]), tuple(int(n) for n in i["shape"]), Quantizer.parse(i["type"]))
            for i in data["inputs"]
        )
        types = [i.type for i in inputs]
        steps: list[TensorStep] = []
        for item in data["steps"]:
            op, source = _op_from(item), int(item["source"])
            if not 0 <= source < len(types):
                raise ModelError(f"step {len(steps)} reads tensor {source}", where=(where,))
            types.append(op.infer(types[source]))
            steps.append(TensorStep(op, source, str(item["layer"]), types[-1]))
        pairs = [tuple((str(n), int(t)) for n, t in data[key]) for key in ("outputs", "marks")]
        program = TensorProgram(inputs, tuple(steps), pairs[0], pairs[1])
        program.verify()
    except (KeyError, TypeError, ValueError, AssertionError, RecursionError, OverflowError) as error:
        raise ModelError(
            f"not a network of this tool: {error!r}", where=(where,), fix="run l1ml convert again"
        ) from error
    return program


def _canonical(data: dict[str, Any]) -> bytes:
    return json.dumps(data, sort_keys=True, separators=(",", ":")).encode()


def _to_dict(program: TensorProgram, *, names: bool) -> dict[str, Any]:
    data: dict[str, Any] = {
        "schema": SCHEMA,
        "inputs": [{"shape": list(i.shape), "type": str(i.quantizer)} for i in program.inputs],
        "steps": [{"op": type(s.op).__name__, "source": s.source, **_params(s.op)} for s in program.steps],
        "outputs": [t for _, t in program.outputs],
    }
    if names:
        for item, port in zip(data["inputs"], program.inputs, strict=True):
            item["name"] = port.name
        for item, step in zip(data["steps"], program.steps, strict=True):
            item["layer"] = step.layer
        data["outputs"] = [list(pair) for pair in program.outputs]
        data["marks"] = [list(pair) for pair in program.marks]
    return data


def _params(op: Primitive) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for field in fields(op):
        value = getattr(op, field.name)
        if isinstance(value, np.ndarray):
            value = value.tolist()
        elif isinstance(value, Quantizer):
            value = str(value)
        elif isinstance(value, tuple):
            value = list(value)
        out[field.name] = value
    return out


def _op_from(item: dict[str, Any]) -> Primitive:
    kind = Primitive.PRIMITIVES.get(str(item["op"]))
    if kind is None:
        raise ValueError(f"unknown operation {item['op']!r}")
    values: dict[str, Any] = {}
    for field in fields(kind):
        value = item[field.name]
        if field.type == "IntArray":
            value = np.array(value, dtype=np.int64)
        elif field.type == "Quantizer":
            value = Quantizer.parse(str(value))
        elif field.type == "int":
            value = int(value)
        else:
            value = tuple(int(n) for n in value)
        values[field.name] = value
    return kind(**values)
