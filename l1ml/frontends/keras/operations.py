# SPDX-License-Identifier: Apache-2.0
"""Functions of ``keras.ops`` and operators between layers of a model: ``x[:, 0]``, ``a + b``, ``ops.sum(x, 1)``.

Keras 3 stores each as a step of the model with what it was called with; it counts the event axis as axis 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from l1ml.frontends.common import UnsupportedError, spreads
from l1ml.frontends.keras import shape as layers
from l1ml.frontends.keras.step import Reader, Step, applied, calls
from l1ml.frontends.spelling import Call
from l1ml.graph import functions, shapes
from l1ml.graph.functions import Divide, Function, Offset, Scale
from l1ml.graph.model import Einsum2, Layer, Map, Merge, Reduce, Reshape, Softmax, Take
from l1ml.graph.named import Named
from l1ml.graph.shapes import Shape

TENSOR = "__keras_tensor__"
CONSTANTS = ("__tensor__", "__numpy__")
MAX_CONSTANTS = 1 << 16


@dataclass(frozen=True)
class Operand:
    """A tensor that an operation reads: its name, and the shape of one event."""

    name: str
    shape: Shape


def arguments(step: Step) -> list[Any]:
    """Return what an operation is called with: an `Operand` per tensor, float32 arrays, or what the file has."""
    nodes = calls(step)
    if len(nodes) != 1:
        raise UnsupportedError(f"it is called {len(nodes)} times; an operation is called once")
    listed, named = nodes[0].get("args"), nodes[0].get("kwargs")
    given = [
        *(listed if isinstance(listed, list) else ()),
        *(named.values() if isinstance(named, Mapping) else ()),
    ]
    tensors = iter(zip(step.inputs, step.shapes, strict=True))
    found = [_argument(value, tensors, step) for value in given if value is not None]
    if next(tensors, None) is not None:
        raise UnsupportedError("it reads tensors inside of its arguments")
    return found


def _argument(value: Any, tensors: Any, step: Step) -> Any:
    kind = value.get("class_name") if isinstance(value, Mapping) else None
    if kind == TENSOR:
        found = next(tensors, None)
        if found is None:
            raise step.error("is called with more tensors than it reads")
        return Operand(*found)
    if isinstance(value, bool):
        raise UnsupportedError(f"it is called with {value}")
    if isinstance(value, (int, float)):
        return _float32(value, step)
    if kind in CONSTANTS:
        held = value.get("config")
        array = _float32(held.get("value") if isinstance(held, Mapping) else None, step)
        if array.size > MAX_CONSTANTS:
            raise UnsupportedError(f"a constant of {array.size} numbers; at most {MAX_CONSTANTS} are read")
        return array
    return value


def _float32(value: Any, step: Step) -> np.ndarray:
    try:
        with np.errstate(over="ignore"):
            return np.asarray(np.array(value, dtype=np.float64), dtype=np.float32)
    except (TypeError, ValueError, OverflowError):
        raise step.error("holds a constant that is no array of numbers") from None


def _tensors(step: Step, count: int) -> list[Operand]:
    found = arguments(step)
    if len(found) != count or not all(isinstance(value, Operand) for value in found):
        raise UnsupportedError(f"it is called with something else than {count} tensors")
    return found


def _axes(step: Step, rank: int, key: str = "axis") -> tuple[int, ...]:
    """Return axes from 0 without the event axis."""
    axes = step.options.integers(key)
    own = [a - 1 if a > 0 else rank + a for a in axes or ()]
    if not axes or 0 in axes or not all(0 <= a < rank for a in own) or len(set(own)) != len(own):
        raise UnsupportedError(f"axes {axes}; axes of the data other than the events are supported")
    return tuple(own)


def arithmetic(kind: str) -> Reader:
    """Return the reader of an operation of two tensors, or of a tensor and a constant."""

    def read(step: Step) -> tuple[Layer, ...]:
        found = arguments(step)
        if len(found) != 2 or not all(isinstance(value, (Operand, np.ndarray)) for value in found):
            raise UnsupportedError(
                "it is called with something else than two tensors, or a tensor and a constant"
            )
        a, b = found
        if isinstance(a, Operand) and isinstance(b, Operand):
            if kind == "div" or len(a.shape) != len(b.shape):
                raise UnsupportedError(
                    "a quotient of tensors" if kind == "div" else "tensors of different rank"
                )
            return (Merge(step.name, (a.name, b.name), kind),)
        x, constant, first = (a, b, False) if isinstance(a, Operand) else (b, a, True)
        value = _broadcast(np.asarray(constant, dtype=np.float32), x.shape)
        return (Map(step.name, (x.name,), _with(kind, value, first), f"{kind} constant"),)

    return read


def _broadcast(constant: np.ndarray, shape: Shape) -> np.ndarray:
    if constant.ndim == len(shape) + 1 and constant.shape[0] == 1:
        constant = constant[0]
    if not np.isfinite(constant).all():
        raise UnsupportedError("a constant that is not finite")
    if not spreads(constant.shape, shape):
        raise UnsupportedError(f"a constant of the shape {constant.shape} for events of the shape {shape}")
    return constant


def _with(kind: str, constant: np.ndarray, first: bool) -> tuple[Function, ...]:
    """Return what an operation with a constant does; ``first`` where the constant stands before the tensor."""
    minus = Scale(np.float32(-1))
    match kind:
        case "add":
            return (Offset(constant),)
        case "sub":
            return (minus, Offset(constant)) if first else (Offset(-constant),)
        case "mul":
            return (Scale(constant),)
        case "div" if not first and constant.all():
            return (Divide(constant),)
        case "max":
            return (functions.Clip(constant, np.float32(np.inf)),)
        case "min":
            return (functions.Clip(np.float32(-np.inf), constant),)
    raise UnsupportedError("a constant over a tensor, or over 0")


def pointwise(*made: Function) -> Reader:
    """Return the reader of a function of single elements."""

    def read(step: Step) -> tuple[Layer, ...]:
        (x,) = _tensors(step, 1)
        return (Map(step.name, (x.name,), made, step.kind),)

    return read


def activation(name: str, *options: str) -> Reader:
    """Return the reader of an activation function with these options."""

    def read(step: Step) -> tuple[Layer, ...]:
        (x,) = _tensors(step, 1)
        given = {key: step.options.raw(key) for key in options if step.options.raw(key) is not None}
        return applied(step, x.name, Call(name, given))

    return read


def softmax(step: Step) -> tuple[Layer, ...]:
    """Softmax over one axis."""
    (x,) = _tensors(step, 1)
    axes = _axes(step, len(x.shape))
    if len(axes) != 1:
        raise UnsupportedError(f"a softmax over {len(axes)} axes; one is supported")
    return (Softmax(step.name, (x.name,), axes[0]),)


def square(step: Step) -> tuple[Layer, ...]:
    """Square: the product with itself."""
    (x,) = _tensors(step, 1)
    return (Merge(step.name, (x.name, x.name), "mul"),)


def clip(step: Step) -> tuple[Layer, ...]:
    """Clip between two numbers."""
    (x,) = _tensors(step, 1)
    low, high = (step.options.number(key) for key in ("x_min", "x_max"))
    if low is None or high is None or low > high:
        raise UnsupportedError("bounds that are no numbers in order")
    return (Map(step.name, (x.name,), (functions.Clip(np.float32(low), np.float32(high)),), "clip"),)


def reduction(kind: str) -> Reader:
    """Return the reader of a sum, mean, maximum or minimum over axes."""

    def read(step: Step) -> tuple[Layer, ...]:
        (x,) = _tensors(step, 1)
        if step.options.raw("initial") is not None:
            raise UnsupportedError("an initial value")
        axes = _axes(step, len(x.shape))
        return (Reduce(step.name, (x.name,), kind, axes, step.options.flag("keepdims", False)),)

    return read


def get_item(step: Step) -> tuple[Layer, ...]:
    """Indices and slices, all events."""
    found = arguments(step)
    if len(found) != 2 or not isinstance(found[0], Operand):
        raise UnsupportedError("indices that are tensors")
    x = found[0]
    if isinstance(found[1], np.ndarray):
        raise UnsupportedError("a choice among events; the first index has to be `:`")
    keys = [_key(value) for value in (found[1] if isinstance(found[1], list) else [found[1]])]
    if not keys or keys[0] not in (slice(None), Ellipsis):
        raise UnsupportedError("a choice among events; the first index has to be `:`")
    if keys[0] == slice(None):
        keys = keys[1:]
    elif sum(key is not None for key in keys) > len(x.shape) + 1:
        raise UnsupportedError("a choice among events")
    elements = np.arange(math.prod(x.shape), dtype=np.int64).reshape(x.shape)
    try:
        picked = elements[tuple(keys)]
    except (IndexError, ValueError) as error:
        raise step.error(f"picks what is not there: {error}") from None
    if not picked.size or not picked.ndim:
        raise UnsupportedError("a choice that leaves no axis or no element")
    return (Take(step.name, (x.name,), np.ascontiguousarray(picked), "GetItem"),)


def _key(value: Any) -> Any:
    if value is None:
        return None
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    kind = value.get("class_name") if isinstance(value, Mapping) else None
    if kind == "__ellipsis__":
        return Ellipsis
    own = value.get("config") if kind == "__slice__" else None
    parts = [own.get(key) for key in ("start", "stop", "step")] if isinstance(own, Mapping) else ["?"]
    if not all(part is None or (isinstance(part, int) and not isinstance(part, bool)) for part in parts):
        raise UnsupportedError("indices other than numbers, slices, None and ...")
    return slice(*parts)


def transpose(step: Step) -> tuple[Layer, ...]:
    """Transpose, the events first."""
    (x,) = _tensors(step, 1)
    axes = step.options.integers("axes") or []
    axes = [a % (len(x.shape) + 1) for a in axes]
    if axes[:1] != [0] or sorted(axes) != list(range(len(x.shape) + 1)):
        raise UnsupportedError(f"axes {axes}; an order with the events first is supported")
    return (shapes.permute(step.name, x.name, x.shape, [a - 1 for a in axes[1:]]),)


def reshape(step: Step) -> tuple[Layer, ...]:
    """Reshape: the first size is that of the events."""
    (x,) = _tensors(step, 1)
    target = step.options.raw("newshape")
    if not isinstance(target, list) or len(target) < 2 or target[0] not in (-1, None):
        raise UnsupportedError(f"the shape {str(target)[:60]}; (-1, sizes of one event) is supported")
    sizes = [n for n in target[1:] if isinstance(n, int) and not isinstance(n, bool)]
    if len(sizes) != len(target) - 1 or min(sizes) < 1 or math.prod(sizes) != math.prod(x.shape):
        raise UnsupportedError(f"the shape {str(target)[:60]} for events of the shape {x.shape}")
    return (Reshape(step.name, (x.name,), tuple(sizes)),)


def squeeze(step: Step) -> tuple[Layer, ...]:
    """Squeeze axes of size 1."""
    (x,) = _tensors(step, 1)
    axes = _axes(step, len(x.shape))
    if any(x.shape[a] != 1 for a in axes):
        raise step.error(f"squeezes axes of {x.shape} that are not 1")
    return (Reshape(step.name, (x.name,), tuple(n for a, n in enumerate(x.shape) if a not in axes)),)


def expand_dims(step: Step) -> tuple[Layer, ...]:
    """A new axis of size 1."""
    (x,) = _tensors(step, 1)
    axes = _axes(step, len(x.shape) + 1)
    made = np.expand_dims(np.empty(x.shape, dtype=bool), axes).shape
    return (Reshape(step.name, (x.name,), made),)


def flip(step: Step) -> tuple[Layer, ...]:
    """Reverse axes."""
    (x,) = _tensors(step, 1)
    return (shapes.flip(step.name, x.name, x.shape, _axes(step, len(x.shape))),)


def matmul(step: Step) -> tuple[Layer, ...]:
    """Products of matrices, one per event and leading axes."""
    a, b = _tensors(step, 2)
    rank = len(a.shape)
    if rank < 2 or len(b.shape) != rank or a.shape[:-2] != b.shape[:-2] or a.shape[-1] != b.shape[-2]:
        raise UnsupportedError(f"matrices of {a.shape} and {b.shape}; the same leading axes are supported")
    lead = "abcdefg"[: rank - 2]
    return (Einsum2(step.name, (a.name, b.name), f"{lead}xy,{lead}yz->{lead}xz"),)


def einsum(step: Step) -> tuple[Layer, ...]:
    """Einsum of two tensors, the events first in both and in the result."""
    equation = step.options.raw("subscripts")
    a, b = _tensors(step, 2)
    parts = equation.replace(" ", "").replace("->", ",").split(",") if isinstance(equation, str) else []
    batch = parts[0][:1] if len(parts) == 3 and len(str(equation)) < 60 else ""
    if not batch or any(p[:1] != batch or batch in p[1:] or not p.isalpha() for p in parts):
        raise UnsupportedError(
            f"subscripts {str(equation)[:60]!r}; two operands with the event axis first are supported"
        )
    first, second, result = (p[1:] for p in parts)
    return (Einsum2(step.name, (a.name, b.name), f"{first},{second}->{result}"),)


def _joined(step: Step) -> tuple[Layer, ...]:
    if step.options.raw("axis") == 0:
        raise UnsupportedError("axis 0, the events")
    return layers.concatenate(step)


_MERGES = {
    "Add": "add", "Subtract": "sub", "Multiply": "mul", "TrueDivide": "div", "Divide": "div",
    "Maximum": "max", "Minimum": "min",
}  # fmt: skip
_FUNCTIONS: dict[str, tuple[str, ...]] = {
    "Relu": ("relu",), "Relu6": ("relu6",), "Sigmoid": ("sigmoid",), "Tanh": ("tanh",), "Softplus": ("softplus",),
    "Softsign": ("softsign",), "Silu": ("silu",), "Selu": ("selu",), "HardSigmoid": ("hard_sigmoid",),
    "HardTanh": ("hard_tanh",), "Exp": ("exponential",), "Elu": ("elu", "alpha"), "Gelu": ("gelu", "approximate"),
    "LeakyRelu": ("leaky_relu", "negative_slope"),
}  # fmt: skip
_OTHERS: dict[str, Callable[[Step], tuple[Layer, ...]]] = {
    "Softmax": softmax, "Square": square, "Clip": clip, "GetItem": get_item, "Transpose": transpose, "Reshape": reshape,
    "Squeeze": squeeze, "ExpandDims": expand_dims, "Flip": flip, "Matmul": matmul, "Einsum": einsum,
    "Concatenate": _joined,
}  # fmt: skip

LAYERS: dict[str, Reader] = {
    **{name: arithmetic(kind) for name, kind in _MERGES.items()},
    **{name: activation(*options) for name, options in _FUNCTIONS.items()},
    **{name: reduction(name.lower()) for name in ("Sum", "Mean", "Max", "Min")},
    "Negative": pointwise(Scale(np.float32(-1))),
    **dict.fromkeys(("Abs", "Absolute"), pointwise(Named("abs"))),
    **_OTHERS,
}
