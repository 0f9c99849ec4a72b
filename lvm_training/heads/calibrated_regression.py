"""Weighted two-class logistic regression whose probabilities are calibrated on rows it did not learn from."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit, softmax

from lvm_training.heads import classification
from lvm_training.heads.logistic_regression import ITERATIONS, SOFTMAX_CURVATURE, TOLERANCE

# Prior variances of the weights; the two rows of a two-class `ClassificationHead` share what one row has here
STRENGTHS = tuple(2 * strength for strength in classification.STRENGTHS)
DEFAULT_STRENGTH = 2 * classification.DEFAULT_STRENGTH
FEW_STRENGTH = DEFAULT_STRENGTH / 10  # of so few answers that none can choose it: one more would move all the others
FOLDS = classification.FOLDS
# Standard deviations of the calibration's prior: of ln slope around 0, and of the offset around 0
SLOPE_PRIOR, OFFSET_PRIOR = 0.5, 1.0

Array = NDArray[np.float64]


class Examples(NamedTuple):
    """What is learned from.

    Attributes
    ----------
    features : ndarray (N, D)
        Standardised.
    truth : ndarray (N,)
        1 for yes, 0 for no.
    weight : ndarray (N,)
        How much each row counts.
    offset : ndarray (N,), optional
        Log-odds that were known before; what is learned is added to them.
    bias : tuple of float, optional
        Mean and standard deviation of the bias before anything is learned; it may be anything where there is none.
    """

    features: Array
    truth: Array
    weight: Array
    offset: Array | None = None
    bias: tuple[float, float] | None = None

    def some(self, chosen: NDArray[np.bool_]) -> "Examples":
        """The chosen rows."""
        offset = None if self.offset is None else self.offset[chosen]
        return Examples(self.features[chosen], self.truth[chosen], self.weight[chosen], offset, self.bias)

    def log_odds(self, weights: Array, bias: float) -> Array:
        """z (N,) of each row."""
        z = self.features @ weights + bias
        return np.asarray(z if self.offset is None else z + self.offset)


def fit_weighted(rows: Examples, strengths: Sequence[float]) -> list[tuple[Array, float]]:
    """Weights (D,) and bias that minimise sum_i v_i ln(1 + e^{z_i}) - v_i t_i z_i + |weights|^2 / (2 strength).

    z = features weights + bias + offset, t the truth, v the rows' weights; a Gaussian prior of the bias adds its part.
    One solution for each strength, in the coordinates of `LogisticRegressionProblem`.
    """
    features, truth, weight, known, before = rows
    offset = np.zeros(len(truth)) if known is None else known
    middle, width = before or (0.0, np.inf)
    axes = _principal_axes(np.sqrt(weight)[:, None] * features)
    rotated = features @ axes
    sums = weight @ rotated**2
    step = 0.5 * np.sqrt(weight.sum())

    def solve(strength: float) -> tuple[Array, float]:
        scales = np.sqrt(SOFTMAX_CURVATURE * sums + 1 / strength)

        def loss(flat: Array) -> tuple[float, Array]:
            inner, bias = flat[:-1] / scales, flat[-1] / step
            z = rotated @ inner + bias + offset
            pull = (bias - middle) / width
            value = weight @ (np.logaddexp(0, z) - truth * z) + inner @ inner / (2 * strength) + pull**2 / 2
            residual = weight * (expit(z) - truth)
            slope = (residual @ rotated + inner / strength) / scales
            return float(value), np.append(slope, (residual.sum() + pull / width) / step)

        options = {"gtol": TOLERANCE, "ftol": 1e-12, "maxiter": ITERATIONS}
        found = minimize(loss, np.zeros(len(scales) + 1), jac=True, method="L-BFGS-B", options=options).x
        return axes @ (found[:-1] / scales), float(found[-1] / step)

    return [solve(strength) for strength in strengths]


def _principal_axes(matrix: Array) -> Array:
    """Orthonormal columns that span the rows of a matrix (N, D), shape (D, min(N, D))."""
    if len(matrix) < matrix.shape[1]:
        return np.asarray(np.linalg.svd(matrix, full_matrices=False)[2].T)
    return np.asarray(np.linalg.eigh(matrix.T @ matrix)[1])


def cross_validated(rows: Examples, seed: int, *, steady: bool = True) -> tuple[float, Array]:
    """A strength by held-out weighted log loss, and each row's z from fits that did not see it.

    If `steady`, strengths are averaged, in their logarithms, with weights exp(-loss): the one of least loss changes
    from one answer to the next, and probabilities would jump with it. Else it is the one of least loss. With fewer than
    four rows of yes or no the strength is `FEW_STRENGTH`, or the default, and there are as many folds as such rows;
    with one, nothing can be held out, and there is no z.
    """
    yes = rows.truth > 0
    fewest = int(min(np.count_nonzero(yes), np.count_nonzero(~yes)))
    tried = STRENGTHS if fewest >= FOLDS else (FEW_STRENGTH if steady else DEFAULT_STRENGTH,)
    folds = min(FOLDS, fewest)
    if folds < 2:
        return tried[0], np.empty(0)
    rng = np.random.default_rng(seed)
    fold = np.empty(len(yes), dtype=np.int64)
    for members in (np.flatnonzero(yes), np.flatnonzero(~yes)):
        fold[members] = rng.permutation(len(members)) % folds
    held_out = np.empty((len(tried), len(yes)))
    for number in range(folds):
        test = fold == number
        for place, (weights, bias) in enumerate(fit_weighted(rows.some(~test), tried)):
            held_out[place, test] = rows.some(test).log_odds(weights, bias)
    losses = (np.logaddexp(0, held_out) - rows.truth * held_out) @ rows.weight
    if not steady:
        best = int(losses.argmin())
        return tried[best], held_out[best]
    share = softmax(-losses)
    return float(np.exp(share @ np.log(tried))), np.asarray(share @ held_out)


def platt(held_out: Array, rows: Examples) -> tuple[float, float]:
    """Slope and offset of the calibrated log-odds, slope z + offset; 1 and 0 where nothing was held out.

    Platt 1999: least log loss against his targets, (n+ + 1) / (n+ + 2) for yes and 1 / (n- + 2) for no, with n the sum
    of the rows' weights. Priors ln slope ~ N(0, 0.5^2) and offset ~ N(0, 1) keep them near 1 and 0 while examples are
    few, and the slope positive, so that no ranking changes.
    """
    if not len(held_out):
        return 1.0, 0.0
    liked, others = (float(rows.weight @ side) for side in (rows.truth, 1 - rows.truth))
    target = np.where(rows.truth > 0, (liked + 1) / (liked + 2), 1 / (others + 2))

    def loss(point: Array) -> tuple[float, Array]:
        slope = np.exp(point[0])
        z = slope * held_out + point[1]
        prior = point / np.array([SLOPE_PRIOR, OFFSET_PRIOR]) ** 2
        residual = rows.weight * (expit(z) - target)
        value = rows.weight @ (np.logaddexp(0, z) - target * z) + 0.5 * point @ prior
        return float(value), np.array([residual @ held_out * slope, residual.sum()]) + prior

    found = minimize(loss, np.zeros(2), jac=True, method="L-BFGS-B").x
    return float(np.exp(found[0])), float(found[1])
