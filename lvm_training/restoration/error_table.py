"""How far restored pixels lie from the truth: read off simulated stamps by brightness and by how views disagree.

No formula of the error is assumed. Pixels are sorted by two numbers that are known without the truth, both in units of
the noise of a pixel: the restored light, and its spread over the views. In each cell the error that 68 pixels in a
hundred do not exceed is the error of one standard deviation.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

LIGHT = np.array([1, 2, 4, 8, 16, 32, 64, 128, 256])  # of the noise of a pixel
SPREAD = np.array([0.1, 0.3, 1, 3])
ONE_SIGMA = 0.6827
FEWEST = 150  # pixels that a cell is read from


@dataclass(frozen=True)
class ErrorTable:
    """Errors over the noise of a pixel.

    Attributes
    ----------
    errors : ndarray (len(LIGHT) + 1, len(SPREAD) + 1)
    """

    errors: Floats

    @classmethod
    def fit(cls, error: Floats, light: Floats, spread: Floats, noise: Floats) -> Self:
        """The table of restored pixels whose error is known; arrays of one shape, in one unit.

        Cells with few pixels take the error of their neighbours of the same light, else of the nearest light.
        """
        cells, off = _cells(light, spread, noise), np.abs(error / noise)
        found = np.full((len(LIGHT) + 1) * (len(SPREAD) + 1), np.nan)
        for cell in np.unique(cells):
            inside = off[cells == cell]
            if inside.size >= FEWEST:
                found[cell] = np.quantile(inside, ONE_SIGMA)
        table = found.reshape(len(LIGHT) + 1, len(SPREAD) + 1)
        return cls(_filled(np.stack([_filled(row) for row in table]).T).T.astype(np.float32))

    def sigma(self, light: Floats, spread: Floats, noise: Floats) -> Floats:
        """The error of one standard deviation of restored pixels, in their unit."""
        return np.asarray(self.errors.ravel()[_cells(light, spread, noise)] * noise, dtype=np.float32)


def _cells(light: Floats, spread: Floats, noise: Floats) -> NDArray[np.int64]:
    return np.digitize(light / noise, LIGHT) * (len(SPREAD) + 1) + np.digitize(spread / noise, SPREAD)


def _filled(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Missing values along the last axis by those beside them; what has none at all stays missing."""
    rows = np.atleast_2d(values).copy()
    places = np.arange(rows.shape[1])
    for row in rows:
        known = np.isfinite(row)
        if known.any():
            row[:] = np.interp(places, places[known], row[known])
    return rows.reshape(values.shape)
