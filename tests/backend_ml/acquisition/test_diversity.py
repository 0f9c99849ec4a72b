"""k-centre, typicality and marginal relevance against naive loops."""

import numpy as np
import pytest

from backend_ml.acquisition.diversity import k_centre, marginal_relevance, typicality


def naive_k_centre(features: np.ndarray, n: int, first: int) -> list[int]:
    """Distances to all chosen ones, each time anew."""
    chosen = [first]
    while len(chosen) < n:
        distances = [
            -1.0 if i in chosen else min(float(np.linalg.norm(row - features[j])) for j in chosen)
            for i, row in enumerate(features)
        ]
        chosen.append(int(np.argmax(distances)))
    return chosen


@pytest.mark.parametrize("seed", range(5))
def test_agrees_with_the_naive_loop(seed: int) -> None:
    features = np.random.default_rng(seed).normal(size=(40, 6)).astype(np.float32)
    order = k_centre(features, 12, seed=seed)
    assert list(order) == naive_k_centre(features, 12, int(order[0]))


def test_no_galaxy_twice_even_if_all_are_identical() -> None:
    order = k_centre(np.ones((9, 3), dtype=np.float32), 9, seed=0)
    assert sorted(order) == list(range(9))


def test_a_pool_smaller_than_asked_for_and_an_empty_one() -> None:
    assert len(k_centre(np.eye(3, dtype=np.float32), 10, seed=0)) == 3
    assert len(k_centre(np.empty((0, 3), dtype=np.float32), 10, seed=0)) == 0


def test_far_clusters_are_each_visited_before_any_twice() -> None:
    centres = np.eye(5, dtype=np.float32) * 100
    features = np.repeat(centres, 20, axis=0) + np.random.default_rng(0).normal(size=(100, 5)).astype(np.float32)
    assert {int(i) // 20 for i in k_centre(features, 5, seed=1)} == set(range(5))


def test_galaxies_given_before_are_kept_away_from() -> None:
    line = np.arange(11, dtype=np.float32)[:, None]
    assert list(k_centre(line, 2, seed=0, given=line[:1])) == [10, 5]
    none = line[:0]
    assert list(k_centre(line, 3, seed=4, given=none)) == list(k_centre(line, 3, seed=4))


def naive_typicality(features: np.ndarray, k: int) -> list[float]:
    """All distances of each row, sorted."""
    found = []
    for i, row in enumerate(features):
        distances = sorted(float(np.linalg.norm(row - other)) for j, other in enumerate(features) if j != i)
        found.append(1 / (sum(distances[:k]) / len(distances[:k])))
    return found


@pytest.mark.parametrize("k", [1, 5, 39, 60])
def test_typicality_agrees_with_the_naive_loop(k: int) -> None:
    features = np.random.default_rng(k).normal(size=(40, 6)).astype(np.float32)
    assert typicality(features, k) == pytest.approx(naive_typicality(features, k), rel=1e-5)


def test_typicality_in_chunks_and_among_some(monkeypatch: pytest.MonkeyPatch) -> None:
    features = np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32)
    whole, rows = typicality(features, 5), np.arange(0, 50, 3)
    monkeypatch.setattr("backend_ml.acquisition.diversity.CHUNK", 7)
    np.testing.assert_allclose(typicality(features, 5), whole, rtol=1e-6)
    some = typicality(features, 5, among=rows)
    inside = dict(zip(rows, naive_typicality(features[rows], 5), strict=True))
    assert some[rows] == pytest.approx([inside[row] for row in rows], rel=1e-5)
    nearest = sorted(float(np.linalg.norm(features[1] - features[row])) for row in rows)[:5]
    assert some[1] == pytest.approx(5 / sum(nearest), rel=1e-5)


def test_typicality_of_a_crowd_a_loner_twins_and_nobody() -> None:
    rng = np.random.default_rng(1)
    crowd = np.concatenate([rng.normal(size=(30, 3)) * 0.1, [[9.0, 9.0, 9.0]]]).astype(np.float32)
    assert typicality(crowd, 5).argmin() == 30
    assert list(typicality(np.ones((4, 3), np.float32), 20)) == [1e6] * 4
    assert list(typicality(np.ones((1, 3), np.float32))) == [0.0]
    assert typicality(np.empty((0, 3), np.float32)).shape == (0,)


def naive_relevance(worth: np.ndarray, features: np.ndarray, n: int, trade_off: float) -> list[int]:
    """Every cosine anew."""

    def cosine(a: np.ndarray, b: np.ndarray) -> float:
        return float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))

    chosen: list[int] = []
    while len(chosen) < n:
        value = {
            i: trade_off * worth[i]
            - (1 - trade_off) * max((cosine(features[i], features[j]) for j in chosen), default=0.0)
            for i in range(len(worth))
            if i not in chosen
        }
        chosen.append(max(value, key=lambda i: value[i]))
    return chosen


@pytest.mark.parametrize("trade_off", [0.0, 0.3, 0.7, 1.0])
def test_marginal_relevance_agrees_with_the_naive_loop(trade_off: float) -> None:
    rng = np.random.default_rng(3)
    worth, features = rng.random(30), rng.normal(size=(30, 5)).astype(np.float32)
    assert list(marginal_relevance(worth, features, 12, trade_off=trade_off)) == naive_relevance(
        worth, features, 12, trade_off
    )


def test_marginal_relevance_passes_over_twins_unless_worth_is_all() -> None:
    features = np.array([[1, 0], [1, 0], [0, 1]], dtype=np.float32)
    worth = np.array([1.0, 0.9, 0.5])
    assert list(marginal_relevance(worth, features, 3, trade_off=0.5)) == [0, 2, 1]
    assert list(marginal_relevance(worth, features, 3, trade_off=1.0)) == [0, 1, 2]


def test_marginal_relevance_of_identical_rows_of_zeros_and_of_nobody() -> None:
    assert sorted(marginal_relevance(np.zeros(5), np.zeros((5, 2), np.float32), 9)) == list(range(5))
    assert marginal_relevance(np.empty(0), np.empty((0, 2), np.float32), 3).shape == (0,)
