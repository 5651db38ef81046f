# SPDX-License-Identifier: Apache-2.0
"""Operators whose inputs are all known at import: they are computed, in the arithmetic of the file.

Sizes computed from a batch size that is not fixed are computed for two batch sizes (`tensors.FREE`); what
differs depends on the batch, and only reshapes may use it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from l1ml.frontends.common import UnsupportedError, power_of_two
from l1ml.frontends.onnx.arrays import COMPUTED, MOVES, TESTS, Arrays, Fold, bounded
from l1ml.frontends.onnx.file import ELEMENTS, STANDARD
from l1ml.frontends.onnx.operator import Operator, Result
from l1ml.frontends.onnx.tensors import Constant, Data, is_whole, short
from l1ml.graph import model


def fold(op: Operator) -> Result | tuple[Result, ...] | None:
    """Compute an operator on constants; None where it is not one of those that are computed."""
    kind = op.node.kind
    if op.node.domain not in STANDARD:
        return None
    inputs = [op.tensor(k) for k in range(op.count) if op.has(k)]
    constants = [tensor for tensor in inputs if isinstance(tensor, Constant)]
    if kind in ("ConstantOfShape", "Expand") and any(c.other is not None for c in constants):
        return _of_batch(op)
    if kind == "Cast":
        return _cast(op, constants[0])
    if kind == "Split":
        return _split(op, constants[0])
    if kind in MOVES:
        return _moved(op, constants)
    if kind in COMPUTED:
        return _computed(op, constants)
    return None


def _twice(
    op: Operator, constants: Sequence[Constant], function: Fold
) -> tuple[np.ndarray, np.ndarray | None]:
    """Evaluate for one batch size, and for another where an input depends on it."""
    values = function(op, [c.values for c in constants])
    if all(c.other is None for c in constants):
        return values, None
    other = function(op, [c.values if c.other is None else c.other for c in constants])
    if values.shape != other.shape:
        raise UnsupportedError("gives a constant whose size depends on the batch size")
    return values, None if np.array_equal(values, other) else other


def _moved(op: Operator, constants: Sequence[Constant]) -> Constant:
    function = MOVES[op.node.kind]
    values, other = _twice(op, constants, function)
    first = constants[0]
    joined = op.node.kind == "Concat"
    if joined and len({(c.quantizer, c.codes is None) for c in constants}) > 1:
        return Constant(values, first.kind, other=other)
    if first.codes is None or first.scale is None:
        return Constant(values, first.kind, first.quantizer, other=other)
    parts = constants if joined else constants[:1]
    rest = [] if joined else [c.values for c in constants[1:]]
    codes = function(op, [*(c.codes for c in parts if c.codes is not None), *rest])
    scale = function(op, [*(c.scale for c in parts if c.scale is not None), *rest])
    return Constant(values, first.kind, first.quantizer, codes, scale)


def _computed(op: Operator, constants: Sequence[Constant]) -> Constant:
    kind = op.node.kind
    first = constants[0]
    out = "bool" if kind in TESTS else "int64" if kind in ("Shape", "Size") else first.kind
    if kind == "Where":
        out = constants[1].kind
    if kind == "ConstantOfShape":
        given = op.options.raw("value")
        out = "float32" if given is None else str(np.asarray(given).dtype)
    with np.errstate(all="ignore"):
        values, other = _twice(op, constants, COMPUTED[kind])
    made = Constant(values, out, other=other)
    if other is None and not is_whole(out):
        return _on_grid(kind, constants, made)
    return made


def _on_grid(kind: str, constants: Sequence[Constant], made: Constant) -> Constant:
    """Keep the knowledge that values are quantized through a product with a scale, a sum or a sign."""
    text = next((c.quantizer for c in constants if c.quantizer), None)
    if text is None or len(constants) > 2:
        return made
    first, second = constants[0], constants[-1]
    if kind in ("Mul", "Div") and second.quantizer and not first.quantizer and kind == "Mul":
        first, second = second, first
    if kind in ("Mul", "Div") and first.quantizer and not second.quantizer and (second.values != 0).all():
        shape = made.values.shape
        factor = np.broadcast_to(second.values.astype(np.float64), shape)
        factor = factor if kind == "Mul" else 1.0 / factor
        codes = first.values if first.codes is None else first.codes
        scale = factor if first.scale is None else factor * np.broadcast_to(first.scale, shape)
        codes = np.broadcast_to(codes.astype(np.float64), shape)
        if all(power_of_two(abs(float(s))) for s in np.unique(scale)):
            return replace(made, values=codes * scale, quantizer=text)
        return replace(made, quantizer=text, codes=codes, scale=scale)
    exact = all(c.codes is None and (c.quantizer or short(c.values.astype(np.float64))) for c in constants)
    if kind in ("Add", "Sub", "Neg", "Abs", "Sum") and exact and short(made.values.astype(np.float64)):
        return replace(made, quantizer=text)
    return made


def _of_batch(op: Operator) -> Result:
    """Return a constant tensor with the batch as an axis: it is a tensor of the event like any other."""
    expand = op.node.kind == "Expand"
    first, second = op.sizes(1 if expand else 0)
    places = [k for k, (a, b) in enumerate(zip(first, second, strict=True)) if a != b]
    if len(places) != 1 or first[places[0]] != op.reading.batches()[0]:
        raise UnsupportedError("gives a constant whose size depends on the batch size")
    place = places[0]
    wanted = [1 if k == place else n for k, n in enumerate(first)]
    bounded(wanted)
    if expand:
        values = op.reals(0)
        shape = np.broadcast_shapes(values.shape, tuple(wanted))
        if len(shape) != len(wanted) or shape[place] != 1:
            raise UnsupportedError("repeats a constant along the batch axis")
    else:
        shape = tuple(wanted)
        given = op.options.raw("value")
        values = np.zeros(1) if given is None else np.asarray(given, dtype=np.float64).reshape(-1)[:1]
    event = np.squeeze(np.broadcast_to(values, shape), place)
    layer = op.reading.add(model.Constant(op.name, (), np.ascontiguousarray(event, dtype=np.float64)))
    return Data.plain(layer, event.shape, batch=place)


def _cast(op: Operator, x: Constant) -> Constant:
    op.options.ignore("saturate", "round_mode")
    kind = target(op)
    if kind == x.kind:
        return x
    if kind in ("float16", "bfloat16"):
        raise UnsupportedError(f"to {kind}, which rounds; float32 and whole numbers are supported")
    dtype = {"int2": "int8", "int4": "int8", "uint2": "uint8", "uint4": "uint8"}.get(kind, kind)
    quantizer = x.quantizer if not x.whole or is_whole(kind) else x.kind

    def convert(_: Operator, arrays: Arrays) -> np.ndarray:
        with np.errstate(all="ignore"):
            return np.asarray(arrays[0]).astype(dtype)

    values, other = _twice(op, [x], convert)
    if is_whole(kind):
        return Constant(values, kind, other=other)
    return Constant(values, kind, quantizer, x.codes, x.scale, other)


def target(op: Operator) -> str:
    """Return the ONNX type a Cast gives; old files spell it as a text."""
    given = op.options.raw("to")
    text = str(given).lower()
    kind = {"float": "float32", "double": "float64"}.get(text, text)
    if isinstance(given, int):
        kind = ELEMENTS.get(given, f"type {given}")
    if kind not in ELEMENTS.values():
        raise UnsupportedError(f"to {kind[:40]}, which holds no real numbers")
    return kind


def _split(op: Operator, x: Constant) -> tuple[Result, ...]:
    axis = op.options.integer("axis", 0)
    sizes = split_sizes(op, x.values.shape[axis])
    ends = np.cumsum(sizes)[:-1]

    def parts(array: np.ndarray | None) -> list[np.ndarray] | list[None]:
        return [None] * len(sizes) if array is None else np.split(array, ends, axis)

    return tuple(
        Constant(v, x.kind, x.quantizer, c, s)
        for v, c, s in zip(parts(x.values), parts(x.codes), parts(x.scale), strict=True)
        if v is not None
    )


def split_sizes(op: Operator, size: int) -> list[int]:
    """Return the sizes of the parts that a Split makes."""
    sizes = op.axes("split", 1, 13)
    count = op.options.integer("num_outputs", len(op.node.outputs))
    if sizes is None:
        if not 1 <= count <= size:
            raise UnsupportedError(f"makes {count} parts of {size} elements")
        each = -(-size // count)
        sizes = [min(each, size - k * each) for k in range(count)]
    if sum(sizes) != size or min(sizes, default=0) < 1 or len(sizes) != len(op.node.outputs):
        raise UnsupportedError(f"cuts {size} elements into parts of {sizes[:8]}")
    return sizes
