"""How unsure a detector is of a stamp by its scores: of one object, and of how many there are."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from backend_ml.acquisition.uncertainty import entropy


def box_margin(best: NDArray[np.float64]) -> NDArray[np.float64]:
    """Margin 1 - |2 p - 1| of the best box of the class looked for, `margin` of the two answers yes and no.

    Parameters
    ----------
    best : ndarray (N,)
        Score of each stamp's best box of that class; 0 where it has none.

    Returns
    -------
    ndarray (N,) in [0, 1]; 1 at a score of 0.5.
    """
    return np.asarray(1.0 - np.abs(2.0 * np.asarray(best, dtype=np.float64) - 1.0))


def count_distribution(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Probability of 0, 1, ..., K objects if each of K boxes is one with its score, independently (Poisson-binomial).

    P_j(k) = (1 - p_j) P_{j-1}(k) + p_j P_{j-1}(k - 1), P_0(0) = 1 (Wang 1993, Statistica Sinica 3, 295, section 2).

    Parameters
    ----------
    scores : ndarray (K,)
        In [0, 1].

    Returns
    -------
    ndarray (K + 1,)
    """
    counts = np.ones(1)
    for score in scores:
        counts = np.append(counts * (1 - score), 0.0) + np.append(0.0, counts * score)
    return counts


def count_entropy(scores: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Entropy, in nats, of the number of objects on each stamp, `count_distribution` of its boxes' scores.

    Parameters
    ----------
    scores : sequence of ndarray (K_i,)
        Scores of each stamp's boxes; none gives 0.

    Returns
    -------
    ndarray (N,)
    """
    return np.array([float(entropy(count_distribution(one))) for one in scores], dtype=np.float64)
