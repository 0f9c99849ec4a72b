"""Class fractions of a pool from labels of a simple random sample of it, with intervals that hold.

The sample is a campaign's audit slice: each galaxy had the same chance to be in it, whatever a policy preferred, so its
Horvitz-Thompson and Hájek estimates are both the sample's mean. The model's answers to the whole pool make that mean
more precise, however wrong they are: the difference estimator of survey sampling (Särndal, Swensson & Wretman 1992,
section 6.3), which is prediction-powered inference (Angelopoulos et al. 2023, Science 382, 669) with its tuning
(Angelopoulos, Duchi & Zrnic 2023, arXiv:2311.01453, section 6).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Z95 = 1.959964  # quantile of the normal distribution that leaves 5 % out on both sides
FEWEST = 20  # of a sample: with fewer, nobody can tell whether the model's answers help
BELIEF = 5.0  # labels of a class with which what the model gains is believed half

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Fractions:
    """Fractions of C categories of a pool, and their 95 % intervals.

    Attributes
    ----------
    value, low, high : ndarray (C,)
    used : ndarray (C,)
        How far the model's answers were used: 0 not at all, 1 as they are.
    """

    value: Array
    low: Array
    high: Array
    used: Array


def sampled(truth: Array, size: int, *, counted: NDArray[np.bool_] | None = None) -> Fractions:
    """Fractions by the labels of a simple random sample alone.

    Parameters
    ----------
    truth : ndarray (n, C)
        1 for the category of each sampled galaxy, else 0.
    size : int
        Galaxies N of the pool.
    counted : ndarray of bool (C,), optional
        Categories whose sum is 1: fractions are those among galaxies of these, and the others' are NaN. All by default.

    Returns
    -------
    Fractions
        All NaN where no galaxy was sampled.
    """
    return _estimated(truth, np.zeros_like(truth), np.zeros(truth.shape[1]), size, counted, np.zeros(truth.shape[1]))


def assisted(
    truth: Array, answers: Array, mean: Array, size: int, *, counted: NDArray[np.bool_] | None = None
) -> Fractions:
    """Fractions by the labels of a simple random sample and a model's answers to the whole pool.

    theta_c = mean_pool(l_c f_c) + mean_sample(y_c - l_c f_c), over their sum, with f the answers and y the labels. The
    variance is least for l_c = cov(y_c, f_c) / var(f_c); of that, clipped to [0, 1], a share is taken that grows with
    the number of labels of the category, since a few are soon fitted by chance.

    Parameters
    ----------
    truth, size, counted
        As for `sampled`.
    answers : ndarray (n, C)
        Probabilities of the sampled galaxies, by a model that has not learned from their labels.
    mean : ndarray (C,)
        Mean answer to the whole pool, the sample included.
    """
    used = _tuning(truth, answers) if len(truth) >= FEWEST else np.zeros(truth.shape[1])
    return _estimated(truth, used * answers, used * mean, size, counted, used)


def labelled(truth: Array, *, counted: NDArray[np.bool_] | None = None) -> Array:
    """Share (C,) of each category among labels, however their galaxies were chosen: what is not to be published."""
    kept = truth[:, np.ones(truth.shape[1], dtype=bool) if counted is None else counted].sum()
    shares = truth.sum(axis=0) / kept if kept else np.full(truth.shape[1], np.nan)
    return np.asarray(shares if counted is None else np.where(counted, shares, np.nan))


def _tuning(truth: Array, answers: Array) -> Array:
    y, f = truth - truth.mean(axis=0), answers - answers.mean(axis=0)
    spread = (f**2).sum(axis=0)
    best = np.divide((y * f).sum(axis=0), spread, out=np.zeros(len(spread)), where=spread > 0)
    return np.asarray(np.clip(best, 0.0, 1.0) * _belief(truth))


def _belief(truth: Array) -> Array:
    """Share (C,) in which what a sample says of the model is believed: of a category, or all others, it met few."""
    met = truth.sum(axis=0)
    fewest = np.minimum(met, len(truth) - met)
    return np.asarray(fewest / (fewest + BELIEF))


def _estimated(
    truth: Array, answers: Array, mean: Array, size: int, counted: NDArray[np.bool_] | None, used: Array
) -> Fractions:
    """The estimate for answers that are tuned already, and its interval."""
    n, count = truth.shape
    asked = np.ones(count, dtype=bool) if counted is None else counted
    nothing = np.full(count, np.nan)
    if not n:
        return Fractions(nothing, nothing, nothing, used)
    totals = mean + (truth - answers).mean(axis=0)
    # a galaxy of none of the categories asked for is not of the population
    inside = truth[:, asked].sum(axis=1)
    among, known = float(totals[asked].sum()), float(inside.sum())
    if known == 0 or among <= 0:
        return Fractions(nothing, nothing, nothing, used)
    value = np.clip(totals / among, 0.0, 1.0)
    # the ratio by its linearisation: its error is that of the mean of y - l f - theta [y is asked for]
    lower = answers[:, asked].sum(axis=1)
    residual = truth - answers - value * (inside - lower)[:, None]
    low, high = wilson(value, _effective(truth, inside, value, residual, known, size))
    value, low, high = (np.where(asked, part, np.nan) for part in (value, low, high))
    return Fractions(value, low, high, used)


def _effective(truth: Array, inside: Array, value: Array, residual: Array, known: float, size: int) -> Array:
    """How many galaxies (C,), drawn one by one from an endless pool, would tell as much.

    The gain of the model is shrunk towards none where few of a category, or of all others, were sampled: residuals of a
    category that nobody met are all small, and say nothing.
    """
    plain = truth - value * inside[:, None]
    spread = plain.var(axis=0)
    ratio = np.divide(residual.var(axis=0), spread, out=np.ones(len(spread)), where=spread > 0)
    belief = _belief(truth)
    # a hundredfold gain at most
    design = belief * np.maximum(ratio, 0.01) + (1 - belief)
    left = max(1 - len(truth) / size, 1e-9)
    return np.asarray(known / design / left)


def wilson(value: Array, n: Array) -> tuple[Array, Array]:
    """Wilson's score interval (1927, JASA 22, 209) of fractions (C,) as if from n (C,) draws."""
    z2 = Z95**2
    middle = (value + z2 / (2 * n)) / (1 + z2 / n)
    half = Z95 / (1 + z2 / n) * np.sqrt(value * (1 - value) / n + z2 / (4 * n**2))
    return np.clip(middle - half, 0, 1), np.clip(middle + half, 0, 1)
