# SPDX-License-Identifier: Apache-2.0
"""Runs a preprocessing function on traced arrays and puts what it does in front of a network."""

from __future__ import annotations

import inspect
import traceback
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from l1ml.errors import L1mlError, ModelError, nearest
from l1ml.graph.model import Input, Layer, Model, Quantize
from l1ml.preprocess.recorder import Recorder, Source
from l1ml.preprocess.traced import Traced
from l1ml.types.arrays import IntArray
from l1ml.types.fixed import Overflow, Quantizer, Rounding

Function = Callable[..., Any]


def raw_inputs(raw_type: Mapping[str, Any]) -> list[Input]:
    """Return the ports of the raw fields.

    Args:
        raw_type: by name, ``{"type": "ufixed<16,16>", "shape": [10, 3]}``, or a pair of the two.

    Raises:
        ModelError: a type or a shape is missing or wrong; names the field.
    """
    if not isinstance(raw_type, Mapping) or not raw_type:
        raise ModelError(
            "preprocessing needs the types of the raw fields",
            where=("raw_type",),
            fix='raw_type={"jets": ("ufixed<16,16>", (10, 3))}',
        )
    return [Input(str(name), (), *_type_and_shape(str(name), entry)) for name, entry in raw_type.items()]


def _type_and_shape(name: str, entry: Any) -> tuple[tuple[int, ...], Quantizer]:
    kind, shape = None, None
    if isinstance(entry, Mapping):
        kind, shape = entry.get("type"), entry.get("shape")
    elif isinstance(entry, list | tuple) and len(entry) == 2:
        kind, shape = entry
    sizes = tuple(shape) if isinstance(shape, list | tuple) else (shape,)
    if not isinstance(kind, str) or not sizes or not all(_is_size(n) for n in sizes):
        raise ModelError(
            f"the raw field {name!r} has {entry!r:.100}; expected are a type and the shape of one event",
            where=("raw_type",),
            fix=f'{name}: {{type: "ufixed<16,16>", shape: [10, 3]}}',
        )
    return tuple(int(n) for n in sizes), Quantizer.parse(kind)


def _is_size(n: Any) -> bool:
    return isinstance(n, int | np.integer) and not isinstance(n, bool) and 0 < int(n) <= 1 << 20


def prepend(
    model: Model,
    function: Function,
    raw_type: Mapping[str, Any],
    input_type: str | Mapping[str, str] | None = None,
) -> Model:
    """Put a preprocessing function in front of a network.

    Args:
        model: the network.
        function: takes the raw fields as arrays (events, ...), by name where there are several, and gives
            the network's inputs: an array, or a mapping by input name.
        raw_type: type and shape of every raw field.
        input_type: as the user gives it for the network's own inputs: a type with rounding and overflow
            converts what the function gives, a plain one is checked.

    Returns:
        The network that reads raw fields; its first layers are the operations of the function.

    Raises:
        ModelError: the function does something that has no exact form, or gives other shapes than the
            network reads; names the line.
    """
    ports = raw_inputs(raw_type)
    names = {layer.name for layer in model.layers} - {i.name for i in model.inputs}
    clash = [port.name for port in ports if port.name in names]
    if clash:
        raise ModelError(
            f"the raw field {clash[0]!r} has the name of a layer", where=("raw_type",), fix="rename it"
        )
    prefix = "pre"
    while any(name.startswith(prefix) for name in names):
        prefix += "_"
    recorder = Recorder(ports, prefix)
    made = _call(function, recorder, ports)
    ends = _ends(model, made, recorder, input_type)
    layers: list[Layer] = list(recorder.layers)
    layers += [
        replace(layer, inputs=tuple(ends.get(name, name) for name in layer.inputs))
        for layer in model.layers
        if not isinstance(layer, Input)
    ]
    outputs = tuple(ends.get(name, name) for name in model.outputs)
    joined = replace(model, layers=tuple(layers), outputs=outputs)
    joined.verify()
    return joined


def _call(function: Function, recorder: Recorder, ports: list[Input]) -> Any:
    """Run the function on traced arrays; errors name the line of the user's file."""
    arrays = {
        port.name: Traced(recorder, source) for port, source in zip(ports, recorder.sources, strict=True)
    }
    try:
        wanted = inspect.signature(function).parameters
    except (TypeError, ValueError) as error:
        raise ModelError(f"preprocess is {function!r:.80}, not a function", where=("preprocess",)) from error
    by_name = all(name in wanted for name in arrays)
    needed = [
        p.name
        for p in wanted.values()
        if p.default is p.empty and p.kind in (p.POSITIONAL_OR_KEYWORD, p.POSITIONAL_ONLY)
    ]
    if not by_name and (len(arrays) != 1 or len(needed) != 1):
        lost = [name for name in arrays if name not in wanted]
        raise ModelError(
            f"the function takes {', '.join(wanted) or 'nothing'}; there is none for the field {lost[0]!r}",
            where=("preprocess", getattr(function, "__name__", "function")),
            fix=nearest(lost[0], wanted),
        )
    try:
        return function(**arrays) if by_name else function(*arrays.values())
    except L1mlError as error:
        error.where = (*_place(function, error), *error.where)
        raise
    except Exception as error:  # whatever the user's own code raises is told as a problem of that line
        raise ModelError(
            f"the preprocessing function failed: {type(error).__name__}: {error}",
            where=_place(function, error),
        ) from error


def _place(function: Function, error: BaseException) -> tuple[str, ...]:
    """Return function and line of the user's file in which an error arose."""
    code = getattr(function, "__code__", None)
    name = getattr(function, "__name__", "function")
    frames = traceback.extract_tb(error.__traceback__)
    own = [f for f in frames if code is not None and f.filename == code.co_filename]
    line = (
        (f"{Path(own[-1].filename).name}, line {own[-1].lineno}: {(own[-1].line or '').strip()[:100]}",)
        if own
        else ()
    )
    return ("preprocess", name, *line)


def _ends(
    model: Model, made: Any, recorder: Recorder, input_type: str | Mapping[str, str] | None
) -> dict[str, str]:
    """Return the layer that makes each input of the network."""
    names = [i.name for i in model.inputs]
    if not isinstance(made, Mapping):
        made = dict(zip(names, made if isinstance(made, tuple | list) else (made,), strict=False))
    wrong = sorted(set(map(str, made)) ^ set(names))
    if wrong:
        raise ModelError(
            f"the function gives {sorted(map(str, made))}; the network reads {names}",
            where=("preprocess",),
            fix="return an array, or a mapping by the names of the inputs",
        )
    ends = {}
    for port in model.inputs:
        value = made[port.name]
        if not isinstance(value, Traced) or value.event_shape != port.shape:
            shape = value.event_shape if isinstance(value, Traced) else f"a {type(value).__name__}"
            raise ModelError(
                f"input {port.name!r} of the network has shape {port.shape} per event, not {shape}",
                where=("preprocess",),
            )
        try:
            given = input_type if isinstance(input_type, str) else (input_type or {}).get(port.name)
            source = value.exact()
            ends[port.name] = (
                source if given is None else _typed(recorder, source, Quantizer.parse(given))
            ).name
        except L1mlError as error:
            error.where = ("preprocess", f"input {port.name}", *error.where)
            raise
    return ends


def _typed(recorder: Recorder, source: Source, kind: Quantizer) -> Source:
    """Bring an input into the type that the user gave for it."""
    if (kind.rounding, kind.overflow) != (Rounding.TRN, Overflow.WRAP):
        return recorder.append("input", lambda name, reads: Quantize(name, reads, kind), source)
    drop = source.type.frac - kind.type.frac
    lo, hi = _ends_of(source.type.lo, drop), _ends_of(source.type.hi, drop)
    if bool((drop > 0).any()) or bool((lo < kind.type.lo).any()) or bool((hi > kind.type.hi).any()):
        raise ModelError(
            f"input_type {kind.type} does not hold what the function gives: {source.type}",
            fix=f'round and saturate: input_type="{str(kind.type)[:-1]},RND_CONV,SAT>"',
        )
    return source


def _ends_of(codes: IntArray, drop: IntArray) -> IntArray:
    return np.asarray(codes << np.maximum(-drop, 0))
