# SPDX-License-Identifier: Apache-2.0
"""Versions of this tool and of those whose choices shape its output."""

from __future__ import annotations

from importlib import metadata


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "not installed"


VERSION = _version("l1ml")


def tool_versions() -> dict[str, str]:
    """Return the versions of tools that decide the bytes of the RTL."""
    return {"alkaid": _version("alkaid")}
