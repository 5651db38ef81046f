# SPDX-License-Identifier: Apache-2.0
"""The exact reading of layers: every operation becomes a primitive on integers of known range.

Real-valued functions without an exact integer form (a scale that is no power of two, BatchNormalization,
a sigmoid) stay *pending* on a tensor until a quantizer follows; then both become one table.  Pending
functions move along with the elements, and pending scales go through sums of products.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import prod

import numpy as np

from l1ml.errors import L1mlError, ModelError
from l1ml.graph import exactly, forms, primitives, unary
from l1ml.graph.functions import Array, Function, Scale, SumScale, ToGrid, moved
from l1ml.graph.net import Net, Windows
from l1ml.graph.primitives import Primitive
from l1ml.graph.program import TensorStep, too_large
from l1ml.graph.reals import to_integers
from l1ml.graph.tensor import TensorType
from l1ml.types.arrays import IntArray, RealArray
from l1ml.types.grid import Grid

FEW_CODES = 1 << 12
"""Up to so many input codes a real-valued function is a table, with the roundings of float32 in it."""

SHORT_BITS = 18
"""A constant of more significant bits is a float: it is added as the framework does, in float32."""


@dataclass(frozen=True, eq=False)
class Tensor:
    """A tensor of the program and what is still to be applied to it.

    Args:
        index: number of the tensor in the program.
        type: exact type of the integers.
        pending: real functions, in order.
    """

    index: int
    type: TensorType
    pending: tuple[Function, ...] = ()

    def __post_init__(self) -> None:
        for function in self.pending:
            assert function.frac is None, "a chain that ends on a grid is realized at once"


class TypedNet(Net[Tensor]):
    """Collects the steps of a typed program.

    Args:
        inputs: types of the input tensors, numbers 0 and up.
        strict: refuse what has no exact form, instead of noting an approximation.
    """

    def __init__(self, inputs: list[TensorType], *, strict: bool = False) -> None:
        self._strict = strict
        self.approximations: list[tuple[str, str]] = []
        self.inputs = [Tensor(k, kind) for k, kind in enumerate(inputs)]
        self.steps: list[TensorStep] = []
        self._elements, self._work = sum(kind.size for kind in inputs), 0
        self._constants: dict[tuple[tuple[int, ...], bytes], Tensor] = {}

    def apply(self, op: Primitive, *xs: Tensor) -> Tensor:
        """Append a primitive on integers.

        Raises:
            ModelError: the network gets too large; nothing of that size is computed first.
        """
        shapes = [x.type.shape for x in xs]
        self._elements += prod(op.shape_of(*shapes))
        self._work += op.work(*shapes)
        reason = too_large(self._elements, self._work)
        if reason is not None:
            raise ModelError(
                f"the network is too large: {reason}, {self.layer!r} being the layer that exceeds it",
                fix="give the network a smaller image or fewer channels",
            )
        kind = op.infer(*(x.type for x in xs))
        self.steps.append(TensorStep(op, tuple(x.index for x in xs), self.layer, kind))
        return Tensor(len(self.inputs) + len(self.steps) - 1, kind)

    def exact(self, x: Tensor) -> Tensor:
        """Return ``x`` with nothing pending.

        Real functions without an exact integer form are brought on a grid as fine as float32, which is noted as
        an approximation.

        Raises:
            ModelError: there is no exact form, and approximations are not allowed or not possible.
        """
        whole = x
        for function in whole.pending:
            try:
                chain = exactly.integer_form(function, x.type)
            except L1mlError as error:
                if not self._strict and all(f.ulps == 0 for f in whole.pending):
                    return self._fine(whole)
                names = ", ".join(exactly.describe(f) for f in whole.pending)
                raise ModelError(
                    f"{self.layer!r} needs exact integers, but its input is real-valued ({names}): {error.what}",
                    fix="put a quantizer before this layer (QActivation, quantized_relu, Quant), give the layer before "
                    "it a type in the configuration (layers or precision), or set strict: false",
                ) from error
            for op in chain:
                x = replace(self.apply(op, replace(x, pending=())), pending=x.pending)
        return replace(x, pending=())

    def _fine(self, x: Tensor) -> Tensor:
        """Bring a real-valued tensor on the grid of float32 at its largest magnitude."""
        grid = exactly.float32_grid(self.layer, x.pending, x.type)
        text = (
            f"the input of {self.layer!r} is real-valued; it is carried with {exactly.FINE_BITS} bits: behind it, a "
            "sum within its float32 rounding error of a decision may come out differently from the framework"
        )
        self.approximations.append((self.layer, text))
        if int((x.type.hi - x.type.lo).max(initial=0)) < FEW_CODES:  # with float32's own roundings
            return self._table(x, (*x.pending, ToGrid(grid)), declared=True)
        y = replace(x, pending=())
        chain = exactly.wide_form(x.pending, x.type)
        if chain is None:
            return self.quantize(x, grid, declared=True)
        for op in chain:
            y = self.apply(op, y)
        return self.quantize(y, grid)

    def need_types(self, what: str) -> None:
        """Refuse.

        Raises:
            ModelError: always.
        """
        raise ModelError(
            f"{what} inside a network has no exact form without types for its tables",
            fix=f"give {self.layer!r} types by precision, or replace it by a quantized layer",
        )

    def shape(self, x: Tensor) -> tuple[int, ...]:
        """Return the shape of one event."""
        return x.type.shape

    # ---- real functions and quantizers

    def map(self, x: Tensor, *functions: Function) -> Tensor:
        """Apply functions; what has an exact integer form at once, the rest stays pending."""
        for function in functions:
            shape = np.broadcast_shapes(x.type.shape, *(np.shape(p) for p in exactly.arrays(function)))
            if shape != x.type.shape:
                x = self.broadcast(x, shape)
            if isinstance(function, ToGrid):
                x = self.quantize(x, function.grid)
            elif function.frac is not None:
                x = self._table(x, (*x.pending, function), declared=False)
            elif not x.pending and (simple := exactly.free(function, x.type)) is not None:
                for op in simple:
                    x = self.apply(op, x)
            else:
                x = replace(x, pending=(*x.pending, function))
        return x

    def quantize(self, x: Tensor, grid: Grid, *, declared: bool = False) -> Tensor:
        """Convert into fixed-point types, together with everything pending."""
        if not x.pending:
            return self.apply(
                primitives.Requantize(grid.lo, grid.hi, grid.frac, grid.rounding, grid.overflow), x
            )
        short = exactly.cheap_form(x.pending, x.type)
        if short is not None:
            y = replace(x, pending=())
            for op in short:
                y = self.apply(op, y)
            return self.quantize(y, grid)
        return self._table(x, (*x.pending, ToGrid(grid)), declared=declared)

    def _table(self, x: Tensor, chain: tuple[Function, ...], *, declared: bool) -> Tensor:
        tables = unary.tabulate(self.layer, chain, x.type, declared=declared)
        y = replace(x, pending=())
        for op in forms.realize(self.layer, tables, x.type):
            y = self.apply(op, y)
        return y

    # ---- sums and products

    def matmul(self, x: Tensor, kernel: RealArray, scale: RealArray | None = None) -> Tensor:
        """Multiply by constants; scales of ``x`` and of the kernel are put behind the sum."""
        factor = exactly.common_scale(x.pending, x.type.shape)
        if factor is None:
            x = self.exact(x)
        matrix, frac = to_integers(kernel, f"kernel of {self.layer!r}")
        y = self.apply(primitives.ConstMatmul(matrix, frac), replace(x, pending=()))
        if (factor is None or not x.pending) and scale is None:
            return y
        real = np.asarray(1.0 if scale is None else scale, dtype=np.float64)
        if factor is not None and x.pending:
            real = real * (factor if factor.ndim == 0 else factor[..., None])
        peak = np.maximum(np.abs(x.type.lo), np.abs(x.type.hi)) * np.ldexp(1.0, -x.type.frac)
        slack = exactly.sum_slack(peak @ np.abs(kernel), kernel.shape[0]) * np.abs(real)
        return replace(y, pending=(SumScale(np.broadcast_to(real, y.type.shape).copy(), slack),))

    def add(self, x: Tensor, constant: RealArray) -> Tensor:
        """Add constants: exactly where they are on a short grid, else as the framework does in float32."""
        constant = np.asarray(constant, dtype=np.float64)
        if not constant.any():
            return x
        if not x.pending and exactly.significant_bits(constant) <= SHORT_BITS:
            return self.apply(primitives.AddConst(*to_integers(constant, f"constant of {self.layer!r}")), x)
        return self.map(x, exactly.offset(constant))

    def combine(self, kind: str, *xs: Tensor) -> Tensor:
        """Combine integers; equal pending scales are put behind a sum."""
        if kind in ("add", "sub", "max", "min") and any(x.pending for x in xs):
            scales = [exactly.common_factor(x.pending) for x in xs]
            if all(s is not None and s == scales[0] for s in scales) and (
                kind in ("add", "sub") or (scales[0] or 0) > 0
            ):
                y = self.apply(primitives.Combine(kind), *(replace(x, pending=()) for x in xs))
                factor = np.asarray(scales[0], dtype=np.float64)
                peak = np.maximum(np.abs(y.type.lo), np.abs(y.type.hi)) * np.ldexp(1.0, -y.type.frac)
                slack = exactly.sum_slack(peak, len(xs) + 2) * np.abs(factor)
                return replace(y, pending=(SumScale(factor, slack),))
        return self.apply(primitives.Combine(kind), *(self.exact(x) for x in xs))

    def contract(self, x: Tensor, y: Tensor) -> Tensor:
        """Multiply two tensors of the event."""
        return self.apply(primitives.Contract(), self.exact(x), self.exact(y))

    def reduce(self, kind: str, x: Tensor) -> Tensor:
        """Reduce the last axis; rising functions go through a maximum, scales through a sum."""
        shape = x.type.shape
        if x.pending and kind in ("max", "min"):
            if all(f.increasing for f in x.pending) and exactly.same_along_last(x.pending, shape):
                kept = tuple(moved(f, shape, lambda a: a[..., 0]) for f in x.pending)
                return replace(self.apply(primitives.Reduce(kind), replace(x, pending=())), pending=kept)
        elif x.pending and kind == "sum":
            factor = exactly.common_scale(x.pending, shape)
            if factor is not None:
                y = self.apply(primitives.Reduce("sum"), replace(x, pending=()))
                peak = np.maximum(np.abs(x.type.lo), np.abs(x.type.hi)) * np.ldexp(1.0, -x.type.frac)
                slack = exactly.sum_slack(peak.sum(axis=-1), shape[-1]) * np.abs(factor)
                return replace(y, pending=(SumScale(np.broadcast_to(factor, y.type.shape).copy(), slack),))
        return self.apply(primitives.Reduce(kind), self.exact(x))

    # ---- wires only

    def _moved(self, x: Tensor, op: Primitive, move: Callable[[Array], Array], *, zeros: bool) -> Tensor:
        if x.pending and zeros and not exactly.keeps_zero(x.pending):
            x = self.exact(x)
        kept = tuple(moved(f, x.type.shape, move) for f in x.pending)
        return replace(self.apply(op, replace(x, pending=())), pending=kept)

    def window(self, x: Tensor, windows: Windows) -> Tensor:
        """Gather windows."""
        op = primitives.Window(
            windows.kernel, windows.strides, windows.dilation, windows.padding, edge=int(windows.edge)
        )
        flat = op.indices(x.type.shape)
        return self._moved(x, op, lambda a: a.reshape(-1)[np.maximum(flat, 0)], zeros=bool((flat < 0).any()))

    def take(self, x: Tensor, indices: IntArray) -> Tensor:
        """Pick elements."""
        indices = np.asarray(indices, dtype=np.int64)
        if indices.shape == x.type.shape and np.array_equal(indices.ravel(), np.arange(x.type.size)):
            return x
        zeros = bool((indices < 0).any())
        return self._moved(
            x, primitives.Take(indices), lambda a: a.reshape(-1)[np.maximum(indices, 0)], zeros=zeros
        )

    def reshape(self, x: Tensor, shape: tuple[int, ...]) -> Tensor:
        """Rename elements."""
        if tuple(shape) == x.type.shape:
            return x
        return self._moved(x, primitives.Reshape(tuple(shape)), lambda a: a.reshape(shape), zeros=False)

    def concat(self, axis: int, *xs: Tensor) -> Tensor:
        """Join; tensors with the same kinds of pending functions keep them."""
        axis %= len(xs[0].type.shape)
        kept = exactly.joined([x.pending for x in xs], [x.type.shape for x in xs], axis)
        if kept is None:
            xs, kept = tuple(self.exact(x) for x in xs), ()
        y = self.apply(primitives.Concat(axis), *(replace(x, pending=()) for x in xs))
        return replace(y, pending=kept)

    # ---- decisions

    def select(self, condition: Tensor, a: Tensor, b: Tensor) -> Tensor:
        """Choose between two tensors."""
        return self.apply(primitives.Select(), self.exact(condition), self.exact(a), self.exact(b))

    def compare(self, a: Tensor, b: Tensor) -> Tensor:
        """Compare two tensors."""
        return self.apply(primitives.Compare(), self.exact(a), self.exact(b))

    def argmax(self, x: Tensor) -> Tensor:
        """Find the first maximum; equal rising functions do not matter."""
        if x.pending and all(f.increasing for f in x.pending):
            scale_only = all(isinstance(f, Scale | SumScale) for f in x.pending)
            if scale_only and exactly.same_along_last(x.pending, x.type.shape):
                x = replace(x, pending=())
        return self.apply(primitives.ArgMax(), self.exact(x))

    def lookup(self, x: Tensor, table: RealArray) -> Tensor:
        """Look up rows of a table by integer."""
        x = self.exact(x)
        rows, frac = to_integers(table, f"table of {self.layer!r}")
        if int(x.type.frac.max(initial=0)) > 0 or int(x.type.lo.min(initial=0)) < 0:
            raise ModelError(f"{self.layer!r} looks up rows by numbers that are not whole or negative")
        top = int((x.type.hi << -np.minimum(x.type.frac, 0)).max(initial=0))
        if top >= len(rows):
            raise ModelError(
                f"{self.layer!r} has {len(rows)} rows, its input reaches {top}",
                fix=f"give the input a type of {(len(rows) - 1).bit_length()} bits, e.g. "
                f"ufixed<{(len(rows) - 1).bit_length()},{(len(rows) - 1).bit_length()}>, and a table of 2**n rows",
            )
        wide = self.take(
            x, np.repeat(np.arange(x.type.size), rows.shape[1]).reshape(*x.type.shape, rows.shape[1])
        )
        which = np.arange(rows.shape[1])
        return self.apply(primitives.Lookup(np.zeros((), np.int64), rows.T.copy(), which, frac), wide)

    def scalar(self, x: Tensor, program: primitives.Scalar) -> Tensor:
        """Run a scalar program."""
        return self.apply(program, self.exact(x))

    def constant(self, values: RealArray) -> Tensor:
        """Return a constant tensor, one step for equal ones."""
        values = np.asarray(values, dtype=np.float64)
        key = (values.shape, values.tobytes())
        if key not in self._constants:
            codes, frac = to_integers(values, f"constant of {self.layer!r}")
            self._constants[key] = self.apply(
                primitives.Constant(codes, np.full(codes.shape, frac, dtype=np.int64))
            )
        return self._constants[key]
