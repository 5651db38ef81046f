# SPDX-License-Identifier: Apache-2.0
"""Renders the text templates of firmware and links; the only home of jinja2."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2

from l1ml import assets


def render(path: Path, context: Mapping[str, Any]) -> str:
    """Fill in a template.

    Args:
        path: the template; it may import others from its folder and from ``firmware/templates``.
        context: its variables.  One that the template uses and the context lacks is a bug and raises.
    """
    loader = jinja2.FileSystemLoader([path.parent, assets.path("firmware") / "templates"])
    # HDL is no HTML: nothing to escape; names are checked before they come here.
    environment = jinja2.Environment(
        loader=loader,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )
    return environment.get_template(path.name).render(context)
