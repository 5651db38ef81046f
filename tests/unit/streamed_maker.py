# SPDX-License-Identifier: Apache-2.0
"""Makes small networks layer by layer, from numbers alone."""

from __future__ import annotations

import numpy as np

from l1ml.graph import model
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
