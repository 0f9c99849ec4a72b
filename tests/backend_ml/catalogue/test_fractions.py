"""Class fractions of simulated surveys of known fractions: intervals hold, and narrow with a model that knows."""

import numpy as np
import pytest
from numpy.typing import NDArray

from backend_ml.catalogue.fractions import FEWEST, Z95, assisted, labelled, sampled

Array = NDArray[np.float64]
TRUE = np.array([0.5, 0.3, 0.15, 0.04, 0.01])
CAMPAIGNS, POOL = 100, 3000
LEAST = 0.9  # of the intervals of a hundred campaigns, at 95 %; drawn from fixed seeds


def survey(rng: np.random.Generator, quality: float) -> tuple[Array, Array]:
    """One-hot truth (N, C) of a pool, and answers of a model that is biased against the rare classes' favour."""
    truth = np.eye(len(TRUE))[rng.choice(len(TRUE), size=POOL, p=TRUE)]
    logits = quality * truth + rng.normal(size=truth.shape) + np.array([0, 1, 0, -1, 2])
    answers = np.exp(logits)
    return truth, answers / answers.sum(axis=1, keepdims=True)


def coverage(quality: float, n: int, seed: int) -> tuple[float, float, float, float]:
    """Of the audit slice alone and assisted: share of intervals that hold, and mean width."""
    held: tuple[list[float], list[float]] = ([], [])
    widths: tuple[list[float], list[float]] = ([], [])
    for number in range(CAMPAIGNS):
        rng = np.random.default_rng((seed, number))
        truth, answers = survey(rng, quality)
        blind = rng.choice(POOL, n, replace=False)
        estimates = (
            sampled(truth[blind], POOL),
            assisted(truth[blind], answers[blind], answers.mean(axis=0), POOL),
        )
        for place, one in enumerate(estimates):
            fractions = truth.mean(axis=0)
            held[place].append(float(((one.low <= fractions) & (fractions <= one.high)).mean()))
            widths[place].append(float((one.high - one.low).mean()))
    return (*map(float, map(np.mean, held)), *map(float, map(np.mean, widths)))  # type: ignore[return-value]


@pytest.mark.parametrize("n", [15, 60, 400])
@pytest.mark.parametrize("quality", [0.0, 1.5, 4.0])
def test_intervals_hold(quality: float, n: int) -> None:
    alone, helped, wide, narrow = coverage(quality, n, seed=3)
    assert alone > LEAST and helped > LEAST
    if n >= 60 and quality == 4:
        assert narrow < 0.8 * wide
    assert narrow < 1.03 * wide


def test_what_a_policy_labelled_does_not_tell() -> None:
    rng = np.random.default_rng(0)
    truth, answers = survey(rng, 3.0)
    unsure = np.argsort(np.sort(answers, axis=1)[:, -1])[:300]
    assert np.abs(labelled(truth[unsure]) - truth.mean(axis=0)).max() > 0.1


def test_the_sample_is_its_mean_by_hand() -> None:
    truth = np.eye(2)[[0, 0, 1, 0, 0]]
    found = sampled(truth, 10**9)
    np.testing.assert_allclose(found.value, [0.8, 0.2])
    # Wilson's interval of 1 of 5, by his formula
    n, p, z = 5, 0.2, Z95
    middle, half = (
        (p + z**2 / (2 * n)) / (1 + z**2 / n),
        z / (1 + z**2 / n) * np.sqrt(p * (1 - p) / n + (z / 2 / n) ** 2),
    )
    np.testing.assert_allclose([found.low[1], found.high[1]], [middle - half, middle + half], rtol=1e-6)


def test_the_difference_estimator_by_hand() -> None:
    rng = np.random.default_rng(5)
    truth, answers = survey(rng, 2.0)
    blind = rng.choice(POOL, 200, replace=False)
    found = assisted(truth[blind], answers[blind], answers.mean(axis=0), POOL)
    totals = []
    for place in range(len(TRUE)):
        used = found.used[place]
        pool = sum(used * answer for answer in answers[:, place]) / POOL
        totals.append(pool + sum(truth[i, place] - used * answers[i, place] for i in blind) / len(blind))
    np.testing.assert_allclose(found.value, np.array(totals) / sum(totals))
    assert found.value.sum() == pytest.approx(1) and (found.used > 0).any() and (found.used <= 1).all()


def test_all_labelled_leaves_no_doubt() -> None:
    truth = np.eye(3)[[0, 1, 1, 2]]
    found = sampled(truth, 4)
    np.testing.assert_allclose(found.low, found.value, atol=1e-4)
    np.testing.assert_allclose(found.high, found.value, atol=1e-4)


def test_odd_samples() -> None:
    nothing = assisted(np.zeros((0, 3)), np.zeros((0, 3)), np.full(3, 1 / 3), 10)
    assert np.isnan(nothing.value).all() and np.isnan(nothing.low).all()
    assert np.isnan(labelled(np.zeros((0, 3)))).all()
    one = sampled(np.eye(3)[[1] * 40], 10**6)
    assert one.value.tolist() == [0, 1, 0] and one.low[1] < 0.95 and one.high[0] == pytest.approx(0.0876, abs=1e-3)
    constant = assisted(np.eye(2)[[0, 1] * 20], np.full((40, 2), 0.5), np.full(2, 0.5), 10**6)
    assert constant.value.tolist() == [0.5, 0.5] and not constant.used.any()
    few = assisted(np.eye(2)[[0, 1] * 5], np.eye(2)[[0, 1] * 5], np.full(2, 0.5), 100)
    assert len(np.eye(2)[[0, 1] * 5]) < FEWEST and not few.used.any()


def test_a_perfect_model_still_leaves_an_interval() -> None:
    truth = np.eye(2)[(np.arange(1000) % 4 == 0).astype(int)]
    blind = np.arange(0, 1000, 7)
    found = assisted(truth[blind], truth[blind], truth.mean(axis=0), 1000)
    assert 0 < (found.high - found.low).max() < 0.1


def test_categories_left_out() -> None:
    held, count = [], 60
    for number in range(CAMPAIGNS):
        rng = np.random.default_rng((9, number))
        truth, answers = survey(rng, 2.0)
        # the second category is no class: the model never answers it
        kept = np.array([True, False, True, True, True])
        answers[:, 1] = 0
        answers /= answers.sum(axis=1, keepdims=True)
        blind = rng.choice(POOL, 4 * count, replace=False)
        found = assisted(truth[blind], answers[blind], answers.mean(axis=0), POOL, counted=kept)
        among = truth[truth[:, 1] == 0].mean(axis=0)
        assert np.isnan(found.value[1]) and np.nansum(found.value) == pytest.approx(1)
        held.append(((found.low <= among) & (among <= found.high))[kept])
    assert np.mean(held) > LEAST
    assert labelled(np.eye(3)[[0, 1, 1, 2]], counted=np.array([True, False, True])).tolist()[0] == 0.5
    only_aside = sampled(np.eye(2)[[1, 1]], 9, counted=np.array([True, False]))
    assert np.isnan(only_aside.value).all()
