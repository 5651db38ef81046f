# SPDX-License-Identifier: Apache-2.0
"""Small networks that stream: made from numbers alone."""

from __future__ import annotations

import numpy as np
import streamed_graphs as graphs
from streamed_maker import SIGNED, Maker

from l1ml.graph import model
from l1ml.graph.layers import shape as shape_layers
from l1ml.graph.layers.recurrent import GATES
from l1ml.graph.named import Named
from l1ml.types.fixed import Quantizer


def cnn(*, pad: int | None = None) -> model.Model:
    """Convolution, pooling, convolution, flatten, two dense layers."""
    m = Maker(8, 9, 2)
    m.conv((3, 3), 2, 3, pad=pad)
    m.act()
    m.pool("max", 2, 2)
    rows, columns = (4, 4) if pad else (3, 3)
    m.conv((2, 2), 3, 4)
    m.act()
    m.flatten((rows - 1) * (columns - 1) * 4)
    m.dense((rows - 1) * (columns - 1) * 4, 6)
    m.act()
    m.dense(6, 3)
    return m.done()


def strided() -> model.Model:
    """Strides, dilation and a depthwise convolution, then the mean of all positions."""
    m = Maker(9, 8, 2, seed=3)
    m.conv((3, 3), 2, 4, strides=2, pad=1)
    m.act()
    m.conv((3, 3), 4, 4, groups=4, pad=1)
    m.act(SIGNED)
    m.conv((2, 2), 4, 3, dilation=2)
    m.act()
    m.add(model.GlobalPool("global", (m.last,), "sum"))
    m.dense(3, 2)
    return m.done()


def skip() -> model.Model:
    """A skip connection around two convolutions, behind a pooling layer."""
    m = Maker(6, 8, 2, seed=5)
    m.conv((3, 3), 2, 3, pad=1)
    m.act()
    start = m.pool("max", 2, 2)
    m.conv((3, 3), 3, 3, pad=1)
    m.act()
    m.conv((3, 3), 3, 3, pad=1)
    end = m.act(SIGNED)
    m.add(model.Merge("add", (start, end), "add"))
    m.act()
    m.conv((1, 1), 3, 2)
    m.act()
    m.flatten(24)
    m.dense(24, 3)
    return m.done()


def sequence() -> model.Model:
    """Conv1D, average pooling, another convolution and a maximum over time."""
    m = Maker(12, 3, seed=7)
    m.conv((3,), 3, 4, pad=1)
    m.act()
    m.pool("sum", 2, 2, axes=1)
    m.act(Quantizer.parse("ufixed<6,4,RND_CONV,SAT>"))
    m.conv((3,), 4, 3)
    m.act(SIGNED)
    m.add(model.GlobalPool("global", (m.last,), "max"))
    m.dense(3, 2)
    return m.done()


def deep_sets() -> model.Model:
    """The same dense layers for every particle, a sum over them, dense layers."""
    m = Maker(6, 3, seed=9)
    m.dense(3, 5)
    m.act()
    m.dense(5, 4)
    m.act()
    m.add(model.GlobalPool("sum", (m.last,), "sum"))
    m.act(Quantizer.parse("ufixed<6,4,RND_CONV,SAT>"))
    m.dense(4, 5)
    m.act()
    m.dense(5, 2)
    return m.done()


def two_heads() -> model.Model:
    """Two outputs of different depth."""
    m = Maker(5, 4, seed=11)
    m.dense(4, 4)
    start = m.act()
    m.add(model.GlobalPool("sum", (start,), "sum"))
    m.dense(4, 3)
    m.act()
    first = m.dense(3, 2)
    m.last = start
    m.add(model.GlobalPool("max", (start,), "max"))
    second = m.dense(4, 2)
    return m.done(first, second)


def recurrent(cell: str, *, sequences: bool = False, backwards: bool = False) -> model.Model:
    """A recurrent layer over seven time steps, with types of a few bits."""
    m = Maker(7, 2, seed=13)
    units, gates, tanh = 3, GATES[cell], Quantizer.parse("fixed<5,1,RND_CONV,SAT>")
    narrow = Quantizer.parse("fixed<5,3,RND_CONV,SAT>")
    gate, state = Quantizer.parse("ufixed<4,1,RND_CONV,SAT>"), Quantizer.parse("fixed<6,3,RND_CONV,SAT>")
    m.add(
        model.Recurrent(
            f"{cell}1", ("x",), m.weights(2, gates * units), m.weights(gates * units),
            recurrent=m.weights(units, gates * units), cell=cell, activation=(Named("tanh"),),
            recurrent_activation=() if cell == "rnn" else (Named("sigmoid"),), return_sequences=sequences,
            go_backwards=backwards,
            types=(narrow, gate, tanh, state, tanh),
            reset_after=cell == "gru",
        )
    )  # fmt: skip
    if sequences:
        m.dense(units, 2)
        m.act(SIGNED)
        m.add(model.GlobalPool("global", (m.last,), "sum"))
        units = 2
    m.dense(units, 2)
    return m.done()


def dense() -> model.Model:
    """Three dense layers: nothing but folds."""
    m = Maker(12, seed=15)
    m.dense(12, 16)
    m.act()
    m.dense(16, 8)
    m.act()
    m.dense(8, 3)
    return m.done()


def cropped() -> model.Model:
    """Cropping, a convolution, every second pixel, upsampling, a depthwise and a pointwise convolution."""
    m = Maker(8, 9, 2, seed=33)
    m.add(shape_layers.slice_("crop", "x", (8, 9, 2), (1, 2, None), (7, -1, None), (None,) * 3))
    m.conv((3, 3), 2, 3, pad=1)
    m.act()
    m.add(shape_layers.slice_("every", m.last, (6, 6, 3), (None,) * 3, (None,) * 3, (2, 2, None)))
    m.add(shape_layers.upsample("up", m.last, (3, 3, 3), (2, 2)))
    m.conv((3, 3), 3, 3, groups=3)
    m.conv((1, 1), 3, 2)
    m.act()
    m.pool("sum", 2, 2)
    m.act(Quantizer.parse("ufixed<6,3,RND_CONV,SAT>"))
    m.flatten(8)
    m.dense(8, 3)
    return m.done()


def last_step() -> model.Model:
    """A causal Conv1D of which only the last time step is used."""
    m = Maker(9, 2, seed=35)
    m.add(
        model.Conv(
            "causal", ("x",), m.weights(3, 2, 4), m.weights(4), strides=(1,), padding=((2, 0),), dilation=(1,),
            groups=1,
        )
    )  # fmt: skip
    m.act()
    m.add(shape_layers.gather("last", m.last, (9, 4), 0, np.asarray(8)))
    m.dense(4, 3)
    return m.done()


def dead_layer() -> model.Model:
    """A layer whose weights and biases are all zero, with other layers behind it, beside a live one."""
    m = Maker(6, 3, seed=37)
    live = m.dense(3, 2)
    m.add(model.Dense("dead", ("x",), np.zeros((3, 2)), np.zeros(2)))
    m.dense(2, 2)
    m.act(SIGNED)
    m.add(model.Merge("add", (live, m.last), "add"))
    m.act()
    m.flatten(12)
    m.dense(12, 2)
    return m.done()


def scaled() -> model.Model:
    """Dense layers with a batch normalization of many scales behind each."""
    m = Maker(12, seed=41)
    for n_in, n_out in ((12, 24), (24, 20)):
        m.dense(n_in, n_out)
        scale, offset = m.rng.uniform(0.2, 1.7, n_out), m.rng.uniform(-1, 1, n_out)
        m.add(model.Affine(f"norm{len(m.layers)}", (m.last,), scale, offset))
        m.act()
    m.dense(20, 3)
    return m.done()


def by_pixel() -> model.Model:
    """Every pixel has a scale and an offset of its own; then a convolution."""
    m = Maker(5, 6, 2, seed=43)
    m.conv((1, 1), 2, 3)
    scale, offset = m.rng.uniform(-0.4, 1.7, (5, 6, 3)), m.rng.uniform(-1, 1, (5, 6, 3))
    m.add(model.Affine("norm", (m.last,), scale, offset))
    m.act()
    m.conv((2, 2), 3, 2)
    m.act()
    m.flatten(40)
    m.dense(40, 2)
    return m.done()


NETWORKS = {
    "cnn": (cnn(), (8, 9)),
    "cnn same": (cnn(pad=1), (8, 9)),
    "strided": (strided(), (9, 8)),
    "skip": (skip(), (6, 8)),
    "sequence": (sequence(), (1, 12)),
    "deep sets": (deep_sets(), (1, 6)),
    "two heads": (two_heads(), (1, 5)),
    "dense": (dense(), (1, 1)),
    "scaled": (scaled(), (1, 1)),
    "by pixel": (by_pixel(), (5, 6)),
    "cropped": (cropped(), (8, 9)),
    "last step": (last_step(), (1, 9)),
    "dead layer": (dead_layer(), (1, 6)),
    "edge conv": (graphs.edge_conv(), (1, 6)),
    "interaction": (graphs.interaction(), (1, 4)),
    "adjacency": (graphs.adjacency(), (1, 5)),
    "linear interaction": (graphs.linear_interaction(), (1, 6)),
    "garnet": (graphs.garnet(), (1, 6)),
    "attention": (graphs.attention(), (1, 5)),
    "gram": (graphs.gram(), (1, 1)),
    "rnn": (recurrent("rnn"), (1, 7)),
    "lstm": (recurrent("lstm"), (1, 7)),
    "gru backwards": (recurrent("gru", backwards=True), (1, 7)),
    "lstm sequences": (recurrent("lstm", sequences=True), (1, 7)),
}
"""Network, rows and columns of its input."""
