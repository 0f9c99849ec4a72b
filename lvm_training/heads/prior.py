"""What simulated stamps say of classes before anybody has labelled: a linear head on standardised features.

Human labels then take over. The log-odds of a head with a prior are

    f * prior(z) + weights z + bias,    z = (x - mean) / scale,

with the mean and scale of the stamps that are to be answered, where the prior was fitted on simulated features
standardised by their own: an alignment that needs no label (a first step of Sun, Feng & Saenko 2016, AAAI, whose second
one, equal covariances, cost .03 AUC here). Weights, bias and f are the maximum a posteriori, with priors N(0, 0.01),
N(0, 4) and N(1, 0.35^2): one convex problem. f is at least 0, so a prior that labels contradict fades.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from lvm_training.errors import LabelError
from lvm_training.heads.logistic_regression import Array, LogisticRegressionProblem

STRENGTH = 3e-3  # prior variance of a weight
BIAS_STRENGTH = 4.0  # of the bias of a class that the prior knows: people see other shares of classes than were drawn
FACTOR_SPREAD = 0.35  # of f about 1


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


@dataclass(frozen=True, eq=False)
class AlignedPrior:
    """A prior for the stamps of a pool.

    Attributes
    ----------
    prior : Prior
    mean, scale : ndarray (D,)
        Of the pool's features, `classification.feature_scale` for the latter.
    """

    prior: Prior
    mean: Array
    scale: Array

    def placed(self, classes: Sequence[str]) -> tuple[Array, Array]:
        """Weights (C, D) and bias (C,) for the classes of a campaign; zero, which is average, where nothing was drawn.

        Raises
        ------
        LabelError
            If the prior has other classes.
        """
        foreign = sorted(set(self.prior.classes) - set(classes))
        if foreign:
            raise LabelError(f"The prior has classes of its own: {', '.join(foreign)}.", "Map classes of the campaign.")
        places = [list(classes).index(name) for name in self.prior.classes]
        weights, bias = np.zeros((len(classes), self.prior.weights.shape[1])), np.zeros(len(classes))
        # what all classes share does not show in probabilities, but would against a class that was not drawn
        weights[places] = self.prior.weights - self.prior.weights.mean(axis=0)
        bias[places] = self.prior.bias - self.prior.bias.mean()
        return weights, bias
