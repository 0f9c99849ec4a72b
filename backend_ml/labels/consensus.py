"""One label from several people's: the majority, or Dawid and Skene's model of how reliable each of them is."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

CONSENSUS = ("majority", "dawid-skene")
SMOOTHING = 1.0  # labels that everybody is thought to have given of each class before the first
DIAGONAL = 0.7  # share of those that were right: people are better than chance
ROUNDS, TOLERANCE = 200, 1e-7

Array = NDArray[np.float64]
Codes = NDArray[np.int64]


@dataclass(frozen=True)
class DawidSkene:
    """What the labels of several people say of the truth and of them.

    Attributes
    ----------
    posterior : ndarray (T, C)
        Probability of each class for each stamp.
    confusion : ndarray (A, C, C)
        confusion[a, j, l]: probability that annotator a says l where the truth is j.
    prior : ndarray (C,)
        Share of each class.
    """

    posterior: Array
    confusion: Array
    prior: Array

    @property
    def reliability(self) -> Array:
        """Probability (A,) that an annotator is right about a stamp drawn at random, sum_j p_j confusion[a, j, j]."""
        return np.asarray(np.einsum("j,ajj->a", self.prior, self.confusion))


def majority(labels: Sequence[str]) -> str:
    """The most frequent of some labels in order of time; of equals the latest."""
    counts, latest = Counter(labels), {label: place for place, label in enumerate(labels)}
    return max(counts, key=lambda label: (counts[label], latest[label]))


def dawid_skene(stamps: Codes, annotators: Codes, labels: Codes, shape: tuple[int, int, int]) -> DawidSkene:
    """Maximum a-posteriori estimate of Dawid & Skene 1979 (J. R. Stat. Soc. C 28, 20), by expectation maximisation.

    Begins with the shares of votes. In turn, eq. 2.3 and 2.4 with pseudo-counts,
    pi_jl^a ~ alpha_jl + sum_t T_tj n_tl^a, p_j ~ 1 + sum_t T_tj, and eq. 2.5, T_tj ~ p_j prod_a,l (pi_jl^a)^(n_tl^a).
    The pseudo-counts alpha, one label a class, of which 0.7 are right, keep an annotator of few labels from being
    taken for perfect or hopeless.

    Parameters
    ----------
    stamps, annotators, labels : ndarray (V,) of int
        Each vote: of which stamp, by whom, for which class.
    shape : (T, A, C)
        Numbers of stamps, annotators and classes.
    """
    count, people, classes = shape
    votes = np.zeros((count, classes))
    np.add.at(votes, (stamps, labels), 1.0)
    posterior = votes / np.maximum(votes.sum(axis=1, keepdims=True), 1)
    prior_counts = _pseudo_counts(classes)
    for _ in range(ROUNDS):
        counts = np.broadcast_to(prior_counts, (people, classes, classes)).copy()
        # a vote for l by a adds the stamp's posterior to column l
        np.add.at(counts.transpose(0, 2, 1), (annotators, labels), posterior[stamps])
        confusion = counts / counts.sum(axis=2, keepdims=True)
        prior = (1 + posterior.sum(axis=0)) / (classes + count)
        logs = np.tile(np.log(prior), (count, 1))
        np.add.at(logs, stamps, np.log(confusion)[annotators, :, labels])
        before, posterior = posterior, _normalised(logs)
        if np.abs(posterior - before).max(initial=0.0) < TOLERANCE:
            break
    return DawidSkene(posterior, confusion, prior)


def agreement(stamps: Codes, annotators: Codes, labels: Codes, chosen: Codes, people: int) -> Array:
    """Share (A,) of each annotator's labels that are the chosen ones (T,), on stamps of two votes or more; NaN of none.

    Parameters
    ----------
    stamps, annotators, labels
        As in `dawid_skene`.
    chosen : ndarray (T,) of int
        The class that became each stamp's label.
    people : int
        Number A of annotators.
    """
    shared = np.bincount(stamps, minlength=len(chosen))[stamps] > 1
    right = (labels == chosen[stamps]) & shared
    given = np.bincount(annotators[shared], minlength=people)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.bincount(annotators[right], minlength=people) / given)


def coded(values: Sequence[object]) -> tuple[list[object], Codes]:
    """The distinct values in order, and the place of each value among them."""
    names = sorted(set(values), key=lambda value: (str(type(value)), value))
    places = {name: place for place, name in enumerate(names)}
    return names, np.array([places[value] for value in values], dtype=np.int64)


def _pseudo_counts(classes: int) -> Array:
    if classes == 1:
        return np.full((1, 1), SMOOTHING)
    aside = SMOOTHING * (1 - DIAGONAL) / (classes - 1)
    return np.full((classes, classes), aside) + np.eye(classes) * (SMOOTHING * DIAGONAL - aside)


def _normalised(logs: Array) -> Array:
    weights = np.exp(logs - logs.max(axis=1, keepdims=True)) if logs.size else logs
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))
