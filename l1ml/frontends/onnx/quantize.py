# SPDX-License-Identifier: Apache-2.0
"""What all quantizers of ONNX have in common: value / scale, round, clip, times scale.

Where the scale is a power of two the result is a fixed-point type.  Where it is not, the layers say what the
reference computes, step by step in float32: quotient, integer code, product; `l1ml.graph` then finds exact
hardware, or refuses.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from l1ml.errors import RangeError
from l1ml.frontends.common import UnsupportedError, power_of_two
from l1ml.frontends.onnx.functions import MODES, ROUNDINGS, Codes, rounded
from l1ml.frontends.onnx.layout import fitted
from l1ml.frontends.onnx.operator import Operator, Reading
from l1ml.frontends.onnx.tensors import Constant, Data, Waiting
from l1ml.graph import functions
from l1ml.graph.functions import Function, ToGrid
from l1ml.graph.model import Layer, Map, Quantize, QuantizeEach, Sign
from l1ml.graph.reals import on_grid
from l1ml.types.arrays import RealArray
from l1ml.types.fixed import FixedType, Overflow, Quantizer
from l1ml.types.grid import Grid
from l1ml.types.intrange import MAX_WIDTH

ADVICE = "train with scales that are powers of two (Brevitas: a *FixedPoint quantizer)"


@dataclass(frozen=True, eq=False)
class Spec:
    """A quantizer with its constants, before it is brought into the order of a tensor.

    Args:
        scale: weight of one code, float32 values, not 0.
        zero: zero point.
        lo: smallest code, before the zero point is subtracted.
        hi: largest code.
        mode: QONNX's name of the rounding.
        text: for reports.
        bipolar: the codes are -1 and +1.
        early: the zero point is added before the rounding (QONNX), not after it (ONNX).
        factor: what the value is multiplied with instead of divided by the scale.
    """

    scale: np.ndarray
    zero: np.ndarray
    lo: np.ndarray
    hi: np.ndarray
    mode: str
    text: str
    bipolar: bool = False
    early: bool = True
    factor: np.ndarray | None = None

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise UnsupportedError(f"rounding mode {self.mode[:20]}; supported are {', '.join(MODES)}")
        good = np.isfinite(self.scale) & (self.scale != 0)
        if not self.scale.size or not bool(good.all()) or not bool(np.isfinite(self.zero).all()):
            raise UnsupportedError("a scale or zero point that is 0, infinite or not a number")
        if bool((self.lo > self.hi).any()) or max(abs(self.lo).max(), abs(self.hi).max()) >= 2.0**MAX_WIDTH:
            raise UnsupportedError(f"codes from {self.lo.max():g} to {self.hi.min():g}")

    @property
    def binary(self) -> bool:
        """Tell whether every scale is a power of two."""
        return all(power_of_two(float(s)) for s in np.unique(self.scale))


def constant(spec: Spec, x: Constant) -> Constant:
    """Quantize a constant, in the float32 arithmetic of the reference.

    Raises:
        UnsupportedError: the scale does not fit the shape.
    """
    raw = x.values.astype(np.float32)
    try:
        scale, zero, lo, hi = (
            np.broadcast_to(a, raw.shape)
            for a in (spec.scale, spec.zero.astype(np.float32), spec.lo, spec.hi)
        )
    except ValueError:
        raise UnsupportedError(
            f"a scale of shape {spec.scale.shape} for constants of shape {raw.shape}"
        ) from None
    y = raw / scale.astype(np.float32)
    if spec.early:
        y = y + zero
    if spec.bipolar:
        codes = np.where(y >= 0, 1.0, -1.0)
    elif spec.early:
        codes = rounded(np.clip(y.astype(np.float64), lo, hi), spec.mode)
    else:
        codes = np.clip(rounded(y.astype(np.float64), spec.mode) + zero, lo, hi)
    return scaled(codes - zero, scale, spec.text)


def scaled(codes: RealArray, scale: np.ndarray, text: str) -> Constant:
    """Return ``codes * scale`` as a constant that remembers both."""
    scale = np.broadcast_to(scale, codes.shape)
    if not on_grid(np.asarray(codes, dtype=np.float64)):
        return Constant((codes * scale).astype(np.float32))
    if all(power_of_two(float(s)) for s in np.unique(scale)):
        return Constant(codes * scale.astype(np.float64), "float32", text)
    real = (codes.astype(np.float32) * scale.astype(np.float32)).astype(np.float32)
    return Constant(real, "float32", text, codes.astype(np.float64), scale.astype(np.float64))


def data(op: Operator, spec: Spec, x: Data) -> Data:
    """Add the layers that quantize a tensor of the event."""
    x, spec = fit(op.reading, x, spec)
    made = _layer(op.name, x, spec)
    return op.layer(made, x)


def fit(reading: Reading, x: Data, spec: Spec) -> tuple[Data, Spec]:
    """Bring the constants of a quantizer into the order of a tensor."""
    x, scale = fitted(reading, x, spec.scale)
    sizes = [fitted(reading, x, a) for a in (spec.zero, spec.lo, spec.hi)]
    if any(y.shape != x.shape for y, _ in sizes):
        raise UnsupportedError("a zero point or bit width whose shape does not fit that of the scale")
    zero, lo, hi = (a for _, a in sizes)
    return x, replace(spec, scale=scale, zero=zero, lo=lo, hi=hi)


def _layer(name: str, x: Data, spec: Spec) -> Layer:
    if spec.factor is not None:
        return Map(name, (x.layer,), (*steps(spec), *scale_by(spec.scale)), spec.text)
    plain = not spec.zero.any()
    if spec.bipolar and plain and spec.scale.ndim == 0 and spec.binary:
        return Sign(name, (x.layer,), scale=float(spec.scale))
    # With a zero point that is added after the rounding, it is only a shift of the bounds.
    late = not spec.early and bool((spec.zero == np.rint(spec.zero)).all())
    if not spec.bipolar and (plain or late) and spec.binary and spec.mode in ROUNDINGS:
        lo, hi = spec.lo - spec.zero, spec.hi - spec.zero
        return _fixed(name, x, spec.scale, lo, hi, spec)
    return Map(name, (x.layer,), (*steps(spec), *scale_by(spec.scale)), spec.text)


def _fixed(name: str, x: Data, scale: np.ndarray, lo: RealArray, hi: RealArray, spec: Spec) -> Layer:
    """Return a conversion into fixed-point types: one for all elements where there is one."""
    rounding = ROUNDINGS[spec.mode]
    frac = 1 - np.frexp(np.asarray(scale, dtype=np.float64))[1]
    if not (frac.ndim or lo.ndim or hi.ndim):
        signed = bool(lo < 0)
        width = int(hi + 1).bit_length() - 1 + signed
        full = hi == 2.0 ** (width - signed) - 1
        if full and width <= MAX_WIDTH and lo in (-hi - 1, -hi, 0) and width >= 1:
            overflow = Overflow.SAT_SYM if lo == -hi and signed else Overflow.SAT
            try:
                kind = FixedType(signed, width, width - int(frac))
            except RangeError as error:
                raise UnsupportedError(error.what) from None
            return Quantize(name, (x.layer,), Quantizer(kind, rounding, overflow))
    grid = Grid(lo.astype(np.int64), hi.astype(np.int64), frac.astype(np.int64), rounding, Overflow.SAT)
    return QuantizeEach(name, (x.layer,), grid, spec.text)


def steps(spec: Spec) -> tuple[Function, ...]:
    """Return the functions from a value to its code, zero point subtracted."""
    chain: list[Function] = []
    if spec.factor is not None:
        chain.append(functions.Scale(spec.factor))
    elif bool((spec.scale != 1).any()):
        chain.append(functions.Divide(spec.scale.astype(np.float32)))
    zero = spec.zero.astype(np.float32)
    if not spec.early:
        if bool((zero != np.rint(zero)).any()):
            raise UnsupportedError("a zero point that is no whole number")
        return (*chain, _rounding(spec.lo - zero, spec.hi - zero, np.zeros(()), spec.mode))
    if zero.any():
        chain.append(functions.Offset(zero))
    if spec.bipolar:
        return (*chain, functions.Sign(1.0), *((functions.Offset(-zero),) if zero.any() else ()))
    if zero.any() and not on_grid(zero.astype(np.float64)):
        return (*chain, _rounding(spec.lo, spec.hi, np.zeros(()), spec.mode), functions.Offset(-zero))
    return (*chain, _rounding(spec.lo, spec.hi, zero.astype(np.float64), spec.mode))


def _rounding(lo: RealArray, hi: RealArray, zero: RealArray, mode: str) -> Function:
    if mode in ROUNDINGS and not zero.any():
        grid = Grid(
            lo.astype(np.int64), hi.astype(np.int64), np.zeros((), np.int64), ROUNDINGS[mode], Overflow.SAT
        )
        return ToGrid(grid)
    return Codes(lo, hi, zero, mode)


def scale_by(scale: np.ndarray) -> tuple[Function, ...]:
    """Return the multiplication with a scale; nothing for 1."""
    return (functions.Scale(scale.astype(np.float32)),) if bool((scale != 1).any()) else ()


def codes(reading: Reading, waiting: Waiting) -> Data:
    """Make the layer of a QuantizeLinear whose codes are read as such."""
    x, key = waiting.x, (waiting.x.layer, (waiting.name, waiting.lo, waiting.hi))
    spec = waiting_spec(waiting)
    same = bool((spec.zero == spec.zero.ravel()[0]).all())
    if key not in reading.made:
        chain = steps(spec)
        if not same:
            chain = (*chain, functions.Offset(spec.zero.astype(np.float32)))
        reading.made[key] = reading.add(
            Map(waiting.name, (x.layer,), chain, f"QuantizeLinear({waiting.kind})")
        )
    zero = int(spec.zero.ravel()[0]) if same else 0
    return replace(x, layer=reading.made[key], kind=waiting.kind, zero=zero)


def waiting_spec(waiting: Waiting) -> Spec:
    """Return what a QuantizeLinear does, in the order of its tensor."""
    lo, hi = (np.asarray(float(n)) for n in (waiting.lo, waiting.hi))
    text = f"QuantizeLinear({waiting.kind})"
    return Spec(waiting.scale, waiting.zero, lo, hi, "ROUND", text, early=False, factor=waiting.factor)


def undone(reading: Reading, waiting: Waiting, name: str) -> Data:
    """Make the layer of a QuantizeLinear with the DequantizeLinear that follows it: one quantizer."""
    spec = waiting_spec(waiting)
    bits = math.ceil(math.log2(waiting.hi - waiting.lo + 1))
    spec = replace(spec, text=f"QuantizeLinear({waiting.kind}, {bits} bits)")
    return replace(waiting.x, layer=reading.add(_layer(name, waiting.x, spec)), kind="float32", zero=0)
