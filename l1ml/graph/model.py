# SPDX-License-Identifier: Apache-2.0
"""The network as the user knows it: named layers in topological order, constants in real values.

Frontends build it, nothing here knows where it came from.  What a layer *means* is in `l1ml.graph.layers`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from l1ml.errors import ModelError
from l1ml.types.arrays import RealArray
from l1ml.types.fixed import Quantizer


@dataclass(frozen=True, eq=False)
class Layer:
    """One step of the network; its name is also the name of the tensor it makes.

    Args:
        name: as in the model file, unique.  Steps that the file does not name get a suffix
            (``fc1.linear`` before the activation of a Dense layer ``fc1``).
        inputs: names of the layers it reads.
    """

    name: str
    inputs: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Input(Layer):
    """An input of the network; ``shape`` is without the batch axis.

    ``quantizer`` is None until the user or the network gives the input a type.
    """

    shape: tuple[int, ...]
    quantizer: Quantizer | None = None


@dataclass(frozen=True, eq=False)
class Dense(Layer):
    """``x @ kernel + bias`` on the last axis.

    Args:
        kernel: (n_in, n_out), the *quantized* values, exact in float64; None-quantized (float) layers
            carry ``exact=False`` and are refused until a type is given.
        bias: (n_out,) or None.
        exact: True when the framework's own quantizers put kernel and bias on a grid.
        quantizers: text of the quantizers for reports, e.g. ``{"kernel": "quantized_bits(6,0,alpha=1)"}``.
    """

    kernel: RealArray
    bias: RealArray | None
    exact: bool = True
    quantizers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, eq=False)
class Quantize(Layer):
    """Convert into a fixed-point type: QActivation, quantized_relu (an unsigned type), QONNX Quant."""

    quantizer: Quantizer


@dataclass(frozen=True, eq=False)
class Sign(Layer):
    """+1 where x >= 0, else -1, times ``scale`` (a power of two): quantized_bits(1), BipolarQuant."""

    scale: float = 1.0


@dataclass(frozen=True, eq=False)
class Relu(Layer):
    """``max(x, 0)``."""


@dataclass(frozen=True, eq=False)
class Affine(Layer):
    """``float32(float32(x * scale) + offset)`` per channel of the last axis: BatchNormalization at inference.

    Args:
        scale: (channels,) or scalar (), float32 values as the framework computes them.
        offset: same shape.
    """

    scale: np.ndarray
    offset: np.ndarray


@dataclass(frozen=True, eq=False)
class Reshape(Layer):
    """New shape without the batch axis, C order; Flatten is ``(-1,)`` resolved to a number."""

    shape: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Softmax(Layer):
    """Softmax over the last axis.  As the last layer it is dropped: the block gives logits."""


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
