# SPDX-License-Identifier: Apache-2.0
"""Which layers never give a negative value, so that their types need no sign."""

from __future__ import annotations

from collections.abc import Container

from l1ml.graph.layers.activation import Map, Relu, Softmax
from l1ml.graph.layers.base import Layer
from l1ml.graph.layers.merge import Concat, Dot, Einsum2, MatMul, Merge
from l1ml.graph.layers.pool import GlobalPool, Pool
from l1ml.graph.layers.reduce import Reduce
from l1ml.graph.layers.shape import Reshape, Take
from l1ml.graph.precision.curves import never_negative

_KEEPING = (Pool, GlobalPool, Reduce, Reshape, Take, Concat, MatMul, Einsum2, Dot)


def never_below_zero(layer: Layer, positive: Container[str]) -> bool:
    """Tell whether a layer gives no negative value, if the tensors ``positive`` hold none."""
    inputs = [name in positive for name in layer.inputs]
    if isinstance(layer, Relu | Softmax):
        return True
    if isinstance(layer, Map):
        return never_negative(layer.functions)
    if isinstance(layer, Merge):
        return (all(inputs) and layer.kind != "sub") or (any(inputs) and layer.kind == "max")
    return isinstance(layer, _KEEPING) and all(inputs)
