# SPDX-License-Identifier: Apache-2.0
"""How primitives become wires: the table of rules, one function per primitive."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import singledispatch
from typing import Any

import numpy as np
from numpy.typing import NDArray

from l1ml.dataflow.build import Builder, Element
from l1ml.graph.primitives import Primitive
from l1ml.graph.tensor import TensorType
from l1ml.types.arrays import IntArray

Elements = NDArray[np.object_]
"""An array of `Element`, in the shape of a tensor."""


@dataclass(frozen=True)
class Place:
    """Where a primitive is lowered.

    Args:
        build: takes the steps.
        layer: index of the layer.
        types: types of the operands.
        type: type of the result.
    """

    build: Builder
    layer: int
    types: tuple[TensorType, ...]
    type: TensorType


@singledispatch
def lower_op(op: Primitive, at: Place, *xs: Elements) -> Elements:
    """Return the elements of the result of a primitive."""
    raise AssertionError(f"{type(op).__name__} has no lowering")


def array(elements: Iterable[Element], shape: tuple[int, ...]) -> Elements:
    """Return elements in the shape of a tensor."""
    flat = list(elements)
    out = np.empty(len(flat), dtype=object)
    out[:] = flat
    return out.reshape(shape)


def spread(values: Any, shape: tuple[int, ...]) -> list[int]:
    """Return integers that broadcast to a shape as a flat list of Python integers."""
    whole: IntArray = np.broadcast_to(np.asarray(values, dtype=np.int64), shape)
    return list(whole.ravel().tolist())
