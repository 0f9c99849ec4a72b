"""Stars and galaxies around the target."""

import numpy as np
import pytest

from lvm_training.galaxies.neighbours import _add_galaxy, _add_point, add_neighbours


def test_neighbours_are_reproducible_and_positive() -> None:
    scenes = [np.zeros((3, 184, 184), np.float32) for _ in range(2)]
    for scene in scenes:
        add_neighbours(scene, np.random.default_rng(5))
    np.testing.assert_array_equal(*scenes)
    assert scenes[0].min() >= 0
    assert scenes[0].max() > 0


def test_the_target_is_left_free() -> None:
    for seed in range(60):
        scene = np.zeros((3, 184, 184), np.float32)
        add_neighbours(scene, np.random.default_rng(seed))
        # a star brighter than r = 19 on the centre would be the target
        assert scene[1, 88:96, 88:96].max() < 25


def test_crowding_brings_more_light() -> None:
    def lit(crowding: float) -> float:
        total = 0.0
        for seed in range(40):
            scene = np.zeros((3, 184, 184), np.float32)
            add_neighbours(scene, np.random.default_rng(seed), crowding=crowding)
            total += float((scene[1] > 1e-3).mean())
        return total

    assert lit(4) > 2 * lit(1)


def test_a_point_keeps_flux_and_centroid() -> None:
    scene = np.zeros((3, 20, 20), np.float32)
    _add_point(scene, 7.3, 11.8, np.array([1.0, 2.0, 4.0]))
    np.testing.assert_allclose(scene.sum(axis=(1, 2)), [1, 2, 4], rtol=1e-6)
    rows, columns = np.indices((20, 20))
    assert (scene[1] * columns).sum() / 2 == pytest.approx(7.3, abs=1e-5)
    assert (scene[1] * rows).sum() / 2 == pytest.approx(11.8, abs=1e-5)


@pytest.mark.parametrize("mag", [17.0, 20.0, 23.0])
def test_a_galaxy_has_its_flux(mag: float) -> None:
    scene = np.zeros((3, 300, 300), np.float32)
    _add_galaxy(scene, 150.2, 149.6, mag, np.array([1.0, 2.0, 3.0]), np.random.default_rng(1))
    np.testing.assert_allclose(scene.sum(axis=(1, 2)), [1, 2, 3], rtol=0.05)


def test_a_galaxy_over_the_edge_is_cut() -> None:
    scene = np.zeros((3, 60, 60), np.float32)
    _add_galaxy(scene, 0.0, 30.0, 18.0, np.ones(3), np.random.default_rng(1))
    assert 0.3 < scene[1].sum() < 0.75
