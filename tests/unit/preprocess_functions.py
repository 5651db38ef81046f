# SPDX-License-Identifier: Apache-2.0
"""Preprocessing functions as a user writes them; every one also runs on plain NumPy arrays (events, ...)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import l1ml

Array = Any
FUNCTIONS: dict[str, Callable[[Array], Array]] = {}
Q = "fixed<9,5,RND_CONV,SAT>"


def _enter(function: Callable[[Array], Array]) -> Callable[[Array], Array]:
    FUNCTIONS[function.__name__] = function
    return function


@_enter
def offset_and_shift(x: Array) -> Array:
    return (x[:, :, 0] - 3) * 0.5 + x[:, :, 1] / 4


@_enter
def magnitude_and_bounds(x: Array) -> Array:
    return (
        np.clip(np.abs(x[:, :2, 1] - 5), 0, 20) + np.maximum(x[:, :2, 0], -7) - np.minimum(x[:, :2, 2], 3.5)
    )


@_enter
def sine_table(x: Array) -> Array:
    angle = x[..., 2] * (np.pi / 128)
    return np.concatenate([l1ml.quantize(np.sin(angle), Q), l1ml.quantize(np.cos(angle), Q)], axis=-1)


@_enter
def choice(x: Array) -> Array:
    return np.where(x[..., 0] > 3, x[..., 1], -x[..., 2])


@_enter
def logarithm_with_floor(x: Array) -> Array:
    return l1ml.quantize(np.where(x[..., 0] > 0, np.log2(np.maximum(x[..., 0], 1)), 0), "ufixed<8,3,RND,SAT>")


@_enter
def mean(x: Array) -> Array:
    return l1ml.quantize(x.mean(axis=1), "fixed<10,8,RND_CONV,SAT>") + x.max(axis=1) - np.min(x, axis=1)


@_enter
def third(x: Array) -> Array:
    return l1ml.quantize(x.sum(axis=2) / 3, "fixed<10,8,RND,SAT>")


@_enter
def moved(x: Array) -> Array:
    flat = x.reshape(len(x), -1)[:, ::-1]
    return np.stack([flat[:, :6], np.roll(flat, 2, axis=1)[:, 6:]], axis=2)


@_enter
def bit_fields(x: Array) -> Array:
    word = (x[..., 0] + 128).astype(np.int64)
    return (word >> 4) * 2 + (word & 7) + (word % 32) + (word // 8) + ((word ^ 5) & 0b1010)


@_enter
def mixed_real(x: Array) -> Array:
    return l1ml.quantize(x[..., 0] * 0.1 + np.tanh(x[..., 0] / 50), "fixed<9,5,RND,SAT>")


@_enter
def own_scale_per_element(x: Array) -> Array:
    return l1ml.quantize(x[..., 0] * np.array([0.1, 0.2, 0.3, 0.1]), "fixed<9,6,RND,SAT>")


@_enter
def table(x: Array) -> Array:
    return l1ml.lookup(np.arange(256) ** 2 % 31, x[..., 0] + 128)


@_enter
def pieces(x: Array) -> Array:
    return l1ml.quantize(np.interp(x[..., 0], [-100, 0, 100], [0, 1, 5.5]), Q) + np.digitize(
        x[..., 1], [-50, 0, 10]
    )


@_enter
def sorted_(x: Array) -> Array:
    return np.sort(x[..., 0], axis=-1) * np.array([3, 5, 7, 9.0])


@_enter
def products(x: Array) -> Array:
    return x[..., 0] * x[..., 1] - x[..., 2] ** 2 * 2.75


@_enter
def conditions(x: Array) -> Array:
    good = (x[..., 0] > 1) & (x[..., 1] < 3) | ~(x[..., 2] == 0) ^ (x[..., 1] >= 0)
    return np.where(good & np.any(x > 100, axis=2), 1.0, np.sum(good, axis=1, keepdims=True))


@_enter
def leading(x: Array) -> Array:
    best = np.argmax(x[..., 0], axis=1)[:, None]
    return np.concatenate([best, np.argmin(x[..., 1], axis=1)[:, None] - best], axis=1)


@_enter
def matrix(x: Array) -> Array:
    weights = l1ml.quantize(np.linspace(-1, 1, 8).reshape(4, 2), "fixed<6,1,RND,SAT>")
    return x[..., 0] @ weights + np.dot(x[..., 1], weights[::-1])


@_enter
def rounded(x: Array) -> Array:
    half = x * 0.25
    return np.stack(
        [np.floor(half[..., 0]), np.ceil(half[..., 1]), np.round(half[..., 2]), np.trunc(half[..., 0])], -1
    )


@_enter
def sigmoid(x: Array) -> Array:
    return l1ml.quantize(1 / (1 + np.exp(-x[..., 0] / 16)), "ufixed<8,0,RND_CONV,SAT>")


@_enter
def signs_and_padding(x: Array) -> Array:
    return np.pad(np.sign(x[..., 0]) - np.square(x[..., 1] * 0.125), ((0, 0), (1, 2)))


@_enter
def nested(x: Array) -> Array:
    a = np.where(x[..., 0] > 2, np.where(x[..., 0] < 50, x[..., 0], 50), 2)
    return a[:, :, None] - x[:, :, 1:]


@_enter
def with_constants(x: Array) -> Array:
    ones = np.ones((len(x), 4, 1))
    return np.concatenate([x, ones, np.zeros_like(x[:, :, :1]), np.full_like(x[:, :, :1], 2.5)], axis=2)


@_enter
def split_and_tile(x: Array) -> Array:
    a, b = np.split(x, 2, axis=1)
    return np.concatenate(
        [np.repeat(a, 2, axis=1)[:, :2], np.tile(b, (1, 1, 1)).swapaxes(1, 2)[:, :2, [0, 1, 0]]], axis=1
    )
