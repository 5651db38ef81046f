# SPDX-License-Identifier: Apache-2.0
"""Reading ONNX and QONNX files into plain nodes and arrays; the only place that uses the onnx package."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from onnx import numpy_helper

from l1ml.errors import ModelError
from l1ml.frontends import onnx_ops
from l1ml.frontends.common import MAX_BYTES, MAX_LAYERS, event_shape, is_name, parsing
from l1ml.frontends.onnx_graph import Graph, Node, to_model
from l1ml.graph.model import Input, Model

_NUMBERS = {
    onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE, onnx.TensorProto.FLOAT16, onnx.TensorProto.INT8,
    onnx.TensorProto.INT16, onnx.TensorProto.INT32, onnx.TensorProto.INT64, onnx.TensorProto.UINT8,
    onnx.TensorProto.UINT16, onnx.TensorProto.UINT32, onnx.TensorProto.UINT64, onnx.TensorProto.BOOL,
}  # fmt: skip


def read_onnx(data: bytes, source: str) -> Model:
    """Turn the bytes of an ONNX or QONNX file into a network.

    Args:
        data: the file.
        source: its name, for messages.

    Raises:
        ModelError: it is no ONNX file, is damaged, or holds operators that are not supported (all are named).
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
    constants = _constants(graph, source)
    inputs = tuple(_input(value, source) for value in graph.input if value.name not in constants)
    if not inputs:
        raise ModelError("the graph has no inputs", where=(source,))
    opset = max((o.version for o in proto.opset_import if o.domain in ("", "ai.onnx")), default=1)
    nodes = []
    for index, node in enumerate(graph.node):
        if node.op_type == "Constant" and node.domain in ("", "ai.onnx") and len(node.output) == 1:
            constants[node.output[0]] = _constant_node(node, source)
            continue
        names = (node.name, *node.output, f"{node.op_type}_{index}", f"node_{index}")
        name = next(candidate for candidate in names if is_name(candidate))
        attributes = {a.name: _attribute(a) for a in node.attribute}
        nodes.append(Node(name, node.op_type, node.domain, tuple(node.input), tuple(node.output), attributes))
    outputs = tuple(value.name for value in graph.output)
    batches = {value.name: _batch(value) for value in graph.input}
    plain = Graph(graph.name or "model", source, opset, inputs, outputs, tuple(nodes), constants, batches)
    return to_model(plain, onnx_ops.reader, onnx_ops.SUPPORTED)


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


def _foreign(source: str) -> ModelError:
    return ModelError(
        "this is neither a Keras model (HDF5, .keras archive, JSON) nor an ONNX model",
        where=(source,),
        fix="the file is damaged, incomplete or of another kind; save or copy it again",
    )


def _constants(graph: Any, source: str) -> dict[str, np.ndarray]:
    if graph.sparse_initializer:
        raise ModelError("the graph has sparse constants, which are not read", where=(source,))
    found: dict[str, np.ndarray] = {}
    total = 0
    for tensor in graph.initializer:
        found[tensor.name] = _array(tensor, f"constant {tensor.name!r}", source)
        total += found[tensor.name].nbytes
        if total > MAX_BYTES:
            raise ModelError(f"the constants have more than {MAX_BYTES >> 20} MiB", where=(source,))
    return found


def _array(tensor: Any, owner: str, source: str) -> np.ndarray:
    if tensor.data_location == onnx.TensorProto.EXTERNAL or tensor.external_data:
        raise ModelError(
            f"{owner} keeps its data in another file, which is not read",
            where=(source,),
            fix="save the model with its data inside: onnx.save_model(..., save_as_external_data=False)",
        )
    if tensor.data_type not in _NUMBERS:
        raise ModelError(f"{owner} holds no real numbers (ONNX type {tensor.data_type})", where=(source,))
    with parsing(owner, source):
        return np.asarray(numpy_helper.to_array(tensor))


def _constant_node(node: Any, source: str) -> np.ndarray:
    owner = f"Constant {node.output[0]!r}"
    value = _attribute(node.attribute[0]) if len(node.attribute) == 1 else None
    if isinstance(value, onnx.TensorProto):
        return _array(value, owner, source)
    if isinstance(value, (int, float, list)):
        with parsing(owner, source):
            return np.asarray(
                value, dtype=np.int64 if node.attribute[0].name.startswith("value_int") else np.float32
            )
    raise ModelError(f"{owner} holds no array of numbers", where=(source,))


def _attribute(attribute: Any) -> Any:
    """Return an attribute's value: a number, text, list of numbers or tensor; None for anything else."""
    kinds = onnx.AttributeProto
    if attribute.type == kinds.STRING:
        return attribute.s.decode("utf-8", "replace")
    plain = {kinds.INT: "i", kinds.FLOAT: "f", kinds.TENSOR: "t"}
    if attribute.type in plain:
        return getattr(attribute, plain[attribute.type])
    if attribute.type in (kinds.INTS, kinds.FLOATS):
        return list(attribute.ints if attribute.type == kinds.INTS else attribute.floats)
    return None


def _input(value: Any, source: str) -> Input:
    owner = f"input {value.name!r}"
    if not is_name(value.name):
        raise ModelError(f"{owner} has no proper name", where=(source,))
    if not value.type.HasField("tensor_type") or not value.type.tensor_type.HasField("shape"):
        raise ModelError(f"{owner} is no tensor of known shape", where=(source,))
    dims = [d.dim_value if d.HasField("dim_value") else None for d in value.type.tensor_type.shape.dim]
    return Input(value.name, (), event_shape(dims, owner, source))


def _batch(value: Any) -> int:
    """Return the batch size baked into an input, 0 if there is none."""
    dims = value.type.tensor_type.shape.dim
    return int(dims[0].dim_value) if dims and dims[0].HasField("dim_value") else 0
