"""Which galaxies differ most from each other."""

import numpy as np
from numpy.typing import NDArray


def k_centre(features: NDArray[np.float32], n: int, *, seed: int) -> NDArray[np.int64]:
    """Greedy k-centre order: each next galaxy is the farthest from all chosen ones (Sener & Savarese 2018, Alg. 1).

    Parameters
    ----------
    features : ndarray (N, D)
    n : int
        How many to choose, at most N.
    seed : int
        Draws the first galaxy.

    Returns
    -------
    ndarray (min(n, N),) of row numbers, in order of choice.
    """
    count = min(n, len(features))
    if count == 0:
        return np.empty(0, dtype=np.int64)
    squared = np.einsum("nd,nd->n", features, features)
    chosen = np.empty(count, dtype=np.int64)
    chosen[0] = np.random.default_rng(seed).integers(len(features))
    distance = np.full(len(features), np.inf)
    for i in range(1, count):
        latest = chosen[i - 1]
        to_latest = squared + squared[latest] - 2 * (features @ features[latest])
        distance = np.minimum(distance, to_latest)
        distance[latest] = -np.inf
        chosen[i] = int(np.argmax(distance))
    return chosen
