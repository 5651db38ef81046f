# SPDX-License-Identifier: Apache-2.0
"""QKeras' quantizers against recorded answers of QKeras itself, on ties, extremes and random values."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from l1ml.frontends import qkeras
from l1ml.frontends.spelling import Call

VECTORS = Path(__file__).resolve().parents[1] / "vectors" / "qkeras"


@cache
def recorded(name: str) -> tuple[list[dict[str, object]], dict[str, np.ndarray]]:
    with np.load(VECTORS / name, allow_pickle=False) as file:
        arrays = {key: file[key] for key in file.files}
    return json.loads(arrays.pop("index").tobytes().decode()), arrays


def cases(kind: str) -> list[tuple[str, int]]:
    return [
        (name, number)
        for name in ("keras2.npz", "keras3.npz")
        for number, item in enumerate(recorded(name)[0])
        if item["kind"] == kind
    ]


def undecided(item: dict[str, object], x: np.ndarray) -> np.ndarray:
    """Tell for powers of two where the framework's float32 logarithm alone decides: neighbours of 2**(k + 1/2)."""
    if item["name"] == "quantized_linear" and item["options"]["bits"] == 1:  # type: ignore[index]
        return np.abs(x) < 6e-8  # it adds 1/2 first, in float32
    if "po2" not in str(item["name"]):
        return np.zeros(x.shape, dtype=bool)
    slope = float(item["options"].get("negative_slope", 1.0))  # type: ignore[attr-defined]
    magnitude = np.abs(x.astype(np.float64)) * np.where(x < 0, slope, 1.0)
    log = np.log2(np.maximum(magnitude, 1e-9)) * (
        0.5 if item["options"].get("quadratic_approximation") else 1.0
    )  # type: ignore[attr-defined]
    tie = np.floor(log) + 0.5
    near = (np.abs(log - tie) < 1e-6 * np.maximum(1.0, np.abs(log))) & (log != tie)
    assert near.mean() < 0.06
    return near


@pytest.mark.parametrize(("file", "number"), cases("data"))
def test_every_value_on_data_equals_qkeras(file: str, number: int) -> None:
    index, arrays = recorded(file)
    item = index[number]
    x, y = arrays[f"{item['key']}_x"], arrays[f"{item['key']}_y"]
    made = x
    chain = qkeras.activation(Call(str(item["name"]), item["options"]), source="vectors")  # type: ignore[arg-type]
    for function in chain:
        made = function(made)
    # The framework returns x + (xq - x) in float32: beyond 2**(24 - frac) that sum is not xq any more.
    artefact = np.abs(x) >= 2.0 ** (23 - int(item["frac"]))  # type: ignore[call-overload]
    assert artefact.mean() < 0.2
    real = chain[-1].frac is None and item["name"] not in ("quantized_bits",)
    tolerance = 3e-7 * np.abs(y) if real else 0.0
    wrong = (np.abs(made - y) > tolerance) & ~artefact & ~undecided(item, x)
    assert not wrong.any(), (
        f"{item}: {int(wrong.sum())} of {len(x)}, first x={x[wrong][:4]} {y[wrong][:4]} not {made[wrong][:4]}"
    )
    assert len(x) > 1000


@pytest.mark.parametrize(("file", "number"), cases("weights"))
def test_every_weight_equals_qkeras(file: str, number: int) -> None:
    index, arrays = recorded(file)
    item = index[number]
    x, y = arrays[f"{item['key']}_x"], arrays[f"{item['key']}_y"]
    made = qkeras.weights(Call(str(item["name"]), item["options"]), x, kernel=False, source="vectors")  # type: ignore[arg-type]
    real = made.values * (1.0 if made.scale is None else made.scale)
    tolerance = 0.0 if made.scale is None else 3e-7
    wrong = np.abs(real - y) > tolerance * np.maximum(np.abs(y), 1e-3)
    assert not wrong.any(), f"{item}: {int(wrong.sum())} of {y.size}: {y[wrong][:4]} not {real[wrong][:4]}"


def test_tens_of_thousands_of_values_are_compared() -> None:
    for name in ("keras2.npz", "keras3.npz"):
        index, arrays = recorded(name)
        assert sum(a.size for k, a in arrays.items() if k.endswith("_y")) > 50_000
        kinds = {str(item["name"]) for item in index}
        assert len(kinds) >= 12


def test_another_rounding_would_be_found() -> None:
    index, arrays = recorded("keras2.npz")
    item = next(i for i in index if i["name"] == "quantized_relu")
    x, y = arrays[f"{item['key']}_x"], arrays[f"{item['key']}_y"]
    frac = int(item["frac"])  # type: ignore[call-overload]
    bits = int(item["options"]["bits"])  # type: ignore[index]
    half_up = np.clip(np.floor(x * 2.0**frac + 0.5), 0, 2**bits - 1) / 2.0**frac
    assert (half_up != y).any()
