"""The features of a pool in two dimensions, to browse."""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from backend_ml.explore.rounds import finite_rows
from lvm_training.pool.features import Features

MOST_POINTS = 4000  # that a browser draws and a person tells apart
SEED = 0


def shown_rows(pool: Features, marked: list[int]) -> NDArray[np.int64]:
    """The stamps on the map: all of a small pool, of a larger one some drawn ones and all `marked` ones."""
    rows = np.flatnonzero(finite_rows(pool))
    if len(rows) > MOST_POINTS:
        drawn = np.random.default_rng(SEED).choice(rows, MOST_POINTS, replace=False)
        rows = np.union1d(drawn, np.intersect1d(rows, np.array(marked, dtype=np.int64)))
    return rows


def coordinates(pool: Features, rows: NDArray[np.int64]) -> NDArray[np.float64]:
    """Positions of some rows on the map, shape (n, 2), each axis from 0 to 1 over the rows it was fitted on."""
    if not len(rows):
        return np.empty((0, 2))
    centre, axes, low, high = _plane(pool)
    plane = (np.asarray(pool.matrix[rows], dtype=np.float64) - centre) @ axes
    return np.asarray(np.clip((plane - low) / np.where(high > low, high - low, 1), 0, 1))


@lru_cache(maxsize=8)
def _plane(pool: Features) -> tuple[NDArray[np.float64], ...]:
    """Mean, the two directions of most variance (principal components), and the range along each."""
    sample = np.asarray(pool.matrix[shown_rows(pool, [])], dtype=np.float64)
    centre = sample.mean(axis=0)
    axes = np.linalg.svd(sample - centre, full_matrices=False)[2][:2].T
    if axes.shape[1] < 2:
        axes = np.pad(axes, ((0, 0), (0, 2 - axes.shape[1])))
    plane = (sample - centre) @ axes
    return centre, axes, np.percentile(plane, 0.5, axis=0), np.percentile(plane, 99.5, axis=0)
