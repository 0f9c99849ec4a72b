"""Ridge regressions of bootstrap draws, the penalty chosen on the rows that each draw left out."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lvm_training.errors import LabelError

PENALTIES = (1.0, 10.0, 100.0, 1e3, 1e4)  # added to sums of squares of standardised features
COMPONENTS = 192  # principal axes that are fitted; those beyond carry next to nothing
SHRINKAGE = 5.0  # labels that pull the mean of what corrects another head to zero

Array = NDArray[np.float64]


class Members(NamedTuple):
    """An ensemble on one target.

    Attributes
    ----------
    weights : ndarray (M, D)
    bias : ndarray (M,)
    held_out : ndarray (N,)
        Mean answer of the members that did not see a row; NaN where all of them did.
    variance : ndarray (N,)
        Variance of these answers.
    """

    weights: Array
    bias: Array
    held_out: Array
    variance: Array


def check_finite(features: Array) -> None:
    """Raise a LabelError that names the first row of features (N, D) that is not finite."""
    broken = np.flatnonzero(~np.isfinite(features).all(axis=1))
    if broken.size:
        raise LabelError(
            f"{broken.size} of {len(features)} galaxies have features that are not finite, first at row {broken[0]}.",
            "Embed the stamp set again.",
        )


def principal_axes(standard: Array) -> Array:
    """Orthonormal columns along which features (N, D) vary most, shape (D, min(N, D, `COMPONENTS`))."""
    if len(standard) < standard.shape[1]:
        axes = np.linalg.svd(standard, full_matrices=False)[2].T
    else:
        axes = np.linalg.eigh(standard.T @ standard)[1][:, ::-1]
    return np.asarray(axes[:, :COMPONENTS])


def fit_members(
    standard: Array, targets: Array, *, seed: int, members: int, centred: bool = True, correcting: bool = False
) -> list[Members]:
    """Ensembles of ridge regressions on bootstrap draws (Breiman 1996, Mach. Learn. 24, 123), one for each target.

    A target's penalty is the one of least squared error on rows that members left out of their draws, so that no
    second cross-validation is needed, and the errors measured on these rows hold for others.

    Parameters
    ----------
    standard : ndarray (N, D)
        Standardised features.
    targets : ndarray (N, T)
        Finite.
    seed, members : int
        What draws are made from, and their number M.
    centred : bool
        Whether there is a bias; features and targets without one are zero on the mean by their nature.
    correcting : bool
        Whether the targets are what another head got wrong: their mean then begins at zero.
    """
    axes = principal_axes(standard)
    rotated, rng = standard @ axes, np.random.default_rng(seed)
    count, many = targets.shape
    shape = (len(PENALTIES), members, many)
    weights, bias = np.zeros((*shape, rotated.shape[1])), np.zeros(shape)
    answers, left_out = np.zeros((*shape, count)), np.zeros((members, count), dtype=bool)
    for member in range(members):
        rows = rng.integers(count, size=count)
        left_out[member] = ~np.isin(np.arange(count), rows)
        for place, (found, constant) in enumerate(_solved(rotated[rows], targets[rows], centred, correcting)):
            weights[place, member], bias[place, member] = found.T, constant
            answers[place, member] = (rotated @ found + constant).T
    times = left_out.sum(axis=0)
    seen = np.where(left_out[None, :, None, :], answers, 0.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = seen.sum(axis=1) / times
        variance = np.maximum((seen**2).sum(axis=1) / times - mean**2, 0.0)
    errors = np.nanmean((mean - targets.T) ** 2, axis=-1) if times.any() else np.zeros(shape[::2])
    best = errors.argmin(axis=0)
    return [
        Members(weights[one, :, t] @ axes.T, bias[one, :, t], mean[one, t], variance[one, t])
        for t, one in enumerate(best.tolist())
    ]


def _solved(drawn: Array, targets: Array, centred: bool, correcting: bool) -> list[tuple[Array, Array]]:
    """Weights (K, T) and bias (T,) of least squares with each penalty of the squared weights."""
    middle = drawn.mean(axis=0) if centred else np.zeros(drawn.shape[1])
    constant = targets.mean(axis=0) if centred else np.zeros(targets.shape[1])
    if correcting:
        constant = constant * len(targets) / (len(targets) + SHRINKAGE)
    inner = drawn - middle
    sums, axes = np.linalg.eigh(inner.T @ inner)
    along = axes.T @ (inner.T @ (targets - constant))
    solutions = (axes @ (along / (np.maximum(sums, 0.0)[:, None] + penalty)) for penalty in PENALTIES)
    return [(found, constant - middle @ found) for found in solutions]
