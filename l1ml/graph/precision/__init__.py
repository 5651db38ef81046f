# SPDX-License-Identifier: Apache-2.0
"""Post-training quantization: types for models, or parts of models, that have no quantizers of their own.

`structure` finds the places that need a type, `choose` gives each one, `finish` puts them in.
"""

from __future__ import annotations

from collections.abc import Mapping

from l1ml.graph.model import Model
from l1ml.graph.precision.apply import finish, summary, with_constants
from l1ml.graph.precision.choose import choose, fitting, narrowest
from l1ml.graph.precision.run import measure, simulate
from l1ml.graph.precision.settings import Auto, Settings, quantizer
from l1ml.graph.precision.slots import Slot, Structure
from l1ml.graph.precision.structure import structure

__all__ = [
    "Auto", "Settings", "Slot", "Structure", "apply_types", "choose", "finish", "fitting", "measure", "narrowest",
    "quantizer", "simulate", "structure", "summary", "with_constants",
]  # fmt: skip


def apply_types(model: Model, layers: Mapping[str, Mapping[str, str]]) -> Model:
    """Give types to layers by name, ``{"fc1": {"weight": "fixed<8,1>", ...}}``; the others stay as they are.

    Raises:
        ConfigError: a name or key does not exist, or the model itself quantizes what is named.
        RangeError: constants do not fit their type.
    """
    settings = Settings.of(None, layers)
    if not settings:
        return model
    places = structure(model, settings)
    return finish(places, choose(places, settings.auto, None))
