"""Which galaxies differ most from each other, and which stand for many."""

import numpy as np
from numpy.typing import NDArray

from backend_ml.acquisition.interest import unit_rows

CHUNK = 1024  # rows compared at a time
LEAST_DISTANCE = 1e-6


def k_centre(
    features: NDArray[np.float32], n: int, *, seed: int, given: NDArray[np.float32] | None = None
) -> NDArray[np.int64]:
    """Greedy k-centre order: each next galaxy is the farthest from all chosen ones (Sener & Savarese 2018, Alg. 1).

    Parameters
    ----------
    features : ndarray (N, D)
    n : int
        How many to choose, at most N.
    seed : int
        Draws the first galaxy.
    given : ndarray (L, D), optional
        Galaxies chosen before; the first new one is then the farthest from them, and nothing is drawn.

    Returns
    -------
    ndarray (min(n, N),) of row numbers, in order of choice.
    """
    count = min(n, len(features))
    if count == 0:
        return np.empty(0, dtype=np.int64)
    squared = np.einsum("nd,nd->n", features, features)
    chosen = np.empty(count, dtype=np.int64)
    distance = np.full(len(features), np.inf)
    for centre in () if given is None else given:
        distance = np.minimum(distance, squared + centre @ centre - 2 * (features @ centre))
    drawn = given is None or not len(given)
    chosen[0] = np.random.default_rng(seed).integers(len(features)) if drawn else int(np.argmax(distance))
    for i in range(1, count):
        latest = chosen[i - 1]
        to_latest = squared + squared[latest] - 2 * (features @ features[latest])
        distance = np.minimum(distance, to_latest)
        distance[latest] = -np.inf
        chosen[i] = int(np.argmax(distance))
    return chosen


def typicality(
    features: NDArray[np.float32], k: int = 20, *, among: NDArray[np.int64] | None = None
) -> NDArray[np.float64]:
    """Typicality (1/k sum over the k nearest of |x - x_j|)^-1: high where many are alike (Hacohen et al. 2022, eq. 4).

    Parameters
    ----------
    features : ndarray (N, D)
    k : int
        Neighbours, fewer where there are fewer.
    among : ndarray of int, optional
        Rows that may be neighbours, all by default; the time is N times their number.

    Returns
    -------
    ndarray (N,), at most 1e6, which identical galaxies have; 0 where there is no neighbour.
    """
    rows = np.asarray(features, dtype=np.float32)
    places = np.arange(len(rows)) if among is None else np.asarray(among, dtype=np.int64)
    others = rows[places]
    squared = np.einsum("nd,nd->n", others, others)
    found = np.zeros(len(rows))
    for start in range(0, len(rows), CHUNK):
        part = rows[start : start + CHUNK]
        # without the row's own square, which changes no order
        near = squared - 2 * (part @ others.T)
        own = places[None] == np.arange(start, start + len(part))[:, None]
        near[own] = np.inf
        found[start : start + len(part)] = _closeness(part, others, near, ~own, k)
    return found


def _closeness(
    rows: NDArray[np.float32],
    others: NDArray[np.float32],
    near: NDArray[np.float32],
    allowed: NDArray[np.bool_],
    k: int,
) -> NDArray[np.float64]:
    """Inverse mean distance of each row to those of its `k` nearest that are allowed."""
    count = min(k, near.shape[1])
    if count == 0:
        return np.zeros(len(rows))
    nearest = np.argpartition(near, count - 1, axis=1)[:, :count]
    counts = np.take_along_axis(allowed, nearest, axis=1)
    # differences rather than dot products: neighbours may be almost equal
    distance = np.stack(
        [np.linalg.norm(rows - others[nearest[:, place]], axis=1).astype(np.float64) for place in range(count)], axis=1
    )
    number = counts.sum(axis=1)
    mean = (distance * counts).sum(axis=1) / np.maximum(number, 1)
    return np.where(number > 0, 1 / np.maximum(mean, LEAST_DISTANCE), 0.0)


def marginal_relevance(
    worth: NDArray[np.float64], features: NDArray[np.float32], n: int, *, trade_off: float = 0.7
) -> NDArray[np.int64]:
    """Maximal marginal relevance: each next galaxy has the largest l w_i - (1 - l) max_{j chosen} cos(x_i, x_j).

    Carbonell & Goldstein 1998, section 2; for the first one the maximum is 0.

    Parameters
    ----------
    worth : ndarray (N,)
        w, on the scale of a cosine: 0 to 1.
    features : ndarray (N, D)
    n : int
        How many to choose, at most N.
    trade_off : float
        l: 1 ranks by worth alone, 0 by diversity alone.

    Returns
    -------
    ndarray (min(n, N),) of row numbers, in order of choice.
    """
    count = min(n, len(worth))
    chosen = np.empty(count, dtype=np.int64)
    units = unit_rows(features)
    left = np.ones(len(worth), dtype=bool)
    likeness = np.zeros(len(worth))
    for i in range(count):
        value = trade_off * worth - (1 - trade_off) * likeness
        chosen[i] = int(np.argmax(np.where(left, value, -np.inf)))
        left[chosen[i]] = False
        to_latest = units @ units[chosen[i]]
        likeness = to_latest if i == 0 else np.maximum(likeness, to_latest)
    return chosen
