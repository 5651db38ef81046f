# SPDX-License-Identifier: Apache-2.0
"""Graph networks and attention that stream: made from numbers alone."""

from __future__ import annotations

import numpy as np
from streamed_maker import SIGNED, Maker

from l1ml.graph import model
from l1ml.graph.functions import Scale
from l1ml.graph.layers import shape as shape_layers
from l1ml.graph.named import Named
from l1ml.types.fixed import Quantizer


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


def gram() -> model.Model:
    """All products of particles with each other, and the largest of each."""
    m = Maker(32, seed=37)
    m.add(model.Reshape("rows", ("x",), (8, 4)))
    m.add(model.Einsum2("gram", ("rows", "rows"), "nf,mf->nm"))
    m.act(SIGNED)
    m.add(model.Reduce("largest", (m.last,), "max", (1,)))
    m.dense(8, 3)
    return m.done()
