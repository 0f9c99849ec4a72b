"""Stamps as a worse night or a shallower part of the survey would show them."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import lognorm

from lvm_training.galaxies.survey import NOISE_SIGMA, PSF_SIGMA
from lvm_training.observation.maps import CPU, on_device, standard_normal
from lvm_training.stamps.stampset import LEGACY_PIXEL_SCALE

Distributions = tuple[tuple[float, float, float], ...]


@dataclass(frozen=True)
class Degradation:
    """What `apply_degradation` does to N stamps.

    Attributes
    ----------
    blur : Tensor (N, 3)
        Sigma of the Gaussian that g, r, z are convolved with, pixels; 0 for none.
    noise : Tensor (N, 3)
        Standard deviation of the white noise added, nanomaggies per 0.262 arcsec pixel; 0 for none.
    """

    blur: torch.Tensor
    noise: torch.Tensor


def degrade(bands: torch.Tensor, rng: np.random.Generator, *, pixel_scale: float) -> torch.Tensor:
    """Bands blurred and made noisier, shape (N, 3, S, S), by a degradation drawn for each stamp.

    Parameters
    ----------
    bands : Tensor (N, 3, S, S)
        g, r, z in nanomaggies per 0.262 arcsec pixel, as `render.surface_brightness` gives them.
    rng : Generator
        What is drawn from.
    pixel_scale : float
        Arcsec per pixel of `bands`; blur and noise are the same on the sky whatever the grid.
    """
    drawn = draw_degradation(len(bands), rng, pixel_scale=pixel_scale, device=bands.device)
    return apply_degradation(bands, drawn, rng)


def draw_degradation(
    count: int, rng: np.random.Generator, *, pixel_scale: float, device: torch.device = CPU
) -> Degradation:
    """Blur and noise of `count` stamps on a grid of `pixel_scale` arcsec.

    Each stamp and band gets a final PSF and noise from the survey's distributions; what is added in quadrature is
    their excess over the survey's median, so about half of them are blurred and half get more noise
    (Stein et al. 2021, augmentations "gb" and "gn", with the median in place of each stamp's own PSF and noise).
    """
    scale = LEGACY_PIXEL_SCALE / pixel_scale
    blur = _excess(rng, count, PSF_SIGMA) * scale
    # a pixel that covers a larger piece of sky averages the noise away
    noise = _excess(rng, count, NOISE_SIGMA) * scale
    return Degradation(on_device(blur.astype(np.float32), device), on_device(noise.astype(np.float32), device))


def apply_degradation(bands: torch.Tensor, degradation: Degradation, rng: np.random.Generator) -> torch.Tensor:
    """Bands (N, 3, S, S) blurred, with noise drawn from `rng`."""
    grain = standard_normal(bands.shape, rng, bands.device)
    return blurred(bands, degradation.blur) + grain * degradation.noise[:, :, None, None]


def _excess(rng: np.random.Generator, count: int, distributions: Distributions) -> NDArray[np.float64]:
    """sqrt(max(0, drawn^2 - median^2)) per stamp and band, shape (count, 3)."""
    shape, loc, scale = np.array(distributions).T
    drawn = lognorm.rvs(shape, loc, scale, size=(count, 3), random_state=rng)
    excess: NDArray[np.float64] = np.sqrt(np.maximum(0.0, drawn**2 - (loc + scale) ** 2))
    return excess


def blurred(bands: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
    """Convolution with a Gaussian of `sigma` (N, 3) pixels, by its transfer function exp(-2 pi^2 sigma^2 f^2)."""
    height, width = bands.shape[2:]
    spread = -2 * np.pi**2 * sigma[:, :, None] ** 2
    rows = torch.exp(spread * torch.fft.fftfreq(height, device=bands.device) ** 2)[..., :, None]
    columns = torch.exp(spread * torch.fft.rfftfreq(width, device=bands.device) ** 2)[..., None, :]
    blurred: torch.Tensor = torch.fft.irfft2(torch.fft.rfft2(bands) * rows * columns, s=(height, width))
    return blurred
