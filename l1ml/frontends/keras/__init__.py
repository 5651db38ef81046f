# SPDX-License-Identifier: Apache-2.0
"""Keras 2, Keras 3 and QKeras models."""

from __future__ import annotations

from l1ml.frontends.keras.reader import PACKAGES, PASSES, read_keras

__all__ = ["PACKAGES", "PASSES", "read_keras"]
