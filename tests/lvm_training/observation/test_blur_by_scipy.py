"""Blur and PSF on stamps of any shape, by scipy and by symmetry."""

import numpy as np
import pytest
import torch
from scipy.ndimage import fourier_gaussian

from lvm_training.observation.degrade import blurred
from lvm_training.observation.exposure import behind_psf


@pytest.mark.parametrize("shape", [(33, 47), (32, 32), (20, 64)])
@pytest.mark.parametrize("sigma", [0.8, 1.5, 3.0])
def test_blur_is_scipys_on_stamps_of_any_shape(shape: tuple[int, int], sigma: float) -> None:
    bands = torch.rand(2, 3, *shape, generator=torch.Generator().manual_seed(0))
    widths = torch.tensor([[sigma, 0.0, sigma / 2], [0.0, sigma, sigma]])
    found = blurred(bands, widths).numpy()
    for stamp, band in np.ndindex(2, 3):
        transform = np.fft.fft2(bands[stamp, band].double().numpy())
        wanted = np.fft.ifft2(fourier_gaussian(transform, float(widths[stamp, band]))).real
        np.testing.assert_allclose(found[stamp, band], wanted, atol=1e-5)
    np.testing.assert_allclose(found.sum((2, 3)), bands.sum((2, 3)), rtol=1e-4)


@pytest.mark.parametrize("turn", [1, 2, 3])
def test_the_psf_is_round_and_bands_do_not_mix(turn: int) -> None:
    bands = torch.zeros(1, 3, 48, 48)
    bands[0, 1, 20, 30], bands[0, 2, 25, 22] = 5.0, 2.0
    sigma = torch.tensor([[1.0, 1.5, 2.5]])
    seen = behind_psf(bands, sigma)
    torch.testing.assert_close(
        behind_psf(torch.rot90(bands, turn, (2, 3)), sigma), torch.rot90(seen, turn, (2, 3)), atol=1e-5, rtol=1e-4
    )
    assert (seen[:, 0] == 0).all()
    np.testing.assert_allclose(seen.sum((2, 3)), bands.sum((2, 3)), rtol=1e-3)
