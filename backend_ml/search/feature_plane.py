"""The features of a pool in two dimensions, to browse."""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from lvm_training.pool.feature_map import feature_map
from lvm_training.pool.features import Features

MOST_POINTS = 4000  # that a browser draws and a person tells apart
SEED = 0


def shown_rows(pool: Features, labelled: list[int]) -> NDArray[np.int64]:
    """The stamps on the map: all of a small pool, of a larger one some drawn ones and all `labelled` ones."""
    rows = np.flatnonzero(pool.finite)
    if len(rows) > MOST_POINTS:
        drawn = np.random.default_rng(SEED).choice(rows, MOST_POINTS, replace=False)
        rows = np.union1d(drawn, np.intersect1d(rows, np.array(labelled, dtype=np.int64)))
    return rows


def coordinates(pool: Features, rows: NDArray[np.int64]) -> NDArray[np.float64]:
    """Positions of some rows on the map, shape (n, 2), from 0 to 1; NaN where features are not finite."""
    return (_points(pool)[rows] + 1) / 2


@lru_cache(maxsize=4)
def _points(pool: Features) -> NDArray[np.float64]:
    """The map of a whole pool, shape (N, 2)."""
    finite = pool.finite
    points = np.full((len(finite), 2), np.nan)
    if finite.any():
        points[finite] = feature_map(pool.matrix if finite.all() else pool.matrix[finite]).points
    return points
