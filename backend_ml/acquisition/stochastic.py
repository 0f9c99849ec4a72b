"""A ranking drawn at random from scores: batches become diverse, and every galaxy's chance is known.

Kirsch et al. 2021 (arXiv:2106.12059): the top of log scores perturbed by Gumbel noise is a sample without replacement
with probabilities proportional to score^beta. On BALD scores this is PowerBALD.
"""

import numpy as np
from numpy.typing import NDArray

# A score of 0 keeps a chance, so that scores that are all 0 give a random order
LEAST_SCORE = 1e-12

Array = NDArray[np.float64]


def power_draw(scores: Array, *, beta: float = 1.0, seed: int) -> Array:
    """Perturbed log scores beta ln s_i + e_i with e_i ~ Gumbel(0, 1); the best come first.

    Kirsch et al. 2021, section 4, write ln s_i + e_i with e_i ~ Gumbel(0, 1 / beta), which is this over beta.

    Parameters
    ----------
    scores : ndarray (N,)
        At least 0; what is below 1e-12 counts as that.
    beta : float
        0 draws blindly, large values rank by score. The chance to come first is p_i = s_i^beta / sum_j s_j^beta.
    seed : int
        Draws the noise.
    """
    return np.asarray(_log_weights(scores, beta) + np.random.default_rng(seed).gumbel(size=len(scores)))


def inclusion(scores: Array, drawn: Array, n: int, *, beta: float = 1.0) -> Array:
    """Propensity of each galaxy to be among the first `n`, given the noise of the others.

    1 - exp(-exp(beta ln s_i - k_i)), with k_i the n-th largest perturbed log score of the other galaxies: the inverse
    weights of the n first then estimate sums over the pool without bias (Kool et al. 2019, ICML, section 4.1).

    Parameters
    ----------
    scores, beta
        What `drawn` was drawn from.
    drawn : ndarray (N,)
        From `power_draw`.
    n : int
        Size of the batch.

    Returns
    -------
    ndarray (N,) in (0, 1]; all 1 where `n` galaxies or fewer are there.
    """
    if n >= len(drawn):
        return np.ones(len(drawn))
    best = -np.partition(-drawn, n)
    inside, outside = best[:n].min(), best[n:].max()
    threshold = np.where(drawn > outside, outside, inside)
    return np.asarray(-np.expm1(-np.exp(_log_weights(scores, beta) - threshold)))


def _log_weights(scores: Array, beta: float) -> Array:
    return np.asarray(beta * np.log(np.maximum(scores, LEAST_SCORE)))
