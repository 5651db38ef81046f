# SPDX-License-Identifier: Apache-2.0
"""LSTM, GRU and RNN of ONNX: (time, batch, features), gates i o f c and z r h, weights per direction."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from l1ml.frontends.common import UnsupportedError
from l1ml.frontends.onnx import layout
from l1ml.frontends.onnx.operator import Operator, Result
from l1ml.frontends.onnx.tensors import Constant, Data
from l1ml.frontends.onnx.weights import Weights
from l1ml.graph import model, shapes
from l1ml.graph.functions import Function, HardSigmoid, Rectify, Relu, Scale
from l1ml.graph.named import Named
from l1ml.types.arrays import RealArray

MAX_STEPS = 1024
"""Every time step is a copy of the cell."""

GATES = {"rnn": 1, "gru": 3, "lstm": 4}
_KERAS = {"rnn": (0,), "gru": (0, 1, 2), "lstm": (0, 2, 3, 1)}
"""Where `l1ml.graph.model.Recurrent` (order i f c o) finds its gates in ONNX's order i o f c."""

_DEFAULTS = {"rnn": ("Tanh",), "gru": ("Sigmoid", "Tanh"), "lstm": ("Sigmoid", "Tanh", "Tanh")}


def cell(kind: str) -> Callable[[Operator], tuple[Result, ...]]:
    """Return the reader of LSTM, GRU or RNN."""
    return lambda op: _read(op, kind)


@dataclass(frozen=True)
class _Setting:
    """What the attributes say."""

    kind: str
    units: int
    directions: tuple[bool, ...]
    activations: tuple[tuple[tuple[Function, ...], ...], ...]
    reset_after: bool


def _read(op: Operator, kind: str) -> tuple[Result, ...]:
    x = op.data()
    first = op.options.flag("layout", False)
    batch = 0 if first else 1
    if x.rank != 3 or x.folded:
        raise UnsupportedError(f"data of shape {x.shape}; (time, features) is expected")
    if x.batch != batch:
        x = _with_batch_at(op, x, batch)
    x = layout.plain(op.reading, x)
    steps, features = x.shape
    weights, recurrent = op.constant(1), op.constant(2)
    setting = _setting(op, kind, recurrent)
    count, units = len(setting.directions), setting.units
    gates = GATES[kind]
    if weights.values.shape != (count, gates * units, features) or recurrent.values.shape != (
        count,
        gates * units,
        units,
    ):
        raise UnsupportedError(
            f"weights of shapes {weights.values.shape} and {recurrent.values.shape} for {units} units, "
            f"{count} directions and {features} features"
        )
    if not 1 <= steps <= MAX_STEPS:
        raise UnsupportedError(f"{steps} time steps; 1 to {MAX_STEPS} are supported")
    _lengths(op, steps)
    if op.has(7):
        raise UnsupportedError("peephole weights")
    if op.wanted(2):
        raise UnsupportedError("the last cell state as a result")
    states = [_states(op, 5, count, units, first=first)]
    if kind == "lstm":
        states.append(_states(op, 6, count, units, first=first))
    made = [_direction(op, setting, k, x, [s[k] for s in states]) for k in range(count)]
    return _results(op, made, steps, units, first=first)


def _with_batch_at(op: Operator, x: Data, batch: int) -> Data:
    if op.reading.batch != 1:
        raise UnsupportedError("the batch axis at another place than its layout says")
    x = layout.without_batch(op.reading, x)
    if x.shape[batch] != 1:
        raise UnsupportedError("the batch axis at another place than its layout says")
    shape = tuple(n for k, n in enumerate(x.shape) if k != batch)
    return layout.reshaped(op.reading, x, shape, batch)


def _setting(op: Operator, kind: str, recurrent: Constant) -> _Setting:
    direction = op.options.text("direction", "forward", "forward", "reverse", "bidirectional")
    directions = {"forward": (False,), "reverse": (True,), "bidirectional": (False, True)}[direction]
    units = op.options.integer("hidden_size", recurrent.values.shape[-1])
    op.options.only("input_forget", 0)
    op.options.ignore("output_sequence")
    if op.options.raw("clip") is not None:
        raise UnsupportedError("clip, which bounds the sums before the activations")
    given = op.options.raw("activations")
    names = list(_DEFAULTS[kind]) * len(directions) if given is None else [str(n) for n in given]
    alphas, betas = (list(op.options.raw(f"activation_{key}", [])) for key in ("alpha", "beta"))
    each = len(_DEFAULTS[kind])
    if len(names) != each * len(directions):
        raise UnsupportedError(f"{len(names)} activations; {each * len(directions)} are expected")
    chosen = [_activation(name, alphas, betas) for name in names]
    parts = tuple(tuple(chosen[k * each : (k + 1) * each]) for k in range(len(directions)))
    if kind == "lstm" and any(_text(part[1]) != _text(part[2]) for part in parts):
        raise UnsupportedError("different activations of candidate and output")
    reset_after = kind == "gru" and op.options.flag("linear_before_reset", False)
    return _Setting(kind, units, directions, parts, reset_after)


def _text(functions: tuple[Function, ...]) -> str:
    return str([(type(function).__name__, vars(function)) for function in functions])


def _activation(name: str, alphas: list[Any], betas: list[Any]) -> tuple[Function, ...]:
    """Return the functions of an activation; those with parameters use up the lists."""

    def following(values: list[Any], default: float) -> float:
        return float(values.pop(0)) if values else default

    match name.lower():
        case "relu":
            return (Relu(),)
        case "tanh" | "sigmoid" | "softsign" | "softplus":
            return (Named(name.lower()),)
        case "leakyrelu":
            return (Rectify(np.float32(following(alphas, 0.01))),)
        case "thresholdedrelu":
            return (Rectify(np.float32(0), threshold=following(alphas, 1.0)),)
        case "hardsigmoid":
            return (HardSigmoid(following(alphas, 0.2), following(betas, 0.5)),)
        case "elu":
            return (Named("elu", (following(alphas, 1.0),)),)
        case "scaledtanh":
            alpha, beta = following(alphas, 1.0), following(betas, 1.0)
            return (Scale(np.float32(beta)), Named("tanh"), Scale(np.float32(alpha)))
    raise UnsupportedError(f"activation {name[:40]}")


def _lengths(op: Operator, steps: int) -> None:
    """Refuse sequences of different lengths."""
    if op.has(4) and any(n != steps for n in op.integers(4)):
        raise UnsupportedError(f"sequences shorter than the {steps} time steps")


def _states(op: Operator, index: int, count: int, units: int, *, first: bool) -> list[str | None]:
    """Return the layers that make the initial states of every direction, None for zeros."""
    if not op.has(index):
        return [None] * count
    batch = 0 if first else 1
    if op.is_constant(index):
        values = op.reals(index)
        if values.ndim != 3:
            raise UnsupportedError(f"initial states of shape {values.shape}")
        rows = np.moveaxis(values, batch, 0)
        if not bool((rows == rows[:1]).all()) or rows.shape[1:] != (count, units):
            raise UnsupportedError(f"initial states of shape {values.shape} that differ from event to event")
        return [
            op.reading.add(model.Constant(f"{op.name}.initial", (), rows[0, k])) if rows[0, k].any() else None
            for k in range(count)
        ]
    x = op.data(index)
    made = op.reading.layers[x.layer]
    if isinstance(made, model.Constant) and not np.any(made.values):
        return [None] * count
    if x.rank != 3 or x.folded or x.shape != (count, units):
        raise UnsupportedError(f"initial states of shape {x.shape}; ({count}, {units}) is expected")
    event = replace(x, batch=None)
    return [
        layout.moved(op.reading, f"{op.name}.initial", event, _row(k), "Gather").layer for k in range(count)
    ]


def _row(k: int) -> layout.Move:
    return lambda indices: indices[k]


def _direction(op: Operator, setting: _Setting, k: int, x: Data, states: list[str | None]) -> str:
    """Add the layer of one direction; it gives every time step, in the order of time."""
    suffix = "" if len(setting.directions) == 1 else (".forward", ".reverse")[k]
    wanted = op.wanted(0) or not op.wanted(1)
    kernel, scale, exact, text = _gates(op.constant(1), setting, k)
    recurrent, recurrent_scale, recurrent_exact, recurrent_text = _gates(op.constant(2), setting, k)
    bias = recurrent_bias = None
    if op.has(3):
        given = op.constant(3)
        size = GATES[setting.kind] * setting.units
        if given.values.shape != (len(setting.directions), 2 * size):
            raise UnsupportedError(f"a bias of shape {given.values.shape}")
        both = given.values[k].astype(np.float64)
        bias, recurrent_bias = (_ordered(part, setting) for part in (both[:size], both[size:]))
        recurrent_bias = recurrent_bias if recurrent_bias.any() else None
        exact = exact and (given.quantizer is not None or not both.any())
    missing = [state is None for state in states]
    if any(missing) and not all(missing):
        zero = op.reading.add(model.Constant(f"{op.name}.initial", (), np.zeros(setting.units)))
        states = [state or zero for state in states]
    activations = setting.activations[k]
    texts = (("kernel", text), ("recurrent", recurrent_text))
    layer = model.Recurrent(
        f"{op.name}{suffix}.steps" if wanted and setting.directions[k] else f"{op.name}{suffix}",
        (x.layer, *(state for state in states if state)),
        kernel, bias, exact=exact and recurrent_exact, scale=scale,
        quantizers=tuple((key, value) for key, value in texts if value),
        recurrent=recurrent, recurrent_bias=recurrent_bias, recurrent_scale=recurrent_scale,
        cell=setting.kind, activation=activations[-1],
        recurrent_activation=activations[0] if setting.kind != "rnn" else (),
        reset_after=setting.reset_after, return_sequences=wanted, go_backwards=setting.directions[k],
    )  # fmt: skip
    return op.reading.add(layer)


def _gates(
    constant: Constant, setting: _Setting, k: int
) -> tuple[RealArray, RealArray | None, bool, str | None]:
    """Return one direction's matrix (n_in, gates * units), gates in our order, and its scale."""
    weights = Weights.of(constant)
    own = replace(
        weights,
        kernel=np.asarray([_ordered(column, setting) for column in weights.kernel[k].T]),
        scale=None
        if weights.scale is None
        else np.asarray([_ordered(column, setting) for column in weights.scale[k].T]),
    )
    return own.kernel, own.per_output([0]), own.exact, own.text


def _ordered(values: np.ndarray, setting: _Setting) -> RealArray:
    parts = values.reshape(GATES[setting.kind], setting.units)
    return np.asarray(parts[list(_KERAS[setting.kind])].reshape(-1), dtype=np.float64)


def _results(op: Operator, made: list[str], steps: int, units: int, *, first: bool) -> tuple[Result, ...]:
    """Put the directions together as ONNX wants them: all steps, and the last state of each direction."""
    count = len(made)
    reading = op.reading
    sequences: Data | None = None
    lasts: list[str] = []
    parts: list[str] = []
    for name in made:
        layer = reading.layers[name]
        assert isinstance(layer, model.Recurrent), "made here"
        if not layer.return_sequences:
            lasts.append(name)
            continue
        # A backward layer gives its steps in the order in which it goes through them.
        last = np.arange(units) + (steps - 1) * units
        if op.wanted(1):
            lasts.append(reading.take(f"{name}.last", name, last, "Gather"))
        if layer.go_backwards:
            name = reading.add(shapes.flip(f"{name.removesuffix('.steps')}", name, (steps, units), (0,)))
        parts.append(name)
    if parts:
        stacked = _stacked(op, op.name, parts, (steps, 1, units), 1)
        sequences = Data.plain(stacked, (steps, count, units), batch=2)
        if first:  # (batch, time, direction, units)
            sequences = replace(sequences, batch=0)
    final: Data | None = None
    if lasts:
        stacked = _stacked(op, f"{op.name}.last", lasts, (1, units), 0)
        final = Data.plain(stacked, (count, units), batch=0 if first else 1)
    return (sequences or final, final or sequences)  # type: ignore[return-value]


def _stacked(op: Operator, name: str, parts: list[str], shape: tuple[int, ...], axis: int) -> str:
    ready = [op.reading.add(model.Reshape(f"{part}.direction", (part,), shape)) for part in parts]
    return ready[0] if len(ready) == 1 else op.reading.add(model.Concat(name, tuple(ready), axis))
