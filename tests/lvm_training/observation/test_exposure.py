"""PSF and noise against direct sums and the distributions that they come from."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from lvm_training.galaxies.survey import NOISE_SIGMA_LIMITS, PSF_SIGMA_LIMITS
from lvm_training.observation.exposure import NARROWEST_PSF, SKY, behind_psf, draw_noise, draw_psf, noisy
from lvm_training.stamps.stampset import LEGACY_PIXEL_SCALE

SIZE = 64


def blob(x: float, y: float, width: float = 3.0) -> torch.Tensor:
    place = torch.arange(SIZE, dtype=torch.float32)
    light = torch.exp(-((place[None, :] - x) ** 2 + (place[:, None] - y) ** 2) / (2 * width**2))
    return light[None, None]


@settings(max_examples=15, deadline=None)
@given(sigma=st.floats(0.8, 3.0), x=st.floats(24, 40), y=st.floats(24, 40))
def test_the_psf_is_two_gaussians(sigma: float, x: float, y: float) -> None:
    light = blob(x, y)
    seen = behind_psf(light, torch.tensor([[sigma]]))[0, 0].numpy()
    core, wings = (gaussian_filter(light[0, 0].numpy(), width, truncate=8) for width in (sigma, 2 * sigma))
    np.testing.assert_allclose(seen, 0.8 * core + 0.2 * wings, atol=2e-3)


def test_each_band_of_each_stamp_has_its_own_psf() -> None:
    light = blob(30, 33).expand(2, 3, SIZE, SIZE)
    sigma = torch.tensor([[1.0, 2.0, 3.0], [3.0, 2.0, 1.0]])
    together = behind_psf(light, sigma)
    for stamp in range(2):
        for band in range(3):
            alone = behind_psf(light[:1, :1], sigma[stamp, band].reshape(1, 1))[0, 0]
            torch.testing.assert_close(together[stamp, band], alone, rtol=0, atol=1e-5)


def test_a_flat_sky_stays_flat() -> None:
    flat = behind_psf(torch.ones(1, 1, SIZE, SIZE), torch.tensor([[2.0]]))
    torch.testing.assert_close(flat, torch.ones_like(flat), rtol=0, atol=1e-5)


@pytest.mark.parametrize("pixel", [0.1, LEGACY_PIXEL_SCALE, 0.6])
def test_a_psf_is_as_wide_on_the_sky_whatever_the_grid(pixel: float) -> None:
    on_sky = draw_psf(500, LEGACY_PIXEL_SCALE, np.random.default_rng(0)) * LEGACY_PIXEL_SCALE
    here = draw_psf(500, pixel, np.random.default_rng(0)) * pixel
    resolved = here > NARROWEST_PSF * pixel * 1.001
    np.testing.assert_allclose(here[resolved], torch.clamp(on_sky, min=0)[resolved], rtol=1e-5)
    assert here.min() >= NARROWEST_PSF * pixel * 0.999
    widest = max(PSF_SIGMA_LIMITS[1]) * LEGACY_PIXEL_SCALE
    assert here.max() < widest * np.exp(5 * 0.25)


def test_noise_lies_within_the_depths_asked_for() -> None:
    deep, shallow = (
        draw_noise(400, LEGACY_PIXEL_SCALE, np.random.default_rng(1), depth=(one, one)) for one in (-1.0, 1.0)
    )
    np.testing.assert_allclose((shallow / deep).numpy(), np.exp(2), rtol=1e-5)
    low, high = NOISE_SIGMA_LIMITS
    plain = draw_noise(400, LEGACY_PIXEL_SCALE, np.random.default_rng(1), depth=(0.0, 0.0))
    assert plain.min() >= low * 0.999 and (plain <= torch.tensor(high) * 1.001).all()


def test_noise_grows_with_the_light_as_photons_do() -> None:
    sky = torch.from_numpy(SKY)
    level = torch.tensor([0.0, 1.0, 8.0])  # light over the sky's, by stamp
    image = (level[:, None] * sky)[..., None, None].expand(3, 3, 128, 128)
    noise = torch.tensor([0.01, 0.02, 0.05]).expand(3, 3)
    seen = noisy(image, noise, np.random.default_rng(2))
    spread = (seen - image).std((2, 3))
    # 16,384 pixels: the spread is known to half a percent
    np.testing.assert_allclose(spread.numpy(), (noise * torch.sqrt(1 + level)[:, None]).numpy(), rtol=0.03)
    torch.testing.assert_close(seen.mean((2, 3)), image.mean((2, 3)), rtol=0, atol=0.003)


def test_the_psf_keeps_flux_and_lets_nothing_in_from_the_other_side() -> None:
    point = torch.zeros(1, 3, 64, 64)
    point[:, :, 32, 32] = 1
    seen = behind_psf(point, torch.full((1, 3), 1.5))
    torch.testing.assert_close(seen.sum((2, 3)), torch.ones(1, 3), rtol=1e-3, atol=0)
    edge = torch.zeros(1, 3, 64, 64)
    edge[:, :, :, 1] = 1
    assert behind_psf(edge, torch.full((1, 3), 1.5))[..., -8:].max() < 1e-4


def test_noise_has_the_variance_of_sky_and_photons() -> None:
    flat = torch.full((4000, 3, 4, 4), 0.5)
    noise = draw_noise(4000, LEGACY_PIXEL_SCALE, np.random.default_rng(0))
    grain = (noisy(flat, noise, np.random.default_rng(1)) - flat).flatten(2)
    dark = noisy(flat * 0, noise, np.random.default_rng(1)).flatten(2)
    measured = (grain.var(2).mean(0) / dark.var(2).mean(0)).numpy()
    np.testing.assert_allclose(measured, 1 + 0.5 / SKY, rtol=0.02)


def test_no_psf_rings_on_the_pictures_grid() -> None:
    """Around a star the light falls outwards, up to six thousandths of its peak; half as narrow a PSF does not pass."""

    def largest_rise(sigma: float) -> float:
        star = torch.zeros(1, 3, 64, 64)
        star[..., 31, 33] = 1
        seen = behind_psf(star, torch.full((1, 3), sigma))[0, 0, 31, 33:43]
        return float(seen.diff().max() / seen[0])

    assert largest_rise(NARROWEST_PSF) < 0.006 < largest_rise(NARROWEST_PSF / 2)
