"""A preference head: more of what someone likes, learned from a few examples and applied to a million galaxies."""

from collections.abc import Sequence
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
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
from lvm_training.pool.features import FeaturesError, single

NO, YES = "no", "yes"
# Rows of the background that are read, and how many "no" they count as all together
BACKGROUND_ROWS = 200
BACKGROUND_WEIGHT = 10.0
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
    classes : tuple of str
        What "no" and "yes" are called, in that order.
    """

    kind: ClassVar[str] = "preference"
    parts: ClassVar[tuple[str, ...]] = ("mean", "scale", "weights", "bias", "slope", "offset")

    mean: NDArray[np.float32]
    scale: NDArray[np.float32]
    weights: NDArray[np.float32]
    bias: NDArray[np.float32]
    slope: NDArray[np.float32]
    offset: NDArray[np.float32]

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
    ) -> Self:
        """A head trained on features (N, D) and N labels, of which at least one is a yes.

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
        if features.ndim != 2 or len(features) != len(labels):
            raise LabelError(f"There are {len(labels)} labels for features of shape {features.shape}.")
        _check_finite(features, "labelled galaxies")
        features, yes = features[kept], np.array([labels[place] == names[1] for place in kept])
        weak = _drawn(background, seed)
        _check_labels(yes, weak)
        common = weak if len(weak) else features
        mean, scale = common.mean(axis=0), feature_scale(common)
        everything = _weighted(features, yes, weak)
        # one thread: the sums have one order on any machine, and threads cost more than they give at this size
        with threadpool_limits(1, "blas"):
            learned = everything._replace(features=(everything.features - mean) / scale)
            strength, held_out = cross_validated(learned, seed) if calibrate else (DEFAULT_STRENGTH, np.empty(0))
            weights, bias = fit_weighted(learned, (strength,))[0]
            slope, offset = platt(held_out, learned)
        arrays = {"mean": mean, "scale": scale, "weights": weights}
        numbers = {"bias": bias, "slope": slope, "offset": offset}
        return cls.from_arrays(arrays | {name: np.array([value]) for name, value in numbers.items()}, names)

    def log_odds(self, inputs: NDArray[np.float32] | NDArray[np.float16]) -> NDArray[np.float32]:
        """ln p / (1 - p) of yes, shape (N,); features (N, D) may be a memory map, of which a chunk at a time is read.

        Raises
        ------
        FeaturesError
            If a feature is not finite; the message names the rows.
        """
        direction = self.slope.astype(np.float64) * self.weights / self.scale
        weights = direction.astype(np.float32)
        offset = np.float32(self.slope[0] * np.float64(self.bias[0]) - direction @ self.mean + self.offset[0])
        found = np.empty(len(inputs), dtype=np.float32)
        # the threads of BLAS and of torch, taking turns on small chunks, would wait for each other most of the time
        with threadpool_limits(1, "blas"):
            for start in range(0, len(inputs), CHUNK):
                np.dot(single(inputs[start : start + CHUNK]), weights, out=found[start : start + CHUNK])
        found += offset
        _check_finite(found[:, None], "galaxies")
        return found

    def predict(self, inputs: NDArray[np.float32] | NDArray[np.float16]) -> Array:
        """Probabilities (N, 2) in the order of `classes`; features as in `log_odds`."""
        yes = expit(self.log_odds(inputs).astype(np.float64))
        return np.stack([1 - yes, yes], axis=1)


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
        raise LabelError("A preference needs one galaxy that is liked; there is none.", "Mark one, better three.")
    if yes.all() and not len(weak):
        raise LabelError(
            "All labelled galaxies are liked, and there is nothing to tell them from.",
            "Label one that is not, or give the pool as background.",
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
