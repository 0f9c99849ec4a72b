"""A preference head: more of what someone likes, learned from a few examples and applied to a million galaxies."""

from collections.abc import Sequence
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import expit
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from lvm_training.errors import LabelError
from lvm_training.heads.calibrated_regression import (
    DEFAULT_STRENGTH,
    Array,
    Examples,
    cross_validated,
    fit_weighted,
    platt,
)
from lvm_training.heads.classification import feature_scale
from lvm_training.heads.head import Head
from lvm_training.heads.prior import AlignedPrior
from lvm_training.pool.features import FeaturesError, widened

NO, YES = "no", "yes"
# Rows of the background that are read, and how many "no" they count as all together
BACKGROUND_ROWS = 200
BACKGROUND_WEIGHT = 10.0
# Of a prior: what it counts before answers stretch or shrink it, the share of a pool that it holds for wanted, the
# standard deviation of its bias, and that of the stretch over the square root of the penalty's strength
PRIOR_TRUST = 0.5
PRIOR_WANTED = 0.05
PRIOR_BIAS = 2.0
PRIOR_STRETCH = 5.0
Parts = dict[str, Array | float]
CHUNK = 2048  # rows that stay in a core's cache while they are converted and multiplied


class PreferenceHead(Head):
    """Logistic regression with an L2 penalty on standardised features, calibrated on held-out answers.

    p(yes) = 1 / (1 + exp(-(slope z + offset))), with z = weights (x - mean) / scale + bias; slope and offset are what
    `platt` gives for the z of rows that cross-validation held out. Probabilities are calibrated for galaxies that come
    as the labelled ones came, the background included; where labels were chosen by a policy, rather than drawn, they
    overstate what is rare.

    Parameters
    ----------
    mean, scale, weights : ndarray (D,)
    bias, slope, offset : ndarray (1,)
    prior_weights : ndarray (D,) or None
        What of the weights is of a prior.
    classes : tuple of str
        What "no" and "yes" are called, in that order.
    """

    kind: ClassVar[str] = "preference"
    parts: ClassVar[tuple[str, ...]] = ("mean", "scale", "weights", "bias", "slope", "offset")
    optional: ClassVar[tuple[str, ...]] = ("prior_weights",)

    mean: NDArray[np.float32]
    scale: NDArray[np.float32]
    weights: NDArray[np.float32]
    bias: NDArray[np.float32]
    slope: NDArray[np.float32]
    offset: NDArray[np.float32]
    prior_weights: NDArray[np.float32] | None

    @classmethod
    def fit(
        cls,
        inputs: NDArray[np.float32],
        labels: Sequence[str],
        *,
        seed: int,
        classes: Sequence[str] = (NO, YES),
        background: NDArray[np.float32] | NDArray[np.float16] | None = None,
        rows: Sequence[int] | None = None,
        calibrate: bool = True,
        prior: AlignedPrior | None = None,
    ) -> Self:
        """A head trained on features (N, D) and N labels, of which at least one is a yes unless there is a prior.

        Parameters
        ----------
        inputs : ndarray (N, D)
            Feature vectors.
        labels : sequence of str
            Which of `classes` each is.
        seed : int
            What folds and background rows are drawn from.
        classes : sequence of str
            What "no" and "yes" are called, in that order.
        background : ndarray (P, D), optional
            Galaxies nobody labelled, most of which are no: 200 of them count as ten "no" all together, and their mean
            and scale standardise the features. May be a memory map. Needed where no label is a no.
        rows : sequence of int, optional
            Numbers that name the galaxies. One that is there several times counts once, and with both answers is an
            error: which of them holds is for the caller to say. Without numbers every entry is a galaxy of its own.
        calibrate : bool
            Whether cross-validation chooses the penalty and calibrates, which takes most of the time.
        prior : AlignedPrior, optional
            What labels are added to: z = (1 + a) p / 2 + weights x + bias, p being the prior's log-odds of yes over no,
            and a and the weights 0 before there are labels. Labels that contradict it make a fall to -1 and below. It
            also standardises the features. Without labels the head is the prior, at a twentieth of the pool wanted.

        Raises
        ------
        LabelError
            If labels, features and rows differ in number, there is no yes, nothing to tell it from, a label is not
            among `classes`, or a galaxy has both answers.
        FeaturesError
            If a feature is not finite; the message names the rows.
        """
        names = _two(classes)
        kept = _settled(labels, rows, names)
        features = np.asarray(inputs, dtype=np.float64)
        if prior is not None and not len(labels):
            features = np.empty((0, len(prior.mean)))
        if features.ndim != 2 or len(features) != len(labels):
            raise LabelError(f"There are {len(labels)} labels for features of shape {features.shape}.")
        _check_finite(features, "labelled galaxies")
        features, yes = features[kept], np.array([labels[place] == names[1] for place in kept], dtype=bool)
        weak = _drawn(background, seed)
        if prior is None:
            _check_labels(yes, weak)
        given = _weighted(features, yes, weak)
        # one thread: the sums have one order on any machine, and threads cost more than they give at this size
        with threadpool_limits(1, "blas"):
            if prior is None:
                found = _learned(given, weak, seed, calibrate)
            else:
                found = _added(prior, names, given, weak, seed, calibrate)
        return cls.from_arrays({name: np.atleast_1d(value) for name, value in found.items()}, names)

    def log_odds(self, inputs: NDArray[np.float32] | NDArray[np.float16]) -> NDArray[np.float32]:
        """ln p / (1 - p) of yes, shape (N,); features (N, D) may be a memory map, of which a chunk at a time is read.

        Raises
        ------
        FeaturesError
            If a feature is not finite; the message names the rows.
        """
        # the threads of BLAS and of torch, taking turns on small chunks, would wait for each other most of the time
        with threadpool_limits(1, "blas"):
            found = self.scores(inputs)
        _check_finite(found[:, None], "galaxies")
        return found

    def scores(self, inputs: NDArray[np.float32] | NDArray[np.float16]) -> NDArray[np.float32]:
        """As `log_odds`, but not finite where a feature is not; by as many threads as BLAS is allowed."""
        direction = self.slope.astype(np.float64) * self.weights / self.scale
        weights = direction.astype(np.float32)
        offset = np.float32(self.slope[0] * np.float64(self.bias[0]) - direction @ self.mean + self.offset[0])
        found, start = np.empty(len(inputs), dtype=np.float32), 0
        for chunk in widened(inputs, CHUNK):
            np.dot(chunk, weights, out=found[start : start + len(chunk)])
            start += len(chunk)
        found += offset
        return found

    def prior_share(self, inputs: NDArray[np.float32]) -> Array:
        """How much of the answers is prior (N,): 1 where nothing was learned from people, 0 without a prior.

        With p what the prior adds to the log-odds, and q what answers add: |p| / (|p| + |q|).
        """
        if self.prior_weights is None:
            return np.zeros(len(inputs))
        standard = (np.asarray(inputs, dtype=np.float64) - self.mean) / self.scale
        prior, learned = (np.abs(standard @ one) for one in (self.prior_weights, self.weights - self.prior_weights))
        return np.asarray(prior / np.maximum(prior + learned, np.finfo(np.float64).tiny))

    def predict(self, inputs: NDArray[np.float32] | NDArray[np.float16]) -> Array:
        """Probabilities (N, 2) in the order of `classes`; features as in `log_odds`."""
        yes = expit(self.log_odds(inputs).astype(np.float64))
        return np.stack([1 - yes, yes], axis=1)


def _learned(given: Examples, weak: Array, seed: int, calibrate: bool) -> Parts:
    """A head that knows nothing but answers and background."""
    common = weak if len(weak) else given.features
    mean, scale = common.mean(axis=0), feature_scale(common)
    standard = given._replace(features=(given.features - mean) / scale)
    return {"mean": mean, "scale": scale, **_fitted(standard, seed, calibrate)}


def _added(
    prior: AlignedPrior, names: Sequence[str], given: Examples, weak: Array, seed: int, calibrate: bool
) -> Parts:
    """A head that adds what answers say to a prior; without answers it is the prior."""
    parts: Parts = {"mean": prior.mean, "scale": prior.scale}
    of_classes, _ = prior.placed(names)
    direction = PRIOR_TRUST * (of_classes[1] - of_classes[0])
    level = _level((weak - prior.mean) / prior.scale @ direction) if len(weak) else -PRIOR_BIAS
    if len(given.truth) == len(weak):
        return {**parts, "weights": direction, "prior_weights": direction, "bias": level, "slope": 1.0, "offset": 0.0}
    standard = (given.features - prior.mean) / prior.scale
    before = standard @ direction
    # the last column stretches the prior: its weight is penalised as the others are
    beside = np.column_stack([standard, PRIOR_STRETCH * before])
    rows = given._replace(features=beside, offset=before, bias=(level, PRIOR_BIAS))
    # the prior steadies the answers itself, and has to give way where labels contradict it
    found = _fitted(rows, seed, calibrate, steady=False)
    *learned, stretch = np.asarray(found["weights"])
    kept = (1 + PRIOR_STRETCH * stretch) * direction
    return {**parts, **found, "weights": np.array(learned) + kept, "prior_weights": kept}


def _fitted(rows: Examples, seed: int, calibrate: bool, *, steady: bool = True) -> Parts:
    """Weights, bias, and slope and offset of the calibration."""
    strength, held_out = cross_validated(rows, seed, steady=steady) if calibrate else (DEFAULT_STRENGTH, np.empty(0))
    weights, bias = fit_weighted(rows, (strength,))[0]
    slope, offset = platt(held_out, rows)
    return {"weights": weights, "bias": bias, "slope": slope, "offset": offset}


def _level(log_odds: Array) -> float:
    """What is to be added to the log-odds of a pool so that `PRIOR_WANTED` of it is wanted."""
    furthest = float(np.abs(log_odds).max()) + 10
    return float(brentq(lambda bias: expit(log_odds + bias).mean() - PRIOR_WANTED, -furthest, furthest))


def _two(classes: Sequence[str]) -> tuple[str, str]:
    if len(classes) != 2 or classes[0] == classes[1]:
        raise LabelError(f"A preference is a no or a yes; there are {len(classes)} classes.", "Name two.")
    return classes[0], classes[1]


def _settled(labels: Sequence[str], rows: Sequence[int] | None, names: Sequence[str]) -> list[int]:
    """Places of the labels that count: the first of each galaxy."""
    unknown = sorted(set(labels) - set(names))
    if unknown:
        raise LabelError(f"Labels outside the classes: {', '.join(unknown)}.", f"Classes are: {', '.join(names)}.")
    if rows is None:
        return list(range(len(labels)))
    if len(rows) != len(labels):
        raise LabelError(f"There are {len(labels)} labels for {len(rows)} rows.")
    first: dict[int, int] = {}
    for place, row in enumerate(rows):
        if labels[first.setdefault(row, place)] != labels[place]:
            raise LabelError(f"Galaxy {row} is labelled both {names[0]!r} and {names[1]!r}.", "Keep one of the two.")
    return list(first.values())


def _check_labels(yes: NDArray[np.bool_], weak: Array) -> None:
    if not yes.any():
        raise LabelError("A search needs one galaxy labelled yes; there is none.", "Label one yes, better three.")
    if yes.all() and not len(weak):
        raise LabelError(
            "All galaxies are labelled yes, and there is nothing to tell them from.",
            "Label one no, or give the pool as background.",
        )


def _check_finite(features: NDArray[np.floating], what: str) -> None:
    broken = np.flatnonzero(~np.isfinite(features).all(axis=1))
    if broken.size:
        rows = ", ".join(map(str, broken[:5])) + (", ..." if broken.size > 5 else "")
        raise FeaturesError(
            f"{broken.size} of {len(features)} {what} have features that are not finite: rows {rows}.",
            "Embed the stamp set again.",
        )


def _drawn(background: NDArray[Any] | None, seed: int) -> Array:
    """Some rows of the background, the same for the same seed."""
    if background is None or not len(background):
        return np.empty((0, 0))
    chosen = np.sort(np.random.default_rng(seed).permutation(len(background))[:BACKGROUND_ROWS])
    weak = np.asarray(background[chosen], dtype=np.float64)
    _check_finite(weak, "background galaxies")
    return weak


def _weighted(features: Array, yes: NDArray[np.bool_], weak: Array) -> Examples:
    """Labels and background together."""
    truth, weight = yes.astype(np.float64), np.ones(len(yes))
    if not len(weak):
        return Examples(features, truth, weight)
    share = np.full(len(weak), BACKGROUND_WEIGHT / len(weak))
    return Examples(
        np.concatenate([features, weak]),
        np.concatenate([truth, np.zeros(len(weak))]),
        np.concatenate([weight, share]),
    )
