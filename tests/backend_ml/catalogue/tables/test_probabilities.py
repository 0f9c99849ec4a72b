"""Calibration on blind labels: it mends what a policy's choice of labels did, and leaves alone what it cannot know."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import softmax

from backend_ml.catalogue.tables.probabilities import FEWEST, Calibration

CLASSES, POOL = 3, 4000
Array = NDArray[np.float64]


def pool(seed: int) -> tuple[Array, NDArray[np.int64], Array]:
    """True probabilities, classes, and answers that are too sure and take the classes for equally common."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(scale=1.5, size=(POOL, CLASSES)) + np.log([0.7, 0.25, 0.05])
    truth = softmax(logits, axis=1)
    codes = np.array([rng.choice(CLASSES, p=p) for p in truth])
    return truth, codes, softmax(2 * (logits - np.log([0.7, 0.25, 0.05])), axis=1)


def loss(probabilities: Array, codes: NDArray[np.int64]) -> float:
    return float(-np.log(np.maximum(probabilities[np.arange(len(codes)), codes], 1e-12)).mean())


@pytest.mark.parametrize("labels", [50, 300])
def test_answers_become_those_of_the_pool(labels: int) -> None:
    truth, codes, answers = pool(labels)
    found = Calibration.found(answers[:labels], codes[:labels])
    after = found.apply(answers)
    assert loss(after[labels:], codes[labels:]) < loss(answers[labels:], codes[labels:]) - 0.1
    assert np.abs(after.mean(axis=0) - truth.mean(axis=0)).max() < 0.12
    np.testing.assert_allclose(after.sum(axis=1), 1)
    assert found.labels == labels and f"on {labels} labels of the audit slice" in found.words


def test_few_blind_labels_change_nothing() -> None:
    _, codes, answers = pool(0)
    found = Calibration.found(answers[: FEWEST - 1], codes[: FEWEST - 1])
    assert found.apply(answers) is answers and "fewer than 30" in found.words


def test_what_is_right_stays_nearly_so() -> None:
    truth, codes, _ = pool(7)
    found = Calibration.found(truth[:200], codes[:200])
    assert np.abs(found.apply(truth) - truth).mean() < 0.05


def test_sure_answers_and_absent_classes_stay_finite() -> None:
    answers = np.eye(CLASSES)[np.arange(60) % 2]
    found = Calibration.found(answers, np.arange(60) % 2)
    after = found.apply(np.eye(CLASSES))
    assert np.isfinite(after).all() and found.factor > 0
    broken = found.apply(np.full((1, CLASSES), np.nan))
    assert np.isnan(broken).all()
