# SPDX-License-Identifier: Apache-2.0
"""What a name of the graph stands for while it is read: a constant, or a tensor of the event.

ONNX counts the batch as an axis, the network does not; ONNX puts channels first, the network last.  So a
tensor of the event says which layer makes it and *how ONNX sees* what that layer makes.  Transposing it, or
moving the batch axis, changes the view only.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from l1ml.errors import ModelError
from l1ml.frontends.common import Shape, UnsupportedError
from l1ml.graph.reals import to_integers
from l1ml.types.arrays import IntArray, RealArray

FREE = (1 << 30, 3 << 28)
"""Stand for a batch size that is not fixed.  Everything computed from it is computed twice: what differs
depends on the batch size.  Both are larger than any size that is read, and exact as int32 and float32."""

SHORT_BITS = 16
"""Constants without a quantizer are exact on a common grid of so few bits; trained floats never have one."""


@dataclass(frozen=True, eq=False)
class Constant:
    """A tensor known at import.

    Args:
        values: as the file, or the reference's own arithmetic, gives them.
        kind: name of the ONNX type.
        quantizer: text of what put the values on a grid, None for floats.
        codes: with ``scale``: ``values == float32(codes * scale)``, for a scale that is no power of two.
        scale: in the shape of the values.
        other: the values for another batch size, where they depend on it.
    """

    values: np.ndarray
    kind: str = "float32"
    quantizer: str | None = None
    codes: RealArray | None = None
    scale: RealArray | None = None
    other: np.ndarray | None = None

    @property
    def whole(self) -> bool:
        """Tell whether it is of a type of whole numbers."""
        return is_whole(self.kind)


@dataclass(frozen=True)
class Data:
    """A tensor of the event.

    Args:
        layer: the layer that makes it.
        shape: of one event, axes as in ONNX, without the batch axis.
        order: axis ``k`` of ``shape`` is axis ``order[k]`` of what the layer makes.
        batch: where ONNX has the batch axis; None where a batch of 1 has been squeezed away.
        folded: so many leading axes of ``shape`` are part of the batch axis in ONNX.
        kind: name of the ONNX type.
        zero: zero point that is still to be added: the layer makes ``value - zero``.
        scale: of a dequantized tensor, still to be applied: the layer makes ``value / scale``.
    """

    layer: str
    shape: Shape
    order: tuple[int, ...]
    batch: int | None = 0
    folded: int = 0
    kind: str = "float32"
    zero: int = 0
    scale: float | None = None

    @classmethod
    def plain(cls, layer: str, shape: Shape, kind: str = "float32", batch: int | None = 0) -> Data:
        """Return a tensor that ONNX sees as the layer makes it."""
        return cls(layer, shape, tuple(range(len(shape))), batch, 0, kind)

    @property
    def whole(self) -> bool:
        """Tell whether it is of a type of whole numbers."""
        return is_whole(self.kind)

    @property
    def rank(self) -> int:
        """Number of axes in ONNX."""
        return len(self.shape) - self.folded + (self.batch is not None)

    @property
    def inside(self) -> Shape:
        """Shape of one event as the layer makes it."""
        sizes = dict(zip(self.order, self.shape, strict=True))
        return tuple(sizes[axis] for axis in range(len(self.shape)))

    @property
    def ordered(self) -> bool:
        """Tell whether the layer's axes are those of ONNX."""
        return self.order == tuple(range(len(self.shape)))

    def dims(self, batch: int) -> list[int]:
        """Return ONNX's sizes for a batch size."""
        free = list(self.shape)
        if self.batch is None:
            return free
        size = batch * math.prod(free[: self.folded])
        free = free[self.folded :]
        return [*free[: self.batch], size, *free[self.batch :]]

    def axis(self, axis: int) -> int | None:
        """Return the axis of ``shape`` for an axis of ONNX, None for the batch axis.

        Raises:
            UnsupportedError: there is no such axis.
        """
        if not -self.rank <= axis < self.rank:
            raise UnsupportedError(f"works along axis {axis} of a tensor with {self.rank} axes")
        axis %= self.rank
        if self.batch is None:
            return axis
        if axis == self.batch:
            return None
        return axis - (axis > self.batch) + self.folded

    def indices(self) -> IntArray:
        """Return flat indices into what the layer makes, in the shape of the event as ONNX sees it."""
        inside = self.inside
        flat = np.arange(math.prod(inside), dtype=np.int64).reshape(inside)
        return np.asarray(flat.transpose(self.order))

    def without(self, *axes: int) -> tuple[int, ...]:
        """Return the order of the axes that are left when axes of ``shape`` vanish from both sides."""
        gone = sorted(self.order[axis] for axis in axes)
        left = [place for axis, place in enumerate(self.order) if axis not in axes]
        return tuple(place - sum(g < place for g in gone) for place in left)


@dataclass(frozen=True, eq=False)
class Waiting:
    """A QuantizeLinear whose layer is not made yet: what follows may change its bounds, or undo its scale.

    Args:
        name: of the node.
        x: what it quantizes.
        scale: in the shape of the event as the layer of ``x`` makes it, or 0-d.
        zero: the same, whole numbers.
        lo: smallest code.
        hi: largest code.
        kind: ONNX type of the codes.
        factor: what ``x`` is multiplied with instead of divided by the scale, where ``x`` is a sum of codes.
    """

    name: str
    x: Data
    scale: np.ndarray
    zero: np.ndarray
    lo: int
    hi: int
    kind: str
    factor: np.ndarray | None = None


Tensor = Constant | Data | Waiting


def is_whole(kind: str) -> bool:
    """Tell whether an ONNX type has whole numbers only."""
    return kind.startswith(("int", "uint", "bool"))


def bounds(kind: str) -> tuple[int, int]:
    """Return the smallest and largest number of an ONNX type of whole numbers.

    Example:
        >>> bounds("uint4"), bounds("int8"), bounds("bool")
        ((0, 15), (-128, 127), (0, 1))
    """
    if kind == "bool":
        return 0, 1
    bits = int(kind.lstrip("uint"))
    return (0, (1 << bits) - 1) if kind.startswith("u") else (-(1 << (bits - 1)), (1 << (bits - 1)) - 1)


def short(values: RealArray) -> bool:
    """Tell whether constants lie on a common grid of few bits."""
    try:
        codes, _ = to_integers(values, "")
    except ModelError:
        return False
    return not codes.size or int(np.abs(codes).max()) < 1 << SHORT_BITS
