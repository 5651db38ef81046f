# SPDX-License-Identifier: Apache-2.0
"""The typed network: primitives in order, every tensor with its exact type.

It is what the project folder stores (``network.json``), what the digest is taken of, and what the
emulator and the lowering read.  Names are for people; the digest does not see them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from enum import Enum
from functools import cached_property
from math import prod
from typing import Any

import numpy as np

from l1ml.errors import L1mlError, ModelError
from l1ml.graph.primitives import Primitive
from l1ml.graph.tensor import TensorType
from l1ml.types.arrays import IntArray
from l1ml.types.fixed import Overflow, Quantizer, Rounding
from l1ml.types.intrange import IntType

SCHEMA = "l1ml-network/2"
MAX_TEXT = 1 << 28
"""Characters of a file that is read."""

MAX_ELEMENTS = 1 << 24
"""Elements of all tensors of a network together."""

MAX_WORK = 1 << 32
"""Integers that inferring the types of a network may look at."""

MAX_INTEGER = 1 << 62
MAX_AXES = 16


@dataclass(frozen=True, eq=False)
class TensorStep:
    """One primitive: reads tensors ``sources``, makes the next tensor; ``layer`` says whose it is."""

    op: Primitive
    sources: tuple[int, ...]
    layer: str
    type: TensorType


@dataclass(frozen=True, eq=False)
class NetInput:
    """An input port of the network: ``shape`` elements of one fixed-point type."""

    name: str
    shape: tuple[int, ...]
    quantizer: Quantizer

    @cached_property
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
        approximations: (layer name, what) where the network is not exactly what the framework computes.
    """

    inputs: tuple[NetInput, ...]
    steps: tuple[TensorStep, ...]
    outputs: tuple[tuple[str, int], ...]
    marks: tuple[tuple[str, int], ...] = ()
    approximations: tuple[tuple[str, str], ...] = ()

    def type_of(self, tensor: int) -> TensorType:
        """Return the type of a tensor."""
        first = len(self.inputs)
        return self.inputs[tensor].type if tensor < first else self.steps[tensor - first].type

    def numbered(self) -> Iterator[tuple[int, TensorStep]]:
        """Yield (tensor made, step)."""
        return enumerate(self.steps, start=len(self.inputs))

    def verify(self) -> None:
        """Check that every step reads earlier tensors and carries the type its primitive infers."""
        self.verify_wiring()
        for tensor, step in self.numbered():
            inferred = step.op.infer(*(self.type_of(s) for s in step.sources))
            same = all(
                np.array_equal(getattr(inferred, f), getattr(step.type, f)) for f in ("lo", "hi", "frac")
            )
            assert same, f"tensor {tensor} ({step.layer}) does not have the inferred type"

    def verify_wiring(self) -> None:
        """Check that steps, outputs and marks name tensors that exist before them."""
        for tensor, step in self.numbered():
            assert all(0 <= s < tensor for s in step.sources), f"tensor {tensor} reads {step.sources}"
        assert self.inputs, "no inputs"
        assert self.outputs, "no outputs"
        assert all(0 <= t < len(self.inputs) + len(self.steps) for _, t in (*self.outputs, *self.marks))

    def emulate(self, inputs: Sequence[IntArray], wanted: Sequence[int] | None = None) -> list[IntArray]:
        """Return the codes of tensors, one primitive at a time in int64: the slow reference.

        Args:
            inputs: codes per input, each (events, *shape).
            wanted: the tensors to return; None for all.  Others are forgotten as soon as nobody reads
                them any more.
        """
        if wanted is None:
            return [codes for _, codes in self.walk(inputs)]
        asked = set(wanted)
        made = {tensor: codes for tensor, codes in self.walk(inputs) if tensor in asked}
        return [made[tensor] for tensor in wanted]

    def walk(self, inputs: Sequence[IntArray]) -> Iterator[tuple[int, IntArray]]:
        """Yield (tensor, codes) in order; a tensor is forgotten once nobody reads it any more."""
        events = len(inputs[0])
        last = {s: tensor for tensor, step in self.numbered() for s in step.sources}
        held: dict[int, IntArray] = dict(enumerate(inputs))
        yield from enumerate(inputs)
        for tensor, step in self.numbered():
            made = step.op.emulate([held[s] for s in step.sources], [self.type_of(s) for s in step.sources])
            held[tensor] = np.broadcast_to(made, (events, *step.type.shape))
            yield tensor, held[tensor]
            for source in {*step.sources, tensor}:
                if last.get(source, tensor) <= tensor:
                    del held[source]

    @property
    def digest(self) -> str:
        """SHA-256 of what the network computes: types, primitives and constants, no names."""
        return hashlib.sha256(_canonical(_to_dict(self, names=False))).hexdigest()

    def dumps(self) -> str:
        """Return the JSON text that `loads` reads; the same network gives the same bytes.

        Raises:
            ModelError: it is longer than what `loads` reads.
        """
        text = _canonical(_to_dict(self, names=True)).decode() + "\n"
        if len(text) > MAX_TEXT:
            raise ModelError(
                f"the network takes {len(text) >> 20} MiB of text; at most {MAX_TEXT >> 20} MiB are kept",
                fix="make the network smaller",
            )
        return text


def too_large(elements: int, work: int) -> str | None:
    """Say why a network of so many elements, whose types take so much work, is not made; None if it is."""
    if elements > MAX_ELEMENTS:
        return f"one event takes more than {MAX_ELEMENTS:,} values in all layers together"
    if work > MAX_WORK:
        return f"one event takes more than {MAX_WORK:,} products"
    return None


def loads(text: str, where: str) -> TensorProgram:
    """Read a network written by `TensorProgram.dumps`; types are inferred again, not trusted.

    Raises:
        ModelError: the text is not such a network.
    """
    try:
        return _loads(text, where)
    except (
        KeyError, TypeError, ValueError, AssertionError, RecursionError, OverflowError, IndexError, MemoryError,
        L1mlError,
    ) as error:  # fmt: skip
        if isinstance(error, ModelError) and error.where:
            raise
        raise ModelError(
            f"not a network of this tool: {error!r:.200}", where=(where,), fix="run l1ml convert again"
        ) from error


def _loads(text: str, where: str) -> TensorProgram:
    if len(text) > MAX_TEXT:
        raise ModelError(f"a network of {len(text)} characters; at most {MAX_TEXT} are read", where=(where,))
    data = json.loads(text)
    if data["schema"] != SCHEMA:
        raise ModelError(
            f"network has schema {data['schema']!r:.60}; this version reads {SCHEMA!r}", where=(where,),
            fix="run l1ml convert again",
        )  # fmt: skip
    inputs = tuple(
        NetInput(_text(i["name"]), _shape(i["shape"]), Quantizer.parse(i["type"])) for i in data["inputs"]
    )
    elements, work = sum(prod(i.shape) for i in inputs), 0
    _limited(elements, work)
    types = [i.type for i in inputs]
    steps: list[TensorStep] = []
    for item in data["steps"]:
        op, sources = _op_from(item), tuple(_whole(n) for n in item["sources"])
        if not all(0 <= source < len(types) for source in sources):
            raise ValueError(f"step {len(steps)} reads tensors {sources}")
        shapes = [types[source].shape for source in sources]
        elements, work = elements + prod(op.shape_of(*shapes)), work + op.work(*shapes)
        _limited(elements, work)
        types.append(op.infer(*(types[source] for source in sources)))
        steps.append(TensorStep(op, sources, _text(item["layer"]), types[-1]))
    pairs = [tuple((_text(name), _whole(t)) for name, t in data[key]) for key in ("outputs", "marks")]
    notes = tuple((_text(layer), _text(what)) for layer, what in data.get("approximations", ()))
    program = TensorProgram(inputs, tuple(steps), pairs[0], pairs[1], notes)
    program.verify_wiring()
    return program


def _limited(elements: int, work: int) -> None:
    reason = too_large(elements, work)
    if reason is not None:
        raise ValueError(reason)


def _canonical(data: dict[str, Any]) -> bytes:
    return json.dumps(data, sort_keys=True, separators=(",", ":")).encode()


def _to_dict(program: TensorProgram, *, names: bool) -> dict[str, Any]:
    data: dict[str, Any] = {
        "schema": SCHEMA,
        "inputs": [{"shape": list(i.shape), "type": str(i.quantizer)} for i in program.inputs],
        "steps": [
            {"op": type(s.op).__name__, "sources": list(s.sources), **_params(s.op)} for s in program.steps
        ],
        "outputs": [t for _, t in program.outputs],
    }
    if names:
        for item, port in zip(data["inputs"], program.inputs, strict=True):
            item["name"] = port.name
        for item, step in zip(data["steps"], program.steps, strict=True):
            item["layer"] = step.layer
        data["outputs"] = [list(pair) for pair in program.outputs]
        data["marks"] = [list(pair) for pair in program.marks]
        data["approximations"] = [list(pair) for pair in program.approximations]
    return data


def _params(op: Primitive) -> dict[str, Any]:
    return {field.name: _plain(getattr(op, field.name)) for field in fields(op)}


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return int(value) if isinstance(value, np.integer) else value


def _op_from(item: dict[str, Any]) -> Primitive:
    kind = Primitive.PRIMITIVES.get(str(item["op"]))
    if kind is None:
        raise ValueError(f"unknown operation {item['op']!r:.60}")
    return kind(**{field.name: _FIELDS[str(field.type)](item[field.name]) for field in fields(kind)})


def _whole(value: Any) -> int:
    if type(value) is not int or abs(value) > MAX_INTEGER:
        raise ValueError(f"{str(value)[:40]} where an integer is expected")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{str(value)[:40]} where a text is expected")
    return value


def _shape(value: Any) -> tuple[int, ...]:
    shape = tuple(_whole(n) for n in value)
    if min(shape, default=0) < 0 or len(shape) > MAX_AXES:
        raise ValueError(f"{shape} is no shape")
    return shape


def _integers(value: Any) -> IntArray:
    array = np.array(value)
    if array.ndim > MAX_AXES + 1 or (array.size and array.dtype.kind != "i"):
        raise ValueError("no array of integers")
    return array.astype(np.int64)


_FIELDS: dict[str, Callable[[Any], Any]] = {
    "IntArray": _integers,
    "int": _whole,
    "str": _text,
    "Rounding": Rounding,
    "Overflow": Overflow,
    "tuple[int, ...]": lambda value: tuple(_whole(n) for n in value),
    "tuple[tuple[int, int], ...]": lambda value: tuple((_whole(a), _whole(b)) for a, b in value),
}
"""How the fields of primitives are read from JSON, by the text of their annotation."""
