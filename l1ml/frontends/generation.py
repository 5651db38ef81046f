# SPDX-License-Identifier: Apache-2.0
"""Which generation of Keras wrote a model: some functions differ between 2 and 3."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def generation(config: Mapping[str, Any], written: str | None = None) -> int:
    """Tell whether Keras 2 or 3 wrote a model: by its version where it is stored, else by its spelling."""
    stored = written or config.get("keras_version")
    if isinstance(stored, str) and stored[:1].isdigit():
        return 3 if stored.startswith("3") else 2
    inner = config.get("config")
    layers = inner.get("layers") if isinstance(inner, Mapping) else None
    for layer in layers if isinstance(layers, list) else []:
        own = layer.get("config") if isinstance(layer, Mapping) else None
        policy = own.get("dtype") if isinstance(own, Mapping) else None
        calls = layer.get("inbound_nodes") if isinstance(layer, Mapping) else None
        new_calls = isinstance(calls, list) and any(isinstance(c, Mapping) and "args" in c for c in calls)
        if new_calls or (isinstance(policy, Mapping) and policy.get("class_name") == "DTypePolicy"):
            return 3
    return 2
