"""Degraded stamps: blur and noise of the survey's worse half."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from scipy.stats import lognorm

from lvm_training.galaxies.survey import NOISE_SIGMA, PSF_SIGMA
from lvm_training.observation import degrade as module
from lvm_training.observation.degrade import Degradation, apply_degradation, degrade, draw_degradation


def test_blur_is_a_gaussian_convolution() -> None:
    rng = np.random.default_rng(0)
    bands = rng.random((2, 3, 24, 24), dtype=np.float32)
    sigma = torch.tensor([[0.0, 1.5, 2.0], [1.7, 2.5, 0.0]])
    blurred = module.blurred(torch.from_numpy(bands), sigma).numpy()
    for stamp in range(2):
        for band in range(3):
            width = float(sigma[stamp, band])
            expected = (
                gaussian_filter(bands[stamp, band], width, mode="wrap", truncate=8) if width else bands[stamp, band]
            )
            np.testing.assert_allclose(blurred[stamp, band], expected, atol=1e-3)


@pytest.mark.parametrize("pixel_scale", [0.262, 0.524])
def test_noise_is_what_the_median_survey_lacks(pixel_scale: float) -> None:
    """Half of the stamps get noise, with the variance that draws of the published log-normals lack."""
    degraded = degrade(torch.zeros(400, 3, 16, 16), np.random.default_rng(1), pixel_scale=pixel_scale)
    spread = degraded.std(dim=(2, 3)).numpy()
    assert (spread > 0).mean(axis=0) == pytest.approx([0.5, 0.5, 0.5], abs=0.08)
    rng = np.random.default_rng(2)
    for band, (shape, loc, scale) in enumerate(NOISE_SIGMA):
        drawn = loc + scale * np.exp(shape * rng.standard_normal(100_000))
        lacking = np.maximum(0, drawn**2 - (loc + scale) ** 2).mean() * (0.262 / pixel_scale) ** 2
        assert (spread[:, band] ** 2).mean() == pytest.approx(lacking, rel=0.25)


def test_light_is_conserved_and_only_spread() -> None:
    bands = torch.zeros(200, 3, 33, 33)
    bands[:, :, 16, 16] = 1000.0
    degraded = degrade(bands, np.random.default_rng(3), pixel_scale=0.262)
    assert degraded.sum(dim=(2, 3)).numpy() == pytest.approx(1000, rel=5e-3)
    blurred = (degraded[:, :, 16, 16] < 990).float().mean(dim=0).numpy()
    assert blurred == pytest.approx([0.5, 0.5, 0.5], abs=0.12)


def test_the_same_draws_for_the_same_generator() -> None:
    bands = torch.rand(4, 3, 16, 16)
    first, again = (degrade(bands, np.random.default_rng(9), pixel_scale=0.39) for _ in range(2))
    assert torch.equal(first, again)
    assert not torch.equal(first, bands)


def test_degrade_is_a_drawn_degradation_applied() -> None:
    """The draws come in the order they always had: blur, noise, grain."""
    bands = torch.rand(5, 3, 12, 16, generator=torch.Generator().manual_seed(1))
    rng, excess = np.random.default_rng(11), []
    for distributions in (PSF_SIGMA, NOISE_SIGMA):
        shape, loc, scale = np.array(distributions).T
        drawn = lognorm.rvs(shape, loc, scale, size=(5, 3), random_state=rng)
        excess.append(torch.from_numpy(np.sqrt(np.maximum(0, drawn**2 - (loc + scale) ** 2)) * (0.262 / 0.39)).float())
    grain = torch.from_numpy(rng.standard_normal((5, 3, 12, 16), dtype=np.float32))
    expected = module.blurred(bands, excess[0]) + grain * excess[1][:, :, None, None]

    again = np.random.default_rng(11)
    degradation = draw_degradation(5, again, pixel_scale=0.39)
    assert torch.equal(degradation.blur, excess[0])
    assert torch.equal(degradation.noise, excess[1])
    assert torch.equal(apply_degradation(bands, degradation, again), expected)
    assert torch.equal(degrade(bands, np.random.default_rng(11), pixel_scale=0.39), expected)


def test_degraded_pixels_are_those_of_the_first_release() -> None:
    rng = np.random.default_rng(4)
    bands = torch.from_numpy(rng.random((3, 3, 12, 16), dtype=np.float32))
    for pixel_scale, pixels, light in (
        (0.262, [0.68059802, 0.53197050, 0.15297966, 0.66834265], 867.97115),
        (0.39, [0.70415688, 0.53225714, 0.15246621, 0.66935062], 867.91983),
    ):
        degraded = degrade(bands, np.random.default_rng(11), pixel_scale=pixel_scale)
        assert degraded.flatten()[[0, 100, 700, 1500]].tolist() == pytest.approx(pixels, abs=1e-5)
        assert float(degraded.double().sum()) == pytest.approx(light, abs=1e-3)


def test_no_blur_and_no_noise_leave_a_stamp_alone() -> None:
    bands = torch.rand(2, 3, 16, 16)
    degradation = Degradation(torch.zeros(2, 3), torch.tensor([[0.0, 0.0, 0.0], [0.0, 0.2, 0.0]]))
    degraded = apply_degradation(bands, degradation, np.random.default_rng(0))
    changed = (degraded - bands).std(dim=(2, 3))
    assert changed[1, 1].item() == pytest.approx(0.2, rel=0.2)
    changed[1, 1] = 0
    assert changed.max() < 1e-6
