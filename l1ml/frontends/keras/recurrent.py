# SPDX-License-Identifier: Apache-2.0
"""SimpleRNN, LSTM, GRU, their QKeras forms, and Bidirectional."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from l1ml.frontends import qkeras
from l1ml.frontends.common import Options, UnsupportedError
from l1ml.frontends.keras.step import Step
from l1ml.frontends.spelling import call
from l1ml.graph import shapes
from l1ml.graph.functions import Function
from l1ml.graph.model import Concat, Layer, Merge, Recurrent

GATES = {"rnn": 1, "lstm": 4, "gru": 3}


def recurrent(cell: str) -> Callable[[Step], tuple[Layer, ...]]:
    """Return the reader of one kind of cell."""

    def read(step: Step) -> tuple[Layer, ...]:
        raw = step.weights(*_wanted(step, cell, step.options))
        return (_layer(step, cell, step.options, raw, step.inputs),)

    return read


def cells(step: Step) -> tuple[Layer, ...]:
    """RNN around one cell: the same as the layer of that cell."""
    inner = step.options.raw("cell")
    kind = str(inner.get("class_name")).split(">")[-1] if isinstance(inner, Mapping) else ""
    layer = kind.removesuffix("Cell")
    if layer not in CELLS or not kind.endswith("Cell") or not isinstance(inner["config"], Mapping):
        raise UnsupportedError(f"a cell other than one of {', '.join(f'{name}Cell' for name in CELLS)}")
    outer = ("return_sequences", "return_state", "go_backwards", "stateful", "time_major")
    chosen = {key: step.options.raw(key) for key in outer if step.options.raw(key) is not None}
    options = Options({**inner["config"], **chosen}, step.owner, step.file.source)
    return recurrent(CELLS[layer])(replace(step, kind=layer, options=options))


Wanted = list[tuple[str, tuple[int | None, ...]]]


def _wanted(step: Step, cell: str, options: Options, prefix: str = "") -> Wanted:
    """Return names and shapes of the weights of one cell, after a look at its options."""
    for key in ("stateful", "time_major", "return_state"):
        if options.flag(key, False):
            raise UnsupportedError(
                f"option {key}; only the outputs are given, from a state of 0 or one given"
            )
    units, gates = options.integer("units"), GATES[cell]
    if len(step.shapes[0]) != 2 or units < 1:
        raise UnsupportedError(f"an input of shape {step.shapes[0]}; (time, features) is expected")
    features = step.shapes[0][1]
    reset_after = cell == "gru" and options.flag("reset_after", False)
    wanted: Wanted = [
        (f"{prefix}kernel", (features, gates * units)),
        (f"{prefix}recurrent_kernel", (units, gates * units)),
    ]
    if options.flag("use_bias", True):
        wanted.append((f"{prefix}bias", (2, gates * units) if reset_after else (gates * units,)))
    return wanted


def _layer(
    step: Step, cell: str, options: Options, raw: Mapping[str, np.ndarray], inputs: tuple[str, ...]
) -> Recurrent:
    reset_after = cell == "gru" and options.flag("reset_after", False)
    texts: list[tuple[str, str]] = []
    exact, scales = True, {}
    values: dict[str, np.ndarray] = {}
    for key, array in raw.items():
        chosen = call(options.raw({"recurrent_kernel": "recurrent_quantizer"}.get(key, f"{key}_quantizer")))
        if chosen is None or not step.quantized:
            values[key] = array.astype(np.float64)
            exact = exact and key == "bias" and not array.any()
            continue
        made = qkeras.weights(chosen, array, kernel=key != "bias", source=step.file.source)
        values[key] = made.values if key != "bias" or made.scale is None else made.values * made.scale
        if key != "bias":
            scales[key] = made.scale
        texts.append((key, made.text))
    bias = values.get("bias")
    state = call(options.raw("state_quantizer")) if step.quantized else None
    held = None if state is None else qkeras.typed_quantizer(state)
    if state is not None and held is None:
        raise UnsupportedError(f"state_quantizer {state}")
    return Recurrent(
        step.name, inputs, values["kernel"], bias[0] if bias is not None and reset_after else bias,
        exact=exact, quantizers=tuple(texts), scale=scales.get("kernel"),
        recurrent=values["recurrent_kernel"], recurrent_scale=scales.get("recurrent_kernel"),
        recurrent_bias=bias[1] if bias is not None and reset_after else None,
        cell=cell, activation=_functions(step, options, "activation", "tanh"),
        recurrent_activation=() if cell == "rnn" else _functions(step, options, "recurrent_activation", _gate(step)),
        state_quantizer=() if held is None else (held,), reset_after=reset_after,
        return_sequences=options.flag("return_sequences", False), go_backwards=options.flag("go_backwards", False),
    )  # fmt: skip


def _gate(step: Step) -> str:
    return "hard_sigmoid" if step.quantized else "sigmoid"


def _functions(step: Step, options: Options, key: str, default: str) -> tuple[Function, ...]:
    default = "quantized_tanh" if step.quantized and key == "activation" else default
    chosen = call(options.raw(key, default))
    if chosen is None or chosen.name == "linear":
        return ()
    return step.meaning(chosen)


CELLS = {
    "SimpleRNN": "rnn", "LSTM": "lstm", "GRU": "gru", "QSimpleRNN": "rnn", "QLSTM": "lstm", "QGRU": "gru",
}  # fmt: skip


def _direction(step: Step, inner: Any) -> tuple[str, Options]:
    """Return class and options of one of the two layers."""
    kind = str(inner.get("class_name")).split(">")[-1] if isinstance(inner, Mapping) else ""
    if kind not in CELLS:
        raise UnsupportedError("a layer that is neither SimpleRNN, LSTM nor GRU")
    return kind, Options(inner["config"], step.owner, step.file.source)


def bidirectional(step: Step) -> tuple[Layer, ...]:
    """Bidirectional: the same input read in both directions, results joined."""
    if len(step.inputs) != 1:
        raise UnsupportedError("initial states")
    first = _direction(step, step.options.raw("layer"))
    own = step.options.raw("backward_layer")
    second = first if own is None else _direction(step, own)
    if first[1].flag("go_backwards", False) or (
        own is not None and not second[1].flag("go_backwards", False)
    ):
        raise UnsupportedError("a forward layer that reads backwards, or a backward layer that does not")
    sequences = first[1].flag("return_sequences", False)
    if second[1].flag("return_sequences", False) != sequences:
        raise UnsupportedError("one layer with return_sequences and one without")
    wanted = [
        item
        for prefix, (kind, options) in (("forward_", first), ("backward_", second))
        for item in _wanted(step, CELLS[kind], options, prefix)
    ]
    arrays = step.weights(*wanted)
    mode = step.options.raw("merge_mode", "concat")
    parts: list[Layer] = []
    for direction, (kind, options) in (("forward", first), ("backward", second)):
        raw = {k.removeprefix(f"{direction}_"): v for k, v in arrays.items() if k.startswith(direction)}
        made = _layer(replace(step, kind=kind), CELLS[kind], options, raw, step.inputs)
        parts.append(replace(made, name=f"{step.name}.{direction}", go_backwards=direction == "backward"))
    names = tuple(p.name for p in parts)
    if sequences:  # the steps of the second one come out in the order it read them
        shape = shapes.infer(parts[1], *step.shapes)
        parts.append(shapes.flip(f"{step.name}.flipped", names[1], shape, (0,)))
        names = (names[0], parts[-1].name)
    if mode == "concat":
        return (*parts, Concat(step.name, names, -1))
    kinds = {"sum": "add", "mul": "mul", "ave": "mean"}
    if mode not in kinds:
        raise UnsupportedError(f"merge_mode {mode!r}")
    return (*parts, Merge(step.name, names, kinds[mode]))
