"""How promising a galaxy is to someone who looks for more of a kind."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

CHUNK = 4096  # rows compared at a time
# share of an outlier's score that is left where people find nothing interesting, and what most interest adds to it
LEAST_FACTOR, FACTOR_RANGE = 0.1, 0.85

Array = NDArray[np.float64]


def expected_improvement(mean: Array, spread: Array, best: float, *, trade_off: float = 0.5) -> Array:
    """Expected improvement (mu - best - tau) Phi(z) + sigma phi(z), z = (mu - best - tau) / sigma.

    Mockus et al. 1978; with tau as in Protege (Lochner & Bassett 2024, arXiv:2411.04188).

    Parameters
    ----------
    mean, spread : ndarray (N,)
        mu and sigma of the predicted score; where sigma is 0 the improvement is max(mu - best - tau, 0).
    best : float
        The best score so far.
    trade_off : float
        tau: 0 exploits, large values explore.

    Returns
    -------
    ndarray (N,), at least 0, in units of the score.
    """
    gain = np.asarray(mean, dtype=np.float64) - best - trade_off
    sure = spread <= 0
    z = gain / np.where(sure, 1.0, spread)
    density = np.exp(-0.5 * z**2) / np.sqrt(2 * np.pi)
    return np.asarray(np.maximum(np.where(sure, gain, gain * ndtr(z) + spread * density), 0.0))


def weighted(anomaly: Array, interest: Array, apart: Array, *, alpha: float = 1.0) -> Array:
    """Astronomaly's score S tanh(delta - 1 + arctanh(0.1 + 0.85 u)), delta = exp(alpha d / d0).

    Lochner & Bassett 2021, section 2.4: near labelled galaxies the anomaly score is scaled by what people said of
    them, far from all labels it stays as it is.

    Parameters
    ----------
    anomaly : ndarray (N,)
        S, the score from features alone, at least 0.
    interest : ndarray (N,)
        u, the user's score as a regression predicts it, over the most there is; clipped to 0 to 1.
    apart : ndarray (N,)
        d / d0: distance to the nearest labelled galaxy, over the mean of that.
    alpha : float
        How fast labels lose their influence.
    """
    factor = LEAST_FACTOR + FACTOR_RANGE * np.clip(interest, 0.0, 1.0)
    # tanh is 1 long before the exponential overflows
    delta = np.exp(np.minimum(alpha * apart, 50.0))
    return np.asarray(anomaly * np.tanh(delta - 1 + np.arctanh(factor)))


def similarity(
    features: NDArray[np.float32],
    positives: NDArray[np.float32],
    negatives: NDArray[np.float32],
    *,
    reduce: Literal["max", "mean"] = "max",
) -> Array:
    """Cosine similarity to the positives minus that to the negatives: reduce_p cos(x, p) - reduce_n cos(x, n).

    With "max" the nearest example counts: what people look for may be of several kinds, and the mean of two kinds is
    neither. "mean" is Rocchio's query (1971), steadier where all positives are of one kind. The features' mean should
    be taken off first, since a vision model's features share a large one that makes all cosines alike.

    Parameters
    ----------
    features, positives, negatives : ndarray (N, D), (P, D), (Q, D)
        P or Q may be 0, and that term is then 0. A vector of zeros has similarity 0 to everything.

    Returns
    -------
    ndarray (N,) in [-2, 2].
    """
    return _cosines(features, positives, reduce) - _cosines(features, negatives, reduce)


def unit_rows(features: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rows divided by their length, float32; rows of zeros stay."""
    rows = np.asarray(features, dtype=np.float32)
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.where(length > 0, length, 1.0), dtype=np.float32)


def _cosines(features: NDArray[np.float32], examples: NDArray[np.float32], reduce: Literal["max", "mean"]) -> Array:
    found = np.zeros(len(features))
    if not len(examples):
        return found
    units = unit_rows(examples)
    if reduce == "mean":
        units = units.mean(axis=0, keepdims=True)
    for start in range(0, len(features), CHUNK):
        part = slice(start, start + CHUNK)
        found[part] = (unit_rows(features[part]) @ units.T).max(axis=1)
    return found
