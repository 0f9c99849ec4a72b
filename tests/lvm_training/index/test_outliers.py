"""How unusual galaxies are, against a naive twin, and on pools in which nothing is."""

import numpy as np
import pytest

from lvm_training.index import outliers
from lvm_training.index.outliers import Outliers


def pool(count: int = 300, width: int = 12, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, width)) * np.geomspace(0.1, 10, width) + 3


def naive(sample: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Mean distance of standardised rows to their ten nearest others, over the median of the sample's own."""
    scale = sample.std(axis=0)

    def apart(one: np.ndarray) -> float:
        near = np.sort(np.linalg.norm((sample - one) / scale, axis=1))
        return float(near[1:11].mean() if near[0] < 1e-6 else near[:10].mean())

    return np.array([apart(one) for one in rows]) / np.median([apart(one) for one in sample])


def test_scores_are_mean_distances_to_the_nearest_others() -> None:
    sample, others = pool(), pool(40, seed=1)
    found = Outliers.fit(sample)
    np.testing.assert_allclose(found.scores(sample), naive(sample, sample), rtol=1e-3)
    np.testing.assert_allclose(found.scores(others), naive(sample, others), rtol=1e-3)
    assert np.median(found.scores(sample)) == pytest.approx(1)
    ranks = [float((found.scores(sample) < one).mean()) for one in found.scores(others)]
    np.testing.assert_allclose(found.share_below(found.scores(others)), ranks, atol=0.01)


def test_blocks_and_seeds_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    sample = pool()
    expected = Outliers.fit(sample).scores(sample)
    monkeypatch.setattr(outliers, "CHUNK", 7)
    np.testing.assert_allclose(Outliers.fit(sample).scores(sample), expected, rtol=1e-5)
    monkeypatch.setattr(outliers, "REFERENCE", 200)
    first, again = (Outliers.fit(sample, seed=3).scores(sample) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert len(Outliers.fit(sample).sample) == 200
    assert np.corrcoef(first, expected)[0, 1] > 0.8


def test_a_stranger_is_first_and_two_of_the_same_picture_are_as_unusual_as_one() -> None:
    sample = pool()
    sample[[17, 90]] = sample.mean(axis=0) + 8 * sample.std(axis=0)
    scores = Outliers.fit(sample).scores(sample)
    assert set(np.argsort(-scores)[:2]) == {17, 90} and scores[17] == pytest.approx(scores[90]) and scores[17] > 2


def test_rows_that_are_not_finite_have_no_score_and_teach_nothing() -> None:
    sample = pool()
    broken = np.concatenate([sample, np.full((2, 12), np.nan), np.full((1, 12), np.inf)])
    scores = Outliers.fit(broken).scores(broken)
    assert np.isnan(scores[-3:]).all()
    np.testing.assert_allclose(scores[:-3], Outliers.fit(sample).scores(sample), rtol=1e-5)


@pytest.mark.parametrize("count", [0, 1, 2, 3, 10])
def test_a_small_pool_has_finite_scores(count: int) -> None:
    scores = Outliers.fit(pool(count)).scores(pool(count))
    assert scores.shape == (count,) and np.isfinite(scores).all()


def test_where_all_are_the_same_none_is_unusual() -> None:
    same = np.ones((30, 5), np.float16)
    found = Outliers.fit(same)
    assert (found.scores(same) == 0).all() and found.axes.shape == (5, 0)
    assert (found.share_below(found.scores(same)) == 0).all()


def test_distance_to_what_is_labelled() -> None:
    sample = pool()
    found, scale = Outliers.fit(sample), sample.std(axis=0)
    expected = np.linalg.norm((sample[:, None] - sample[:3]) / scale, axis=2)
    unit = np.median([np.sort(np.linalg.norm((sample - one) / scale, axis=1))[1:11].mean() for one in sample])
    np.testing.assert_allclose(found.distances(sample, sample[:3]), expected.min(axis=1) / unit, rtol=1e-3, atol=1e-3)
    assert np.isinf(found.distances(sample, sample[:0])).all()
    assert (
        found.nearest(sample[9], sample[:8]).tolist()
        == np.argsort(np.linalg.norm((sample[:8] - sample[9]) / scale, axis=1)).tolist()
    )
