# SPDX-License-Identifier: Apache-2.0
"""QKeras layers with a batch normalization inside: folded into the kernel, then quantized."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from l1ml.frontends.common import UnsupportedError
from l1ml.frontends.keras.conv import padding, sizes
from l1ml.frontends.keras.step import Step, activated
from l1ml.graph.model import Conv, Dense, Layer


def folded(rank: int) -> Callable[[Step], tuple[Layer, ...]]:
    """Return the reader of QDenseBatchnorm (rank 0) or QConv2DBatchnorm (rank 2)."""

    def read(step: Step) -> tuple[Layer, ...]:
        n_out = step.options.integer("filters" if rank else "units")
        kernel = sizes(step, "kernel_size", rank) if rank else ()
        wanted: list[tuple[str, tuple[int | None, ...]]] = [("kernel", (*kernel, step.channels, n_out))]
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
            weight = (inverse * raw["kernel"]).astype(np.float32)
        if not (np.isfinite(weight).all() and np.isfinite(bias).all()):
            raise step.error("has a normalization that is not finite")
        made = step.quantize_weights("kernel", weight, kernel=True)
        if made is None:
            raise UnsupportedError("no kernel_quantizer")
        own = step.quantize_weights("bias", np.asarray(bias, np.float32), kernel=False)
        values = (
            bias.astype(np.float64) if own is None else own.values * (1.0 if own.scale is None else own.scale)
        )
        texts = (("kernel", made.text), *((("bias", own.text),) if own else ()))
        if rank:
            strides, dilation = sizes(step, "strides", rank), sizes(step, "dilation_rate", rank)
            pairs = padding(step, kernel, strides, dilation)
            layer: Conv | Dense = Conv(
                step.name, (step.input,), made.values, values, strides, pairs, dilation
            )
        else:
            layer = Dense(step.name, (step.input,), made.values, values)
        return activated(step, replace(layer, exact=own is not None, quantizers=texts, scale=made.scale))

    return read


def _by_name(step: Step, wanted: list[tuple[str, tuple[int | None, ...]]]) -> dict[str, np.ndarray]:
    """Take the arrays by name; the step counter of the training is beside them."""
    stored = dict(step.file.weights.get(step.stored_as, ()))
    if "iteration" in stored or len(stored) > len(wanted):
        wanted = [w for w in wanted if w[0] in stored]
    return step.weights(*wanted)
