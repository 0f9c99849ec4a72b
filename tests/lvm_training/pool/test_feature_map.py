"""Maps of a pool: the naive axes, the same map twice, and pools that have nothing to show."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lvm_training.pool import feature_map as module
from lvm_training.pool.feature_map import FeatureMapError, feature_map
from lvm_training.pool.features import FeaturesError
from tests.lvm_training.pool.shard_files import cloud, write_shard


def naive(matrix: Any) -> np.ndarray[Any, Any]:
    """The two leading eigenvectors of the covariance, signs by their largest entry, framed into [-1, 1]."""
    values = np.asarray(matrix, dtype=np.float64)
    offsets = values - values.mean(axis=0)
    _, vectors = np.linalg.eigh(offsets.T @ offsets)
    signed = [axis * np.sign(axis[np.abs(axis).argmax()]) for axis in (vectors[:, -1], vectors[:, -2])]
    points = [offsets @ axis for axis in signed]
    spans = [one.max() - one.min() for one in points]
    return np.stack([2 * (one - (one.max() + one.min()) / 2) / max(spans) for one in points], axis=1)


def test_the_map_is_that_of_the_covariance(tmp_path: Path) -> None:
    shard = write_shard(tmp_path, cloud(300))
    found = feature_map(shard.matrix)
    assert found.method == "pca" and found.rows.tolist() == list(range(300))
    np.testing.assert_allclose(found.points, naive(shard.matrix), atol=1e-3)
    offsets = np.asarray(shard.matrix, np.float64) - np.asarray(shard.matrix, np.float64).mean(axis=0)
    variances = np.linalg.eigvalsh(offsets.T @ offsets)
    assert found.explained == pytest.approx(variances[-2:].sum() / variances.sum(), abs=1e-3)
    assert np.abs(found.points).max() == pytest.approx(1)


def test_large_pools_are_fitted_on_a_sample_and_projected_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    values = cloud(500)
    whole = feature_map(values).points
    monkeypatch.setattr(module, "CHUNK", 7)
    np.testing.assert_allclose(feature_map(values).points, whole, atol=1e-9)
    monkeypatch.setattr(module, "FITTED_ROWS", 200)
    sampled = feature_map(values, seed=1)
    assert len(sampled.points) == 500
    assert min(np.corrcoef(sampled.points[:, axis], whole[:, axis])[0, 1] for axis in (0, 1)) > 0.95
    np.testing.assert_array_equal(sampled.points, feature_map(values, seed=1).points)


def test_turning_features_round_does_not_turn_the_map_of_their_axes() -> None:
    values = np.zeros((50, 8), np.float32)
    values[:, 3], values[:, 5] = np.linspace(-4, 4, 50), np.cos(np.arange(50))
    points = feature_map(values).points
    assert (np.diff(points[:, 0]) > 0).all() and points[0, 1] > points[3, 1]


def test_neighbours_stay_neighbours_in_t_sne() -> None:
    rng = np.random.default_rng(0)
    kinds = np.arange(90) % 3
    values = (10 * rng.normal(size=(3, 16)))[kinds] + 0.5 * rng.normal(size=(90, 16))
    found = feature_map(values, method="t-sne")
    assert found.method == "t-sne" and found.points.shape == (90, 2) and np.abs(found.points).max() <= 1 + 1e-9
    distances = np.linalg.norm(found.points[:, None] - found.points, axis=2) + np.diag([np.inf] * 90)
    assert (kinds[distances.argmin(axis=1)] == kinds).mean() > 0.95
    np.testing.assert_array_equal(found.points, feature_map(values, method="t-sne").points)


def test_t_sne_shows_a_sample_of_a_large_pool(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TSNE_ROWS", 40)
    found = feature_map(cloud(200), method="t-sne", seed=2)
    assert len(found.rows) == len(set(found.rows.tolist())) == len(found.points) == 40
    assert (np.diff(found.rows) > 0).all()


@pytest.mark.parametrize("method", ["pca", "t-sne"])
@pytest.mark.parametrize("rows", [1, 2, 3, 4, 5, 6])
def test_small_pools(rows: int, method: Any) -> None:
    found = feature_map(cloud(rows), method=method)
    assert found.points.shape == (rows, 2) and np.isfinite(found.points).all()
    assert found.method == ("pca" if rows < 5 else method)
    if rows == 2:
        assert sorted(found.points[:, 0]) == pytest.approx([-1, 1]) and found.points[:, 1].tolist() == [0, 0]


@pytest.mark.parametrize("method", ["pca", "t-sne"])
@pytest.mark.parametrize("value", [0.0, 0.3, 1234.567])
def test_identical_features_lie_at_one_place(value: float, method: Any) -> None:
    found = feature_map(np.full((40, 16), value, np.float16), method=method)
    assert found.explained == 0 and not found.points.any()


@pytest.mark.parametrize("method", ["pca", "t-sne"])
def test_twins_and_constant_features(method: Any) -> None:
    values = np.repeat(cloud(10), 4, axis=0)
    values[:, 3] = 7
    found = feature_map(values, method=method)
    assert np.isfinite(found.points).all() and np.ptp(found.points, axis=0).max() == pytest.approx(2)


@pytest.mark.parametrize("broken", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("method", ["pca", "t-sne"])
def test_features_that_are_not_finite_are_named(broken: float, method: Any) -> None:
    values = cloud(30)
    values[17, 2] = broken
    with pytest.raises(FeaturesError, match=r"1 of 30 rows .* 17"):
        feature_map(values, method=method)


def test_no_rows_and_unknown_maps_are_refused() -> None:
    with pytest.raises(FeaturesError, match="no rows"):
        feature_map(np.empty((0, 16), np.float16))
    unknown: Any = "umap"
    with pytest.raises(FeatureMapError, match="umap"):
        feature_map(cloud(5), method=unknown)
