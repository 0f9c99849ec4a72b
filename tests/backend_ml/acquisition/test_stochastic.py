"""Rankings drawn at random: their shares, and the propensity of each galaxy."""

import math
from itertools import permutations

import numpy as np
import pytest

from backend_ml.acquisition.stochastic import inclusion, power_draw

SCORES = np.array([0.1, 0.4, 0.2, 0.8, 0.0])


def naive_shares(scores: np.ndarray, beta: float) -> list[float]:
    """Powers over their sum."""
    powers = [float(score) ** beta for score in scores]
    return [power / sum(powers) for power in powers]


def test_no_power_is_blind_and_a_large_one_ranks() -> None:
    np.testing.assert_array_equal(power_draw(SCORES, beta=0.0, seed=1), power_draw(SCORES[::-1], beta=0.0, seed=1))
    assert list(np.argsort(-power_draw(SCORES[:4], beta=1000.0, seed=1))) == [3, 1, 2, 0]


def test_scores_that_are_all_zero_are_drawn_alike() -> None:
    firsts = {int(power_draw(np.zeros(4), seed=seed).argmax()) for seed in range(60)}
    assert firsts == {0, 1, 2, 3}


def test_a_draw_is_the_log_score_plus_the_seeds_noise() -> None:
    noise = np.random.default_rng(7).gumbel(size=4)
    expected = [2.0 * math.log(score) + noise[i] for i, score in enumerate(SCORES[:4])]
    assert power_draw(SCORES[:4], beta=2.0, seed=7) == pytest.approx(expected)


def test_the_order_is_a_sample_without_replacement() -> None:
    """Frequencies of whole orders against the product of shares among those left."""
    scores, draws = np.array([1.0, 2.0, 5.0]), 4000
    orders = [tuple(np.argsort(-power_draw(scores, seed=seed))) for seed in range(draws)]
    for order in permutations(range(3)):
        left, expected = list(range(3)), 1.0
        for one in order:
            expected *= scores[one] / scores[left].sum()
            left.remove(one)
        error = math.sqrt(expected * (1 - expected) / draws)
        assert orders.count(order) / draws == pytest.approx(expected, abs=4 * error)


def naive_inclusion(scores: np.ndarray, drawn: np.ndarray, n: int, beta: float) -> list[float]:
    """The chance that one's Gumbel variable exceeds the n-th largest of the others'."""
    found = []
    for i, score in enumerate(scores):
        others = sorted((value for j, value in enumerate(drawn) if j != i), reverse=True)
        found.append(1 - math.exp(-math.exp(beta * math.log(score) - others[n - 1])))
    return found


@pytest.mark.parametrize("n", [1, 3, 7])
def test_inclusion_agrees_with_the_naive_loop(n: int) -> None:
    scores = np.random.default_rng(2).random(8) + 0.1
    drawn = power_draw(scores, beta=1.5, seed=3)
    assert inclusion(scores, drawn, n, beta=1.5) == pytest.approx(naive_inclusion(scores, drawn, n, 1.5))


def test_inverse_propensities_estimate_the_pools_sum() -> None:
    rng = np.random.default_rng(5)
    scores, values = rng.random(30) + 0.05, rng.random(30)
    estimates = []
    for seed in range(800):
        drawn = power_draw(scores, seed=seed)
        first = np.argsort(-drawn)[:8]
        estimates.append((values[first] / inclusion(scores, drawn, 8)[first]).sum())
    error = np.std(estimates) / math.sqrt(len(estimates))
    assert np.mean(estimates) == pytest.approx(values.sum(), abs=4 * error)


def test_whoever_is_asked_for_whole_is_included() -> None:
    drawn = power_draw(SCORES, seed=0)
    assert list(inclusion(SCORES, drawn, 5)) == [1.0] * 5
    assert list(inclusion(SCORES[:1], drawn[:1], 20)) == [1.0]
    assert inclusion(SCORES[:0], drawn[:0], 3).shape == (0,)
