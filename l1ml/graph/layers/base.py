# SPDX-License-Identifier: Apache-2.0
"""What all layers have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field

from l1ml.errors import ModelError
from l1ml.graph.net import Net, T
from l1ml.types.arrays import RealArray
from l1ml.types.fixed import Quantizer


@dataclass(frozen=True, eq=False)
class Layer(ABC):
    """One step of the network; its name is also the name of the tensor it makes.

    To add a layer: a subclass in the module of its family with its meaning in ``emit``, its name in
    `l1ml.graph.model`, and a reader in `l1ml.frontends`.  Emulator, RTL, reports and digest follow.

    Args:
        name: as in the model file, unique.  Steps that the file does not name get a suffix
            (``fc1.linear`` before the activation of a Dense layer ``fc1``).
        inputs: names of the layers it reads.
    """

    name: str
    inputs: tuple[str, ...]

    @abstractmethod
    def emit(self, net: Net[T], *xs: T) -> T:
        """Write the meaning of the layer in operations of ``net``.

        Args:
            net: where the operations go.
            xs: the tensors of ``inputs``.

        Raises:
            ModelError: the inputs do not fit the layer, or it has no exact form for them.
        """

    def wrong(self, what: str, fix: str | None = None) -> ModelError:
        """Build an error about this layer."""
        return ModelError(f"{type(self).__name__} {self.name!r} {what}", fix=fix)


@dataclass(frozen=True, eq=False)
class Input(Layer):
    """An input of the network; ``shape`` is without the batch axis.

    ``quantizer`` is None until the user or the network gives the input a type.
    """

    shape: tuple[int, ...]
    quantizer: Quantizer | None = None

    def emit(self, net: Net[T], *xs: T) -> T:
        """Inputs are made by whoever runs the network."""
        raise AssertionError("an input has no meaning of its own")


@dataclass(frozen=True, eq=False)
class Weighted(Layer):
    """A layer with trained constants.

    Args:
        kernel: the *quantized* values, exact in float64; float layers carry ``exact=False``.
        bias: per output channel, or None.
        exact: True when kernel and bias are on a binary grid.
        quantizers: text of the quantizers for reports, e.g. ``(("kernel", "quantized_bits(6,0,alpha=1)"),)``.
        scale: real factor of the kernel, broadcastable to the output channels, where the framework's
            scale is no power of two; ``kernel`` then holds the integer codes.
    """

    kernel: RealArray
    bias: RealArray | None
    exact: bool = field(default=True, kw_only=True)
    quantizers: tuple[tuple[str, str], ...] = field(default=(), kw_only=True)
    scale: RealArray | None = field(default=None, kw_only=True)


def check_axis(layer: Layer, shape: tuple[int, ...], size: int) -> None:
    """Refuse an input whose last axis is not ``size`` long."""
    if not shape or shape[-1] != size:
        raise layer.wrong(f"expects {size} inputs on the last axis, its input has shape {shape}")
