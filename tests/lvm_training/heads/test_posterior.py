"""Errors of a head's probabilities: the truth lies within them as often as they say."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import expit, softmax

from lvm_training.heads.classification import ClassificationHead
from lvm_training.heads.head import Head
from lvm_training.heads.posterior import TEMPERS, HeadPosterior
from lvm_training.heads.preference import NO, YES, PreferenceHead

CLASSES = tuple("abc")
WIDTH, POOL = 16, 800


def sky(seed: int, count: int) -> tuple[NDArray[np.float32], list[str], NDArray[np.float64]]:
    """Features, labels of the first `count`, and the true probabilities of the others."""
    rng = np.random.default_rng((seed, count))
    features = rng.normal(size=(count + POOL, WIDTH)).astype(np.float32)
    truth = softmax(features @ (rng.normal(size=(WIDTH, 3)) * 0.3), axis=1)
    return features, [CLASSES[rng.choice(3, p=p)] for p in truth[:count]], truth[count:]


def errors(posterior: HeadPosterior, features: NDArray[np.float32]) -> NDArray[np.float64]:
    answers = posterior.head.predict(features)
    return np.asarray(np.sqrt(((posterior.predict(features) - answers) ** 2).mean(axis=0)))


@pytest.mark.parametrize("count", [100, 400])
def test_the_truth_is_within_the_errors(count: int) -> None:
    held = []
    for seed in range(6):
        features, labels, truth = sky(seed, count)
        head = ClassificationHead.fit(features[:count], labels, seed=0, classes=CLASSES)
        posterior = HeadPosterior.of(head, features[:count], labels, seed=0)
        assert posterior is not None
        answers, pool = head.predict(features[count:]), features[count:]
        held.append(np.mean(np.abs(truth - answers) < 1.96 * errors(posterior, pool)))
    # 95 % are meant; six surveys of a dozen directions each scatter by some per cent
    assert 0.85 < np.mean(held) < 0.995


def test_directions_in_which_no_galaxy_differs_do_not_count() -> None:
    """Many copies of a few features, with a penalty that hardly holds: untempered errors would exceed all mistakes."""
    rng = np.random.default_rng(4)
    few = rng.normal(size=(150 + POOL, 4))
    features = np.repeat(few, 40, axis=1) + rng.normal(scale=0.3, size=(150 + POOL, 160))
    truth = softmax(3 * few[:, :3], axis=1)
    codes = np.array([rng.choice(3, p=p) for p in truth])
    inputs = features.astype(np.float32)
    labels = [CLASSES[code] for code in codes[:150]]
    head = ClassificationHead.fit(inputs[:150], labels, seed=0, classes=CLASSES)
    posterior = HeadPosterior.of(head, inputs[:150], labels, seed=0)
    assert posterior is not None and posterior.temper in TEMPERS
    answers = head.predict(inputs[150:])
    mistakes = ((truth[150:] - answers) ** 2).mean()
    assert 0.1 * mistakes < (errors(posterior, inputs[150:]) ** 2).mean() < 10 * mistakes


def test_too_few_labels_are_not_tempered() -> None:
    features, labels, _ = sky(5, 6)
    head = ClassificationHead.fit(features[:6], labels, seed=0, classes=CLASSES)
    posterior = HeadPosterior.of(head, features[:6], labels, seed=0)
    assert posterior is not None and posterior.temper == 1


def test_errors_shrink_with_labels() -> None:
    means = []
    for count in (50, 1000):
        features, labels, _ = sky(1, count)
        head = ClassificationHead.fit(features[:count], labels, seed=0, classes=CLASSES)
        means.append(errors(HeadPosterior(head, features[:count], labels, seed=0), features[count:]).mean())
    assert means[1] < 0.6 * means[0]


def test_the_heads_scatter_around_the_head_and_sum_to_one() -> None:
    features, labels, _ = sky(2, 300)
    head = ClassificationHead.fit(features[:300], labels, seed=0, classes=(*CLASSES, "unseen"))
    posterior = HeadPosterior(head, features[:300], labels, seed=0, draws=200)
    drawn, answers = posterior.predict(features[300:]), head.predict(features[300:])
    assert drawn.shape == (200, POOL, 4)
    np.testing.assert_allclose(drawn.sum(axis=2), 1)
    np.testing.assert_allclose(drawn[:, :, 3], answers[0, 3])
    np.testing.assert_allclose(drawn.mean(axis=0), answers, atol=0.1)
    same = HeadPosterior(head, features[:300], labels, seed=0, draws=200).predict(features[300:])
    np.testing.assert_array_equal(same, drawn)


def test_a_preference_head() -> None:
    rng = np.random.default_rng(3)
    features = rng.normal(size=(300 + POOL, WIDTH)).astype(np.float32)
    wanted = expit(features @ (rng.normal(size=WIDTH) * 0.5))
    labels = [YES if rng.random() < p else NO for p in wanted[:300]]
    background = features[300:]
    head = PreferenceHead.fit(features[:300], labels, seed=0, background=background)
    posterior = HeadPosterior(head, features[:300], labels, background=background, seed=0)
    drawn = posterior.predict(background)
    np.testing.assert_allclose(drawn.sum(axis=2), 1)
    answers = head.predict(background)
    np.testing.assert_allclose(np.median(drawn, axis=0), answers, atol=0.1)
    tempered = HeadPosterior.of(head, features[:300], labels, background=background, seed=0)
    assert tempered is not None and tempered.temper in TEMPERS
    held = np.abs(wanted[300:] - answers[:, 1]) < 1.96 * errors(posterior, background)[:, 1]
    assert held.mean() > 0.7


def test_another_head_has_none() -> None:
    class Other(ClassificationHead.__mro__[1]):  # type: ignore[misc]
        """A head of a package's own."""

        kind, parts = "other", ()

        @classmethod
        def fit(cls, *_: object, **__: object) -> Head:
            return cls()

        def predict(self, inputs: NDArray[np.float32]) -> NDArray[np.float64]:
            return np.ones((len(inputs), 1))

    assert HeadPosterior.of(Other(), np.zeros((0, 2), np.float32), [], seed=0) is None
