# SPDX-License-Identifier: Apache-2.0
"""What the program does later with a tensor that is about to be laid out."""

from __future__ import annotations

from collections import Counter

import numpy as np

from l1ml.graph import primitives as p
from l1ml.graph.program import TensorProgram
from l1ml.plan.beat import CONSTANTS, ELEMENTWISE

ALONG = (p.Reduce, p.ConstMatmul, p.Contract)
"""Primitives that take the last axis of their first operand together."""


def taken_together(program: TensorProgram, tensor: int, axis: int) -> bool:
    """Tell whether the first step that takes elements of a tensor together does so along an axis.

    A softmax, for one, adds up along the keys: so the queries should be streamed.

    Args:
        program: the network.
        tensor: number of the tensor.
        axis: of it.
    """
    shape = program.type_of(tensor).shape
    place = np.broadcast_to(
        np.arange(shape[axis]).reshape([-1 if a == axis else 1 for a in range(len(shape))]), shape
    )
    same: tuple[type[p.Primitive], ...] = (*ELEMENTWISE, *CONSTANTS)
    for number, step in program.numbered():
        if tensor not in step.sources or number <= tensor:
            continue
        if isinstance(step.op, ALONG):
            return bool((place[..., :1] != place).any())
        if isinstance(step.op, p.Move):
            place = place.ravel()[np.maximum(step.op.indices(place.shape), 0)]
        elif not isinstance(step.op, same) or step.type.shape != place.shape:
            return False
        tensor = number
    return False


def products_ahead(program: TensorProgram) -> dict[int, int]:
    """Return the products that read a tensor of one axis through steps that act element by element.

    Nobody else reads what lies between.

    Returns:
        Number of the first of these steps -> number of the product's step.
    """
    first, found = len(program.inputs), {}
    readers = Counter(source for step in program.steps for source in step.sources)
    readers.update(tensor for _, tensor in program.outputs)
    for number, step in enumerate(program.steps):
        at = step.sources[0] if isinstance(step.op, p.ConstMatmul) else 0
        begin = None
        while at >= first and readers[at] == 1:
            behind = program.steps[at - first]
            if (
                not isinstance(behind.op, tuple(CONSTANTS))
                or len(behind.type.shape) != 1
                or not behind.sources
            ):
                break
            begin, at = at - first, behind.sources[0]
        if begin is not None:
            found[begin] = number
    return found
