# SPDX-License-Identifier: Apache-2.0
"""One form for networks that mean the same, whichever tool wrote them: passes that every reader ends with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from l1ml.graph.model import Input, Layer, Model, Quantize, Relu
from l1ml.graph.net import Net, T
from l1ml.types.fixed import Overflow


@dataclass(frozen=True, eq=False)
class Identity(Layer):
    """A layer that does nothing at inference; readers make it, `drop_identities` removes it."""

    def emit(self, net: Net[T], *xs: T) -> T:
        """Return the input."""
        return xs[0]


def drop_identities(model: Model) -> Model:
    """Let the readers of an identity read its input."""
    real: dict[str, str] = {}
    kept: list[Layer] = []
    for layer in model.layers:
        inputs = tuple(real.get(name, name) for name in layer.inputs)
        if isinstance(layer, Identity):
            real[layer.name] = inputs[0]
        else:
            kept.append(layer if inputs == layer.inputs else replace(layer, inputs=inputs))
    outputs = tuple(dict.fromkeys(real.get(name, name) for name in model.outputs))
    return replace(model, layers=tuple(kept), outputs=outputs)


def drop_implied_relus(model: Model) -> Model:
    """Drop a ReLU that only feeds unsigned saturating quantizers: these give 0 for every negative value.

    It holds for every rounding: a negative value rounds to a code of at most 0, and saturates at 0.
    """
    readers: dict[str, list[Layer]] = {layer.name: [] for layer in model.layers}
    for layer in model.layers:
        for name in layer.inputs:
            readers[name].append(layer)
    real: dict[str, str] = {}
    kept: list[Layer] = []
    for layer in model.layers:
        inputs = tuple(real.get(name, name) for name in layer.inputs)
        after = readers[layer.name]
        if (
            isinstance(layer, Relu)
            and layer.name not in model.outputs
            and after
            and all(map(_clips_at_zero, after))
        ):
            real[layer.name] = inputs[0]
        else:
            kept.append(layer if inputs == layer.inputs else replace(layer, inputs=inputs))
    return replace(model, layers=tuple(kept))


def _clips_at_zero(layer: Layer) -> bool:
    if not isinstance(layer, Quantize):
        return False
    return not layer.quantizer.type.signed and layer.quantizer.overflow is not Overflow.WRAP


def inputs_first(model: Model) -> Model:
    """Put the inputs before all other layers; their order among themselves stays."""
    others = tuple(layer for layer in model.layers if not isinstance(layer, Input))
    return replace(model, layers=(*model.inputs, *others))


PASSES: tuple[Callable[[Model], Model], ...] = (drop_identities, drop_implied_relus, inputs_first)


def canonical(model: Model) -> Model:
    """Run all passes.

    Raises:
        ModelError: the network is not well formed.
    """
    model.verify()
    for step in PASSES:
        model = step(model)
        model.verify()
    return model
