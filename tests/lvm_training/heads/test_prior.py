"""The prior of simulated stamps: the minimum of its loss, all classes counting alike."""

import numpy as np
import pytest
from scipy.special import log_softmax
from sklearn.linear_model import LogisticRegression

from lvm_training.errors import LabelError
from lvm_training.heads.logistic_regression import Array, LogisticRegressionProblem
from lvm_training.heads.prior import STRENGTH, Prior

RNG = np.random.default_rng(0)
CODES = np.repeat([0, 1, 2], [100, 30, 8])
FEATURES = RNG.normal(0, 1, (138, 6)) + np.eye(3, 6)[CODES] * 1.5


def test_classes_count_alike() -> None:
    labels = ["cab"[code] for code in CODES]
    found = Prior.fit(FEATURES, [*labels, ""][:138])
    assert found.classes == ("a", "b", "c")
    twin = LogisticRegression(C=STRENGTH, class_weight="balanced", tol=1e-8, max_iter=1000).fit(FEATURES, labels)
    assert np.allclose(found.weights, twin.coef_, atol=1e-3)
    assert np.allclose(found.predict(FEATURES), twin.predict_proba(FEATURES), atol=1e-3)


def test_stamps_without_a_class_teach_nothing() -> None:
    labels = np.array(["cab"[code] for code in CODES], dtype="U1")
    labels[::3] = ""
    known = labels != ""
    one, other = Prior.fit(FEATURES, list(labels)), Prior.fit(FEATURES[known], list(labels[known]))
    assert np.array_equal(one.weights, other.weights)


def test_one_class_is_no_prior() -> None:
    with pytest.raises(LabelError, match="1 classes were drawn"):
        Prior.fit(FEATURES, ["a"] * 100 + [""] * 38)


def test_offset_and_priors_of_a_regression_are_those_of_its_loss() -> None:
    offset, weight = RNG.normal(0, 1, (138, 3)), RNG.uniform(0.5, 2, 138)
    problem = LogisticRegressionProblem(FEATURES, CODES, 3, weight=weight, offset=offset)
    weights, bias = problem.fit(0.1, bias_strength=0.5)

    def loss(w: Array, b: Array) -> float:
        logs = log_softmax(FEATURES @ w.T + b + offset, axis=1)[np.arange(138), CODES]
        return float(-(weight * logs).sum() + (w**2).sum() / 0.2 + (b**2).sum() / 1.0)

    least = loss(weights, bias)
    for _ in range(50):
        other = loss(weights + RNG.normal(0, 0.02, weights.shape), bias + RNG.normal(0, 0.02, 3))
        assert other > least
