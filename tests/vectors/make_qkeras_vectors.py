# SPDX-License-Identifier: Apache-2.0
"""Record what QKeras' quantizers give on ties, extremes and random values.

Run it where QKeras is installed (0.9.0 on TensorFlow 2.15, or qkeras-v3 on Keras 3), not where l1ml is:

    python tests/vectors/make_qkeras_vectors.py tests/vectors/qkeras/keras2.npz

Every setting of `SETTINGS` is called on the stimuli of its own LSB; weights with a scale found from them are
quantized as tensors of several shapes.  The tests compare l1ml with these files: QKeras is not needed there.
"""

from __future__ import annotations

import itertools
import json
import sys

import numpy as np

try:
    import tensorflow as tf
except ImportError:
    tf = None
import qkeras

SETTINGS: list[tuple[str, dict[str, object], int]] = []
"""(class, arguments, fraction bits of its LSB) of quantizers on data."""

for bits, integer, symmetric, keep in itertools.product((1, 2, 4, 8), (-2, 0, 3, 8), (0, 1), (True, False)):
    if bits - integer <= 18:
        SETTINGS.append(
            (
                "quantized_bits",
                {"bits": bits, "integer": integer, "symmetric": symmetric, "keep_negative": keep, "alpha": 1},
                bits - int(keep) - integer,
            )
        )
SETTINGS += [
    ("quantized_bits", {"bits": 6, "integer": 1, "alpha": 0.5}, 4),
    ("quantized_bits", {"bits": 5, "integer": 0, "alpha": 3.0}, 4),
    ("quantized_bits", {"bits": 6, "integer": 2, "alpha": None}, 3),
]
for bits, integer, slope in itertools.product((2, 4, 6, 8), (-1, 0, 2), (0.0, 0.5, 0.25, 0.0625)):
    SETTINGS.append(
        (
            "quantized_relu",
            {"bits": bits, "integer": integer, "negative_slope": slope},
            bits - (slope > 0) - integer,
        )
    )
SETTINGS += [
    ("quantized_relu", {"bits": 6, "integer": 1, "use_sigmoid": 1}, 5),
    ("quantized_relu", {"bits": 4, "integer": 2, "relu_upper_bound": 1.5, "is_quantized_clip": False}, 2),
    ("binary", {"alpha": 1}, 2),
    ("binary", {"alpha": 0.5, "use_01": True}, 2),
    ("stochastic_binary", {"alpha": 1}, 2),
    ("ternary", {"alpha": 1}, 4),
    ("ternary", {"alpha": 1, "threshold": 0.5}, 4),
    ("ternary", {"alpha": 2, "threshold": 0.75}, 4),
    ("stochastic_ternary", {"alpha": 1, "threshold": 0.5}, 4),
    *(("quantized_tanh", {"bits": b, "symmetric": s}, b - 1) for b in (3, 6, 8) for s in (0, 1)),
    ("quantized_tanh", {"bits": 6, "use_real_tanh": True}, 5),
    *(("quantized_sigmoid", {"bits": b, "symmetric": s}, b) for b in (3, 6, 8) for s in (0, 1)),
    ("quantized_sigmoid", {"bits": 6, "use_real_sigmoid": True}, 6),
    *(
        ("quantized_po2", {"bits": b, **extra}, 8)
        for b in (3, 4, 5)
        for extra in ({}, {"max_value": 4}, {"max_value": 1}, {"quadratic_approximation": True})
    ),
    *(
        ("quantized_relu_po2", {"bits": b, **extra}, 8)
        for b in (3, 4, 5)
        for extra in ({}, {"max_value": 4}, {"negative_slope": 0.25}, {"quadratic_approximation": True})
    ),
    *(("quantized_ulaw", {"bits": b, "integer": 0}, b) for b in (4, 6)),
    ("quantized_hswish", {"bits": 8, "integer": 2}, 5),
    ("quantized_linear", {"bits": 6, "integer": 1}, 4),
    ("quantized_linear", {"bits": 4, "integer": 0, "symmetric": 0}, 3),
    ("quantized_linear", {"bits": 5, "integer": 0, "alpha": 0.5}, 5),
    ("quantized_linear", {"bits": 1, "integer": 1}, 0),
]

WEIGHTS: list[tuple[str, dict[str, object]]] = [
    *(
        ("quantized_bits", {"bits": b, "integer": i, "symmetric": 1, "alpha": a})
        for b in (2, 4, 6)
        for i in (0, 1)
        for a in ("auto", "auto_po2")
    ),
    ("quantized_bits", {"bits": 6, "integer": 0, "alpha": 0.75}),
    ("binary", {"alpha": "auto"}),
    ("binary", {"alpha": "auto_po2"}),
    ("ternary", {"alpha": "auto"}),
    ("ternary", {"alpha": "auto_po2"}),
    ("quantized_po2", {"bits": 5}),
]
SHAPES = ((17,), (16, 12), (3, 3, 4, 8))


def stimuli(frac: int, seed: int) -> np.ndarray:
    """Return codes and ties of an LSB with their neighbours, extremes, zeros, powers of two and random values."""
    rng = np.random.default_rng(seed)
    lsb = 2.0**-frac
    halves = np.arange(-140, 141) * lsb / 2
    around = np.concatenate(
        [
            halves,
            np.nextafter(np.float32(halves), np.float32(1e9)),
            np.nextafter(np.float32(halves), np.float32(-1e9)),
        ]
    )
    powers = np.array([s * 2.0 ** (k + h) for s in (-1, 1) for k in range(-9, 9) for h in (0.0, 0.5)])
    third = np.array([0.33, -0.33, 0.5, -0.5, 0.75, -0.75], dtype=np.float32)
    special = np.concatenate(
        [
            third,
            np.nextafter(third, np.float32(9)),
            np.nextafter(third, np.float32(-9)),
            [0.0, -0.0, 1e-8, -1e-8, 1e6, -1e6],
        ]
    )
    wide = np.concatenate([rng.normal(0, s, 60) for s in (lsb, 0.3, 1.0, 4.0, 300.0)])
    x = np.concatenate([around, powers, special, wide]).astype(np.float32)
    return np.where(
        np.abs(x) < 1e-37, np.float32(0) * x, x
    )  # no input grid has denormals; frameworks flush them to 0


def call(name: str, options: dict[str, object], x: np.ndarray) -> np.ndarray | None:
    """Return the quantizer's output, None where this version has no such quantizer or refuses the arguments."""
    maker = getattr(qkeras, name, None) or getattr(getattr(qkeras, "quantizers", None), name, None)
    try:
        y = maker(**options)(x if tf is None else tf.constant(x))
    except Exception:  # noqa: BLE001  the frameworks refuse arguments in many ways
        return None
    return np.asarray(y, dtype=np.float32)


def main() -> None:
    """Write the file named on the command line."""
    out: dict[str, np.ndarray] = {}
    index: list[dict[str, object]] = []
    for number, (name, options, frac) in enumerate(SETTINGS):
        x = stimuli(frac, number)
        y = call(name, options, x)
        if y is not None:
            index.append(
                {"kind": "data", "name": name, "options": options, "frac": frac, "key": f"d{number}"}
            )
            out[f"d{number}_x"], out[f"d{number}_y"] = x, y
    rng = np.random.default_rng(99)
    for number, (name, options) in enumerate(WEIGHTS):
        for size, shape in enumerate(SHAPES):
            x = rng.normal(0, 0.4, shape).astype(np.float32)
            if name == "ternary" and len(shape) == 1:
                continue  # refused: QKeras gives every element a scale of its own, and divides by 0
            y = call(name, options, x)
            if y is not None:
                key = f"w{number}_{size}"
                index.append({"kind": "weights", "name": name, "options": options, "key": key})
                out[f"{key}_x"], out[f"{key}_y"] = x, y
    out["index"] = np.frombuffer(json.dumps(index).encode(), dtype=np.uint8)
    np.savez_compressed(sys.argv[1], **out)
    print(len(index), "settings,", sum(v.size for k, v in out.items() if k.endswith("_y")), "values")


if __name__ == "__main__":
    main()
