# SPDX-License-Identifier: Apache-2.0
"""One HGQ2 layer while it is read: its stored arrays, its call, and the layers it becomes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from l1ml.errors import L1mlError
from l1ml.frontends.canonical import Identity
from l1ml.frontends.common import Options, UnsupportedError, spreads
from l1ml.frontends.containers import plain_name
from l1ml.frontends.hgq2 import quantizers
from l1ml.frontends.hgq2.quantizers import Conversion
from l1ml.frontends.keras.step import Reader, Step, applied, calls
from l1ml.graph import shapes
from l1ml.graph.functions import Function
from l1ml.graph.model import Layer, Map, QuantizeEach
from l1ml.graph.shapes import Shape
from l1ml.types.arrays import RealArray
from l1ml.types.grid import Grid

Sizes = tuple[int | None, ...]


class Parts:
    """Reads one layer of HGQ2 and collects the layers it becomes.

    Args:
        step: the layer in the file.
    """

    def __init__(self, step: Step) -> None:
        policy = plain_name(step.options.raw("dtype"))
        if policy not in (None, "float32"):
            raise UnsupportedError(f"dtype {str(policy)[:40]}; only float32 is supported")
        self.step, self.options = step, step.options
        self._arrays = dict(step.file.weights.get(step.stored_as, ()))
        self._shapes: dict[str, Shape] = dict(zip(step.inputs, step.shapes, strict=True))
        self._layers: list[Layer] = []
        self.texts: list[tuple[str, str]] = []

    # ---- the layers it becomes

    def shape(self, name: str) -> Shape:
        """Return the shape of an input or of a layer made so far."""
        return self._shapes[name]

    def add(self, layer: Layer) -> str:
        """Append a layer and return its name.

        Raises:
            ModelError: its inputs do not fit it.
        """
        try:
            self._shapes[layer.name] = shapes.infer(layer, *(self._shapes[name] for name in layer.inputs))
        except (ValueError, IndexError) as error:
            raise self.step.error(f"has sizes that do not fit each other: {error}") from None
        self._layers.append(layer)
        return layer.name

    def name(self, part: str) -> str:
        """Return the name of a part of the layer."""
        return f"{self.step.name}.{part}"

    def map(self, part: str, source: str, *functions: Function, text: str = "") -> str:
        """Append functions of single elements; none is no layer."""
        if not functions:
            return source
        return self.add(Map(self.name(part), (source,), functions, text))

    def quantize(self, part: str, source: str, place: str, conf: Any, **forced: str) -> str:
        """Append the quantizer that is stored at ``place``.

        Args:
            part: name of what it makes.
            source: what it reads.
            place: folder of its variables.
            conf: its configuration.
            forced: options that HGQ2 sets itself.
        """
        return self.convert(part, source, self.quantizer(place, conf, **forced))

    def convert(self, part: str, source: str, made: Conversion) -> str:
        """Append what a quantizer does to data."""
        shape = self.shape(source)
        name = source
        steps = [*made.before, *made.steps(), *made.after]
        widths = made.shape
        if widths and (widths[0] != 1 or not spreads(widths[1:], shape)):
            raise self.step.error(f"has bit widths of the shape {widths} for data of the shape {shape}")
        for number, function in enumerate(steps):
            own = self.name(part if number == len(steps) - 1 else f"{part}.{number}")
            if isinstance(function, Grid):
                name = self.add(QuantizeEach(own, (name,), function, made.text))
            else:
                name = self.add(Map(own, (name,), (function,), made.text))
        return name

    def activate(self, source: str, key: str = "activation", part: str = "activation") -> str:
        """Append the activation function of the layer, if it has one."""
        chosen = self.step.quantizer(key)
        if chosen is None or chosen.name == "linear":
            return source
        for layer in applied(replace(self.step, name=self.name(part)), source, chosen):
            source = self.add(layer)
        return source

    def finish(self, result: str) -> tuple[Layer, ...]:
        """Return the layers; the one that makes ``result`` gets the name of the layer in the file and ends them."""
        if not any(layer.name == result for layer in self._layers):
            return (*self._layers, Identity(self.step.name, (result,)))
        last = next(layer for layer in self._layers if layer.name == result)
        rest = [layer for layer in self._layers if layer.name != result]
        assert not any(result in layer.inputs for layer in rest), "the result is not the end of the layer"
        return (*rest, replace(last, name=self.step.name))

    # ---- its stored arrays

    def arrays(self, place: str) -> list[np.ndarray]:
        """Return the variables ``place/vars/0``, ``1``, ... in order."""
        head = f"{place}/vars/" if place else "vars/"
        found = {path[len(head) :]: array for path, array in self._arrays.items() if path.startswith(head)}
        return [found[name] for name in sorted((n for n in found if n.isdigit()), key=int)]

    def stored(self, place: str) -> bool:
        """Tell whether there is a quantizer at ``place``."""
        return bool(self.arrays(f"{place}/quantizer"))

    def weights(self, place: str, *expected: tuple[str, Sizes]) -> dict[str, np.ndarray]:
        """Return the trained arrays of a layer, float32; scalars among them are bookkeeping.

        Args:
            place: the layer inside of this one, empty for itself.
            expected: names and shapes in HGQ2's order.

        Raises:
            ModelError: one is missing, has another shape, or holds NaN or infinity.
        """
        owner = self.step.owner
        found = [array for array in self.arrays(place) if array.ndim]
        names = ", ".join(name for name, _ in expected)
        if len(found) != len(expected):
            raise self.step.error(
                f"stores {len(found)} arrays{f' in {place}' if place else ''}; expected {names}"
            )
        made = {}
        for (name, shape), array in zip(expected, found, strict=True):
            fits = array.ndim == len(shape) and all(
                w in (None, n) for n, w in zip(array.shape, shape, strict=True)
            )
            if not fits or 0 in array.shape:
                text = "x".join("?" if n is None else str(n) for n in shape)
                raise self.step.error(f"stores {name} of the shape {array.shape}; expected {text}")
            with np.errstate(all="ignore"):
                made[name] = array.astype(np.float32)
            if not np.isfinite(made[name]).all():
                raise self.step.error(f"stores values in {name} of {owner} that are not finite")
        return made

    def quantizer(self, place: str, conf: Any, **forced: str) -> Conversion:
        """Read the quantizer whose variables are at ``place``."""
        if forced and isinstance(conf, Mapping) and isinstance(conf.get("config"), Mapping):
            conf = {**conf, "config": {**conf["config"], **forced}}
        stored = self.arrays(f"{place}/quantizer" if place else "quantizer")
        return quantizers.read(place, conf, stored, self.step.owner, self.step.file.source)

    def constant(self, place: str, conf: Any, raw: np.ndarray, key: str = "") -> RealArray:
        """Quantize stored constants with the quantizer at ``place``.

        Args:
            place: folder of the quantizer's variables.
            conf: its configuration.
            raw: float32 constants.
            key: ``kernel`` or ``bias``, for reports.
        """
        made = self.quantizer(place, conf)
        if not made.exact:
            raise UnsupportedError(f"{place} of type dummy: its constants are not quantized")
        if key:
            self.texts.append((key, made.text))
        try:
            return made.values(raw)
        except ValueError as error:
            raise self.step.error(f"has {place} with {error}") from None


Body = Callable[[Parts, tuple[str, ...]], str]
"""Appends what a layer does to its quantized inputs, and returns the name of its result."""


def reader(body: Callable[[Parts], str]) -> Reader:
    """Return a reader that leaves everything to ``body``."""

    def read(step: Step) -> tuple[Layer, ...]:
        parts = Parts(step)
        try:
            return parts.finish(body(parts))
        except UnsupportedError:
            raise
        except L1mlError as error:
            if not error.where:
                error.where = (step.file.source, step.owner)
            raise

    return read


def around(body: Body) -> Reader:
    """Return a reader that puts the input and output quantizers of the layer around ``body``."""

    def whole(parts: Parts) -> str:
        arguments(parts.step)
        return output(parts, body(parts, inputs(parts)))

    return reader(whole)


def inputs(parts: Parts) -> tuple[str, ...]:
    """Append the input quantizers; return what the layer reads behind them."""
    step, options = parts.step, parts.options
    if not options.flag("enable_iq", True):
        return step.inputs
    if "iq_confs" not in options.values:
        return (parts.quantize("iq", step.input, "iq", options.raw("iq_conf")),)
    confs = options.raw("iq_confs")
    confs = confs if isinstance(confs, list) else [confs] * len(step.inputs)
    if len(confs) != len(step.inputs):
        raise step.error(f"has {len(confs)} input quantizers for {len(step.inputs)} inputs")
    made = []
    for number, (source, conf) in enumerate(zip(step.inputs, confs, strict=True)):
        place = f"iq/quantizers/quantizer{f'_{number}' if number else ''}"
        made.append(parts.quantize(f"iq{number}", source, place, conf))
    return tuple(made)


def output(parts: Parts, result: str) -> str:
    """Append the output quantizer, where there is one."""
    if not parts.options.flag("enable_oq", False):
        return result
    return parts.quantize("oq", result, "oq", parts.options.raw("oq_conf"))


def inner(options: Options, **changes: Any) -> Options:
    """Return options with some replaced, for a layer inside of a layer."""
    return Options({**options.values, **changes}, options.owner, options.source)


def arguments(step: Step, *names: str) -> dict[str, str]:
    """Return what the layer is called with, by the name of the argument.

    Args:
        step: the layer.
        names: the arguments that may be tensors, in the order of the signature; empty for a layer that takes one
            tensor or one list of tensors.

    Raises:
        UnsupportedError: it is called with something else, or several times in different ways.
    """
    spellings = {tuple(_spelled(node, names)) for node in calls(step)}
    if len(spellings) > 1:
        raise UnsupportedError("it is called several times, with differently spelled arguments")
    order = spellings.pop() if spellings else names[: len(step.inputs)]
    if names and len(order) != len(step.inputs):
        raise step.error(f"reads {len(step.inputs)} tensors, its call names {len(order)}")
    return dict(zip(order, step.inputs, strict=False))


def _spelled(node: Mapping[str, Any], names: tuple[str, ...]) -> list[str]:
    """Return the names of the arguments that are tensors, in their order in the file."""
    found: list[str] = []
    positional = node.get("args")
    positional = positional if isinstance(positional, list) else []
    if names:
        for number, value in enumerate(positional):
            if value is not None and number >= len(names):
                raise UnsupportedError(f"it is called with more than {', '.join(names)}")
            if value is not None:
                found.append(names[number])
    elif len(positional) > 1 and any(value is not None for value in positional[1:]):
        raise UnsupportedError("it is called with more than its input")
    named = node.get("kwargs")
    for key, value in named.items() if isinstance(named, Mapping) else ():
        if value is None or value is False:
            continue
        if key not in names:
            raise UnsupportedError(f"it is called with {str(key)[:40]}")
        found.append(key)
    return found
