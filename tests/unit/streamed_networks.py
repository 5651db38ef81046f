# SPDX-License-Identifier: Apache-2.0
"""Small networks that stream: made from numbers alone."""

from __future__ import annotations

import numpy as np

from l1ml.graph import model
from l1ml.graph.functions import Scale
from l1ml.graph.layers import shape as shape_layers
from l1ml.graph.layers.recurrent import GATES
from l1ml.graph.named import Named
from l1ml.types.fixed import Quantizer

ACT = Quantizer.parse("ufixed<4,1,RND_CONV,SAT>")
SIGNED = Quantizer.parse("fixed<5,2,RND_CONV,SAT>")


class Maker:
    """Appends layers one after the other.

    Args:
        shape: of the input.
        seed: of the weights.
    """

    def __init__(self, *shape: int, seed: int = 1) -> None:
        self.rng = np.random.default_rng(seed)
        self.layers: list[model.Layer] = [model.Input("x", (), shape)]
        self.last = "x"

    def add(self, layer: model.Layer) -> str:
        """Append a layer and return its name."""
        self.layers.append(layer)
        self.last = layer.name
        return layer.name

    def weights(self, *shape: int) -> np.ndarray:
        """Return small weights on a grid, half of them zero."""
        return np.ldexp(self.rng.integers(-3, 4, shape) * (self.rng.random(shape) < 0.7), -2).astype(float)

    def act(self, kind: Quantizer = ACT) -> str:
        """Append a quantizer."""
        return self.add(model.Quantize(f"act{len(self.layers)}", (self.last,), kind))

    def conv(
        self, kernel: tuple[int, ...], c_in: int, c_out: int, *, strides: int = 1, pad: int | None = None,
        dilation: int = 1, groups: int = 1, source: str | None = None,
    ) -> str:  # fmt: skip
        """Append a convolution; ``pad`` zeros on every side, None for none."""
        axes = len(kernel)
        sides = ((pad or 0, pad or 0),) * axes
        made = model.Conv(
            f"conv{len(self.layers)}", (source or self.last,), self.weights(*kernel, c_in // groups, c_out),
            self.weights(c_out), strides=(strides,) * axes, padding=sides, dilation=(dilation,) * axes, groups=groups,
        )  # fmt: skip
        return self.add(made)

    def pool(self, kind: str, size: int, strides: int, axes: int = 2) -> str:
        """Append a pooling layer."""
        return self.add(
            model.Pool(
                f"pool{len(self.layers)}",
                (self.last,),
                kind,
                (size,) * axes,
                (strides,) * axes,
                ((0, 0),) * axes,
            )
        )

    def dense(self, n_in: int, n_out: int) -> str:
        """Append a dense layer."""
        return self.add(
            model.Dense(f"fc{len(self.layers)}", (self.last,), self.weights(n_in, n_out), self.weights(n_out))
        )

    def flatten(self, size: int) -> str:
        """Append a reshape to one axis."""
        return self.add(model.Reshape(f"flat{len(self.layers)}", (self.last,), (size,)))

    def done(self, *outputs: str) -> model.Model:
        """Return the network."""
        return model.Model("net", tuple(self.layers), outputs or (self.last,), "made by a test")


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


def edges(m: Maker, nodes: int, near: int, features: int) -> str:
    """Append an EdgeConv: (x_i, x_j - x_i) of ``near`` fixed neighbours, a dense layer, the maximum."""
    x = m.last
    numbers = np.arange(nodes)
    neighbours = (numbers[:, None] + [1, 2, 5][:near]) % nodes
    shape = (nodes, features)
    m.add(shape_layers.gather("ends", x, shape, 0, neighbours))
    m.add(shape_layers.gather("starts", x, shape, 0, np.repeat(numbers[:, None], near, 1)))
    m.add(model.Merge("along", ("ends", "starts"), "sub"))
    m.add(model.Concat("edge", ("starts", "along")))
    m.dense(2 * features, 4)
    m.act()
    return m.add(model.Reduce("message", (m.last,), "max", (1,)))


def edge_conv() -> model.Model:
    """EdgeConv on a graph with fixed edges, then the sum over its nodes."""
    m = Maker(6, 3, seed=21)
    edges(m, 6, 3, 3)
    m.dense(4, 3)
    m.act()
    m.add(model.Reduce("graph", (m.last,), "sum", (0,)))
    m.dense(3, 2)
    return m.done()


def interaction() -> model.Model:
    """An interaction network: sender and receiver matrices, edge network, sums over edges, node network."""
    m, nodes = Maker(4, 3, seed=23), 4
    pairs = [(i, j) for i in range(nodes) for j in range(nodes) if i != j]
    matrices = np.zeros((2, nodes, len(pairs)))
    for e, ends in enumerate(pairs):
        for end in (0, 1):
            matrices[end, ends[end], e] = 1
    m.add(model.Einsum("receivers", ("x",), matrices[0], None, equation="nf,ne->ef"))
    m.add(model.Einsum("senders", ("x",), matrices[1], None, equation="nf,ne->ef"))
    m.add(model.Concat("edge", ("receivers", "senders")))
    m.dense(6, 4)
    m.act()
    m.add(model.Einsum("effects", (m.last,), matrices[0], None, equation="ef,ne->nf"))
    m.act(Quantizer.parse("ufixed<6,3,RND_CONV,SAT>"))
    m.add(model.Concat("node", ("x", m.last)))
    m.dense(7, 3)
    m.act()
    m.add(model.Reduce("graph", (m.last,), "sum", (0,)))
    m.dense(3, 2)
    return m.done()


def adjacency() -> model.Model:
    """Message passing with a constant weighted adjacency matrix, twice."""
    m, nodes = Maker(5, 3, seed=25), 5
    for c_in, c_out in ((3, 4), (4, 3)):
        m.dense(c_in, c_out)
        m.act()
        weights = m.weights(nodes, nodes)
        m.add(model.Einsum(f"pass{c_in}", (m.last,), weights, None, equation="nf,nm->mf"))
        m.act(SIGNED)
    m.add(model.Reduce("graph", (m.last,), "max", (0,)))
    m.dense(3, 2)
    return m.done()


def linear_interaction() -> model.Model:
    """An interaction network of linear complexity: every particle meets the sum over all of them."""
    m = Maker(6, 3, seed=27)
    m.dense(3, 4)
    start = m.act()
    m.add(model.Reduce("total", (start,), "sum", (0,), keepdims=True))
    m.act(Quantizer.parse("ufixed<6,3,RND_CONV,SAT>"))
    every = m.dense(4, 4)
    m.last = start
    own = m.dense(4, 4)
    m.add(model.Merge("met", (own, every), "add"))
    m.act()
    m.dense(4, 3)
    m.act()
    m.add(model.Reduce("graph", (m.last,), "sum", (0,)))
    m.dense(3, 2)
    return m.done()


def garnet() -> model.Model:
    """GarNet: distances to aggregators, weights exp(-d^2), weighted sums and maxima, back to every vertex."""
    m, vertices = Maker(6, 4, seed=29), 6
    m.dense(4, 3)
    features = m.act(SIGNED)
    m.last = "x"
    m.dense(4, 2)
    m.act(SIGNED)
    m.add(model.Merge("square", (m.last, m.last), "mul"))
    m.add(model.Map("potential", (m.last,), (Scale(np.asarray(-1, np.float32)), Named("exp"))))
    weights = m.act()
    sums = []
    for kind, letters in (("sum", "vs,vf->sf"),):
        m.add(model.Einsum2(f"{kind}s", (weights, features), letters))
        m.add(model.Map("mean", (m.last,), (Scale(np.asarray(1 / vertices, np.float32)),)))
        sums.append(m.act(SIGNED))
    m.add(model.Einsum2("back", (weights, sums[0]), "vs,sf->vsf"))
    m.add(model.Reshape("per_vertex", (m.last,), (vertices, 6)))
    m.add(model.Concat("all", ("x", m.last, weights)))
    m.dense(12, 3)
    m.act()
    m.add(model.Reduce("graph", (m.last,), "sum", (0,)))
    m.dense(3, 2)
    return m.done()


def attention() -> model.Model:
    """Two heads of self-attention over particles, with a residual connection and the sum over particles."""
    m = Maker(5, 4, seed=31)
    parts = {}
    for name in ("q", "k", "v"):
        m.last = "x"
        m.add(model.Einsum(f"to_{name}", ("x",), m.weights(4, 2, 3), None, equation="nf,fhd->nhd"))
        parts[name] = m.act(SIGNED)
    m.add(model.Einsum2("scores", (parts["q"], parts["k"]), "nhd,mhd->hnm"))
    m.add(model.Map("exp", (m.last,), (Scale(np.asarray(0.25, np.float32)), Named("exp"))))
    m.act(Quantizer.parse("ufixed<6,3,RND_CONV,SAT>"))
    m.add(model.Einsum2("attended", (m.last, parts["v"]), "hnm,mhd->nhd"))
    m.act(Quantizer.parse("fixed<8,5,RND_CONV,SAT>"))
    m.add(model.Einsum("out", (m.last,), m.weights(2, 3, 4), None, equation="nhd,hdf->nf"))
    m.act(SIGNED)
    m.add(model.Merge("residual", ("x", m.last), "add"))
    m.act(SIGNED)
    m.add(model.Reduce("graph", (m.last,), "sum", (0,)))
    m.dense(4, 2)
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


def gram() -> model.Model:
    """All products of particles with each other, and the largest of each."""
    m = Maker(32, seed=37)
    m.add(model.Reshape("rows", ("x",), (8, 4)))
    m.add(model.Einsum2("gram", ("rows", "rows"), "nf,mf->nm"))
    m.act(SIGNED)
    m.add(model.Reduce("largest", (m.last,), "max", (1,)))
    m.dense(8, 3)
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
    "cropped": (cropped(), (8, 9)),
    "last step": (last_step(), (1, 9)),
    "edge conv": (edge_conv(), (1, 6)),
    "interaction": (interaction(), (1, 4)),
    "adjacency": (adjacency(), (1, 5)),
    "linear interaction": (linear_interaction(), (1, 6)),
    "garnet": (garnet(), (1, 6)),
    "attention": (attention(), (1, 5)),
    "gram": (gram(), (1, 1)),
    "rnn": (recurrent("rnn"), (1, 7)),
    "lstm": (recurrent("lstm"), (1, 7)),
    "gru backwards": (recurrent("gru", backwards=True), (1, 7)),
    "lstm sequences": (recurrent("lstm", sequences=True), (1, 7)),
}
"""Network, rows and columns of its input."""
