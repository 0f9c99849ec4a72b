"""How unsure a head, or an ensemble of heads, is of a galaxy."""

import numpy as np
from numpy.typing import NDArray
from scipy.special import entr


def margin(probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    """Margin uncertainty u = 1 - (p1 - p2) of the two most probable classes (Scheffer et al. 2001).

    Parameters
    ----------
    probabilities : ndarray (N, C), C >= 2

    Returns
    -------
    ndarray (N,) in [0, 1]; 1 where the two best classes tie.
    """
    best = np.partition(probabilities, -2, axis=1)[:, -2:]
    return np.asarray(1.0 - (best[:, 1] - best[:, 0]))


def entropy(probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    """Entropy H = -sum_c p_c ln p_c of each row, with 0 ln 0 = 0 (Shannon 1948, section 6).

    Parameters
    ----------
    probabilities : ndarray (..., C)

    Returns
    -------
    ndarray (...) in [0, ln C], nats.
    """
    return np.asarray(entr(probabilities).sum(axis=-1))


def bald(ensemble: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mutual information of label and head, H[mean_m p_m] - mean_m H[p_m] (BALD; Houlsby et al. 2011, eq. 2).

    Parameters
    ----------
    ensemble : ndarray (M, N, C)
        Probabilities from M heads that the labels allow equally.

    Returns
    -------
    ndarray (N,) in [0, ln min(M, C)], nats; 0 where all heads agree, however unsure each is.
    """
    return np.asarray(np.maximum(entropy(ensemble.mean(axis=0)) - entropy(ensemble).mean(axis=0), 0.0))
