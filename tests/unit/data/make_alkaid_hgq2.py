# SPDX-License-Identifier: Apache-2.0
"""Makes alkaid_hgq2.json.gz and .npz: a small HGQ2 model traced by alkaid, and the answers of Keras.

Run it in an environment with hgq2 0.2.0, keras 3, jax and alkaid 0.8.2; the tests only read the two files.
"""

from __future__ import annotations

import os
from pathlib import Path

os.environ["KERAS_BACKEND"] = "jax"

import keras
import numpy as np
from alkaid.converter import trace_model
from alkaid.trace import trace
from hgq.config import LayerConfigScope, QuantizerConfigScope
from hgq.layers import QDense, QEinsumDense

HERE = Path(__file__).parent
EVENTS = 1_000

keras.utils.set_random_seed(3)
with (
    QuantizerConfigScope(place="all", default_q_type="kif", i0=2, f0=3),
    QuantizerConfigScope(place="datalane", default_q_type="kif", i0=3, f0=3),
    LayerConfigScope(enable_ebops=False),
):
    x = keras.Input((4, 3))
    y = QEinsumDense("bic,cj->bij", (4, 6), bias_axes="j", activation="relu")(x)
    y = keras.layers.Flatten()(y)
    y = QDense(3)(QDense(8, activation="relu")(y))
    model = keras.Model(x, y)
rng = np.random.default_rng(1)
model(rng.normal(0, 2, (100, 4, 3)).astype(np.float32), training=True)
program = trace(*trace_model(model))
program.save(HERE / "alkaid_hgq2.json.gz")
_, whole, frac = np.max(program.inp_kifs, axis=1)
codes = rng.integers(-(1 << whole + frac), 1 << whole + frac, (EVENTS, 4, 3)).astype(np.int16)
golden = np.asarray(model.predict(np.ldexp(codes.astype(np.float32), -frac), verbose=0))
np.savez_compressed(HERE / "alkaid_hgq2.npz", codes=codes.reshape(EVENTS, -1), frac=frac, golden=golden)
