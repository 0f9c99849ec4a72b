"""Multinomial logistic regression that converges in a dozen steps on correlated features.

Features of a vision model are strongly correlated, and L-BFGS then needs hundreds of steps. In the coordinates in which
the loss's curvature is about one in every direction it needs ten: the principal axes of the features, each scaled by
sqrt(q s + 1 / C) with s the axis's sum of squares and q the curvature of the softmax (Böhning 1992, Ann. Inst. Stat.
Math. 44, 197, bounds it by 1/2). The minimum is that of scikit-learn's `LogisticRegression(C=...)`.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import logsumexp

SOFTMAX_CURVATURE = 0.25
TOLERANCE = 1e-4
ITERATIONS = 200

Array = NDArray[np.float64]


class LogisticRegressionProblem:
    """Features (N, D) and class codes 0..C-1 (N,), ready to be fitted at any strength of the penalty.

    Parameters
    ----------
    features : ndarray (N, D)
        With zero mean, or of a scale in which zero is usual.
    codes : ndarray (N,)
    classes : int
        Their number C.
    weight : ndarray (N,), optional
        How much each stamp counts; 1 by default.
    offset : ndarray (N, C), optional
        Log-odds that stamps begin with; what is fitted is added to them.
    """

    def __init__(
        self,
        features: Array,
        codes: NDArray[np.int64],
        classes: int,
        *,
        weight: Array | None = None,
        offset: Array | None = None,
    ) -> None:
        self.weight = np.ones(len(features)) if weight is None else weight
        counted = features if weight is None else np.sqrt(weight)[:, None] * features
        self.sums, self.axes = np.linalg.eigh(counted.T @ counted)
        self.rotated = features @ self.axes
        self.truth = np.eye(classes)[codes]
        self.offset = np.zeros(self.truth.shape) if offset is None else offset

    def fit(self, strength: float, *, bias_strength: float | Array = np.inf) -> tuple[Array, Array]:
        """Weights (C, D) and bias (C,) of least loss, summed over stamps.

        The loss is sum_i v_i log loss_i + |weights|^2 / (2 strength) + |bias|^2 / (2 bias_strength), v being what
        stamps count.
        """
        return self.fit_scaled(strength, bias_strength=bias_strength, spread=0.0)[:2]

    def fit_scaled(self, strength: float, *, bias_strength: float | Array, spread: float) -> tuple[Array, Array, float]:
        """As `fit`, and a factor of the offset, 0 or more, which begins at 1 and costs (factor - 1)^2 / (2 spread^2).

        With a spread of 0 the factor stays 1.
        """
        count, width = self.truth.shape[1], self.rotated.shape[1]
        inner = width * count
        scales = np.sqrt(SOFTMAX_CURVATURE * np.maximum(self.sums, 0.0) + 1 / strength)[:, None]
        step = np.sqrt(SOFTMAX_CURVATURE * self.weight.sum() + 1 / bias_strength)
        size = 1 / np.sqrt(1 / spread**2 + SOFTMAX_CURVATURE * (self.offset**2).sum()) if spread else 0.0

        def loss(flat: Array) -> tuple[float, Array]:
            weights, bias = flat[:inner].reshape(width, count) / scales, flat[inner : inner + count] / step
            change = float(flat[-1]) * size if spread else 0.0
            logits = self.rotated @ weights + bias + (1 + change) * self.offset
            logs = logits - logsumexp(logits, axis=1, keepdims=True)
            residual = self.weight[:, None] * (np.exp(logs) - self.truth)
            slope = (self.rotated.T @ residual + weights / strength) / scales
            value = -(self.weight[:, None] * logs * self.truth).sum()
            value += (weights**2).sum() / (2 * strength) + (bias**2 / (2 * bias_strength)).sum()
            slopes = [slope.ravel(), (residual.sum(axis=0) + bias / bias_strength) / step]
            if spread:
                value += change**2 / (2 * spread**2)
                slopes.append(np.array([((residual * self.offset).sum() + change / spread**2) * size]))
            return float(value), np.concatenate(slopes)

        start = np.zeros(inner + count + (1 if spread else 0))
        bounds = [(None, None)] * (inner + count) + [(-1 / size, None)] if spread else None
        options = {"gtol": TOLERANCE, "ftol": 1e-12, "maxiter": ITERATIONS}
        found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options=options).x
        weights = self.axes @ (found[:inner].reshape(width, count) / scales)
        factor = 1 + float(found[-1]) * size if spread else 1.0
        return weights.T, found[inner : inner + count] / step, factor
