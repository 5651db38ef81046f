# SPDX-License-Identifier: Apache-2.0
"""The emulator: integer codes for whole batches of events, bit for bit what the hardware gives.

Three ways to the same integers, fastest first: compiled C++ on all cores (`l1ml.graph.native`), array
kernels on any array-API library (NumPy, or PyTorch and CuPy on a GPU), and the int64 reference
(`TensorProgram.emulate`).  Which one ran never changes a bit; tests compare all three.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from l1ml.errors import DataError, RangeError
from l1ml.graph import kernels
from l1ml.graph.native import library
from l1ml.graph.program import TensorProgram
from l1ml.types.arrays import IntArray, RealArray
from l1ml.types.fixed import Overflow, Quantizer, Rounding, quantize_codes, to_codes

Engine = Literal["auto", "native", "array", "reference"]
EVENTS_PER_BLOCK = 4096


class Emulator:
    """Runs a typed network on events.

    Args:
        program: the network.
        engine: ``auto`` takes the fastest that is exact for this network and present on this machine.
        xp: an array-API module for ``engine="array"``: numpy (default), cupy, torch.
        device: where ``xp`` puts its arrays, for example ``"cuda"``.
        threads: worker threads of the compiled engine; default all cores this process may use.
    """

    def __init__(
        self,
        program: TensorProgram,
        engine: Engine = "auto",
        *,
        xp: Any = None,
        device: Any = None,
        threads: int | None = None,
    ) -> None:
        self.program = program
        self._threads = threads or len(os.sched_getaffinity(0))
        self._xp, self._device = xp if xp is not None else np, device
        self._engines: dict[tuple[int, ...], library.NativeEmulator] = {}
        self._plan = kernels.plan(program, frozenset(t for _, t in (*program.outputs, *program.marks)))
        if self._plan is not None and self._plan.bits > 53:
            self._plan = None
        loaded = library.load() if engine in ("auto", "native") and self._plan is not None else None
        self._library = loaded
        if engine == "auto":
            engine = "native" if loaded is not None else "array"
        if self._plan is None:
            engine = "reference"
        self.engine: Engine = engine

    def values(self, inputs: Sequence[ArrayLike]) -> list[RealArray]:
        """Return the values of every output, float64 on the output's grid, each (events, *shape)."""
        return self._run(inputs, [tensor for _, tensor in self.program.outputs])

    def codes(self, inputs: Sequence[ArrayLike]) -> list[IntArray]:
        """Return the integer codes of every output, each (events, *shape)."""
        tensors = [tensor for _, tensor in self.program.outputs]
        return [self._to_codes(v, t) for v, t in zip(self._run(inputs, tensors), tensors, strict=True)]

    def trace(self, inputs: Sequence[ArrayLike]) -> dict[str, RealArray]:
        """Return the values of every layer by name, each (events, *shape)."""
        tensors = [tensor for _, tensor in self.program.marks]
        return dict(zip((name for name, _ in self.program.marks), self._run(inputs, tensors), strict=True))

    def _to_codes(self, values: RealArray, tensor: int) -> IntArray:
        return np.ldexp(values, self.program.type_of(tensor).frac).astype(np.int64)

    def input_codes(self, inputs: Sequence[ArrayLike]) -> list[IntArray]:
        """Return the integer codes of the inputs; values off the declared grid are refused.

        Raises:
            DataError: wrong number of inputs, or a wrong shape.
            RangeError: a value is not a code of the input type, and the type has no rounding or overflow.
        """
        arrays = self._shaped(inputs)
        out = []
        for array, port in zip(arrays, self.program.inputs, strict=True):
            kind = port.quantizer
            try:
                out.append(quantize_codes(array, kind) if _converts(kind) else to_codes(array, kind.type))
            except RangeError as error:
                error.where = (f"input {port.name}", *error.where)
                raise
        return out

    def _shaped(self, inputs: Sequence[ArrayLike]) -> list[NDArray[np.floating]]:
        ports = self.program.inputs
        if len(inputs) != len(ports):
            names = ", ".join(port.name for port in ports)
            raise DataError(f"{len(inputs)} input arrays given, the network has {len(ports)}: {names}")
        arrays = []
        for given, port in zip(inputs, ports, strict=True):
            array = np.asarray(given)
            if array.dtype not in (np.float32, np.float64):
                if array.dtype.kind not in "iufb":
                    raise DataError(f"input {port.name!r} has type {array.dtype}; numbers are expected")
                array = array.astype(np.float64)
            if array.shape[1:] != port.shape or array.ndim == 0:
                shape = ", ".join(("events", *map(str, port.shape)))
                raise DataError(f"input {port.name!r} has shape {array.shape}; expected ({shape})")
            arrays.append(array)
        if len({len(a) for a in arrays}) > 1:
            raise DataError(f"inputs have different numbers of events: {[len(a) for a in arrays]}")
        return arrays

    def _run(self, inputs: Sequence[ArrayLike], tensors: list[int]) -> list[RealArray]:
        shapes = [self.program.type_of(t).shape for t in tensors]
        if self.engine == "native":
            flat = self._native(inputs, tensors)
            ends = np.cumsum([int(np.prod(s, dtype=np.int64)) for s in shapes])[:-1]
            parts = np.split(flat, ends, axis=1) if len(shapes) > 1 else [flat]
            return [part.reshape(len(flat), *shape) for part, shape in zip(parts, shapes, strict=True)]
        codes = self.input_codes(inputs)
        if self.engine == "array":
            return self._array(codes, tensors)
        made = {t: c for t, c in self.program.walk(codes) if t in tensors}
        return [np.ldexp(made[t].astype(np.float64), -self.program.type_of(t).frac) for t in tensors]

    def _native(self, inputs: Sequence[ArrayLike], tensors: list[int]) -> RealArray:
        assert self._library is not None
        assert self._plan is not None
        key = tuple(tensors)
        if key not in self._engines:
            self._engines[key] = library.NativeEmulator(self._library, self.program, self._plan, tensors)
        arrays: list[NDArray[np.floating]] = self._shaped(inputs)
        if any(_converts(port.quantizer) for port in self.program.inputs):
            pairs = zip(self.input_codes(inputs), self.program.inputs, strict=True)
            arrays = [np.ldexp(codes.astype(np.float64), -port.quantizer.type.frac) for codes, port in pairs]
        flat = [a.reshape(len(a), math.prod(a.shape[1:])) for a in arrays]
        # float32 input times a power of two is exact, so it need not be widened first.
        kind = np.result_type(*flat) if len(flat) > 1 else flat[0].dtype
        x = np.ascontiguousarray(np.concatenate(flat, axis=1) if len(flat) > 1 else flat[0], dtype=kind)
        out, bad = self._engines[key].run(x, self._threads)
        if bad >= 0:
            self.input_codes([a[bad : bad + 1] for a in arrays])  # raises the full message
            raise AssertionError("the compiled emulator refused an event that the reference accepts")
        return out

    def _array(self, codes: list[IntArray], tensors: list[int]) -> list[RealArray]:
        events = len(codes[0])
        out = [np.empty((events, *self.program.type_of(t).shape)) for t in tensors]
        runner = ArrayRunner(self.program, self._plan, self._xp, self._device)
        for first in range(0, events, EVENTS_PER_BLOCK):
            block = slice(first, first + EVENTS_PER_BLOCK)
            made = runner.run([c[block] for c in codes], tensors)
            for store, values, tensor in zip(out, made, tensors, strict=True):
                store[block] = np.ldexp(values, -self.program.type_of(tensor).max_frac)
        return out


class ArrayRunner:
    """Executes a kernel plan with the functions of an array-API library."""

    def __init__(
        self, program: TensorProgram, plan: kernels.KernelPlan | None, xp: Any, device: Any = None
    ) -> None:
        assert plan is not None
        self._program, self._plan, self._xp, self._device = program, plan, xp, device
        self._dtype = xp.float32 if plan.bits <= 24 else xp.float64
        self._constants: dict[tuple[int, str], Any] = {}

    def _array(self, values: NDArray[np.generic]) -> Any:
        if self._device is None:
            return self._xp.asarray(values, dtype=self._dtype)
        return self._xp.asarray(values, dtype=self._dtype, device=self._device)

    def _constant(self, kernel: int, name: str, values: NDArray[np.generic]) -> Any:
        key = (kernel, name)
        if key not in self._constants:
            self._constants[key] = self._array(values)
        return self._constants[key]

    def run(self, codes: list[IntArray], tensors: list[int]) -> list[RealArray]:
        """Return the integers of ``tensors`` on each tensor's finest grid, as float64 NumPy arrays."""
        program, xp = self._program, self._xp
        values: list[Any] = []
        for port, block in zip(program.inputs, codes, strict=True):
            values.append(self._array((block << (port.type.max_frac - port.type.frac)).astype(np.float64)))
        shape_of: dict[int, tuple[int, ...]] = {}
        for tensor, value in enumerate(self._plan.value_of):
            if value is not None:
                shape_of.setdefault(value, program.type_of(tensor).shape)
        for number, kernel in enumerate(self._plan.kernels):
            x = values[kernel.source]
            y = self._apply(number, kernel, xp.reshape(x, (x.shape[0], *self._plan.shapes_in[number])))
            values.append(xp.reshape(y, (y.shape[0], *shape_of[len(program.inputs) + number])))
        out = []
        for tensor in tensors:
            value = self._plan.value_of[tensor]
            assert value is not None
            host = values[value]
            host = (
                host.get()
                if hasattr(host, "get")
                else host.cpu().numpy()
                if hasattr(host, "cpu")
                else np.asarray(host)
            )
            out.append(host.astype(np.float64).reshape(len(host), *program.type_of(tensor).shape))
        return out

    def _apply(self, number: int, kernel: kernels.Kernel, x: Any) -> Any:
        xp = self._xp
        match kernel:
            case kernels.Affine(_, matrix, bias):
                return xp.matmul(x, self._constant(number, "m", matrix)) + self._constant(number, "b", bias)
            case kernels.Round(_, drop, rounding, lo, hi):
                return xp.clip(_round(xp, x * 2.0**-drop, rounding), lo, hi)
            case kernels.Scale(_, multiplier, offset, shift, lo, hi):
                total = x * self._constant(number, "m", multiplier) + self._constant(number, "b", offset)
                return xp.clip(
                    xp.floor(total * self._constant(number, "s", 2.0 ** -shift.astype(np.float64))), lo, hi
                )
            case kernels.Count(_, thresholds, base, step):
                count = xp.zeros_like(x)
                for k in range(thresholds.shape[1]):
                    count = count + (x >= self._constant(number, f"t{k}", thresholds[:, k]))
                return self._constant(number, "b", base) + self._constant(number, "s", step) * count


def _round(xp: Any, x: Any, rounding: Rounding) -> Any:
    if rounding is Rounding.RND_CONV:
        return xp.round(x)
    if rounding is Rounding.TRN_ZERO:
        return xp.trunc(x)
    return xp.floor(x + 0.5) if rounding is Rounding.RND else xp.floor(x)


def _converts(kind: Quantizer) -> bool:
    """Tell whether the user asked for rounding or saturation at the input; plain types only check."""
    return (kind.rounding, kind.overflow) != (Rounding.TRN, Overflow.WRAP)
