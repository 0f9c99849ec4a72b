"""Degraded stamps: blur and noise of the survey's worse half."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from lvm_training.stamps import degrade as module
from lvm_training.stamps.degrade import degrade
from lvm_training.stamps.survey import NOISE_SIGMA


def test_blur_is_a_gaussian_convolution() -> None:
    rng = np.random.default_rng(0)
    bands = rng.random((2, 3, 24, 24), dtype=np.float32)
    sigma = torch.tensor([[0.0, 1.5, 2.0], [1.7, 2.5, 0.0]])
    blurred = module._blurred(torch.from_numpy(bands), sigma).numpy()
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
