# SPDX-License-Identifier: Apache-2.0
"""A convolutional network of the size of hls4ml's SVHN example, and how fast the emulators run it."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from l1ml import frontends
from l1ml.graph import build, model
from l1ml.graph.emulate import Emulator
from l1ml.graph.program import TensorProgram
from l1ml.types.fixed import Quantizer

FILTERS, WIDTHS, CLASSES = (16, 16, 24), (42, 64), 10
ACTIVATION = Quantizer.parse("ufixed<6,2,RND_CONV,SAT>")
EVENTS = {"native": 4000, "array": 500, "reference": 60}


def network(seed: int = 1) -> model.Model:
    """Return the network: 32 x 32 colour images, 6-bit weights from a seed, batch normalization everywhere."""
    rng = np.random.default_rng(seed)
    layers: list[model.Layer] = [model.Input("image", (), (32, 32, 3))]

    def add(layer: type[model.Layer], *given: object, **more: object) -> None:
        name = f"{layer.__name__.lower()}_{len(layers)}"
        layers.append(layer(name, (layers[-1].name,), *given, **more))  # type: ignore[arg-type]

    def weights(*shape: int) -> np.ndarray:
        return np.ldexp(rng.integers(-31, 32, shape).astype(float), -5)

    def normalized(n_in: int, channels: int) -> None:
        scale = rng.uniform(1, 3, channels) / np.sqrt(n_in)
        add(model.Affine, scale.astype(np.float32), rng.normal(0, 0.5, channels).astype(np.float32))
        add(model.Quantize, ACTIVATION)

    channels = 3
    for filters in FILTERS:
        add(model.Conv, weights(3, 3, channels, filters), None, (1, 1), ((0, 0),) * 2, (1, 1))
        normalized(9 * channels, filters)
        add(model.Pool, "max", (2, 2), (2, 2), ((0, 0),) * 2)
        channels = filters
    n_in = 2 * 2 * channels
    add(model.Reshape, (n_in,))
    for width in WIDTHS:
        add(model.Dense, weights(n_in, width), None)
        normalized(n_in, width)
        n_in = width
    add(model.Dense, weights(n_in, CLASSES), np.ldexp(rng.integers(-31, 32, CLASSES).astype(float), -5))
    return model.Model("cnn", tuple(layers), (layers[-1].name,), "made by the benchmark")


def typed(file: Path | None, input_type: str) -> TensorProgram:
    """Return the typed program of a model file, or of `network`."""
    net = network() if file is None else frontends.read_model(file)
    return build.to_program(build.input_quantizers(net, input_type), strict=False)


def rates(net: TensorProgram, rate: Callable[[Callable[[], object], int], float]) -> dict[str, float]:
    """Return events per second of every emulator, which have agreed on some events first.

    Args:
        net: the program.
        rate: events per second of a call that treats so many.
    """
    rng = np.random.default_rng(2)
    images = [
        np.ldexp(
            rng.integers(port.type.lo, port.type.hi + 1, (max(EVENTS.values()), *port.shape)), -port.type.frac
        )
        for port in net.inputs
    ]
    inputs = [image.astype(np.float32) for image in images]
    first = [x[: EVENTS["reference"]] for x in inputs]
    expected = Emulator(net, "reference").codes(first)
    out = {}
    for engine, events in EVENTS.items():
        emulator = Emulator(net, engine)  # type: ignore[arg-type]
        for got, right in zip(emulator.codes(first), expected, strict=True):
            assert np.array_equal(got, right), engine
        if emulator.engine == engine:
            part = [x[:events] for x in inputs]
            out[engine] = rate(partial(emulator.values, part), events)
    return out


def line(found: dict[str, float]) -> str:
    """Return the rates as a sentence."""
    names = {"native": "compiled", "array": "NumPy", "reference": "int64 reference"}
    parts = ", ".join(f"{names[engine]} {speed:,.0f}" for engine, speed in found.items())
    return f"CNN emulator, events/s on {len(os.sched_getaffinity(0))} cores: {parts}"
