# SPDX-License-Identifier: Apache-2.0
"""Operators that treat every element alone, and arithmetic between tensors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from l1ml.frontends.common import UnsupportedError
from l1ml.frontends.onnx import integers, layout
from l1ml.frontends.onnx.functions import Bound, HardSwish, Quotient, Signum, Step, Whole
from l1ml.frontends.onnx.operator import Operator, Result
from l1ml.frontends.onnx.qdq import narrowed
from l1ml.frontends.onnx.tensors import Constant, Data, Waiting, bounds, is_whole
from l1ml.frontends.onnx.weights import with_bias
from l1ml.graph import functions, model
from l1ml.graph.functions import Clip, Divide, Function, HardSigmoid, Offset, Rectify, Scale
from l1ml.graph.named import Named

Read = Callable[[Operator], Result]


def named(name: str, *parameters: tuple[str, float]) -> Read:
    """Return the reader of a function of `l1ml.graph.named`, its parameters attributes with defaults."""

    def read(op: Operator) -> Result:
        op.options.ignore("consumed_inputs")
        values = tuple(op.options.real(key, default) for key, default in parameters)
        return op.map(_real(op), [Named(name, values)], op.node.kind)

    return read


def _real(op: Operator) -> Data:
    x = op.data()
    if x.whole:
        raise UnsupportedError(f"of {x.kind}; of real numbers it is supported")
    return x


def relu(op: Operator) -> Result:
    """Read Relu."""
    op.options.ignore("consumed_inputs")
    x = op.raw()
    x = op.data() if x.zero else x  # it does not mind a scale
    y = op.layer(model.Relu(op.name, (x.layer,)), x, kind=x.kind, scale=x.scale)
    return integers.bounded(op.reading, x, y, 0.0, np.inf)


def leaky_relu(op: Operator) -> Result:
    """Read LeakyRelu."""
    op.options.ignore("consumed_inputs")
    slope = op.options.real("alpha", 0.01)
    return op.map(_real(op), [Rectify(np.float32(slope))], f"LeakyRelu({slope:g})")


def prelu(op: Operator) -> Result:
    """Read PRelu: a slope per channel, or per element."""
    op.options.ignore("consumed_inputs")
    x, slope = _real(op), op.reals(1)
    if slope.ndim == 1 and op.opset < 7 and x.rank > 1:  # one slope per channel, channels first
        slope = slope.reshape(-1, *(1,) * (x.rank - 2))
    x, slope = layout.fitted(op.reading, x, slope.astype(np.float32))
    return op.map(x, [Rectify(slope)], "PRelu")


def thresholded_relu(op: Operator) -> Result:
    """Read ThresholdedRelu: x above the threshold, else 0."""
    alpha = op.options.real("alpha", 1.0)
    return op.map(_real(op), [Rectify(np.float32(0), threshold=alpha)], f"ThresholdedRelu({alpha:g})")


def hard_sigmoid(op: Operator) -> Result:
    """Read HardSigmoid."""
    op.options.ignore("consumed_inputs")
    slope, shift = op.options.real("alpha", 0.2), op.options.real("beta", 0.5)
    return op.map(_real(op), [HardSigmoid(slope, shift)], f"HardSigmoid({slope:g}, {shift:g})")


def hard_swish(op: Operator) -> Result:
    """Read HardSwish."""
    return op.map(_real(op), [HardSwish()], "HardSwish")


def gelu(op: Operator) -> Result:
    """Read Gelu, exact or in the approximation by tanh."""
    tanh = op.options.text("approximate", "none", "none", "tanh") == "tanh"
    return op.map(_real(op), [Named("gelu", (float(tanh),))], "Gelu")


def swish(op: Operator) -> Result:
    """Read Swish: ``x * sigmoid(alpha * x)``."""
    if op.options.real("alpha", 1.0) != 1:
        raise UnsupportedError("alpha other than 1")
    return op.map(_real(op), [Named("silu")], "Swish")


def power(op: Operator) -> Result:
    """Read Pow with a constant exponent."""
    op.options.ignore("axis", "broadcast")
    if op.is_constant(0):
        raise UnsupportedError("an exponent computed from the data")
    x, exponent = _real(op), op.number(1)
    if exponent == 2:
        return op.layer(model.Merge(op.name, (x.layer, x.layer), "mul"), x)
    if exponent == 1:
        return x
    simple = {0.5: "sqrt", -1.0: "reciprocal", -0.5: "rsqrt"}
    function = Named(simple[exponent]) if exponent in simple else Named("pow", (exponent,))
    return op.map(x, [function], f"Pow({exponent:g})")


def clip(op: Operator) -> Result:
    """Read Clip; right behind a QuantizeLinear it narrows that one."""
    op.options.ignore("consumed_inputs")
    if op.opset < 11:
        lo, hi = op.options.number("min"), op.options.number("max")
    else:
        lo, hi = (op.number(k) if op.has(k) else None for k in (1, 2))
    tensor = op.tensor(0)
    if isinstance(tensor, Waiting):
        return narrowed(tensor, -np.inf if lo is None else lo, np.inf if hi is None else hi)
    x = op.data()
    y = op.map(x, clipped(lo, hi), f"Clip({lo}, {hi})", kind=x.kind)
    return integers.bounded(op.reading, x, y, -np.inf if lo is None else lo, np.inf if hi is None else hi)


def clipped(lo: float | None, hi: float | None) -> list[Function]:
    """Return the functions of a Clip with bounds that may be absent."""
    # Files say "no bound" with the largest float32 as well.
    low = None if lo is None or lo < -3.4e38 else lo
    high = None if hi is None or hi > 3.4e38 else hi
    if low is not None and high is not None and low > high:
        low = high  # as ONNX has it: min(max, max(x, min))
    if low == 0 and high is None:
        return [functions.Relu()]
    if low is not None and high is not None:
        return [Clip(np.float32(low), np.float32(high))]
    return [Bound(bound, upper) for bound, upper in ((low, False), (high, True)) if bound is not None]


def rounding(mode: str) -> Read:
    """Return the reader of Floor, Ceil or Round (ties to even)."""

    def read(op: Operator) -> Result:
        op.options.ignore("consumed_inputs")
        x = op.data()
        return x if x.whole else op.map(x, [Whole(mode)], op.node.kind)

    return read


def negative(op: Operator) -> Result:
    """Read Neg."""
    op.options.ignore("consumed_inputs")
    x = op.data()
    return op.map(x, [Scale(np.float32(-1))], "Neg", kind=x.kind)


def sign(op: Operator) -> Result:
    """Read Sign: -1, 0 or 1."""
    x = op.data()
    return op.map(x, [Signum()], "Sign", kind=x.kind)


# ---- two or more tensors


WRAPPING = ("int8", "uint8", "int16", "uint16")


def _operands(op: Operator, count: int) -> list[Constant | Data]:
    """Return inputs, constants in the place where broadcasting puts them."""
    if op.node.kind in ("Add", "Sub", "Mul", "Sum") and any(
        getattr(op.tensor(k), "kind", "") in WRAPPING for k in range(count)
    ):
        raise UnsupportedError("of whole numbers of 8 or 16 bits, which wraps around; use float32 or int32")
    op.options.ignore("consumed_inputs")
    made: list[Constant | Data] = [op.constant(k) if op.is_constant(k) else op.data(k) for k in range(count)]
    if op.opset < 7 and op.options.flag("broadcast", False):
        axis, first, second = op.options.raw("axis"), made[0], made[1]
        if isinstance(second, Constant) and isinstance(first, Data) and axis is not None:
            place = op.options.integer("axis") % first.rank
            shape = (*second.values.shape, *(1,) * (first.rank - place - second.values.ndim))
            made[1] = replace(second, values=second.values.reshape(shape), codes=None, scale=None)
    else:
        op.options.ignore("axis")
    return made


def add(op: Operator) -> Result:
    """Read Add; a constant behind a product that nothing else reads is its bias."""
    a, b = _operands(op, 2)
    if isinstance(a, Data) and isinstance(b, Data):
        return merged(op, "add", [a, b])
    index, x, constant = (1, a, b) if isinstance(a, Data) else (0, b, a)
    assert isinstance(x, Data) and isinstance(constant, Constant), "constants alone have been computed"
    x, values = layout.fitted(op.reading, x, constant.values)
    before = op.reading.layers.get(x.layer)
    mine = op.alone(1 - index) and op.reading.views[x.layer] == 1
    if isinstance(before, model.Dense | model.Conv) and before.bias is None and mine and values.ndim <= 1:
        # The result is that of the Add, so it has its name; nothing else reads the product.
        joined = replace(with_bias(before, replace(constant, values=values)), name=op.name)
        del op.reading.layers[before.name]
        return op.layer(joined, x)
    return op.layer(
        model.Affine(op.name, (x.layer,), np.float32(1), values.astype(np.float32)), x, kind=x.kind
    )


def subtract(op: Operator) -> Result:
    """Read Sub."""
    a, b = _operands(op, 2)
    if isinstance(a, Data) and isinstance(b, Data):
        return merged(op, "sub", [a, b])
    if isinstance(a, Data) and isinstance(b, Constant):
        x, values = layout.fitted(op.reading, a, b.values.astype(np.float32))
        return op.map(x, [Offset(-values)], "- constant", kind=x.kind)
    assert isinstance(a, Constant) and isinstance(b, Data), "constants alone have been computed"
    x, values = layout.fitted(op.reading, b, a.values.astype(np.float32))
    return op.map(x, [Scale(np.float32(-1)), Offset(values)], "constant -", kind=x.kind)


def multiply(op: Operator) -> Result:
    """Read Mul."""
    a, b = _operands(op, 2)
    if isinstance(a, Data) and isinstance(b, Data):
        return merged(op, "mul", [a, b])
    x, constant = (a, b) if isinstance(a, Data) else (b, a)
    assert isinstance(x, Data) and isinstance(constant, Constant), "constants alone have been computed"
    x, values = layout.fitted(op.reading, x, constant.values.astype(np.float32))
    return op.map(x, [Scale(values)] if (values != 1).any() else [], "* constant", kind=x.kind)


def divide(op: Operator) -> Result:
    """Read Div; between two tensors it is a product with the reciprocal."""
    a, b = _operands(op, 2)
    if any(isinstance(t, Data) and t.whole for t in (a, b)):
        raise UnsupportedError("of whole numbers, which drops the remainder")
    if isinstance(a, Data) and isinstance(b, Constant):
        if not b.values.all():
            raise UnsupportedError("by 0")
        x, values = layout.fitted(op.reading, a, b.values.astype(np.float32))
        return op.map(x, [Divide(values)] if (values != 1).any() else [], "/ constant")
    if isinstance(a, Constant) and isinstance(b, Data):
        x, values = layout.fitted(op.reading, b, a.values.astype(np.float32))
        return op.map(x, [Quotient(values)], "constant /")
    assert isinstance(a, Data) and isinstance(b, Data), "constants alone have been computed"
    inverse = op.layer(model.Map(f"{op.name}.reciprocal", (b.layer,), (Named("reciprocal"),), "1 / x"), b)
    return merged(op, "mul", [a, inverse])


def merged(op: Operator, kind: str, tensors: Sequence[Data]) -> Data:
    """Join tensors of the event element by element."""
    same = layout.together(op.reading, *tensors)
    shape = np.broadcast_shapes(*(x.shape for x in same))
    layout.check_size(shape)
    layer = model.Merge(op.name, tuple(x.layer for x in same), kind)
    return op.layer(layer, replace(same[0], shape=shape), kind=same[0].kind)


def several(kind: str) -> Read:
    """Return the reader of Sum, Mean, Max or Min: any number of inputs, constants among them."""

    def read(op: Operator) -> Result:
        operands = _operands(op, op.count)
        tensors = [x for x in operands if isinstance(x, Data)]
        if len(operands) == 1:
            return tensors[0]
        constants = [x for x in operands if isinstance(x, Constant)]
        if kind in ("max", "min") and len(tensors) == 1 and all(c.values.size == 1 for c in constants):
            ends = [float(c.values.ravel()[0]) for c in constants]
            x = tensors[0]
            if kind == "max" and max(ends) == 0:
                return op.layer(model.Relu(op.name, (x.layer,)), x, kind=x.kind)
            bound = (max(ends), None) if kind == "max" else (None, min(ends))
            return op.map(x, clipped(*bound), f"{kind} with a constant", kind=x.kind)
        like = max(tensors, key=lambda x: x.rank)
        made = [
            x if isinstance(x, Data) else layout.constant_layer(op.reading, op.name, x.values, like)
            for x in operands
        ]
        return merged(op, kind, made)

    return read


_TURNED = {">=": "<=", ">": "<", "<=": ">=", "<": ">", "==": "==", "!=": "!="}


def comparison(kind: str) -> Read:
    """Return the reader of Greater, Less, Equal and their like."""

    def read(op: Operator) -> Result:
        a, b = _operands(op, 2)
        if isinstance(a, Data) and isinstance(b, Data):
            same = layout.together(op.reading, a, b)
            shape = np.broadcast_shapes(*(x.shape for x in same))
            layer = model.Compare(op.name, (same[0].layer, same[1].layer), kind)
            return op.layer(layer, replace(same[0], shape=shape), kind="bool")
        x, constant = (a, b) if isinstance(a, Data) else (b, a)
        assert isinstance(x, Data) and isinstance(constant, Constant), "constants alone have been computed"
        asked = kind if x is a else _TURNED[kind]
        x, values = layout.fitted(op.reading, x, constant.values.astype(np.float32))
        return op.map(x, [Step(asked, values)], f"{asked} constant", kind="bool")

    return read


def negation(op: Operator) -> Result:
    """Read Not."""
    x = op.data()
    return op.map(x, [Scale(np.float32(-1)), Offset(np.float32(1))], "Not", kind="bool")


def logic(kind: str) -> Read:
    """Return the reader of And, Or or Xor of truth values."""

    def read(op: Operator) -> Result:
        operands = _operands(op, 2)
        like = max((x for x in operands if isinstance(x, Data)), key=lambda x: x.rank)
        made = [
            x if isinstance(x, Data) else layout.constant_layer(op.reading, op.name, x.values, like)
            for x in operands
        ]
        if kind != "xor":
            return replace(merged(op, {"and": "min", "or": "max"}[kind], made), kind="bool")
        same = layout.together(op.reading, *made)
        shape = np.broadcast_shapes(*(x.shape for x in same))
        layer = model.Compare(op.name, (same[0].layer, same[1].layer), "!=")
        return op.layer(layer, replace(same[0], shape=shape), kind="bool")

    return read


def where(op: Operator) -> Result:
    """Read Where: the condition is computed from the data, the values may be constants."""
    operands = _operands(op, 3)
    tensors = [x for x in operands if isinstance(x, Data)]
    like = max(tensors, key=lambda x: x.rank)
    made = [
        x if isinstance(x, Data) else layout.constant_layer(op.reading, op.name, x.values, like)
        for x in operands
    ]
    same = layout.together(op.reading, *made)
    shape = np.broadcast_shapes(*(x.shape for x in same))
    layout.check_size(shape)
    layer = model.Where(op.name, tuple(x.layer for x in same))
    kind = next((x.kind for x in operands[1:] if isinstance(x, Data)), "float32")
    return op.layer(layer, replace(same[0], shape=shape), kind=kind)


def cast(op: Operator) -> Result:
    """Read Cast of data."""
    from l1ml.frontends.onnx.constants import target

    op.options.ignore("saturate", "round_mode")
    x, kind = op.data(), target(op)
    if x.whole and is_whole(kind) and kind != "bool" and not _holds(kind, x.kind):
        raise UnsupportedError(f"of {x.kind} to {kind}, which wraps around")
    if kind in ("float16", "bfloat16", "float64"):
        raise UnsupportedError(f"to {kind}; float32 and whole numbers are supported")
    if kind == "bool":
        return x if x.kind == "bool" else op.map(x, [Step("!=", np.float32(0))], "Cast to bool", kind=kind)
    if is_whole(kind) and not x.whole:
        return op.map(x, [Whole("DOWN")], f"Cast to {kind}", kind=kind)
    return replace(x, kind=kind)


def _holds(kind: str, other: str) -> bool:
    """Tell whether a type of whole numbers holds all of another."""
    (lo, hi), (low, high) = bounds(kind), bounds(other)
    return lo <= low and high <= hi
