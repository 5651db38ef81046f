# SPDX-License-Identifier: Apache-2.0
"""Finds the first layer at which RTL and emulator part, from signals inside the core.

The events around a divergence run once more on the bare core, built so that the signals at the layers'
borders can be read.  The manifest says which signal carries which element of which layer, and when.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from l1ml.types.arrays import IntArray, RealArray
from l1ml.validate.core import CoreRun, CoreSimulation

OUTSIDE = "link wrapper"
"""Named when the bare core is right: the fault lies between the link and the core."""
UNSEEN = "output of the core"
"""Named when the core is wrong but every layer that can be read is right."""


def locate(
    core: CoreSimulation,
    codes: IntArray,
    trace: Mapping[str, RealArray],
    expected: IntArray,
    *,
    spacings: tuple[int, ...],
) -> str:
    """Name the first layer, in the order of the manifest, with a value that differs from the emulator's.

    Args:
        core: the bare core, built with probes.
        codes: input codes of the events around the divergence, (events, elements).
        trace: the emulator's values of every layer for these events, ``{layer: (events, ...)}``.
        expected: the emulator's output codes for them, (events, elements).
        spacings: clocks between events to try, one after the other until something differs.

    Returns:
        The layer's name; `OUTSIDE` when the core is right at every spacing; `UNSEEN` when no probe differs.
    """
    for spacing in spacings:
        result = core.run(codes, spacing=spacing)
        layer = first_wrong_layer(core, result, trace)
        if layer is not None:
            return layer
        if (result.codes != expected).any() or not result.on_time.all() or result.spurious:
            return UNSEEN
    return OUTSIDE


def first_wrong_layer(core: CoreSimulation, result: CoreRun, trace: Mapping[str, RealArray]) -> str | None:
    """Return the first layer with a probed value that differs from the trace, or None."""
    for layer in core.manifest["layers"]:
        probes = layer.get("probes", ())
        if not probes or layer["name"] not in trace:
            continue
        values = np.asarray(trace[layer["name"]], dtype=np.float64)
        table = values.reshape(len(values), -1)
        for probe in probes:
            expected = np.ldexp(table[:, int(probe["element"])], int(probe["frac"])).astype(np.int64)
            if (core.probe(result, probe) != expected).any():
                return str(layer["name"])
    return None


def around(events: int, first: int, reach: int = 8) -> slice:
    """Return the events around a divergence that are run again."""
    return slice(max(0, first - reach), min(events, first + reach))


def locate_in_project(
    manifest: Mapping[str, Any],
    root: Path,
    build_dir: Path,
    codes: IntArray,
    trace: Mapping[str, RealArray],
    expected: IntArray,
) -> str:
    """Build the core with probes and call `locate` at the link's spacing, then back to back."""
    core = CoreSimulation(manifest, root, build_dir, probes=True, fast="-O0")
    spacings = tuple(dict.fromkeys((int(manifest["interval"]["link_cycles"]), 1)))
    return locate(core, codes, trace, expected, spacings=spacings)
