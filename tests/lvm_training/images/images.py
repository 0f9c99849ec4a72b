"""FITS images for tests: written in small, with the headers that surveys and cameras write."""

from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS
from numpy.typing import NDArray

SIDE = 24


def sky_header(shape: tuple[int, int] = (SIDE, SIDE), scale: float = 0.262) -> fits.Header:
    """A tangent WCS, north up, around 150, 2.2."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval = [150.0, 2.2]
    wcs.wcs.crpix = [(shape[1] + 1) / 2, (shape[0] + 1) / 2]
    wcs.wcs.cdelt = [-scale / 3600, scale / 3600]
    return wcs.to_header()


def write(path: Path, data: NDArray[Any] | None, head: fits.Header | None = None, **cards: object) -> Path:
    """A FITS file of one image with further cards."""
    path.parent.mkdir(parents=True, exist_ok=True)
    hdu = fits.PrimaryHDU(data, head)
    for key, value in cards.items():
        hdu.header[key] = value
    hdu.writeto(path, overwrite=True)
    return path


def planes(count: int = 3, side: int = SIDE, seed: int = 0) -> NDArray[np.float32]:
    """Planes of fluxes, each a galaxy of its own brightness on sky that scatters around zero."""
    rows, columns = np.mgrid[:side, :side] - (side - 1) / 2
    light = np.exp(-(rows**2 + columns**2) / (side / 2))
    noise = np.random.default_rng(seed).normal(0, 0.01, (count, side, side))
    made: NDArray[np.float32] = (light * (1 + np.arange(count))[:, None, None] + noise).astype(np.float32)
    return made


def camera(side: int = SIDE, dtype: Any = np.uint16, white: int = 40_000) -> NDArray[Any]:
    """Red, green and blue of a red galaxy, as a camera counts."""
    light = np.clip(planes(1, side)[0], 0, 1)
    counts: NDArray[Any] = (light * np.array([1.0, 0.5, 0.25])[:, None, None] * white).astype(dtype)
    return counts
