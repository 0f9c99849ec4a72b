"""What the tests import: pictures, cutouts, and an HDF5 file as J. Stein's project has it."""

from pathlib import Path

import h5py
import numpy as np
from astropy.io import fits
from astropy.wcs import WCS
from numpy.typing import NDArray
from PIL import Image


def noise(side: int, seed: int = 0) -> NDArray[np.uint8]:
    """A picture (side, side, 3)."""
    return np.random.default_rng(seed).integers(0, 256, (side, side, 3)).astype(np.uint8)


def pictures(folder: Path, count: int = 5, side: int = 16) -> Path:
    """A folder of `count` PNG files."""
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(count):
        Image.fromarray(noise(side, index)).save(folder / f"g{index}.png")
    return folder


def cutout(path: Path, seed: int = 0, side: int = 16, scale: float | None = 0.262) -> Path:
    """A g, r, z FITS cutout."""
    path.parent.mkdir(parents=True, exist_ok=True)
    header = fits.Header()
    if scale is not None:
        wcs = WCS(naxis=2)
        wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
        wcs.wcs.crval = [10.0 + seed, 5.0]
        wcs.wcs.crpix = [(side + 1) / 2] * 2
        wcs.wcs.cdelt = [-scale / 3600, scale / 3600]
        header = wcs.to_header()
    pixels = np.random.default_rng(seed).normal(size=(3, side, side)).astype(np.float32)
    fits.PrimaryHDU(pixels, header).writeto(path)
    return path


def stein(path: Path, count: int = 150, side: int = 12) -> NDArray[np.float32]:
    """A Stein chunk with catalogue columns; its pixels are given back."""
    images = np.random.default_rng(1).normal(size=(count, 3, side, side)).astype(np.float32)
    with h5py.File(path, "w") as file:
        file["images"] = images
        file["ra"] = np.linspace(0, 359, count)
        file["flux"] = np.arange(count)[:, None] * np.arange(1, 4, dtype=np.float32)
        file["inds"] = np.arange(count, dtype=np.int64) + 2**60
        file["source_type"] = np.array([b"SER", b"DEV", b"PSF"])[np.arange(count) % 3]
    return images
