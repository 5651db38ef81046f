# SPDX-License-Identifier: Apache-2.0
"""Errors a user can cause and act on: what was found, where, and one fix."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class L1mlError(Exception):
    """Base of every error a user can cause.

    Args:
        what: what is wrong, with the value found and the value allowed.
        where: the place in the user's input (file, layer, YAML key, HDF5 path), innermost last.
        fix: one thing the user can do about it.
    """

    def __init__(self, what: str, *, where: tuple[str, ...] = (), fix: str | None = None) -> None:
        self.what, self.where, self.fix = what, where, fix
        super().__init__(what)

    def __str__(self) -> str:
        lines = [self.what]
        if self.where:
            lines.append("  in  " + " > ".join(self.where))
        if self.fix:
            lines.append("  fix " + self.fix)
        return "\n".join(lines)


class ModelError(L1mlError):
    """A model file is malformed, or holds something that has no exact meaning here."""


class ConfigError(L1mlError):
    """A configuration value or key is wrong."""


class RangeError(L1mlError):
    """A number does not fit the bits it was given."""


class TimingError(L1mlError):
    """A clock, latency or interval cannot be met."""


class InterfaceError(L1mlError):
    """A link description is inconsistent, or the data do not fit the link."""


class DataError(L1mlError):
    """An event file or array does not hold what was promised."""


class ToolError(L1mlError):
    """An external tool is missing or failed."""


def nearest(name: str, allowed: Iterable[str]) -> str:
    """Say which of ``allowed`` was probably meant by ``name``, then list them all.

    Example:
        >>> nearest("clock_mz", ["clock_mhz", "tmux"])
        'did you mean clock_mhz? allowed are clock_mhz, tmux'
    """
    known = sorted(allowed)
    close = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {close[0]}? " if close else ""
    return f"{hint}allowed are {', '.join(known)}"


def install_hint(extra: str) -> str:
    """Return how the packages of an extra are installed, for the fix of a message."""
    return f"in the folder of l1ml's sources: pip install '.[{extra}]'"
