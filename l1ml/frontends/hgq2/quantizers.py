# SPDX-License-Identifier: Apache-2.0
"""HGQ2's quantizers: a type per element, from configuration and stored bit widths.

Source:
    ``hgq/quantizer/internal/fixed_point_quantizer.py`` and ``quantizers/fixed_point``: widths are stored as floats
    and rounded half to even; ``kbi`` counts bits without the sign, ``f = b - i``; no bits mean 0; weights that
    wrap are only rounded.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from l1ml.errors import RangeError
from l1ml.frontends.common import Options, UnsupportedError
from l1ml.frontends.keras.step import Step
from l1ml.types.arrays import RealArray
from l1ml.types.fixed import Overflow, Rounding, round_codes
from l1ml.types.grid import Grid


@dataclass(frozen=True, eq=False)
class Kif:
    """A quantizer: per-element sign, integer and fraction bits, and how values get there."""

    k: np.ndarray
    i: np.ndarray
    f: np.ndarray
    rounding: Rounding
    overflow: Overflow
    weight: bool

    def grid(self, *, batch: bool) -> Grid:
        """Return the types for data.

        Args:
            batch: the first axis of the stored widths is that of the events.
        """
        k, i, f = (a[0] if batch and a.ndim else a for a in (self.k, self.i, self.f))
        return Grid.kif(k, i, f, self.rounding, self.overflow)

    def values(self, raw: np.ndarray) -> RealArray:
        """Quantize stored constants."""
        if self.weight and self.overflow is Overflow.WRAP and self.rounding is Rounding.RND:
            real = raw.astype(np.float64)
            return np.asarray(np.ldexp(round_codes(np.ldexp(real, self.f), self.rounding), -self.f))
        return self.grid(batch=False).values(raw)


class Parts:
    """The stored arrays of one layer, by their place inside of it."""

    def __init__(self, step: Step) -> None:
        self._step = step
        self._arrays = dict(step.file.weights.get(step.stored_as, ()))

    def arrays(self, place: str) -> list[np.ndarray]:
        """Return the variables ``place/vars/0``, ``1``, ... in order."""
        head = f"{place}/vars/" if place else "vars/"
        found = {path[len(head) :]: array for path, array in self._arrays.items() if path.startswith(head)}
        names = sorted((n for n in found if n.isdigit()), key=int)
        for name in names:
            if found[name].ndim and not np.isfinite(found[name].astype(np.float64)).all():
                raise self._step.error(f"holds values that are not finite in {head}{name}")
        return [found[name] for name in names]

    def trained(self, place: str, count: int, names: str) -> list[np.ndarray]:
        """Return the arrays of a layer itself without its scalars, which are bookkeeping.

        Raises:
            ModelError: there are more or fewer.
        """
        found = [array.astype(np.float32) for array in self.arrays(place) if array.ndim]
        if len(found) != count:
            raise self._step.error(f"stores {len(found)} arrays in {place or 'the layer'}; expected {names}")
        return found

    def quantizer(self, place: str, conf: Any) -> Kif:
        """Return the quantizer stored at ``place/quantizer``.

        Raises:
            UnsupportedError: its kind has no fixed-point form.
        """
        if not isinstance(conf, Mapping) or not isinstance(conf.get("config"), Mapping):
            raise UnsupportedError(f"{place} without a configuration")
        options = Options(conf["config"], f"{place} of {self._step.owner}", self._step.file.source)
        kind = options.raw("q_type")
        if kind not in ("kif", "kbi"):
            raise UnsupportedError(f"{place} of type {str(kind)[:20]!r}; kif and kbi are supported")
        if options.raw("scaler") not in (None, 1, 1.0) or options.raw("qnoise_factor") not in (None, 1, 1.0):
            raise UnsupportedError(f"{place} with a scaler or a qnoise_factor")
        rounding, overflow = _modes(options)
        stored = self.arrays(f"{place}/quantizer" if place else "quantizer")
        wrap = overflow is Overflow.WRAP
        if len(stored) < 3:
            raise self._step.error(
                f"stores {len(stored)} variables of {place}; expected the three bit widths"
            )
        # Trained variables come first: i and f (or b and i), unless i follows the data because values wrap.
        if kind == "kif":
            f, k, i = (stored[0], stored[1], stored[2]) if wrap else (stored[1], stored[2], stored[0])
        else:
            b, k, i = (stored[0], stored[1], stored[2]) if wrap else (stored[0], stored[2], stored[1])
            f = b
        k, i, f = (np.rint(a.astype(np.float64)).astype(np.int64) for a in (k, i, f))
        f = f - i if kind == "kbi" else f
        if int(np.abs(i).max(initial=0)) > 62 or int(np.abs(f).max(initial=0)) > 62:
            raise UnsupportedError(
                f"{place} with {int(np.abs(i).max())} integer or {int(np.abs(f).max())} fraction bits"
            )
        made = Kif(k, i, f, rounding, overflow, options.flag("is_weight", False))
        try:
            made.grid(batch=False)
        except RangeError as error:
            raise UnsupportedError(f"{place}: {error.what}") from None
        return made


def _modes(options: Options) -> tuple[Rounding, Overflow]:
    rounding = str(options.raw("round_mode")).removeprefix("S_")  # stochastic only in training
    overflow = str(options.raw("overflow_mode"))
    try:
        return Rounding(rounding), Overflow(overflow)
    except ValueError:
        allowed = ", ".join([*(r.value for r in Rounding), "WRAP", "SAT", "SAT_SYM"])
        raise UnsupportedError(f"modes {rounding[:20]}, {overflow[:20]}; supported are {allowed}") from None
