"""PSF and noise against the distributions of Stein et al. 2021."""

import numpy as np
import pytest
from scipy.stats import kstest, lognorm

from lvm_training.galaxies.survey import (
    NOISE_GRAIN,
    NOISE_SIGMA,
    PSF_SIGMA,
    PSF_SIGMA_LIMITS,
    SKY_BRIGHTNESS,
    Seeing,
    add_noise,
    draw_seeing,
    psf_profile,
)

SEEING = Seeing((2.4, 2.2, 2.0), (0.003, 0.004, 0.012))


@pytest.fixture(scope="module")
def drawn() -> tuple[np.ndarray, np.ndarray]:
    """PSF widths and noise of 1,500 stamps, (1500, 3) each."""
    seeings = [draw_seeing(np.random.default_rng((3, i))) for i in range(1500)]
    return np.array([s.psf for s in seeings]), np.array([s.noise for s in seeings])


@pytest.mark.parametrize("band", range(3))
def test_each_band_follows_its_published_distribution(drawn: tuple[np.ndarray, np.ndarray], band: int) -> None:
    for values, parameters in zip(drawn, (PSF_SIGMA, NOISE_SIGMA), strict=True):
        assert kstest(values[:, band], lognorm(*parameters[band]).cdf).pvalue > 0.01


def test_widths_stay_within_the_survey(drawn: tuple[np.ndarray, np.ndarray]) -> None:
    lowest, highest = PSF_SIGMA_LIMITS
    assert (drawn[0] >= lowest).all()
    assert (drawn[0] <= highest).all()


def test_bands_of_a_stamp_go_together(drawn: tuple[np.ndarray, np.ndarray]) -> None:
    for values in drawn:
        between = np.corrcoef(np.log(values).T)[np.triu_indices(3, 1)]
        assert (between > 0.45).all()
        assert (between < 0.75).all()


@pytest.mark.parametrize("sigma", [1.5, 2.4, 4.0])
def test_the_psf_has_the_stated_width(sigma: float) -> None:
    image = psf_profile(sigma).drawImage(nx=161, ny=161, scale=0.25, method="no_pixel").array
    ridge = image[80, 80:]
    half = np.interp(-ridge[0] / 2, -ridge, np.arange(len(ridge))) * 0.25
    assert 2 * half / 2.3548 == pytest.approx(sigma, rel=0.01)
    assert psf_profile(sigma).flux == pytest.approx(1)


def test_empty_sky_has_the_stated_noise_and_grain() -> None:
    noise = add_noise(np.zeros((3, 400, 400), np.float32), SEEING, np.random.default_rng(0))
    np.testing.assert_allclose(noise.std(axis=(1, 2)), SEEING.noise, rtol=0.01)
    np.testing.assert_allclose(noise.mean(axis=(1, 2)), 0, atol=1e-4)
    expected = 2 * NOISE_GRAIN / (1 + 2 * NOISE_GRAIN**2)
    for a, b in ((noise[1, :, 1:], noise[1, :, :-1]), (noise[1, 1:], noise[1, :-1])):
        assert np.corrcoef(a.ravel(), b.ravel())[0, 1] == pytest.approx(expected, abs=0.01)
    assert abs(np.corrcoef(noise[0].ravel(), noise[1].ravel())[0, 1]) < 0.02


def test_light_brings_photon_noise() -> None:
    sky = 10 ** (0.4 * (22.5 - SKY_BRIGHTNESS[0])) * 0.262**2
    image = np.zeros((3, 300, 300), np.float32)
    image[0] = 3 * sky
    noise = add_noise(image, SEEING, np.random.default_rng(1)) - image
    assert noise[0].std() == pytest.approx(2 * SEEING.noise[0], rel=0.02)
    assert noise[1].std() == pytest.approx(SEEING.noise[1], rel=0.02)
