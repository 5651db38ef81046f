# SPDX-License-Identifier: Apache-2.0
"""Collects the layers that a preprocessing function amounts to, and knows the exact type of each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from l1ml.errors import ModelError, RangeError
from l1ml.graph.model import (
    Compare,
    Constant,
    Input,
    Layer,
    Merge,
    Quantize,
    QuantizeEach,
    Reshape,
    Take,
    Where,
)
from l1ml.graph.reals import to_integers
from l1ml.graph.tensor import TensorType
from l1ml.graph.typed import Tensor, TypedNet
from l1ml.preprocess.expression import Node, Values, tabulate
from l1ml.preprocess.layers import Entries, Plus, Tabulated, Times
from l1ml.types.arrays import IntArray, RealArray
from l1ml.types.fixed import Overflow, Quantizer, Rounding, quantize_codes, shift_codes
from l1ml.types.grid import Grid

FLOAT64_BITS = 53
FLOAT32_BITS = 24
MAX_LAYERS = 2_000

COMPARISONS = {
    "greater_equal": ">=",
    "greater": ">",
    "less_equal": "<=",
    "less": "<",
    "equal": "==",
    "not_equal": "!=",
}
MERGES = {"add": "add", "subtract": "sub", "multiply": "mul", "maximum": "max", "minimum": "min"}


@dataclass(frozen=True, eq=False)
class Source:
    """A tensor of exact integers: the layer that makes it, and its type."""

    name: str
    tensor: Tensor

    @property
    def type(self) -> TensorType:
        """The type of every element."""
        return self.tensor.type


Operand = Source | RealArray


class Recorder:
    """The layers so far.

    Args:
        inputs: the raw ports, with their types.
        prefix: how names of layers begin.
    """

    def __init__(self, inputs: Sequence[Input], prefix: str = "pre") -> None:
        types = []
        for port in inputs:
            assert port.quantizer is not None, "raw ports have types"
            kind = port.quantizer.type
            full = (np.full(port.shape, n, dtype=np.int64) for n in (kind.lo, kind.hi, kind.frac))
            types.append(TensorType(*full))
        self.layers: list[Layer] = list(inputs)
        self.net = TypedNet(types)
        self.sources = [Source(i.name, t) for i, t in zip(inputs, self.net.inputs, strict=True)]
        self._prefix = prefix
        self._made: dict[tuple[str, int], tuple[Node, Source]] = {}
        self._taken: dict[tuple[str, tuple[int, ...], bytes], Source] = {}

    def append(self, text: str, make: Callable[[str, tuple[str, ...]], Layer], *reads: Source) -> Source:
        """Append a layer.

        Args:
            text: the operation, part of the name.
            make: gives the layer for its name and the names of its inputs.
            reads: its inputs.

        Raises:
            ModelError: the layer has no exact form for its inputs.
        """
        if len(self.layers) >= MAX_LAYERS:
            raise ModelError(
                f"the preprocessing has more than {MAX_LAYERS} operations",
                fix="write it with arrays, without loops",
            )
        name = f"{self._prefix}{len(self.layers)}.{text}"
        layer = make(name, tuple(s.name for s in reads))
        self.net.layer = name
        tensor = self.net.exact(layer.emit(self.net, *(s.tensor for s in reads)))
        if tensor.type.max_width > FLOAT64_BITS:
            raise RangeError(
                f"{text} gives words of {tensor.type.max_width} bits; NumPy's float64 has {FLOAT64_BITS}",
                fix="quantize its operands",
            )
        self.layers.append(layer)
        return Source(name, tensor)

    def constant(self, values: RealArray) -> Source:
        """Append a constant tensor."""
        return self.append("constant", lambda name, _: Constant(name, (), values))

    def taken(self, source: Source, indices: IntArray) -> Source:
        """Append elements by flat index, -1 for 0; the same elements are taken once."""
        key = (source.name, indices.shape, indices.tobytes())
        if key not in self._taken:
            whole = np.array_equal(indices.ravel(), np.arange(source.type.size))
            if whole and indices.shape == source.type.shape:
                return source
            self._taken[key] = (
                self.append("reshape", lambda name, reads: Reshape(name, reads, indices.shape), source)
                if whole
                else self.append("take", lambda name, reads: Take(name, reads, indices), source)
            )
        return self._taken[key]

    # ---- trees

    def exact(self, source: Source, node: Node) -> Source:
        """Return the tensor of a tree: layers where all its operations are exact, else a table.

        Raises:
            ModelError: the results are real numbers.
        """
        if node.is_leaf:
            return source
        key = (source.name, id(node))
        if key not in self._made:
            if node.exact:
                args = [self.exact(source, a) if isinstance(a, Node) else a for a in node.args]
                made = self.operation(node.kind, args)
            else:
                made = self._table(source, node)
            self._made[key] = (node, made)  # the node is kept, so that its id stays its own
        return self._made[key][1]

    def quantized(self, source: Source, node: Node, kind: Quantizer) -> Source:
        """Return the tensor of a tree brought into a fixed-point type."""
        if node.exact:
            exact = self.exact(source, node)
            return self.append("quantize", lambda name, reads: Quantize(name, reads, kind), exact)
        values = tabulate(node, source.type)
        codes = []
        for real, first in zip(values.real, values.first, strict=True):
            self._check_finite(real, first, node)
            codes.append(np.ldexp(quantize_codes(real, kind).astype(np.float64), -kind.type.frac))
        return self._entries(source, values, codes, kind.type.frac, node.kind)

    def _table(self, source: Source, node: Node) -> Source:
        values = tabulate(node, source.type)
        for real, first in zip(values.real, values.first, strict=True):
            self._check_finite(real, first, node)
        try:
            codes, frac = to_integers(np.concatenate(values.real), node.kind)
        except ModelError:
            codes, frac = np.zeros(0, np.int64), 1 << 20
        if frac > FLOAT32_BITS or int(np.abs(codes).max(initial=0)) >= 1 << FLOAT32_BITS:
            raise ModelError(
                f"the results of {node.kind} are real numbers",
                fix='say with how many bits to go on: l1ml.quantize(x, "fixed<W,I,RND_CONV,SAT>")',
            )
        return self._entries(source, values, values.real, frac, node.kind)

    @staticmethod
    def _check_finite(real: RealArray, first: int, node: Node) -> None:
        bad = np.flatnonzero(~np.isfinite(real))
        if bad.size:
            raise ModelError(
                f"{node.kind} gives {real[bad[0]]} for {bad.size} of {real.size} input codes, the first is "
                f"{first + int(bad[0])}",
                fix="keep its argument in the range where it is finite, with np.maximum or np.where",
            )

    def _entries(
        self, source: Source, values: Values, tables: list[RealArray], frac: int, text: str
    ) -> Source:
        kind = source.type
        widest = max(
            int(np.abs(kind.lo).max(initial=0)),
            int(kind.hi.max(initial=0)),
            *(int(np.abs(np.ldexp(t, frac)).max(initial=0)) for t in tables),
        )
        if widest >= 1 << FLOAT32_BITS:
            raise ModelError(
                f"{text} reads or gives codes of {widest.bit_length()} bits; at most {FLOAT32_BITS} are held",
                fix="subtract an offset first, or quantize to fewer bits",
            )
        exact = tuple(tables)
        entries = Entries(exact, tuple(values.first), kind.frac, values.which, frac)
        return self.append(text, lambda name, reads: Tabulated(name, reads, entries, text), source)

    # ---- exact operations

    def operation(self, kind: str, args: Sequence[Operand]) -> Source:
        """Append an exact operation on tensors and constants of one shape."""
        if kind == "where":
            reads = [a if isinstance(a, Source) else self.constant(a) for a in args]
            return self.append(kind, Where, *reads)
        x, y = args[0], args[1] if len(args) > 1 else None
        if isinstance(x, Source) and (y is None or isinstance(y, Source)):
            return self._tensors(kind, x, y)
        if isinstance(x, Source):
            assert y is not None
            return self._constant_right(kind, x, np.asarray(y, dtype=np.float64))
        assert isinstance(y, Source)
        constant = np.asarray(x, dtype=np.float64)
        if kind == "subtract":
            return self._constant_right("add", self._tensors("negative", y, None), constant)
        if kind in COMPARISONS:
            swapped = {
                "greater": "less",
                "less": "greater",
                "greater_equal": "less_equal",
                "less_equal": "greater_equal",
            }
            return self._constant_right(swapped.get(kind, kind), y, constant)
        return self._constant_right(kind, y, constant)

    def _constant_right(self, kind: str, x: Source, c: RealArray) -> Source:
        if kind in ("add", "subtract"):
            c = c if kind == "add" else -c
            return self.append(kind, lambda name, reads: Plus(name, reads, c), x) if c.any() else x
        if kind in ("multiply", "divide"):
            factor = c if kind == "multiply" else 1.0 / c
            return (
                self.append(kind, lambda name, reads: Times(name, reads, factor), x)
                if (factor != 1).any()
                else x
            )
        return self._tensors(kind, x, self.constant(c))

    def _tensors(self, kind: str, x: Source, y: Source | None) -> Source:
        if y is None:
            minus = np.full(x.type.shape, -1.0)
            if kind == "negative":
                return self.append(kind, lambda name, reads: Times(name, reads, minus), x)
            if kind == "absolute":
                other = self._tensors("negative", x, None)
                return self.append(kind, lambda name, reads: Merge(name, reads, "max"), x, other)
            if kind == "logical_not":
                return self._constant_right("add", self._tensors("negative", x, None), -minus)
            assert kind in _ROUNDINGS, kind
            return self._rounded(kind, x)
        if kind in COMPARISONS:
            return self.append(kind, lambda name, reads: Compare(name, reads, COMPARISONS[kind]), x, y)
        merge = MERGES.get(kind) or {"logical_and": "min", "logical_or": "max"}[kind]
        return self.append(kind, lambda name, reads: Merge(name, reads, merge), x, y)

    def _rounded(self, kind: str, x: Source) -> Source:
        rounding, t = _ROUNDINGS[kind], x.type
        if not bool((t.frac > 0).any()):
            return x
        frac = np.minimum(t.frac, 0)
        lo, hi = np.empty(t.shape, np.int64), np.empty(t.shape, np.int64)
        for drop in np.unique(t.frac - frac):
            here = t.frac - frac == drop
            lo[here], hi[here] = (shift_codes(end[here], int(drop), rounding) for end in (t.lo, t.hi))
        grid = Grid(lo, hi, frac, rounding, Overflow.SAT)
        return self.append(kind, lambda name, reads: QuantizeEach(name, reads, grid, kind), x)

    def wrapped(self, x: Source, bits: int) -> Source:
        """Append ``x`` modulo ``2**bits``."""
        width = np.maximum(bits + x.type.frac, 0)
        top = np.asarray((np.int64(1) << np.minimum(width, 60)) - 1)
        if bool(((x.type.lo >= 0) & (x.type.hi <= top)).all()):
            return x
        frac = np.where(width > 0, x.type.frac, -bits)  # no bit left: one code, 0
        grid = Grid(np.zeros_like(top), top, frac, Rounding.TRN, Overflow.WRAP)
        return self.append(
            "remainder", lambda name, reads: QuantizeEach(name, reads, grid, f"modulo 2**{bits}"), x
        )


_ROUNDINGS = {"floor": Rounding.TRN, "rint": Rounding.RND_CONV, "trunc": Rounding.TRN_ZERO}
