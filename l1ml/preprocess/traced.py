# SPDX-License-Identifier: Apache-2.0
"""The array that a preprocessing function sees while it is traced.

It behaves as a NumPy array of shape (events, ...).  Shapes are followed with a few events, so that whatever
mixes events, or looks at one of them, is noticed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

from l1ml.errors import ModelError
from l1ml.preprocess.expression import LEAF, Node, is_power_of_two, is_short
from l1ml.preprocess.recorder import COMPARISONS, Operand, Recorder, Source
from l1ml.types.arrays import IntArray, RealArray
from l1ml.types.fixed import Quantizer

EVENTS = 7
"""Events while tracing: a number that the shapes of detector data rarely have."""

MAX_DEPTH = 50
"""Deeper trees are cut: what is exact becomes layers at once."""

EXACT_UNARY = ("negative", "absolute", "floor", "rint", "trunc", "logical_not")
EXACT_BINARY = (
    "add",
    "subtract",
    "multiply",
    "maximum",
    "minimum",
    "logical_and",
    "logical_or",
    *COMPARISONS,
)
BOOLEAN = {"logical_and", "logical_or", "logical_not", *COMPARISONS}


class Traced(NDArrayOperatorsMixin):
    """A function of one tensor, element by element: ``node`` applied to ``source``.

    Args:
        recorder: where operations go.
        source: the tensor.
        node: the function.
        boolean: all values are 0 or 1 and mean false or true.
    """

    __hash__ = object.__hash__

    def __init__(
        self, recorder: Recorder, source: Source, node: Node = LEAF, *, boolean: bool = False
    ) -> None:
        self.recorder, self.source, self.node, self.boolean = recorder, source, node, boolean

    # ---- what an array is asked

    @property
    def event_shape(self) -> tuple[int, ...]:
        """Shape of one event."""
        return self.source.type.shape

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape with the event axis."""
        return (EVENTS, *self.event_shape)

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of elements of all events."""
        return int(np.prod(self.shape))

    @property
    def dtype(self) -> np.dtype[Any]:
        """Element type: everything is exact in float64."""
        return np.dtype(bool if self.boolean else np.float64)

    @property
    def T(self) -> Traced:  # noqa: N802 -- as in NumPy
        """The transpose, which would mix events."""
        return self.moved(np.transpose)

    def __len__(self) -> int:
        return EVENTS

    def __repr__(self) -> str:
        return f"Traced({self.event_shape}, {self.node.kind} of {self.source.name})"

    def __bool__(self) -> bool:
        raise ModelError(
            "the value of a traced array is not known", fix="decide per element: np.where(condition, a, b)"
        )

    def __array__(self, *_: Any, **__: Any) -> Any:
        raise ModelError(
            "a traced array was turned into a plain NumPy array, its operations would be lost",
            fix="use operators and NumPy functions on the array itself, l1ml.lookup(table, x) for a table",
        )

    def __float__(self) -> float:
        return bool(self)

    __int__ = __index__ = __float__

    def __iter__(self) -> Any:
        raise ModelError("a loop over events", fix="loop over another axis: for k in range(n): x[:, k]")

    def __setitem__(self, key: Any, value: Any) -> None:
        raise ModelError(
            "an array is changed in place", fix="build a new one with np.where, np.concatenate or np.stack"
        )

    # ---- making new ones

    def exact(self) -> Source:
        """Return the tensor of exact integers.

        Raises:
            ModelError: the values are real numbers.
        """
        return self.recorder.exact(self.source, self.node)

    def cut(self) -> Traced:
        """Return the same values as a tensor of their own: what follows starts from here."""
        return Traced(self.recorder, self.exact(), boolean=self.boolean)

    def truth(self) -> Traced:
        """Return ``self != 0``."""
        return self if self.boolean else combine("not_equal", np.not_equal, self, 0.0)

    def quantized(self, kind: Quantizer) -> Traced:
        """Round and saturate or wrap; called by ``l1ml.quantize``."""
        return Traced(self.recorder, self.recorder.quantized(self.source, self.node, kind))

    __l1ml_quantize__ = quantized

    def moved(self, function: Callable[[IntArray], Any]) -> Traced:
        """Return the elements where a function that only moves them puts them.

        Raises:
            ModelError: the function mixes events.
        """
        size = int(np.prod(self.event_shape, dtype=np.int64))
        index = np.asarray(function(np.arange(EVENTS * size).reshape(self.shape)))
        offsets = np.arange(EVENTS).reshape(EVENTS, *[1] * (index.ndim - 1)) * size
        kept = index.ndim > 0 and len(index) == EVENTS
        if (
            not kept
            or not np.array_equal(index - offsets, np.broadcast_to(index[:1], index.shape))
            or (index[0].size and int(index[0].max()) >= size)
        ):
            raise ModelError(
                "events are picked, dropped or mixed; the first axis counts events and must stay as it is",
                fix="leave the first axis alone: x[:, 3], x.reshape(len(x), -1), axis=1 or axis=-1",
            )
        return self.taken(index[0])

    def taken(self, indices: IntArray) -> Traced:
        """Return elements of every event by flat index, -1 for 0."""
        indices = np.asarray(indices, dtype=np.int64)
        if bool((indices < 0).any()) and not self.node.is_leaf:
            return self.cut().taken(indices)
        source = self.recorder.taken(self.source, indices)
        node = self.node.moved(lambda c: np.broadcast_to(c, self.event_shape).reshape(-1)[indices])
        return Traced(self.recorder, source, node, boolean=self.boolean)

    def spread(self, shape: tuple[int, ...]) -> Traced:
        """Return the array repeated to a larger event shape."""
        if shape == self.event_shape:
            return self
        return self.moved(lambda a: np.broadcast_to(a, (EVENTS, *shape)))

    def __getitem__(self, key: Any) -> Traced:
        parts = key if isinstance(key, tuple) else (key,)
        if any(isinstance(part, Traced) for part in parts):
            raise ModelError(
                "an array is indexed by a traced one", fix="use np.where, or l1ml.lookup(table, index)"
            )
        return self.moved(lambda a: a[key])

    def astype(self, dtype: Any, **_: Any) -> Traced:
        """Return the same values; a conversion to integers cuts the fraction off."""
        kind = np.dtype(dtype)
        if kind.kind in "iu":
            return self.exact_unary("trunc", np.trunc)
        if kind.kind == "b":
            return self.truth()
        if kind not in (np.float64, np.dtype(np.longdouble)) and self.source.type.max_width > 24:
            raise ModelError(f"a conversion to {kind} rounds", fix="stay in float64")
        return self

    def exact_unary(self, kind: str, function: Callable[..., Any]) -> Traced:
        """Apply an exact operation that leaves fewer codes; what follows starts from its result."""
        made = combine(kind, function, self)
        return made.cut() if made.node.exact else made

    def __getattr__(self, name: str) -> Any:
        from l1ml.preprocess.functions import METHODS  # it needs this class

        if name not in METHODS:
            raise AttributeError(f"a traced array has no {name!r}")
        return partial(METHODS[name], self)

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        from l1ml.preprocess.ufuncs import call_ufunc  # it needs this class

        return call_ufunc(ufunc, method, inputs, kwargs)

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        from l1ml.preprocess.functions import call_function  # it needs this class

        return call_function(function, args, kwargs)


def constant_of(value: Any, shape: tuple[int, ...]) -> RealArray:
    """Return a constant operand in the event shape; it must be the same for all events.

    Raises:
        ModelError: it is not numeric, or it differs from event to event.
    """
    array = np.asarray(value)
    if array.dtype.kind not in "iufb":
        raise ModelError(f"an operand of type {array.dtype} is not a number")
    full = np.broadcast_to(array.astype(np.float64), (EVENTS, *shape))
    if not np.array_equal(full, np.broadcast_to(full[:1], full.shape), equal_nan=True):
        raise ModelError(
            "a constant differs from event to event", fix="its first axis would be the event axis"
        )
    first: RealArray = full[0]
    return first


def combine(kind: str, function: Callable[..., Any], *operands: Any, exact: bool | None = None) -> Traced:
    """Apply a function of elements to traced arrays and constants.

    Args:
        kind: name of the operation.
        function: how NumPy computes it.
        operands: traced arrays and constants; they broadcast as NumPy's do.
        exact: the operation has an exact integer form for these operands; None: decided here.

    Raises:
        ModelError: a real-valued operation on two different tensors.
    """
    traced = [x for x in operands if isinstance(x, Traced)]
    if len({x.ndim for x in traced}) > 1:
        shapes = " and ".join(str(x.shape).replace(str(EVENTS), "events", 1) for x in traced)
        raise ModelError(
            f"{kind} of shapes {shapes}: the event axes do not meet", fix="add an axis: x[:, None]"
        )
    shape = np.broadcast_shapes(*(np.shape(x) for x in operands))
    if len(shape) != traced[0].ndim or shape[0] != EVENTS:
        raise ModelError(
            f"{kind} with a constant of shape {[np.shape(x) for x in operands if not isinstance(x, Traced)]}"
        )
    wide = [x.spread(shape[1:]) if isinstance(x, Traced) else constant_of(x, shape[1:]) for x in operands]
    arrays = [x for x in wide if isinstance(x, Traced)]
    constants = [x for x in wide if not isinstance(x, Traced)]
    possible = _has_exact_form(kind, constants, len(arrays)) if exact is None else exact
    recorder, boolean = arrays[0].recorder, kind in BOOLEAN or _joins_booleans(kind, arrays, constants)
    if len({x.source.name for x in arrays}) == 1:
        args: Sequence[Node | RealArray] = [x.node if isinstance(x, Traced) else x for x in wide]
        whole = possible and all(x.node.exact for x in arrays)
        made = Traced(recorder, arrays[0].source, Node(kind, function, tuple(args), whole), boolean=boolean)
        return made.cut() if whole and made.node.depth > MAX_DEPTH else made
    if not possible:
        raise ModelError(
            f"{kind} of two different tensors has no exact form",
            fix="only +, -, *, comparisons, np.maximum, np.minimum and np.where join different tensors",
        )
    sources: list[Operand] = [x.exact() if isinstance(x, Traced) else x for x in wide]
    return Traced(recorder, recorder.operation(kind, sources), boolean=boolean)


def _joins_booleans(kind: str, arrays: Sequence[Traced], constants: Sequence[RealArray]) -> bool:
    return (
        kind in ("multiply", "maximum", "minimum", "where")
        and not constants
        and all(x.boolean for x in arrays)
    )


def _has_exact_form(kind: str, constants: Sequence[RealArray], arrays: int) -> bool:
    if kind in EXACT_UNARY:
        return True
    if kind == "divide":
        return arrays == 1 and is_power_of_two(constants[0])
    return (kind in EXACT_BINARY or kind == "where") and all(is_short(c) for c in constants)
