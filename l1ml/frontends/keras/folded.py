# SPDX-License-Identifier: Apache-2.0
"""QKeras layers with a batch normalization inside: folded into the kernel, then quantized."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from l1ml.frontends.common import UnsupportedError
from l1ml.frontends.keras.conv import flattened, padding, sizes
from l1ml.frontends.keras.step import Step, activated
from l1ml.graph.model import Conv, Dense, Layer


def folded(rank: int, *, depthwise: bool = False) -> Callable[[Step], tuple[Layer, ...]]:
    """Return the reader of QDenseBatchnorm (rank 0), QConv2DBatchnorm or QDepthwiseConv2DBatchnorm (rank 2)."""
    main = "depthwise_kernel" if depthwise else "kernel"

    def read(step: Step) -> tuple[Layer, ...]:
        if depthwise:
            last = step.options.integer("depth_multiplier", 1)
            n_out = step.channels * last
        else:
            last = n_out = step.options.integer("filters" if rank else "units")
        kernel = sizes(step, "kernel_size", rank) if rank else ()
        wanted: list[tuple[str, tuple[int | None, ...]]] = [(main, (*kernel, step.channels, last))]
        wanted += [("bias", (n_out,))] if step.options.flag("use_bias", False) else []
        names = ["gamma"] if step.options.flag("scale", True) else []
        names += ["beta"] if step.options.flag("center", True) else []
        for name in (*names, "moving_mean", "moving_variance"):
            wanted.append((name, (n_out,)))
        raw = _by_name(step, wanted)
        epsilon = np.float32(step.options.number("epsilon", 1e-3) or 0.0)
        gamma, beta = raw.get("gamma", np.float32(1)), raw.get("beta", np.float32(0))
        with np.errstate(all="ignore"):
            inverse = (np.float32(1) / np.sqrt(raw["moving_variance"] + epsilon)) * gamma
            bias = inverse * (raw.get("bias", np.float32(0)) - raw["moving_mean"]) + beta
            factor = np.broadcast_to(inverse, (n_out,))
            factor = factor.reshape(step.channels, last) if depthwise else factor
            weight = (factor * raw[main]).astype(np.float32)
        if not (np.isfinite(weight).all() and np.isfinite(bias).all()):
            raise step.error("has a normalization that is not finite")
        made = step.quantize_weights("depthwise" if depthwise else "kernel", weight, kernel=True)
        if made is None:
            raise UnsupportedError(f"no {'depthwise' if depthwise else 'kernel'}_quantizer; give it one")
        if depthwise:
            made = flattened(made, n_out)
        own = step.quantize_weights("bias", np.asarray(bias, np.float32), kernel=False)
        values = (
            bias.astype(np.float64) if own is None else own.values * (1.0 if own.scale is None else own.scale)
        )
        texts = (("kernel", made.text), *((("bias", own.text),) if own else ()))
        if rank:
            strides, dilation = sizes(step, "strides", rank), sizes(step, "dilation_rate", rank)
            pairs = padding(step, kernel, strides, dilation)
            layer: Conv | Dense = Conv(
                step.name, (step.input,), made.values, values, strides, pairs, dilation,
                step.channels if depthwise else 1,
            )  # fmt: skip
        else:
            layer = Dense(step.name, (step.input,), made.values, values)
        return activated(step, replace(layer, exact=own is not None, quantizers=texts, scale=made.scale))

    return read


def _by_name(step: Step, wanted: list[tuple[str, tuple[int | None, ...]]]) -> dict[str, np.ndarray]:
    """Take the arrays by name, or by their order; the step counter of the training, a scalar, is among them."""
    file, place = step.file, step.stored_as
    arrays = tuple(item for item in file.weights.get(place, ()) if item[1].ndim)
    return replace(step, file=replace(file, weights={**file.weights, place: arrays})).weights(*wanted)
