# SPDX-License-Identifier: Apache-2.0
"""Wires as they are read in expressions; every bit that is read is remembered."""

from __future__ import annotations

from l1ml.types.intrange import IntType


class Operand:
    """A wire as it is read in an expression; it remembers which of its bits were read.

    Args:
        name: the signal.
        kind: range of the wire.
        constant: its value, if it is a literal.
        declared: (lowest, one above highest) bit of the signal; all bits of ``kind`` by default.
    """

    def __init__(
        self, name: str, kind: IntType, constant: int | None = None, declared: tuple[int, int] | None = None
    ) -> None:
        self.name, self.kind, self.constant = name, kind, constant
        self.declared = declared if declared is not None else (0, kind.width)
        self.read = 0
        """Bit mask of what was read."""

    def _note(self, low: int, high: int) -> None:
        self.read |= (1 << high) - (1 << low)

    def bit(self, index: int) -> str:
        """Return one bit; above the top it is the sign, or zero."""
        if self.constant is not None:
            return f"1'b{self.constant >> index & 1}"
        if index < self.kind.width:
            self._note(index, index + 1)
            return self.name if self.declared == (0, 1) else f"{self.name}[{index}]"
        return self.bit(self.kind.width - 1) if self.kind.signed else "1'b0"

    def bits(self, low: int, width: int) -> str:
        """Return ``width`` bits from ``low`` up, extended by the sign or zeros."""
        if self.constant is not None:
            return literal(self.constant >> low, width)
        have = self.kind.width - low
        if have <= 0:
            return (
                f"{{{width}{{{self.bit(self.kind.width - 1)}}}}}" if self.kind.signed else literal(0, width)
            )
        if have >= width:
            return self._slice(low, width)
        missing = width - have
        if not self.kind.signed:
            return f"{{{literal(0, missing)}, {self._slice(low, have)}}}"
        top = self.bit(self.kind.width - 1)
        extension = top if missing == 1 else f"{{{missing}{{{top}}}}}"
        return f"{{{extension}, {self._slice(low, have)}}}"

    def index(self, low: int, width: int) -> str:
        """Return bits of the signal as an unsigned number: a signed name would be a negative index."""
        self._note(low, low + width)
        return f"{self.name}[{low + width - 1}:{low}]"

    def whole(self) -> str:
        """Return the signal with its sign, for a comparison."""
        self._note(0, self.kind.width)
        return f"$signed({self.name})" if self.kind.signed else self.name

    def _slice(self, low: int, width: int) -> str:
        self._note(low, low + width)
        if self.declared == (low, low + width):
            return self.name
        return self.bit(low) if width == 1 else f"{self.name}[{low + width - 1}:{low}]"


def literal(value: int, width: int) -> str:
    """Return a sized literal; negative values as their two's complement.

    Example:
        >>> literal(-3, 6)
        "6'd61"
    """
    return f"{width}'d{value % (1 << width)}"
