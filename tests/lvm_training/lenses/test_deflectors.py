"""Galaxies measured on stamps: noise, shape and profile of light that is known."""

import numpy as np
import pytest

from lvm_training.lenses.deflectors import find_deflector, sky_noise
from lvm_training.lenses.lens_stamps import GALAXY_SIGNIFICANCE
from tests.lvm_training.lenses.bright_galaxies import NOISE, SIDE, galaxy, noisy


def test_noise_is_that_of_the_sky_between_galaxies_and_gaps() -> None:
    bands = np.stack([noisy(np.zeros((200, 200)), seed) for seed in range(3)])
    bands[1] *= 3
    bands[:, 90:110, 90:110] += 5
    bands[2, :20] = np.nan
    np.testing.assert_allclose(sky_noise(bands), [NOISE, 3 * NOISE, NOISE], rtol=0.05)
    bands[0] = np.nan
    assert np.isnan(sky_noise(bands)).tolist() == [True, False, False]
    assert sky_noise(np.ones((3, 8, 8), np.float32)).tolist() == [0, 0, 0]


@pytest.mark.parametrize(("axis_ratio", "angle"), [(0.5, 0.6), (0.7, 2.5), (0.4, 1.57)])
def test_shape_and_light_are_those_drawn(axis_ratio: float, angle: float) -> None:
    light = galaxy(axis_ratio, angle)
    found = find_deflector(noisy(light), NOISE)
    assert found is not None
    assert found.axis_ratio == pytest.approx(axis_ratio, abs=0.08) and found.angle == pytest.approx(angle, abs=0.08)
    mask, expected = found.light > GALAXY_SIGNIFICANCE * NOISE, light > GALAXY_SIGNIFICANCE * NOISE
    assert (mask & expected).sum() / (mask | expected).sum() > 0.85
    # the cusp is finer than the annuli
    bright = (light > 0.1) & (light < 0.6)
    np.testing.assert_allclose(found.light[bright], light[bright], atol=0.08)


def test_neighbours_and_gaps_hardly_change_a_galaxy() -> None:
    alone, crowded = noisy(galaxy()), noisy(galaxy())
    crowded[2:14, 2:14] += 1
    crowded[30:34, 50:] = np.nan
    first, second = find_deflector(alone, NOISE), find_deflector(crowded, NOISE)
    assert first is not None and second is not None
    assert second.axis_ratio == pytest.approx(first.axis_ratio, abs=0.02)
    assert not second.light[~np.isfinite(crowded)].any() and second.light[5:10, 5:10].max() < 0.05
    known = np.isfinite(crowded)
    np.testing.assert_allclose(second.light[known], first.light[known], atol=0.03)


def test_no_galaxy_in_the_middle_is_none() -> None:
    assert find_deflector(noisy(np.zeros((SIDE, SIDE))), NOISE) is None
    aside = np.zeros((SIDE, SIDE))
    aside[:10, :10] = 1
    assert find_deflector(noisy(aside), NOISE) is None
    assert find_deflector(np.full((SIDE, SIDE), np.nan, np.float32), NOISE) is None
