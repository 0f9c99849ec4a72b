"""Expected improvement, similarity and Astronomaly's score against naive loops."""

from statistics import NormalDist

import numpy as np
import pytest
from scipy.integrate import quad

from backend_ml.acquisition.interest import expected_improvement, similarity


@pytest.mark.parametrize("trade_off", [0.0, 0.5])
def test_expected_improvement_is_the_mean_of_the_gain(trade_off: float) -> None:
    """Against the integral of max(score - best - tau, 0) over the normal distribution."""
    mean, spread, best = np.array([0.2, 0.9, -1.0, 2.0]), np.array([0.5, 0.1, 1.0, 0.3]), 0.6
    found = expected_improvement(mean, spread, best, trade_off=trade_off)
    for value, mu, sigma in zip(found, mean, spread, strict=True):
        density = NormalDist(mu, sigma).pdf
        least = best + trade_off
        gain = quad(lambda y, d=density, a=least: (y - a) * d(y), least, mu + 12 * sigma + 2)[0]
        assert value == pytest.approx(gain, abs=1e-8)


def test_expected_improvement_of_a_certainty() -> None:
    found = expected_improvement(np.array([0.4, 1.5]), np.zeros(2), 1.0, trade_off=0.2)
    assert found == pytest.approx([0.0, 0.3])
    assert expected_improvement(np.empty(0), np.empty(0), 1.0).shape == (0,)


def naive_similarity(row: np.ndarray, positives: np.ndarray, negatives: np.ndarray, reduce: str) -> float:
    """One cosine at a time."""

    def term(examples: np.ndarray) -> float:
        cosines = [float(row @ one / (np.linalg.norm(row) * np.linalg.norm(one))) for one in examples]
        if not cosines:
            return 0.0
        return max(cosines) if reduce == "max" else sum(cosines) / len(cosines)

    return term(positives) - term(negatives)


@pytest.mark.parametrize("reduce", ["max", "mean"])
@pytest.mark.parametrize(("liked", "others"), [(3, 4), (1, 0), (0, 2), (0, 0)])
def test_similarity_agrees_with_the_naive_loop(
    reduce: str, liked: int, others: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backend_ml.acquisition.interest.CHUNK", 6)
    rng = np.random.default_rng(0)
    rows, yes, no = (rng.normal(size=(n, 5)).astype(np.float32) for n in (20, liked, others))
    found = similarity(rows, yes, no, reduce=reduce)  # type: ignore[arg-type]
    assert found == pytest.approx([naive_similarity(row, yes, no, reduce) for row in rows], abs=1e-6)


def test_the_nearest_example_finds_two_kinds_where_their_mean_finds_neither() -> None:
    kinds = np.array([[1, 0, 0], [0, 1, 0]], dtype=np.float32)
    between = np.array([[1, 1, 0.5]], dtype=np.float32)
    pool, nothing = np.concatenate([kinds, between]), kinds[:0]
    assert similarity(pool, kinds, nothing).argmax() != 2
    assert similarity(pool, kinds, nothing, reduce="mean").argmax() == 2


def test_rows_of_zeros_are_like_nothing() -> None:
    zeros, one = np.zeros((2, 3), np.float32), np.ones((1, 3), np.float32)
    assert list(similarity(zeros, one, zeros[:0])) == [0.0, 0.0]
    assert similarity(zeros[:0], one, one).shape == (0,)
