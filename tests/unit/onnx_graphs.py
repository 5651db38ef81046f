# SPDX-License-Identifier: Apache-2.0
"""Graph networks as ONNX files with Quant nodes, each with its answers written once more in NumPy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx_vectors import node, proto, quant

VERTICES, FEATURES = 8, 4


@dataclass(frozen=True)
class GraphNetwork:
    """A model, and what it should give for events (n, vertices, features) on the grid of 1/8."""

    model: onnx.ModelProto
    answers: Callable[[np.ndarray], np.ndarray]


def _weights(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return (rng.integers(-4, 5, shape) / 4).astype(np.float32)


def _rounded(x: np.ndarray, scale: float, bits: int, signed: bool) -> np.ndarray:
    lo = -(1 << bits - 1) if signed else 0
    return np.clip(np.rint(x / scale), lo, lo + (1 << bits) - 1) * scale


def edge_conv() -> GraphNetwork:
    """EdgeConv over three fixed neighbours, the maximum over edges, the sum over vertices."""
    rng = np.random.default_rng(41)
    near = (np.arange(VERTICES)[:, None] + [1, 3, 6]) % VERTICES
    own = np.repeat(np.arange(VERTICES)[:, None], 3, axis=1)
    edge, last = _weights(rng, 2 * FEATURES, 6), _weights(rng, 6, 3)
    constants: dict[str, Any] = {"near": near, "own": own, "axis": np.array([1])}
    weights = [quant("edge_q", "edge", 0.25, 6), quant("last_q", "last", 0.25, 6)]
    nodes = [
        *weights,
        node("Gather", ["x", "near"], "ends", axis=1),
        node("Gather", ["x", "own"], "starts", axis=1),
        node("Sub", ["ends", "starts"], "along"),
        node("Concat", ["starts", "along"], "both", axis=3),
        node("MatMul", ["both", "edge_q"], "sums"),
        node("Relu", ["sums"], "relu"),
        quant("messages", "relu", 0.25, 6, signed=0),
        node("ReduceMax", ["messages"], "vertices", axes=[2], keepdims=0),
        node("ReduceSum", ["vertices", "axis"], "graph", keepdims=0),
        node("MatMul", ["graph", "last_q"], "y"),
    ]
    made = proto(nodes, {**constants, "edge": edge, "last": last}, shape=("N", VERTICES, FEATURES))

    def answers(x: np.ndarray) -> np.ndarray:
        both = np.concatenate([x[:, own], x[:, near] - x[:, own]], axis=-1)
        messages = _rounded(np.maximum(both @ edge, 0), 0.25, 6, signed=False)
        return messages.max(axis=2).sum(axis=1) @ last

    return GraphNetwork(made, answers)


def garnet() -> GraphNetwork:
    """GarNet: weights exp(-d^2) to three aggregators, weighted means there, and back to every vertex."""
    rng = np.random.default_rng(43)
    kernels = {
        "features": (FEATURES, 5),
        "distance": (FEATURES, 3),
        "update": (FEATURES + 15, 6),
        "last": (6, 3),
    }
    weights = {name: _weights(rng, *shape) for name, shape in kernels.items()}
    nodes = [
        *(quant(f"{name}_q", name, 0.25, 6) for name in weights),
        node("MatMul", ["x", "features_q"], "f"),
        quant("f_q", "f", 0.25, 6),
        node("MatMul", ["x", "distance_q"], "d"),
        quant("d_q", "d", 0.125, 6),
        node("Mul", ["d_q", "d_q"], "square"),
        node("Neg", ["square"], "minus"),
        node("Exp", ["minus"], "potential"),
        quant("w", "potential", 2.0**-6, 7, signed=0),
        node("Transpose", ["w"], "w_t", perm=[0, 2, 1]),
        node("MatMul", ["w_t", "f_q"], "gathered"),
        node("Mul", ["gathered", "per_vertex"], "mean"),
        quant("mean_q", "mean", 2.0**-5, 8),
        node("Unsqueeze", ["w", "three"], "w_each"),
        node("Unsqueeze", ["mean_q", "one"], "mean_each"),
        node("Mul", ["w_each", "mean_each"], "back"),
        node("Reshape", ["back", "flat"], "returned"),
        quant("returned_q", "returned", 2.0**-5, 8),
        node("Concat", ["x", "returned_q"], "all", axis=2),
        node("MatMul", ["all", "update_q"], "updated"),
        node("Relu", ["updated"], "relu"),
        quant("vertices", "relu", 0.25, 6, signed=0),
        node("ReduceSum", ["vertices", "one"], "graph", keepdims=0),
        node("MatMul", ["graph", "last_q"], "y"),
    ]
    constants: dict[str, Any] = {
        "per_vertex": np.float32(1 / VERTICES), "one": np.array([1]), "three": np.array([3]),
        "flat": np.array([-1, VERTICES, 15]),
    }  # fmt: skip
    made = proto(nodes, {**constants, **weights}, shape=("N", VERTICES, FEATURES))

    def answers(x: np.ndarray) -> np.ndarray:
        f = _rounded(x @ weights["features"], 0.25, 6, signed=True)
        d = _rounded(x @ weights["distance"], 0.125, 6, signed=True)
        w = _rounded(np.exp(-(d**2)), 2.0**-6, 7, signed=False)
        mean = _rounded(np.einsum("nvs,nvf->nsf", w, f) / VERTICES, 2.0**-5, 8, signed=True)
        back = np.einsum("nvs,nsf->nvsf", w, mean).reshape(len(x), VERTICES, 15)
        both = np.concatenate([x, _rounded(back, 2.0**-5, 8, signed=True)], axis=-1)
        vertices = _rounded(np.maximum(both @ weights["update"], 0), 0.25, 6, signed=False)
        return vertices.sum(axis=1) @ weights["last"]

    return GraphNetwork(made, answers)


GRAPHS = {"edge conv": edge_conv, "garnet": garnet}
