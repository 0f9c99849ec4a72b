"""What simulated stamps say of classes before anybody has labelled: a linear head on standardised features."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from lvm_training.errors import LabelError
from lvm_training.heads.logistic_regression import Array, LogisticRegressionProblem

STRENGTH = 1e-2  # prior variance of a weight; thousands of simulated labels choose no other


@dataclass(frozen=True, eq=False)
class Prior:
    """Log-odds of some classes, linear in features that are standardised by their own stamp set.

    Attributes
    ----------
    classes : tuple of str
        The C classes that were drawn.
    weights : ndarray (C, D)
    bias : ndarray (C,)
    """

    classes: tuple[str, ...]
    weights: Array
    bias: Array

    @classmethod
    def fit(cls, standard: NDArray[np.floating], labels: Sequence[str]) -> Self:
        """The prior of standardised features (N, D) of simulated stamps, all classes counting alike.

        Parameters
        ----------
        labels : sequence of str
            N classes, empty where there is none.

        Raises
        ------
        LabelError
            If fewer than two classes were drawn.
        """
        names = np.asarray(labels)
        known = np.flatnonzero(names != "")
        classes, codes = np.unique(names[known], return_inverse=True)
        if len(classes) < 2:
            raise LabelError(f"{len(classes)} classes were drawn; a prior tells two apart.", "Draw more stamps.")
        counts = np.bincount(codes)
        with threadpool_limits(1, "blas"):
            problem = LogisticRegressionProblem(
                np.asarray(standard, np.float64)[known],
                codes,
                len(classes),
                weight=(len(codes) / len(counts) / counts)[codes],
            )
            weights, bias = problem.fit(STRENGTH)
        return cls(tuple(map(str, classes)), weights, bias)

    def log_odds(self, standard: NDArray[np.floating]) -> Array:
        """Logarithms of the unnormalised probabilities (M, C) of standardised features (M, D)."""
        logits: Array = np.asarray(standard, np.float64) @ self.weights.T + self.bias
        return logits

    def predict(self, standard: NDArray[np.floating]) -> Array:
        """Probabilities (M, C) for standardised features (M, D)."""
        probabilities: Array = softmax(self.log_odds(standard), axis=1)
        return probabilities
