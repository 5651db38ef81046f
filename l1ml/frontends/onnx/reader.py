# SPDX-License-Identifier: Apache-2.0
"""From bytes to plain nodes and arrays; the only place that uses the onnx package."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from onnx import numpy_helper

from l1ml.errors import ModelError
from l1ml.frontends.common import (
    MAX_BYTES,
    MAX_ELEMENTS,
    MAX_LAYERS,
    Problem,
    UnsupportedError,
    is_name,
    parsing,
)
from l1ml.frontends.onnx.external import read_external
from l1ml.frontends.onnx.file import ELEMENTS, STANDARD, Dims, File, Node, Port, Stored, Unreadable
from l1ml.frontends.onnx.reading import to_model
from l1ml.graph.model import Model

_BITS = {"int2": 2, "uint2": 2, "int4": 4, "uint4": 4, "bool": 8, "bfloat16": 16}


def read_onnx(data: bytes, source: str, folder: Path | None = None) -> Model:
    """Turn the bytes of an ONNX, QONNX or QDQ file into a network.

    Args:
        data: the file.
        source: its name, for messages.
        folder: where it lies, for constants in files beside it; None: such constants are refused.

    Raises:
        ModelError: it is no ONNX file, is damaged, or holds what has no exact form; everything is named.
    """
    try:
        proto = onnx.load_model_from_string(data)
    except (DecodeError, ValueError, RuntimeError) as error:
        raise _foreign(source) from error
    with parsing("the ONNX file", source):
        _check_texts(proto)
    graph = proto.graph
    if not proto.ir_version or not graph.node or not graph.output:
        raise _foreign(source)
    if len(graph.node) > 4 * MAX_LAYERS:
        raise ModelError(
            f"the graph has {len(graph.node)} nodes; at most {4 * MAX_LAYERS} are read", where=(source,)
        )
    return to_model(_Reader(proto, source, folder).file())


def _foreign(source: str) -> ModelError:
    return ModelError(
        "this is neither a Keras model (HDF5, .keras archive, JSON) nor an ONNX model",
        where=(source,),
        fix="the file is damaged, incomplete or of another kind; save or copy it again",
    )


def _check_texts(message: Any) -> None:
    """Refuse texts that are no UTF-8, anywhere in the file: protobuf hands them out as bytes."""
    for kind, value in message.ListFields():
        if kind.type not in (kind.TYPE_STRING, kind.TYPE_MESSAGE):
            continue
        for part in [value] if isinstance(value, (str, bytes)) or hasattr(value, "ListFields") else value:
            if isinstance(part, bytes):
                raise ValueError(f"a text in {kind.full_name} is not UTF-8")
            if not isinstance(part, str):
                _check_texts(part)


class _Reader:
    """One file on its way; everything that is wrong is collected."""

    def __init__(self, proto: Any, source: str, folder: Path | None) -> None:
        self._proto, self._graph, self._source, self._folder = proto, proto.graph, source, folder
        self._constants: dict[str, Stored] = {}
        self._lost: set[str] = set()
        self._problems: list[Problem] = []
        self._bytes = 0

    def file(self) -> File:
        graph = self._graph
        opsets = {"" if o.domain in STANDARD else o.domain: int(o.version) for o in self._proto.opset_import}
        for sparse in graph.sparse_initializer:
            self._wrong(sparse.values.name, "is sparse; only plain constants are read")
        for tensor in graph.initializer:
            if tensor.name in self._constants or tensor.name in self._lost:
                raise ModelError(f"two constants are called {tensor.name[:80]!r}", where=(self._source,))
            self._store(tensor.name, tensor)
        inputs = tuple(
            port
            for value in graph.input
            if value.name not in self._constants and value.name not in self._lost
            for port in [self._port(value)]
        )
        if not inputs:
            raise ModelError("the graph has no inputs", where=(self._source,))
        nodes = tuple(
            node for index, proto in enumerate(graph.node) for node in [self._node(proto, index)] if node
        )
        shapes = {v.name: dims for v in (*graph.value_info, *graph.output) if (dims := _dims(v)) is not None}
        return File(
            name=graph.name or "model",
            source=self._source,
            opsets=opsets,
            inputs=inputs,
            outputs=tuple(value.name for value in graph.output),
            nodes=nodes,
            constants=self._constants,
            lost=frozenset(self._lost),
            shapes=shapes,
            functions=frozenset((f.domain, f.name) for f in self._proto.functions),
            problems=tuple(self._problems),
        )

    def _wrong(self, name: str, reason: str, kind: str = "constant") -> None:
        self._problems.append(Problem(name[:80] or "without a name", kind, reason))
        self._lost.add(name)

    def _store(self, name: str, tensor: Any) -> None:
        try:
            self._constants[name] = self._array(tensor)
        except ModelError as error:
            self._wrong(name, error.what)

    def _array(self, tensor: Any) -> Stored:
        kind = _kind(tensor.data_type)
        if tensor.data_type not in ELEMENTS:
            raise UnsupportedError(f"holds no real numbers ({kind})")
        count = math.prod(tensor.dims) if all(n >= 0 for n in tensor.dims) else -1
        if not 0 <= count <= MAX_ELEMENTS or len(tensor.dims) > 16:
            raise UnsupportedError(
                f"has the shape {str(list(tensor.dims))[:80]}; at most {MAX_ELEMENTS} elements are read"
            )
        self._bytes += 8 * count
        if self._bytes > MAX_BYTES:
            raise UnsupportedError(f"is beyond the {MAX_BYTES >> 23} million numbers that are read in all")
        if tensor.data_location == onnx.TensorProto.EXTERNAL or tensor.external_data:
            tensor = self._fetched(tensor, kind, count)
        with parsing("its data", self._source):
            values = np.asarray(numpy_helper.to_array(tensor))
            if kind in ("float16", "bfloat16"):
                values = values.astype(np.float32)  # every one of them is a float32
            elif kind in ("int2", "int4"):
                values = values.astype(np.int8)
            elif kind in ("uint2", "uint4"):
                values = values.astype(np.uint8)
        return Stored(values.reshape(tuple(tensor.dims)), kind)

    def _fetched(self, tensor: Any, kind: str, count: int) -> Any:
        bits = _BITS.get(kind) or np.dtype(kind).itemsize * 8
        entries = {entry.key: entry.value for entry in tensor.external_data}
        filled = onnx.TensorProto()
        filled.data_type = tensor.data_type
        filled.dims.extend(tensor.dims)
        filled.raw_data = read_external(entries, (count * bits + 7) // 8, self._folder)
        return filled

    def _port(self, value: Any) -> Port:
        dims, kind = _dims(value), _kind(value.type.tensor_type.elem_type)
        if not is_name(value.name):
            raise ModelError("an input of the graph has no proper name", where=(self._source,))
        if dims is None:
            self._wrong(value.name, "is no tensor of known shape", "input")
        elif value.type.tensor_type.elem_type not in ELEMENTS:
            self._wrong(value.name, f"holds no real numbers ({kind})", "input")
        return Port(value.name, dims or (), kind)

    def _node(self, proto: Any, index: int) -> Node | None:
        """Return a node; constants are stored instead."""
        if proto.op_type == "Constant" and proto.domain in STANDARD and len(proto.output) == 1:
            name = proto.output[0]
            if name in self._constants or name in self._lost:
                raise ModelError(f"two constants are called {name[:80]!r}", where=(self._source,))
            self._constant_node(name, proto)
            return None
        names = (proto.name, *proto.output, f"{proto.op_type}_{index}", f"node_{index}")
        name = next(candidate for candidate in names if is_name(candidate))
        attributes = {a.name: self._attribute(a) for a in proto.attribute}
        return Node(name, proto.op_type, proto.domain, tuple(proto.input), tuple(proto.output), attributes)

    def _constant_node(self, name: str, proto: Any) -> None:
        attribute = proto.attribute[0] if len(proto.attribute) == 1 else None
        if attribute is not None and attribute.type == onnx.AttributeProto.TENSOR:
            self._store(name, attribute.t)
            return
        value = None if attribute is None else self._attribute(attribute)
        if not isinstance(value, (int, float, list)) or not all(
            isinstance(item, (int, float)) for item in (value if isinstance(value, list) else [value])
        ):
            self._wrong(name, "holds no array of numbers")
            return
        whole = attribute is not None and attribute.name.startswith("value_int")
        kind = "int64" if whole else "float32"
        self._constants[name] = Stored(np.asarray(value, dtype=kind), kind)

    def _attribute(self, attribute: Any) -> Any:
        """Return an attribute's value: a number, text, list of these, or an array."""
        kinds = onnx.AttributeProto
        if attribute.ref_attr_name:
            return Unreadable("a reference to an attribute of a function")
        if attribute.type == kinds.STRING:
            return attribute.s.decode("utf-8", "replace")
        if attribute.type == kinds.STRINGS:
            return [text.decode("utf-8", "replace") for text in attribute.strings]
        if attribute.type in (kinds.INT, kinds.FLOAT):
            return attribute.i if attribute.type == kinds.INT else attribute.f
        if attribute.type in (kinds.INTS, kinds.FLOATS):
            return list(attribute.ints if attribute.type == kinds.INTS else attribute.floats)
        if attribute.type == kinds.TENSOR:
            try:
                return self._array(attribute.t).values
            except ModelError as error:
                return Unreadable(f"a tensor that {error.what}")
        if attribute.type in (kinds.GRAPH, kinds.GRAPHS):
            return Unreadable("a graph inside of the graph")
        return Unreadable("of a kind that is not read")


def _kind(number: int) -> str:
    name = ELEMENTS.get(number)
    if name is None:
        known = onnx.TensorProto.DataType.items()
        name = next((text.lower() for text, n in known if n == number), f"type {number}")
    return name


def _dims(value: Any) -> Dims | None:
    """Return the sizes of a tensor as far as the file tells them; None if it is none, or has no shape."""
    if not value.type.HasField("tensor_type") or not value.type.tensor_type.HasField("shape"):
        return None
    return tuple(
        int(d.dim_value) if d.HasField("dim_value") else None for d in value.type.tensor_type.shape.dim
    )
