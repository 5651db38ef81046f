# SPDX-License-Identifier: Apache-2.0
"""QKeras' quantizers: what they do to stored weights, and which functions they are on data."""

from __future__ import annotations

from l1ml.frontends.qkeras.activations import activation, relu, typed_quantizer
from l1ml.frontends.qkeras.functions import ModuleSigmoid
from l1ml.frontends.qkeras.weights import Weights, weights
from l1ml.graph.functions import Function

__all__ = ["Weights", "activation", "own_hard_sigmoid", "relu", "typed_quantizer", "weights"]


def own_hard_sigmoid() -> tuple[Function, ...]:
    """Return QKeras' hard sigmoid, ``clip(x / 2 + 1 / 2, 0, 1)``, which is not the one of Keras."""
    return (ModuleSigmoid("hard"),)
