"""Galaxies on given stamps, measured well enough to let them lens: sky noise, shape, and light without noise."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, label

from lvm_training.lenses.lens_stamps import GALAXY_SIGNIFICANCE

Floats = NDArray[np.float64]

SPREAD_PER_MAD = 1.4826  # standard deviation of a Gaussian over its median absolute deviation
SMOOTHING = 1.0  # pixels
BRIGHT = 5.0  # S/N of the smoothed r light that shapes are measured on
SHARE = 0.1  # of the light in the middle, the least for shapes: where arcs lie rather than far out
FEWEST_BRIGHT = 9  # pixels of a galaxy that can be measured
WIDEST = 0.25  # radius of what shapes are measured on, over the side of the stamp


class Deflector(NamedTuple):
    """The galaxy in the middle of a stamp.

    Attributes
    ----------
    axis_ratio, angle : float
        Minor over major axis, and direction of the major axis from x towards y (down), radians; of what the PSF left.
    light : ndarray (S, S)
        Its r light by its elliptical profile, without noise and neighbours, in the stamp's units.
    """

    axis_ratio: float
    angle: float
    light: Floats


def sky_noise(bands: NDArray[np.float32]) -> Floats:
    """Standard deviation of the sky in each band of a stamp (3, H, W), by the MAD of its finite pixels; NaN without."""
    spreads = []
    for band in bands:
        known = band[np.isfinite(band)].astype(float)
        spreads.append(SPREAD_PER_MAD * np.median(np.abs(known - np.median(known))) if known.size else np.nan)
    return np.array(spreads)


def find_deflector(band: NDArray[np.float32], noise: float) -> Deflector | None:
    """The galaxy in the middle of a stamp (S, S) in r; None if nothing there stands out of the sky.

    Axis ratio and angle are of the second moments of the bright pixels connected to the middle. The light is the median
    of each elliptical annulus a pixel wide, which neighbours hardly change, falling outwards, and 0 from where it is
    below `GALAXY_SIGNIFICANCE` times the noise.
    """
    known = np.isfinite(band)
    filled = np.where(known, band, 0).astype(float)
    core = _core(gaussian_filter(filled, SMOOTHING), noise)
    if core.sum() < FEWEST_BRIGHT:
        return None
    axis_ratio, angle, middle = _shape(filled.clip(min=0) * core)
    y, x = np.indices(band.shape) - middle[::-1, None, None]
    along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    radius = np.hypot(along * np.sqrt(axis_ratio), across / np.sqrt(axis_ratio))
    rings = radius.round().astype(int)
    inside = [band[known & (rings == ring)] for ring in range(rings.max() + 1)]
    profile = np.minimum.accumulate([float(np.median(values)) if values.size else np.inf for values in inside])
    profile[~np.isfinite(profile) | (profile < GALAXY_SIGNIFICANCE * noise)] = 0
    return Deflector(axis_ratio, angle, np.interp(radius, np.arange(len(profile)), profile, right=0.0) * known)


def _core(smooth: Floats, noise: float) -> NDArray[np.bool_]:
    """The bright pixels that hang together with the four in the middle, not farther out than `WIDEST`."""
    # smoothing by a Gaussian divides the noise of independent pixels by 2 sqrt(pi) sigma
    faintest, half = BRIGHT * noise / (2 * np.sqrt(np.pi) * SMOOTHING), len(smooth) // 2
    middle = np.s_[half - 1 : half + 1, half - 1 : half + 1]
    pieces, _ = label(smooth > max(faintest, SHARE * smooth[middle].max()))
    number = int(pieces[middle].max())
    distance = np.hypot(*(np.indices(smooth.shape) - (len(smooth) - 1) / 2))
    core: NDArray[np.bool_] = (pieces == number) & (number > 0) & (distance <= WIDEST * len(smooth))
    return core


def _shape(light: Floats) -> tuple[float, float, Floats]:
    """Axis ratio and angle of light (S, S) by its second moments, and its middle (x, y) in pixels."""
    y, x = np.indices(light.shape)
    places = np.stack([x.ravel(), y.ravel()])
    middle = np.average(places, axis=1, weights=light.ravel())
    (short, long), directions = np.linalg.eigh(np.cov(places, aweights=light.ravel(), ddof=0))
    angle = np.arctan2(directions[1, 1], directions[0, 1]) % np.pi
    return float(np.sqrt(max(short, 0.01 * long) / long)), float(angle), middle
