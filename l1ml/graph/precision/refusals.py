# SPDX-License-Identifier: Apache-2.0
"""Why a type that the user gives has no place in a layer."""

from __future__ import annotations

from l1ml.errors import nearest
from l1ml.graph.model import Input, Layer, Weighted
from l1ml.graph.precision.slots import CONSTANTS


def why_not(layer: Layer | None, key: str, has: list[str]) -> str:
    """Say why a layer has no place for a type that the user gives it."""
    if isinstance(layer, Input):
        return "the type of an input is input_type"
    if isinstance(layer, Weighted) and key in CONSTANTS and getattr(layer, CONSTANTS[key], None) is not None:
        part = {"weight": "kernel"}.get(key, key)
        if layer.exact:
            return f"the model itself quantizes the weights of {layer.name!r}; remove {key} here"
        if part in dict(layer.quantizers):
            return f"the model itself quantizes the {part} of {layer.name!r}; give a type for bias only"
    if key == "weight" and not has:
        return "the layer has no weights"
    return nearest(key, has) if has else "the layer has nothing that needs a type"
