# SPDX-License-Identifier: Apache-2.0
"""The network as the user knows it: named layers in topological order, constants in real values.

Frontends build it, nothing here knows where it came from.  What a layer *means* is in `l1ml.graph.layers`,
one module per family; all of them can be had from here.
"""

from __future__ import annotations

from dataclasses import dataclass

from l1ml.errors import ModelError
from l1ml.graph.layers.activation import Affine, Map, Relu, Softmax
from l1ml.graph.layers.base import Input, Layer, Weighted
from l1ml.graph.layers.conv import Conv
from l1ml.graph.layers.linear import Dense, Einsum, Embedding
from l1ml.graph.layers.merge import Concat, Dot, Einsum2, MatMul, Merge
from l1ml.graph.layers.norm import LayerNorm
from l1ml.graph.layers.pool import GlobalPool, Pool
from l1ml.graph.layers.quantize import Quantize, QuantizeEach, Sign
from l1ml.graph.layers.recurrent import Recurrent
from l1ml.graph.layers.reduce import Reduce
from l1ml.graph.layers.select import ArgMax, Compare, Constant, TopK, Where
from l1ml.graph.layers.shape import Reshape, Take
from l1ml.graph.layers.traced import Traced

__all__ = [
    "Affine", "ArgMax", "Compare", "Concat", "Constant", "Conv", "Dense", "Dot", "Einsum", "Einsum2", "Embedding",
    "GlobalPool", "Input", "Layer", "LayerNorm", "Map", "MatMul", "Merge", "Model", "Pool", "Quantize",
    "QuantizeEach", "Recurrent", "Reduce", "Relu", "Reshape", "Sign", "Softmax", "Take", "TopK", "Traced",
    "Weighted", "Where",
]  # fmt: skip


@dataclass(frozen=True)
class Model:
    """A network.

    Args:
        name: for people only; never part of the digest or of the HDL.
        layers: topological order, inputs first where they are needed.
        outputs: names of the layers whose tensors leave the network.
        source: where it was read from, for messages (file name, not a path).
    """

    name: str
    layers: tuple[Layer, ...]
    outputs: tuple[str, ...]
    source: str = ""

    @property
    def inputs(self) -> tuple[Input, ...]:
        """The input layers, in order."""
        return tuple(layer for layer in self.layers if isinstance(layer, Input))

    def layer(self, name: str) -> Layer:
        """Return the layer called ``name``."""
        for layer in self.layers:
            if layer.name == name:
                return layer
        raise ModelError(f"no layer called {name!r}", where=(self.source,))

    def verify(self) -> None:
        """Check that names are unique and every layer reads only earlier ones."""
        seen: set[str] = set()
        for layer in self.layers:
            missing = [name for name in layer.inputs if name not in seen]
            if missing:
                raise ModelError(
                    f"layer {layer.name!r} reads {missing}, which no earlier layer makes",
                    where=(self.source,),
                )
            if layer.name in seen:
                raise ModelError(f"two layers are called {layer.name!r}", where=(self.source,))
            seen.add(layer.name)
        lost = [name for name in self.outputs if name not in seen]
        if lost or not self.outputs or not self.inputs:
            raise ModelError(
                f"the network has outputs {self.outputs} and {len(self.inputs)} inputs; {lost} do not exist"
            )
