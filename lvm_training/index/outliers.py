"""How unusual galaxies are: how far each lies from its nearest ones among a sample of its pool.

Distances are those of standardised features, by their leading principal components. On real galaxies this told odd
ones better than an isolation forest, local outlier factors, Mahalanobis distances or what components leave unexplained
(docs/why/what-to-label.md). The sample bounds memory and time, whatever the pool's size.
"""

from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from lvm_training.heads.classification import feature_scale

COMPONENTS = 64  # nearly all of the distances of 768 features, at a tenth of their cost
NEIGHBOURS = 10
REFERENCE = 20_000  # galaxies of the sample
LEAST_VARIANCE = 1e-6  # of a standardised feature: what varies less is rounding
FEWEST = 3
SAME = 1e-3  # of the usual distance: nearer ones are the same picture
CHUNK = 4096  # rows scored at a time

Array = NDArray[np.float64]
Matrix = NDArray[np.float32]


@dataclass(frozen=True)
class Outliers:
    """What is usual in a pool.

    Attributes
    ----------
    mean : ndarray (D,)
        Of the sample's features.
    axes : ndarray (D, C)
        Principal components of standardised features, to be multiplied with unstandardised ones about their mean; none
        where all features are the same.
    sample : ndarray (M, C)
        The sample in these coordinates.
    usual : float
        Median over the sample of the mean distance to the nearest others: the unit of scores; 1 where that is 0.
    known : ndarray (M,)
        The sample's own scores, ascending.
    """

    mean: Matrix
    axes: Matrix
    sample: Matrix
    usual: float
    known: Array

    @classmethod
    def fit(cls, features: NDArray[np.floating[Any]], *, seed: int = 0) -> Self:
        """Learn what is usual from a pool's features (N, D), of which at most `REFERENCE` are drawn.

        Rows that are not finite are left out. Of fewer than three none is more unusual than the others.
        """
        rows = np.asarray(features[np.isfinite(features).all(axis=1)], dtype=np.float32)
        rows = rows[sample_rows(len(rows), seed)]
        few = len(rows) < FEWEST
        mean = np.asarray(rows.sum(axis=0, dtype=np.float64) / max(len(rows), 1), dtype=np.float32)
        axes = np.empty((len(mean), 0), np.float32) if few else _axes(rows - mean)
        found = cls(mean, axes, np.asarray((rows - mean) @ axes, dtype=np.float32), 1.0, np.empty(0))
        # the unit is known once the sample's own distances are
        known = np.sort(found.scores(rows))
        usual = float(np.median(known)) if known.size and np.median(known) > 0 else 1.0
        return replace(found, usual=usual, known=known / usual)

    def scores(self, features: NDArray[np.floating[Any]]) -> Array:
        """Mean distance of features (N, D) to their `NEIGHBOURS` nearest of the sample, in usual ones; NaN where NaN.

        A galaxy is no neighbour of itself, nor is one other of the same picture: of distances that are nothing the
        first does not count.
        """
        return self._measured(features, self.sample, NEIGHBOURS, others=True)

    def share_below(self, scores: Array) -> Array:
        """Share of the sample that is less unusual than each of some scores (n,), 0 to 1; 0 without a sample."""
        return np.asarray(np.searchsorted(self.known, scores) / max(len(self.known), 1))

    def distances(self, features: NDArray[np.floating[Any]], known: NDArray[np.floating[Any]]) -> Array:
        """Distance of features (N, D) to the nearest of some galaxies (L, D), in usual ones; infinite without any."""
        if not len(known):
            return np.full(len(features), np.inf)
        return self._measured(features, self._placed(known), 1, others=False)

    def mean_distance(self, known: NDArray[np.floating[Any]]) -> float:
        """Mean distance of the sample to the nearest of some galaxies (L, D), in usual ones; 1 where that is 0."""
        from sklearn.neighbors import NearestNeighbors

        if not (len(known) and self.sample.size):
            return 1.0
        near = NearestNeighbors(n_neighbors=1, algorithm="brute").fit(self._placed(known))
        mean = float(near.kneighbors(self.sample)[0].astype(np.float64).mean() / self.usual)
        return mean if mean > 0 else 1.0

    def nearest(self, features: NDArray[np.floating[Any]], known: NDArray[np.floating[Any]]) -> NDArray[np.int64]:
        """The order (L,) in which some galaxies (L, D) lie near one (D,), the nearest first."""
        apart = np.linalg.norm(self._placed(known) - self._placed(features[None]), axis=1)
        return np.argsort(apart, kind="stable")

    def _placed(self, features: NDArray[np.floating[Any]]) -> Matrix:
        return np.asarray((np.asarray(features, dtype=np.float32) - self.mean) @ self.axes, dtype=np.float32)

    def _measured(self, features: NDArray[np.floating[Any]], among: Matrix, count: int, *, others: bool) -> Array:
        # scikit-learn takes a second to import, and only those who ask for this wait for it
        from sklearn.neighbors import NearestNeighbors

        found = np.full(len(features), np.nan)
        asked = min(count + others, len(among))
        near = NearestNeighbors(n_neighbors=asked, algorithm="brute").fit(among) if among.shape[1] else None
        for start in range(0, len(features), CHUNK):
            part = np.asarray(features[start : start + CHUNK], dtype=np.float32)
            finite = np.flatnonzero(np.isfinite(part).all(axis=1))
            if not finite.size:
                continue
            if near is None:
                found[start + finite] = 0.0
                continue
            apart = near.kneighbors(self._placed(part[finite]))[0].astype(np.float64) / self.usual
            found[start + finite] = _without_itself(apart) if others else apart[:, 0]
        return found


def sample_rows(count: int, seed: int) -> NDArray[np.int64]:
    """Which of `count` galaxies what is usual is learned from, ascending: all, or `REFERENCE` drawn."""
    if count <= REFERENCE:
        return np.arange(count)
    return np.sort(np.random.default_rng(seed).choice(count, REFERENCE, replace=False))


def _without_itself(apart: Array) -> Array:
    """Mean of ascending distances (n, k + 1) but for the first where it is nothing, and else for the last."""
    itself = apart[:, 0] <= SAME
    return np.where(itself, apart[:, 1:].mean(axis=1), apart[:, :-1].mean(axis=1))


def _axes(centred: Matrix) -> Matrix:
    """Leading principal components (D, C) of features (M, D) about their mean, over the features' own scale."""
    scale = feature_scale(centred.astype(np.float64))
    standard = centred / scale
    variances, vectors = np.linalg.eigh(standard.T @ standard / len(standard))
    kept = np.flatnonzero(variances > LEAST_VARIANCE)[::-1][:COMPONENTS]
    return np.asarray(vectors[:, kept] / scale[:, None], dtype=np.float32)
