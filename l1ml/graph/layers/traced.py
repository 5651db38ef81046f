# SPDX-License-Identifier: Apache-2.0
"""Layers that another tool has already taken apart into scalar operations."""

from __future__ import annotations

from dataclasses import dataclass

from l1ml.graph.layers.base import Layer
from l1ml.graph.net import Net, T
from l1ml.graph.primitives import Scalar


@dataclass(frozen=True, eq=False)
class Traced(Layer):
    """A scalar program over all elements of its input.

    Args:
        program: the operations.
        text: where they come from, for reports.
    """

    program: Scalar
    text: str = ""

    def emit(self, net: Net[T], *xs: T) -> T:
        """Run it."""
        return net.scalar(xs[0], self.program)
