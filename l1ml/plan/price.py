# SPDX-License-Identifier: Apache-2.0
"""One number for the resources of a plan: the share of the part that it takes, or what the user is short of."""

from __future__ import annotations

from dataclasses import dataclass

from l1ml.plan.cost import Resources

PARTS = {
    "xcvu13p": Resources(1_728_000, 3_456_000, 12_288, 2_688),
    "xcvu9p": Resources(1_182_240, 2_364_480, 6_840, 2_160),
    "xcvu7p": Resources(788_160, 1_576_320, 4_560, 1_440),
    "xcku115": Resources(663_360, 1_326_720, 5_520, 2_160),
    "xcku15p": Resources(522_720, 1_045_440, 1_968, 984),
    "xc7vx690t": Resources(433_200, 866_400, 3_600, 1_470),
}
"""What a part has, by the beginning of its name; Xilinx DS890, DS180."""

DEFAULT = "xcvu9p"
"""Whose resources stand for those of a part that is not listed."""

KINDS = tuple(Resources().to_dict())
"""What a user can be short of."""

REST = 20
"""How much less the other kinds count where the user spares one."""


def listed(part: str) -> str:
    """Return the name in `PARTS` by which a part is weighed."""
    return next((name for name in PARTS if part.lower().startswith(name)), DEFAULT)


@dataclass(frozen=True)
class Price:
    """What resources are worth.

    Args:
        part: FPGA; the price is the sum of the shares that a block takes of it, so what it has least of counts most.
        spare: the kind of resource that the user is short of, one of `KINDS`: all others count a twentieth; empty
            for the plain sum.
    """

    part: str = ""
    spare: str = ""

    def of(self, used: Resources) -> float:
        """Return the price."""
        have = PARTS[listed(self.part)].to_dict()
        shares = {kind: amount / have[kind] for kind, amount in used.to_dict().items()}
        return sum(s if self.spare in ("", kind) else s / REST for kind, s in shares.items())
