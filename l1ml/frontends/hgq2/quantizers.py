# SPDX-License-Identifier: Apache-2.0
"""HGQ2's quantizers: a type per element, from configuration and stored bit widths.

Source:
    ``hgq/quantizer/quantizer.py``, ``config.py`` and ``internal/*_quantizer.py`` of HGQ2 0.2.0.  Widths are
    stored as floats and rounded half to even; ``kbi`` counts bits without the sign, ``f = b - i``; no bits
    mean 0.  The trained variables of a quantizer are stored before the others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from l1ml.errors import RangeError
from l1ml.frontends.common import Options, UnsupportedError, power_of_two, spreads
from l1ml.frontends.hgq2 import numerics
from l1ml.frontends.hgq2.numerics import Minifloat, Reflected
from l1ml.graph.functions import Divide, Function, Offset, Scale
from l1ml.types.arrays import RealArray
from l1ml.types.fixed import Overflow, Rounding
from l1ml.types.grid import Grid

CONFIGS = ("QuantizerConfig", "HardTanhConfig", "HardSigmoidConfig")
SATURATE = {"HardTanhConfig": "SAT", "HardSigmoidConfig": "SAT"}
"""What their configurations do not store; HGQ2 itself forgets that a hard tanh was symmetric."""

REFLECT = "WRAP_SM"
MAX_BITS = 62


@dataclass(frozen=True, eq=False)
class Conversion:
    """A quantizer: what it does to data, one step after the other, and to stored constants.

    Args:
        text: as reports show it.
        before: functions before the rounding.
        after: functions behind it.
    """

    text: str
    before: tuple[Function, ...] = field(default=(), kw_only=True)
    after: tuple[Function, ...] = field(default=(), kw_only=True)

    @property
    def exact(self) -> bool:
        """Tell whether it quantizes at all."""
        return False

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the widths, with the event axis first for data."""
        return ()

    def quantized(self, raw: np.ndarray) -> np.ndarray:
        """Quantize float32 constants between ``before`` and ``after``."""
        return raw

    def steps(self) -> tuple[Grid | Function, ...]:
        """Return what data goes through between ``before`` and ``after``, the event axis left out."""
        return ()

    def values(self, raw: np.ndarray) -> RealArray:
        """Quantize stored constants; the widths must fit them.

        Raises:
            UnsupportedError: a factor that is no power of two.
        """
        if not spreads(self.shape, raw.shape):
            raise ValueError(f"bit widths of shape {self.shape} for constants of shape {raw.shape}")
        x = np.asarray(raw, dtype=np.float32)
        for function in self.before:
            x = function(x)
        x = self.quantized(x)
        for function in self.after:
            if isinstance(function, Scale) and not power_of_two(abs(float(function.factor))):
                raise UnsupportedError(
                    f"constants times {float(function.factor)!r}, which is no power of two"
                )
            x = function(x)
        if not np.isfinite(x).all():
            raise UnsupportedError("constants that are not finite")
        return x.astype(np.float64)


@dataclass(frozen=True, eq=False)
class FixedPoint(Conversion):
    """Fixed-point types per element.

    Args:
        k: 1 for signed.
        i: integer bits without sign.
        f: fraction bits.
        rounding: how values are rounded.
        overflow: None stands for WRAP_SM.
        only_rounds: constants that are still trainable and wrap are not wrapped by HGQ2.
    """

    k: np.ndarray
    i: np.ndarray
    f: np.ndarray
    rounding: Rounding
    overflow: Overflow | None
    only_rounds: bool

    @property
    def exact(self) -> bool:
        """It does."""
        return True

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the widths."""
        return np.broadcast_shapes(self.k.shape, self.i.shape, self.f.shape)

    def quantized(self, raw: np.ndarray) -> np.ndarray:
        """Round and saturate or wrap, in float32."""
        if self.overflow is None:
            return Reflected(self.k, self.i, self.f, self.rounding)(raw)
        if self.only_rounds:
            return numerics.on_grid(raw, self.f, self.rounding)
        return numerics.fixed(raw, self.k, self.i, self.f, self.rounding, self.overflow)

    def steps(self) -> tuple[Grid | Function, ...]:
        """Return one conversion."""
        if self.only_rounds:
            raise UnsupportedError(
                "data that counts as a weight (is_weight): it would be rounded, never wrapped"
            )
        k, i, f = (a[0] if a.ndim else a for a in (self.k, self.i, self.f))
        if self.overflow is None:
            return (Reflected(k, i, f, self.rounding),)
        return (Grid.kif(k, i, f, self.rounding, self.overflow),)


@dataclass(frozen=True, eq=False)
class FloatingPoint(Conversion):
    """Minifloats per element; see `Minifloat`."""

    m: np.ndarray
    e: np.ndarray
    e0: np.ndarray

    @property
    def exact(self) -> bool:
        """It does."""
        return True

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the widths."""
        return np.broadcast_shapes(self.m.shape, self.e.shape, self.e0.shape)

    def quantized(self, raw: np.ndarray) -> np.ndarray:
        """Round at the exponent of each value."""
        return Minifloat(self.m, self.e, self.e0)(raw)

    def steps(self) -> tuple[Grid | Function, ...]:
        """Return one conversion."""
        return (Minifloat(*(a[0] if a.ndim else a for a in (self.m, self.e, self.e0))),)


def read(place: str, conf: Any, stored: Sequence[np.ndarray], owner: str, source: str) -> Conversion:
    """Read a quantizer.

    Args:
        place: where it is in the layer, for messages.
        conf: its configuration as the file spells it.
        stored: its variables in order.
        owner: the layer, for messages.
        source: name of the file.

    Raises:
        UnsupportedError: it has no exact form here.
        ModelError: the file contradicts itself.
    """
    name = place or "its quantizer"
    config = conf.get("config") if isinstance(conf, Mapping) else None
    if not isinstance(conf, Mapping) or not isinstance(config, Mapping):
        raise UnsupportedError(f"{name} without a configuration")
    kind = str(conf.get("class_name", "")).split(">")[-1]
    if kind not in CONFIGS:
        raise UnsupportedError(f"{name} of class {kind[:40]!r}; {', '.join(CONFIGS)} are supported")
    options = Options(config, f"{name} of {owner}", source)
    mapper = options.raw("bw_mapper")
    if mapper is not None and "DefaultBitwidthMapper" not in str(mapper)[:2000]:
        raise UnsupportedError(f"{name} with a bw_mapper of its own")
    before, after = _around(options, kind)
    match options.raw("q_type"):
        case "dummy":
            return Conversion("none", before=before, after=after)
        case "float":
            m, e, e0 = _widths(options, stored, (3,), lambda s: (s[0], s[1], s[2]))
            if int(np.abs(e).max(initial=0)) > 6 or int(m.min(initial=0)) < -1 or int(m.max(initial=0)) > 23:
                raise UnsupportedError(
                    f"{name} with {int(m.max())} mantissa and {int(e.max())} exponent bits"
                )
            return FloatingPoint("hgq float", m, e, e0, before=before, after=after)
        case "kif" | "kbi" as q_type:
            return _fixed_point(name, q_type, options, stored, before, after, SATURATE.get(kind))
        case other:
            raise UnsupportedError(
                f"{name} of type {str(other)[:20]!r}; kif, kbi, float and dummy are supported"
            )


def _around(options: Options, kind: str) -> tuple[tuple[Function, ...], tuple[Function, ...]]:
    """Return the functions before and after the rounding: division by a scaler, and its way back; an affine map."""
    before: list[Function] = []
    after: list[Function] = []
    scaler = options.number("scaler")
    if scaler is not None and scaler != 1.0:
        if scaler == 0.0:
            raise options.wrong("scaler", "a number other than 0")
        before.append(Divide(np.asarray(scaler, dtype=np.float32)))
        after.append(Scale(np.asarray(scaler, dtype=np.float32)))
    affine = [0.25, 0.5] if kind == "HardSigmoidConfig" else options.raw("affine")
    if affine is not None:
        if not isinstance(affine, list) or len(affine) != 2:
            raise options.wrong("affine", "a scale and an offset")
        pair = Options(dict(zip(("scale", "offset"), affine, strict=True)), "affine", options.source)
        after += [
            Scale(np.asarray(pair.number("scale", 1.0), dtype=np.float32)),
            Offset(np.asarray(pair.number("offset", 0.0), dtype=np.float32)),
        ]
    return tuple(before), tuple(after)


def _widths(
    options: Options, stored: Sequence[np.ndarray], counts: tuple[int, ...], order: Any
) -> list[np.ndarray]:
    """Return three arrays of whole numbers in the order that ``order`` picks."""
    if len(stored) not in counts:
        raise options.wrong(
            "q_type", f"the {counts[-1]} stored variables of such a quantizer, not {len(stored)}"
        )
    picked = [np.asarray(a, dtype=np.float64) for a in order(stored)]
    if any(not np.isfinite(a).all() or float(np.abs(a).max(initial=0)) > 1000 for a in picked):
        raise UnsupportedError(f"{options.owner}: bit widths that are not finite or beyond 1000")
    try:
        np.broadcast_shapes(*(a.shape for a in picked))
    except ValueError:
        shapes = ", ".join(str(a.shape) for a in picked)
        raise UnsupportedError(f"{options.owner}: bit widths of the shapes {shapes}") from None
    return [np.rint(a).astype(np.int64) for a in picked]


def _fixed_point(
    name: str, q_type: str, options: Options, stored: Sequence[np.ndarray], before: tuple[Function, ...],
    after: tuple[Function, ...], fixed_mode: str | None,
) -> FixedPoint:  # fmt: skip
    rounding, overflow = _modes(options, fixed_mode)
    wraps = overflow is Overflow.WRAP
    # Wrapping quantizers do not train i, it follows the data; they also store how fast it falls.
    if q_type == "kif":
        order = (lambda s: (s[1], s[2], s[0])) if wraps else (lambda s: (s[2], s[0], s[1]))
    else:
        order = (lambda s: (s[1], s[2], s[0])) if wraps else (lambda s: (s[2], s[1], s[0]))
    k, i, f = _widths(options, stored, (4,) if wraps else (3,), order)
    f = f - i if q_type == "kbi" else f
    if not np.isin(k, (0, 1)).all():
        raise UnsupportedError(f"{name} with signs other than 0 and 1")
    if int(np.abs(i).max(initial=0)) > MAX_BITS or int(np.abs(f).max(initial=0)) > MAX_BITS:
        raise UnsupportedError(
            f"{name} with {int(np.abs(i).max())} integer or {int(np.abs(f).max())} fraction bits"
        )
    place = options.raw("place", "datalane")
    only_rounds = (
        wraps
        and options.flag("trainable", True)
        and options.flag("is_weight", place == "weight")
        and (q_type == "kif" or rounding is Rounding.RND)
    )
    try:
        Grid.kif(k, i, f, rounding, overflow or Overflow.SAT)
    except RangeError as error:
        raise UnsupportedError(f"{name}: {error.what}") from None
    mode = REFLECT if overflow is None else overflow.value
    text = f"hgq {q_type} {_span(k + i + f)} bits {rounding.value} {mode}"
    return FixedPoint(text, k, i, f, rounding, overflow, only_rounds, before=before, after=after)


def _span(bits: np.ndarray) -> str:
    low, high = max(0, int(bits.min(initial=1000))), max(0, int(bits.max(initial=0)))
    return str(high) if low >= high else f"{low}..{high}"


def _modes(options: Options, fixed_mode: str | None) -> tuple[Rounding, Overflow | None]:
    rounding = str(options.raw("round_mode")).removeprefix("S_")  # stochastic only in training
    overflow = fixed_mode or str(options.raw("overflow_mode"))
    try:
        if overflow == REFLECT and rounding in ("RND", "RND_CONV"):
            return Rounding(rounding), None
        if overflow not in ("WRAP", "SAT", "SAT_SYM"):
            raise ValueError(overflow)
        return Rounding(rounding), Overflow(overflow)
    except ValueError:
        allowed = ", ".join([*(r.value for r in Rounding), "WRAP", "SAT", "SAT_SYM"])
        raise UnsupportedError(f"modes {rounding[:20]}, {overflow[:20]}; supported are {allowed}") from None
