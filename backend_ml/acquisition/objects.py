"""How unsure a detector is of a stamp: of one object, of how many there are, of an outline."""

from collections.abc import Sequence
from itertools import combinations

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


def mask_disagreement(masks: NDArray[np.bool_]) -> float:
    """1 - mean over pairs of intersection over union of one object's masks; 0 where all agree.

    Lakshminarayanan et al. 2017 measure an ensemble's disagreement; for masks it is the Jaccard distance (1901).

    Parameters
    ----------
    masks : ndarray of bool (M, H, W)
        From M detectors, or from one detector on M views turned back. Two empty masks agree; fewer than two give 0.
    """
    if len(masks) < 2:
        return 0.0
    flat = np.asarray(masks, dtype=bool).reshape(len(masks), -1)
    pairs = list(combinations(range(len(flat)), 2))
    shared = [np.count_nonzero(flat[a] & flat[b]) for a, b in pairs]
    either = [np.count_nonzero(flat[a] | flat[b]) for a, b in pairs]
    return float(1.0 - np.mean([one / all_ if all_ else 1.0 for one, all_ in zip(shared, either, strict=True)]))
