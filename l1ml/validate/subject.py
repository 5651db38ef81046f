# SPDX-License-Identifier: Apache-2.0
"""What a verdict is about: the facts it repeats from the manifest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_SUBJECT = ("name", "core_module", "top_module", "l1ml_version", "digest", "target")


def facts_of(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keyword arguments of a `Verdict` that a manifest decides."""
    return {
        "subject": {key: manifest[key] for key in _SUBJECT if key in manifest},
        "latency": dict(manifest["latency"]),
        "interval": dict(manifest["interval"]),
        "resources": dict(manifest["estimate"]),
    }
