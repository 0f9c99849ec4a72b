"""The DESI Legacy Imaging Surveys as a camera: pixel grid, PSF and noise as Stein et al. 2021 measured them."""

from dataclasses import dataclass

import galsim
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import convolve1d

from lvm_training.stamps.stampset import LEGACY_PIXEL_SCALE

STAMP_SIZE = 152  # pixels; the cutouts of Stein et al. 2021

# log-normal (shape, loc, scale) for g, r, z and largest values: Stein et al. 2021, augmentations of their code
PSF_SIGMA = ((0.2110, 1.0807, 1.3153), (0.3008, 1.2394, 0.9165), (0.3471, 1.1928, 0.8234))
PSF_SIGMA_LIMITS = (1.2, (5.0, 4.5, 4.25))
NOISE_SIGMA = ((0.2265, -0.00067, 0.00376), (0.2431, -0.00237, 0.00674), (0.1335, -0.01434, 0.02608))
NOISE_SIGMA_LIMITS = (0.001, (0.013, 0.018, 0.061))

# One telescope sees all bands of a field and one tiling sets their exposures; the per-band draws above leave the
# correlation between bands open.
BAND_CORRELATION = 0.6

# Nominal dark sky of the DECam observing scripts in g, r, z, AB mag per square arcsec
SKY_BRIGHTNESS = (22.04, 20.91, 18.46)

# Wings of a ground-based PSF; Trujillo et al. 2001 find 2.5 to 4.8
MOFFAT_BETA = 3.5

# Weight of the neighbours in the three-tap kernel that gives coadd noise its grain: lag-one correlation 0.25, measured
# on sky of DR9 cutouts, where Lanczos resampling puts it
NOISE_GRAIN = 0.13

FWHM_PER_SIGMA = float(2 * np.sqrt(2 * np.log(2)))


@dataclass(frozen=True)
class Seeing:
    """PSF width and sky noise of one stamp.

    Attributes
    ----------
    psf : tuple of float
        Gaussian-equivalent PSF sigma in g, r, z, pixels: FWHM / 2.355.
    noise : tuple of float
        Standard deviation of the sky in g, r, z, nanomaggies per pixel.
    """

    psf: tuple[float, float, float]
    noise: tuple[float, float, float]


def draw_seeing(rng: np.random.Generator) -> Seeing:
    """PSF and noise of one stamp from the distributions of Stein et al. 2021, rounded to what a catalogue holds."""
    psf = draw_bands(rng, PSF_SIGMA, PSF_SIGMA_LIMITS)[0].round(3)
    noise = draw_bands(rng, NOISE_SIGMA, NOISE_SIGMA_LIMITS)[0].round(5)
    return Seeing((psf[0], psf[1], psf[2]), (noise[0], noise[1], noise[2]))


def draw_bands(
    rng: np.random.Generator,
    distributions: tuple[tuple[float, float, float], ...],
    limits: tuple[float, tuple[float, float, float]],
    n: int = 1,
) -> NDArray[np.float64]:
    """PSF widths or noise of `n` stamps, shape (n, 3), from one of the distributions above, in their units.

    A Gaussian copula ties the bands, so that each keeps its own published distribution.
    """
    shared, own = rng.standard_normal((n, 1)), rng.standard_normal((n, 3))
    latent = np.sqrt(BAND_CORRELATION) * shared + np.sqrt(1 - BAND_CORRELATION) * own
    shape, loc, scale = np.array(distributions).T
    return np.asarray((loc + scale * np.exp(shape * latent)).clip(limits[0], limits[1]))


def psf_profile(sigma: float) -> galsim.GSObject:
    """The PSF, pixel included: a Moffat profile of unit flux whose FWHM is 2.355 `sigma`; sizes in pixels."""
    return galsim.Moffat(beta=MOFFAT_BETA, fwhm=FWHM_PER_SIGMA * sigma)


def add_noise(image: NDArray[np.float32], seeing: Seeing, rng: np.random.Generator) -> NDArray[np.float32]:
    """Sky and photon noise added to a noiseless stamp.

    Parameters
    ----------
    image : ndarray (3, H, W)
        Noiseless g, r, z, nanomaggies per pixel.

    Notes
    -----
    Variance = noise^2 (1 + image / sky), sky the flux of the dark sky in a pixel, since both are counted photons.
    Neighbouring pixels correlate as on resampled coadds; the standard deviation per pixel stays the stated one.
    """
    sky = 10 ** (0.4 * (22.5 - np.array(SKY_BRIGHTNESS, dtype=np.float32))) * LEGACY_PIXEL_SCALE**2
    grain = rng.standard_normal(image.shape, dtype=np.float32)
    kernel = np.array([NOISE_GRAIN, 1, NOISE_GRAIN]) / np.sqrt(1 + 2 * NOISE_GRAIN**2)
    for axis in (1, 2):
        grain = convolve1d(grain, kernel, axis=axis, mode="wrap")
    scale = np.array(seeing.noise, dtype=np.float32)[:, None, None]
    spread = scale * np.sqrt(1 + np.maximum(image, 0) / sky[:, None, None].astype(np.float32))
    noisy: NDArray[np.float32] = image + spread * grain
    return noisy.astype(np.float32)
