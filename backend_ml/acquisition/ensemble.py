"""Heads that the labels allow equally: the spread of their answers is what is not known yet."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from lvm_training.heads.classification import DEFAULT_STRENGTH, check_labels, feature_scale
from lvm_training.heads.logistic_regression import LogisticRegressionProblem
from lvm_training.heads.preference import PreferenceHead

MEMBERS = 8

Array = NDArray[np.float64]
Matrix = NDArray[np.float32]


def classification_ensemble(
    inputs: Matrix, labels: Sequence[str], pool: Matrix, *, classes: Sequence[str], seed: int, members: int = MEMBERS
) -> Array:
    """Probabilities (M, P, C) of pool features (P, D) from heads fitted on bootstrap draws of the labels.

    Bagging (Breiman 1996) of the regression of `ClassificationHead` at its default penalty; the draws keep the number
    of each class. Classes without labels have probability 0.

    Parameters
    ----------
    inputs : ndarray (N, D)
    labels : sequence of str
        N labels.
    classes : sequence of str
        All classes, in the order of the answer.
    seed, members : int
        What the draws are made from, and their number M.

    Raises
    ------
    LabelError
        As `ClassificationHead.fit`.
    """
    features = np.asarray(inputs, dtype=np.float64)
    check_labels(features, labels, classes)
    mean, scale = features.mean(axis=0), feature_scale(features)
    codes = np.array([list(classes).index(label) for label in labels])
    seen, ranks = np.unique(codes, return_inverse=True)
    found = np.zeros((members, len(pool), len(classes)))
    with threadpool_limits(1, "blas"):
        # all weights lie in the span of the labelled rows, which has few dimensions while labels are few
        rotated, sizes, axes = np.linalg.svd((features - mean) / scale, full_matrices=False)
        narrow = rotated * sizes
        wide = ((np.asarray(pool, dtype=np.float64) - mean) / scale) @ axes.T
        for member in range(members):
            rows = _bootstrap(ranks, seed, member)
            problem = LogisticRegressionProblem(narrow[rows], ranks[rows], len(seen))
            weights, bias = problem.fit(DEFAULT_STRENGTH)
            found[member][:, seen] = softmax(wide @ weights.T + bias, axis=1)
    return found


def preference_ensemble(
    inputs: Matrix,
    labels: Sequence[str],
    pool: Matrix,
    *,
    classes: Sequence[str],
    background: Matrix,
    seed: int,
    members: int = MEMBERS,
) -> Array:
    """Probabilities (M, P, 2) of pool features (P, D) from uncalibrated `PreferenceHead`s of bootstrap draws.

    Parameters
    ----------
    inputs, labels, classes, background
        As in `PreferenceHead.fit`; each member reads other rows of the background.
    seed, members : int
        What the draws are made from, and their number M.

    Raises
    ------
    LabelError, FeaturesError
        As `PreferenceHead.fit`.
    """
    codes = np.array([list(classes).index(label) for label in labels])
    heads = []
    for member in range(members):
        rows = _bootstrap(codes, seed, member)
        known = [labels[row] for row in rows]
        draw = seed * members + member
        heads.append(
            PreferenceHead.fit(inputs[rows], known, seed=draw, classes=classes, background=background, calibrate=False)
        )
    return np.stack([head.predict(pool) for head in heads])


def _bootstrap(codes: NDArray[np.int64], seed: int, member: int) -> NDArray[np.int64]:
    """Rows drawn with replacement, as many of each class as there are."""
    rng = np.random.default_rng((seed, member))
    classes = [np.flatnonzero(codes == code) for code in np.unique(codes)]
    return np.concatenate([rng.choice(rows, len(rows)) for rows in classes])
