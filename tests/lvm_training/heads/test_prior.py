"""The prior of simulated stamps, and heads that begin with it: the minimum of the loss, and how labels take over."""

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax
from sklearn.linear_model import LogisticRegression

from lvm_training.errors import LabelError
from lvm_training.heads.classification import DEFAULT_STRENGTH, ClassificationHead
from lvm_training.heads.logistic_regression import Array, LogisticRegressionProblem
from lvm_training.heads.prior import BIAS_STRENGTH, FACTOR_SPREAD, STRENGTH, AlignedPrior, Prior

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


NAMES = ("a", "b", "c")
WIDTH = 24
CENTRES = np.kron(np.eye(3), np.ones(WIDTH // 3)) * 1.2


def looks(codes: NDArray[np.int64], rng: np.random.Generator) -> Array:
    """Features of stamps of these classes."""
    found: Array = rng.normal(0, 1, (len(codes), WIDTH)) + CENTRES[codes]
    return found


def simulated(count: int = 900) -> Prior:
    codes = np.arange(count) % 3
    features = looks(codes, np.random.default_rng(4))
    return Prior.fit((features - features.mean(axis=0)) / features.std(axis=0), ["abc"[code] for code in codes])


PRIOR = simulated()


def pool(count: int, *, seed: int = 5) -> tuple[NDArray[np.float32], list[str], AlignedPrior]:
    """Stamps that differ from the simulated ones in mean and size of every feature, their classes, and the prior."""
    rng = np.random.default_rng(seed)
    codes = np.arange(count) % 3
    features = 10 + 7 * looks(codes, rng)
    whole = features.astype(np.float64)
    aligned = AlignedPrior(PRIOR, whole.mean(axis=0), whole.std(axis=0))
    return features.astype(np.float32), ["abc"[code] for code in codes], aligned


def right(head: ClassificationHead, features: NDArray[np.float32], labels: list[str]) -> float:
    best = np.array(head.classes)[head.predict(features).argmax(axis=1)]
    return float((best == np.array(labels)).mean())


def test_without_labels_a_head_says_what_the_prior_says() -> None:
    features, labels, prior = pool(60)
    head = ClassificationHead.fit(np.zeros((0, 1), np.float32), [], seed=0, classes=NAMES, prior=prior)
    standard = (features - prior.mean) / prior.scale
    assert np.allclose(head.predict(features), PRIOR.predict(standard), atol=1e-5)
    assert right(head, features, labels) > 0.7
    assert np.array_equal(head.prior_share(features), np.ones(60))


@pytest.mark.parametrize("count", [1, 7, 60])
def test_a_head_with_a_prior_is_the_minimum_of_the_documented_loss(count: int) -> None:
    features, labels, prior = pool(60)
    known, names = features[:count], labels[:count]
    head = ClassificationHead.fit(known, names, seed=0, classes=NAMES, prior=prior)
    z = (known.astype(np.float64) - prior.mean) / prior.scale
    w, b = PRIOR.weights - PRIOR.weights.mean(axis=0), PRIOR.bias - PRIOR.bias.mean()
    codes = [NAMES.index(name) for name in names]

    def loss(flat: Array) -> float:
        factor, bias, weights = flat[0], flat[1:4], flat[4:].reshape(3, WIDTH)
        logs = log_softmax(factor * (z @ w.T + b) + z @ weights.T + bias, axis=1)
        penalty = (weights**2).sum() / (2 * DEFAULT_STRENGTH) + (bias**2).sum() / (2 * BIAS_STRENGTH)
        return float(-logs[np.arange(count), codes].sum() + penalty + (factor - 1) ** 2 / (2 * FACTOR_SPREAD**2))

    start = np.concatenate([[1.0], np.zeros(3), np.zeros(3 * WIDTH)])
    bounds = [(0, None), *[(None, None)] * (3 + 3 * WIDTH)]
    found = minimize(loss, start, method="L-BFGS-B", bounds=bounds, options={"maxfun": 100_000, "ftol": 1e-14}).x
    wanted = softmax(
        found[0] * (((features - prior.mean) / prior.scale) @ w.T + b)
        + ((features - prior.mean) / prior.scale) @ found[4:].reshape(3, WIDTH).T
        + found[1:4],
        axis=1,
    )
    assert np.allclose(head.predict(features), wanted, atol=2e-3)


def test_labels_take_over() -> None:
    features, labels, prior = pool(1200)
    shares = []
    for count in (0, 12, 120, 1200):
        head = ClassificationHead.fit(features[:count], labels[:count], seed=0, classes=NAMES, prior=prior)
        shares.append(float(head.prior_share(features).mean()))
    assert shares[0] == 1 and all(0 < share < 1 for share in shares[1:])
    alone = ClassificationHead.fit(features, labels, seed=0, classes=NAMES)
    assert np.abs(head.predict(features) - alone.predict(features)).mean() < 0.03
    assert not alone.prior_share(features).any()


def test_a_prior_that_labels_contradict_fades() -> None:
    features, labels, prior = pool(300)
    wrong = ["bca"["abc".index(label)] for label in labels]
    heads = [
        ClassificationHead.fit(features[:count], wrong[:count], seed=0, classes=NAMES, prior=prior)
        for count in (0, 30, 120)
    ]
    alone = ClassificationHead.fit(features[:30], wrong[:30], seed=0, classes=NAMES)
    assert right(heads[0], features, wrong) < 0.3
    assert right(heads[1], features, wrong) > right(alone, features, wrong) - 0.05
    assert heads[1].prior_share(features).mean() < 0.05
    assert right(heads[2], features, wrong) > 0.7


def test_a_class_that_is_not_drawn_waits_for_its_first_label() -> None:
    features, labels, prior = pool(90)
    classes = ("a", "other", "b", "c")
    head = ClassificationHead.fit(features[:0], [], seed=0, classes=classes, prior=prior)
    answers = head.predict(features)
    assert np.allclose(answers[:, 1], 1 / 4) and np.allclose(answers.sum(axis=1), 1)
    assert right(head, features, labels) > 0.7
    far = np.full((6, WIDTH), 60, np.float32)
    head = ClassificationHead.fit(
        np.concatenate([features[:9], far]), [*labels[:9], *["other"] * 6], seed=0, classes=classes, prior=prior
    )
    assert (head.predict(far).argmax(axis=1) == 1).all()
    assert right(head, features, labels) > 0.7
    one = ClassificationHead.fit(features[:1], ["a"], seed=0, classes=classes, prior=prior)
    assert right(one, features, labels) > 0.7, "a single class of labels is enough beside a prior"


def test_a_head_with_a_prior_is_kept_whole_and_others_as_before() -> None:
    features, labels, prior = pool(30)
    head = ClassificationHead.fit(features, labels, seed=0, classes=NAMES, prior=prior)
    again = ClassificationHead.load(head.save())
    assert again.save() == head.save()
    assert np.array_equal(again.prior_share(features), head.prior_share(features))
    assert np.array_equal(again.predict(features), head.predict(features))
    alone = ClassificationHead.fit(features, labels, seed=0, classes=NAMES)
    assert set(load(alone.save())) == set(ClassificationHead.parts)
    assert ClassificationHead.load(alone.save()).prior_weights is None


def test_a_prior_of_other_classes_is_refused() -> None:
    features, labels, prior = pool(30)
    with pytest.raises(LabelError, match="classes of its own: c"):
        ClassificationHead.fit(features[:2], labels[:2], seed=0, classes=("a", "b"), prior=prior)
    with pytest.raises(LabelError, match="Labels outside the classes: x"):
        ClassificationHead.fit(features[:1], ["x"], seed=0, classes=NAMES, prior=prior)
