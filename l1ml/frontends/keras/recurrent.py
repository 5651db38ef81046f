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
        return (_layer(step, cell, step.options, "", step.inputs),)

    return read


def _layer(step: Step, cell: str, options: Options, prefix: str, inputs: tuple[str, ...]) -> Recurrent:
    for key in ("stateful", "time_major", "return_state", "zero_output_for_mask"):
        if options.flag(key, False):
            raise UnsupportedError(key)
    units, gates = options.integer("units"), GATES[cell]
    if len(step.shapes[0]) != 2 or units < 1:
        raise UnsupportedError(f"an input of shape {step.shapes[0]}; (time, features) is expected")
    features = step.shapes[0][1]
    reset_after = cell == "gru" and options.flag("reset_after", False)
    bias_shape: tuple[int, ...] = (2, gates * units) if reset_after else (gates * units,)
    wanted: list[tuple[str, tuple[int | None, ...]]] = [
        (f"{prefix}kernel", (features, gates * units)),
        (f"{prefix}recurrent_kernel", (units, gates * units)),
    ]
    if options.flag("use_bias", True):
        wanted.append((f"{prefix}bias", bias_shape))
    raw = {key.removeprefix(prefix): array for key, array in step.weights(*wanted).items()}
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
    if step.quantized and chosen.name == "hard_sigmoid":  # QKeras looks its own functions up first
        return qkeras.own_hard_sigmoid()
    return qkeras.activation(chosen, source=step.file.source, keras=step.file.version)


CELLS = {
    "SimpleRNN": "rnn", "LSTM": "lstm", "GRU": "gru", "QSimpleRNN": "rnn", "QLSTM": "lstm", "QGRU": "gru",
}  # fmt: skip


def bidirectional(step: Step) -> tuple[Layer, ...]:
    """Bidirectional: the same input read in both directions, results joined."""
    inner = step.options.raw("layer")
    if not isinstance(inner, Mapping) or inner.get("class_name") not in CELLS:
        raise UnsupportedError("a layer that is neither SimpleRNN, LSTM nor GRU")
    kind = str(inner["class_name"])
    config: Mapping[str, Any] = inner["config"]
    forward = Options(config, step.owner, step.file.source)
    if forward.flag("go_backwards", False) or len(step.inputs) != 1:
        raise UnsupportedError("an inner layer that reads backwards, or initial states")
    mode = step.options.raw("merge_mode", "concat")
    parts: list[Layer] = []
    owner = replace(step, kind=kind)
    for direction in ("forward", "backward"):
        made = _layer(owner, CELLS[kind], forward, f"{direction}_", step.inputs)
        parts.append(replace(made, name=f"{step.name}.{direction}", go_backwards=direction == "backward"))
    names = tuple(p.name for p in parts)
    if forward.flag(
        "return_sequences", False
    ):  # the steps of the second one come out in the order it read them
        shape = shapes.infer(parts[1], *step.shapes)
        parts.append(shapes.flip(f"{step.name}.flipped", names[1], shape, (0,)))
        names = (names[0], parts[-1].name)
    if mode == "concat":
        return (*parts, Concat(step.name, names, -1))
    kinds = {"sum": "add", "mul": "mul", "ave": "mean"}
    if mode not in kinds:
        raise UnsupportedError(f"merge_mode {mode!r}")
    return (*parts, Merge(step.name, names, kinds[mode]))
