# SPDX-License-Identifier: Apache-2.0
"""Physics figures of a block: ROC curves, areas under them, trigger rates.

Source:
    Rate = pass fraction x colliding bunches x revolution frequency, as in the menu tools of the CMS
    Phase-2 Level-1 trigger: 2760 bunches x 11246 Hz = 31.04 MHz (not 40 MHz: a third of the
    orbit holds no collisions).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from l1ml.errors import DataError
from l1ml.types.arrays import RealArray

BUNCHES = 2760
REVOLUTION_HZ = 11_246.0


@dataclass(frozen=True, eq=False)
class RocCurve:
    """One class against all others.

    Args:
        name: class.
        signal_efficiency: share of the class accepted, rising from 0 to 1.
        background_efficiency: share of all others accepted at the same threshold.
        auc: area under signal over background efficiency, ties counted half.
    """

    name: str
    signal_efficiency: RealArray
    background_efficiency: RealArray
    auc: float


def softmax(logits: ArrayLike) -> RealArray:
    """Return softmax over the last axis, in float64 and without overflow."""
    values = np.asarray(logits, dtype=np.float64)
    powers = np.exp(values - values.max(axis=-1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True))


def roc(scores: ArrayLike, is_signal: ArrayLike, name: str = "signal") -> RocCurve:
    """Return the ROC curve of a score: one point per distinct score.

    Args:
        scores: (events,), larger is more signal-like; finite.
        is_signal: (events,), true for signal.
        name: name of the class.

    Raises:
        DataError: shapes differ, a score is not finite, or signal or background is missing.

    Example:
        >>> roc([0.9, 0.8, 0.3, 0.1], [True, False, True, False]).auc
        0.75
    """
    values = np.asarray(scores, dtype=np.float64)
    truth = np.asarray(is_signal, dtype=bool)
    if values.ndim != 1 or values.shape != truth.shape:
        raise DataError(
            f"scores and labels of {name}: expected one shape (events,), got {values.shape} and {truth.shape}"
        )
    if not np.isfinite(values).all():
        raise DataError(
            f"{int((~np.isfinite(values)).sum())} of {values.size} scores of {name} are not finite"
        )
    n_signal = int(truth.sum())
    n_background = truth.size - n_signal
    if not n_signal or not n_background:
        raise DataError(
            f"{name}: {n_signal} signal and {n_background} background events; both are needed",
            fix="use a sample that holds the class and others",
        )
    order = np.argsort(-values, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(values[order])), truth.size - 1)  # last event of each tie
    signal = np.concatenate([[0.0], np.cumsum(truth[order])[ends] / n_signal])
    background = np.concatenate([[0.0], np.cumsum(~truth[order])[ends] / n_background])
    area = float((np.diff(background) * (signal[1:] + signal[:-1]) / 2).sum())
    return RocCurve(name, signal, background, area)


def roc_per_class(
    outputs: ArrayLike, labels: ArrayLike, names: Sequence[str] | None = None, *, probabilities: bool = False
) -> tuple[RocCurve, ...]:
    """Return one curve per class, one against the rest, by the softmax of the outputs.

    Args:
        outputs: logits (events, classes).  Softmax is applied, since one logit alone is no probability.
        labels: class index (events,) or one-hot (events, classes).
        names: name of each class; ``class 0`` and so on if not given.
        probabilities: the outputs have been through softmax already.

    Raises:
        DataError: shapes do not fit, a label is no class, or a class is missing in the labels.
    """
    values = np.asarray(outputs, dtype=np.float64)
    truth = np.asarray(labels)
    if values.ndim != 2:
        raise DataError(f"outputs: expected shape (events, classes), got {values.shape}")
    if truth.ndim == 2 and truth.shape == values.shape:
        truth = truth.argmax(axis=1)
    if truth.shape != values.shape[:1]:
        raise DataError(f"labels: expected shape ({len(values)},) or {values.shape}, got {truth.shape}")
    if names is None:
        names = [f"class {k}" for k in range(values.shape[1])]
    if len(names) != values.shape[1]:
        raise DataError(f"{len(names)} class names for {values.shape[1]} outputs")
    strange = sorted({int(k) for k in np.unique(truth)} - set(range(values.shape[1])))
    if strange:
        raise DataError(
            f"labels {', '.join(map(str, strange[:5]))} for {values.shape[1]} classes",
            fix=f"labels count the classes from 0 to {values.shape[1] - 1}",
        )
    scores = values if probabilities else softmax(values)
    return tuple(roc(scores[:, k], truth == k, name) for k, name in enumerate(names))


def rate_khz(passed: ArrayLike, bunches: int = BUNCHES) -> float:
    """Return the trigger rate in kHz of a decision on minimum-bias events.

    Args:
        passed: (events,), true where the trigger fires; unbiased events.
        bunches: colliding bunches per orbit.

    Raises:
        DataError: there are no events.
    """
    decisions = np.asarray(passed, dtype=bool)
    if decisions.size == 0:
        raise DataError("no events to take a rate from")
    return float(decisions.mean()) * bunches * REVOLUTION_HZ / 1e3


def threshold_at_rate(scores: ArrayLike, target_khz: float, bunches: int = BUNCHES) -> float:
    """Return the lowest threshold on ``score >= threshold`` whose rate is at most ``target_khz``.

    Args:
        scores: (events,), of unbiased events.
        target_khz: rate allowed, in kHz.
        bunches: colliding bunches per orbit.

    Raises:
        DataError: there are no events, or even one event is above the rate (the sample is too small).
    """
    values, counts = np.unique(np.asarray(scores, dtype=np.float64), return_counts=True)
    if values.size == 0:
        raise DataError("no events to take a threshold from")
    per_event = bunches * REVOLUTION_HZ / 1e3 / counts.sum()
    rates = np.cumsum(counts[::-1])[::-1] * per_event
    allowed = np.flatnonzero(rates <= target_khz)
    if allowed.size == 0:
        raise DataError(
            f"the highest of {int(counts.sum())} scores alone fires at {rates[-1]:.0f} kHz; "
            f"allowed are {target_khz} kHz",
            fix="use a larger sample or a higher rate",
        )
    return float(values[allowed[0]])
