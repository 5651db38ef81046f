# SPDX-License-Identifier: Apache-2.0
"""The primitives every layer is made of: exact range, exact integers, once.

``infer`` gives the type of the result, ``emulate`` its integer codes for a batch of events.  These are the
only definitions of what a network computes: the fast emulator (`l1ml.graph.emulate`) and the lowering to
wires (`l1ml.lowering`) are both read off them and tested against them.
"""

from __future__ import annotations

from l1ml.graph.primitives.base import Primitive
from l1ml.graph.primitives.combine import ArgMax, Combine, Compare, Constant, Contract, Reduce, Select
from l1ml.graph.primitives.convert import Clip, Relu, Requantize
from l1ml.graph.primitives.linear import AddConst, ConstMatmul, MulConst
from l1ml.graph.primitives.move import Concat, Move, Reshape, Take, Window
from l1ml.graph.primitives.scalar import Scalar
from l1ml.graph.primitives.tables import Lookup, Rescale, Steps

__all__ = [
    "AddConst", "ArgMax", "Clip", "Combine", "Compare", "Concat", "ConstMatmul", "Constant", "Contract",
    "Lookup", "Move", "MulConst", "Primitive", "Reduce", "Relu", "Requantize", "Rescale", "Reshape", "Scalar",
    "Select", "Steps", "Take", "Window",
]  # fmt: skip
