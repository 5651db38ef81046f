# SPDX-License-Identifier: Apache-2.0
"""Constants of layers: codes and scale where they are quantized, values where they are not."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from l1ml.frontends.common import UnsupportedError, power_of_two
from l1ml.frontends.onnx.tensors import Constant, short
from l1ml.graph import model
from l1ml.types.arrays import RealArray


@dataclass(frozen=True, eq=False)
class Weights:
    """A constant as a layer wants it.

    Args:
        kernel: integer codes where there is a scale, else the values.
        scale: real factor in the shape of the kernel, None for 1.
        exact: the kernel is on a binary grid.
        text: its quantizer.
    """

    kernel: RealArray
    scale: RealArray | None
    exact: bool
    text: str | None

    @classmethod
    def of(cls, constant: Constant, factor: float = 1.0) -> Weights:
        """Return a constant times a factor."""
        values = constant.values.astype(np.float64)
        text = constant.quantizer or (constant.kind if constant.whole else None)
        if constant.codes is not None and constant.scale is not None:
            return cls(constant.codes, constant.scale * factor, True, text)
        exact = text is not None or short(values)
        if factor == 1 or not exact:
            return cls(values if factor == 1 else float32(values * factor), None, exact, text)
        if power_of_two(abs(factor)):
            return cls(values * factor, None, exact, text)
        return cls(values, np.broadcast_to(np.asarray(factor), values.shape), exact, text)

    def turned(self, axes: Sequence[int]) -> Weights:
        """Return the constant with its axes in another order."""
        scale = None if self.scale is None else self.scale.transpose(axes)
        return replace(self, kernel=self.kernel.transpose(axes), scale=scale)

    def per_output(self, summed: Iterable[int]) -> RealArray | None:
        """Return the scale without the axes that are summed over.

        Raises:
            UnsupportedError: it differs along one of them.
        """
        if self.scale is None:
            return None
        first, axes = self.scale, sorted(summed)
        for axis in reversed(axes):
            first = np.asarray(first.take(0, axis=axis))
        if not bool((np.expand_dims(first, tuple(axes)) == self.scale).all()):
            raise UnsupportedError("weights whose scale differs along the axis that is summed")
        return np.asarray(first)

    def quantizers(self) -> tuple[tuple[str, str], ...]:
        """Return the text for the layer."""
        return (("kernel", self.text),) if self.text else ()


def with_bias(layer: model.Dense | model.Conv, bias: Constant) -> model.Dense | model.Conv:
    """Return a layer with a bias, (n_out,) or one number."""
    values = bias.values.astype(np.float64)
    if values.shape not in ((), (1,), (layer.kernel.shape[-1],)):
        raise UnsupportedError(f"a bias of shape {values.shape} for {layer.kernel.shape[-1]} outputs")
    values = np.array(np.broadcast_to(values, layer.kernel.shape[-1:]), dtype=np.float64)
    text = bias.quantizer or (bias.kind if bias.whole else None)
    quantizers = (*layer.quantizers, *((("bias", text),) if text else ()))
    fits = bias.codes is None and (text is not None or not values.any() or short(values))
    # A bias with a scale of its own is added as the reference does, in float32.
    exact = layer.exact and (fits or bias.codes is not None)
    return replace(layer, bias=values, exact=exact, quantizers=quantizers)


def float32(values: RealArray) -> RealArray:
    """Return values rounded to float32."""
    return values.astype(np.float32).astype(np.float64)
