"""Measures of a classifier, each counted by hand."""

import numpy as np
import pytest

from lvm_training.errors import LabelError
from lvm_training.evaluation.metrics import calibration, classification_metrics

CLASSES = ("a", "b", "c")
TRUTH = ["a", "a", "b", "b", "b"]
PROBABILITIES = np.array([[0.8, 0.1, 0.1], [0.4, 0.5, 0.1], [0.2, 0.7, 0.1], [0.1, 0.8, 0.1], [0.3, 0.2, 0.5]])


def test_metrics_by_hand() -> None:
    found = classification_metrics(TRUTH, PROBABILITIES, CLASSES)
    # pairs of an `a` and a `b` that the probability of `a` (of `b`) orders rightly: 6 of 6 (5 of 6)
    assert found["auc"] == pytest.approx((1 + 5 / 6) / 2)
    assert found["stamps"] == 5
    assert found["accuracy"] == pytest.approx(3 / 5)
    assert found["balanced_accuracy"] == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert found["f1"] == pytest.approx((2 / 3 + 2 / 3) / 2)
    assert found["log_loss"] == pytest.approx(-np.log([0.8, 0.4, 0.7, 0.8, 0.2]).mean())
    assert found["calibration_error"] == pytest.approx((2 * abs(0.8 - 1) + 0.3 + 2 * abs(0.5 - 0)) / 5)


def test_calibration_bins() -> None:
    assert calibration(TRUTH, PROBABILITIES, CLASSES) == [
        (pytest.approx(0.5), 0.0, 2),
        (pytest.approx(0.7), 1.0, 1),
        (pytest.approx(0.8), 1.0, 2),
    ]
    assert calibration(["a"], np.array([[1.0, 0.0, 0.0]]), CLASSES) == [(1.0, 1.0, 1)]


def test_a_certain_mistake_has_a_finite_loss() -> None:
    certain = np.array([[1.0, 0.0, 0.0], [1.0, 0.0, 0.0]])
    assert np.isfinite(classification_metrics(["a", "b"], certain, CLASSES)["log_loss"])


def test_one_class_cannot_be_measured() -> None:
    for truth in ([], ["a", "a"]):
        with pytest.raises(LabelError, match="two classes"):
            classification_metrics(truth, PROBABILITIES[: len(truth)], CLASSES)
