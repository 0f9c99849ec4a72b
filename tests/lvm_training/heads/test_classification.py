"""The classification head: the regression of scikit-learn, from one label per class to thousands."""

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from lvm_training.errors import CheckpointError, LabelError
from lvm_training.heads.classification import DEFAULT_STRENGTH, FOLDS, ClassificationHead
from lvm_training.heads.logistic_regression import LogisticRegressionProblem

CLASSES = ("a", "b", "c")


def blobs(count: int, *, spread: float = 0.3, width: int = 12, seed: int = 0) -> tuple[NDArray[np.float32], list[str]]:
    """Features around one centre per class, mixed so that they are strongly correlated, and their labels."""
    rng = np.random.default_rng(seed)
    codes = np.arange(count) % len(CLASSES)
    centres = np.random.default_rng(7).normal(size=(len(CLASSES), width))
    mixing = np.random.default_rng(8).normal(size=(width, width)) * np.exp(-np.arange(width) / 4)[:, None]
    features = (centres[codes] + spread * rng.normal(size=(count, width))) @ mixing
    return features.astype(np.float32), [CLASSES[code] for code in codes]


@pytest.mark.parametrize("strength", [1e-3, 1e-1, 10.0])
@pytest.mark.parametrize("classes", [2, 3])
def test_the_minimum_is_that_of_scikit_learn(strength: float, classes: int) -> None:
    features, labels = blobs(90, spread=1.5)
    kept = [row for row, label in enumerate(labels) if label in CLASSES[:classes]]
    x = features[kept].astype(np.float64)
    x -= x.mean(axis=0)
    y = np.array([CLASSES.index(labels[row]) for row in kept])
    weights, bias = LogisticRegressionProblem(x, y, classes).fit(strength)
    # with two classes, two rows of weights share what scikit-learn puts in one, so each pays half: its C counts double
    penalty = 2 * strength if classes == 2 else strength
    reference = LogisticRegression(C=penalty, tol=1e-10, max_iter=100_000).fit(x, y)
    exponents = np.exp(x @ weights.T + bias)
    ours = exponents / exponents.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(ours, reference.predict_proba(x), atol=2e-4)


@pytest.mark.parametrize("count", [3, 9, 60, 3000])
def test_learns_from_one_label_per_class_to_thousands(count: int) -> None:
    features, labels = blobs(count)
    head = ClassificationHead.fit(features, labels, seed=1)
    test, truth = blobs(300, seed=5)
    predicted = [head.classes[code] for code in head.predict(test).argmax(axis=1)]
    assert np.mean([one == other for one, other in zip(predicted, truth, strict=True)]) > (0.75 if count == 3 else 0.9)


def test_probabilities_sum_to_one() -> None:
    features, labels = blobs(60, spread=1.0)
    head = ClassificationHead.fit(features, labels, seed=1)
    probabilities = head.predict(features)
    assert probabilities.shape == (60, 3) and probabilities.dtype == np.float64
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)


def test_a_head_that_knows_nothing_answers_all_classes_alike() -> None:
    shapes = {"mean": 4, "scale": 4, "weights": (3, 4), "bias": 3, "unseen": 3}
    head = ClassificationHead.from_arrays(
        {name: np.zeros(s) + (name == "scale") for name, s in shapes.items()}, CLASSES
    )
    np.testing.assert_allclose(head.predict(np.ones((2, 4), np.float32)), 1 / 3)


def test_a_class_without_labels_gets_laplaces_share() -> None:
    features, labels = blobs(60)
    kept = [row for row, label in enumerate(labels) if label != "b"]
    head = ClassificationHead.fit(features[kept], [labels[row] for row in kept], seed=1, classes=CLASSES)
    probabilities = head.predict(features)
    np.testing.assert_allclose(probabilities[:, 1], 1 / (40 + 3), rtol=1e-6)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)


def test_a_class_with_one_label_among_many() -> None:
    features, labels = blobs(60)
    kept = [row for row, label in enumerate(labels) if label != "b" or row == 1]
    head = ClassificationHead.fit(features[kept], [labels[row] for row in kept], seed=1)
    assert head.classes == CLASSES
    assert head.predict(features[1:2]).argmax() == 1


def test_cross_validation_prefers_a_strong_penalty_for_noise() -> None:
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(90, 30)).astype(np.float32)
    labels = [CLASSES[code] for code in rng.integers(3, size=90)]
    from_noise = ClassificationHead.fit(noise, labels, seed=1)
    clean, truth = blobs(90, spread=0.01)
    from_signal = ClassificationHead.fit(clean, truth, seed=1)
    assert np.abs(from_noise.weights).max() < 0.05 * np.abs(from_signal.weights).max()


def test_too_few_labels_to_choose_take_the_default_penalty() -> None:
    features, labels = blobs(3 * (FOLDS - 1))
    head = ClassificationHead.fit(features, labels, seed=1)
    standard = (features.astype(np.float64) - features.mean(axis=0, dtype=np.float64)) / features.std(
        axis=0, dtype=np.float64
    )
    codes = np.array([CLASSES.index(label) for label in labels])
    weights, _ = LogisticRegressionProblem(standard, codes, 3).fit(DEFAULT_STRENGTH)
    np.testing.assert_allclose(head.weights, weights, rtol=1e-3, atol=1e-6)


def test_the_same_bytes_for_the_same_labels_and_seed() -> None:
    features, labels = blobs(200, spread=1.0)
    heads = [ClassificationHead.fit(features, labels, seed=4) for _ in range(2)]
    assert heads[0].save() == heads[1].save()
    assert ClassificationHead.fit(features[:-1], labels[:-1], seed=4).save() != heads[0].save()


def test_a_saved_head_predicts_the_same() -> None:
    features, labels = blobs(50)
    head = ClassificationHead.fit(features, [f"{label} – é" for label in labels], seed=1)
    loaded = ClassificationHead.load(head.save())
    assert loaded.classes == head.classes == ("a – é", "b – é", "c – é")
    assert (loaded.predict(features) == head.predict(features)).all()
    assert loaded.save() == head.save()


@pytest.mark.parametrize("length", [0, 5, 40, 400])
def test_a_truncated_head_is_refused(length: int) -> None:
    features, labels = blobs(30)
    with pytest.raises(CheckpointError, match="not a saved head"):
        ClassificationHead.load(ClassificationHead.fit(features, labels, seed=1).save()[:length])


def test_a_head_of_another_kind_is_refused() -> None:
    class Other(ClassificationHead):
        kind = "ranking"

    features, labels = blobs(30)
    with pytest.raises(CheckpointError, match="kind 'ranking', not 'classification'"):
        ClassificationHead.load(Other.fit(features, labels, seed=1).save())


def test_labels_that_cannot_be_learned_from() -> None:
    features, labels = blobs(12)
    with pytest.raises(LabelError, match="two classes; there is only 'a'"):
        ClassificationHead.fit(features[:2], ["a", "a"], seed=1, classes=CLASSES)
    with pytest.raises(LabelError, match="there is no label"):
        ClassificationHead.fit(np.zeros((0, 4), np.float32), [], seed=1, classes=CLASSES)
    with pytest.raises(LabelError, match="outside the classes: c"):
        ClassificationHead.fit(features, labels, seed=1, classes=("a", "b"))
    with pytest.raises(LabelError, match="11 labels for features of shape"):
        ClassificationHead.fit(features, labels[:-1], seed=1)
    for value in (np.nan, np.inf):
        broken = features.copy()
        broken[7, 3] = value
        with pytest.raises(LabelError, match=r"1 of 12 labelled stamps .* first at row 7"):
            ClassificationHead.fit(broken, labels, seed=1)


def test_a_constant_feature_and_equal_rows_do_no_harm() -> None:
    features, labels = blobs(30)
    features[:, 2] = 5.0
    features[:, 3] = 1e-9 * features[:, 4]
    head = ClassificationHead.fit(features, labels, seed=1)
    assert np.isfinite(head.predict(features)).all()
    same = ClassificationHead.fit(np.ones((4, 6), np.float32), ["a", "b", "a", "b"], seed=1)
    np.testing.assert_allclose(same.predict(np.ones((1, 6), np.float32)), 0.5, atol=1e-6)
