"""A classification head: regularised multinomial logistic regression on standardised features."""

from collections.abc import Callable, Sequence
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax, softmax
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from lvm_training.errors import LabelError
from lvm_training.heads.head import Head
from lvm_training.heads.logistic_regression import Array, LogisticRegressionProblem
from lvm_training.heads.prior import BIAS_STRENGTH, FACTOR_SPREAD, AlignedPrior

# Prior variances of the weights tried by cross-validation, and the one taken where labels are too few to choose
STRENGTHS = (3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1)
DEFAULT_STRENGTH = 1e-2
SEEN_STRENGTH = 3e-3  # where the encoder was trained on the labels; measured on real pictures (docs/why/encoders.md)
FOLDS = 4
# The best prior variance hardly depends on the number of labels; past this many, a sample chooses it
CHOOSING_LABELS = 800
CHOOSING_FROM = 500  # labels beside a prior; to fewer of them the default is as good, and cross-validation adds noise


class ClassificationHead(Head):
    """Multinomial logistic regression with an L2 penalty on standardised features.

    A class of the campaign that has no label yet gets the probability of Laplace's rule of succession, 1 / (n + C).

    Parameters
    ----------
    mean, scale : ndarray (D,)
        What standardises a feature.
    weights : ndarray (C, D)
        One row per class; zero for a class without labels.
    bias : ndarray (C,)
        Minus infinity for a class without labels.
    unseen : ndarray (C,)
        Probability of each class without labels; 0 for the others.
    prior_weights, prior_bias : ndarray (C, D), (C,), or None
        What of weights and bias a prior from simulated stamps said; None without one.
    classes : tuple of str
        Names of the classes.
    """

    kind: ClassVar[str] = "classification"
    parts: ClassVar[tuple[str, ...]] = ("mean", "scale", "weights", "bias", "unseen")
    optional: ClassVar[tuple[str, ...]] = ("prior_weights", "prior_bias")

    mean: NDArray[np.float32]
    scale: NDArray[np.float32]
    weights: NDArray[np.float32]
    bias: NDArray[np.float32]
    unseen: NDArray[np.float32]
    prior_weights: NDArray[np.float32] | None
    prior_bias: NDArray[np.float32] | None

    @classmethod
    def fit(
        cls,
        inputs: NDArray[np.float32],
        labels: Sequence[str],
        *,
        seed: int,
        classes: Sequence[str] | None = None,
        prior: AlignedPrior | None = None,
    ) -> Self:
        """A head trained on features (N, D) and N labels.

        Parameters
        ----------
        inputs : ndarray (N, D)
            Feature vectors.
        labels : sequence of str
            Their classes.
        seed : int
            What the folds of the cross-validation are drawn from.
        classes : sequence of str, optional
            All classes of the campaign, in order; by default those among the labels, sorted.
        prior : AlignedPrior, optional
            What simulated stamps say; with it there may be any number of labels, none as well. See `prior.py`.

        Raises
        ------
        LabelError
            If labels and features differ in number, fewer than two classes are labelled and there is no prior, a label
            is not among `classes`, the prior has another class, or a feature is not finite.
        """
        names = tuple(classes) if classes is not None else tuple(sorted(set(labels)))
        features = np.asarray(inputs, dtype=np.float64)
        check_labels(features, labels, names, least=2 if prior is None else 0)
        if prior is not None:
            return cls.from_arrays(_with_prior(features, labels, names, prior, seed), names)
        return cls._fitted(features, labels, names, lambda standard, codes: _strength(standard, codes, seed))

    @classmethod
    def fit_seen(cls, inputs: NDArray[np.float32], labels: Sequence[str], *, seed: int, classes: Sequence[str]) -> Self:
        """As `Head.fit_seen`: with a penalty that was found on other labels."""
        features = np.asarray(inputs, dtype=np.float64)
        check_labels(features, labels, classes)
        return cls._fitted(features, labels, tuple(classes), lambda *_: SEEN_STRENGTH)

    @classmethod
    def _fitted(
        cls,
        features: Array,
        labels: Sequence[str],
        names: tuple[str, ...],
        strength: Callable[[Array, NDArray[np.int64]], float],
    ) -> Self:
        """A head whose prior variance `strength` chooses from standardised features and class codes."""
        mean, scale = features.mean(axis=0), feature_scale(features)
        standard = (features - mean) / scale
        codes = np.array([names.index(label) for label in labels])
        seen, ranks = np.unique(codes, return_inverse=True)
        weights, bias = np.zeros((len(names), features.shape[1])), np.full(len(names), -np.inf)
        # one thread: the sums have one order on any machine, and threads cost more than they give at this size
        with threadpool_limits(1, "blas"):
            problem = LogisticRegressionProblem(standard, ranks, len(seen))
            weights[seen], bias[seen] = problem.fit(strength(standard, ranks))
        unseen = np.where(np.isinf(bias), 1 / (len(labels) + len(names)), 0.0)
        arrays = {"mean": mean, "scale": scale, "weights": weights, "bias": bias, "unseen": unseen}
        return cls.from_arrays(arrays, names)

    def prior_share(self, inputs: NDArray[np.float32]) -> Array:
        """How much of the answers is prior (N,): 1 where nothing was learned from people, 0 without a prior.

        With p what the prior adds to the log-odds of the most probable class over the mean class, and q what labels
        add: |p| / (|p| + |q|).
        """
        if self.prior_weights is None or self.prior_bias is None:
            return np.zeros(len(inputs))
        standard = (np.asarray(inputs, dtype=np.float64) - self.mean) / self.scale
        known = np.isfinite(self.bias)
        total = standard @ self.weights[known].T + self.bias[known]
        prior = standard @ self.prior_weights[known].T + self.prior_bias[known]
        rows, best = np.arange(len(standard)), total.argmax(axis=1)
        whole, part = ((logits - logits.mean(axis=1, keepdims=True))[rows, best] for logits in (total, prior))
        learned = np.abs(whole - part)
        return np.asarray(np.abs(part) / np.maximum(np.abs(part) + learned, np.finfo(np.float64).tiny))

    def predict(self, inputs: NDArray[np.float32]) -> Array:
        """Probabilities (N, C) in the order of `classes`."""
        # the scale goes into the weights: a pool has a million rows
        weights = self.weights / self.scale.astype(np.float64)
        seen = softmax(np.asarray(inputs, dtype=np.float64) @ weights.T + (self.bias - weights @ self.mean), axis=1)
        probabilities: Array = self.unseen + (1 - self.unseen.sum(dtype=np.float64)) * seen
        return probabilities


def check_labels(features: Array, labels: Sequence[str], classes: Sequence[str], *, least: int = 2) -> None:
    """Raise a LabelError unless `least` or more of `classes` label these features (N, D), which are finite."""
    if features.ndim != 2 or len(features) != len(labels):
        raise LabelError(f"There are {len(labels)} labels for features of shape {features.shape}.")
    unknown = sorted(set(labels) - set(classes))
    if unknown:
        raise LabelError(f"Labels outside the classes: {', '.join(unknown)}.", f"Classes are: {', '.join(classes)}.")
    if len(set(labels)) < least:
        found = f"only {labels[0]!r}" if labels else "no label"
        raise LabelError(f"A classifier needs two classes; there is {found}.", "Label one more class.")
    broken = np.flatnonzero(~np.isfinite(features).all(axis=1))
    if broken.size:
        raise LabelError(
            f"{broken.size} of {len(labels)} labelled stamps have features that are not finite, first at row "
            f"{broken[0]}.",
            "Embed the stamp set again.",
        )


def feature_scale(features: Array) -> Array:
    """Standard deviations; a feature that hardly varies keeps its size instead of being blown up."""
    spread = features.std(axis=0)
    scale: Array = np.where(spread > 1e-3 * spread.max(), spread, 1.0)
    return scale


def _with_prior(
    features: Array, labels: Sequence[str], classes: tuple[str, ...], aligned: AlignedPrior, seed: int
) -> dict[str, Array]:
    """The arrays of a head that begins with a prior; the penalty is chosen where labels alone would do as well."""
    weights, bias = aligned.placed(classes)
    drawn = np.isin(classes, aligned.prior.classes)
    seen = np.flatnonzero(drawn | np.isin(classes, labels))
    factor = 1.0
    added, shift = np.zeros_like(weights), np.zeros_like(bias)
    if len(labels):
        standard = (features - aligned.mean) / aligned.scale
        codes = np.array([list(seen).index(classes.index(label)) for label in labels])
        with threadpool_limits(1, "blas"):
            strength = _strength(standard, codes, seed) if len(labels) >= CHOOSING_FROM else DEFAULT_STRENGTH
            problem = LogisticRegressionProblem(
                standard, codes, len(seen), offset=(standard @ weights.T + bias)[:, seen]
            )
            added[seen], shift[seen], factor = problem.fit_scaled(
                strength,
                bias_strength=np.where(drawn[seen], BIAS_STRENGTH, np.inf),
                spread=FACTOR_SPREAD,
            )
    left = np.setdiff1d(np.arange(len(classes)), seen)
    shift[left] = -np.inf
    unseen = np.zeros(len(classes))
    unseen[left] = 1 / (len(labels) + len(classes))
    return {
        "mean": aligned.mean,
        "scale": aligned.scale,
        "weights": factor * weights + added,
        "bias": factor * bias + shift,
        "unseen": unseen,
        "prior_weights": factor * weights,
        "prior_bias": factor * bias,
    }


def _strength(standard: Array, codes: NDArray[np.int64], seed: int) -> float:
    """The prior variance with the least cross-validated log loss, over the classes with a label for each fold."""
    counts = np.bincount(codes)
    usable = np.random.default_rng(seed).permutation(np.flatnonzero(counts[codes] >= FOLDS))[:CHOOSING_LABELS]
    counts = np.bincount(codes[usable], minlength=len(counts))
    usable = usable[counts[codes[usable]] >= FOLDS]
    if np.count_nonzero(counts >= FOLDS) < 2:
        return DEFAULT_STRENGTH
    # scikit-learn takes seconds to import, and only a fit needs it
    from sklearn.model_selection import StratifiedKFold

    kept, ranks = np.unique(codes[usable], return_inverse=True)
    losses = np.zeros(len(STRENGTHS))
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
    for train, test in folds.split(usable, ranks):
        problem = LogisticRegressionProblem(standard[usable[train]], ranks[train], len(kept))
        for place, strength in enumerate(STRENGTHS):
            weights, bias = problem.fit(strength)
            logs = log_softmax(standard[usable[test]] @ weights.T + bias, axis=1)
            losses[place] -= logs[np.arange(len(test)), ranks[test]].sum()
    return STRENGTHS[int(losses.argmin())]
