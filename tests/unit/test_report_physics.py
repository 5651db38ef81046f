# SPDX-License-Identifier: Apache-2.0
"""ROC curves and rates against brute force."""

from __future__ import annotations

import numpy as np
import pytest

from l1ml.errors import DataError
from l1ml.validate.physics import rate_khz, roc, roc_per_class, softmax, threshold_at_rate


def pairwise_auc(scores: np.ndarray, truth: np.ndarray) -> float:
    """Share of (signal, background) pairs in the right order, ties half."""
    difference = scores[truth][:, None] - scores[~truth][None, :]
    return float((difference > 0).mean() + 0.5 * (difference == 0).mean())


@pytest.mark.parametrize("levels", [2, 7, 1000])
def test_auc_is_the_share_of_ordered_pairs(levels):
    rng = np.random.default_rng(levels)
    truth = rng.random(400) < 0.3
    scores = np.floor((rng.random(400) + 0.4 * truth) * levels)
    curve = roc(scores, truth)
    assert curve.auc == pytest.approx(pairwise_auc(scores, truth), abs=1e-12)
    assert len(curve.signal_efficiency) == len(np.unique(scores)) + 1
    assert curve.signal_efficiency[0] == curve.background_efficiency[0] == 0
    assert curve.signal_efficiency[-1] == curve.background_efficiency[-1] == 1
    assert (np.diff(curve.signal_efficiency) >= 0).all()


def test_points_are_efficiencies_at_thresholds():
    rng = np.random.default_rng(5)
    truth, scores = rng.random(100) < 0.5, rng.integers(0, 10, 100).astype(float)
    curve = roc(scores, truth)
    for k, threshold in enumerate(np.unique(scores)[::-1], start=1):
        assert curve.signal_efficiency[k] == pytest.approx((scores[truth] >= threshold).mean())
        assert curve.background_efficiency[k] == pytest.approx((scores[~truth] >= threshold).mean())


def test_per_class_takes_indices_and_one_hot():
    rng = np.random.default_rng(6)
    labels = rng.integers(0, 3, 300)
    logits = rng.normal(size=(300, 3)) + 2 * np.eye(3)[labels]
    by_index = roc_per_class(logits, labels, ["g", "q", "t"])
    by_hot = roc_per_class(logits, np.eye(3)[labels])
    assert [c.auc for c in by_index] == [c.auc for c in by_hot]
    assert [c.name for c in by_hot] == ["class 0", "class 1", "class 2"]
    assert by_index[2].auc == pytest.approx(pairwise_auc(softmax(logits)[:, 2], labels == 2))


def test_softmax_survives_large_logits():
    assert softmax([[1000.0, 0.0]]).tolist() == [[1.0, 0.0]]


def test_rates_use_colliding_bunches():
    assert rate_khz([True] * 4) == pytest.approx(31_039.0, rel=1e-4)
    assert rate_khz([True, False, False, False]) == pytest.approx(31_039.0 / 4, rel=1e-4)


def test_threshold_is_the_lowest_that_keeps_the_rate():
    scores = np.random.default_rng(7).integers(0, 50, 10_000)
    threshold = threshold_at_rate(scores, 750.0)
    assert rate_khz(scores >= threshold) <= 750.0 < rate_khz(scores >= threshold - 1)


@pytest.mark.parametrize(
    ("scores", "truth"),
    [([1.0], [True]), ([1.0, np.nan], [True, False]), ([1.0, 2.0], [True]), ([], [])],
)
def test_bad_input_is_refused(scores, truth):
    with pytest.raises(DataError):
        roc(scores, truth)


def test_rate_and_threshold_need_events():
    with pytest.raises(DataError):
        rate_khz([])
    with pytest.raises(DataError, match="larger sample"):
        threshold_at_rate([1.0, 2.0], 100.0)
