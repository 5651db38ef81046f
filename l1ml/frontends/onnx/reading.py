# SPDX-License-Identifier: Apache-2.0
"""Going through the nodes: each becomes layers or constants; what is wrong is collected and told at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import numpy as np

from l1ml.errors import ModelError
from l1ml.frontends.canonical import canonical
from l1ml.frontends.common import DAMAGE, MAX_BYTES, Problem, Shape, event_shape, unique
from l1ml.frontends.onnx import operators
from l1ml.frontends.onnx.constants import fold
from l1ml.frontends.onnx.file import File, Node, Port, ordered, report, shown
from l1ml.frontends.onnx.layout import batch_first, plain
from l1ml.frontends.onnx.operator import Operator, Reading, Result
from l1ml.frontends.onnx.tensors import Constant, Data, bounds
from l1ml.graph.model import Input, Layer, Model
from l1ml.types.fixed import FixedType, Quantizer

LARGEST_TYPED = 16
"""Whole-number inputs of up to so many bits are taken to use all of them; wider ones need a type."""


def to_model(file: File) -> Model:
    """Read all nodes.

    Raises:
        ModelError: something has no exact form here, or the graph contradicts itself; all of it is named.
    """
    reading = Reading(file, list(file.problems), set(file.lost))
    _inputs(reading)
    for name, stored in file.constants.items():
        reading.tensors[name] = Constant(stored.values, stored.kind)
    nodes = ordered(file)
    reading.readers = Counter(name for node in nodes for name in node.inputs)
    reading.readers.update(file.outputs)
    for node in nodes:
        _read(node, reading)
    outputs = [name for name in (_output(tensor, reading) for tensor in _ends(reading)) if name]
    report(reading.problems, file.source, operators.SUPPORTED, reading.fixes)
    ends = tuple(dict.fromkeys(outputs))
    return canonical(Model(file.name, _needed(reading, ends), ends, file.source))


def _needed(reading: Reading, outputs: tuple[str, ...]) -> tuple[Layer, ...]:
    """Return the layers that outputs depend on, and the inputs."""
    needed = set(outputs)
    for layer in reversed(reading.layers.values()):
        if layer.name in needed:
            needed.update(layer.inputs)
    return tuple(
        layer for layer in reading.layers.values() if layer.name in needed or isinstance(layer, Input)
    )


def _inputs(reading: Reading) -> None:
    """Make the input layers, and find the batch size that is baked into the file."""
    file, baked = reading.file, set()
    for port in file.inputs:
        if port.name in reading.layers:
            raise ModelError(f"two inputs are called {shown(port.name)}", where=(file.source,))
        if port.name in reading.lost:
            continue
        try:
            layer = Input(port.name, (), _event(port, file.source), _type(port.kind))
        except ModelError as error:
            reading.problems.append(Problem(port.name, "input", error.what))
            reading.lost.add(port.name)
            continue
        baked.add(port.dims[0] or 0)
        reading.layers[port.name] = layer
        reading.tensors[port.name] = Data.plain(port.name, layer.shape, port.kind)
    fixed = baked - {0}
    if len(fixed) > 1:
        sizes = " and ".join(str(n) for n in sorted(fixed))
        reading.problems.append(Problem(file.inputs[0].name, "input", f"the inputs have batches of {sizes}"))
    elif fixed and 0 not in baked:
        reading.batch = fixed.pop()


def _event(port: Port, source: str) -> Shape:
    if port.kind in ("float64", "float16", "bfloat16"):
        raise ModelError(f"is {port.kind}; only what is computed in float32 or in whole numbers is read")
    return event_shape(list(port.dims), "it", source)


def _type(kind: str) -> Quantizer | None:
    """Return the fixed-point type of an input of small whole numbers, None where the file does not tell."""
    if kind.startswith(("int", "uint", "bool")):
        lo, hi = bounds(kind)
        width = hi.bit_length() + (lo < 0)
        if width <= LARGEST_TYPED:
            return Quantizer(FixedType(lo < 0, width, width))
    return None


def _read(node: Node, reading: Reading) -> None:
    """Read one node; where that fails, what it makes is lost, and nodes behind it say no more about it."""
    name = unique(node.name, reading.layers)
    results: tuple[Result, ...] | None = None
    try:
        reader = operators.find(node, reading.file)
        if not any(tensor in reading.lost for tensor in node.inputs):
            with np.errstate(all="ignore"):  # what is not finite is found where it matters
                results = _results(node, name, reading, reader)
            for tensor in node.outputs[len(results) :]:
                if tensor and reading.readers[tensor]:
                    results = None
                    raise ModelError(f"its output {shown(tensor)} is not made here")
    except ModelError as error:
        reading.problems.append(Problem(name, node.title, error.what))
        if error.fix:
            reading.fixes[name] = error.fix
    except DAMAGE as error:
        text = " ".join(str(error).split())[:200] or type(error).__name__
        reading.problems.append(Problem(name, node.title, f"contradicts itself: {text}"))
    if results is None:
        reading.lost.update(tensor for tensor in node.outputs if tensor)
        return
    for tensor, made in zip(node.outputs, results, strict=False):
        if tensor:
            reading.tensors[tensor] = made
            if isinstance(made, Data):
                reading.views[made.layer] += 1


def _results(
    node: Node, name: str, reading: Reading, reader: Callable[[Operator], Result | tuple[Result, ...]]
) -> tuple[Result, ...]:
    op = Operator(node, name, reading)
    given = [op.tensor(k) for k in range(len(node.inputs)) if op.has(k)]
    constants = [tensor for tensor in given if isinstance(tensor, Constant)]
    folded = fold(op) if len(constants) == len(given) else None
    made = reader(op) if folded is None else folded
    op.options.all_known()
    results = made if isinstance(made, tuple) else (made,)
    for result in results:
        if isinstance(result, Constant):
            reading.bytes += result.values.nbytes
            if reading.bytes > MAX_BYTES:
                raise ModelError(f"computes constants of more than {MAX_BYTES >> 20} MiB")
    return results


def _ends(reading: Reading) -> list[str]:
    """Return the outputs that depend on the event; beside them, constants (Brevitas' scales) tell nothing."""
    names = reading.file.outputs
    alive = [name for name in names if not isinstance(reading.tensors.get(name), Constant)]
    return alive or list(names)


def _output(tensor: str, reading: Reading) -> str | None:
    """Return the layer that makes an output, in ONNX's order of axes."""
    if tensor in reading.lost:
        return None
    made = reading.tensors.get(tensor)
    if made is None or isinstance(made, Constant):
        reason = "does not depend on the inputs"
        reading.problems.append(Problem(tensor[:80] or "without a name", "output", reason))
        return None
    op = Operator(Node(tensor, "output", "", (tensor,), (), {}), tensor, reading)
    try:
        x = op.data(0)
        if x.batch is None and len(x.shape) > 1 and x.shape[0] == 1:
            x = batch_first(reading, x)
        return plain(reading, x).layer
    except ModelError as error:
        reading.problems.append(Problem(tensor[:80], "output", error.what))
        return None
