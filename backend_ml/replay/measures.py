"""How good a ranking of a pool is to someone who looks for one class, and how sure a mean over seeds is."""

import numpy as np
from numpy.typing import NDArray

BOOTSTRAPS = 2000

Array = NDArray[np.float64]


def search_measures(scores: Array, wanted: NDArray[np.bool_], top: int = 100) -> dict[str, float]:
    """Measures of a ranking of N galaxies by descending score; ties keep their order.

    `precision_at_100`, the share of the wanted among the best `top`; `recall_at_100`, the share of all wanted that are
    there; `r_precision`, the precision among as many as are wanted; `rank_weighted_score`,
    sum w_i I_i / sum w_i with w_i = n + 1 - i over the best n = `top` (Lochner & Bassett 2021, eq. 6). Where the pool
    holds fewer than `top`, all of it is the top.

    Parameters
    ----------
    scores : ndarray (N,)
    wanted : ndarray of bool (N,)
        At least one.
    """
    ranked = wanted[np.argsort(-scores, kind="stable")]
    best, total = ranked[:top], int(wanted.sum())
    weights = np.arange(len(best), 0, -1)
    return {
        "precision_at_100": float(best.mean()),
        "recall_at_100": float(best.sum() / total),
        "r_precision": float(ranked[:total].mean()),
        "rank_weighted_score": float(weights @ best / weights.sum()),
    }


def mean_interval(values: Array, *, seed: int = 0) -> tuple[Array, Array, Array]:
    """Mean over seeds with its 95 % interval, by resampling seeds (percentile bootstrap; Efron & Tibshirani 1993).

    Parameters
    ----------
    values : ndarray (S, R)
        A row per seed; with one row the interval has no width.
    seed : int
        Draws the resamples.

    Returns
    -------
    mean, low, high : ndarray (R,)
    """
    draws = np.random.default_rng(seed).integers(len(values), size=(BOOTSTRAPS, len(values)))
    means = values[draws].mean(axis=1)
    low, high = np.percentile(means, (2.5, 97.5), axis=0)
    return values.mean(axis=0), low, high
