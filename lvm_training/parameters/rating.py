"""The head of ratings: how interesting people would find a galaxy, from its features."""

from collections.abc import Sequence
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from lvm_training.errors import LabelError
from lvm_training.heads.classification import feature_scale
from lvm_training.heads.head import SavedHead
from lvm_training.parameters.ridge import check_finite, fit_members

MEMBERS = 12
FEWEST = 10  # ratings that it can be learned from; Astronomaly asks for as many before it first learns

Array = NDArray[np.float64]
Features = NDArray[np.float32]


class RatingHead(SavedHead):
    """The mean of an ensemble of ridge regressions on standardised features, within what a rating can be.

    Parameters
    ----------
    mean, scale : ndarray (D,)
        What standardises a feature.
    weights : ndarray (D,)
        In stars.
    bias : ndarray (1,)
    most : ndarray (1,)
        The most stars; none is 0.
    error : ndarray (1,)
        Root mean square of what members were off by on ratings that they did not see.
    """

    kind: ClassVar[str] = "rating"
    parts: ClassVar[tuple[str, ...]] = ("mean", "scale", "weights", "bias", "most", "error")

    mean: Features
    scale: Features
    weights: Features
    bias: Features
    most: Features
    error: Features

    @classmethod
    def fit(cls, inputs: Features, ratings: Sequence[float], *, name: str, most: float, seed: int) -> Self:
        """A head of N ratings; the same bytes for the same ratings and seed.

        Parameters
        ----------
        inputs : ndarray (N, D)
            Features.
        ratings : sequence of float
            N ratings, 0 to `most`.
        name : str
            What is rated.
        seed : int
            What the bootstrap draws from.

        Raises
        ------
        LabelError
            If there are not so many ratings as features, too few, one is outside what it can be, or a feature is not
            finite.
        """
        stars = np.asarray(ratings, dtype=np.float64)
        if stars.shape != (len(inputs),):
            raise LabelError(f"There are {len(stars)} ratings for {len(inputs)} galaxies.")
        if len(stars) < FEWEST:
            raise LabelError(f"{len(stars)} ratings teach nothing.", f"Rate {FEWEST} galaxies.")
        if not ((stars >= 0) & (stars <= most)).all():
            raise LabelError(f"A rating lies outside 0 to {most:g}.", "Mend it in Label Studio.")
        wide = np.asarray(inputs, np.float64)
        check_finite(wide)
        mean, scale = wide.mean(axis=0), feature_scale(wide)
        # one thread: the sums have one order on any machine
        with threadpool_limits(1, "blas"):
            (found,) = fit_members((wide - mean) / scale, stars[:, None], seed=seed, members=MEMBERS)
        off = found.held_out - stars
        error = float(np.sqrt(np.nanmean(off**2))) if np.isfinite(off).any() else most
        arrays = {"mean": mean, "scale": scale, "weights": found.weights.mean(axis=0), "bias": found.bias.mean()}
        one = {"bias": [arrays["bias"]], "most": [most], "error": [error]}
        return cls.from_arrays(arrays | {key: np.array(value) for key, value in one.items()}, (name,))

    def predict(self, inputs: Features) -> Array:
        """The expected rating (N,) of features (N, D), 0 to `most`."""
        standard = (np.asarray(inputs, np.float64) - self.mean) / self.scale
        return np.asarray(np.clip(standard @ self.weights.astype(np.float64) + self.bias[0], 0.0, self.most[0]))
