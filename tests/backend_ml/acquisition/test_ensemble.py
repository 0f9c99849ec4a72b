"""Ensembles of heads: what they agree on, what they do not, and that draws can be repeated."""

import numpy as np
import pytest
from numpy.typing import NDArray

from backend_ml.acquisition.ensemble import classification_ensemble, preference_ensemble
from lvm_training.errors import LabelError
from lvm_training.heads.classification import DEFAULT_STRENGTH, feature_scale
from lvm_training.heads.logistic_regression import LogisticRegressionProblem

CLASSES = ("a", "b", "c")


def blobs(count: int, *, width: int = 20, seed: int = 0) -> tuple[NDArray[np.float32], list[str]]:
    """Features around one centre per class, and their labels."""
    rng = np.random.default_rng(seed)
    codes = np.arange(count) % 3
    centres = np.random.default_rng(7).normal(size=(3, width)) * 2
    features = centres[codes] + rng.normal(size=(count, width))
    return features.astype(np.float32), [CLASSES[code] for code in codes]


@pytest.mark.parametrize("count", [9, 60])
def test_members_are_regressions_of_bootstrap_draws(count: int) -> None:
    """Against the same draws fitted in the features themselves, not in the span of the labelled rows."""
    features, labels = blobs(count)
    pool, _ = blobs(15, seed=5)
    found = classification_ensemble(features, labels, pool, classes=CLASSES, seed=3, members=2)
    wide = features.astype(np.float64)
    standard, asked = ((rows - wide.mean(axis=0)) / feature_scale(wide) for rows in (wide, pool.astype(np.float64)))
    codes = np.array([CLASSES.index(label) for label in labels])
    for member in range(2):
        rng = np.random.default_rng((3, member))
        rows = np.concatenate([rng.choice(np.flatnonzero(codes == c), np.count_nonzero(codes == c)) for c in range(3)])
        weights, bias = LogisticRegressionProblem(standard[rows], codes[rows], 3).fit(DEFAULT_STRENGTH)
        exponents = np.exp(asked @ weights.T + bias)
        np.testing.assert_allclose(found[member], exponents / exponents.sum(axis=1, keepdims=True), atol=2e-3)


def test_members_agree_near_labels_and_differ_between_them() -> None:
    features, labels = blobs(30)
    codes = np.array([CLASSES.index(label) for label in labels])
    centre = [features[codes == c].mean(axis=0) for c in range(3)]
    pool = np.stack([centre[0], (centre[0] + centre[1]) / 2]).astype(np.float32)
    found = classification_ensemble(features, labels, pool, classes=CLASSES, seed=0)
    assert found.shape == (8, 2, 3)
    np.testing.assert_allclose(found.sum(axis=2), 1)
    spread = found.std(axis=0).max(axis=1)
    assert spread[1] > spread[0] > 0


def test_a_class_without_labels_is_given_nothing() -> None:
    features, labels = blobs(30)
    kept = [row for row, label in enumerate(labels) if label != "b"]
    found = classification_ensemble(
        features[kept], [labels[row] for row in kept], features, classes=CLASSES, seed=0, members=2
    )
    assert (found[..., 1] == 0).all()
    np.testing.assert_allclose(found.sum(axis=2), 1)


def test_preferences_from_liked_galaxies_alone() -> None:
    features, labels = blobs(60)
    liked = features[[row for row, label in enumerate(labels) if label == "a"][:3]]
    given = {"classes": ("no", "yes"), "background": features, "members": 4}
    found = preference_ensemble(liked, ["yes"] * 3, features, seed=1, **given)  # type: ignore[arg-type]
    assert found.shape == (4, 60, 2)
    mean = found.mean(axis=0)[:, 1]
    kind = np.array(labels) == "a"
    assert mean[kind].mean() > mean[~kind].mean() and found.std(axis=0).max() > 0.001
    again = preference_ensemble(liked, ["yes"] * 3, features, seed=1, **given)  # type: ignore[arg-type]
    np.testing.assert_array_equal(found, again)


def test_labels_that_cannot_be_learned_from() -> None:
    features, labels = blobs(6)
    with pytest.raises(LabelError, match="two classes"):
        classification_ensemble(features[:1], labels[:1], features, classes=CLASSES, seed=0)
    with pytest.raises(LabelError, match="nothing to tell them from"):
        preference_ensemble(features[:2], ["yes"] * 2, features, classes=("no", "yes"), background=features[:0], seed=0)
