# SPDX-License-Identifier: Apache-2.0
"""Einsum of ONNX: with a constant, of two tensors of the event, or of one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from l1ml.frontends.common import UnsupportedError
from l1ml.frontends.onnx import layout
from l1ml.frontends.onnx.operator import Operator, Result
from l1ml.frontends.onnx.reducing import reduced
from l1ml.frontends.onnx.tensors import Constant, Data
from l1ml.frontends.onnx.weights import Weights
from l1ml.graph import model

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def einsum(op: Operator) -> Result:
    """Read Einsum of one or two operands."""
    operands = [op.constant(k) if op.is_constant(k) else op.data(k) for k in range(op.count)]
    parts, result = _equation(op, [x.values.ndim if isinstance(x, Constant) else x.rank for x in operands])
    tensors = [(x, part) for x, part in zip(operands, parts, strict=True) if isinstance(x, Data)]
    constants = [(x, part) for x, part in zip(operands, parts, strict=True) if isinstance(x, Constant)]
    if len(operands) > 2:
        raise UnsupportedError(f"of {len(operands)} operands; one or two are supported")
    batch = {part[x.batch] for x, part in tensors if x.batch is not None}
    if any(x.folded or x.batch is None for x, _ in tensors) or len(batch) != 1:
        raise UnsupportedError("of tensors that have their batch axis at different places")
    letter = batch.pop()
    if letter not in result or any(letter in part for _, part in constants):
        raise UnsupportedError("sums over the events of a batch")
    if len(tensors) == 1 and not constants:
        return _of_one(op, tensors[0][0], tensors[0][1], result)
    place = result.index(letter)
    inner = result.replace(letter, "")
    size: dict[str, int] = {}
    for x, part in tensors:
        size |= dict(zip(part.replace(letter, ""), x.shape, strict=True))
    if constants:
        x, part = tensors[0]
        x, part = _summed_first(op, x, part, constants[0][1] + result)
        return _with_constant(op, x, part.replace(letter, ""), constants[0], inner, place)
    (x, a), (y, b) = tensors
    x, y = layout.plain(op.reading, x), layout.plain(op.reading, y)
    shape = tuple(size[c] for c in inner)
    layout.check_size(shape)
    a, b = a.replace(letter, ""), b.replace(letter, "")
    if not a or not b or not inner:
        raise UnsupportedError("without an axis beside the batch")
    layer = model.Einsum2(op.name, (x.layer, y.layer), f"{a},{b}->{inner}".lower())
    return Data.plain(op.reading.add(layer), shape, batch=place)


def _equation(op: Operator, ranks: list[int]) -> tuple[list[str], str]:
    """Return the subscripts of the operands and of the result, in capital letters, no ellipsis left."""
    text = op.options.text("equation", "").replace(" ", "")
    left, arrow, result = text.partition("->")
    parts = left.split(",")
    names = sorted({c for c in text if c.isalpha()})
    if len(parts) != len(ranks) or len(names) > 20 or len(text) > 200:
        raise UnsupportedError(f"{text[:40]!r} for {len(ranks)} operands")
    new = {old: LETTERS[k] for k, old in enumerate(names)}
    spare = LETTERS[len(names) :]
    own = [part.replace("...", "") for part in parts]
    hidden = [
        rank - len(part) if "..." in given else 0 for rank, part, given in zip(ranks, own, parts, strict=True)
    ]
    if any(not (part.isalpha() or not part) for part in own) or min(hidden) < 0 or max(hidden) > len(spare):
        raise UnsupportedError(f"{text[:40]!r} for operands with {ranks} axes")
    widest = max(hidden)
    dots = [spare[widest - count : widest] for count in hidden]
    full = []
    for given, count in zip(parts, dots, strict=True):
        before, _, after = given.partition("...")
        full.append(
            "".join(new[c] for c in before)
            + (count if "..." in given else "")
            + "".join(new[c] for c in after)
        )
    if not arrow:
        once = [c for c in sorted(names) if left.count(c) == 1]
        made = spare[:widest] + "".join(new[c] for c in once)
    else:
        before, dotted, after = result.partition("...")
        made = (
            "".join(new[c] for c in before)
            + (spare[:widest] if dotted else "")
            + "".join(new[c] for c in after)
        )
    if any(len(set(part)) != len(part) for part in (*full, made)):
        raise UnsupportedError(f"{text[:40]!r}: a letter twice in one operand")
    if [len(part) for part in full] != ranks or not set(made) <= set("".join(full)):
        raise UnsupportedError(f"{text[:40]!r} for operands with {ranks} axes")
    return full, made


def _of_one(op: Operator, x: Data, part: str, result: str) -> Data:
    lost = [axis for axis, letter in enumerate(part) if letter not in result]
    if lost:
        x = reduced(op, op.name, x, "sum", lost, keep=False)
        part = "".join(c for c in part if c in result)
    return layout.turned(x, [part.index(c) for c in result])


def _summed_first(op: Operator, x: Data, part: str, others: str) -> tuple[Data, str]:
    """Sum over the axes that only the tensor has."""
    lost = [axis for axis, letter in enumerate(part) if letter not in others]
    if not lost:
        return x, part
    return reduced(op, f"{op.name}.sum", x, "sum", lost, keep=False), "".join(c for c in part if c in others)


def _with_constant(
    op: Operator, x: Data, part: str, constant: tuple[Constant, str], result: str, place: int
) -> Data:
    weights, own = Weights.of(constant[0]), constant[1]
    alone = [axis for axis, letter in enumerate(own) if letter not in part + result]
    if alone:
        if weights.scale is not None:
            raise UnsupportedError("sums over an axis of the weights alone")
        weights = replace(weights, kernel=weights.kernel.sum(axis=tuple(alone)))
        own = "".join(c for c in own if c in part + result)
    x = layout.plain(op.reading, x)
    size = dict(zip(part, x.shape, strict=True)) | dict(zip(own, weights.kernel.shape, strict=True))
    shape = tuple(size[c] for c in result)
    layout.check_size(shape)
    summed = [axis for axis, letter in enumerate(own) if letter not in result]
    scale = weights.per_output(summed)
    if scale is not None:
        kept = [c for c in own if c in result]
        scale = scale.transpose([kept.index(c) for c in result if c in kept])
        sizes = iter(scale.shape)
        scale = np.asarray(scale.reshape([next(sizes) if c in kept else 1 for c in result]))
    layer = model.Einsum(
        op.name, (x.layer,), weights.kernel, None, exact=weights.exact, quantizers=weights.quantizers(),
        scale=scale, equation=f"{part},{own}->{result}".lower(),
    )  # fmt: skip
    return Data.plain(op.reading.add(layer), shape, batch=place)
