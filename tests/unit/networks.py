# SPDX-License-Identifier: Apache-2.0
"""Small networks for tests, made from numbers alone."""

from __future__ import annotations

import itertools

import numpy as np

from l1ml.graph import build, model
from l1ml.graph.program import TensorProgram
from l1ml.types.fixed import Quantizer

ROUNDINGS = ("TRN", "TRN_ZERO", "RND", "RND_ZERO", "RND_INF", "RND_MIN_INF", "RND_CONV")


def mlp(
    widths: tuple[int, ...] = (5, 7, 4, 3),
    *,
    seed: int = 1,
    bits: int = 5,
    hidden: str = "ufixed<4,0,RND_CONV,SAT>",
    density: float = 0.6,
    bias_frac: int | None = None,
) -> model.Model:
    """Return an MLP with ``bits``-bit weights and a quantizer behind every hidden layer."""
    rng = np.random.default_rng(seed)
    layers: list[model.Layer] = [model.Input("x_in", (), (widths[0],))]
    for number, (n_in, n_out) in enumerate(itertools.pairwise(widths)):
        kernel = rng.integers(-(1 << (bits - 1)), 1 << (bits - 1), (n_in, n_out)) * (
            rng.random((n_in, n_out)) < density
        )
        frac = bits - 1 if bias_frac is None else bias_frac
        bias = np.ldexp(rng.integers(-(1 << bits), 1 << bits, n_out).astype(float), -frac)
        dense = model.Dense(f"fc{number}", (layers[-1].name,), np.ldexp(kernel.astype(float), 1 - bits), bias)
        layers.append(dense)
        if number + 2 < len(widths):
            layers.append(model.Quantize(f"act{number}", (dense.name,), Quantizer.parse(hidden)))
    return model.Model("mlp", tuple(layers), (layers[-1].name,), "made by a test")


def program(net: model.Model, input_type: str = "fixed<7,3>", *, strict: bool = False) -> TensorProgram:
    """Return the typed program of a network."""
    return build.to_program(build.input_quantizers(net, input_type), strict=strict)


def random_codes(net: TensorProgram, events: int, seed: int = 2) -> list[np.ndarray]:
    """Return random input codes over the whole type; all zero, all lowest, all highest come first."""
    rng = np.random.default_rng(seed)
    out = []
    for port in net.inputs:
        lo, hi = port.type.lo, port.type.hi
        codes = rng.integers(lo, hi + 1, (events, *port.shape))
        codes[0], codes[1], codes[2] = 0, lo, hi
        out.append(codes)
    return out


def values(net: TensorProgram, codes: list[np.ndarray]) -> list[np.ndarray]:
    """Return input codes as real values."""
    return [np.ldexp(c.astype(float), -p.type.frac) for c, p in zip(codes, net.inputs, strict=True)]
