# SPDX-License-Identifier: Apache-2.0
"""Resources of a block: the figures every estimate and report shares."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from l1ml.errors import DataError


@dataclass(frozen=True, slots=True)
class Resources:
    """FPGA cells; ``lut`` counts LUTs before two small ones share a site."""

    lut: int = 0
    ff: int = 0
    dsp: int = 0
    bram: int = 0

    def __add__(self, other: Resources) -> Resources:
        """Return the cells of two blocks together."""
        return Resources(
            self.lut + other.lut, self.ff + other.ff, self.dsp + other.dsp, self.bram + other.bram
        )

    def to_dict(self) -> dict[str, int]:
        """Return the figures by name."""
        return {"lut": self.lut, "ff": self.ff, "dsp": self.dsp, "bram": self.bram}


@dataclass(frozen=True, slots=True, kw_only=True)
class SynthesisResult:
    """What Yosys found.

    Args:
        top: synthesized module.
        lut: LUT cells of any size.
        sites: physical LUT sites: LUTs that drive a carry chain cannot share one, of the others
            two share at best and none at worst; counted is carry LUTs + 0.75 x others.
        ff: flip-flops.
        dsp: DSP slices.
        bram: block RAMs (18 kbit and 36 kbit alike).
        carry4: carry cells of four bits.
        depth: cells on the longest path between registers, carry cells counted as one each.
        seconds: wall time of the run that made the result.
        digest: SHA-256 over sources, top and recipe.
        tool: tool and version.
    """

    top: str
    lut: int
    sites: int
    ff: int
    dsp: int
    bram: int
    carry4: int
    depth: int
    seconds: float
    digest: str
    tool: str

    @property
    def resources(self) -> Resources:
        """Return the figures that a budget speaks of."""
        return Resources(self.lut, self.ff, self.dsp, self.bram)

    def to_dict(self) -> dict[str, Any]:
        """Return all fields by name, in declaration order."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}

    @classmethod
    def from_dict(cls, facts: dict[str, Any]) -> SynthesisResult:
        """Rebuild a result from `to_dict`.

        Raises:
            DataError: a field is missing or has the wrong kind.
        """
        kinds: dict[str, type] = {"top": str, "digest": str, "tool": str, "seconds": float}
        values: dict[str, Any] = {}
        for name in cls.__dataclass_fields__:
            kind = kinds.get(name, int)
            value = facts.get(name)
            if kind is float and isinstance(value, int) and not isinstance(value, bool):
                value = float(value)
            if not isinstance(value, kind) or isinstance(value, bool):
                raise DataError(
                    f"synthesis result has {name} = {value!r}; expected {kind.__name__}",
                    fix="delete the file and synthesize again",
                )
            values[name] = value
        return cls(**values)
