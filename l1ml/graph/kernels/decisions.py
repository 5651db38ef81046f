# SPDX-License-Identifier: Apache-2.0
"""Kernels of comparisons and choices: values are compared as they are, whatever their grids."""

from __future__ import annotations

import numpy as np

from l1ml.graph import primitives
from l1ml.graph.kernels.kernel import Kind
from l1ml.graph.kernels.plan import Place, rows_of, spread_ids
from l1ml.types.arrays import IntArray


@rows_of.register
def _compare(op: primitives.Compare, at: Place, a: IntArray, b: IntArray) -> IntArray:
    return at.fold(Kind.COMPARE, np.stack([spread_ids(x, at.type.shape) for x in (a, b)], axis=-1))


@rows_of.register
def _select(op: primitives.Select, at: Place, condition: IntArray, a: IntArray, b: IntArray) -> IntArray:
    return at.fold(Kind.SELECT, np.stack([spread_ids(x, at.type.shape) for x in (condition, a, b)], axis=-1))


@rows_of.register
def _argmax(op: primitives.ArgMax, at: Place, x: IntArray) -> IntArray:
    return at.fold(Kind.ARGMAX, x)
