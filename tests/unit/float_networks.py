# SPDX-License-Identifier: Apache-2.0
"""Small float networks, one per kind of layer, for post-training types."""

from __future__ import annotations

from typing import Any

import numpy as np

from l1ml.calibration import calibrate
from l1ml.config import ProjectConfig
from l1ml.graph import build, functions, model, real
from l1ml.graph.emulate import Emulator
from l1ml.graph.named import Named
from l1ml.graph.precision.choose import relative as rms_ratio
from l1ml.graph.program import TensorProgram
from l1ml.types.fixed import Quantizer

EVENTS = 300
SIGMOID, TANH = (Named("sigmoid"),), (Named("tanh"),)


def rng(seed: int = 1) -> np.random.Generator:
    return np.random.default_rng(seed)


def weights(*shape: int, seed: int = 1) -> np.ndarray:
    return rng(seed).normal(0, 1 / np.sqrt(shape[0]), shape)


def dense(name: str, source: str, n_in: int, n_out: int, seed: int = 1) -> model.Dense:
    return model.Dense(
        name, (source,), weights(n_in, n_out, seed=seed), 0.3 * weights(n_out, seed=seed + 50), exact=False
    )


def network(shape: tuple[int, ...], *layers: model.Layer, outputs: tuple[str, ...] = ()) -> model.Model:
    return model.Model(
        "float", (model.Input("x", (), shape), *layers), outputs or (layers[-1].name,), "made.h5"
    )


def typed(net: model.Model, options: Any, x: np.ndarray, **more: Any) -> tuple[TensorProgram, Any]:
    config = ProjectConfig.from_mapping(
        {"precision": options, "input_type": "fixed<12,4,RND_CONV,SAT>", **more}
    )
    made = calibrate(net, config, x)
    return build.to_program(build.input_quantizers(made.model, made.config.input_type), strict=True), made


def relative(net: model.Model, program: TensorProgram, x: np.ndarray) -> float:
    wanted = real.run(build.drop_final_softmax(net), [x])
    name = build.drop_final_softmax(net).outputs[0]
    return rms_ratio(Emulator(program).values([x])[0], wanted[name])


def grid(x: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(x * 256), -2048, 2047) / 256


LAYERS: dict[str, tuple[tuple[int, ...], tuple[model.Layer, ...]]] = {
    "dense": ((6,), (dense("d", "x", 6, 4), model.Relu("r", ("d",)), dense("e", "r", 4, 3, 2))),
    "folded": (
        (6,),
        (
            dense("d", "x", 6, 4),
            model.Affine("n", ("d",), weights(4).astype(np.float32), weights(4, seed=3).astype(np.float32)),
            model.Relu("r", ("n",)),
            dense("e", "r", 4, 3),
        ),
    ),
    "normalized input": (
        (6,),
        (
            model.Affine(
                "n", ("x",), np.float32([0.3, 0.01, 2.5, 1, -0.7, 0.2]), np.float32([1, 0, -0.3, 0.1, 0, 7])
            ),
            dense("d", "n", 6, 4),
        ),
    ),
    "conv": (
        (7, 5, 2),
        (
            model.Conv(
                "c", ("x",), weights(3, 2, 2, 4), weights(4), (2, 1), ((1, 1), (0, 1)), (1, 1), exact=False
            ),
            model.Affine("n", ("c",), weights(4).astype(np.float32), weights(4).astype(np.float32)),
            model.Relu("r", ("n",)),
            model.Pool("p", ("r",), "mean", (2, 2), (2, 2), ((1, 0), (0, 0))),
            model.Reshape("f", ("p",), (-1,)),
            dense("e", "f", 16, 3),
        ),
    ),
    "depthwise": (
        (6, 4),
        (
            model.Conv("c", ("x",), weights(3, 1, 8), None, (1,), ((1, 1),), (1,), 4, exact=False),
            model.GlobalPool("g", ("c",), "mean"),
        ),
    ),
    "leaky": (
        (6,),
        (
            dense("d", "x", 6, 4),
            model.Map("l", ("d",), (functions.Rectify(np.float32(0.3)),)),
            dense("e", "l", 4, 3),
        ),
    ),
    "prelu": (
        (6,),
        (
            dense("d", "x", 6, 4),
            model.Map("l", ("d",), (functions.Rectify(np.float32([0.1, -0.3, 1.5, 0.25])),)),
        ),
    ),
    "relu6": (
        (6,),
        (
            dense("d", "x", 6, 4),
            model.Map("l", ("d",), (functions.Clip(np.float32(0), np.float32(0.6)),)),
            dense("e", "l", 4, 3),
        ),
    ),
    "tanh": ((6,), (dense("d", "x", 6, 4), model.Map("t", ("d",), TANH, "tanh"), dense("e", "t", 4, 3))),
    "gelu": (
        (6,),
        (dense("d", "x", 6, 4), model.Map("t", ("d",), (Named("gelu"),), "gelu"), dense("e", "t", 4, 3)),
    ),
    "hard sigmoid": (
        (6,),
        (dense("d", "x", 6, 4), model.Map("t", ("d",), (functions.HardSigmoid(),)), dense("e", "t", 4, 3)),
    ),
    "softmax inside": ((5, 4), (dense("d", "x", 4, 3), model.Softmax("s", ("d",)), dense("e", "s", 3, 2))),
    "layer norm": (
        (3, 10),
        (
            dense("d", "x", 10, 10),
            model.LayerNorm("n", ("d",), 1, 1 + weights(10), weights(10), 1e-3),
            dense("e", "n", 10, 2),
        ),
    ),
    "einsum": (
        (3, 4),
        (model.Einsum("d", ("x",), weights(4, 2, 5), weights(2, 5), "ab,bcd->acd", exact=False),),
    ),
    "merge": (
        (6,),
        (
            dense("d", "x", 6, 4),
            dense("e", "x", 6, 4, 9),
            model.Merge("m", ("d", "e"), "mul"),
            model.Merge("a", ("m", "d", "e"), "mean"),
            model.Concat("c", ("a", "d")),
            dense("f", "c", 8, 2),
        ),
    ),
    "attention": (
        (4, 6),
        (
            dense("q", "x", 6, 3),
            dense("k", "x", 6, 3, 5),
            model.Einsum2("s", ("q", "k"), "ad,bd->ab"),
            model.Softmax("p", ("s",)),
            dense("v", "x", 6, 3, 7),
            model.Einsum2("o", ("p", "v"), "ab,bd->ad"),
        ),
    ),
    "embedding": ((3,), (model.Embedding("b", ("i",), weights(8, 4), exact=False), dense("d", "b", 4, 2))),
}


def recurrent(cell: str, **more: Any) -> model.Recurrent:
    gates = {"rnn": 1, "lstm": 4, "gru": 3}[cell]
    return model.Recurrent(
        "r",
        ("x",),
        weights(4, gates * 5),
        0.2 * weights(gates * 5),
        exact=False,
        recurrent=weights(5, gates * 5, seed=4),
        cell=cell,
        activation=more.pop("activation", TANH),
        recurrent_activation=() if cell == "rnn" else SIGMOID,
        **more,
    )


LAYERS |= {
    "rnn": ((3, 4), (recurrent("rnn"),)),
    "rnn relu": ((3, 4), (recurrent("rnn", activation=(functions.Relu(),)), dense("e", "r", 5, 2))),
    "lstm": (
        (3, 4),
        (recurrent("lstm", return_sequences=True), model.Reshape("f", ("r",), (-1,)), dense("e", "f", 15, 2)),
    ),
    "gru": ((3, 4), (recurrent("gru"), dense("e", "r", 5, 2))),
    "gru after": (
        (3, 4),
        (recurrent("gru", reset_after=True, recurrent_bias=0.1 * weights(15)), dense("e", "r", 5, 2)),
    ),
}


def case(name: str) -> tuple[model.Model, np.ndarray]:
    shape, layers = LAYERS[name]
    if name == "embedding":
        quantize = model.Quantize("i", ("x",), Quantizer.parse("ufixed<3,3,RND_CONV,SAT>"))
        return network(shape, quantize, *layers), rng().integers(0, 8, (EVENTS, *shape)).astype(float)
    return network(shape, *layers), grid(rng(7).normal(0, 1, (EVENTS, *shape)))
