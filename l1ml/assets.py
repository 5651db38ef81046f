# SPDX-License-Identifier: Apache-2.0
"""Finds the files that are not Python: HDL, templates, link descriptions, plans, datasets.

In a wheel they lie in ``l1ml/_assets``; in a checkout they are the four top folders themselves.
"""

from __future__ import annotations

from pathlib import Path

from l1ml.errors import ToolError

_PACKAGE = Path(__file__).resolve().parent


def root() -> Path:
    """Return the folder that holds ``firmware``, ``interfaces``, ``validation`` and ``datasets``."""
    packed = _PACKAGE / "_assets"
    if (packed / "firmware").is_dir():
        return packed
    checkout = _PACKAGE.parent
    if (checkout / "pyproject.toml").is_file() and (checkout / "firmware").is_dir():
        return checkout
    raise ToolError(
        "this installation of l1ml has no HDL and link files",
        where=(str(packed),),
        fix="reinstall l1ml from its wheel, or run it from a checkout",
    )


def path(*parts: str) -> Path:
    """Return the path of one asset, for example ``path("interfaces", "emp")``; it must exist."""
    found = root().joinpath(*parts)
    if not found.exists():
        raise ToolError(
            f"missing file of the installation: {'/'.join(parts)}", where=(str(root()),), fix="reinstall l1ml"
        )
    return found
