"""k-centre against a naive loop."""

import numpy as np
import pytest

from backend_ml.acquisition.diversity import k_centre


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
