# SPDX-License-Identifier: Apache-2.0
"""Versions of this tool and of those whose choices shape its output."""

from __future__ import annotations

import re
from importlib import metadata
from pathlib import Path


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "not installed"


def _own() -> str:
    """Return this tool's version; of a checkout that is not installed, its ``pyproject.toml`` says it."""
    project = Path(__file__).resolve().parent.parent / "pyproject.toml"
    text = project.read_text(encoding="utf-8") if project.is_file() else ""
    found = re.search(r'(?m)^version = "([^"]+)"$', text)
    return found[1] if found else _version("l1ml")


VERSION = _own()


def tool_versions() -> dict[str, str]:
    """Return the versions of tools that decide the bytes of the RTL."""
    return {"alkaid": _version("alkaid")}
