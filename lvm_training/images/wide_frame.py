"""An image of any size: its pixels with north roughly up, and the file's own pixels and sky behind each point."""

from dataclasses import dataclass
from itertools import product
from typing import Any, Literal

import numpy as np
from astropy.wcs import WCS
from numpy.typing import NDArray

Floats = NDArray[np.float64]

TURNS = [np.diag(signs)[:, order] for order in ([0, 1], [1, 0]) for signs in product((1, -1), repeat=2)]


def nearest_turn(axes: Floats) -> NDArray[np.int64]:
    """The quarter turn or mirror (2, 2) nearest to `axes` (2, 2), which turn a step (x, y) into (east, north)."""
    return max(TURNS, key=lambda turn: float((turn * axes).sum()))


def north_up(pixels: NDArray[Any], turn: NDArray[np.int64]) -> NDArray[Any]:
    """A view of `pixels` (..., H, W) with rows running north and columns west, given where their axes point."""
    back = _back(turn)
    if turn[0, 1]:
        pixels, back = pixels.swapaxes(-1, -2), back[::-1]
    return pixels[..., :: back[1, 1], :: back[0, 0]]


def _back(turn: NDArray[np.int64]) -> NDArray[np.int64]:
    """From a step (x, y) on the view north up, (west, north), to one on the stored image."""
    back: NDArray[np.int64] = turn.T @ np.diag([-1, 1])
    return back


@dataclass(frozen=True)
class WideFrame:
    """A FITS image or a picture of any size, turned by quarter turns and mirrors alone: north is up within 45 degrees.

    Attributes
    ----------
    pixels : ndarray (3, H, W) float32
        Bands g, r, z in nanomaggies per pixel, or R, G, B from 0 to 255 of a picture; row 0 in the south; NaN where
        nothing was measured.
    pixel_scale : float
        arcsec, in the image's centre; NaN where nobody says it.
    bands : str
        "grz", "rgb", or the filter of the one plane there is ("single" where it has no name).
    turn : ndarray (2, 2)
        Which way the stored axes (x, y) point, (east, north), to the nearest quarter turn.
    wcs : WCS or None
        The file's own, of the stored pixels.
    kind : RenderingKind
        What the pixels are.
    """

    pixels: NDArray[np.float32]
    pixel_scale: float
    bands: str
    turn: NDArray[np.int64]
    wcs: WCS | None
    kind: Literal["nanomaggies", "as-delivered"] = "nanomaggies"

    def to_file(self, points: Floats) -> Floats:
        """Columns and rows (N, 2) on the stored image of points (x, y) on `pixels`; both count from pixel edges."""
        here = np.array(self.pixels.shape[:0:-1]) / 2
        stored = here[::-1] if self.turn[0, 1] else here
        return stored + (points - here) @ _back(self.turn).T

    def to_sky(self, points: Floats) -> Floats:
        """Right ascension and declination (N, 2), degrees ICRS, by the file's own WCS; NaN without one."""
        if self.wcs is None or not len(points):
            return np.full((len(points), 2), np.nan)
        sky = self.wcs.pixel_to_world(*(self.to_file(points) - 0.5).T).icrs
        return np.stack([sky.ra.deg, sky.dec.deg], axis=1)
