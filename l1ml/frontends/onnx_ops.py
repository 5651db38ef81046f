# SPDX-License-Identifier: Apache-2.0
"""The ONNX and QONNX operators that are read, one function each.  `OPS` and `QUANT_OPS` are the tables.

Source:
    The ONNX operator documentation; where an operator changed over the years, all forms that mean the same
    are accepted.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from l1ml.errors import ModelError
from l1ml.frontends import qonnx
from l1ml.frontends.canonical import Identity
from l1ml.frontends.common import Shape, UnsupportedError, power_of_two, reshaped, whole
from l1ml.frontends.normalization import batch_norm
from l1ml.frontends.onnx_graph import (
    STANDARD,
    Constant,
    Data,
    FollowOnError,
    Node,
    Operator,
    Reader,
    Result,
    Unknown,
)
from l1ml.graph.model import Affine, Dense, Relu, Reshape, Sign, Softmax
from l1ml.types.arrays import RealArray


def reader(node: Node) -> Reader:
    """Return the function that reads a node.

    Raises:
        UnsupportedError: there is none.
    """
    if node.domain in qonnx.DOMAINS and node.kind in QUANT_OPS:
        return QUANT_OPS[node.kind]
    if node.domain in STANDARD and node.kind in OPS:
        return OPS[node.kind]
    raise UnsupportedError("")


def _quant(op: Operator, name: str) -> Result:
    quant = qonnx.Quant.of(
        op.reals(1),
        op.reals(2),
        op.reals(3),
        signed=op.options.flag("signed", True),
        narrow=op.options.flag("narrow", False),
        rounding=str(op.options.raw("rounding_mode", "ROUND")),
    )
    if isinstance(op.tensor(0), Constant):
        return Constant(quant.values(op.constant(0).values), str(quant))
    x = op.data()
    return quant.layer(name, x.layer), x.shape


def _bipolar(op: Operator, name: str) -> Result:
    scale = qonnx.bipolar_scale(op.reals(1))
    if isinstance(op.tensor(0), Constant):
        return Constant(np.where(op.reals(0) >= 0, scale, -scale), f"BipolarQuant({scale:g})")
    x = op.data()
    return Sign(name, (x.layer,), scale=scale), x.shape


def _matmul(op: Operator, name: str) -> Result:
    x, kernel = op.data(0), op.constant(1)
    if kernel.values.ndim != 2:
        raise UnsupportedError(f"a constant of shape {kernel.values.shape}; a matrix is supported")
    return _dense(op, name, x, kernel, None)


def _gemm(op: Operator, name: str) -> Result:
    x, kernel = op.data(0), op.constant(1)
    if op.options.flag("transA", False):
        raise UnsupportedError("transA mixes events of a batch")
    if kernel.values.ndim != 2:
        raise UnsupportedError(f"a constant of shape {kernel.values.shape}; a matrix is supported")
    if x.shape is not None and len(x.shape) != 1:
        raise UnsupportedError(f"data of shape {x.shape}; one axis beside the batch is supported")
    matrix = kernel.values.T if op.options.flag("transB", False) else kernel.values
    scaled = Constant(_times(op, "alpha", matrix), kernel.quantizer)
    bias = None
    if op.has(2):
        stored = op.constant(2)
        bias = Constant(_times(op, "beta", stored.values), stored.quantizer)
    return _dense(op, name, x, scaled, bias)


def _times(op: Operator, key: str, values: np.ndarray) -> RealArray:
    factor = op.options.number(key, 1.0)
    if factor is None or not power_of_two(factor):
        raise UnsupportedError(f"{key}={factor}; a power of two is supported")
    return np.asarray(values.astype(np.float64) * factor, dtype=np.float64)


def _dense(op: Operator, name: str, x: Data, kernel: Constant, bias: Constant | None) -> Result:
    n_in, n_out = kernel.values.shape
    if 0 in kernel.values.shape or (x.shape is not None and x.shape[-1] != n_in):
        raise ModelError(
            f"the matrix of node {op.node.name!r} has the shape {kernel.values.shape}, its data {x.shape}",
            where=(op.source,),
        )
    texts = [("kernel", kernel.quantizer)] if kernel.quantizer else []
    dense = Dense(
        name,
        (x.layer,),
        kernel.values.astype(np.float64),
        None,
        exact=kernel.quantizer is not None,
        quantizers=tuple((key, text) for key, text in texts),
    )
    if bias is not None:
        dense = _with_bias(dense, bias)
    return dense, None if x.shape is None else (*x.shape[:-1], n_out)


def _with_bias(dense: Dense, bias: Constant) -> Dense:
    values = _per_channel(bias.values, dense.kernel.shape[1])
    quantizers = (*dense.quantizers, *((("bias", bias.quantizer),) if bias.quantizer else ()))
    exact = dense.exact and (bias.quantizer is not None or not values.any())
    return replace(dense, bias=values, exact=exact, quantizers=quantizers)


def _per_channel(values: np.ndarray, channels: int | None) -> RealArray:
    """Bring a constant that differs along the last axis only into the shape (channels,)."""
    flat = values.astype(np.float64).reshape(-1)
    along_last = values.ndim == 0 or values.shape[-1] == flat.size
    if not along_last or flat.size not in (1, channels or flat.size):
        raise UnsupportedError(f"a constant of shape {values.shape}; one value per channel is supported")
    return np.asarray(np.broadcast_to(flat, (channels or flat.size,)), dtype=np.float64)


def _add(op: Operator, name: str) -> Result:
    tensors = (op.tensor(0), op.tensor(1))
    if any(isinstance(tensor, Unknown) for tensor in tensors):
        raise FollowOnError
    if all(isinstance(tensor, Data) for tensor in tensors):
        raise UnsupportedError("a sum of two tensors of data")
    index = 1 if isinstance(tensors[1], Constant) else 0
    constant, x = op.constant(index), op.data(1 - index)
    before = op.reading.layers.get(x.layer)
    mine = op.reading.readers(op.node.inputs[1 - index]) == 1
    if isinstance(before, Dense) and before.bias is None and mine:
        # The result is that of the Add, so it has its name; nothing else reads the product.
        merged = replace(_with_bias(before, constant), name=name)
        del op.reading.layers[before.name]
        return merged, x.shape
    offset = _per_channel(constant.values, x.shape[-1] if x.shape else None).astype(np.float32)
    return Affine(name, (x.layer,), np.ones_like(offset), offset), x.shape


def _relu(op: Operator, name: str) -> Result:
    x = op.data()
    return Relu(name, (x.layer,)), x.shape


def _batch_norm(op: Operator, name: str) -> Result:
    x = op.data()
    if op.options.flag("training_mode", False) or len([out for out in op.node.outputs if out]) > 1:
        raise UnsupportedError("in training mode")
    if x.shape is not None and len(x.shape) != 1:
        raise UnsupportedError("over channels that are not the last axis")
    epsilon = op.options.number("epsilon", 1e-5)
    if epsilon is None or epsilon < 0:
        raise op.options.wrong("epsilon", "a number of at least 0")
    gamma, beta, mean, variance = (op.reals(k).astype(np.float32) for k in (1, 2, 3, 4))
    try:
        scale, offset = batch_norm(mean, variance, gamma, beta, epsilon)
    except ValueError as error:
        raise ModelError(f"node {op.node.name!r}: {error}", where=(op.source,)) from None
    if scale.ndim != 1 or (x.shape is not None and scale.shape != x.shape[-1:]):
        raise ModelError(
            f"node {op.node.name!r} has {scale.size} channels, its data the shape {x.shape}",
            where=(op.source,),
        )
    return Affine(name, (x.layer,), scale, offset), x.shape


def _softmax(op: Operator, name: str) -> Result:
    x = op.data()
    default = -1 if op.reading.graph.opset >= 13 else 1
    if x.shape is not None and op.axis("axis", default, x.shape) != len(x.shape):
        raise UnsupportedError("over an axis other than the last")
    return Softmax(name, (x.layer,)), x.shape


def _identity(op: Operator, name: str) -> Result:
    tensor = op.tensor(0)
    return tensor if isinstance(tensor, Constant) else (Identity(name, (tensor.layer,)), tensor.shape)


def _dropout(op: Operator, name: str) -> Result:
    if op.has(2) and np.any(op.constant(2).values):
        raise UnsupportedError("in training mode")
    return _identity(op, name)


def _transpose(op: Operator, name: str) -> Result:
    tensor = op.tensor(0)
    if isinstance(tensor, Unknown):
        raise FollowOnError
    if isinstance(tensor, Data):
        raise UnsupportedError("of data; only constants can be transposed")
    order = op.options.integers("perm") or list(range(tensor.values.ndim))[::-1]
    if sorted(order) != list(range(tensor.values.ndim)):
        raise op.options.wrong("perm", f"an order of {tensor.values.ndim} axes")
    return Constant(tensor.values.transpose(order), tensor.quantizer)


def _flatten(op: Operator, name: str) -> Result:
    x = op.data()
    if x.shape is None:
        return Identity(name, (x.layer,)), None
    if op.axis("axis", 1, x.shape) != 1:
        raise UnsupportedError("of the batch axis")
    return _reshaped(op, name, x, x.shape, [-1])


def _reshape(op: Operator, name: str) -> Result:
    target = (
        op.options.integers("shape")
        if not op.has(1)
        else [whole(float(n)) or 0 for n in np.ravel(op.reals(1))]
    )
    if not target or len(target) > 8:
        raise UnsupportedError("to a shape that is not a list of 1 to 8 sizes")
    tensor = op.tensor(0)
    if isinstance(tensor, Constant):
        try:
            return Constant(tensor.values.reshape(target), tensor.quantizer)
        except ValueError as error:
            raise ModelError(f"node {op.node.name!r}: {error}", where=(op.source,)) from None
    if tensor.shape is None:
        return Identity(name, (tensor.layer,)), None
    batch, sizes = target[0], target[1:]
    sizes = [tensor.shape[k] if n == 0 and k < len(tensor.shape) else n for k, n in enumerate(sizes)]
    baked = {size for size in op.reading.graph.batches.values() if size > 0}
    if not sizes or (batch not in (0, *baked) and not (batch == -1 and -1 not in sizes)):
        raise UnsupportedError(f"to {target}: it moves values across the batch axis")
    return _reshaped(op, name, tensor, tensor.shape, sizes)


def _reshaped(op: Operator, name: str, x: Data, before: Shape, sizes: list[int]) -> Result:
    shape = reshaped(before, sizes, f"node {op.node.name!r}", op.source)
    if shape == before:
        return Identity(name, (x.layer,)), shape
    return Reshape(name, (x.layer,), shape), shape


OPS: dict[str, Reader] = {
    "Add": _add,
    "BatchNormalization": _batch_norm,
    "Dropout": _dropout,
    "Flatten": _flatten,
    "Gemm": _gemm,
    "Identity": _identity,
    "MatMul": _matmul,
    "Relu": _relu,
    "Reshape": _reshape,
    "Softmax": _softmax,
    "Transpose": _transpose,
}

QUANT_OPS: dict[str, Reader] = {"Quant": _quant, "IntQuant": _quant, "BipolarQuant": _bipolar}

SUPPORTED = (*OPS, *QUANT_OPS, "Constant")
