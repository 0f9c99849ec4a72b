"""What else lies on a stamp: foreground stars and background galaxies, drawn before the PSF."""

import numpy as np
from numpy.typing import NDArray

from lvm_training.galaxies.spectra import galaxy_fluxes, nanomaggies, stellar_fluxes
from lvm_training.stamps.stampset import LEGACY_PIXEL_SCALE

# Counts per square arcmin, the brightest and faintest magnitude, and the slope d log N / dm. Slopes are
# those of galaxy counts and of stars at high galactic latitude, densities such that stamps look as full as DR9 cutouts
_GALAXY_COUNTS = (9.0, 17.0, 23.4, 0.36)
_STAR_COUNTS = (2.2, 14.5, 22.5, 0.18)
_CLEAR_RADIUS = 1.5  # arcsec; a brighter source on the centre would be the target itself


def add_neighbours(scene: NDArray[np.float32], rng: np.random.Generator, *, crowding: float = 1.0) -> None:
    """Add stars and galaxies to a noiseless scene (3, S, S) in nanomaggies per pixel, in place.

    `crowding` multiplies the number of background galaxies: above 1 in groups and clusters.
    """
    side = scene.shape[1]
    count, *limits = _GALAXY_COUNTS
    mags, places = _sources(rng, _STAR_COUNTS, side)
    fluxes = nanomaggies(mags)[:, None] * stellar_fluxes(_sequence(mags, rng))
    for (x, y), flux in zip(places, fluxes, strict=True):
        _add_point(scene, x, y, flux)
    mags, places = _sources(rng, (count * crowding, *limits), side)
    redshifts = np.clip(rng.normal(0.1 * (mags - 17), 0.15), 0.05, 0.75)
    kinds = np.where(rng.random(len(mags)) < 0.35, rng.uniform(0, 0.3, len(mags)), rng.uniform(0.4, 1.3, len(mags)))
    fluxes = nanomaggies(mags)[:, None] * galaxy_fluxes(kinds, redshifts)
    for mag, (x, y), flux in zip(mags, places, fluxes, strict=True):
        _add_galaxy(scene, x, y, mag, flux, rng)


def _sources(
    rng: np.random.Generator, counts: tuple[float, ...], side: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Magnitudes (n,) and pixel positions (n, 2) of sources anywhere but on the target."""
    density, brightest, faintest, slope = counts
    number = rng.poisson(density * (side * LEGACY_PIXEL_SCALE / 60) ** 2)
    mags = faintest + np.log10(1 - rng.random(number)) / slope
    places = rng.uniform(0, side - 1, (number, 2))
    distances = np.hypot(*(places - (side - 1) / 2).T) * LEGACY_PIXEL_SCALE
    kept = (mags > brightest) & (distances > _CLEAR_RADIUS)
    return mags[kept], places[kept]


def _sequence(mags: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """Places on the main sequence: dwarfs of the disc in faint samples, hotter stars in bright ones."""
    reddest = np.clip(0.55 + 0.1 * (mags - 16.5), 0.35, 1)
    return np.asarray(reddest * rng.beta(1.6, 1.1, len(mags)))


def _add_point(scene: NDArray[np.float32], x: float, y: float, flux: NDArray[np.float64]) -> None:
    """A point source between four pixels: bilinear shares keep its flux and its centroid."""
    column, row = int(x), int(y)
    right, up = x - column, y - row
    shares = np.outer([1 - up, up], [1 - right, right])
    scene[:, row : row + 2, column : column + 2] += (flux[:, None, None] * shares).astype(np.float32)


def _add_galaxy(
    scene: NDArray[np.float32], x: float, y: float, mag: float, flux: NDArray[np.float64], rng: np.random.Generator
) -> None:
    """An exponential profile of half-light radius 0.5 arcsec at r = 23, larger when brighter."""
    radius = 0.5 * 10 ** (0.13 * (23 - mag) + rng.normal(0, 0.15)) / LEGACY_PIXEL_SCALE
    scale, axis_ratio, angle = radius / 1.678, rng.uniform(0.25, 1), rng.uniform(0, np.pi)
    reach = int(np.ceil(7 * scale)) + 1
    column, row, side = round(x), round(y), scene.shape[1]
    steps = np.arange(-reach, reach + 1)
    u, v = steps[None, :] + (column - x), steps[:, None] + (row - y)
    along, across = u * np.cos(angle) + v * np.sin(angle), (v * np.cos(angle) - u * np.sin(angle)) / axis_ratio
    light = np.exp(-np.sqrt(along**2 + across**2 + 0.09) / scale)
    light /= light.sum()
    left, right, low, high = max(0, column - reach), column + reach + 1, max(0, row - reach), row + reach + 1
    part = light[low - row + reach :, left - column + reach :]
    part = part[: min(side, high) - low, : min(side, right) - left]
    scene[:, low:high, left:right] += (flux[:, None, None] * part).astype(np.float32)
