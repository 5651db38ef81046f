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
from l1ml.graph.native import library, runner
from l1ml.graph.program import TensorProgram
from l1ml.types.arrays import IntArray, RealArray
from l1ml.types.fixed import Overflow, Quantizer, Rounding, quantize_codes, to_codes

Engine = Literal["auto", "native", "array", "reference"]
Runner = runner.NativeEmulator | kernels.ArrayRunner


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
        self._runners: dict[tuple[int, ...], Runner | None] = {}
        self._library = library.load() if engine in ("auto", "native") else None
        if engine in ("auto", "native") and self._library is None:
            engine = "array"
        elif engine == "auto":
            engine = "native"
        self.engine: Engine = engine
        if engine != "reference" and self._runner([tensor for _, tensor in program.outputs]) is None:
            self.engine = "reference"

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

    def _runner(self, tensors: list[int]) -> Runner | None:
        """Return what computes some tensors, or None where only the reference can."""
        key = tuple(tensors)
        if self.engine == "reference":
            return None
        if key not in self._runners:
            plan = kernels.plan(self.program, tensors)
            if plan is None:
                self._runners[key] = None
            elif self.engine == "native":
                assert self._library is not None
                self._runners[key] = runner.NativeEmulator(self._library, self.program, plan)
            else:
                self._runners[key] = kernels.ArrayRunner(plan, self._xp, self._device)
        return self._runners[key]

    def _run(self, inputs: Sequence[ArrayLike], tensors: list[int]) -> list[RealArray]:
        kinds = [self.program.type_of(t) for t in tensors]
        match self._runner(tensors):
            case None:
                made = self.program.emulate(self.input_codes(inputs), tensors)
                return [np.ldexp(c.astype(np.float64), -k.frac) for c, k in zip(made, kinds, strict=True)]
            case kernels.ArrayRunner() as array:
                flat = self._array(array, inputs)
            case native:
                flat = self._native(native, inputs)
        parts = np.split(flat, np.cumsum([k.size for k in kinds])[:-1], axis=1)
        return [part.reshape(len(flat), *k.shape) for part, k in zip(parts, kinds, strict=True)]

    def _native(self, native: runner.NativeEmulator, inputs: Sequence[ArrayLike]) -> RealArray:
        arrays: list[NDArray[np.floating]] = self._shaped(inputs)
        if any(_converts(port.quantizer) for port in self.program.inputs):
            arrays = [*self._on_grid(inputs)]
        flat = [a.reshape(len(a), math.prod(a.shape[1:])) for a in arrays]
        # float32 input times a power of two is exact, so it need not be widened first.
        kind = np.result_type(*flat) if len(flat) > 1 else flat[0].dtype
        x = np.ascontiguousarray(np.concatenate(flat, axis=1) if len(flat) > 1 else flat[0], dtype=kind)
        out, bad = native.run(x, self._threads)
        if bad >= 0:
            self.input_codes([a[bad : bad + 1] for a in arrays])  # raises the full message
            raise AssertionError("the compiled emulator refused an event that the reference accepts")
        return out

    def _array(self, array: kernels.ArrayRunner, inputs: Sequence[ArrayLike]) -> RealArray:
        flat = [a.reshape(len(a), math.prod(a.shape[1:])) for a in self._on_grid(inputs)]
        x = np.concatenate(flat, axis=1)
        blocks = [
            array.run(x[first : first + array.events]) for first in range(0, max(1, len(x)), array.events)
        ]
        return np.concatenate(blocks)

    def _on_grid(self, inputs: Sequence[ArrayLike]) -> list[RealArray]:
        """Return the values of the inputs, converted by the inputs' own types."""
        pairs = zip(self.input_codes(inputs), self.program.inputs, strict=True)
        return [np.ldexp(codes.astype(np.float64), -port.quantizer.type.frac) for codes, port in pairs]


def _converts(kind: Quantizer) -> bool:
    """Tell whether the user asked for rounding or saturation at the input; plain types only check."""
    return (kind.rounding, kind.overflow) != (Rounding.TRN, Overflow.WRAP)
