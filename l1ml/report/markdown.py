# SPDX-License-Identifier: Apache-2.0
"""Small pieces of Markdown: tables and escaping.  Names from a model never become markup."""

from __future__ import annotations

import re
from collections.abc import Sequence

_SPECIAL = re.compile(r"([\\`*_{}\[\]<>#|!~&])")


def text(value: object) -> str:
    """Return a value as plain text in Markdown: special characters escaped, one line."""
    return _SPECIAL.sub(r"\\\1", " ".join(str(value).split()))


def code(value: object) -> str:
    """Return a value as inline code."""
    return "`" + " ".join(str(value).split()).replace("`", "'").replace("|", "\\|") + "`"


def table(head: Sequence[str], rows: Sequence[Sequence[str]], align: str = "") -> list[str]:
    """Return the lines of a table.

    Args:
        head: titles.
        rows: cells as Markdown.
        align: one letter per column, ``l`` or ``r``; left where missing.
    """
    sides = align.ljust(len(head), "l")
    rule = "|".join(" ---: " if side == "r" else " --- " for side in sides[: len(head)])
    return ["| " + " | ".join(head) + " |", f"|{rule}|", *("| " + " | ".join(row) + " |" for row in rows), ""]


def number(value: object) -> str:
    """Return an integer with thousands separators, a float with up to four digits, a dash for nothing."""
    if isinstance(value, bool) or value is None:
        return "-" if value is None else ("yes" if value else "no")
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:.4g}"
    return text(value)
