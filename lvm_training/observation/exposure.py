"""PSF and noise of batches of stamps on a picture's grid: what the camera makes of noiseless bands."""

import numpy as np
import torch
import torch.nn.functional as F

from lvm_training.galaxies.survey import (
    NOISE_SIGMA,
    NOISE_SIGMA_LIMITS,
    PSF_SIGMA,
    PSF_SIGMA_LIMITS,
    SKY_BRIGHTNESS,
    draw_bands,
)
from lvm_training.observation.maps import CPU, on_device, standard_normal
from lvm_training.stamps.stampset import LEGACY_PIXEL_SCALE

NARROWEST_PSF = 0.7  # pixels; what is narrower rings on the picture's grid
SKY = 10 ** (0.4 * (22.5 - np.array(SKY_BRIGHTNESS, dtype=np.float32))) * LEGACY_PIXEL_SCALE**2


def draw_psf(
    n: int, pixel: float, rng: np.random.Generator, device: torch.device = CPU, *, seeing: float = 1.0
) -> torch.Tensor:
    """PSF sigma (n, 3), pixels of `pixel` arcsec: the survey's times `seeing`, a quarter wider or narrower."""
    wider = seeing * np.exp(rng.normal(0, 0.25, (n, 1)))
    sigma = wider * draw_bands(rng, PSF_SIGMA, PSF_SIGMA_LIMITS, n) * LEGACY_PIXEL_SCALE / pixel
    return on_device(sigma.clip(NARROWEST_PSF).astype(np.float32), device)


def behind_psf(bands: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
    """Bands (N, C, S, S) behind a PSF of `sigma` (N, C) pixels: two Gaussians, a fifth of the light in one twice wider.

    The bands are padded by their edge, so that no light comes in from the other side.
    """
    size, pad = bands.shape[-1], bands.shape[-1] // 8
    padded = F.pad(bands, (pad, pad, pad, pad), mode="replicate")
    side = size + 2 * pad
    rows, columns = (axis(side, device=bands.device) for axis in (torch.fft.fftfreq, torch.fft.rfftfreq))
    squares = rows[:, None] ** 2 + columns[None, :] ** 2
    core = torch.exp(-2 * np.pi**2 * sigma[:, :, None, None] ** 2 * squares)
    transfer = 0.8 * core + 0.2 * core**4
    seen: torch.Tensor = torch.fft.irfft2(torch.fft.rfft2(padded) * transfer, s=(side, side))
    return seen[:, :, pad : pad + size, pad : pad + size].clamp(min=0)


def draw_noise(
    n: int,
    pixel: float,
    rng: np.random.Generator,
    depth: tuple[float, float] = (-2.0, 1.0),
    device: torch.device = CPU,
) -> torch.Tensor:
    """Standard deviation (n, 3) of the sky of `n` stamps: the survey's times a factor whose logarithm is in `depth`."""
    deeper = np.exp(rng.uniform(*depth, (n, 1)))
    sigma = deeper * draw_bands(rng, NOISE_SIGMA, NOISE_SIGMA_LIMITS, n) * LEGACY_PIXEL_SCALE / pixel
    return on_device(sigma.astype(np.float32), device)


def noisy(noiseless: torch.Tensor, noise: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """Sky and photon noise added to bands (N, 3, S, S): variance = noise^2 (1 + image / sky), noise (N, 3)."""
    sky = on_device(SKY, noiseless.device)[None, :, None, None]
    spread = noise[:, :, None, None] * torch.sqrt(1 + noiseless / sky)
    grain = standard_normal(noiseless.shape, rng, noiseless.device)
    return noiseless + spread * grain
